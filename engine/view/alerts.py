"""The alerts of the view as rows of cells: which come first, what they are about, and how long until what.

Pure functions, as those of `engine.view.panels`.
"""

from __future__ import annotations

import heapq

from engine.status import AlertStatus, EngineStatus, alert_counts
from engine.view.cells import bar, fit, labels_text, literal, number, short_ms
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
        return [_alert(alert, since_ms, scene, width) for alert in heapq.nsmallest(count, status.alerts, key=urgency)]

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


def _alert(alert: AlertStatus, since_ms: int, scene: Scene, width: int) -> Line:
    line: Line = [(fit(alert.state.upper(), 9), "bad" if alert.state == "firing" else "warn")]
    labels = ("flapping " if alert.flapping else "") + labels_text(alert.shown_labels)
    if width < TABLE_CELLS_MIN:
        clock_cells = 26 if width >= 50 else max(min(16, width - 20), 0)
        line.append((fit(f"{literal(alert.rule)} {labels}", width - clock_cells - 10) + " ", "strong"))
        return line + _alert_clock(alert, since_ms, scene.now_ms, clock_cells, 0)
    wide = width >= 100
    clock_cells, bar_cells, value_cells = (48, 18, 11) if wide else (34, 6, 0)
    rule_cells = (width - clock_cells - value_cells - 10) * 2 // 5
    line.append((fit(literal(alert.rule), rule_cells) + " ", "strong"))
    line.append((fit(labels, width - 11 - rule_cells - value_cells - clock_cells) + " ", ""))
    if wide:
        line.append((fit(number(alert.value), value_cells - 2, "right") + "  ", ""))
    return line + _alert_clock(alert, since_ms, scene.now_ms, clock_cells, bar_cells)


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
