"""What a run has lost, for the lines printed at its end. Pure: a status in, lines out.

Every counter that says "this was not kept" or "this was not seen" has its line here; a run may be called one that
dropped nothing only if all of them are zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from engine.durations import format_ms
from engine.series import split_series
from engine.status import EngineStatus
from engine.text import clean

__all__ = ["losses"]

REASONS_MAX: Final = 3
_SINK_DROPPED: Final = "longwatch_sink_dropped_total"
_BLIND: Final = "longwatch_blind_seconds_total"
_BEFORE: Final = "downtime"  # the time before the run is none of its losses
# Counter -> what it counts, for one and for many.
_KINDS: Final = {
    "longwatch_dropped_total": ("sample dropped before the rules", "samples dropped before the rules"),
    "longwatch_samples_dropped_total": ("sample not taken by the rules", "samples not taken by the rules"),
    "longwatch_alerts_refused_total": ("alert not made", "alerts not made"),
    "longwatch_emit_refused_total": ("event refused from emit", "events refused from emit"),
    "longwatch_probe_refused_total": ("event refused from a probe", "events refused from probes"),
}


def losses(status: EngineStatus) -> list[str]:
    """One line for each kind of loss, `3 samples not taken by the rules (series_limit 2, old 1)`; none if none."""
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for series, value in status.counters.items():
        name, labels = _parsed(series)
        if value > 0 and (name in _KINDS or name == _SINK_DROPPED):
            reasons = counted.setdefault((name, labels.get("sink", "")), {})
            reason = labels.get("reason", "")
            reasons[reason] = reasons.get(reason, 0) + int(value)
    return [*_unseen(status), *_before_sinks(counted), *_of_sinks(status, counted)]


def _unseen(status: EngineStatus) -> Iterator[str]:
    blind: dict[str, int] = {}
    for series, seconds in status.counters.items():
        name, labels = _parsed(series)
        if name == _BLIND and labels.get("reason") != _BEFORE and (ms := round(seconds * 1000)) > 0:
            blind[labels.get("reason", "")] = ms
    if blind:
        most = sorted(blind.items(), key=lambda one: (-one[1], one[0]))
        told = [f"{clean(reason, 32)} {format_ms(ms)}" for reason, ms in most[:REASONS_MAX]]
        told += ["..."] * (len(most) > REASONS_MAX)
        yield f"not seen: {', '.join(told)}"


def _before_sinks(counted: Mapping[tuple[str, str], Mapping[str, int]]) -> Iterator[str]:
    for name, words in _KINDS.items():
        reasons = counted.get((name, ""), {})
        if count := sum(reasons.values()):
            yield f"{count} {words[count > 1]}{_told(reasons)}"


def _of_sinks(status: EngineStatus, counted: Mapping[tuple[str, str], Mapping[str, int]]) -> Iterator[str]:
    for sink in status.sinks:
        reasons = counted.get((_SINK_DROPPED, sink.name), {})
        if count := max(sink.dropped, sum(reasons.values())):
            kind = "record or message" if count == 1 else "records or messages"
            yield f"{count} {kind} lost by sink {clean(sink.name, 24)}{_told(reasons)}"


def _told(reasons: Mapping[str, int]) -> str:
    """The reasons with the most first, ` (full 3, old 1)`; a single one without its number."""
    named = sorted(((count, reason) for reason, count in reasons.items() if reason), key=lambda one: (-one[0], one[1]))
    if len(named) == 1:
        return f" ({clean(named[0][1], 32)})"
    told = [f"{clean(reason, 32)} {count}" for count, reason in named[:REASONS_MAX]]
    if len(named) > REASONS_MAX:
        told.append("...")
    return f" ({', '.join(told)})" if told else ""


def _parsed(series: str) -> tuple[str, dict[str, str]]:
    try:
        return split_series(series)
    except ValueError:  # not one of the engine's own
        return "", {}
