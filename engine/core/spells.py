"""Spells: the alerts of plain rules, in closed form.

A rule is plain if it has one level without `clear`, and neither `of` nor `keep_firing_for`. As long as everything is
known of it, its alert has a start, a deadline and an end, and what happens to it over several samples follows from when
its condition changed. So a whole run of samples is stepped at once, for every label set of every plain rule.

It must come to exactly what the steps of `engine.core.life` come to, and leaves to them every alert of which anything
else is known: that it waits, or was lost sight of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code, Phase
from engine.core.notices import CLEARS, FIRES, RESOLVES, Output, Told
from engine.core.plain_rows import LONGEST_MS, PlainRows, column_of
from engine.core.points import Points
from engine.core.spell_runs import SpellRuns
from engine.core.store import NEVER_MS
from engine.core.tracks import Track

if TYPE_CHECKING:
    from engine.core.book import AlertBook

__all__ = ["Spells"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_TRUE = np.int16(Code.TRUE)
_FALSE = np.int16(Code.FALSE)
_PENDING, _FIRING = int(Phase.PENDING), int(Phase.FIRING)
_ENDS: Ints = np.array([CLEARS, CLEARS, RESOLVES, RESOLVES], dtype=np.int64)
"""By phase, what the end of a condition is."""


class Spells:
    """Steps the alerts of plain rules.

    Args:
        book: Where they are.
    """

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._rows = PlainRows(book)
        self._runs = SpellRuns(book, self._rows)

    def tell(self, points: Points) -> tuple[list[Output], Points | None]:
        """Tell changed conditions, at most one of each label set; what is due before them has happened.

        Returns:
            (transitions, the points that are left to the general steps).
        """
        book = self._book
        rows, was = book.row_of.array[points.places], book.codes.array[points.places]
        there = rows != FREE
        begins = points.codes == _TRUE
        rest = None
        if not book.may_add(points.size) and not book.has_room(points.rules[begins & ~there]):
            return [], points
        if int(points.codes.min()) >= 0 and int(was.min()) >= 0 and bool((there != begins).all()):  # the usual case
            ends = there
            book.codes.array[points.places] = points.codes
        else:
            ends = there & (points.codes == _FALSE) & (was == _TRUE)
            begins &= ~there
            odd = there & ~ends
            book.codes.array[points.places[~odd]] = points.codes[~odd]
            rest = points.pick(odd) if odd.any() else None
        parts = []
        if (at := np.flatnonzero(begins)).size:
            parts.append(self._open(points, at))
        if (at := np.flatnonzero(ends)).size:
            parts.append(self._end(points, at, rows[at]))
        return self._made(parts), rest

    def _open(self, points: Points, at: Ints) -> Told:
        rules, times = points.rules[at], points.times[at]
        waits = self._book.terms.waits[0][rules]
        due = times + np.minimum(waits, LONGEST_MS)
        at_once, fired = waits == 0, np.zeros(len(at), dtype=np.int64)
        if at_once.any():
            fired = np.where(at_once, times, 0)
        told = column_of(points, at, at_once.astype(np.int64), times, fired)  # BEGINS or FIRES_AT_ONCE
        rows = self._rows.begin(told.places, rules, times, at_once, fired, due)
        self._book.gauge.take(rows, told.values)
        return told

    def _end(self, points: Points, at: Ints, rows: Ints) -> Told:
        own = self._book.rows
        kinds, facts = _ENDS[own.phase[rows]], np.full(len(at), None, dtype=np.object_)
        if (hot := kinds == RESOLVES).any():
            facts[hot] = self._book.gauge.facts(rows[hot], points.times[at[hot]])
        told = column_of(points, at, kinds, own.active[rows], own.fired[rows], facts)
        self._book.release(rows)
        return told

    def _made(self, parts: list[Told]) -> list[Output]:
        if not parts:
            return []
        return self._book.told(
            parts[0] if len(parts) == 1 else Told._make(map(np.concatenate, zip(*parts, strict=True)))
        )

    def fire(self, rows: Ints, orders: Ints | None, seen: Floats) -> list[Output]:
        """Let pending alerts fire whose time has come, each when it is due."""
        own = self._book.rows
        times, rules, places = np.maximum(own.due[rows], own.stepped[rows]), own.rule[rows], own.place[rows]
        self._rows.burn(rows, times)
        zeros, nothing = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), None, dtype=np.object_)
        orders = zeros if orders is None else orders
        return self._book.told(
            Told(orders, times, rules, places, zeros + FIRES, seen, own.active[rows], times, nothing)
        )

    def may_fire(self, rows: Ints) -> Bools:
        """Of which alerts that are due nothing can have come but the time to fire."""
        own = self._book.rows
        may: Bools = self._book.plain[own.rule[rows]] & (own.phase[rows] == _PENDING) & (own.unknown[rows] == NEVER_MS)
        return may

    def run(self, track: Track, stored: Callable[[Ints], Floats]) -> tuple[list[Output], Points, Points | None]:
        """Tell what conditions are in a track, with all that comes due between: see `SpellRuns.run`."""
        return self._runs.run(track, stored)
