"""The columnar store: the last sample of every series, by handle.

One row per series and one array per field, so that a scrape lands with a few vector operations. The
store decides which samples are accepted and what is fresh; it knows nothing of rules.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core import spans
from engine.core.columns import Column, Index
from engine.core.spans import Edges
from engine.events import STALE_BITS
from engine.series import SeriesTable, split_series

__all__ = [
    "BEFORE_ALL_MS",
    "NEVER_MS",
    "STALE_AFTER_INTERVALS",
    "STALE_AFTER_MS",
    "Compacting",
    "Landing",
    "Mark",
    "Store",
    "stale_after_ms",
    "stale_mask",
]

Handles: TypeAlias = NDArray[np.int64]
Times: TypeAlias = NDArray[np.int64]

Compacting: TypeAlias = Generator[None, None, Callable[[], None]]
"""Prepares something in steps without changing anything; what it returns makes the change at once."""

STALE_AFTER_MS = 300_000  # Prometheus' lookback-delta, for series whose interval is not known
STALE_AFTER_INTERVALS = 3
NEVER_MS = np.iinfo(np.int64).max // 2
BEFORE_ALL_MS = np.iinfo(np.int64).min // 2
_AGELESS_MS = 2**59  # no interval is that long


class Mark(enum.IntEnum):
    """What the last sample of a series says about the series."""

    LIVE = 0
    ENDED = 1
    TARGET_DOWN = 2


class Landing(NamedTuple):
    """Samples on their way in: aligned arrays over the accepted ones.

    Args:
        handles: Series, each once.
        at: The same, for columns.
        times: Event times, milliseconds; one int if it is the same for all.
        values: float64.
        stale: Which are stale markers, or None if none is.
        mark: What the markers mean; for each sample, if they mean different things.
        stale_after_ms: After how long without a sample each is stale.
        stale_from_ms: The first millisecond at which one of them will be stale.
    """

    handles: Handles
    at: Index
    times: Times | int
    values: NDArray[np.float64]
    stale: NDArray[np.bool_] | None
    mark: Mark | NDArray[np.int8]
    stale_after_ms: int | NDArray[np.int64]
    stale_from_ms: int

    @property
    def time_ms(self) -> int:
        """The time of a landing that is one atom."""
        return self.times if isinstance(self.times, int) else int(self.times[0])


_ENDED = int(Mark.ENDED)
_LIVE = int(Mark.LIVE)  # a member of an enum costs as much as a small array to compare with


class Store:
    """Last samples by series handle.

    Args:
        series_max: How many series it takes.
    """

    def __init__(self, series_max: int) -> None:
        self.table = SeriesTable(series_max)
        self._last_ms: Column[np.int64] = Column(np.int64, BEFORE_ALL_MS)
        self._values: Column[np.float64] = Column(np.float64, np.nan)
        self._stale_after: Column[np.int64] = Column(np.int64, STALE_AFTER_MS)
        self._marks: Column[np.int8] = Column(np.int8, Mark.LIVE)
        # By series the last span in which nobody could see it, though others could be seen.
        self._blind_from: Column[np.int64] = Column(np.int64, BEFORE_ALL_MS)
        self._blind_to: Column[np.int64] = Column(np.int64, BEFORE_ALL_MS)
        self.blind_ms = BEFORE_ALL_MS
        """No series was in a blind span later than this."""
        self.blind: Edges = []
        """When nobody could see anything."""
        self.restarted_ms = -1
        """When the engine began anew, as long as there are series that it has not seen since; -1 otherwise."""
        # By series, its last sample when the engine began anew: one that is newer was seen since, whatever its stamp.
        self._before_ms: Column[np.int64] = Column(np.int64, BEFORE_ALL_MS)
        # Once every series was seen: the newest sample. Until then there are instants that know of older ones.
        self._warm_ms = NEVER_MS

    def __len__(self) -> int:
        return len(self.table)

    def intern(self, text: str) -> int:
        """Return the handle of a series, or -1 when the table is full.

        Raises:
            ValueError: The text is not a series.
        """
        known = self.table.find(text)
        if known >= 0:
            return known
        split_series(text)
        handle = self.table.intern(text)
        self.fit()
        return handle

    def fit(self) -> None:
        """Have room for the samples of all series of the table."""
        for _, column, _ in self._named():
            column.resize(len(self.table))

    def last_ms(self, handles: Index) -> Times:
        """Time of the last sample of each series; far in the past for one that has none."""
        return self._last_ms.array[handles]

    def values(self, handles: Index) -> NDArray[np.float64]:
        """Value of the last sample of each series."""
        return self._values.array[handles]

    def stale_from(self, handles: Handles) -> Times:
        """The first millisecond at which each series is stale if no sample comes; NEVER_MS where it has
        ended, was marked, or (handle -1) does not exist: such a series can't go stale any more."""
        if not len(self.table):
            return np.full(handles.shape, NEVER_MS)
        last = self._last_ms.array[handles]  # of -1 it is that of the last series, and left out
        gone = (handles < 0) | (self._marks.array[handles] != _LIVE) | (last == BEFORE_ALL_MS)
        instants = last + self._stale_after.array[handles]
        instants += 1
        instants[gone] = NEVER_MS
        return instants

    def show(self, handles: Handles, at_ms: Times | int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What an instant selector sees at `at_ms`: (values, present), shape of `handles`. -1 is no series."""
        if not len(self.table):
            return np.full(handles.shape, np.nan), np.zeros(handles.shape, dtype=np.bool_)
        present = self._last_ms.array[handles] + self._stale_after.array[handles] >= at_ms
        present &= (self._marks.array[handles] == _LIVE) & (handles >= 0)
        return self._values.array[handles], present

    def state(
        self, handles: Handles, at_ms: Times | int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Of series at `at_ms`: (values, fresh, ended), shape of `handles`. -1 is no series, and neither."""
        if not len(self.table):
            nothing = np.zeros(np.shape(handles), dtype=np.bool_)
            return np.full(nothing.shape, np.nan), nothing, nothing
        marks = self._marks.array[handles]
        fresh = self._last_ms.array[handles] + self._stale_after.array[handles] >= at_ms
        fresh &= (marks == _LIVE) & (handles >= 0)
        return self._values.array[handles], fresh, (marks == _ENDED) & (handles >= 0)

    def series_state(self, handles: Handles) -> tuple[NDArray[np.float64], Times, NDArray[np.bool_]]:
        """Of series: (values, the last instant at which each is fresh, ended). One that is not live was never fresh."""
        if not len(self.table):
            nothing = np.zeros(handles.shape, dtype=np.bool_)
            return np.full(handles.shape, np.nan), np.full(handles.shape, BEFORE_ALL_MS), nothing
        marks = self._marks.array[handles]
        live = (marks == _LIVE) & (handles >= 0)
        until = np.where(live, self._last_ms.array[handles] + self._stale_after.array[handles], BEFORE_ALL_MS)
        return self._values.array[handles], until, (marks == _ENDED) & (handles >= 0)

    def stale_after(self, handles: Index) -> NDArray[np.int64]:
        """After how long without a sample each series is stale."""
        return self._stale_after.array[handles]

    def mark(self, handle: int) -> Mark:
        """What the last sample said about the series."""
        return Mark(int(self._marks.array[handle]))

    def marks(self, handles: Index) -> NDArray[np.int8]:
        """What the last sample of each series said about it, as `Mark`."""
        return self._marks.array[handles]

    def land(self, landing: Landing) -> None:
        """Write accepted samples."""
        at = landing.at
        self._last_ms.array[at] = landing.times
        self._values.array[at] = landing.values
        self._stale_after.array[at] = landing.stale_after_ms
        self._marks.array[at] = _LIVE if landing.stale is None else np.where(landing.stale, landing.mark, _LIVE)

    @property
    def blind_to_ms(self) -> int:
        """Everything was blind until then, at the latest; -1 if it never was."""
        return self.blind[-1] if self.blind else -1

    def age(self, handles: Handles, stale_after: NDArray[np.int64]) -> None:
        """Say after how long without a sample each series is stale, whatever was blind meanwhile."""
        self._stale_after.array[handles] = stale_after

    def skip(self, from_ms: int, to_ms: int, looked_ms: Times | int = 0) -> None:
        """Let nothing age in a span in which nobody could see: what was fresh before it, is fresh that much longer.

        Args:
            looked_ms: What was stale when somebody looked at it then, by series, is stale until its next sample.
        """
        for begin, end in spans.without(self.blind, from_ms, to_ms):
            self._skip(begin, end, looked_ms, slice(None))
        spans.add(self.blind, from_ms, to_ms)
        self.blind_ms = max(self.blind_ms, to_ms)

    def skip_some(self, handles: Handles, from_ms: int, to_ms: int, looked_ms: Times | int) -> None:
        """The same for some series. Of each the last such span is known: what is told later of the time before it, and
        overlaps an earlier one, is taken out again."""
        for begin, end in spans.without(self.blind, from_ms, to_ms):
            self._skip(begin, end, looked_ms, handles)
        first, last = self._blind_from.array[handles], self._blind_to.array[handles]
        touches, later = (from_ms <= last) & (first <= to_ms), from_ms > last
        self._blind_from.array[handles] = np.where(later, from_ms, np.where(touches, np.minimum(first, from_ms), first))
        self._blind_to.array[handles] = np.where(later | touches, np.maximum(last, to_ms), last)
        self.blind_ms = max(self.blind_ms, to_ms)

    def _skip(self, from_ms: int, to_ms: int, looked_ms: Times | int, handles: Index) -> None:
        last, after = self._last_ms.array[handles], self._stale_after.array[handles]
        begin = np.maximum(last, from_ms)
        known = np.minimum(self._blind_to.array[handles], to_ms) - np.maximum(self._blind_from.array[handles], begin)
        length = np.maximum(to_ms - begin, 0) - np.maximum(known, 0)
        fresh = (self._marks.array[handles] == _LIVE) & (last + after >= np.maximum(from_ms, looked_ms))
        self._stale_after.array[handles] = after + np.where(fresh, length, 0)

    def blind_after(self, handles: Index, times: Times | int) -> Times | int:
        """For how much of the time after `times` nobody could see each series, as far as that is known."""
        if self.blind_ms <= np.min(times, initial=NEVER_MS):
            return 0
        every = np.broadcast_to(times, self._blind_to.array[handles].shape)
        to_ms, begin = self._blind_to.array[handles], np.maximum(self._blind_from.array[handles], every)
        own = np.maximum(to_ms - begin, 0)
        both = spans.after(self.blind, begin) - spans.after(self.blind, np.maximum(to_ms, begin))
        blind: Times = spans.after(self.blind, every) + own - both
        return blind

    def seen_age(self, handles: Handles) -> Times:
        """After how long without a sample each series is stale, if all of that is seen."""
        after, last = self._stale_after.array[handles], self._last_ms.array[handles]
        seen: Times = after - self.blind_after(handles, last) + self.blind_after(handles, last + after)
        return seen

    def blind_spans(self, handles: Handles) -> tuple[Times, Times]:
        """Of each series the last span in which nobody could see it, though others could be seen: (from, to)."""
        return self._blind_from.array[handles], self._blind_to.array[handles]

    def compacting(self, keep: NDArray[np.bool_]) -> Compacting:
        """Prepare to forget series, in steps; what is returned does it at once."""
        table = yield from self.table.compacting(keep.tolist())
        last_ms, values = self._last_ms.taken(keep), self._values.taken(keep)
        yield
        stale_after, marks = self._stale_after.taken(keep), self._marks.taken(keep)
        blind_from, blind_to = self._blind_from.taken(keep), self._blind_to.taken(keep)
        before_ms = self._before_ms.taken(keep)
        yield

        def commit() -> None:
            table()
            self._last_ms, self._values, self._stale_after, self._marks = last_ms, values, stale_after, marks
            self._blind_from, self._blind_to, self._before_ms = blind_from, blind_to, before_ms

        return commit

    def restart(self, now_ms: int) -> None:
        """The engine begins anew: nothing was seen since."""
        self.restarted_ms, self._warm_ms = now_ms, NEVER_MS
        self._before_ms.array[:] = self._last_ms.array

    def unseen(self, handles: Index, at_ms: Times | int, least_ms: int = 0) -> NDArray[np.bool_]:
        """Which series had no sample since a restart, though one is still to be expected at `at_ms`. -1 is no series.

        A count of events does not age, so none is to be expected.

        Args:
            least_ms: One is expected for at least so long, less what nobody could see: groups look back that far.
        """
        if not len(self.table):
            return np.zeros(0 if isinstance(handles, slice) else handles.shape, dtype=np.bool_)
        live: NDArray[np.bool_] = self._marks.array[handles] == _LIVE
        unseen = self.unseen_then(handles, self._last_ms.array[handles], live, at_ms, least_ms)
        return unseen if isinstance(handles, slice) else unseen & (handles >= 0)

    def unseen_then(
        self, handles: Index, last: Times, live: NDArray[np.bool_], at_ms: Times | int, least_ms: int = 0
    ) -> NDArray[np.bool_]:
        """The same as far as it is known at an instant, which may be before the newest samples.

        Args:
            last: Time of the last sample of each until then; far in the past where there is none.
            live: Where that is a number.
        """
        after = self._stale_after.array[handles]
        expected: NDArray[np.bool_] = last + after >= at_ms
        if least_ms:
            expected |= at_ms - last - self.blind_after(handles, last) <= least_ms
        unseen: NDArray[np.bool_] = (last <= self._before_ms.array[handles]) & expected & live & (after < _AGELESS_MS)
        return unseen

    def end_warming(self, now_ms: int, least_ms: int) -> None:
        """Say that the engine has warmed up, if it has; `least_ms` as for `unseen`."""
        if self.restarted_ms < 0:
            return
        if self._warm_ms == NEVER_MS and not self.unseen(slice(None), now_ms, least_ms).any():
            self._warm_ms = int(self._last_ms.array.max(initial=now_ms))
        if self._warm_ms <= now_ms:
            self.restarted_ms = -1

    # -- snapshot ----------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, bytes]:
        """Every column as little-endian bytes, for a snapshot."""
        return {name: column.array.astype(kind).tobytes() for name, column, kind in self._named()}

    def of(self, handles: Handles) -> list[NDArray[Any]]:
        """Every column at these series, in the order of `columns`, but for what a restart writes anew."""
        return [column.array[handles] for _, column, _ in self._named() if column is not self._before_ms]

    def refill(self, texts: list[str], columns: dict[str, bytes]) -> None:
        """Take the columns of a snapshot into an empty store, for the series in `texts`.

        Raises:
            ValueError: A column is missing or has another length, or a series is there twice.
        """
        self.table.fill(texts)
        for name, column, kind in self._named():
            data = np.frombuffer(columns.get(name, b""), dtype=kind)
            if len(data) != len(texts):
                raise ValueError(f"column {name} has {len(data)} values for {len(texts)} series")
            column.resize(len(texts))
            column.array[:] = data
        self.blind_ms = int(self._blind_to.array.max(initial=self.blind_to_ms))

    def _named(self) -> Iterator[tuple[str, Column[Any], str]]:
        yield "last_ms", self._last_ms, "<i8"
        yield "values", self._values, "<f8"
        yield "stale_after", self._stale_after, "<i8"
        yield "marks", self._marks, "i1"
        yield "blind_from", self._blind_from, "<i8"
        yield "blind_to", self._blind_to, "<i8"
        yield "before_ms", self._before_ms, "<i8"


def stale_mask(values: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Which values are stale markers; None if none is, which is nearly always."""
    if not np.isnan(values).any():
        return None
    mask = np.ascontiguousarray(values).view(np.int64) == STALE_BITS
    return mask if mask.any() else None


def stale_after_ms(interval_ms: int) -> int:
    """After how long without a sample a series is stale: three intervals, five minutes where none is known."""
    return STALE_AFTER_INTERVALS * interval_ms if interval_ms > 0 else STALE_AFTER_MS
