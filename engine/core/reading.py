"""What a core shows: its alerts, the newest values, what it has counted. Reading changes nothing but what was told."""

from __future__ import annotations

import msgspec
import numpy as np

from engine.core.alerts import Phase
from engine.core.parts import Parts
from engine.events import Health
from engine.status import AlertStatus

__all__ = ["alert_counts", "alerts", "counters", "latest", "take_health"]

LOOKED_AT_MAX = 1_000
"""Series of a metric that are looked at for a few of them."""


def alerts(parts: Parts, limit: int | None) -> list[AlertStatus]:
    """Pending and firing alerts at the watermark: firing ones first, and what is true for longest first."""
    now_ms = parts.lander.watermark_ms
    shown = [(book, book.shown()) for book in parts.books]
    which = np.repeat(np.arange(len(shown)), [len(rows) for _, rows in shown])
    if not len(which):
        return []
    rows = np.concatenate([rows for _, rows in shown])
    pending = np.concatenate([book.rows.phase[rows] == Phase.PENDING for book, rows in shown])
    active = np.concatenate([book.rows.active[rows] for book, rows in shown])
    rules = np.concatenate([book.first + book.rows.rule[rows] for book, rows in shown])
    places = np.concatenate([book.rows.place[rows] for book, rows in shown])
    order = np.lexsort((places, rules, active, pending))[:limit]
    statuses: dict[int, AlertStatus] = {}
    for number in np.unique(which[order]).tolist():
        mine = order[which[order] == number]
        made = shown[number][0].statuses(rows[mine], now_ms)
        if (group := parts.group_of.get(shown[number][0])) is not None:  # its clocks are looked at at instants
            made = [_at_instant(parts, group, status) for status in made]
        statuses.update(zip(mine.tolist(), made, strict=True))
    return [statuses[place] for place in order.tolist()]


def _at_instant(parts: Parts, group: int, status: AlertStatus) -> AlertStatus:
    if not status.due_ms:
        return status
    return msgspec.structs.replace(status, due_ms=parts.instants.first_from(group, status.due_ms))


def alert_counts(parts: Parts) -> dict[str, int]:
    """How many alerts there are, by state."""
    phases = [book.rows.phase[book.shown()] for book in parts.books]
    pending = sum(int(np.count_nonzero(phase == Phase.PENDING)) for phase in phases)
    return {"pending": pending, "firing": sum(map(len, phases)) - pending}


def latest(parts: Parts, metric: str, limit: int | None = None) -> dict[str, float]:
    """The fresh values of a metric at the watermark, by canonical series text; of the newest series if there is a
    limit."""
    handles = parts.layouts.of_metric(metric)
    if limit is not None:
        handles = handles[max(0, len(handles) - LOOKED_AT_MAX) :]
    values, present = parts.store.show(handles, parts.lander.watermark_ms)
    rows = np.flatnonzero(present)[:limit].tolist()
    return {parts.store.table.text(int(handles[row])): float(values[row]) for row in rows}


def counters(parts: Parts) -> dict[str, int]:
    """What was counted since the start."""
    return dict(parts.tally.counters) | {
        "alerts_refused_total": sum(int(book.refused.sum()) for book in parts.books),
        "flaps_forgotten_total": sum(sum(book.flaps.forgotten) for book in parts.books),
    }


def take_health(parts: Parts) -> list[Health]:
    """Limits that were reached since the last call, as events stamped with the watermark."""
    for book in parts.books:
        for name, new in book.take_refused():
            parts.tally.breach(f"rule.{name}", "alerts_limit", new)
    return parts.tally.take_health(max(0, parts.lander.watermark_ms))
