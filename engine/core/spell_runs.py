"""Spells of a run: what becomes of alerts of plain rules over several samples, at once. See `engine.core.spells`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code, Phase
from engine.core.columns import spread
from engine.core.gauge import Sums
from engine.core.notices import CLEARS, FIRES, RESOLVES, Output, Told
from engine.core.plain_rows import LONGEST_MS, PlainRows, column_of
from engine.core.points import Points
from engine.core.store import NEVER_MS
from engine.core.tracks import Track
from engine.events import Facts

if TYPE_CHECKING:
    from engine.core.book import AlertBook

__all__ = ["SpellRuns"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_TRUE = np.int16(Code.TRUE)
_PENDING = int(Phase.PENDING)


class _New(NamedTuple):
    """Alerts that begin in a run: aligned columns.

    Args:
        at: With which change.
        lanes, times, rules, due: Where, when, whose, and when they are due.
        closed: Whether the change after it is their end.
        fires: Which fire in it, later than they begin.
        hot, fired: Which fire or have fired, and since when.
    """

    at: Ints
    lanes: Ints
    times: Ints
    rules: Ints
    due: Ints
    closed: Bools
    fires: Bools
    hot: Bools
    fired: Ints


class _Old(NamedTuple):
    """Alerts that were there before a run: aligned columns.

    Args:
        lanes, rows: Which.
        ends: With which change they end; -1 of those that do not.
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

    def run(self, track: Track, stored: Callable[[Ints], Floats]) -> tuple[list[Output], Points, Points | None]:
        """Tell what conditions are in a track, with all that comes due between.

        Args:
            stored: Gives what was measured before, at places that have an alert.

        Returns:
            (transitions, the changes they come from, the points of lanes that are left to the general steps).
        """
        book = self._book
        rows, start = book.row_of.array[track.at], book.codes.array[track.at]
        was, alerts, at = start == _TRUE, rows != FREE, track.changes(start)
        points, lane, rest = track.points(at), track.lanes(at), None
        crowded = not book.may_add(points.size) and not book.has_room(points.rules[points.codes == _TRUE])
        if crowded or not track.is_near:
            return [], points.pick(at[:0]), track.points(np.arange(track.size))
        odd = alerts != was
        odd |= alerts & (book.rows.stepped[rows] > track.begins)
        if not track.is_known:  # where there is an alert, that is for the general steps
            unknown = track.unknown()
            alerts[lane[points.codes == _TRUE]] = True
            odd[unknown] |= alerts[unknown]
        if odd.any():
            rest = track.points(np.flatnonzero(odd[track.lanes(np.arange(track.size))]))
            mine = ~odd[lane]
            points, lane, at = points.pick(mine), lane[mine], at[mine]
            rows = np.where(odd, FREE, rows)
        return self._told(track, at, points, lane, was, rows, stored), points, rest

    def _told(
        self,
        track: Track,
        at: Ints,
        points: Points,
        lane: Ints,
        was: Bools,
        rows: Ints,
        stored: Callable[[Ints], Floats],
    ) -> list[Output]:
        """What comes of changes.

        Args:
            at: Which rows of the track are changes, those of a lane together.
            points: The changes.
            lane: Of each.
            was: By lane, whether the condition was true at the beginning.
            rows: By lane, of its alert at the beginning.
        """
        same = np.zeros(len(lane), dtype=np.bool_)  # whether the next change is of the same lane
        np.equal(lane[1:], lane[:-1], out=same[:-1])
        first = np.ones(len(lane), dtype=np.bool_)
        np.logical_not(same[:-1], out=first[1:])
        new = self._new(track, points, lane, same)
        old = self._old(track, points, lane, np.flatnonzero(first & was[lane]), rows)
        done, stays = np.flatnonzero(new.closed & new.hot), np.flatnonzero(~new.closed)
        sums = self._measure(track, at, new, old, done, stays)
        over = np.flatnonzero(old.ends >= 0)
        at_once = new.hot & ~new.fires
        parts = [column_of(points, new.at, at_once.astype(np.int64), new.times, np.where(at_once, new.times, 0))]
        if new.fires.any() or old.ripe.any():
            parts.append(self._fires(track, new, old, stored))
        ends = np.concatenate([new.at[new.closed] + 1, old.ends[over]])
        if len(ends):
            hot = np.concatenate([new.hot[new.closed], (old.fired_at >= 0)[over]])
            active = np.concatenate([new.times[new.closed], old.active[over]])
            fired = np.concatenate([new.fired[new.closed], np.maximum(old.fired_at, 0)[over]])
            facts = np.full(len(ends), None, dtype=np.object_)
            facts[hot] = self._facts(points, new, old, done, sums)
            parts.append(column_of(points, ends, np.where(hot, RESOLVES, CLEARS), active, fired, facts))
        self._write(points, new, old, stays, sums)
        told = Told._make(map(np.concatenate, zip(*parts, strict=True)))
        return self._book.told(told.pick(self._in_order(told)) if len(told.orders) else told)

    def _in_order(self, told: Told) -> Ints:
        """Positions by order, time, rule and place: by one number made of these, unless it would be too large."""
        low, places = int(told.times.min()), len(self._book.codes)
        span, rules = int(told.times.max()) - low + 1, len(self._book.rules)
        if (int(told.orders.max()) + 1) * span * rules * places >= NEVER_MS:
            return np.lexsort((told.places, told.rules, told.times, told.orders))
        keys = ((told.orders * span + (told.times - low)) * rules + told.rules) * places + told.places
        return keys.argsort(kind="stable")

    def _new(self, track: Track, points: Points, lane: Ints, same: Bools) -> _New:
        """The alerts that begin at some of the changes."""
        begin = np.flatnonzero(points.codes == _TRUE)
        closed, lanes = same[begin], lane[begin]
        limits = track.limits if isinstance(track.limits, int) else track.limits[lanes]
        limits = np.where(closed, points.limits[begin + closed], limits)
        times, rules = points.times[begin], points.rules[begin]
        waits = self._book.terms.waits[0][rules]
        due = times + np.minimum(waits, LONGEST_MS)
        at_once = waits == 0
        fires = ~at_once & (due <= limits)
        fired = np.where(at_once, times, np.where(fires, due, 0))
        return _New(begin, lanes, times, rules, due, closed, fires, at_once | fires, fired)

    def _old(self, track: Track, points: Points, lane: Ints, ends: Ints, rows: Ints) -> _Old:
        """The alerts that were there before, some of which end at the changes `ends`."""
        own = self._book.rows
        there = np.flatnonzero(rows != FREE)
        mine = rows[there]
        end = np.full(len(rows), -1, dtype=np.int64)
        end[lane[ends]] = ends
        end = end[there]
        pending, due = own.phase[mine] == _PENDING, own.due[mine]
        limits = track.limits if isinstance(track.limits, int) else track.limits[there]
        if len(ends):
            limits = np.where(end >= 0, points.limits[end], limits)
        ripe = pending & (due <= limits)
        fired_at = np.where(ripe, due, np.where(pending, -1, own.fired[mine]))
        return _Old(there, mine, end, own.active[mine], due, ripe, fired_at)

    def _measure(self, track: Track, at: Ints, new: _New, old: _Old, done: Ints, stays: Ints) -> Sums:
        """Take the samples with which conditions hold: what was measured of all old alerts, of the new ones that are
        `done`, and of those that stay."""
        gauge, more = self._book.gauge, len(done) + len(stays)
        lasting, there = new.lanes[stays], track.first[old.lanes]
        ends = track.last[old.lanes] + 1
        over = np.flatnonzero(old.ends >= 0)
        ends[over] = at[old.ends[over]]
        begun, stayed = new.at[done], new.at[stays]
        lanes = np.concatenate([old.lanes, new.lanes[done], lasting])
        begins = np.concatenate([there, at[begun], at[stayed]])
        ends = np.concatenate([ends, at[begun + 1], track.last[lasting] + 1])
        rules = None
        if gauge.turned:
            rules = np.concatenate([self._book.rows.rule[old.rows], new.rules[done], new.rules[stays]])
        sums = gauge.sums(old.rows, more)
        owners, rows = spread(begins, ends)
        gauge.add(sums, owners, track.measured(rows, lanes[owners]), rules)
        gauge.keep(old.rows, sums.pick(slice(0, len(old.rows))))
        return sums

    def _facts(self, points: Points, new: _New, old: _Old, done: Ints, sums: Sums) -> list[Facts]:
        """Of alerts that fired and are over: new ones, then old ones."""
        over = np.flatnonzero((old.ends >= 0) & (old.fired_at >= 0))
        begins, rows, size = new.at[done], old.rows[over], len(old.rows)
        true, unknown = self._book.gauge.spans(rows, points.times[old.ends[over]])
        lengths = points.times[begins + 1] - new.times[done]
        true, unknown = np.concatenate([lengths, true]), np.concatenate([np.zeros_like(lengths), unknown])
        which = np.concatenate([np.arange(size, size + len(done)), over])
        rules = np.concatenate([new.rules[done], self._book.rows.rule[rows]])
        return self._book.gauge.facts_of(sums.pick(which), rules, true, unknown)

    def _write(self, points: Points, new: _New, old: _Old, begun: Ints, sums: Sums) -> None:
        """Leave conditions and alerts as they are when all this is over."""
        book = self._book
        book.codes.array[points.places] = points.codes  # of a lane with several changes the last one stays
        over = old.ends >= 0
        if over.any():
            book.release(old.rows[over])
        stays = np.flatnonzero(old.ripe & ~over)
        if len(stays):
            self._rows.burn(old.rows[stays], old.due[stays])
        if len(begun):
            places = points.places[new.at[begun]]
            rules, times, fired, due = (column[begun] for column in (new.rules, new.times, new.fired, new.due))
            rows = self._rows.begin(places, rules, times, new.hot[begun], fired, due)
            book.gauge.keep(rows, sums.pick(slice(len(sums.samples) - len(begun), None)))

    @staticmethod
    def _fires(track: Track, new: _New, old: _Old, stored: Callable[[Ints], Floats]) -> Told:
        """Alerts that fire before the first row of their lane that is later."""
        lanes = np.concatenate([new.lanes[new.fires], old.lanes[old.ripe]])
        due = np.concatenate([new.due[new.fires], old.due[old.ripe]])
        active = np.concatenate([new.times[new.fires], old.active[old.ripe]])
        at = track.following(lanes, due)
        points = track.points(at)
        first = track.first[lanes]
        seen = track.measured(at - 1, lanes)  # of a first row it is left out
        unseen = np.flatnonzero(at == first)
        if len(unseen):
            seen[unseen] = stored(points.places[unseen])
        kinds, nothing = np.full(len(at), FIRES), np.full(len(at), None, dtype=np.object_)
        return Told(points.orders, due, points.rules, points.places, kinds, seen, active, due, nothing)
