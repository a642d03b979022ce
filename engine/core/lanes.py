"""Runs of single samples, as columns: the samples of one label set in a row, in the order in which they came.

A run is landed at once. A lane holds what the selectors of a rule show of one label set after each of its samples, and
at each instant in between at which one of them goes stale; so a run is judged exactly as its samples one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.store import Landing, Mark

__all__ = ["Lanes", "Run", "accepted"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Run(NamedTuple):
    """Accepted samples in the order in which they came: aligned columns, shape (n,).

    Args:
        handles: Series; one may stand here many times, with ascending times.
        times: Event times.
        judged_at: When each is judged: its time, or the watermark if that is later.
        values: float64, without stale markers.
        stale_after: As in `Landing`.
    """

    handles: Ints
    times: Ints
    judged_at: Ints
    values: Floats
    stale_after: Ints

    def pick(self, at: slice | Ints | Bools) -> Run:
        """Some of them."""
        return Run._make(column[at] for column in self)

    def landing(self) -> Landing:
        """All samples; of a series that is in it more than once, the last one stays."""
        stale_from = int((self.times + self.stale_after).min()) + 1
        return Landing(
            self.handles, self.handles, self.times, self.values, None, Mark.LIVE, self.stale_after, stale_from
        )


class Lanes(NamedTuple):
    """Rows of all label sets that a run touches, those of one label set together: aligned columns.

    Args:
        slots: Which label set.
        positions: Of the sample in the run.
        leaves: Which selectors select it: a bit for each.
        times: When it is judged.
        limits: What is due until then, inclusive, happens before.
        orders: Position of the sample whose atom this belongs to.
        first, last: The first and the last row of each label set.
        states: Of each selector what it shows: (values, fresh, ended).
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

    def not_before(self, floors: Ints) -> Lanes:
        """Let no label set be judged earlier than before: not than `floors`, one for each, nor than its last row."""
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
        size = len(self.slots)
        lengths = self.last - self.first + 1
        values: list[Floats] = []
        untils: list[Ints] = []
        ended: list[Bools] = []
        for leaf, (old, old_until, old_ended) in enumerate(stored):
            if len(stored) == 1:
                own, there = self.positions, None
            else:
                latest = np.maximum.accumulate(np.where(self.leaves >> leaf & 1, np.arange(size), -1))
                there = latest >= np.repeat(self.first, lengths)
                own = self.positions[np.maximum(latest, 0)]
            shown, until = run.values[own], run.times[own] + run.stale_after[own]
            if there is None:
                over = np.zeros(size, dtype=np.bool_)
            else:
                shown = np.where(there, shown, np.repeat(old, lengths))
                until = np.where(there, until, np.repeat(old_until, lengths))
                over = ~there & np.repeat(old_ended, lengths)
            values.append(shown)
            untils.append(until)
            ended.append(over)
        following = np.append(self.times[1:], 0)
        following[self.last] = self.times[self.last]
        gaps = [np.flatnonzero((until + 1 > self.times) & (until + 1 < following)) for until in untils]
        if not any(len(gap) for gap in gaps):
            states = [
                (shown, until >= self.times, over) for shown, until, over in zip(values, untils, ended, strict=True)
            ]
            return self._replace(states=states)
        return self._with_gaps(gaps, values, untils, ended)

    def _with_gaps(self, gaps: list[Ints], values: list[Floats], untils: list[Ints], ended: list[Bools]) -> Lanes:
        base = np.concatenate([np.arange(len(self.slots)), *gaps])
        instants = [until[gap] + 1 for until, gap in zip(untils, gaps, strict=True)]
        times = np.concatenate([self.times, *instants])
        orders = np.concatenate([self.orders, *[self.orders[gap + 1] for gap in gaps]])
        limits = np.concatenate([self.limits, *instants])  # who is due at the instant itself comes first
        order = np.lexsort((times, base))
        base, times = base[order], times[order]
        slots = self.slots[base]
        ends = np.flatnonzero(slots[1:] != slots[:-1])
        return Lanes(
            slots,
            self.positions[base],
            self.leaves[base],
            times,
            limits[order],
            orders[order],
            np.append(0, ends + 1),
            np.append(ends, len(slots) - 1),
            [
                (shown[base], until[base] >= times, over[base])
                for shown, until, over in zip(values, untils, ended, strict=True)
            ],
        )


def accepted(handles: Ints, times: Ints, last_ms: Ints) -> Bools:
    """Which samples are newer than every earlier one of their series; `last_ms` is what the store has."""
    order = np.argsort(handles, kind="stable")
    ordered = times[order]
    same = handles[order][1:] == handles[order][:-1]
    newer = times > last_ms
    if not bool(newer.all() and (ordered[1:] > ordered[:-1])[same].all()):  # rare: go through them one by one
        latest: dict[int, int] = {}
        for place, (handle, time_ms, last) in enumerate(
            zip(handles.tolist(), times.tolist(), last_ms.tolist(), strict=True)
        ):
            newer[place] = time_ms > latest.get(handle, last)
            latest[handle] = max(time_ms, latest.get(handle, last))
    return newer
