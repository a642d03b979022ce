"""Ragged samples: the recent samples of series that land one by one, each with a column of times of its own.

All series share one arena of cells; each has a room in it, a run of places that moves to the arena's end when it has
become too small. So a window over thousands of such series is a handful of vector operations, and each costs the
memory of its own samples. A stale marker is no cell: it is noted beside the sample before it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.arena import NEVER_MS, ROOM_MIN, Arena, Places, ragged_places, room
from engine.core.columns import Column, Index
from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Dense, DenseWindow, Ends
from engine.events import STALE, STALE_BITS

__all__ = ["Ragged", "RaggedWindow", "SavedRagged"]

SERIES_PER_CHUNK: Final = 4_096
_BEFORE_ALL_MS: Final = np.iinfo(np.int64).min // 2


class SavedRagged(msgspec.Struct, tag="ragged"):
    """What a snapshot keeps of ragged samples, as little-endian bytes: the number of each series, and its samples."""

    horizon_ms: int
    size: bytes
    times: bytes
    values: bytes
    ended_ms: bytes
    lost: bytes


class Ragged:
    """Samples of series that may become more, each with its own times."""

    def __init__(self) -> None:
        self._cells = Arena(16 * ROOM_MIN)
        self._used = 0  # places of the arena that belong or have belonged to a room
        # By series: where its room begins, its samples begin and end, and its room ends.
        self._base: Column[np.int64] = Column(np.int64, 0)
        self._first: Column[np.int64] = Column(np.int64, 0)
        self._end: Column[np.int64] = Column(np.int64, 0)
        self._limit: Column[np.int64] = Column(np.int64, 0)
        self._horizon_ms = _BEFORE_ALL_MS

    @property
    def width(self) -> int:
        """How many series."""
        return len(self._end)

    @property
    def capacity(self) -> int:
        """How many places the arena has."""
        return len(self._cells)

    def add(self, count: int) -> None:
        """Make place for so many further series, after the others."""
        for column in (self._base, self._first, self._end, self._limit):
            column.resize(len(column) + count)  # without a room: the first sample gives them one

    def append(self, time_ms: int, columns: Index | None, values: Floats) -> None:
        """Add a landing.

        Args:
            time_ms: Not before that of the last sample of any of the series.
            columns: Which series it holds, each once, or None for all.
            values: Of these, in their order; stale markers among them.
        """
        columns = slice(None) if columns is None else columns
        series = np.arange(*columns.indices(self.width)) if isinstance(columns, slice) else columns
        stale = values.view(np.int64) == STALE_BITS
        if stale.any():
            self._mark(series[stale], time_ms)
            series, values = series[~stale], values[~stale]
            if not len(series):
                return
        first, end = self._first.array[series], self._end.array[series]
        again = (end > first) & (self._cells.times[end - 1] == time_ms)
        full = (end == self._limit.array[series]) & ~again
        if full.any():
            self._make_room(series[full])
            first, end = self._first.array[series], self._end.array[series]
        places = end - again
        self._cells.write(places, first, time_ms, values)
        self._end.array[series] = places + 1

    def expire(self, horizon_ms: int) -> None:
        """No window will ask for samples at or before `horizon_ms`; all but the last of them in each series lose their
        places when places are needed."""
        self._horizon_ms = max(self._horizon_ms, horizon_ms)

    def instant(self, columns: Index, at_ms: int) -> tuple[Floats, Places]:
        """The last sample of each series at or before `at_ms`: (values, times). A stale marker where it has ended."""
        first, end = self._first.array[columns], self._end.array[columns]
        place = self._after(first, end, at_ms) - 1
        there = place >= first
        place = np.where(there, place, 0)
        cells = self._cells
        times = np.where(there, cells.times[place], _BEFORE_ALL_MS)
        if cells.ended_ms is not None:
            there &= cells.ended_ms[place] > at_ms
        return np.where(there, cells.values[place], STALE), times

    def window(self, columns: Index, start_ms: int, end_ms: int, *, closed: bool = False) -> RaggedWindow:
        """The samples with start_ms < t <= end_ms; start_ms <= t if `closed`."""
        first, end = self._first.array[columns], self._end.array[columns]
        last = self._after(first, end, end_ms)
        return RaggedWindow(self, self._after(first, last, start_ms - closed), last, start_ms, end_ms)

    @property
    def cells(self) -> Arena:
        """The arena, until something is added."""
        return self._cells

    def losses(self) -> Floats:
        """For each place of the arena what a counter's resets lost up to it."""
        return self._cells.losses(self._first.array, self._end.array)

    def taking(self, columns: NDArray[np.int64]) -> Generator[None, None, Ragged]:
        """A copy with these series alone, and without what no window will ask for."""
        made = Ragged()
        made.add(len(columns))
        made._horizon_ms = self._horizon_ms
        end = self._end.array[columns]
        first = self._wanted(self._first.array[columns], end)
        made._lay_out(end - first)
        for at in range(0, len(columns), SERIES_PER_CHUNK):
            part = slice(at, at + SERIES_PER_CHUNK)
            made._take(self._cells, first[part], end[part], part)
            yield
        return made

    # -- snapshot ----------------------------------------------------------------------------------------------

    def saved(self) -> SavedRagged:
        """What a snapshot keeps of it: the samples of each series, one after the other."""
        first, size = self._first.array, self._end.array - self._first.array
        places, cells = ragged_places(first, size), self._cells
        lost = np.zeros(0) if cells.lost is None else cells.lost[places]
        ended = np.zeros(0, dtype=np.int64) if cells.ended_ms is None else cells.ended_ms[places]
        return SavedRagged(
            horizon_ms=self._horizon_ms,
            size=size.astype("<i8").tobytes(),
            times=cells.times[places].astype("<i8").tobytes(),
            values=cells.values[places].astype("<f8").tobytes(),
            ended_ms=ended.astype("<i8").tobytes(),
            lost=lost.astype("<f8").tobytes() if lost.any() else b"",
        )

    @classmethod
    def of(cls, saved: SavedRagged, width: int) -> Ragged:
        """Samples as they were when they were saved.

        Raises:
            ValueError: They don't fit each other.
        """
        made, size = cls(), np.frombuffer(saved.size, dtype="<i8").astype(np.int64)
        times = np.frombuffer(saved.times, dtype="<i8")
        if len(size) != width or int(size.min(initial=0)) < 0 or int(size.sum()) != len(times):
            raise ValueError("samples that don't fit each other")
        made.add(width)
        made._horizon_ms = saved.horizon_ms
        made._lay_out(size)
        cells, places = made._cells, ragged_places(made._first.array, size)
        cells.times[places] = times
        cells.values[places] = np.frombuffer(saved.values, dtype="<f8")
        if saved.ended_ms:
            cells.end(np.arange(len(cells)), NEVER_MS)
            cells.end(places, np.frombuffer(saved.ended_ms, dtype="<i8"))
        if saved.lost:
            cells.lost = np.zeros(len(cells))
            cells.lost[places] = np.frombuffer(saved.lost, dtype="<f8")
        return made

    # -- places ------------------------------------------------------------------------------------------------

    def _after(self, first: Places, end: Places, time_ms: int) -> Places:
        """For each series the place after its last sample at or before `time_ms`, of those in first..end-1."""
        times, low, high = self._cells.times, first, end
        late = np.flatnonzero((high > low) & (times[high - 1] > time_ms))
        if not len(late):
            return end
        low, high = low[late], high[late] - 1
        while len(open_ := np.flatnonzero(low < high)):  # all search at once; those that are done stand still
            middle = (low[open_] + high[open_]) >> 1
            before = times[middle] <= time_ms
            low[open_] = np.where(before, middle + 1, low[open_])
            high[open_] = np.where(before, high[open_], middle)
        found = end.copy()
        found[late] = low
        return found

    def _wanted(self, first: Places, end: Places) -> Places:
        """Where the samples begin that may still be asked for: the last one at or before the horizon is the first."""
        return np.maximum(self._after(first, end, self._horizon_ms) - 1, first)

    def _mark(self, series: Places, time_ms: int) -> None:
        """Note that a stale marker ended these series. One that has no sample shows nothing anyway."""
        series = series[self._end.array[series] > self._first.array[series]]
        replaced = self._cells.times[self._end.array[series] - 1] == time_ms
        self._end.array[series] -= replaced  # the marker takes the place of a sample of the same time
        last = self._end.array[series] - 1
        self._cells.end(last[last >= self._first.array[series]], time_ms)

    def _make_room(self, series: Places) -> None:
        """Give these series room for more samples: what nobody asks for any more goes, or they move to the end."""
        end = self._end.array[series]
        first = self._wanted(self._first.array[series], end)
        size = end - first
        needed = room(size)
        base, limit = self._base.array[series], self._limit.array[series]
        grows = needed > limit - base
        if self._used + int(needed[grows].sum()) > self.capacity:
            before, end = self._cells, self._end.array.copy()
            first = self._wanted(self._first.array, end)
            self._lay_out(end - first)
            self._take(before, first, end, slice(None))
            return
        target = self._used + np.cumsum(needed * grows) - needed
        self._used += int(needed[grows].sum())
        base = np.where(grows, target, base)
        self._cells.copy(self._cells, ragged_places(first, size), ragged_places(base, size))
        self._base.array[series], self._limit.array[series] = base, np.where(grows, base + needed, limit)
        self._first.array[series], self._end.array[series] = base, base + size

    def _lay_out(self, size: Places) -> None:
        """Make a new, empty arena with room for so many samples of every series, and half as much again for moves."""
        rooms = room(size)
        limit = np.cumsum(rooms)
        self._used = int(rooms.sum())
        self._cells = Arena(self._used + self._used // 2)
        self._base.array[:] = self._first.array[:] = limit - rooms
        self._end.array[:], self._limit.array[:] = limit - rooms + size, limit

    def _take(self, source: Arena, first: Places, end: Places, series: slice) -> None:
        """Copy the samples first..end-1 of these series to where the layout has them."""
        self._cells.copy(
            source, ragged_places(first, end - first), ragged_places(self._base.array[series], end - first)
        )


class RaggedWindow:
    """A window: of each series the cells first..last-1 of an arena."""

    def __init__(self, ragged: Ragged, first: Places, last: Places, start_ms: int, end_ms: int) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._ragged = ragged
        self._first = first
        self._last = last

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""
        return self._last - self._first

    def ends(self) -> Ends:
        """First and last samples."""
        there, first, last = self._bounds()
        cells = self._ragged.cells
        firsts, lasts = np.where(there, cells.values[first], np.nan), np.where(there, cells.values[last], np.nan)
        return Ends(cells.times[first], firsts, cells.times[last], lasts)

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        there, first, last = self._bounds()
        lost = self._ragged.losses()
        if not np.isfinite(lost[last]).all():  # an infinity was reset, and a difference says nothing any more
            return self._as_dense().resets_added()
        return np.where(there, lost[last] - lost[first], 0.0)

    def sums(self) -> Floats:
        """Sum, compensated."""
        return self._as_dense().sums()

    def minima(self) -> Floats:
        """Least value."""
        return self._as_dense().minima()

    def maxima(self) -> Floats:
        """Greatest value."""
        return self._as_dense().maxima()

    def dense(self) -> Dense:
        """All samples."""
        counts = self.counts()
        cells = np.arange(int(counts.max(initial=0)))
        inside = cells < counts[:, None]
        places = np.where(inside, self._first[:, None] + cells, 0)
        times, values = self._ragged.cells.times[places], self._ragged.cells.values[places]
        return Dense(np.where(inside, times, 0), np.where(inside, values, np.nan), counts)

    def _bounds(self) -> tuple[Bools, Places, Places]:
        """Which series have samples, and the places of their first and last; 0 where there is none."""
        there = self._last > self._first
        return there, np.where(there, self._first, 0), np.where(there, self._last - 1, 0)

    def _as_dense(self) -> DenseWindow:
        return DenseWindow(self.start_ms, self.end_ms, self.dense())
