"""Tracks: what the conditions of label sets are over several atoms, for `engine.core.spell_runs`.

A track has rows, each a label set at an instant; those of one label set are its lane, in order of time. Samples come in
any order and any number for each label set, and their rows are columns as long as the run; batches of the same series
give every lane as many rows as there are batches, so that nearly nothing must be written down. Only rows at which
something changes are ever made into points.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.columns import Index
from engine.core.points import Points
from engine.core.store import NEVER_MS

__all__ = ["Grid", "Laned", "Track"]


class Track(Protocol):
    """Rows.

    Attributes:
        size: How many rows.
        places, at: By lane, the condition; the same, for columns.
        first, last: By lane, its first row and its last.
        begins: By lane, the time of its first row; one number if it is the same for all.
        limits: By lane, what its last row lets happen before it; one number if it is the same for all.
        is_near: Whether `following` may be asked.
        is_known: Whether something is known of every condition.
    """

    size: int
    places: Ints
    at: Index
    first: Ints
    last: Ints
    begins: Ints | int
    limits: Ints | int
    is_near: bool
    is_known: bool

    def changes(self, start: NDArray[np.int16]) -> Ints:
        """The rows at which a condition is not what it was at the row before, or at the start."""

    def unknown(self) -> Ints:
        """The lanes of which something is not known."""

    def lanes(self, at: Ints) -> Ints:
        """Of rows, the lanes."""

    def measured(self, at: Ints, lanes: Ints) -> NDArray[np.float64]:
        """What was measured at rows of lanes; of the row before the first of a lane it means nothing."""

    def points(self, at: Ints) -> Points:
        """Rows as points."""

    def following(self, lanes: Ints, due: Ints) -> Ints:
        """Of lanes the first rows that are later than `due`, which none of them ends before."""


class Laned:
    """Rows that are written down: points without gaps, those of a label set together."""

    def __init__(self, points: Points, first: Ints, last: Ints) -> None:
        self._points = points
        self.size = points.size
        self.places = points.places[first]
        self.at: Index = self.places
        self.is_known = int(points.codes.min()) >= 0
        self.first, self.last = first, last
        self.begins: Ints | int = points.times[first]
        self.limits: Ints | int = points.limits[last]
        self._low = int(points.times.min())
        self._span = int(points.times.max()) - self._low + 2
        self.is_near = self._span * len(first) < NEVER_MS  # a lane and a time together are one number
        lane = np.zeros(len(points.codes), dtype=np.int64)
        lane[first[1:]] = 1
        self._lanes = np.cumsum(lane)

    def changes(self, start: NDArray[np.int16]) -> Ints:
        """See `Track`."""
        codes = self._points.codes
        changed = np.empty(len(codes), dtype=np.bool_)
        np.not_equal(codes[1:], codes[:-1], out=changed[1:])
        changed[self.first] = codes[self.first] != start
        return np.flatnonzero(changed)

    def unknown(self) -> Ints:
        """See `Track`."""
        unknown = np.zeros(len(self.first), dtype=np.bool_)
        unknown[self._lanes[self._points.codes < 0]] = True
        return np.flatnonzero(unknown)

    def lanes(self, at: Ints) -> Ints:
        """See `Track`."""
        return self._lanes[at]

    def measured(self, at: Ints, lanes: Ints) -> NDArray[np.float64]:
        """See `Track`."""
        values: NDArray[np.float64] = self._points.values[at]
        return values

    def points(self, at: Ints) -> Points:
        """See `Track`."""
        return self._points.pick(at)

    def following(self, lanes: Ints, due: Ints) -> Ints:
        """See `Track`."""
        keys = self._lanes * self._span + (self._points.times - self._low)
        at = np.searchsorted(keys, lanes * self._span + np.maximum(due - self._low, -1), side="right")
        return np.maximum(at, self.first[lanes])


class Grid:
    """Rows of batches: every label set has one at each instant. Columns stay as they came, an instant after the other:
    what is done to all of them is done a thousand label sets at a time.

    Args:
        rules, places, at: By lane.
        times: Of the batches, ascending.
        codes, values: Shape (batches, lanes).
    """

    is_near = is_known = True

    def __init__(
        self,
        rules: Ints,
        places: Ints,
        at: Index,
        times: Ints,
        codes: NDArray[np.int16],
        values: NDArray[np.float64],
    ) -> None:
        self._rules = rules
        self.places, self.at = places, at
        self._times = times
        self._codes, self._values = codes, values
        self._width, self.size = len(times), values.size
        self.first = np.arange(0, self.size, self._width)
        self.last = self.first + (self._width - 1)
        self.begins: Ints | int = int(times[0])
        self.limits: Ints | int = int(times[-1]) - 1

    def changes(self, start: NDArray[np.int16]) -> Ints:
        """See `Track`."""
        changed = np.empty(self._codes.shape, dtype=np.bool_)
        np.not_equal(self._codes[1:], self._codes[:-1], out=changed[1:])
        np.not_equal(self._codes[0], start, out=changed[0])
        return np.flatnonzero(changed.T)

    def unknown(self) -> Ints:
        """See `Track`."""
        return self.first[:0]

    def lanes(self, at: Ints) -> Ints:
        """See `Track`."""
        return at // self._width

    def measured(self, at: Ints, lanes: Ints) -> NDArray[np.float64]:
        """See `Track`."""
        values: NDArray[np.float64] = self._values[at - lanes * self._width, lanes]
        return values

    def points(self, at: Ints) -> Points:
        """See `Track`."""
        lanes = at // self._width
        atoms = at - lanes * self._width
        times, values, codes = self._times[atoms], self._values[atoms, lanes], self._codes[atoms, lanes]
        every = np.ones(len(at), dtype=np.bool_)
        return Points(self._rules[lanes], self.places[lanes], times, times - 1, atoms, codes, values, values, every)

    def following(self, lanes: Ints, due: Ints) -> Ints:
        """See `Track`."""
        return lanes * self._width + np.searchsorted(self._times, due, side="right")
