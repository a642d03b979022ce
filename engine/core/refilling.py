"""Refilling: samples that a history has of a time that a core has not seen, put into its windows before it goes on.

So a rule that looks back an hour knows that hour at once after a restart. Nothing is judged and nothing counts as late:
a sample is taken if it is newer than what is there of its series. What a restarted core does with the time it was away
is `engine.core.restart`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core import spans
from engine.core.blindness import Blindness
from engine.core.columns import Column
from engine.core.parts import Parts
from engine.core.restart import restart
from engine.core.runs import MARKS
from engine.core.store import BEFORE_ALL_MS, NEVER_MS, Landing, stale_after_ms, stale_mask
from engine.events import SampleBatch
from engine.series import metric_of

__all__ = ["Refill", "fill_recent", "reach"]

_NOTHING_MS: Final = np.iinfo(np.int64).min


def reach(parts: Parts, now_ms: int) -> dict[str, int]:
    """By metric, since when (ms) samples are missing in windows that are looked at from `now_ms` on; "" is every
    metric. Of a metric that a snapshot held that is a lookback before its end, for what came late.

    Windows are looked at in known time, too: what nobody saw, the downtime included, is no part of their length."""
    since: dict[str, int] = {}
    blind, until_ms = list(parts.store.blind), parts.lander.watermark_ms
    if 0 <= until_ms < now_ms:
        spans.add(blind, until_ms, now_ms)
    for metric, span_ms in parts.recent.spans.items():
        first_ms = max(0, spans.back(blind, now_ms - span_ms - parts.recent.lookback_ms))
        if parts.recent.holds(metric):
            first_ms = max(first_ms, until_ms - parts.recent.lookback_ms)
        since[metric] = first_ms
    return since


def fill_recent(parts: Parts) -> None:
    """Show queries the last samples of series that none of them read when the snapshot was taken."""
    handles = parts.layouts.read_by_queries()
    lacking = handles[parts.recent.lacks(handles)]
    _show_last(parts, lacking)
    _expect_stale(parts, lacking, parts.lander.watermark_ms + 1)


def _show_last(parts: Parts, handles: NDArray[np.int64]) -> None:
    times, values = parts.store.last_ms(handles), parts.store.values(handles)
    for time_ms in np.unique(times[times >= 0]).tolist():
        here = times == time_ms
        parts.recent.land(handles[here], time_ms, values[here])


def _expect_stale(parts: Parts, handles: NDArray[np.int64], now_ms: int) -> None:
    """Let queries look when the next of some series goes stale. What was stale before `now_ms` is none of theirs."""
    instants = parts.store.stale_from(handles)
    first_ms = int(np.min(instants, where=instants >= now_ms, initial=NEVER_MS))
    for chain in parts.chains if first_ms < NEVER_MS else ():
        chain.expect(first_ms)


class Refill:
    """One refill, of a core that was not fed since it was made or taken back from a snapshot."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # By handle the time of the last sample that windows have; series that no query read have nothing in them.
        self._shown_ms: Column[np.int64] = Column(np.int64, _NOTHING_MS)
        self._shown_ms.extend(parts.store.last_ms(slice(None)))
        read = parts.layouts.read_by_queries()
        self._lacking = read[parts.recent.lacks(read)]
        self._shown_ms.array[self._lacking] = _NOTHING_MS
        self._known = len(parts.store)
        self._since_ms = BEFORE_ALL_MS
        self._taken = parts.recent.since_ms == parts.lander.watermark_ms
        # Blind spans that the samples to come lie behind.
        self._blind = list(zip(parts.store.blind[::2], parts.store.blind[1::2], strict=True))

    def run(
        self, batches: Iterable[SampleBatch], blindness: Blindness, now_ms: int, since_ms: int | None
    ) -> Generator[None, None, None]:
        """Take samples in order of time, and let the downtime end at `now_ms`.

        Args:
            since_ms: They are all that there were since then; if it is None, of the metrics that they are of alone,
                and since ever.
        """
        parts = self._parts
        self._since_ms = BEFORE_ALL_MS if since_ms is None else since_ms
        if since_ms is not None:
            parts.recent.since_of.update(dict.fromkeys(parts.recorded, parts.recent.since_ms))
            parts.recent.since_ms = min(parts.recent.since_ms, since_ms)
        for batch in batches:
            self._rest(batch.time_ms)
            yield from self._take(batch)
            yield
        self._rest(now_ms)
        _show_last(parts, self._lacking[self._shown_ms.array[self._lacking] < parts.store.last_ms(self._lacking)])
        new = np.arange(self._known, len(parts.store), dtype=np.int64)
        if self._taken:  # until when somebody watched is known, and what was fresh then does not age
            new = new[parts.store.last_ms(new) > parts.lander.watermark_ms]
        stale_after = parts.store.stale_after(new).copy()
        restart(parts, blindness, now_ms)
        # Who knows a series from its past alone can't say that it would have gone on: it ages while nobody looks.
        parts.store.age(new, stale_after)
        self._watch(now_ms)

    def _rest(self, time_ms: int) -> None:
        """Windows keep for longer what came before blind spans that have ended by now."""
        recent, store = self._parts.recent, self._parts.store
        while self._blind and self._blind[0][1] <= time_ms:
            self._shown_ms.resize(len(store))
            recent.rest(np.ones(len(store), dtype=np.bool_), self._shown_ms.array, *self._blind.pop(0))

    def _take(self, batch: SampleBatch) -> Generator[None, None, None]:
        parts = self._parts
        read = [position for position, text in enumerate(batch.series) if parts.recent.keeps(metric_of(text))]
        if not read:
            return
        if len(read) < len(batch.series):
            kept = tuple(batch.series[position] for position in read)
            batch = msgspec.structs.replace(batch, series=kept, values=batch.values[read])
        for metric in {metric_of(text) for text in batch.series}:
            since_of = parts.recent.since_of
            since_of[metric] = min(since_of.get(metric, parts.recent.since_ms), self._since_ms)
        layout = yield from parts.layouts.layout(batch.series)
        handles = layout.handles
        values = batch.values if layout.positions is None else batch.values[layout.positions]
        self._shown_ms.resize(len(parts.store))
        newer = self._shown_ms.array[handles] < batch.time_ms
        if not newer.all():
            handles, values = handles[newer], values[newer]
        if not len(handles):
            return
        self._shown_ms.array[handles] = batch.time_ms
        parts.recent.land(handles, batch.time_ms, values)
        parts.tally.count("samples_refilled_total", len(handles))
        last = parts.store.last_ms(handles) < batch.time_ms
        if not last.all():
            handles, values = handles[last], values[last]
        # Of series that the snapshot had it is known for how long they are fresh.
        after = np.where(handles < self._known, parts.store.stale_after(handles), stale_after_ms(batch.interval_ms))
        if len(taken := parts.ages_taken):  # what came with an alert was as if it had had samples until the end
            after = np.where(handles < len(taken), taken[np.minimum(handles, len(taken) - 1)], after)
        stale_from = batch.time_ms + int(after.min(initial=NEVER_MS)) + 1
        mark = MARKS[batch.stale]
        parts.store.land(Landing(handles, handles, batch.time_ms, values, stale_mask(values), mark, after, stale_from))

    def _watch(self, now_ms: int) -> None:
        """Let rules look when the next of the series goes stale. What was stale before `now_ms` is none of theirs."""
        parts = self._parts
        _expect_stale(parts, np.arange(len(parts.store), dtype=np.int64), now_ms)
        for unit in {id(unit): unit for unit in parts.looking.values()}.values():
            unit.watch_from(now_ms)
