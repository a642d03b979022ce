"""Rows of the alerts of plain rules: how they begin, and how they come to fire. See `engine.core.spells`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.alerts import Code, Phase
from engine.core.notices import Told
from engine.core.points import Points
from engine.core.store import NEVER_MS

if TYPE_CHECKING:
    from engine.core.book import AlertBook

__all__ = ["LONGEST_MS", "PlainRows", "column_of"]

Bools = NDArray[np.bool_]
Objects = NDArray[np.object_]
LONGEST_MS: Final = NEVER_MS // 2
"""A clock that takes longer never comes."""
_TRUE = np.int16(Code.TRUE)
_PENDING, _FIRING = int(Phase.PENDING), int(Phase.FIRING)


class PlainRows:
    """Writes rows.

    Args:
        book: Whose.
    """

    def __init__(self, book: AlertBook) -> None:
        self._book = book

    def begin(self, places: Ints, rules: Ints, times: Ints, hot: Bools, fired: Ints, due: Ints) -> Ints:
        """Take rows for alerts that are pending or, those that are `hot`, fire since `fired`; return them."""
        book, own = self._book, self._book.rows
        rows = own.take(places, rules, times)
        book.row_of.array[places] = rows
        book.changes.touch(places)
        book.counts += np.bincount(rules, minlength=len(book.rules))
        own.run[0, rows] = own.since[rows] = times
        own.code[rows] = _TRUE
        own.phase[rows] = _PENDING
        if hot.any():
            self.burn(rows[hot], fired[hot])
            due = np.where(hot, NEVER_MS, due)
        own.due[rows] = due
        book.due_ms = min(book.due_ms, int(due.min()))
        return rows

    def burn(self, rows: Ints, times: Ints) -> None:
        """These fire since `times`."""
        own = self._book.rows
        self._book.changes.touch(own.place[rows])
        own.phase[rows] = _FIRING
        own.level[rows] = 0
        own.set[rows] = 1
        own.kept[rows] = 1
        own.fired[rows] = times
        own.stepped[rows] = times
        own.due[rows] = NEVER_MS


def column_of(points: Points, at: Ints, kinds: Ints, active: Ints, fired: Ints, facts: Objects | None = None) -> Told:
    """What happens at points."""
    return Told(
        points.orders[at],
        points.times[at],
        points.rules[at],
        points.places[at],
        kinds,
        points.values[at],
        active,
        fired,
        np.full(len(at), None, dtype=np.object_) if facts is None else facts,
    )
