"""Samples, events and blind spans of a history as the events that the core takes, in the order of time.

An edge: it asks a `History`, a part of the time after the other, so that no more than a part is in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.dependencies import selects
from engine.core.promql.plan import Plan, QueryPlan
from engine.errors import SinkError
from engine.events import Blind, Event, SampleBatch
from engine.ports import History, SeriesSamples

__all__ = ["Reader", "metrics_of"]

PART_MS: Final = 6 * 3_600_000
PART_MS_MIN: Final = 1_000
MINUTE_MS: Final = 60_000
"""The distance of means, where raw samples are not kept any more."""


def metrics_of(plans: Sequence[Plan | QueryPlan], known: Sequence[str]) -> list[str]:
    """The metrics among those known that expressions may read."""
    leaves = [leaf for plan in plans for leaf in plan.leaves]
    return [name for name in known if any(selects(leaf, name) for leaf in leaves)]


class Reader:
    """Reads what some rules need.

    Args:
        metrics: Which samples.
        facts: Whether domain events and health events are needed, too.
    """

    def __init__(self, history: History, metrics: Sequence[str], *, facts: bool) -> None:
        self._history = history
        self._metrics = metrics
        self._facts = facts
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.first_ms: int | None = None
        """Of the first sample."""
        self.samples = 0
        self.means_until_ms = 0
        """Samples up to then are 1-minute means."""
        self.guessed: set[str] = set()
        """Series whose interval is not stored."""

    async def parts(self, start_ms: int, end_ms: int) -> AsyncIterator[tuple[int, list[Event]]]:
        """(end of a part, its events in their order), until `end_ms`, which is not inside."""
        at_ms, part_ms = start_ms, PART_MS
        while at_ms < end_ms:
            until_ms = min(at_ms + part_ms, end_ms)
            try:
                events = await self._part(at_ms, until_ms)
            except SinkError as error:
                if error.reason != "too_many_rows" or part_ms <= PART_MS_MIN:
                    raise
                part_ms = max(part_ms // 4, PART_MS_MIN)
                continue
            yield until_ms, events
            at_ms = until_ms

    async def _part(self, start_ms: int, end_ms: int) -> list[Event]:
        found: list[SeriesSamples] = []
        for metric in self._metrics:
            found += await self._history.samples(metric, start_ms, end_ms)
        events: list[Event] = list(self._batches(found))
        if self._facts:
            facts: list[Event] = [*await self._history.events(start_ms, end_ms)]
            facts += await self._history.health(start_ms, end_ms)
            events = sorted([*facts, *events], key=lambda event: event.time_ms)
        return events

    def _batches(self, found: Sequence[SeriesSamples]) -> Iterator[SampleBatch]:
        """What has one time, one interval and one cause of stale markers is one batch."""
        found = [one for one in found if len(one.times_ms)]
        if not found:
            return
        times = np.concatenate([one.times_ms for one in found])
        values = np.concatenate([one.values for one in found])
        sizes = [len(one.times_ms) for one in found]
        series = np.repeat(np.arange(len(found)), sizes)
        intervals = np.concatenate([self._intervals(one) for one in found])
        downs = [np.isin(one.times_ms, np.fromiter(one.down_ms, np.int64)) for one in found]
        down: NDArray[np.bool_] = np.concatenate(downs)
        order = np.lexsort((series, down, intervals, times))
        times, values, series = times[order], values[order], series[order]
        intervals, down = intervals[order], down[order]
        self.samples += len(times)
        self.first_ms = int(times[0]) if self.first_ms is None else self.first_ms
        changes = (np.diff(times) != 0) | (np.diff(intervals) != 0) | (np.diff(down.astype(np.int8)) != 0)
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(times)]
        texts = [one.series for one in found]
        for begin, end in pairwise(edges):
            names = tuple(texts[number] for number in series[begin:end].tolist())
            yield SampleBatch(
                int(times[begin]),
                self._shapes.setdefault(names, names),  # the same tuple again is recognised
                values[begin:end],
                int(intervals[begin]),
                "target_down" if down[begin] else "ended",
            )

    def _intervals(self, one: SeriesSamples) -> NDArray[np.int64]:
        interval_ms = one.interval_ms
        if interval_ms is None:  # a file from before it was stored
            self.guessed.add(one.series)
            interval_ms = int(np.median(np.diff(one.times_ms))) if len(one.times_ms) > 1 else 0
        intervals = np.full(len(one.times_ms), interval_ms, dtype=np.int64)
        if one.means:
            intervals[: one.means] = max(interval_ms, MINUTE_MS)
            self.means_until_ms = max(self.means_until_ms, int(one.times_ms[one.means - 1]))
        return intervals


async def blind_spans(history: History, start_ms: int, end_ms: int) -> list[Blind]:
    """The blind spans until a time, by their begin; what goes on then is cut there."""
    spans = await history.blind(start_ms, end_ms)
    cut = [msgspec.structs.replace(span, to_ms=min(span.to_ms, end_ms), time_ms=span.from_ms) for span in spans]
    return sorted(cut, key=lambda span: span.from_ms)
