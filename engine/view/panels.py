"""The parts of the view as rows of cells: targets, metrics, recent lines, header and footer.

Pure functions of an `EngineStatus` and a `Scene`. Columns have fixed widths that depend on the terminal's
width alone, so nothing jumps when a value changes. Every foreign text goes through `literal`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from rich.cells import cell_len

from engine.events import HealthStatus
from engine.series import split_series
from engine.status import EngineStatus, ProbeStatus, SinkStatus, alert_counts
from engine.view.cells import bar, fit, literal, number, short_ms
from engine.view.labels import values

__all__ = ["TABLE_CELLS_MIN", "Line", "Scene", "Section", "footer", "header", "metrics", "recent", "targets"]

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of one row, each a text and the name of its style (`engine.view.frame.STYLES`)."""

_HEALTH_STYLE: dict[HealthStatus, str] = {"ok": "ok", "degraded": "warn", "failed": "bad"}
_LATE_INTERVALS = 3
"""A probe whose last success is older than this many intervals is shown as late; rules call it stale then,
too.
"""
TABLE_CELLS_MIN = 72
"""In a narrower terminal rows keep only their most important columns."""
_NOTHING_YET = "waiting for the first samples"
_METRIC_CELLS_MIN = 38
"""The least width of one metric with its bar; a wider terminal shows several side by side."""


class Scene(NamedTuple):
    """What the view knows beside the status.

    Args:
        now_ms: When this frame is for; clocks of alerts run on from the status' own `heartbeat_ms`.
        zone: Of every time that is shown.
        ends_ms: When the run ends by itself; 0 if it does not.
        targets: What each probe looks at, by its name.
        files: Where files are written, in one line.
        recent: Latest lines, oldest first, each with its style.
    """

    now_ms: int
    zone: tzinfo
    ends_ms: int = 0
    targets: Mapping[str, str] = {}
    files: str = ""
    recent: Sequence[tuple[str, str]] = ()


class Section(NamedTuple):
    """A titled block. `rows(count, width)` builds the first `count` of `total` rows, and no more of them.
    `left_out` there are beside those, of which the status tells no more than how many.
    """

    title: str
    total: int
    rows: Callable[[int, int], list[Line]]
    left_out: int = 0


def header(status: EngineStatus, scene: Scene, width: int) -> Line:
    """The first row: name, worst state, and as much of the rest as there is room for, the most urgent
    first.
    """
    firing, pending = _counts(status)
    word, style = _badge(status, firing)
    name = literal(status.name)
    used = min(len(name) + 2, max(width - len(word) - 2, 0))
    left: Line = [(fit(f" {name}", used), "title"), (f" {word} ", style)]
    room = width - used - len(word) - 2
    told = []
    for text in _facts(status, scene, firing, pending):
        if len(text) + 2 <= room:
            told.append(text)
            room -= len(text) + 2
    return [*left, (" " * max(room, 0), "title"), *((f"{text}  ", "title") for text in told)]


def _counts(status: EngineStatus) -> tuple[int, int]:
    return alert_counts((alert.state for alert in status.alerts), status.counters)


def _badge(status: EngineStatus, firing: int) -> tuple[str, str]:
    if status.phase in ("draining", "stopped"):
        return "STOPPING", "badge_warn"
    if firing:
        return "FIRING", "badge_bad"
    if status.status != "ok":
        return status.status.upper(), "badge_bad" if status.status == "failed" else "badge_warn"
    return ("STARTING", "badge_warn") if status.phase == "starting" else ("OK", "badge_ok")


def _facts(status: EngineStatus, scene: Scene, firing: int, pending: int) -> list[str]:
    if status.phase == "draining":
        return ["Ctrl-C again stops at once"]
    counts = [f"{firing} firing"] * bool(firing) + [f"{pending} pending"] * bool(pending)
    facts = [", ".join(counts) or "no alerts"]
    if status.status != "ok":
        parts: list[ProbeStatus | SinkStatus] = [*status.probes, *status.sinks]
        facts.append(f"{sum(part.status != 'ok' for part in parts)} of {len(parts)} parts not ok")
    if scene.ends_ms:
        facts.append(f"{short_ms(scene.ends_ms - scene.now_ms)} left")
    facts.append(f"up {short_ms(scene.now_ms - status.started_ms)}")
    facts.append(_clock(scene.now_ms, scene.zone))
    return facts


def _clock(ms: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, zone):%H:%M:%S %Z}"


# --- targets --------------------------------------------------------------------------------------


def targets(status: EngineStatus, scene: Scene) -> Section:
    """Probes in the order of the configuration, those that are not ok first, then those whose target is down."""

    def rows(count: int, width: int) -> list[Line]:
        if not status.probes:
            return [[(fit("no probes", width), "dim")]]
        first = heapq.nsmallest(count, enumerate(status.probes), key=lambda item: (_rank(item[1]), item[0]))
        return [_target(probe, scene, width) for _, probe in first]

    return Section("targets", len(status.probes), rows)


def _rank(probe: ProbeStatus) -> int:
    return 0 if probe.status != "ok" else 1 if probe.target_down else 2


def _target(probe: ProbeStatus, scene: Scene, width: int) -> Line:
    down = probe.status == "ok" and probe.target_down
    word, style = ("down", "bad") if down else (probe.status, _HEALTH_STYLE[probe.status])
    age_ms = scene.now_ms - probe.last_ms
    late = bool(probe.last_ms) and age_ms > _LATE_INTERVALS * max(probe.interval_ms, 1_000)
    age = f"{short_ms(max(age_ms, 0) // 1_000 * 1_000)} ago" if probe.last_ms else "no answer yet"
    name_cells = min(max(width // 5, 10), 24)
    line: Line = [(fit(word, 9), style), (fit(literal(probe.name), name_cells) + " ", "strong")]
    if width >= TABLE_CELLS_MIN:
        line.append((fit(literal(probe.type), 8) + " ", ""))
        line.append((fit(f"every {short_ms(probe.interval_ms)}", 11) + " ", "dim"))
    line.append((fit(age, 13) + " ", "warn" if late else ""))
    if width >= 50:
        line.append((fit(_took(probe.duration_ms) if probe.last_ms else "", 6, "right") + "  ", "dim"))
    room = width - sum(len(text) for text, _ in line)
    note, note_style = scene.targets.get(probe.name, ""), "dim"
    if probe.status != "ok" and probe.message:
        note, note_style = probe.message, style
    return [*line, (fit(literal(note), room), note_style)]


def _took(ms: float) -> str:
    return f"{ms:.0f}ms" if ms < 1_000 else f"{ms / 1000:.1f}s"


# --- metrics --------------------------------------------------------------------------------------


def metrics(status: EngineStatus, width: int) -> Section:
    """Key series, one cell each; a percentage has a bar. As many beside each other as the width has room
    for.
    """
    columns = max(1, width // _METRIC_CELLS_MIN)
    total = -(-len(status.gauges) // columns)

    def rows(count: int, width: int) -> list[Line]:
        if not status.gauges:
            answered = any(probe.last_ms for probe in status.probes) or status.series
            why = "no value of the host, of an endpoint, or of what the rules read" if answered else _NOTHING_YET
            return [[(fit(why, width), "dim")]]
        shown = list(islice(status.gauges.items(), count * columns))
        cells = width // columns
        made = _metrics(shown, cells)
        return [list(chain(*made[at : at + columns])) for at in range(0, len(made), columns)]

    return Section("metrics", total, rows)


def _metrics(shown: Sequence[tuple[str, float]], width: int) -> list[Line]:
    """A cell for each series: its metric, the values of its labels, those that differ first, and its value."""
    lines: list[Line] = []
    for name, group in groupby(((*_split(series), value) for series, value in shown), key=itemgetter(0)):
        series = list(group)
        bar_cells = 9 if name.endswith("_percent") and width >= 34 else 0
        named = literal(name)
        texts = values([labels for _, labels, _ in series], width - 11 - bar_cells - cell_len(named))
        for (_, _, value), text in zip(series, texts, strict=True):
            lines.append(_metric(name, f"{named} {text}", value, width, bar_cells))
    return lines


def _split(series: str) -> tuple[str, Mapping[str, str]]:
    try:
        return split_series(series)
    except ValueError:
        return series, {}


def _metric(name: str, told: str, value: float, width: int, bar_cells: int) -> Line:
    line: Line = [(fit(told, width - 10 - bar_cells), "")]
    if bar_cells:
        style = "bad" if value >= 90 else "warn" if value >= 75 else "ok"
        line.append((f" {bar(value / 100, bar_cells - 1)}", style))
    return [*line, (fit(number(value, name), 8, "right") + "  ", "strong")]


# --- recent, footer -------------------------------------------------------------------------------


def recent(scene: Scene) -> Section:
    """The latest transitions, health events and log lines, newest last."""

    def rows(count: int, width: int) -> list[Line]:
        if not scene.recent:
            return [[(fit("nothing has happened yet", width), "dim")]]
        return [[(fit(literal(text), width), style)] for text, style in scene.recent[-count:]]

    return Section("recent", len(scene.recent), rows)


def footer(status: EngineStatus, scene: Scene, width: int) -> list[Line]:
    """Three rows: the queue and the loop, the sinks, the files."""
    channel = status.channel
    dropped = " ".join(f"{reason} {number(float(count))}" for reason, count in sorted(channel.dropped.items()) if count)
    drop_style = "bad" if dropped else "dim"
    first: Line = [
        (f"queue {channel.depth}/{channel.capacity} peak {channel.peak}  ", "dim"),
        (literal(f"dropped {dropped or 0}  "), drop_style),
        (f"loop lag {status.lag_ms:.1f}ms  ", "warn" if status.lag_ms >= 100 else "dim"),
        (f"series {number(float(status.series))}  ", "dim"),
        (f"rules {status.rules}", "dim"),
    ]
    second: Line = []
    if status.ledger.kept == "degraded":
        second.append((literal(f"ledger in memory ({status.ledger.trouble})   "), _HEALTH_STYLE["degraded"]))
    second.append(("sinks ", "dim"))
    for sink in sorted(status.sinks, key=lambda sink: sink.status == "ok"):
        text = f" {sink.queued}/{sink.queue_max}"
        text += f" dropped {sink.dropped}" if sink.dropped else ""
        text += f" held {sink.held}" if sink.held else ""
        text += f" ({sink.message})" if sink.message and sink.status != "ok" else ""
        style = "dim" if sink.status == "ok" else _HEALTH_STYLE[sink.status]
        second += [(literal(f"{sink.name} {sink.status}"), style), (literal(text) + "   ", style)]
    stopping = status.phase == "draining"
    hint = "stopping; Ctrl-C again ends at once" if stopping else "Ctrl-C stops"
    third: Line = [
        (fit(literal(f"files {scene.files}"), max(width - len(hint) - 1, 0)) + " ", "dim"),
        (fit(hint, min(len(hint), width)), "warn" if stopping else "dim"),
    ]
    return [_whole(first, width), second, third]


def _whole(line: Line, width: int) -> Line:
    """The pieces of a row that there is room for, each whole or left out, but the first."""
    kept: Line = []
    for text, style in line:
        if kept and len(text.rstrip()) > width:
            continue
        kept.append((text, style))
        width -= len(text)
    return kept
