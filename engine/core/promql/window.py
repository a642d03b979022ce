"""Range vectors: what the samples of n series in one window show to range functions.

`Window` is what functions are written against; `DenseWindow` holds the samples in padded arrays, which is
right for subqueries and for everything small. The live store has an implementation of its own that answers the common
questions from running sums and blocks, without touching every sample.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.vector import Bools, Floats

__all__ = ["Dense", "DenseWindow", "Ends", "Window"]

Times = NDArray[np.int64]

CELLS_AT_ONCE = 16_384  # what is computed on the way still fits into the processor's cache


class Dense(NamedTuple):
    """Samples in padded arrays, left aligned.

    Args:
        times: int64 milliseconds, shape (n, k), ascending in each row; padding is 0.
        values: float64, shape (n, k); padding is NaN. Stale markers are left out, NaN values are not.
        counts: int64, shape (n,): how many samples each row has.
    """

    times: Times
    values: Floats
    counts: NDArray[np.int64]

    @property
    def inside(self) -> Bools:
        """Which cells hold a sample, shape (n, k)."""
        inside: Bools = np.arange(self.values.shape[1]) < self.counts[:, None]
        return inside


class Ends(NamedTuple):
    """First and last sample of each series; meaningless where the count is 0."""

    first_ms: Times
    first: Floats
    last_ms: Times
    last: Floats


class Window(Protocol):
    """The samples of n series with start_ms < t <= end_ms (left-closed under Prometheus 2's rules).

    Every method gives arrays of shape (n,); a series without a sample has count 0 and NaN elsewhere.
    """

    @property
    def start_ms(self) -> int:
        """Left end, exclusive."""

    @property
    def end_ms(self) -> int:
        """Right end, inclusive."""

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""

    def ends(self) -> Ends:
        """First and last samples."""

    def resets_added(self) -> Floats:
        """What a counter's resets lost: the sum of each value that was followed by a smaller one."""

    def sums(self) -> Floats:
        """Sum, compensated."""

    def minima(self) -> Floats:
        """Least value, NaN only if all are."""

    def maxima(self) -> Floats:
        """Greatest value, NaN only if all are."""

    def dense(self) -> Dense:
        """All samples."""


class DenseWindow:
    """A window over padded arrays."""

    def __init__(self, start_ms: int, end_ms: int, dense: Dense) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._dense = dense

    @classmethod
    def of(cls, start_ms: int, end_ms: int, rows: Sequence[tuple[Times, Floats]]) -> DenseWindow:
        """A window of ragged rows, each (times, values) already cut to the window."""
        width = max((len(times) for times, _ in rows), default=0)
        times = np.zeros((len(rows), width), dtype=np.int64)
        values = np.full((len(rows), width), np.nan)
        for row, (row_times, row_values) in enumerate(rows):
            times[row, : len(row_times)] = row_times
            values[row, : len(row_values)] = row_values
        counts = np.array([len(row_times) for row_times, _ in rows], dtype=np.int64)
        return cls(start_ms, end_ms, Dense(times, values, counts))

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""
        return self._dense.counts

    def dense(self) -> Dense:
        """All samples."""
        return self._dense

    @functools.cached_property
    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.arange(len(self._dense.counts)), np.maximum(self._dense.counts - 1, 0)

    def ends(self) -> Ends:
        """First and last samples."""
        times, values, counts = self._dense
        if not values.shape[1]:
            nothing = np.full(len(counts), np.nan)
            return Ends(np.zeros_like(counts), nothing, np.zeros_like(counts), nothing)
        rows, last = self._rows
        return Ends(times[:, 0], values[:, 0], times[rows, last], values[rows, last])

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        values = self._dense.values
        before, after = values[:, :-1], values[:, 1:]
        down = after < before  # false at the padding, which is NaN
        if not down.any():
            return np.zeros(len(values))
        lost: Floats = np.where(down, before, 0.0).sum(axis=1)
        return lost

    def sums(self) -> Floats:
        """Sum, by Neumaier's compensated summation in the order of time, as Prometheus does."""
        values, counts = self._dense.values, self._dense.counts
        size, width = values.shape
        rows = max(1, CELLS_AT_ONCE // max(width, 1))
        if size <= rows:
            return _sums(self._dense)
        parts = (
            Dense(self._dense.times, values[at : at + rows], counts[at : at + rows]) for at in range(0, size, rows)
        )
        return np.concatenate([_sums(part) for part in parts])

    def minima(self) -> Floats:
        """Least value."""
        return self._extreme(np.fmin, np.inf)

    def maxima(self) -> Floats:
        """Greatest value."""
        return self._extreme(np.fmax, -np.inf)

    def _extreme(self, choose: np.ufunc, start: float) -> Floats:
        values = np.where(self._dense.inside, self._dense.values, np.nan)
        if not values.shape[1]:
            return np.full(len(values), np.nan)
        found: Floats = choose.reduce(values, axis=1)
        return found


def _sums(dense: Dense) -> Floats:
    if not dense.values.shape[1]:
        return np.zeros(len(dense.values))
    added = np.where(dense.inside, dense.values, 0.0)
    added[:, 0] += 0.0  # the sum begins at 0, so that -0 alone gives 0
    with np.errstate(all="ignore"):
        after = np.cumsum(added, axis=1)  # one after the other
        before = np.zeros_like(after)
        before[:, 1:] = after[:, :-1]
        larger = np.abs(before) >= np.abs(added)
        lost = np.cumsum(np.where(larger, (before - after) + added, (added - after) + before), axis=1)[:, -1]
        total = after[:, -1]
        # At an infinity the compensation would be NaN; Prometheus leaves it out, too.
        return np.where(np.isfinite(total), total + lost, total)
