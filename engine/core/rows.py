"""Rows of cells by time: the buffer of a block.

One row for each landing, one column for each series, kept as a linear buffer, so that every window is a slice of it.
A cell may be empty: the series was not in that landing, or a stale marker ended it there. The buffer computes nothing
from its cells.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.columns import Index
from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Dense
from engine.events import STALE, STALE_BITS

__all__ = ["Rows", "SavedRows", "is_empty", "moved", "taken"]

Times: TypeAlias = NDArray[np.int64]
S = TypeVar("S", bound=np.generic)

ROWS_MIN: Final = 4
SPARE: Final = 8
"""A snapshot keeps no more than so many times the room that is used."""
CELLS_PER_CHUNK: Final = 100_000
_ABSENT_BITS: Final = 0x7FF0_0000_0000_0004  # a NaN that no sample has: Prometheus' two are 1 and 2, ours is 4
_ABSENT: Final[float] = struct.unpack("<d", struct.pack("<Q", _ABSENT_BITS))[0]


class SavedRows(msgspec.Struct):
    """What a snapshot keeps of rows, as little-endian bytes."""

    capacity: int
    start: int
    times: bytes
    values: bytes
    complete: bytes
    base_ms: bytes
    base: bytes


class Rows:
    """Samples of a fixed set of series, the newest last.

    Args:
        width: How many series.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.times: Times = np.zeros(ROWS_MIN, dtype=np.int64)
        self.values: Floats = np.full((ROWS_MIN, width), _ABSENT)
        self.complete: Bools = np.zeros(ROWS_MIN, dtype=np.bool_)
        """Which rows have no empty cell."""
        self.start = 0
        """The first row that is still wanted."""
        self.size = 0
        """The row after the last."""
        # Of rows that were dropped: the last cell of each series, for instant look-ups.
        self._base_ms: Times = np.full(width, np.iinfo(np.int64).min // 2)
        self._base: Floats = np.full(width, _ABSENT)

    def __len__(self) -> int:
        return self.size - self.start

    @property
    def full(self) -> bool:
        """Whether a new row needs room that is not there."""
        return self.size == len(self.times)

    def put(self, time_ms: int, columns: Index | None, values: Floats) -> int | None:
        """Write a landing; there must be room for a row.

        Args:
            columns: Which series it holds, or None for all.

        Returns:
            The row, if it is not a new one at the end: what was computed from it and from later ones is not true any
            more. None otherwise.
        """
        row, changed = self.size, None
        if row and self.times[row - 1] >= time_ms:
            row = int(np.searchsorted(self.times[: self.size], time_ms))
            if row < self.start:
                at = slice(None) if columns is None else columns
                self._base_ms[at], self._base[at] = time_ms, values
                return None
            changed = row
        if row == self.size or self.times[row] != time_ms:
            self._open_row(row, time_ms, empty=columns is not None)
        self.values[row, slice(None) if columns is None else columns] = values
        cells = self.values[row]
        self.complete[row] = not np.isnan(cells).any() or not is_empty(cells).any()
        return changed

    def expire(self, horizon_ms: int) -> None:
        """Drop samples at or before `horizon_ms`, but for each series' last cell."""
        kept = int(np.searchsorted(self.times[: self.size], horizon_ms, side="right"))
        if kept <= self.start:
            return
        whole = np.flatnonzero(self.complete[self.start : kept])
        for row in range(self.start + (int(whole[-1]) if len(whole) else 0), kept):
            cells = self.values[row]
            if self.complete[row]:
                self._base_ms[:], self._base[:] = self.times[row], cells
                continue
            there = cells.view(np.int64) != _ABSENT_BITS
            self._base_ms[there] = self.times[row]
            self._base[there] = cells[there]
        self.start = kept

    def instant(self, columns: Index, at_ms: int) -> tuple[Floats, Times]:
        """The last cell of each series at or before `at_ms`: (values, times). Stale markers are shown as such."""
        row = int(np.searchsorted(self.times[: self.size], at_ms, side="right")) - 1
        if row >= self.start and self.complete[row]:
            values = self.values[row, columns]
            return values, np.full(len(values), self.times[row])
        values, times = self._base[columns].copy(), self._base_ms[columns].copy()
        missing = np.ones(len(values), dtype=np.bool_)
        while row >= self.start and missing.any():
            cells = self.values[row, columns]
            there = missing & (np.ascontiguousarray(cells).view(np.int64) != _ABSENT_BITS)
            values[there], times[there] = cells[there], self.times[row]
            missing &= ~there
            row -= 1
        values[values.view(np.int64) == _ABSENT_BITS] = STALE
        return values, times

    def between(self, start_ms: int, end_ms: int, *, closed: bool) -> tuple[int, int]:
        """The rows first..last-1 with start_ms < t <= end_ms; start_ms <= t if `closed`."""
        times = self.times[: self.size]
        first = max(int(np.searchsorted(times, start_ms, side="left" if closed else "right")), self.start)
        return first, max(int(np.searchsorted(times, end_ms, side="right")), first)

    def dense(self, columns: Index, first: int, last: int) -> Dense:
        """Rows as padded arrays, one for each series."""
        values = self.values[first:last, columns].T
        times = np.broadcast_to(self.times[first:last], values.shape)
        empty = is_empty(values)
        counts = (~empty).sum(axis=1)
        if not empty.any():
            return Dense(times, np.ascontiguousarray(values), counts)
        order = np.argsort(empty, axis=1, kind="stable")
        packed = np.take_along_axis(values, order, axis=1)
        inside = np.arange(values.shape[1]) < counts[:, None]
        width = int(counts.max(initial=0))
        times = np.where(inside, np.take_along_axis(times, order, axis=1), 0)
        return Dense(times[:, :width], np.where(inside, packed, np.nan)[:, :width], counts)

    def make_room(self, whole: int) -> int:
        """Move the wanted rows to the front, by groups of `whole` rows; grow if that gives too little.

        Returns:
            By how many rows they moved.
        """
        dropped = self.start // whole * whole
        rows = len(self.times) if dropped >= len(self.times) // 2 else 2 * len(self.times)
        kept = slice(dropped, self.size)
        self.times, self.complete = moved(self.times, kept, rows), moved(self.complete, kept, rows)
        self.values = moved(self.values, kept, rows)
        self.start -= dropped
        self.size -= dropped
        return dropped

    def taking(self, columns: NDArray[np.int64]) -> Generator[None, None, Rows]:
        """A copy with these series alone."""
        made = Rows(len(columns))
        made.times, made.start, made.size = self.times.copy(), self.start, self.size
        made.values = yield from taken(self.values, columns)
        made._base_ms, made._base = self._base_ms[columns], self._base[columns]
        made.complete = self.complete.copy()
        for row in range(made.start, made.size):
            if not made.complete[row]:  # it may have been for the sake of one that is left out
                made.complete[row] = not is_empty(made.values[row]).any()
                if row % ROWS_MIN == 0:
                    yield
        return made

    def saved(self) -> SavedRows:
        """What a snapshot keeps of it: the rows that are wanted, at the places where they stand, so that groups of rows
        stay groups."""
        there = slice(self.start, self.size)
        capacity = len(self.times)
        while capacity > ROWS_MIN and capacity // SPARE > self.size:
            capacity //= 2
        return SavedRows(
            capacity=capacity,
            start=self.start,
            times=self.times[: self.size].astype("<i8").tobytes(),
            values=self.values[there].astype("<f8").tobytes(),
            complete=self.complete[there].tobytes(),
            base_ms=self._base_ms.astype("<i8").tobytes(),
            base=self._base.astype("<f8").tobytes(),
        )

    def load(self, saved: SavedRows) -> None:
        """Take back what `saved` gave, into rows of the same width that are empty.

        Raises:
            ValueError: It does not fit itself.
        """
        times = np.frombuffer(saved.times, dtype="<i8")
        size, start, rows = len(times), saved.start, saved.capacity
        if not 0 <= start <= size <= rows <= max(ROWS_MIN, 2 * SPARE * (size + 1)) or (np.diff(times) <= 0).any():
            raise ValueError("rows that don't fit each other")
        there = slice(start, size)
        self.times, self.complete = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.bool_)
        self.values = np.full((rows, self.width), _ABSENT)
        self.times[:size] = times
        self.values[there] = np.frombuffer(saved.values, dtype="<f8").reshape(size - start, self.width)
        self.complete[there] = np.frombuffer(saved.complete, dtype=np.bool_)
        self._base_ms[:] = np.frombuffer(saved.base_ms, dtype="<i8")
        self._base[:] = np.frombuffer(saved.base, dtype="<f8")
        self.start, self.size = start, size

    def _open_row(self, row: int, time_ms: int, *, empty: bool) -> None:
        """Make a row before `row`. Without `empty` it holds anything."""
        for array in (self.times, self.complete, self.values):
            array[row + 1 : self.size + 1] = array[row : self.size]
        self.size += 1
        self.times[row] = time_ms
        if empty:
            self.values[row] = _ABSENT


def is_empty(cells: Floats) -> Bools:
    """Which cells hold no sample: none came, or a stale marker did."""
    bits = np.ascontiguousarray(cells).view(np.int64).reshape(cells.shape)
    empty: Bools = (bits == _ABSENT_BITS) | (bits == STALE_BITS)
    return empty


def moved(array: NDArray[S], kept: slice, rows: int) -> NDArray[S]:
    """The rows `kept` at the front of a new array of so many rows; the others hold anything."""
    grown = np.empty((rows, *array.shape[1:]), dtype=array.dtype)
    grown[: kept.stop - kept.start] = array[kept]
    return grown


def taken(array: Floats, columns: NDArray[np.int64]) -> Generator[None, None, Floats]:
    """A copy of the last axis at `columns`, made in chunks of rows."""
    made = np.empty((*array.shape[:-1], len(columns)))
    rows = max(1, CELLS_PER_CHUNK // max(1, int(np.prod(made.shape[1:]))))
    for row in range(0, len(array), rows):
        made[row : row + rows] = array[row : row + rows, ..., columns]
        yield
    return made
