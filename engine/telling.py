"""What a person reads of a transition: the same words in the console, in the live view and wherever else.

Pure text. It knows no width, no colour and no terminal; what comes from outside passes `clean`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from engine.durations import format_ms
from engine.events import Transition
from engine.text import clean

__all__ = ["labels_words", "local", "transition_words"]

SUMMARY_CHARS_MAX: Final = 300
_TIME_MAX_MS: Final = 253_402_200_000_000  # before the end of the year 9999 in any time zone


def transition_words(transition: Transition, zone: tzinfo) -> str:
    """What happened to an alert: its labels, what was measured or for how long it had been true, why, its summary."""
    parts = [labels_words(transition.shown_labels, leave_out=("alertname",)), _outcome(transition, zone)]
    text = " ".join(part for part in parts if part)
    summary = transition.annotations.get("summary", "")
    return f"{text}: {clean(summary, SUMMARY_CHARS_MAX)}" if summary else text


def _outcome(transition: Transition, zone: tzinfo) -> str:
    kind = transition.kind
    flapping = ["flapping"] if transition.flapping else []
    if kind in ("pending", "firing"):
        value = "" if math.isnan(transition.value) else f"value={transition.value:.6g}"
        told = [f"was {_value(transition.severity_before)}"] if transition.changes_level else []
        if kind == "firing" and transition.active_since_ms != transition.time_ms:
            day, _ = local(transition.time_ms, zone)
            since_day, since = local(transition.active_since_ms, zone)
            told.append(f"true since {since if since_day == day else f'{since_day} {since}'}")
        told += flapping
        return " ".join(part for part in (value, f"({', '.join(told)})" if told else "") if part)
    lasted = format_ms(max(0, transition.time_ms - transition.active_since_ms))
    measured = _measured(transition)
    if kind == "lost":
        return f"after {lasted}{f' ({measured})' if measured else ''}: no data, its state is not known"
    return f"after {lasted} ({', '.join([transition.reason, *flapping, *([measured] if measured else [])])})"


def _measured(transition: Transition) -> str:
    """The peak and the mean while the condition held; empty where nothing was measured."""
    facts = transition.facts
    return f"peak {facts.peak:.6g}, mean {facts.mean:.6g}" if facts is not None and facts.samples else ""


def local(time_ms: int, zone: tzinfo) -> tuple[str, str]:
    """A time as people read it: `2026-11-23`, `12:03:10`."""
    moment = datetime.fromtimestamp(min(max(time_ms, 0), _TIME_MAX_MS) / 1000, UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}"


def labels_words(labels: Mapping[str, str], leave_out: Iterable[str] = ()) -> str:
    """`name=value name=value`, sorted by name."""
    return " ".join(f"{clean(name)}={_value(labels[name])}" for name in sorted(set(labels) - set(leave_out)))


def _value(text: str) -> str:
    """A label's value, quoted if it would not read as one word."""
    cleaned = clean(text)
    plain_word = cleaned and not any(char.isspace() or char in "\"'=" for char in cleaned)
    return cleaned if plain_word else json.dumps(cleaned, ensure_ascii=False)
