"""The alerts of the view as rows of cells: which come first, what they are about, and how long until what.

Pure functions, as those of `engine.view.panels`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len

from engine.status import AlertStatus, EngineStatus, alert_counts
from engine.view.cells import bar, fit, literal, number, short_ms
from engine.view.labels import columns
from engine.view.panels import TABLE_CELLS_MIN, Line, Scene, Section

__all__ = ["alerts"]


def alerts(status: EngineStatus, scene: Scene) -> Section:
    """Alerts that are not inactive: firing before pending, the next to fire first."""
    since_ms = max(scene.now_ms - status.heartbeat_ms, 0)

    def urgency(alert: AlertStatus) -> tuple[bool, int, str, int]:
        return _urgency(alert, status.heartbeat_ms)

    def rows(count: int, width: int) -> list[Line]:
        if not status.alerts:
            return [[(fit(f"none; {status.rules} rules are watching", width), "dim")]]
        shown = heapq.nsmallest(count, status.alerts, key=urgency)
        widths = _Widths.of(width, (alert.rule for alert in shown))
        texts = columns(shown, widths.labels)
        return [_alert(alert, text, since_ms, scene.now_ms, widths) for alert, text in zip(shown, texts, strict=True)]

    listed = len(status.alerts)
    counted = alert_counts((alert.state for alert in status.alerts), status.counters)
    return Section("alerts", listed, rows, left_out=sum(counted) - listed)


def _urgency(alert: AlertStatus, at_ms: int) -> tuple[bool, int, str, int]:
    """What people want to see first.

    Args:
        at_ms: When the status was made.
    """
    left_ms = 0
    if alert.state == "pending":
        left_ms = alert.due_ms - at_ms if alert.due_ms else alert.for_ms - alert.elapsed_ms
    return alert.state != "firing", left_ms, alert.rule, alert.active_since_ms


class _Widths(NamedTuple):
    """Of the columns, in cells. In a narrow terminal the labels follow the name of the rule."""

    all: int
    rule: int
    labels: int
    value: int
    clock: int
    bar: int

    @classmethod
    def of(cls, width: int, rules: Iterable[str]) -> _Widths:
        """For a terminal that wide, with these rules on it."""
        if width < TABLE_CELLS_MIN:
            clock = 26 if width >= 50 else max(min(16, width - 20), 0)
            longest = max((cell_len(literal(rule)) for rule in rules), default=0)
            return cls(width, 0, width - clock - longest - 11, 0, clock, 0)
        clock, bar_cells, value = (48, 18, 11) if width >= 120 else (34, 6, 11 * (width >= 100))
        rule = (width - clock - value - 10) * 2 // 5
        return cls(width, rule, width - 11 - rule - value - clock, value, clock, bar_cells)


def _alert(alert: AlertStatus, labels: str, since_ms: int, now_ms: int, widths: _Widths) -> Line:
    line: Line = [(fit(alert.state.upper(), 9), "bad" if alert.state == "firing" else "warn")]
    if widths.rule:
        line.append((fit(literal(alert.rule), widths.rule) + " ", "strong"))
        line.append((fit(labels, widths.labels) + " ", ""))
    else:
        line.append((fit(f"{literal(alert.rule)} {labels}", widths.all - widths.clock - 10) + " ", "strong"))
    if widths.value:
        line.append((fit(number(alert.value), widths.value - 2, "right") + "  ", ""))
    return line + _alert_clock(alert, since_ms, now_ms, widths.clock, widths.bar)


def _alert_clock(alert: AlertStatus, since_ms: int, now_ms: int, width: int, bar_cells: int) -> Line:
    """How long, against how long it has to be. A clock that stands is not advanced past what the status
    says; one that runs on although nothing is known has a deadline.
    """
    stands = alert.paused and not alert.due_ms
    elapsed_ms = alert.elapsed_ms + (0 if stands or alert.fading else since_ms)
    if alert.state == "firing":
        length = short_ms(elapsed_ms)
        end = "; unknown, clock stands" if stands else "; unknown" if alert.paused else ""
        if alert.due_ms and not alert.paused:
            end = f", {'resolves' if alert.keeping else 'changes'} in {short_ms(alert.due_ms - now_ms)}"
        forms = (
            f"firing for {length}{end}",
            f"{length}{end}",
            f"{length}; unknown" if alert.paused else f"{length}{end}",
        )
        return [(fit(next((form for form in forms if len(form) <= width), forms[-1]), width), "bad")]
    elapsed_ms = min(elapsed_ms, alert.for_ms)
    text = f"{short_ms(elapsed_ms)} of {short_ms(alert.for_ms)}"
    if stands:
        return [(fit(f"{text} unknown, clock stands", width), "dim")]
    room = width - bar_cells - bool(bar_cells)
    if alert.due_ms > now_ms:  # what is due has not happened before the engine says so
        deadline = f"{'ends' if alert.fading else 'fires'} in {short_ms(alert.due_ms - now_ms)}"
        both = f"{text}, {deadline}"
        text = both if len(both) <= room else deadline
    if not bar_cells:
        return [(fit(text, width), "warn")]
    share = elapsed_ms / alert.for_ms if alert.for_ms else 1.0
    return [(bar(share, bar_cells), "warn"), (fit(f" {text}", width - bar_cells), "")]
