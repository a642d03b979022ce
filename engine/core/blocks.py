"""Blocks: the recent samples of series that land together, on one shared column of times.

A block is a matrix, one row for each landing and one column for each series, kept as a linear buffer, so that
every window is a slice of it. What a window is asked for comes from little: first and last rows, a running
correction for counter resets, and sums of 8, 64, 512, ... rows that are added and never subtracted, so that a
value that has left a window leaves no trace in it. All of that is computed when it is first asked for.

A cell may be empty: the series was not in that landing, or a stale marker ended it there. Windows with such
cells take a slower road through all their samples.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core.columns import Index
from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Dense, DenseWindow, Ends
from engine.events import STALE, STALE_BITS

__all__ = ["Block", "BlockWindow"]

Times = NDArray[np.int64]
S = TypeVar("S", bound=np.generic)

FAN_OUT: Final = 8
LEVELS_MAX: Final = 4
COVERS_MAX: Final = 16
ROWS_MIN: Final = 4
_ABSENT_BITS: Final = 0x7FF0_0000_0000_0004  # a NaN that no sample has: Prometheus' two are 1 and 2, ours is 4
_ABSENT: Final[float] = struct.unpack("<d", struct.pack("<Q", _ABSENT_BITS))[0]


class Block:
    """Samples of a fixed set of series, the newest last.

    Args:
        width: How many series.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._times: Times = np.zeros(ROWS_MIN, dtype=np.int64)
        self._values: Floats = np.full((ROWS_MIN, width), _ABSENT)
        self._complete: Bools = np.zeros(ROWS_MIN, dtype=np.bool_)
        self._start = 0  # first row that is still wanted
        self._size = 0
        # Of rows that were dropped: the last cell of each series, for instant look-ups.
        self._base_ms: Times = np.full(width, np.iinfo(np.int64).min // 2)
        self._base: Floats = np.full(width, _ABSENT)
        self._corrections: Floats | None = None
        self._corrected_from = 0
        self._corrected = 0
        self._previous: Floats = np.zeros(0)  # of the last row that `_corrections` knows
        self._partials: dict[tuple[str, int], tuple[Floats, int]] = {}
        self._covers: dict[tuple[str, int, int, int, int], tuple[Index, Floats]] = {}

    def __len__(self) -> int:
        return self._size - self._start

    def append(self, time_ms: int, columns: Index | None, values: Floats) -> None:
        """Add a landing.

        Args:
            time_ms: Usually later than that of the last one; the samples of each series come in order.
            columns: Which series it holds, or None for all.
            values: Of these, in their order; stale markers among them.
        """
        row = self._size
        if row and self._times[row - 1] >= time_ms:
            row = int(np.searchsorted(self._times[: self._size], time_ms))
            if row < self._start:
                at = slice(None) if columns is None else columns
                self._base_ms[at], self._base[at] = time_ms, values
                return
            self._forget_from(row)
        if row == self._size or self._times[row] != time_ms:
            row = self._open_row(row, time_ms, empty=columns is not None)
        self._values[row, slice(None) if columns is None else columns] = values
        cells = self._values[row]
        self._complete[row] = not np.isnan(cells).any() or not _is_empty(cells).any()

    def expire(self, horizon_ms: int) -> None:
        """Drop what no window will ask for: samples at or before `horizon_ms`, but for each series' last cell."""
        kept = int(np.searchsorted(self._times[: self._size], horizon_ms, side="right"))
        if kept <= self._start:
            return
        whole = np.flatnonzero(self._complete[self._start : kept])
        for row in range(self._start + (int(whole[-1]) if len(whole) else 0), kept):
            cells = self._values[row]
            if self._complete[row]:
                self._base_ms[:], self._base[:] = self._times[row], cells
                continue
            there = cells.view(np.int64) != _ABSENT_BITS
            self._base_ms[there] = self._times[row]
            self._base[there] = cells[there]
        self._start = kept

    def instant(self, columns: Index, at_ms: int) -> tuple[Floats, Times]:
        """The last cell of each series at or before `at_ms`: (values, times). Stale markers are shown as such."""
        row = int(np.searchsorted(self._times[: self._size], at_ms, side="right")) - 1
        if row >= self._start and self._complete[row]:
            values = self._values[row, columns]
            return values, np.full(len(values), self._times[row])
        values, times = self._base[columns].copy(), self._base_ms[columns].copy()
        missing = np.ones(len(values), dtype=np.bool_)
        while row >= self._start and missing.any():
            cells = self._values[row, columns]
            there = missing & (np.ascontiguousarray(cells).view(np.int64) != _ABSENT_BITS)
            values[there], times[there] = cells[there], self._times[row]
            missing &= ~there
            row -= 1
        values[values.view(np.int64) == _ABSENT_BITS] = STALE
        return values, times

    def window(self, columns: Index, start_ms: int, end_ms: int, *, closed: bool = False) -> DenseWindow | BlockWindow:
        """The samples with start_ms < t <= end_ms; start_ms <= t if `closed`."""
        times = self._times[: self._size]
        first = max(int(np.searchsorted(times, start_ms, side="left" if closed else "right")), self._start)
        last = max(int(np.searchsorted(times, end_ms, side="right")), first)
        if last > first and self._complete[first:last].all():
            return BlockWindow(self, columns, first, last, start_ms, end_ms)
        return DenseWindow(start_ms, end_ms, self.dense(columns, first, last))

    def dense(self, columns: Index, first: int, last: int) -> Dense:
        """Rows as padded arrays, one for each series."""
        values = self._values[first:last, columns].T
        times = np.broadcast_to(self._times[first:last], values.shape)
        empty = _is_empty(values)
        counts = (~empty).sum(axis=1)
        if not empty.any():
            return Dense(times, np.ascontiguousarray(values), counts)
        order = np.argsort(empty, axis=1, kind="stable")
        packed = np.take_along_axis(values, order, axis=1)
        inside = np.arange(values.shape[1]) < counts[:, None]
        width = int(counts.max(initial=0))
        times = np.where(inside, np.take_along_axis(times, order, axis=1), 0)
        return Dense(times[:, :width], np.where(inside, packed, np.nan)[:, :width], counts)

    # -- what windows ask for ----------------------------------------------------------------------------------

    def time(self, row: int) -> int:
        """When a row landed."""
        return int(self._times[row])

    def row(self, row: int, columns: Index) -> Floats:
        """The values of a row."""
        found: Floats = self._values[row, columns]
        return found

    def correction(self, row: int, columns: Index) -> Floats:
        """What was lost by resets from the beginning up to a row, for each series."""
        if self._corrections is None:
            self._corrections = np.zeros_like(self._values)
            self._previous = np.full(self.width, np.nan)
            self._corrected_from = self._corrected = self._start
        elif self._corrected < self._start:  # nobody has asked for so long that rows are gone: begin anew
            self._previous = np.full(self.width, np.nan)
            self._corrected_from = self._corrected = self._start
        with np.errstate(all="ignore"):
            for number in range(self._corrected, self._size):
                cells = self._values[number]
                there = ~_is_empty(cells)
                lost = np.where(there & (cells < self._previous), self._previous, 0.0)
                before = self._corrections[number - 1] if number > self._corrected_from else 0.0
                self._corrections[number] = lost + before
                self._previous = np.where(there, cells, self._previous)
        self._corrected = self._size
        found: Floats = self._corrections[row, columns]
        return found

    def fold(self, name: str, ufunc: np.ufunc, first: int, last: int, columns: Index) -> Floats:
        """`ufunc` over the rows first..last-1, through the results of whole groups of rows."""

        def fold(parts: Sequence[Floats]) -> Floats:
            folded = parts[0].copy()
            for part in parts[1:]:
                ufunc(folded, part, out=folded)
            return folded

        with np.errstate(all="ignore"):  # infinities and NaN are values here
            return self._cover(name, fold, first, last, 0, columns)

    def total(self, first: int, last: int, columns: Index) -> Floats:
        """The sum of the rows first..last-1, with what rounding lost carried beside it, so that nothing cancels."""

        with np.errstate(all="ignore"):
            high, low = self._cover("sum", _added, first, last, 0, columns)
            # Where the sum has left the finite, what it lost means nothing.
            total: Floats = np.where(np.isfinite(high), high + low, high)
            return total

    def _cover(
        self, name: str, fold: Callable[[Sequence[Floats]], Floats], first: int, last: int, level: int, columns: Index
    ) -> Floats:
        """The result over first..last-1, counted in groups of FAN_OUT**level rows.

        A window that moves on by a row has the same inner groups as before most of the time, so the result over these
        is kept.
        """
        key = name, level, id(columns), first, last
        if level and key in self._covers:
            return self._covers[key][1]
        left, right = -(-first // FAN_OUT), last // FAN_OUT
        if level == LEVELS_MAX or left >= right:
            left = right = last
            parts = []
        else:
            parts = [self._cover(name, fold, left, right, level + 1, columns)]
            left, right = left * FAN_OUT, right * FAN_OUT
        before = [self._part(name, fold, level, at, columns) for at in range(first, left)]
        after = [self._part(name, fold, level, at, columns) for at in range(right, last)]
        folded = fold([*before, *parts, *after])
        if level:
            if len(self._covers) >= COVERS_MAX:
                del self._covers[next(iter(self._covers))]
            self._covers[key] = columns, folded  # the columns, so that their identity stays their own
        return folded

    def _part(
        self, name: str, fold: Callable[[Sequence[Floats]], Floats], level: int, at: int, columns: Index
    ) -> Floats:
        """A row, or the result over a group of rows: for sums two rows, the sum and what it lost."""
        if level == 0:
            cells: Floats = self._values[at, columns]
            return cells
        depth = (2,) if name == "sum" else ()
        groups, done = self._partials.get((name, level), (np.empty((0, *depth, self.width)), 0))
        if at >= done:
            if at >= len(groups):
                grown = np.empty((max(at + 1, 2 * len(groups)), *depth, self.width))
                grown[: len(groups)] = groups
                groups = grown
            for number in range(max(done, -(-self._start // FAN_OUT**level)), at + 1):
                below = range(number * FAN_OUT, (number + 1) * FAN_OUT)
                groups[number] = fold([self._part(name, fold, level - 1, group, slice(None)) for group in below])
            self._partials[name, level] = groups, at + 1
        found: Floats = groups[at][..., columns]
        return found

    # -- the buffer --------------------------------------------------------------------------------------------

    def _open_row(self, row: int, time_ms: int, *, empty: bool) -> int:
        """Make a row before `row`; return where it is. Without `empty` it holds anything."""
        if self._size == len(self._times):
            before = self._start
            self._make_room()
            row -= before - self._start
        for array in (self._times, self._complete, self._values):
            array[row + 1 : self._size + 1] = array[row : self._size]
        self._size += 1
        self._times[row] = time_ms
        if empty:
            self._values[row] = _ABSENT
        return row

    def _make_room(self) -> None:
        """Move the wanted rows to the front, by whole groups; grow if that gives too little."""
        whole = FAN_OUT**LEVELS_MAX if self._partials else 1
        while whole > FAN_OUT and whole > len(self):
            whole //= FAN_OUT
        dropped = self._start // whole * whole
        rows = len(self._times) if dropped >= len(self._times) // 2 else 2 * len(self._times)
        kept = slice(dropped, self._size)
        self._times = _moved(self._times, kept, rows)
        self._complete = _moved(self._complete, kept, rows)
        self._values = _moved(self._values, kept, rows)
        if self._corrections is not None:
            self._corrections = _moved(self._corrections, kept, rows)
            self._corrected -= dropped
            self._corrected_from = max(self._corrected_from - dropped, 0)
        for (name, level), (groups, done) in list(self._partials.items()):
            size = FAN_OUT**level
            if size > whole:
                del self._partials[name, level]  # its groups would no longer begin where they did
            else:
                self._partials[name, level] = groups[dropped // size :].copy(), done - dropped // size
        self._covers.clear()
        self._start -= dropped
        self._size -= dropped

    def _forget_from(self, row: int) -> None:
        """A row that was there gets more cells: what was computed from it is not true any more."""
        if self._corrections is not None and self._corrected > row:
            self._corrections = None
        self._covers.clear()
        self._partials = {
            (name, level): (groups, min(done, row // FAN_OUT**level))
            for (name, level), (groups, done) in self._partials.items()
        }


class BlockWindow:
    """A window of a block without empty cells."""

    def __init__(self, block: Block, columns: Index, first: int, last: int, start_ms: int, end_ms: int) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._block = block
        self._columns = columns
        self._first = first
        self._last = last

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""
        return np.full(self._width(), self._last - self._first, dtype=np.int64)

    def ends(self) -> Ends:
        """First and last samples."""
        block, width = self._block, self._width()
        return Ends(
            np.full(width, block.time(self._first)),
            block.row(self._first, self._columns),
            np.full(width, block.time(self._last - 1)),
            block.row(self._last - 1, self._columns),
        )

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        until = self._block.correction(self._last - 1, self._columns)
        with np.errstate(all="ignore"):
            lost: Floats = until - self._block.correction(self._first, self._columns)
        if not np.isfinite(until).all():  # some time an infinity was reset, and a difference says nothing any more
            lost = DenseWindow(self.start_ms, self.end_ms, self.dense()).resets_added()
        return lost

    def sums(self) -> Floats:
        """Sum, compensated."""
        return self._block.total(self._first, self._last, self._columns)

    def minima(self) -> Floats:
        """Least value."""
        return self._block.fold("min", np.fmin, self._first, self._last, self._columns)

    def maxima(self) -> Floats:
        """Greatest value."""
        return self._block.fold("max", np.fmax, self._first, self._last, self._columns)

    def dense(self) -> Dense:
        """All samples."""
        return self._block.dense(self._columns, self._first, self._last)

    def _width(self) -> int:
        return len(self._block.row(self._first, self._columns))


def _added(parts: Sequence[Floats]) -> Floats:
    """The sum of parts and what rounding lost: shape (2, n). A part is a row of values or such a pair of rows."""
    first = parts[0]
    high, low = (first.copy(), np.zeros_like(first)) if first.ndim == 1 else first.copy()
    summed, shown, missed = np.empty((3, len(high)))
    for part in parts[1:]:
        more = part if part.ndim == 1 else part[0]
        np.add(high, more, out=summed)
        np.subtract(summed, high, out=shown)  # what of `more` is in the sum
        np.subtract(more, shown, out=missed)
        low += missed
        np.subtract(summed, shown, out=shown)  # what of `high` is
        np.subtract(high, shown, out=missed)
        low += missed
        if part.ndim == 2:
            low += part[1]
        high, summed = summed, high
    return np.stack([high, low])


def _is_empty(cells: Floats) -> Bools:
    bits = np.ascontiguousarray(cells).view(np.int64).reshape(cells.shape)
    empty: Bools = (bits == _ABSENT_BITS) | (bits == STALE_BITS)
    return empty


def _moved(array: NDArray[S], kept: slice, rows: int) -> NDArray[S]:
    grown = np.empty((rows, *array.shape[1:]), dtype=array.dtype)
    grown[: kept.stop - kept.start] = array[kept]
    return grown
