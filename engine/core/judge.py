"""One pointwise rule at work: what its condition is for each label set, as points for the book of alerts.

A landing goes in two steps. `before` says which inputs of the touched label sets went stale before it, by the store as
it was; `after` judges the landing itself, by the store as it is. Label sets whose condition does not change cost a few
vector operations and no point. What it is, `engine.core.slot_conditions` says; here is when that is asked.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code
from engine.core.binding import Binding, Compacted, Named, Touched
from engine.core.book import AlertBook
from engine.core.columns import Column
from engine.core.inputs import Inputs
from engine.core.lanes import Lanes, Run
from engine.core.points import Points
from engine.core.promql.evaluate import evaluate
from engine.core.promql.plan import Plan
from engine.core.rules import Rule
from engine.core.slot_conditions import SlotConditions
from engine.core.store import NEVER_MS, Landing, Store
from engine.core.sweeps import Sweep
from engine.core.timers import Timers

__all__ = ["Due", "Judge"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int16]


class Due(NamedTuple):
    """Label sets with an alert whose clock has come: aligned columns.

    Args:
        places: Which.
        untils: Let happen what is due until then, inclusive.
        seen: What is measured.
    """

    places: Ints
    untils: Ints
    seen: Floats


class Judge:
    """The conditions of one rule.

    Args:
        index: The rule's place in the order of rules.
        rule: What to judge.
        store: Where samples are read.
        book: Where its alerts are.
        inputs: Which series feed which place.
        timers: Where the instants go at which inputs go stale.
    """

    def __init__(self, index: int, rule: Rule, store: Store, book: AlertBook, inputs: Inputs, timers: Timers) -> None:
        self.index = index
        self.rule = rule
        self.plan = _pointwise(rule)
        self.binding = Binding(self.plan)
        self.book = book
        self.places: Column[np.int64] = Column(np.int64, FREE)
        """By slot, where the book has it."""
        self.store = store
        self.fed_by = inputs
        self.looks = Sweep(timers, index)
        """Shared with the rules that are judged together with this one."""
        self.conditions = SlotConditions(rule, self.plan, self.binding, store)
        # Then it matters that an input is gone even where there is no alert.
        self.fires = rule.on_missing == "fire"
        book.attach(index, self.conditions)

    @property
    def judged(self) -> Ints:
        """By place, when it was judged last, where several series feed it."""
        return self.fed_by.judged.array

    @property
    def complete(self) -> Column[np.bool_]:
        """By slot, under `fire`, whether everything was there once."""
        return self.conditions.complete

    @property
    def fed(self) -> Column[np.int64]:
        """By slot, with `or`, which selectors fed it last, as bits."""
        return self.conditions.fed

    @property
    def watches(self) -> bool:
        """Whether it matters that an input goes stale."""
        return bool(self.book.counts[self.index]) or self.fires or self.plan.absence_matters

    def add_series(self, series: Sequence[Named]) -> tuple[Ints, Ints, Ints]:
        """Take note of series at first sight; return (handles, selectors, places) of what they feed."""
        handles, leaves, slots = self.binding.add_series(series)
        self.grow()
        places = self.places.array[slots]
        for leaf in range(len(self.plan.leaves)):
            here = slice(None) if self.binding.single else leaves == leaf
            self.fed_by.feed(leaf, places[here], handles[here])
        return handles, leaves, places

    def feeds(self) -> tuple[Ints, Ints, Ints]:
        """(handles, selectors, places) of all that its series feed."""
        handles, leaves, slots = self.binding.feeds()
        return handles, leaves, self.places.array[slots]

    def grow(self) -> None:
        """Take places for new slots."""
        first, size = len(self.places), len(self.binding)
        if size > first:
            self.places.resize(size)
            self.places.array[first:] = self.book.add_places(first, size - first)
            self.fed_by.grow(self.places.array[first:], self.index)
            self.conditions.resize(size)

    def remembered(self) -> Ints | None:
        """The places of label sets that matter also without an alert; None if none ever does."""
        return self.places.array[self.complete.array] if self.fires else None

    def inputs(self) -> Ints:
        """The series of its alerts: they must not be forgotten."""
        slots = self.book.slot_of.array[self.book.rows.place[self.book.rows_of(self.index)]]
        handles = np.concatenate([self.binding.handles(leaf, slots) for leaf in range(len(self.plan.leaves))])
        return handles[handles >= 0]

    def compacting(self, keep: Bools, numbers: Ints) -> Generator[None, None, Compacted]:
        """Prepare to forget series, as `Binding.compacting` does."""
        slots, commit_binding = yield from self.binding.compacting(keep, numbers)
        left = slots >= 0
        places, commit_conditions = self.places.taken(left), self.conditions.compacted(left)

        def commit() -> None:
            commit_binding()
            self.book.give_places_back(self.places.array[~left])
            commit_conditions()
            self.places = places
            self.book.slot_of.array[places.array] = np.arange(len(places))

        return Compacted(slots, commit)

    # -- a landing ---------------------------------------------------------------------------------------------

    def before(self, touched: Touched, at_ms: int) -> Points | None:
        """The points of inputs that went stale strictly before a landing, by the store as it is without it."""
        if self.looks.at_ms >= max(at_ms, self.looks.judged_ms) or not self.watches:
            return None
        until = self._times(touched, at_ms) - 1
        return self._stale_points(touched.slots, self.looks.swept_ms, until)

    def due(self, touched: Touched, at_ms: int) -> Due | None:
        """The touched label sets with an alert whose clock comes strictly before a landing."""
        book = self.book
        if book.due_ms >= max(at_ms, self.looks.judged_ms) or not book.counts[self.index]:
            return None
        places = self.places.array[touched.at]
        rows = book.row_of.array[places]
        untils = self._times(touched, at_ms) - 1
        at = np.flatnonzero((rows != FREE) & (book.rows.due[rows] <= untils))
        if not len(at):
            return None
        return Due(places[at], untils[at], self.conditions.values_at(touched.slots[at], book.rows.due[rows[at]]))

    def after(self, touched: Touched, landing: Landing, at_ms: int) -> Points | None:
        """Judge a landing that the store has taken; the points of label sets whose condition has changed."""
        times = self._times(touched, at_ms)
        if not self.binding.single:
            self.judged[self.places.array[touched.at]] = times
            self.looks.judged_ms = max(self.looks.judged_ms, int(times.max(initial=-1)))
        brought = touched.complete if landing.stale is None and landing.stale_from_ms > at_ms else None
        if brought is not None:  # all that it reads is in the landing, and fresh
            there, states = np.ones(len(times), dtype=np.bool_), None
            columns = evaluate(self.rule.measure, lambda leaf: (landing.values[brought[leaf]], there))
        else:
            states = self.conditions.states(touched.at, times)
            columns = evaluate(self.rule.measure, lambda leaf: states[leaf][:2])
        codes = self.conditions.codes(columns, touched.at, states)
        if self.store.restarted_ms >= 0:
            self._withhold(codes, touched.slots, times)
        places = self.places.array[touched.at]
        differs = codes != self.book.codes.array[places]
        self.book.note(places, codes, columns.values, ~differs)
        changed = np.flatnonzero(differs)
        if not len(changed):
            return None
        slots, stamps = touched.slots[changed], times[changed]
        values = self.conditions.values_at(slots, stamps)
        zeros, every = np.zeros(len(changed), dtype=np.int64), np.ones(len(changed), dtype=np.bool_)
        rules, limits, codes = zeros + self.index, stamps - 1, codes[changed]
        return Points(rules, places[changed], stamps, limits, zeros, codes, values, values, every)

    def landed(self, stale_from_ms: int) -> None:
        """Samples of its series were landed; the first of them goes stale at `stale_from_ms`."""
        if self.watches:
            self.looks.expect(stale_from_ms)

    def changed(self, points: Points) -> None:
        """Points of its label sets were told: there may be new alerts, whose other inputs must be watched."""
        if self.watches and not self.binding.single:
            slots = np.unique(self.book.slot_of.array[points.places])
            self.looks.expect(int(np.min(self._stale_from(slots, self.looks.swept_ms), initial=NEVER_MS)))

    def _times(self, touched: Touched, at_ms: int) -> Ints:
        if at_ms >= self.looks.judged_ms:
            return np.full(len(touched.slots), at_ms)
        return np.maximum(self.judged[self.places.array[touched.at]], at_ms)

    def blind(self, handles: Ints, from_ms: int, to_ms: int, watermark_ms: int) -> None:
        """Nobody could see these series in a span: it is taken out of their clocks, and nothing is judged in it."""
        touched = self.binding.touched(handles)
        if touched is None:
            return
        rows = self.book.row_of.array[self.places.array[touched.at]]
        self.book.blind(from_ms, to_ms, rows[rows != FREE], some=True, judged_ms=watermark_ms)
        self.judged[self.places.array[touched.at]] = np.maximum(self.judged[self.places.array[touched.at]], to_ms)
        self.looks.judged_ms = max(self.looks.judged_ms, to_ms)

    def note_looked(self, looked_ms: Ints) -> None:
        """Note, by series, until when its label sets were judged, where that is not when it had a sample."""
        if self.binding.single or self.looks.judged_ms < 0:
            return
        for leaf in range(len(self.plan.leaves)):
            handles = self.binding.handles(leaf, slice(None))
            there = handles >= 0
            np.maximum.at(looked_ms, handles[there], self.judged[self.places.array[there]])

    # -- time --------------------------------------------------------------------------------------------------

    def sweep(self, until_ms: int) -> Generator[None, None, list[Points]]:
        """The points of inputs that go stale until an instant, inclusive. If there are none, the next sweep is planned;
        else go through `watching` when they are told."""
        if self.looks.at_ms > until_ms:
            return []
        self.looks.at_ms = NEVER_MS
        first_ms = int(np.min(self._stale_from(self._watched(), self.looks.swept_ms), initial=NEVER_MS))
        yield
        points = None
        if first_ms > until_ms:
            self.looks.expect(first_ms)
        else:
            points = self.stale_until(until_ms)
        self.looks.swept_ms = until_ms
        return [] if points is None else [points]

    def stale_until(self, until_ms: int, among: Ints | None = None) -> Points | None:
        """The points of inputs that go stale after the last sweep and until an instant, inclusive.

        Args:
            among: The label sets that have such an input, if they are known.
        """
        watched = self._watched() if among is None else among
        return self._stale_points(watched, self.looks.swept_ms, np.full(len(watched), until_ms))

    def watch(self) -> None:
        """Plan the next sweep."""
        if self.watches:
            self.looks.expect(int(np.min(self._stale_from(self._watched(), self.looks.swept_ms), initial=NEVER_MS)))

    def watching(self) -> Generator[None, None, None]:
        """The same, for one among others that do it in steps."""
        self.watch()
        yield

    def watch_from(self, now_ms: int) -> None:
        """Plan the next sweep; no input that went stale before an instant is looked at again."""
        self.looks.swept_ms = max(self.looks.swept_ms, now_ms - 1)
        self.watch()

    def _watched(self) -> Ints:
        """Label sets for which it matters that an input goes stale."""
        if self.fires or self.plan.absence_matters:
            return np.arange(len(self.binding))
        rows = self.book.rows_of(self.index)
        return np.sort(self.book.slot_of.array[self.book.rows.place[rows]])

    def _stale_from(self, slots: Ints, after_ms: Ints | int) -> Ints:
        """The first instant after `after_ms` at which an input of each slot goes stale."""
        first = np.full(len(slots), NEVER_MS)
        for leaf in range(len(self.plan.leaves)):
            instants = self.store.stale_from(self.binding.handles(leaf, slots))
            np.minimum(first, np.where(instants <= after_ms, NEVER_MS, instants), out=first)
        return first

    def _stale_points(self, slots: Ints, after_ms: int, until: Ints) -> Points | None:
        """For each slot a point at every instant after `after_ms` and until `until` at which an input goes stale."""
        parts: list[Points] = []
        seen = np.full(len(slots), after_ms)
        while len(slots):
            instants = self._stale_from(slots, seen)
            here = instants <= until
            slots, until, seen = slots[here], until[here], instants[here]
            if len(slots):
                parts.append(self._points_at(slots, seen))
        if not parts:
            return None
        points = Points.join(parts)
        return points if len(parts) == 1 else points.pick(np.argsort(points.places, kind="stable"))

    def _points_at(self, slots: Ints, instants: Ints) -> Points:
        """What the store says of slots at instants, just after an input went stale."""
        times = np.maximum(instants, self.store.blind_to_ms)  # in a span it goes stale only if others had seen that
        times = np.maximum(times, self.judged[self.places.array[slots]]) if self.looks.judged_ms >= 0 else times
        states = self.conditions.states(slots, times)
        columns = evaluate(self.rule.measure, lambda leaf: states[leaf][:2])
        codes = self.conditions.codes(columns, slots, states)
        if self.store.restarted_ms >= 0:
            self._withhold(codes, slots, times)
        places = self.places.array[slots]
        values, before = self.conditions.values_at(slots, times), self.conditions.values_at(slots, instants - 1)
        zeros = np.zeros(len(slots), dtype=np.int64)
        # What was due at the instant comes before; if the slot was judged since, that was so then.
        none = np.zeros(len(slots), dtype=np.bool_)
        return Points(zeros + self.index, places, times, instants, zeros, codes, values, before, none)

    def _withhold(self, codes: Codes, slots: Ints, times: Ints) -> None:
        """After a restart, what would end a firing alert is not known as long as one of its inputs was not seen."""
        rows = self.book.row_of.array[self.places.array[slots]]
        at = np.flatnonzero((rows != FREE) & (codes >= 0))
        at = at[self.book.ends(rows[at], codes[at])]
        waits = np.zeros(len(at), dtype=np.bool_)
        for leaf in range(len(self.plan.leaves)):
            waits |= self.store.unseen(self.binding.handles(leaf, slots[at]), times[at])
        codes[at[waits]] = Code.UNKNOWN

    # -- a run of single samples -------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        """Whether single samples may be judged together: all that feeds a label set, and nothing of absence."""
        return not self.fires and not self.plan.absence_matters

    def run(self, run: Run, among: Ints) -> Points | None:
        """The points of a run of single samples, by the store as it was before it.

        Args:
            among: Positions in the run, ascending: all samples of the metrics that the rule reads.
        """
        binding, handles = self.binding, run.handles[among]
        placed = [binding.placed(leaf, handles) for leaf in range(len(self.plan.leaves))]
        lanes = Lanes.of(run, [(slots, among[at]) for slots, at in placed])
        if lanes is None:
            return None
        once = lanes.slots[lanes.first]
        floored = not binding.single or int(lanes.times.min()) < self.looks.judged_ms
        if floored:
            lanes = lanes.not_before(self.judged[self.places.array[once]])
        watches = self.watches
        early = None
        if watches and self.looks.at_ms < int(lanes.times.max()):
            early = self._stale_points(once, self.looks.swept_ms, lanes.times[lanes.first] - 1)
            if early is not None:
                own = np.searchsorted(once, self.book.slot_of.array[early.places])
                early = early._replace(orders=lanes.orders[lanes.first][own])
        if not binding.single:
            self.judged[self.places.array[once]] = lanes.times[lanes.last]
            self.looks.judged_ms = max(self.looks.judged_ms, int(lanes.times.max()))
        stored = [self.store.series_state(binding.handles(leaf, once)) for leaf in range(len(self.plan.leaves))]
        lanes = lanes.shown_by(run, stored)
        states = lanes.states
        slots, times = lanes.slots, lanes.times
        columns = evaluate(self.rule.measure, lambda leaf: states[leaf][:2])
        codes = self.conditions.codes(columns, slots, states)
        values = self.conditions.shown(lambda leaf: states[leaf][:2])
        seen = np.empty_like(values)
        seen[1:] = values[:-1]
        seen[lanes.first] = self.conditions.values_at(once, times[lanes.first] - 1) if watches else np.nan
        places = self.places.array[slots]
        rules = np.full(len(slots), self.index)
        points = Points(rules, places, times, lanes.limits, lanes.orders, codes, values, seen, lanes.sampled)
        if early is not None:
            points = Points.join([early, points])
            points = points.pick(np.argsort(points.places, kind="stable"))
        return points


def _pointwise(rule: Rule) -> Plan:
    if not isinstance(rule.plan, Plan):
        raise TypeError(f"{rule.plan.expr} is not pointwise")
    return rule.plan
