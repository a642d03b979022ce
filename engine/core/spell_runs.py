"""Spells of a run: what becomes of alerts of plain rules over several samples, at once. See `engine.core.spells`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code, Phase
from engine.core.notices import CLEARS, FIRES, RESOLVES, Output, Told
from engine.core.plain_rows import LONGEST_MS, PlainRows, column_of
from engine.core.points import Points
from engine.core.store import NEVER_MS

if TYPE_CHECKING:
    from engine.core.book import AlertBook

__all__ = ["SpellRuns"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_TRUE = np.int16(Code.TRUE)
_FALSE = np.int16(Code.FALSE)
_PENDING = int(Phase.PENDING)


class _Lanes(NamedTuple):
    """Rows of label sets, as in `engine.core.lanes`: where each lane begins and ends, and the lane of each row."""

    first: Ints
    last: Ints
    of_row: Ints


class _New(NamedTuple):
    """Alerts that begin in a run: aligned columns.

    Args:
        at: Where.
        times, rules, due: When, whose, and when they are due.
        closed, ends: Whether they end in the run, and where; of others where their lane ends.
        fires: Which fire in it, later than they begin.
        hot, fired: Which fire or have fired, and since when.
    """

    at: Ints
    times: Ints
    rules: Ints
    due: Ints
    closed: Bools
    ends: Ints
    fires: Bools
    hot: Bools
    fired: Ints


class _Old(NamedTuple):
    """Alerts that were there before a run: aligned columns.

    Args:
        lanes, rows: Which.
        ends: Where they end; -1 of those that do not.
        active, due: Since when, and when they are or were due.
        ripe: Which fire in the run.
        fired_at: Since when they fire or have fired; -1 of others.
    """

    lanes: Ints
    rows: Ints
    ends: Ints
    active: Ints
    due: Ints
    ripe: Bools
    fired_at: Ints


class SpellRuns:
    """Steps the alerts of plain rules over a run.

    Args:
        book: Where they are.
        rows: Writes their rows.
    """

    def __init__(self, book: AlertBook, rows: PlainRows) -> None:
        self._book = book
        self._rows = rows

    def run(
        self, points: Points, first: Ints, last: Ints, stored: Callable[[Ints], Floats]
    ) -> tuple[list[Output], Points | None]:
        """Tell what conditions are in lanes, with all that comes due between.

        Args:
            points: Without gaps: each is a sample, in the order of its lane.
            first, last: Of each lane the first and the last of its points.
            stored: Gives what was measured before, at places that have an alert.

        Returns:
            (transitions, the points of lanes that are left to the general steps).
        """
        book = self._book
        codes = points.codes
        once = points.places[first]
        rows, start = book.row_of.array[once], book.codes.array[once]
        before = np.empty_like(codes)
        before[1:] = codes[:-1]
        before[first] = start
        changed = codes != before
        odd = (rows != FREE) != (start == _TRUE)
        odd |= (rows != FREE) & (book.rows.stepped[rows] > points.times[first])
        strange = (codes != _TRUE) & (codes != _FALSE)
        lane = np.zeros(len(codes), dtype=np.int64)
        lane[first[1:]] = 1
        np.cumsum(lane, out=lane)
        if strange.any():  # something is not known: with an alert, that is for the general steps
            some = np.zeros(len(first), dtype=np.bool_)
            some[lane[strange]] = True
            alerts = rows != FREE
            alerts[lane[codes == _TRUE]] = True
            odd |= some & alerts
        if not self._is_near(points, len(first)):
            return [], points
        if not book.may_add(points.size) and not book.has_room(points.rules[changed & (codes == _TRUE)]):
            return [], points
        rest = None
        if odd.any():
            mine = odd[lane]
            rest = points.pick(mine)
            changed &= ~mine
            rows = np.where(odd, FREE, rows)
        lanes = _Lanes(first, last, lane)
        return self._told(points, lanes, np.flatnonzero(changed), before, rows, stored), rest

    @staticmethod
    def _is_near(points: Points, lanes: int) -> bool:
        """Whether a lane and a time together are one number."""
        return (int(points.times.max()) - int(points.times.min()) + 2) * lanes < NEVER_MS

    def _told(
        self,
        points: Points,
        lanes: _Lanes,
        at: Ints,
        before: NDArray[np.int16],
        rows: Ints,
        stored: Callable[[Ints], Floats],
    ) -> list[Output]:
        """What comes of the changes `at`.

        Args:
            rows: By lane, of its alert at the beginning.
        """
        lane = lanes.of_row[at]
        same = np.zeros(len(at), dtype=np.bool_)  # whether the next change is of the same lane
        np.equal(lane[1:], lane[:-1], out=same[:-1])
        new = self._new(points, lanes, at, lane, same)
        first = np.ones(len(at), dtype=np.bool_)
        np.logical_not(same[:-1], out=first[1:])
        old = self._old(points, lanes, at[first & (before[at] == _TRUE)], rows)
        ripe, over = old.ripe, np.flatnonzero(old.ends >= 0)
        fires = self._fires(
            points,
            lanes,
            np.concatenate([lanes.of_row[new.at[new.fires]], old.lanes[ripe]]),
            np.concatenate([new.due[new.fires], old.due[ripe]]),
            np.concatenate([new.times[new.fires], old.active[ripe]]),
            stored,
        )
        hot = np.concatenate([new.hot[new.closed], (old.fired_at >= 0)[over]])
        active = np.concatenate([new.times[new.closed], old.active[over]])
        fired = np.concatenate([new.fired[new.closed], np.maximum(old.fired_at, 0)[over]])
        ends = np.concatenate([new.ends[new.closed], old.ends[over]])
        at_once = new.hot & ~new.fires
        parts = [
            column_of(points, new.at, at_once.astype(np.int64), new.times, np.where(at_once, new.times, 0)),
            fires,
            column_of(points, ends, np.where(hot, RESOLVES, CLEARS), active, fired),
        ]
        self._write(points, at, new, old)
        told = Told._make(map(np.concatenate, zip(*parts, strict=True)))
        return self._book.told(told.pick(np.lexsort((told.rules, told.times, told.orders))))

    def _new(self, points: Points, lanes: _Lanes, at: Ints, lane: Ints, same: Bools) -> _New:
        """The alerts that begin at some of the changes `at`."""
        begin = np.flatnonzero(points.codes[at] == _TRUE)
        closed = same[begin]
        ends = lanes.last[lane[begin]]
        ends[closed] = at[begin[closed] + 1]
        begins = at[begin]
        times, rules = points.times[begins], points.rules[begins]
        waits = self._book.terms.waits[0][rules]
        due = times + np.minimum(waits, LONGEST_MS)
        at_once = waits == 0
        fires = ~at_once & (due <= points.limits[ends])
        fired = np.where(at_once, times, np.where(fires, due, 0))
        return _New(begins, times, rules, due, closed, ends, fires, at_once | fires, fired)

    def _old(self, points: Points, lanes: _Lanes, ends: Ints, rows: Ints) -> _Old:
        """The alerts that were there before, some of which end at `ends`."""
        own = self._book.rows
        there = np.flatnonzero(rows != FREE)
        mine = rows[there]
        end = np.full(len(rows), -1, dtype=np.int64)
        end[lanes.of_row[ends]] = ends
        end = end[there]
        pending, due = own.phase[mine] == _PENDING, own.due[mine]
        ripe = pending & (due <= points.limits[np.where(end >= 0, end, lanes.last[there])])
        fired_at = np.where(ripe, due, np.where(pending, -1, own.fired[mine]))
        return _Old(there, mine, end, own.active[mine], due, ripe, fired_at)

    def _write(self, points: Points, at: Ints, new: _New, old: _Old) -> None:
        """Leave conditions and alerts as they are when all this is over."""
        book = self._book
        book.codes.array[points.places[at]] = points.codes[at]  # of a lane with several changes the last one stays
        over = old.ends >= 0
        if over.any():
            book.release(old.rows[over])
        stays = np.flatnonzero(old.ripe & ~over)
        if len(stays):
            self._rows.burn(old.rows[stays], old.due[stays])
        stays = np.flatnonzero(~new.closed)
        if len(stays):
            begins = new.at[stays]
            places = points.places[begins]
            self._rows.begin(
                places, new.rules[stays], new.times[stays], new.hot[stays], new.fired[stays], new.due[stays]
            )

    @staticmethod
    def _fires(
        points: Points, lanes: _Lanes, lane: Ints, due: Ints, active: Ints, stored: Callable[[Ints], Floats]
    ) -> Told:
        """Alerts that fire before the first point of their lane that is later."""
        low = int(points.times.min())
        span = int(points.times.max()) - low + 2
        keys = lanes.of_row * span + (points.times - low)
        at = np.searchsorted(keys, lane * span + np.maximum(due - low, -1), side="right")
        first = lanes.first[lane]
        at = np.maximum(at, first)
        seen = np.where(at == first, stored(points.places[first]), points.values[at - 1])
        kinds = np.full(len(at), FIRES)
        return Told(points.orders[at], due, points.rules[at], points.places[at], kinds, seen, active, due)
