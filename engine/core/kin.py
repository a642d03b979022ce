"""Pointwise rules of one shape, judged together: what their conditions are for every label set that a landing touches.

Most rules say the same in another metric or with another number: `metric > 80`, `a / b < 0.1`. This is where such rules
are compiled, once, to one table of inputs and thresholds by place; a landing then costs the same few vector operations
for one rule as for a hundred. Of a rule's judge only what is rare is left to it: inputs that went stale before a
landing, and the time after a restart. It must say exactly what the judges would say one by one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.ages import Ages
from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code
from engine.core.book import AlertBook
from engine.core.columns import Index, as_index
from engine.core.inputs import Entries, Inputs
from engine.core.judge import Due, Judge
from engine.core.lanes import Lanes, Run
from engine.core.points import Points
from engine.core.promql.evaluate import COMPARISON, evaluate
from engine.core.promql.plan import Selector
from engine.core.shapes import Limits, compared, is_ordinary, is_plain, shape
from engine.core.store import NEVER_MS, Landing, Mark, Store
from engine.core.tracks import Grid

__all__ = ["Kin", "Part", "kin_of"]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int16]

_FALSE = np.int16(Code.FALSE)
_STEP = np.int16(Code.TRUE - Code.FALSE)
_ENDED = int(Mark.ENDED)


class Part(NamedTuple):
    """Some of the label sets that a tuple of series touches: aligned columns.

    Args:
        places, at: Which; the same, for columns.
        rules: Whose.
        sources: By selector, where in the atom its sample is.
        inside: By selector, for which of them the atom has one; None if for all.
        limits: What the measured values are compared with.
    """

    places: Ints
    at: Index
    rules: Ints
    sources: tuple[Index, ...]
    inside: tuple[Bools | None, ...]
    limits: Limits

    @property
    def is_whole(self) -> bool:
        """Whether the atom has all that its rules ask for."""
        return all(inside is None for inside in self.inside)


class Kin:
    """Rules of one shape.

    Args:
        judges: Of these rules.
        rules: How many rules there are in all.
    """

    def __init__(self, judges: Sequence[Judge], store: Store, book: AlertBook, inputs: Inputs, rules: int) -> None:
        self.judges = tuple(judges)
        self._judge_of = {judge.index: judge for judge in judges}
        self.looks = judges[0].looks
        for judge in judges:
            judge.looks = self.looks
        first = judges[0].rule
        self._measure = first.measure
        self._leaves = len(judges[0].plan.leaves)
        self._missing = np.int16(Code.MISSING if first.on_missing == "reset" else Code.UNKNOWN)
        self._compared = compared([(judge.index, judge.rule.levels) for judge in judges], rules)
        self._one = len(first.levels) == 1 and first.levels[0].clear is None
        self.plain = self._one and all(is_plain(judge.rule) for judge in judges)
        """Whether an alert of it has nothing but a start, a deadline and an end: see `engine.core.spells`."""
        self._store = store
        self._book = book
        self._inputs = inputs
        mine = np.zeros(rules, dtype=np.bool_)
        mine[[judge.index for judge in judges]] = True
        self.ages = Ages(self.looks, store, book, inputs, self._leaves, mine)
        book.measure_by(np.flatnonzero(mine), self, plain=self.plain)

    @property
    def joins(self) -> bool:
        """Whether several series feed a label set."""
        return self._leaves > 1

    # -- what a tuple of series touches ------------------------------------------------------------------------

    def part(self, places: Ints, series: Ints, at: Ints) -> Part:
        """Some of its label sets, each of which is fed by one of some series.

        Args:
            places: Which, ascending.
            series: Ascending.
            at: Where each of these stands in the atom.
        """
        sources, inside = [], []
        for leaf in range(self._leaves):
            handles = self._inputs.handles[leaf].array[places]
            found = np.minimum(np.searchsorted(series, handles), len(series) - 1)
            there = series[found] == handles
            sources.append(as_index(np.where(there, at[found], 0)))
            inside.append(None if there.all() else there)
        rules = self._inputs.rule.array[places]
        limits = [limit[rules] for limit in self._compared.limits]
        return Part(places, as_index(places), rules, tuple(sources), tuple(inside), limits)

    # -- conditions --------------------------------------------------------------------------------------------

    def _codes(self, values: Floats, limits: Limits, present: Bools | None, ended: Bools | None) -> Codes:
        """The code of each value, for limits of the same shape or one that stretches to it.

        Args:
            present, ended: Where there is a value, and where an input has ended; None if all are there.
        """
        compared = self._compared
        if self._one:
            op = compared.whens[0]
            holds = np.ones(values.shape, dtype=np.bool_) if op is None else COMPARISON[op](values, limits[0])
            codes = holds * _STEP + _FALSE  # a sixth of what a look-up costs
        else:
            codes = np.full(values.shape, Code.FALSE, dtype=np.int16)
            for level, (op, clear_op) in enumerate(zip(compared.whens, compared.clears, strict=True)):
                when = np.ones(values.shape, np.bool_) if op is None else COMPARISON[op](values, limits[2 * level])
                clear = ~when if clear_op is None else COMPARISON[clear_op](values, limits[2 * level + 1])
                codes |= when * np.int16(1 << level)
                codes &= ~(~clear * np.int16(Code.CLEAR << level))
        if present is not None:
            gone = np.flatnonzero(~present)
            if len(gone):
                codes[gone] = self._missing if ended is None else np.where(ended[gone], Code.ENDED, self._missing)
        return codes

    def _evaluated(self, leaves: Sequence[Floats]) -> Floats:
        if isinstance(self._measure, Selector):
            return leaves[0]
        there = np.ones(len(leaves[0]), dtype=np.bool_)
        return evaluate(self._measure, lambda leaf: (leaves[leaf], there)).values

    def _by_store(self, places: Index, times: Ints | int) -> tuple[Floats, Bools, Bools]:
        """(values, present, ended) of places at instants, by the store."""
        present: Bools | None = None
        ended: Bools | None = None
        leaves = []
        for leaf in range(self._leaves):
            values, fresh, over = self._store.state(self._inputs.handles[leaf].array[places], times)
            leaves.append(values)
            present = fresh if present is None else present & fresh
            ended = over if ended is None else ended | over
        assert present is not None
        assert ended is not None
        return self._evaluated(leaves), present, ended

    def values_of(self, places: Index, times: Ints | int) -> Floats:
        """What the rules measure at places at instants; NaN where nothing is known."""
        values, present, _ = self._by_store(places, times)
        return values if present.all() else np.where(present, values, np.nan)

    def last_values(self, places: Ints) -> Floats:
        """What the rules measure at places whose inputs are all fresh."""
        handles = [self._inputs.handles[leaf].array[places] for leaf in range(self._leaves)]
        return self._evaluated([self._store.values(one) for one in handles])

    # -- a landing ---------------------------------------------------------------------------------------------

    def times(self, places: Index, at_ms: int) -> Ints | int:
        """When a landing is judged: not before any of its label sets was."""
        if at_ms >= self.looks.judged_ms:
            return at_ms
        return np.maximum(self._inputs.judged.array[places], at_ms)

    def due(self, part: Part, at_ms: int) -> Due | None:
        """The touched label sets with an alert whose clock comes strictly before a landing."""
        book = self._book
        if book.due_ms >= max(at_ms, self.looks.judged_ms):
            return None
        rows = book.row_of.array[part.at]
        # A place without an alert has the number of the last row, and is left out.
        due = book.rows.due[rows]
        times = self.times(part.at, at_ms)
        late = np.flatnonzero(due < times)
        late = late[rows[late] != FREE]
        if not len(late):
            return None
        places = part.places[late]
        untils = np.full(len(late), times - 1) if isinstance(times, int) else times[late] - 1
        known = self.plain and bool((book.rows.unknown[rows[late]] == NEVER_MS).all())
        return Due(places, untils, self.last_values(places) if known else self.values_of(places, due[late]))

    def after(self, part: Part, landing: Landing, at_ms: int) -> Points | None:
        """Judge a landing that the store has taken; the points of label sets whose condition has changed."""
        times = self.times(part.at, at_ms)
        if self.joins:
            self._inputs.judged.array[part.at] = times
            latest = times if isinstance(times, int) else int(times.max())
            self.looks.judged_ms = max(self.looks.judged_ms, latest)
        whole = part.is_whole and landing.stale_from_ms > at_ms
        if whole and landing.stale is None and isinstance(times, int):
            values = self._evaluated([landing.values[source] for source in part.sources])
            codes = self._codes(values, part.limits, None, None)
            present = None
        else:
            values, present, ended = self._by_store(part.at, times)
            codes = self._codes(values, part.limits, present, ended)
        changed = codes != self._book.codes.array[part.at]
        self._book.note(part.places, codes, values, ~changed)
        at = np.flatnonzero(changed)
        if not len(at):
            return None
        values = values[at] if present is None else np.where(present[at], values[at], np.nan)
        stamps = np.full(len(at), times) if isinstance(times, int) else times[at]
        zeros = np.zeros(len(at), dtype=np.int64)
        every = np.ones(len(at), dtype=np.bool_)
        return Points(part.rules[at], part.places[at], stamps, stamps - 1, zeros, codes[at], values, values, every)

    # -- time --------------------------------------------------------------------------------------------------

    def sweep(self, until_ms: int) -> Generator[None, None, list[Points]]:
        """The points of inputs that go stale until an instant, inclusive. If there are none, the next sweep is planned;
        else go through `watching` when they are told."""
        if self.looks.at_ms > until_ms:
            return []
        points: list[Points] = []
        for rule, slots in (yield from self.ages.sweep(until_ms)):
            found = self._judge_of[rule].stale_until(until_ms, slots)
            yield
            if found is not None:
                points.append(found)
        self.looks.at_ms = NEVER_MS
        self.looks.swept_ms = until_ms
        if not points:
            yield from self.ages.watching()
        return points

    def watch_from(self, now_ms: int) -> None:
        """Plan the next sweep; no input that went stale before an instant is looked at again."""
        self.looks.swept_ms = max(self.looks.swept_ms, now_ms - 1)
        self.ages.blinded()
        for _ in self.ages.watching():
            pass

    def watching(self) -> Generator[None, None, None]:
        """Plan the next sweep, in steps, once the points of the last one were told."""
        yield from self.ages.watching()

    def changed(self, points: Points) -> None:
        """Points of its label sets were told: there may be new alerts, whose other inputs must be watched."""
        self.ages.changed(points)

    # -- a run of batches --------------------------------------------------------------------------------------

    def grid(self, part: Part, times: Ints, values: Floats) -> Grid:
        """Judge several landings of the same series, all of which its rules know, at once.

        Args:
            times: Of the landings, ascending.
            values: float64, shape (landings, series).
        """
        measured = self._evaluated([values[:, source].reshape(-1) for source in part.sources])
        measured = measured.reshape(len(times), -1)
        codes = self._codes(measured, part.limits, None, None)
        if self.joins:
            self._inputs.judged.array[part.at] = times[-1]
            self.looks.judged_ms = max(self.looks.judged_ms, int(times[-1]))
        return Grid(part.rules, part.places, part.at, times, codes, measured)

    # -- a run of single samples -------------------------------------------------------------------------------

    def run(self, run: Run, entries: Entries) -> Lanes | None:
        """The lanes of a run of single samples, by the store as it was before it; None if one went stale before or in
        between, or is so late that it is stale by now, or where several inputs feed a label set.

        Args:
            entries: What the samples feed.
        """
        positions = entries.positions
        if self.joins:
            lanes = Lanes.joined(run, entries.places, positions, entries.leaves)
            once = lanes.slots[lanes.first]
            lanes = lanes.not_before(self._inputs.judged.array[once])
        else:
            lanes = Lanes.single(run, entries.places, positions)
            once = lanes.slots[lanes.first]
            if int(lanes.times[lanes.first].min()) < self.looks.judged_ms:
                lanes = lanes.not_before(self._inputs.judged.array[once])
        handles = [self._inputs.handles[leaf].array[once] for leaf in range(self._leaves)]
        if not self.ages.are_calm_before(once, lanes.times[lanes.first], handles):
            return None
        if self.joins:
            self._inputs.judged.array[once] = lanes.times[lanes.last]
            self.looks.judged_ms = max(self.looks.judged_ms, int(lanes.times.max()))
        # With one selector every row has a sample of its own, and what was stored is not asked.
        stored = [self._store.series_state(one if self.joins else one[:0]) for one in handles]
        return lanes.shown_by(run, stored)

    def points(self, lanes: Lanes, run: Run) -> Points:
        """What its conditions are in lanes, as `run` gives them."""
        values = self._evaluated([state[0] for state in lanes.states])
        present: Bools | None = None
        ended: Bools | None = None
        if run.marks is not None or self.joins:
            present, ended = lanes.states[0][1], lanes.states[0][2]
            for _, fresh, over in lanes.states[1:]:
                present, ended = present & fresh, ended | over
        elif (lanes.has_gaps or run.judged_at is not run.times) and not lanes.states[0][1].all():
            present = lanes.states[0][1]
        rules = self._inputs.rule.array[lanes.slots]
        limits = self._compared.limits[:1] if self._one else self._compared.limits
        codes = self._codes(values, [limit[rules] for limit in limits], present, ended)
        if present is not None and not present.all():
            values = np.where(present, values, np.nan)
        every = np.ones(len(codes), dtype=np.bool_)  # where none came, something is stale, and no condition holds
        return Points(rules, lanes.slots, lanes.times, lanes.limits, lanes.orders, codes, values, values, every)

    def seen(self, points: Points, first: Ints) -> Points:
        """With what was measured just before each point.

        Args:
            first: Where lanes begin.
        """
        seen = np.empty_like(points.values)
        seen[1:] = points.values[:-1]
        seen[first] = self.values_of(points.places[first], points.times[first] - 1)
        return points._replace(seen=seen)


def kin_of(judges: Sequence[Judge], store: Store, book: AlertBook, inputs: Inputs, rules: int) -> list[Kin]:
    """The rules that can be judged together, by shape; the others are in none."""
    found: dict[str, list[Judge]] = {}
    for judge in judges:
        if is_ordinary(judge.rule):
            found.setdefault(shape(judge.rule), []).append(judge)
    return [Kin(members, store, book, inputs, rules) for members in found.values()]
