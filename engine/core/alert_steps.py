"""The general steps of alerts: what points and time make of them, whatever their rules are.

A step has always the same course. What was due before happens first; then a label set without an alert opens one, if
there is room; then clocks and levels move (`engine.core.life`); and what changed is told, the next deadline planned and
the row of an alert that is over given back. `engine.core.spells` comes to the same for plain rules at a fraction of the
cost, and leaves to these steps what it has no closed form for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code, Given, Phase
from engine.core.life import Life
from engine.core.notices import Notices, Output
from engine.core.points import Points, Walk
from engine.core.store import NEVER_MS
from engine.errors import StateError

if TYPE_CHECKING:
    from engine.core.book import AlertBook

__all__ = ["AlertSteps"]

Codes = NDArray[np.int16]
Floats = NDArray[np.float64]
# A look-up of an enum's member costs as much as a small array to compare with.
_IDLE = int(Given.IDLE)
_LOST = int(Given.LOST)
_UNKNOWN = int(Given.UNKNOWN)
_INACTIVE = int(Phase.INACTIVE)


class AlertSteps:
    """Steps alerts.

    Args:
        book: Where they are.
        life: What a step does to clocks, levels and phases.
        notices: Makes transitions of what has changed.
    """

    def __init__(self, book: AlertBook, life: Life, notices: Notices) -> None:
        self._book = book
        self._life = life
        self._notices = notices

    # -- points ------------------------------------------------------------------------------------------------

    def tell(self, points: Points) -> list[Output]:
        """Tell alerts what their conditions are, and before each point what was due until then."""
        made: list[Output] = []
        book = self._book
        walk = Walk(points, book.codes.array)
        while len(walk):
            rows = book.row_of.array[walk.current_places()]
            due = np.where(rows == FREE, NEVER_MS, book.rows.due[rows])
            at = walk.next(due)
            if (there := rows != FREE).any():
                owners, passed = walk.passed(there)
                self._measure(rows[owners], points, passed)
            if not len(at):
                break
            made += self._take(points, at, walk.changed[at])
        book.codes.array[walk.places] = walk.last_codes()
        book.note_refused()
        return made

    def opens(self, codes: Codes, rules: Ints) -> NDArray[np.bool_]:
        """Which conditions begin an alert where there is none, those of these rules."""
        opens: NDArray[np.bool_] = (codes > 0) & ((codes & Code.WHENS) != 0)
        unknown = codes == Code.UNKNOWN
        if unknown.any():
            opens |= unknown & (self._life.terms.missing[rules] != NEVER_MS)
        return opens

    def _take(self, points: Points, at: Ints, changed: NDArray[np.bool_]) -> list[Output]:
        """The points `at`, of different places: first what was due before them, then themselves.

        Args:
            changed: Which of them say something else than was said before: only these begin an alert.
        """
        made: list[Output] = []
        book, own = self._book, self._book.rows
        places, times, codes = points.places[at], points.times[at], points.codes[at]
        rows = book.row_of.array[places]
        there = np.flatnonzero(rows != FREE)
        if len(there):
            limits = points.limits[at[there]]
            late = own.due[rows[there]] <= limits
            if late.any():
                due = there[late]
                seen = np.where(own.due[rows[due]] >= times[due], points.values[at[due]], points.seen[at[due]])
                made += self.pass_time(rows[due], limits[late], points.orders[at[due]], seen)
                rows = book.row_of.array[places]
        opening = np.flatnonzero((rows == FREE) & changed & self.opens(codes, points.rules[at]))
        there = np.flatnonzero(rows != FREE)
        if len(opening) and len(there) and not book.has_room(points.rules[at[opening]]):
            made += self._step(points, at[there], rows[there])  # some of these may make room
            there = there[:0]
        if len(opening):
            opening = opening[book.admit(points.rules[at[opening]], places[opening])]
            rows[opening] = own.take(places[opening], points.rules[at[opening]], times[opening])
            book.row_of.array[places[opening]] = rows[opening]
            there = np.union1d(there, opening) if len(there) else opening
        if len(there):
            made += self._step(points, at[there], rows[there])
        return made

    def _step(self, points: Points, at: Ints, rows: Ints) -> list[Output]:
        """Tell these alerts what their conditions are, by the points `at`."""
        own = self._book.rows
        codes, orders, values = points.codes[at], points.orders[at], points.values[at]
        times = np.maximum(points.times[at], own.stepped[rows])
        before = own.phase[rows], own.level[rows]
        stood = own.paused[rows] != NEVER_MS
        unknown = codes == Code.UNKNOWN
        given = np.zeros(len(rows), dtype=np.int8)
        if unknown.any():
            given[unknown & self._life.terms.pauses[own.rule[rows]]] = _UNKNOWN
            self._life.lose_sight(rows[unknown], times[unknown])
            known = ~unknown
            self._life.see(rows[known], times[known], codes[known])
        else:
            self._life.see(rows, times, codes)
        self._life.settle(rows, times, given, stood & ~unknown)
        self._measure(rows, points, at)
        made = self._close(rows, times, before, orders, values)
        missing = own.unknown[rows] != NEVER_MS
        if missing.any():  # what lasts no time at all
            again = missing & (own.due[rows] <= times) & (own.unknown[rows] == times)
            made += self.pass_time(rows[again], times[again], orders[again], values[again])
        return made

    # -- time --------------------------------------------------------------------------------------------------

    def pass_time(
        self, rows: Ints, untils: Ints, orders: Ints | None, seen: Floats | None, stamp_ms: int | None = None
    ) -> list[Output]:
        """Let happen, alert by alert in order of time, what is due until an instant of its own.

        Args:
            seen: What the expression measures for each; None if it is to be asked for what changes.
            stamp_ms: When it happens, if that is not when it is due.
        """
        made: list[Output] = []
        own, terms = self._book.rows, self._life.terms
        while len(rows):
            times = np.maximum(own.due[rows] if stamp_ms is None else stamp_ms, own.stepped[rows])
            before = own.phase[rows], own.level[rows]
            places = own.place[rows]
            given = np.full(len(rows), _IDLE, dtype=np.int8)
            missing = own.unknown[rows] != NEVER_MS
            lost = None
            if missing.any():
                given[missing] = _UNKNOWN
                since = np.where(missing, own.unknown[rows] + own.dark[rows], 0)
                fires = missing & (times - since >= terms.missing[own.rule[rows]])
                own.set[rows[fires]] |= np.where(own.set[rows[fires]] == 0, 1, 0).astype(np.int16)
                runs_on = missing & ~terms.pauses[own.rule[rows]]
                given[fires | runs_on] = _IDLE
                lost = missing & (times - since >= terms.hold[own.rule[rows]])
                given[lost] = _LOST
            waited = own.due[rows]
            self._life.settle(rows, times, given, own.paused[rows] == NEVER_MS)
            made += self._close(rows, times, before, orders, seen, lost)
            stays = (own.place[rows] == places) & (own.due[rows] <= untils)
            same = stays & (own.due[rows] <= waited) & (own.phase[rows] == before[0]) & (own.level[rows] == before[1])
            if same.any():  # it would be so for ever
                rule = self._book.rules[int(own.rule[rows[same][0]])]
                raise StateError(f"an alert of {rule.name} does not get on in time")
            rows, untils = rows[stays], untils[stays]
            orders = None if orders is None else orders[stays]
            seen = None if seen is None else seen[stays]
        return made

    # -- both --------------------------------------------------------------------------------------------------

    def _close(
        self,
        rows: Ints,
        times: Ints,
        before: tuple[NDArray[np.int8], NDArray[np.int8]],
        orders: Ints | None,
        values: Floats | None,
        lost: NDArray[np.bool_] | None = None,
    ) -> list[Output]:
        """Tell what has changed, plan what comes next, and give back the rows of alerts that are over."""
        book, own = self._book, self._book.rows
        book.changes.touch(own.place[rows])
        made = self._notices.changes(book, rows, times, before, orders, values, lost)
        over = own.phase[rows] == _INACTIVE
        if over.any():
            own.level[rows[over]] = -1
            waits = (own.unknown[rows] != NEVER_MS) & (before[0] == _INACTIVE)
            over &= ~waits if lost is None else ~waits | lost
            if book.shares.any:
                gone = np.zeros(len(rows), dtype=np.bool_) if lost is None else lost
                known = own.known(rows, times).tolist()
                for at in book.shares.among(own, rows):
                    over[at] &= gone[at] or not book.shares.holds_on(int(rows[at]), known[at])
        book.due_ms = min(book.due_ms, self._life.arm(rows))
        if over.any():
            book.release(rows[over])
        return made

    def _measure(self, rows: Ints, points: Points, at: Ints) -> None:
        """Take samples with which conditions hold: the points `at`, of these alerts."""
        if len(at):
            counts = points.sampled[at] & (points.codes[at] > 0) & ((points.codes[at] & Code.WHENS) != 0)
            self._book.gauge.take(rows[counts], points.values[at[counts]])
