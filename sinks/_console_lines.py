"""Records as lines of text. Pure, but for the width of the terminal, which is given.

Everything foreign passes `clean` and is put together as rich `Text`, never as markup.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.durations import format_ms
from engine.events import Health, Transition
from engine.text import clean

__all__ = ["Line", "health_line", "plain", "styled", "transition_line"]

TEXT_CHARS_MAX: Final = 2_000
SUMMARY_CHARS_MAX: Final = 300
WIDTH_MIN: Final = 40
"""Below this a terminal is written to as if it were this wide, and folds lines itself."""
_TIME_CHARS: Final = 8
_WORD_CHARS: Final = 8
_TIME_MAX_MS: Final = 253_402_200_000_000  # before the end of the year 9999 in any time zone

_STYLES: Final = {
    "PENDING": "yellow",
    "FIRING": "bold red",
    "RESOLVED": "green",
    "LOST": "bold magenta",
    "CLEARED": "dim",
    "OK": "green",
    "DEGRADED": "yellow",
    "FAILED": "red",
}


class Line(NamedTuple):
    """One line: `2026-11-23`, `12:03:10`, `FIRING`, `HighCpu`, and the rest of it."""

    day: str
    time: str
    word: str
    subject: str
    text: str


def transition_line(transition: Transition, zone: ZoneInfo) -> Line:
    """What happened to an alert, and for how long it had been true."""
    day, time = _local(transition.time_ms, zone)
    since_day, since = _local(transition.active_since_ms, zone)
    lasted = format_ms(max(0, transition.time_ms - transition.active_since_ms))
    parts = [_labels(transition.shown_labels, leave_out=("alertname",))]
    kind = transition.kind
    flapping = ["flapping"] if transition.flapping else []
    if kind in ("pending", "firing"):
        if not math.isnan(transition.value):
            parts.append(f"value={transition.value:.6g}")
        told = [f"was {_value(transition.severity_before)}"] if transition.changes_level else []
        if kind == "firing" and transition.active_since_ms != transition.time_ms:
            told.append(f"true since {since if since_day == day else f'{since_day} {since}'}")
        told += flapping
        if told:
            parts.append(f"({', '.join(told)})")
    elif kind == "lost":
        parts.append(f"after {lasted}: no data, its state is not known")
    else:
        why = [] if transition.reason == "recovered" else [transition.reason]
        parts.append(f"after {lasted}" + (f" ({', '.join([*why, *flapping])})" if why or flapping else ""))
    text = " ".join(part for part in parts if part)
    if summary := transition.annotations.get("summary", ""):
        text = f"{text}: {clean(summary, SUMMARY_CHARS_MAX)}"
    return Line(day, time, kind.upper(), clean(transition.rule), clean(text, TEXT_CHARS_MAX))


def health_line(health: Health, zone: ZoneInfo) -> Line:
    """How a part of the engine is."""
    day, time = _local(health.time_ms, zone)
    text = clean(health.reason) + (f" x{health.count}" if health.count > 1 else "")
    if health.message:
        text += f": {clean(health.message)}"
    return Line(day, time, health.status.upper(), clean(health.component), text)


def _local(time_ms: int, zone: ZoneInfo) -> tuple[str, str]:
    moment = datetime.fromtimestamp(min(max(time_ms, 0), _TIME_MAX_MS) / 1000, UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}"


def _labels(labels: Mapping[str, str], leave_out: Iterable[str]) -> str:
    return " ".join(f"{clean(name)}={_value(labels[name])}" for name in sorted(set(labels) - set(leave_out)))


def _value(text: str) -> str:
    """A label's value, quoted if it would not read as one word."""
    cleaned = clean(text)
    plain_word = cleaned and not any(char.isspace() or char in "\"'=" for char in cleaned)
    return cleaned if plain_word else json.dumps(cleaned, ensure_ascii=False)


def plain(line: Line) -> str:
    """One physical line with its date, for files, pipes and `grep`."""
    return f"{line.day} {line.time} {line.word:<{_WORD_CHARS}} {line.subject} {line.text}".rstrip() + "\n"


def styled(lines: Iterable[Line], width: int) -> str:
    """Coloured, and each folded under its own text where it is wider than the terminal."""
    console = Console(
        file=io.StringIO(),
        width=max(width, WIDTH_MIN),
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_TIME_CHARS, no_wrap=True)
    grid.add_column(width=_WORD_CHARS, no_wrap=True)
    grid.add_column(overflow="fold")
    for line in lines:
        text = Text.assemble((line.subject, "bold"), " ", line.text)
        grid.add_row(Text(line.time, style="dim"), Text(line.word, style=_STYLES.get(line.word, "")), text)
    with console.capture() as captured:
        console.print(grid)
    return "".join(row.rstrip() + "\n" for row in captured.get().splitlines())
