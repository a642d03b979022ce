"""What time alone will do to alerts: their conditions stay as they are, and clocks come.

The answer is not computed, it is seen: the alerts are put into a book of their own, and its time is let pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.alerts import Code
from engine.core.book import AlertBook, Output, Points
from engine.core.life import Alerting, Level
from engine.core.saved import load_alerts, save_alerts
from engine.core.seats import Seat
from engine.core.store import NEVER_MS

__all__ = ["Next", "forecast"]

ALERTS_MAX: Final = 2**31
STEPS_MAX: Final = 100_000
"""No alert changes that often by time alone."""


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """The next change of an alert.

    Args:
        kind: As of a transition: `firing`, `resolved`, `cleared` or `lost`.
        reason: Likewise.
        severity: The one that it has then, for a rule with levels.
    """

    time_ms: int
    kind: str
    reason: str
    severity: str = ""


class _Silent:
    """A rule without texts: nobody is told."""

    def __init__(self, rule: Alerting) -> None:
        self.name = rule.name
        self.levels: tuple[Level, ...] = tuple(rule.levels)
        self.of, self.on_missing = rule.of, rule.on_missing
        self.missing_for_ms, self.hold_max_ms = rule.missing_for_ms, rule.hold_max_ms
        self.keep_firing_for_ms, self.is_low = rule.keep_firing_for_ms, rule.is_low

    def alert_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return dict(labels)

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        return {}


class _Numbered:
    """Alerts with their number for a label."""

    def labels_of(self, slot: int) -> Mapping[str, str]:
        return {"n": str(slot)}

    def values_at(self, slots: Ints, times: Ints) -> NDArray[np.float64]:
        return np.full(len(slots), np.nan)


def forecast(seat: Seat, codes: Mapping[int, int]) -> dict[int, Next]:
    """By row of the seat's book, what happens next to its alert if its condition stays as it is; nothing for an alert
    that time alone does not change.

    Args:
        codes: By row, what the condition is. In grid mode alerts are told at the next instant; others know it already.
    """
    book, number = seat.book, seat.number
    rows = book.rows_of(number)
    if not len(rows):
        return {}
    rows = rows[np.argsort(book.slot_of.array[book.rows.place[rows]])]  # the order in which they are saved
    rule = _Silent(book.rules[number])
    copy = AlertBook([rule], [ALERTS_MAX])
    copy.attach(0, _Numbered())
    places = copy.add_places(0, len(rows))
    saved = save_alerts(book, number, book.rows.place[rows])
    load_alerts(copy, 0, saved, places, edited=True)  # whatever they are told is news
    found: dict[int, Next] = {}

    def note(outputs: list[Output]) -> None:
        for output in outputs:
            made = output[-1]
            following = Next(time_ms=made.time_ms, kind=made.kind, reason=made.reason, severity=made.severity)
            found.setdefault(int(rows[int(made.labels["n"])]), following)

    if seat.group is not None:
        at_ms = seat.instant_from(0)
        told = np.array([codes.get(row, Code.FALSE) for row in rows.tolist()], dtype=np.int16)
        zeros, nothing = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), np.nan)
        note(copy.tell(Points(zeros, places, zeros + at_ms, zeros - 1, zeros, told, nothing, nothing, zeros > 0)))
        note(copy.pass_time(at_ms, at_ms))
    for _ in range(STEPS_MAX):
        if copy.due_ms >= NEVER_MS or len(found) == len(rows):
            break
        at_ms = seat.instant_from(copy.due_ms)
        note(copy.pass_time(at_ms, None if seat.group is None else at_ms))
    return found
