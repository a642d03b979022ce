"""Samples in memory, as a source of an evaluation: for tests, rule tests and queries over history.

Series are in the order they were given, which is the order that `topk` and `limitk` see. Nothing is ever added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.labels import NAME, Codes, Interner, Shape
from engine.core.promql.plan import Matcher, Selector
from engine.core.promql.steps import Basis, Steps
from engine.core.promql.vector import Bools, Floats, Vector
from engine.core.promql.window import Dense, DenseWindow
from engine.events import STALE_BITS

__all__ = ["MemorySource", "Series"]

Series: TypeAlias = tuple[Mapping[str, str], Sequence[int] | NDArray[np.int64], Sequence[float] | Floats]
"""(labels with `__name__`, times in milliseconds, ascending, values)."""


class _Column:
    """Samples of all series, one series after the other, with one sorted key each for row and time."""

    def __init__(self, keys: Codes, times: Codes, values: Floats) -> None:
        self.keys = keys
        self.times = times
        self.values = values


class MemorySource:
    """A fixed set of series.

    Args:
        series: Their samples; stale markers are values with Prometheus' exact bits.
        lookback_ms: How old the sample of an instant selector may be.
        left_open: A sample at the very start of a lookback or range does not count, as since Prometheus 3.

    Raises:
        ValueError: Times of a series are not strictly ascending, or a series has not one value for each time.
    """

    def __init__(self, series: Iterable[Series], lookback_ms: int = 300_000, *, left_open: bool = True) -> None:
        given = [
            (dict(labels), np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.float64))
            for labels, times, values in series
        ]
        for labels, times, values in given:
            if len(times) != len(values) or (np.diff(times) <= 0).any():
                raise ValueError(f"the samples of {labels} are not in order of time")
        self.lookback_ms = lookback_ms
        self.left_open = left_open
        self.steps = Steps()
        """What subqueries found, which stays true."""
        self._interner = Interner()
        self._labels = [labels for labels, _, _ in given]
        self._selected: dict[tuple[str, tuple[Matcher, ...]], tuple[Shape, Codes]] = {}
        times = np.concatenate([t for _, t, _ in given] or [np.zeros(0, np.int64)])
        values = np.concatenate([v for _, _, v in given] or [np.zeros(0)])
        rows = np.repeat(np.arange(len(given)), [len(t) for _, t, _ in given])
        self._first_ms = int(times.min()) if len(times) else 0
        self._span_ms = int(times.max(initial=self._first_ms)) - self._first_ms + 3  # with room before and after
        if self._span_ms * (len(given) + 1) >= 2**62:
            raise ValueError("too many series over too long a time")
        keys = rows * self._span_ms + (times - self._first_ms + 1)
        self._all = _Column(keys, times, values)
        fresh = values.view(np.uint64) != STALE_BITS
        self._fresh = _Column(keys[fresh], times[fresh], values[fresh])
        self._fresh_cells = fresh

    @property
    def interner(self) -> Interner:
        """Of every shape it gives."""
        return self._interner

    def instant(self, selector: Selector, at_ms: int) -> tuple[Vector, Vector]:
        """The newest sample of each selected series at `at_ms`: (values, times in seconds)."""
        shape, rows = self._select(selector)
        column = self._all
        last = np.searchsorted(column.keys, self._keys(rows, at_ms), side="right") - 1
        if not len(column.keys):
            nothing = Vector(shape, np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_))
            return nothing, nothing
        found = column.keys[last] // self._span_ms == rows
        found &= last >= 0
        times = column.times[last]
        oldest_ms = at_ms - self.lookback_ms
        present: Bools = found & self._fresh_cells[last] & (times > oldest_ms if self.left_open else times >= oldest_ms)
        return Vector(shape, column.values[last], present), Vector(shape, times / 1000.0, present)

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, DenseWindow]:
        """The samples of each selected series in a window."""
        shape, rows = self._select(selector)
        column = self._fresh
        first = np.searchsorted(column.keys, self._keys(rows, start_ms), side="right" if self.left_open else "left")
        end = np.searchsorted(column.keys, self._keys(rows, end_ms), side="right")
        counts = np.maximum(end - first, 0)
        cells = np.arange(int(counts.max(initial=0)))
        inside = cells < counts[:, None]
        at = np.where(inside, first[:, None] + cells, 0)
        if not len(column.keys):
            return shape, DenseWindow(start_ms, end_ms, Dense(at, np.zeros(at.shape), counts))
        times = np.where(inside, column.times[at], 0)
        values = np.where(inside, column.values[at], np.nan)
        return shape, DenseWindow(start_ms, end_ms, Dense(times, values, counts))

    def basis(self, selector: Selector) -> Basis:
        """The series that a selector selects."""
        return Basis(self._select(selector)[0])

    def _keys(self, rows: Codes, at_ms: int) -> Codes:
        """The key that a sample of each row at this time has or would have; clipped to before and after all."""
        return rows * self._span_ms + min(max(at_ms - self._first_ms + 1, 0), self._span_ms - 1)

    def _select(self, selector: Selector) -> tuple[Shape, Codes]:
        key = (selector.metric, selector.matchers)
        found = self._selected.get(key)
        if found is None:
            rows = [
                row
                for row, labels in enumerate(self._labels)
                if (not selector.metric or labels.get(NAME, "") == selector.metric) and selector.matches(labels)
            ]
            shape = Shape.of(self._interner, [self._labels[row] for row in rows])
            found = self._selected[key] = (shape, np.array(rows, dtype=np.int64))
        return found
