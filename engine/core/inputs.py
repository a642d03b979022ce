"""Which series feed which conditions, for rules that are judged together: by place, and by series.

Places are those of the book of alerts, so rules of one shape are judged in one go, however many there are. What is
known here follows from the rules' own bindings; it must never decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.columns import Column

__all__ = ["Entries", "Inputs"]

PARTS_PER_STEP: Final = 16


class Entries(NamedTuple):
    """What some series feed: aligned columns, those of one series together.

    Args:
        positions: Where the series stands among those that were asked for; None if each stands here once, in order.
        places: The condition.
        leaves: Which selector of its rule it feeds.
    """

    positions: Ints | None
    places: Ints
    leaves: Ints

    def pick(self, at: Ints) -> Entries:
        """Some of them."""
        return Entries(at if self.positions is None else self.positions[at], self.places[at], self.leaves[at])


class Inputs:
    """Inputs of conditions.

    Args:
        leaves: How many selectors a rule has at most.
    """

    def __init__(self, leaves: int) -> None:
        self.rule: Column[np.int64] = Column(np.int64, 0)
        """By place."""
        self.judged: Column[np.int64] = Column(np.int64, -1)
        """By place, when it was judged last, where several series feed it: each has a clock of its own."""
        self.handles: list[Column[np.int64]] = [Column(np.int64, -1) for _ in range(max(1, leaves))]
        """By selector and place, the series; -1 where there is none."""
        self._starts: Column[np.int64] = Column(np.int64, 0)
        self._counts: Column[np.int64] = Column(np.int64, 0)
        self._places: Column[np.int64] = Column(np.int64, 0)
        self._leaves: Column[np.int64] = Column(np.int64, 0)
        self._single = True  # no series feeds more than one condition

    def grow(self, places: Ints, rule: int) -> None:
        """Places of label sets of a rule that are new."""
        size = int(places.max(initial=-1)) + 1
        for column in (self.rule, self.judged, *self.handles):
            column.resize(size)
        self.rule.array[places] = rule
        self.judged.array[places] = -1
        for handles in self.handles:
            handles.array[places] = -1

    def feed(self, leaf: int, places: Ints, handles: Ints) -> None:
        """Say which series a selector has at places."""
        self.handles[leaf].array[places] = handles

    def making_room(self, number: int) -> Generator[None, None, None]:
        """Make room for so many more places, in steps."""
        for column in (self.rule, self.judged, *self.handles):
            yield from column.growing(len(column) + number)

    def adding(self, series: int, parts: list[tuple[Ints, Ints, Ints]]) -> Generator[None, None, None]:
        """Take note of what new series feed, in steps. What is taken is taken out of `parts`, and so let go of.

        Args:
            series: How many series there are now; those that were not there before are new.
            parts: (handles, selectors, places) of each rule: of new series only.
        """
        first = len(self._starts)
        self._starts.resize(series)
        self._counts.resize(series)
        counts = self._counts.array[first:]
        for number, (handles, _, _) in enumerate(parts, 1):
            np.add.at(counts, handles - first, 1)
            if number % PARTS_PER_STEP == 0:
                yield
        known = len(self._places)
        self._starts.array[first:] = known + np.cumsum(counts) - counts
        for column in (self._places, self._leaves):
            yield from column.lengthening(known + int(counts.sum()))
        free = self._starts.array[first:].copy()
        parts.reverse()
        while parts:
            handles, leaves, places = parts.pop()
            new = handles - first
            at = free[new] + _earlier(handles)
            self._places.array[at], self._leaves.array[at] = places, leaves
            np.add.at(free, new, 1)
            if len(parts) % PARTS_PER_STEP == 0:
                yield
        self._single = self._single and bool((counts <= 1).all())

    def renew(self, series: int, parts: list[tuple[Ints, Ints, Ints]]) -> None:
        """Begin anew, from what all rules know."""
        for name in ("_starts", "_counts", "_places", "_leaves"):
            setattr(self, name, Column(np.int64, 0))
        self._single = True
        for _ in self.adding(series, parts):
            pass

    def slices(self, handles: Ints, pairs: int) -> Iterator[slice]:
        """Series, as many at a time as feed at most so many conditions together, but one at least."""
        if self._single and len(handles) <= pairs:
            yield slice(0, len(handles))
            return
        before = np.cumsum(self._counts.array[handles])
        start = 0
        while start < len(handles):
            fed = before[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(before, fed + pairs, side="right")))
            yield slice(start, stop)
            start = stop

    def of(self, handles: Ints) -> Entries:
        """What series feed."""
        if self._single and len(self._places) == len(self._starts):  # each feeds one, and in their order
            return Entries(None, self._places.array[handles], self._leaves.array[handles])
        starts, counts = self._starts.array[handles], self._counts.array[handles]
        if self._single:
            if counts.all():
                return Entries(None, self._places.array[starts], self._leaves.array[starts])
            positions = np.flatnonzero(counts)
            starts = starts[positions]
            return Entries(positions, self._places.array[starts], self._leaves.array[starts])
        positions = np.repeat(np.arange(len(handles)), counts)
        before = np.cumsum(counts) - counts
        at = np.repeat(starts - before, counts) + np.arange(len(positions))
        return Entries(positions, self._places.array[at], self._leaves.array[at])

    def compacting(self, keep: NDArray[np.bool_], numbers: Ints) -> Generator[None, None, Callable[[], None]]:
        """Prepare to forget series, in steps; what is returned does it.

        Args:
            keep: By handle, which series stay.
            numbers: New handles by old ones.
        """
        counts, places, leaves = self._counts.array[keep], Column(np.int64, 0), Column(np.int64, 0)
        left = np.repeat(keep, self._counts.array)
        places.extend(self._places.array[left])
        yield
        leaves.extend(self._leaves.array[left])
        yield
        handles = []
        for column in self.handles:
            fed = column.array
            handles.append(np.where(fed < 0, -1, numbers[fed]))
            yield

        def commit() -> None:
            self._starts, self._counts = Column(np.int64, 0), Column(np.int64, 0)
            self._counts.extend(counts)
            self._starts.extend(np.cumsum(counts) - counts)
            self._places, self._leaves = places, leaves
            for column, now in zip(self.handles, handles, strict=True):
                column.array[: len(now)] = now

        return commit


def _earlier(handles: Ints) -> Ints | int:
    """Of each how many before it are the same."""
    if len(handles) < 2 or bool((handles[1:] > handles[:-1]).all()):
        return 0
    order = np.argsort(handles, kind="stable")
    ordered = handles[order]
    earlier = np.empty(len(handles), dtype=np.int64)
    earlier[order] = np.arange(len(handles)) - np.searchsorted(ordered, ordered)
    return earlier
