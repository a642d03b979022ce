"""Eviction: series that nobody can see any more are forgotten, so that those that come and go do not pile up.

A series may go when no rule and no window can see any of its samples, and it has ended or has been idle for an hour.
The series behind an alert stay. What goes is decided from event time and counts alone, at most once a minute of event
time, so that a replay decides the same. Handles are not used again one by one: all of them are given anew, in the same
order. Everything is prepared aside, in steps, and changed at once; a preparation that is given up changes nothing.

A series that comes back after that is a new one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.chains import Chain
from engine.core.grid import GroupRunner
from engine.core.inputs import Inputs
from engine.core.judge import Judge
from engine.core.layouts import Layouts
from engine.core.promql.vector import Bools
from engine.core.recent import Recent
from engine.core.store import Mark, Store
from engine.core.tally import Tally

__all__ = ["EVERY_MS", "IDLE_MS", "SERIES_MIN", "Eviction"]

EVERY_MS: Final = 60_000
CALM_EVERY_MS: Final = 600_000
"""While there is room the whole table is looked at less often: a scrape should not cost more beside many series."""
IDLE_MS: Final = 3_600_000
"""A series that has not ended is remembered for so long, unless the table is nearly full."""
SERIES_MIN: Final = 4_096
"""Fewer dead series are no reason, unless the table is nearly full."""
CROWDED: Final = 8
"""The table is nearly full when less than an eighth of it is free; a quarter is made free then, if there is so much."""
WORTH: Final = 1_024
"""Nothing is done for less than so manieth a part of the series."""
TEXTS_PER_CHUNK: Final = 20_000


class Eviction:
    """Decides which series go, and lets everyone forget them.

    Args:
        judges: The pointwise rules.
        chains: The other rules in continuous mode.
        runners: The rules in grid mode.
    """

    def __init__(
        self,
        store: Store,
        recent: Recent,
        layouts: Layouts,
        inputs: Inputs,
        tally: Tally,
        *,
        judges: Sequence[Judge],
        chains: Sequence[Chain],
        runners: Sequence[GroupRunner],
    ) -> None:
        self._store = store
        self._recent = recent
        self._layouts = layouts
        self._inputs = inputs
        self._tally = tally
        self._judges = judges
        self._chains = chains
        self._runners = runners

    def pass_time(self, before_ms: int, now_ms: int) -> Generator[None, None, None]:
        """Forget what may be forgotten, in steps, if a minute of event time has begun between two watermarks, or, while
        there is room, ten minutes."""
        if before_ms // EVERY_MS == now_ms // EVERY_MS:
            return
        size, free = len(self._store), self._store.table.series_max - len(self._store)
        crowded = free < self._store.table.series_max // CROWDED or not free
        if not crowded and before_ms // CALM_EVERY_MS == now_ms // CALM_EVERY_MS:
            return
        if not crowded and size <= SERIES_MIN:
            return
        gone = yield from self._gone(crowded=crowded)
        count = int(np.count_nonzero(gone))
        if count * WORTH > size and (crowded or (count >= SERIES_MIN and 2 * count > size)):
            yield from self._forget(gone)

    def _gone(self, *, crowded: bool) -> Generator[None, None, Bools]:
        """By handle, which series may go."""
        every = slice(0, len(self._store))
        last_ms, horizon_ms = self._store.last_ms(every), self._recent.horizon_ms
        seen_until = last_ms + np.maximum(self._store.stale_after(every), self._recent.reaches_ms())
        unseen: Bools = seen_until < horizon_ms
        yield
        idle: Bools = unseen & ((self._store.marks(every) == Mark.ENDED) | (last_ms + IDLE_MS < horizon_ms))
        yield
        may_go = unseen if crowded else idle
        for judge in self._judges:
            may_go[judge.inputs()] = False
            yield
        for whole in [whole for chain in self._chains for whole in chain.judges]:
            may_go[whole.witnesses(may_go)] = False
            yield
        idle &= may_go
        wanted = self._store.table.series_max // 4 - (self._store.table.series_max - len(self._store))
        early = np.flatnonzero(may_go & ~idle)
        count = min(len(early), wanted - int(np.count_nonzero(idle)))
        if crowded and count > 0:  # those that have been idle for longest
            idle[early[np.argsort(last_ms[early], kind="stable")[:count]]] = True
            yield
        return idle

    def _forget(self, gone: Bools) -> Generator[None, None, None]:
        keep = ~gone
        numbers: NDArray[np.int64] = np.where(keep, np.cumsum(keep) - 1, -1)
        slots: dict[int, NDArray[np.int64]] = {}
        commits = [(yield from self._store.compacting(keep))]
        for judge in self._judges:
            compacted = yield from judge.compacting(keep, numbers)
            slots[judge.index] = compacted.slots
            commits.append(compacted.commit)
        commits.append((yield from self._layouts.compacting(keep, numbers, slots)))
        commits.append((yield from self._inputs.compacting(keep, numbers)))
        commits.append((yield from self._recent.compacting(keep, numbers)))
        texts = self._store.table.texts()
        for commit in commits:
            commit()
        self._tally.count("series_evicted_total", int(np.count_nonzero(gone)))
        for chain in self._chains:
            chain.forget_shapes()
        for runner in self._runners:
            runner.forget_shapes()
        while texts:  # that many at once would take their time to go
            del texts[-TEXTS_PER_CHUNK:]
            yield
