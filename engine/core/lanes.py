"""Runs of single samples, as columns: the samples of one label set in a row, in the order in which they came.

A run is landed at once. A lane holds what the selectors of a rule show of one label set after each of its samples, and
at each instant in between at which one of them goes stale; so a run is judged exactly as its samples one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.rounds import grouped_rounds
from engine.core.store import BEFORE_ALL_MS, Landing, Mark

__all__ = ["Lanes", "Run", "accepted"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_LIVE, _ENDED = int(Mark.LIVE), int(Mark.ENDED)
_SHORT = 1 << 16
_NO_LEAVES: Ints = np.zeros(0, dtype=np.int64)


class Run(NamedTuple):
    """Accepted samples in the order in which they came: aligned columns, shape (n,).

    Args:
        handles: Series; one may stand here many times, with ascending times.
        times: Event times.
        judged_at: When each is judged: its time, or the watermark if that is later.
        values: float64, without stale markers.
        stale_after: As in `Landing`.
        marks: What each says of its series, as `Mark`; None if all are live.
        order: Positions by series, those of one series in order.
        begins: In `order`, where each series begins. Both None where that is not known.
    """

    handles: Ints
    times: Ints
    judged_at: Ints
    values: Floats
    stale_after: Ints
    marks: NDArray[np.int8] | None = None
    order: Ints | None = None
    begins: Ints | None = None

    def pick(self, at: slice | Ints | Bools) -> Run:
        """Some of them."""
        marks = None if self.marks is None else self.marks[at]
        return Run(
            self.handles[at],
            self.times[at],
            self.judged_at[at],
            self.values[at],
            self.stale_after[at],
            marks if marks is not None and marks.any() else None,
        )

    def landing(self) -> Landing:
        """All samples; of a series that is in it more than once, the last one stays. Stale markers age like others
        here; that a look at them comes to nothing does no harm."""
        stale_from = int((self.times + self.stale_after).min()) + 1
        run = self
        if self.order is not None and self.begins is not None and len(self.begins) < len(self.order):
            run = self.pick(self.order[np.append(self.begins[1:] - 1, len(self.order) - 1)])
        marked = None if run.marks is None else run.marks != _LIVE
        mark = Mark.LIVE if run.marks is None else run.marks
        return Landing(run.handles, run.handles, run.times, run.values, marked, mark, run.stale_after, stale_from)


class Lanes(NamedTuple):
    """Rows of all label sets that a run touches, those of one label set together: aligned columns.

    Args:
        slots: Which label set.
        positions: Of the sample in the run.
        leaves: Which selectors select it: a bit for each; empty where there is but one.
        times: When it is judged.
        limits: What is due until then, inclusive, happens before.
        orders: Position of the sample whose atom this belongs to.
        first, last: The first and the last row of each label set.
        states: Of each selector what it shows: (values, fresh, ended).
        has_gaps: Whether there are rows between samples, where an input went stale.
        apart: With these, whether each row is of a sample.
    """

    slots: Ints
    positions: Ints
    leaves: Ints
    times: Ints
    limits: Ints
    orders: Ints
    first: Ints
    last: Ints
    states: list[tuple[Floats, Bools, Bools]]
    has_gaps: bool = False
    apart: Bools | None = None

    @property
    def sampled(self) -> Bools:
        """Whether each row is of a sample."""
        return np.ones(len(self.slots), dtype=np.bool_) if self.apart is None else self.apart

    @classmethod
    def of(cls, run: Run, placed: Sequence[tuple[Ints, Ints]]) -> Lanes | None:
        """The lanes of a run; None if it touches nothing.

        Args:
            placed: For each selector the slots, and the positions in the run, of what it selects.
        """
        slots = placed[0][0] if len(placed) == 1 else np.concatenate([slots for slots, _ in placed])
        if not len(slots):
            return None
        positions = placed[0][1] if len(placed) == 1 else np.concatenate([at for _, at in placed])
        leaves = np.repeat(1 << np.arange(len(placed)), [len(slots) for slots, _ in placed])
        order = np.argsort(slots * (len(run.handles) + 1) + positions, kind="stable")
        slots, positions, leaves = slots[order], positions[order], leaves[order]
        if len(placed) > 1:  # what several selectors select is one sample all the same
            apart = np.flatnonzero(np.append(True, (slots[1:] != slots[:-1]) | (positions[1:] != positions[:-1])))
            slots, positions, leaves = slots[apart], positions[apart], np.bitwise_or.reduceat(leaves, apart)
        times = run.judged_at[positions]
        ends = np.flatnonzero(slots[1:] != slots[:-1])
        first, last = np.append(0, ends + 1), np.append(ends, len(slots) - 1)
        return cls(slots, positions, leaves, times, times - 1, positions, first, last, [])

    @classmethod
    def joined(cls, run: Run, slots: Ints, positions: Ints | None, leaves: Ints) -> Lanes:
        """The same where what several selectors select is given in the order of the run.

        Args:
            positions: In the run, ascending; None for all in turn.
            leaves: The selector of each.
        """
        order = grouped(slots)
        slots, bits = slots[order], np.left_shift(1, leaves[order])
        positions = order if positions is None else positions[order]
        begins = np.ones(len(slots), dtype=np.bool_)
        np.not_equal(slots[1:], slots[:-1], out=begins[1:])
        apart = begins.copy()
        apart[1:] |= positions[1:] != positions[:-1]
        if not apart.all():  # what several selectors select is one sample all the same
            at = np.flatnonzero(apart)
            slots, positions, bits = slots[at], positions[at], np.bitwise_or.reduceat(bits, at)
            begins = begins[at]
        times, first = run.judged_at[positions], np.flatnonzero(begins)
        last = np.append(first[1:] - 1, len(slots) - 1)
        return cls(slots, positions, bits, times, times - 1, positions, first, last, [])

    @classmethod
    def single(cls, run: Run, slots: Ints, positions: Ints | None) -> Lanes:
        """The same for rules with one selector.

        Args:
            positions: In the run, of what feeds the slots; None for all in turn.
        """
        if positions is None and run.order is not None and run.begins is not None:
            order, first = run.order, run.begins
            slots = slots[order]
        else:
            order = grouped(slots)
            slots = slots[order]
            first = begins_of(slots)
        at = order if positions is None else positions[order]
        last = np.append(first[1:] - 1, len(slots) - 1)
        times = run.judged_at[at]
        return cls(slots, at, _NO_LEAVES, times, times - 1, at, first, last, [])

    def not_before(self, floors: Ints) -> Lanes:
        """Let no label set be judged earlier than before: not than `floors`, one for each, nor than its last row."""
        falls = self.times[1:] < self.times[:-1]
        falls[self.first[1:] - 1] = self.times[self.first[1:]] < floors[1:]
        if not (falls.any() or bool(self.times[0] < floors[0])):  # nearly always
            return self
        lane = np.repeat(np.arange(len(self.first)), self.last - self.first + 1)
        times = np.maximum(self.times, floors[lane])
        instants, ranks = np.unique(times, return_inverse=True)
        apart = lane * len(instants)
        times = instants[np.maximum.accumulate(ranks + apart) - apart]
        return self._replace(times=times, limits=times - 1)

    def shown_by(self, run: Run, stored: Sequence[tuple[Floats, Ints, Bools]]) -> Lanes:
        """With what each selector shows at each row, and rows where one goes stale in between.

        Args:
            stored: Of each selector, for each label set before the run: (value, fresh until, ended).
        """
        if len(stored) == 1 and run.marks is None and run.judged_at is run.times:
            least_ms = int(run.stale_after.min())
            if not bool((self.times[1:] - self.times[:-1] > least_ms).any()):  # nothing goes stale in between
                every = np.ones(len(self.slots), dtype=np.bool_)
                return self._replace(states=[(run.values[self.positions], every, ~every)])
        values: list[Floats] = []
        untils: list[Ints] = []
        ended: list[Bools] = []
        for shown, until, over in self._shown(run, stored):
            values.append(shown)
            untils.append(until)
            ended.append(over)
        following = np.empty_like(self.times)
        following[:-1] = self.times[1:]
        following[self.last] = self.times[self.last]
        gaps = [np.flatnonzero((until + 1 > self.times) & (until + 1 < following)) for until in untils]
        if not any(len(gap) for gap in gaps):
            states = [
                (shown, until >= self.times, over) for shown, until, over in zip(values, untils, ended, strict=True)
            ]
            return self._replace(states=states)
        return self._with_gaps(gaps, values, untils, ended)

    def _shown(self, run: Run, stored: Sequence[tuple[Floats, Ints, Bools]]) -> Iterator[tuple[Floats, Ints, Bools]]:
        """Of each selector at each row: (value, fresh until, ended)."""
        size = len(self.slots)
        run_until = run.times + run.stale_after
        if run.marks is not None:
            run_until = np.where(run.marks == _LIVE, run_until, BEFORE_ALL_MS)
        if len(stored) == 1:
            own = self.positions
            over = np.zeros(size, dtype=np.bool_) if run.marks is None else run.marks[own] == _ENDED
            yield run.values[own], run_until[own], over
            return
        lane = np.zeros(size, dtype=np.int64)
        lane[self.first[1:]] = 1
        np.cumsum(lane, out=lane)
        begins = self.first[lane]
        for leaf, (old, old_until, old_ended) in enumerate(stored):
            latest = np.maximum.accumulate(np.where(self.leaves >> leaf & 1, np.arange(size), -1))
            own = self.positions[np.maximum(latest, 0)]
            values, until = run.values[own], run_until[own]
            over = np.zeros(size, dtype=np.bool_) if run.marks is None else run.marks[own] == _ENDED
            # Before its first sample in the run, a selector shows what was stored.
            stored_at = np.flatnonzero(latest < begins)
            of = lane[stored_at]
            values[stored_at], until[stored_at], over[stored_at] = old[of], old_until[of], old_ended[of]
            yield values, until, over

    def _with_gaps(self, gaps: list[Ints], values: list[Floats], untils: list[Ints], ended: list[Bools]) -> Lanes:
        base = np.concatenate([np.arange(len(self.slots)), *gaps])
        instants = [until[gap] + 1 for until, gap in zip(untils, gaps, strict=True)]
        times = np.concatenate([self.times, *instants])
        orders = np.concatenate([self.orders, *[self.orders[gap + 1] for gap in gaps]])
        limits = np.concatenate([self.limits, *instants])  # who is due at the instant itself comes first
        order = np.lexsort((times, base))
        apart = order < len(self.slots)
        base, times = base[order], times[order]
        slots = self.slots[base]
        ends = np.flatnonzero(slots[1:] != slots[:-1])
        return Lanes(
            slots,
            self.positions[base],
            self.leaves[base] if len(self.leaves) else self.leaves,
            times,
            limits[order],
            orders[order],
            np.append(0, ends + 1),
            np.append(ends, len(slots) - 1),
            [
                (shown[base], until[base] >= times, over[base])
                for shown, until, over in zip(values, untils, ended, strict=True)
            ],
            has_gaps=True,
            apart=apart,
        )


def grouped(numbers: Ints) -> Ints:
    """Positions by number, those of one number in order. Numbers that fit 16 bits are sorted by radix."""
    keys = numbers.astype(np.uint16) if int(numbers.max()) < _SHORT else numbers
    order: Ints = keys.argsort(kind="stable")
    return order


def begins_of(ordered: Ints) -> Ints:
    """Where each number begins among those that stand together."""
    begins = np.empty(len(ordered), dtype=np.bool_)
    begins[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def accepted(run: Run, last_ms: Callable[[Ints], Ints], size: int = 0) -> tuple[Run, Bools | None]:
    """Which samples are newer than every earlier one of their series, None if all are; and the run, grouped.

    Args:
        last_ms: What the store has of series.
        size: How many series there are in a round, if the samples come in rounds.
    """
    if size:
        order, begins = grouped_rounds(len(run.handles), size)
        once = run.handles[:size]
    else:
        order = grouped(run.handles)
        ordered = run.handles[order]
        begins = begins_of(ordered)
        once = ordered[begins]
    times = run.times[order]
    later = times[1:] > times[:-1]
    later[begins[1:] - 1] = True
    if bool(later.all()) and bool((times[begins] > last_ms(once)).all()):
        return run._replace(order=order, begins=begins), None
    latest = dict(zip(once.tolist(), last_ms(once).tolist(), strict=True))  # rare: go through them one by one
    newer = np.empty(len(order), dtype=np.bool_)
    for place, (handle, time_ms) in enumerate(zip(run.handles.tolist(), run.times.tolist(), strict=True)):
        newer[place] = time_ms > latest[handle]
        latest[handle] = max(time_ms, latest[handle])
    return run, newer
