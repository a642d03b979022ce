"""Runs of single samples, as columns: which of them can change anything.

A day of samples of one series crosses its threshold a few times. A run finds those places with a handful of
vector operations; the samples in between land in bulk, and only the last of them remains. What matters:
a sample whose condition differs from that of the sample before, the first after a gap in which
its series went stale, the first after a deadline of its alert, and any that a rule must see again.
Only series whose rules read no other series can be in a run, and no stale markers.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.judge import Judge
from engine.core.store import NEVER_MS, Landing, Mark, Store

__all__ = ["Run", "Watch"]

Ints = NDArray[np.int64]
LOOK_AGAIN_MS = -1
"""Earlier than every sample: the next one matters."""


class Run(NamedTuple):
    """Accepted samples in the order in which they came: aligned columns, shape (n,).

    Args:
        handles: Series; one may stand here many times, with ascending times.
        times: Event times.
        judged_at: When each is judged: its time, or the watermark if that is later.
        values: float64, without stale markers.
        stale_after: As in `Landing`.
        before: Position of the sample of the same series before it, or -1.
    """

    handles: Ints
    times: Ints
    judged_at: Ints
    values: NDArray[np.float64]
    stale_after: Ints
    before: Ints

    def landing(self, start: int, stop: int) -> Landing:
        """The samples of a part of the run; of a series that is in it more than once, the last one stays."""
        part = slice(start, stop)
        stale_from = int((self.times[part] + self.stale_after[part]).min()) + 1
        handles = self.handles[part]
        return Landing(
            handles, handles, self.times[part], self.values[part], None, Mark.LIVE, self.stale_after[part], stale_from
        )


def positions_before(handles: Ints) -> Ints:
    """For each position, the one before it with the same handle, or -1."""
    order = np.argsort(handles, kind="stable")
    same = handles[order][1:] == handles[order][:-1]
    before = np.full(len(handles), -1, dtype=np.int64)
    before[order[1:][same]] = order[:-1][same]
    return before


def accepted(handles: Ints, times: Ints, last_ms: Ints) -> NDArray[np.bool_]:
    """Which samples are newer than every earlier one of their series; `last_ms` is what the store has."""
    before = positions_before(handles)
    newer = times > np.where(before < 0, last_ms, times[before])
    if not newer.all():  # rare: go through them one by one
        latest: dict[int, int] = {}
        for place, (handle, time_ms, last) in enumerate(
            zip(handles.tolist(), times.tolist(), last_ms.tolist(), strict=True)
        ):
            newer[place] = time_ms > latest.get(handle, last)
            latest[handle] = max(time_ms, latest.get(handle, last))
    return newer


class Watch:
    """Says which sample of a run is the next that matters, while the run is worked through.

    Args:
        judges: The rules that read its series.
    """

    def __init__(self, run: Run, judges: Sequence[Judge], store: Store) -> None:
        self._run = run
        self._judges = judges
        self._places: dict[int, Ints] = {}
        previous = run.times[run.before] + run.stale_after[run.before] + 1
        stale_from = np.where(run.before < 0, store.stale_from(run.handles), previous)
        matters = stale_from < run.judged_at
        for judge in judges:
            matters |= judge.matters(run.handles, run.judged_at, run.values, run.times + run.stale_after, run.before)
        self._queue: list[int] = np.flatnonzero(matters).tolist()  # ascending, so it is a heap
        for place in np.flatnonzero(run.before < 0).tolist():
            self._plan(place - 1, int(run.handles[place]))

    def next(self, start: int) -> int:
        """The first position from `start` on that matters; the run's length if none does."""
        while self._queue and self._queue[0] < start:
            heapq.heappop(self._queue)
        return self._queue[0] if self._queue else len(self._run.handles)

    def looked(self, position: int) -> None:
        """A sample was landed by itself: its alerts may have a new deadline."""
        self._plan(position, int(self._run.handles[position]))

    def _plan(self, position: int, handle: int) -> None:
        """Queue the first sample of a series after `position` that comes strictly after a deadline of its alerts."""
        wake_ms = min(judge.wakes(handle) for judge in self._judges)
        if wake_ms == NEVER_MS:
            return
        places = self._places.get(handle)
        if places is None:
            places = self._places[handle] = np.flatnonzero(self._run.handles == handle)
        later = places[np.searchsorted(places, position, side="right") :]
        first = int(np.searchsorted(self._run.judged_at[later], wake_ms, side="right"))
        if first < len(later):
            heapq.heappush(self._queue, int(later[first]))
