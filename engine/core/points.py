"""Points: what conditions are, at instants. A walk goes through the points of many label sets side by side.

Nearly every sample says again what the one before said. A walk finds, for each label set, the next point that can
change anything: one that says something else, or the first after a deadline.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.columns import spread
from engine.core.store import NEVER_MS

__all__ = ["Points", "Walk"]


class Points(NamedTuple):
    """Aligned columns, shape (n,). The points of one label set stand together, in order of time.

    Args:
        rules: Whose label set.
        places: Which.
        times: When it is judged, milliseconds.
        limits: What was due until then, inclusive, happens before.
        orders: Place of its atom in the order of output.
        codes: What the condition is: see `engine.core.alerts.Code`.
        values: What the expression measures then; NaN where nothing is known.
        seen: What it measured just before.
        sampled: Whether a sample says so, and not only that time has passed.
    """

    rules: Ints
    places: Ints
    times: Ints
    limits: Ints
    orders: Ints
    codes: NDArray[np.int16]
    values: NDArray[np.float64]
    seen: NDArray[np.float64]
    sampled: NDArray[np.bool_]

    def pick(self, at: Ints | NDArray[np.bool_]) -> Points:
        """Some of them."""
        return Points._make(column[at] for column in self)

    @classmethod
    def join(cls, parts: Sequence[Points]) -> Points:
        """All of several, one after the other."""
        return parts[0] if len(parts) == 1 else cls._make(map(np.concatenate, zip(*parts, strict=True)))

    def chunks(self, size: int) -> Iterator[Points]:
        """Parts of about that size; the points of a label set stay together."""
        if self.size <= size:
            yield self
            return
        begins = np.flatnonzero(np.append(True, self.places[1:] != self.places[:-1]))
        cuts = np.searchsorted(begins, np.arange(size, self.size, size))
        cuts = begins[np.unique(cuts[cuts < len(begins)])]
        for start, stop in itertools.pairwise([0, *cuts.tolist(), self.size]):
            yield Points._make(column[start:stop] for column in self)

    @property
    def size(self) -> int:
        """How many."""
        return len(self.places)


class Walk:
    """A way through points: round by round, at most one point of each label set.

    Args:
        codes: By place, what was told last.
    """

    def __init__(self, points: Points, codes: NDArray[np.int16]) -> None:
        places = points.places
        size = len(places)
        first = np.empty(size, dtype=np.bool_)
        first[:1] = True
        np.not_equal(places[1:], places[:-1], out=first[1:])
        self._points = points
        self._start = np.flatnonzero(first)
        self._end = np.append(self._start[1:], size)
        self.places = places[self._start]
        before = np.empty(size, dtype=np.int16)
        before[1:] = points.codes[:-1]
        before[self._start] = codes[self.places]
        self.changed = changed = points.codes != before
        """Of each point whether it says something else than the one before it."""
        self._single = len(self._start) == size
        self._current = self._start
        self._live = np.arange(len(self._start))
        self._passed = self._start, self._start
        if self._single:
            return
        # The next point from each on that says something else; `size` where there is none.
        upcoming = np.where(changed, np.arange(size), size)
        self._next_changed = np.append(np.minimum.accumulate(upcoming[::-1])[::-1], size)
        lane = np.repeat(np.arange(len(self._start)), self._end - self._start)
        low, high = int(points.limits.min()), int(points.limits.max())
        self._limits = None
        if (high - low + 2) * len(self._start) < NEVER_MS:
            self._low, self._span = low, high - low + 2
            self._keys = lane * self._span + (points.limits - low)
        else:  # so far apart that time itself is no key
            self._limits, places_in_time = np.unique(points.limits, return_inverse=True)
            self._low, self._span = 0, len(self._limits) + 1
            self._keys = lane * self._span + places_in_time

    def __len__(self) -> int:
        """How many label sets have points left."""
        return len(self._live)

    def current_places(self) -> Ints:
        """The label sets that have points left."""
        return self.places[self._live]

    def last_codes(self) -> NDArray[np.int16]:
        """Of each label set what its last point says."""
        codes: NDArray[np.int16] = self._points.codes[self._end - 1]
        return codes

    def next(self, due: Ints) -> Ints:
        """The next points that matter, at most one of each label set; none when all is done.

        Args:
            due: For each of `current_places`, when time alone changes it.
        """
        live = self._live
        if self._single:
            self._live = live[:0]
            matters = self.changed | (due <= self._points.limits)
            self._passed = live, live + ~matters
            at: Ints = np.flatnonzero(matters)
            return at
        current = self._current[live]
        when = due if self._limits is None else np.searchsorted(self._limits, due)
        keys = live * self._span + np.clip(when - self._low, 0, self._span - 1)
        first_due = np.where(due == NEVER_MS, self._end[live], np.searchsorted(self._keys, keys))
        at = np.maximum(current, np.minimum(self._next_changed[current], first_due))
        inside = at < self._end[live]
        self._passed = current, np.where(inside, at, self._end[live])
        self._live, at = live[inside], at[inside]
        self._current[self._live] = at + 1
        done = self._current[self._live] >= self._end[self._live]
        self._live = self._live[~done]
        return at

    def passed(self, there: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """The points that the last `next` has passed over.

        Args:
            there: Of which of the label sets that had points left then.

        Returns:
            (positions among those label sets, the points), those of a label set in order.
        """
        begins, ends = self._passed
        at = np.flatnonzero(there & (begins < ends))
        owners, points = spread(begins[at], ends[at])
        return at[owners], points
