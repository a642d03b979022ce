"""Blocks: the recent samples of series that land together, on one shared column of times.

A block is a buffer of rows (`engine.core.rows`) and what is kept of results over them (`engine.core.folds`). Windows
without empty cells are answered from these; those with empty cells take a slower road through all their samples.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.columns import Index
from engine.core.folds import Folds, SavedFolds
from engine.core.promql.vector import Floats
from engine.core.promql.window import Dense, DenseWindow, Ends
from engine.core.rows import Rows, SavedRows

__all__ = ["Block", "BlockWindow", "SavedBlock"]


class SavedBlock(msgspec.Struct, tag="block"):
    """What a snapshot keeps of a block."""

    rows: SavedRows
    folds: SavedFolds


class Block:
    """Samples of a fixed set of series, the newest last.

    Args:
        width: How many series.
    """

    def __init__(self, width: int) -> None:
        self._rows = Rows(width)
        self._folds = Folds(self._rows)

    @property
    def width(self) -> int:
        """How many series."""
        return self._rows.width

    @property
    def capacity(self) -> int:
        """For how many rows there is room."""
        return len(self._rows.times)

    def append(self, time_ms: int, columns: Index | None, values: Floats) -> None:
        """Add a landing.

        Args:
            time_ms: Usually later than that of the last one; the samples of each series come in order.
            columns: Which series it holds, or None for all.
            values: Of these, in their order; stale markers among them.
        """
        if self._rows.full:
            whole = self._folds.group()
            self._folds.move(self._rows.make_room(whole), whole)
        changed = self._rows.put(time_ms, columns, values)
        if changed is not None:
            self._folds.forget_from(changed)

    def expire(self, horizon_ms: int) -> None:
        """Drop what no window will ask for: samples at or before `horizon_ms`, but for each series' last cell."""
        self._rows.expire(horizon_ms)

    def instant(self, columns: Index, at_ms: int) -> tuple[Floats, NDArray[np.int64]]:
        """The last cell of each series at or before `at_ms`: (values, times). Stale markers are shown as such."""
        return self._rows.instant(columns, at_ms)

    def window(self, columns: Index, start_ms: int, end_ms: int, *, closed: bool = False) -> DenseWindow | BlockWindow:
        """The samples with start_ms < t <= end_ms; start_ms <= t if `closed`."""
        rows = self._rows
        first, last = rows.between(start_ms, end_ms, closed=closed)
        if last > first and rows.complete[first:last].all():
            return BlockWindow(rows, self._folds, columns, first, last, start_ms, end_ms)
        return DenseWindow(start_ms, end_ms, rows.dense(columns, first, last))

    def saved(self) -> SavedBlock:
        """What a snapshot keeps of it."""
        return SavedBlock(self._rows.saved(), self._folds.saved())

    @classmethod
    def of(cls, saved: SavedBlock, width: int) -> Block:
        """A block as it was when it was saved.

        Raises:
            ValueError: It does not fit itself.
        """
        made = cls(width)
        made._rows.load(saved.rows)
        made._folds.load(saved.folds)
        return made

    def taking(self, columns: NDArray[np.int64]) -> Generator[None, None, Block]:
        """A copy with these series alone."""
        made = Block(0)
        made._rows = yield from self._rows.taking(columns)
        made._folds = yield from self._folds.taking(made._rows, columns)
        return made


class BlockWindow:
    """A window without empty cells: the rows first..last-1 of a block."""

    def __init__(
        self, rows: Rows, folds: Folds, columns: Index, first: int, last: int, start_ms: int, end_ms: int
    ) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._rows = rows
        self._folds = folds
        self._columns = columns
        self._first = first
        self._last = last

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""
        return np.full(len(self._row(self._first)), self._last - self._first, dtype=np.int64)

    def ends(self) -> Ends:
        """First and last samples."""
        first, last = self._row(self._first), self._row(self._last - 1)
        times = self._rows.times
        return Ends(np.full(len(first), times[self._first]), first, np.full(len(last), times[self._last - 1]), last)

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        until = self._folds.correction(self._last - 1, self._columns)
        with np.errstate(all="ignore"):
            lost: Floats = until - self._folds.correction(self._first, self._columns)
        if not np.isfinite(until).all():  # some time an infinity was reset, and a difference says nothing any more
            lost = DenseWindow(self.start_ms, self.end_ms, self.dense()).resets_added()
        return lost

    def sums(self) -> Floats:
        """Sum, compensated."""
        return self._folds.total(self._first, self._last, self._columns)

    def minima(self) -> Floats:
        """Least value."""
        return self._folds.fold("min", np.fmin, self._first, self._last, self._columns)

    def maxima(self) -> Floats:
        """Greatest value."""
        return self._folds.fold("max", np.fmax, self._first, self._last, self._columns)

    def dense(self) -> Dense:
        """All samples."""
        return self._rows.dense(self._columns, self._first, self._last)

    def _row(self, row: int) -> Floats:
        found: Floats = self._rows.values[row, self._columns]
        return found
