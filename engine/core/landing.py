"""Landing: how atoms get into the store, and what the rules make of them on the way.

A landing has a fixed order. Every rule looks at the samples before the store is written; what was due before
them happens; the store is written; the rules settle, and what they record lands in between (`engine.core.chains`).
Samples that change nothing land in bulk.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

import msgspec
import numpy as np

from engine.core.binding import Touched
from engine.core.book import Output
from engine.core.chains import Chain, Outputs
from engine.core.chains import Touched as Rules
from engine.core.judge import Judge, Look
from engine.core.layouts import Layouts
from engine.core.recent import Recent
from engine.core.recording import Recorded
from engine.core.runs import Run, Watch, accepted, positions_before
from engine.core.store import NEVER_MS, Landing, Mark, Store, stale_after_ms, stale_mask
from engine.core.tally import Tally
from engine.events import STALE_BITS, Event, Sample, SampleBatch

__all__ = ["Lander", "Outputs"]

_MARKS = {"ended": Mark.ENDED, "target_down": Mark.TARGET_DOWN}


class Lander:
    """Lands samples.

    Args:
        store: What is written.
        recent: Keeps what queries look back at.
        layouts: Knows the series and who reads them.
        tally: Counts what was accepted and dropped.
    """

    def __init__(self, store: Store, recent: Recent, layouts: Layouts, tally: Tally) -> None:
        self._store = store
        self._recent = recent
        self._layouts = layouts
        self._tally = tally
        self.watermark_ms = -1
        """Samples stamped earlier are late: they are judged at this instant."""

    def atoms(self, events: Sequence[Event]) -> Iterator[Event | list[Sample]]:
        """Split events into what is landed at once: single samples that need no other beside them form a run."""
        run: list[Sample] = []
        for event in events:
            if not isinstance(event, Sample):
                if run:
                    yield run
                    run = []
                yield event
            elif event.value == event.value and self._layouts.reads_one_series_each(event.series):
                run.append(event)
            else:  # NaN may be a stale marker, and a rule with several selectors sees each sample by itself
                if run:
                    yield run
                    run = []
                yield [event]
        if run:
            yield run

    def projected(self, batch: SampleBatch) -> Outputs:
        """Land what a projector made. A count must not be lost because two events share a millisecond or one came
        late: it takes the place of the sample at that time, and is never older than the last."""
        handles = (yield from self._layouts.layout(batch.series)).handles
        time_ms = max(batch.time_ms, int(self._store.last_ms(handles).max(initial=batch.time_ms)))
        return (yield from self.batch(msgspec.structs.replace(batch, time_ms=time_ms), replaces=True))

    def recorded(self, batch: SampleBatch) -> Outputs:
        """Land what a rule made. That a series has got other samples meanwhile is the rule's fault, and told."""
        handles = (yield from self._layouts.layout(batch.series)).handles
        last_ms = self._store.last_ms(handles)
        if len(handles) == len(batch.series) and (last_ms >= batch.time_ms).any():
            bits = batch.values.view(np.int64)
            other = (last_ms > batch.time_ms) | (self._store.values(handles).view(np.int64) != bits)
            clash = np.flatnonzero((last_ms >= batch.time_ms) & other & (bits != STALE_BITS))
            if len(clash):
                self._tally.breach("store", "recorded_twice", len(clash), batch.series[int(clash[0])])
        return (yield from self.batch(batch))

    def record(self, recorded: Recorded) -> Generator[None, None, int]:
        """Land what a rule of a chain recorded, for which the chain asks the readers; a rule that is evaluated again at
        one instant replaces its samples. Return the first millisecond at which one will be stale."""
        layout = yield from self._layouts.layout(recorded.series)
        values = recorded.values if layout.positions is None else recorded.values[layout.positions]
        handles, index = layout.handles, layout.at
        mine = self._store.last_ms(index) <= recorded.since_ms
        mine |= self._store.last_ms(index) < 0
        if not mine.all():
            clash = np.flatnonzero(~mine)
            self._tally.breach("store", "recorded_twice", len(clash), self._store.table.text(int(handles[clash[0]])))
            self._tally.drop("old", len(clash))
            handles, values = handles[mine], values[mine]
            index = handles
        after, stale = recorded.stale_after_ms, stale_mask(values)
        stale_from = recorded.time_ms + after + 1
        self._store.land(Landing(handles, index, recorded.time_ms, values, stale, recorded.mark, after, stale_from))
        self._recent.land(handles, recorded.time_ms, values)
        self._tally.count("samples_accepted_total", len(handles))
        return NEVER_MS if stale is not None and stale.all() else stale_from

    def batch(self, batch: SampleBatch, *, replaces: bool = False) -> Outputs:
        layout = yield from self._layouts.layout(batch.series)
        values = np.asarray(batch.values, dtype=np.float64)
        if len(values) != len(batch.series):
            raise ValueError(f"a batch of {len(batch.series)} series has {len(values)} values")
        if layout.positions is not None:
            values = values[layout.positions]
        handles, index, touched, chains = layout.handles, layout.at, layout.touched, layout.chains
        newer = self._store.last_ms(index) < batch.time_ms + replaces
        if not newer.all():
            self._tally.drop("old", int(np.count_nonzero(~newer)))
            handles, values = handles[newer], values[newer]
            index, touched, chains = handles, self._layouts.touched(handles), self._layouts.chains(handles)
        after = stale_after_ms(batch.interval_ms)
        stale_from = batch.time_ms + after + 1
        mark = _MARKS[batch.stale]
        landing = Landing(handles, index, batch.time_ms, values, stale_mask(values), mark, after, stale_from)
        if batch.time_ms <= self.watermark_ms:
            self._tally.count("samples_late_total", len(handles))
        return (yield from self._land(landing, touched, chains, max(batch.time_ms, self.watermark_ms)))

    def samples(self, samples: list[Sample]) -> Outputs:
        """Land a run of samples, each an atom: those that change nothing in bulk, the others one by one."""
        handles = np.array([self._layouts.handle(sample.series) for sample in samples], dtype=np.int64)
        if handles.min() < 0:
            samples = [sample for sample, handle in zip(samples, handles.tolist(), strict=True) if handle >= 0]
            handles = handles[handles >= 0]
        times = np.array([sample.time_ms for sample in samples], dtype=np.int64)
        newer = accepted(handles, times, self._store.last_ms(handles))
        if not newer.all():
            self._tally.drop("old", int(np.count_nonzero(~newer)))
            samples = [sample for sample, keep in zip(samples, newer.tolist(), strict=True) if keep]
            handles, times = handles[newer], times[newer]
        if not samples:
            return []
        values = np.array([sample.value for sample in samples], dtype=np.float64)
        after = np.array([stale_after_ms(sample.interval_ms) for sample in samples], dtype=np.int64)
        self._tally.count("samples_late_total", int(np.count_nonzero(times <= self.watermark_ms)))
        if len(samples) == 1:
            stale_from, mark = int(times[0] + after[0]) + 1, _MARKS[samples[0].stale]
            landing = Landing(handles, handles, times, values, stale_mask(values), mark, after, stale_from)
            at_ms = max(samples[0].time_ms, self.watermark_ms)
            touched, chains = self._layouts.touched(handles), self._layouts.chains(handles)
            return (yield from self._land(landing, touched, chains, at_ms))
        at = np.maximum(times, self.watermark_ms)
        return (yield from self._land_run(Run(handles, times, at, values, after, positions_before(handles))))

    def _land_run(self, run: Run) -> Outputs:
        judges = self._layouts.readers(np.unique(run.handles))
        watch = Watch(run, judges, self._store) if judges else None
        made: list[Output] = []
        start = 0
        while start < len(run.handles):
            stop = watch.next(start) if watch else len(run.handles)
            if stop > start:
                landing = run.landing(start, stop)
                self._store.land(landing)
                self._tally.count("samples_accepted_total", stop - start)
                for judge in judges:
                    judge.expect_stale(landing.stale_from_ms)
                yield
            if watch and stop < len(run.handles):
                landing = run.landing(stop, stop + 1)
                touched = self._layouts.touched(landing.handles)
                made += yield from self._land(landing, touched, (), int(run.judged_at[stop]))
                watch.looked(stop)
                stop += 1
            start = stop
        return made

    def _land(
        self,
        landing: Landing,
        touched: Iterable[tuple[Judge, Touched]],
        chains: Iterable[tuple[Chain, Rules]],
        at_ms: int,
    ) -> Outputs:
        """Land accepted samples: every rule looks, what was due before happens, the store is written, rules settle."""
        done: list[Output] = []
        looks: list[tuple[Judge, Look]] = []
        for judge, touch in touched:
            look = judge.look(touch, landing, at_ms)
            yield
            if look is not None:
                looks.append((judge, look))
        for judge, look in looks:
            for chunk in judge.catch_up(look):
                done += chunk
                yield
        for chain, _ in chains:
            done += yield from chain.before(at_ms, self.record)
        self._store.land(landing)
        self._recent.land(landing.handles, landing.time_ms, landing.values)
        self._tally.count("samples_accepted_total", len(landing.handles))
        for judge, look in looks:
            for chunk in judge.settle(look):
                done += chunk
                yield
        for chain, rules in chains:
            done += yield from chain.after(at_ms, landing.stale_from_ms, rules, self.record)
        done.sort(key=lambda output: output.order)
        return done
