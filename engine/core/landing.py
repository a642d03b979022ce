"""Landing: how atoms get into the store, and what the rules make of them on the way.

A landing has a fixed order. Every rule looks at the samples before the store is written; what was due before
them happens; the store is written; the rules settle. Samples that change nothing land in bulk.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.book import AlertBook
from engine.core.chains import Chain, Outputs
from engine.core.chains import Touched as Rules
from engine.core.judge import Due
from engine.core.kin import Kin, Part
from engine.core.lanes import Run, accepted
from engine.core.layouts import PAIRS_PER_RUN, Layout, Layouts, Readers
from engine.core.notices import Output
from engine.core.outputs import in_order, joined
from engine.core.points import Points
from engine.core.recent import Recent
from engine.core.recording import Recorded
from engine.core.runs import MARKS, RUN_MAX, BatchRun, Runs, columns_of, marks_of, picked
from engine.core.store import BEFORE_ALL_MS, NEVER_MS, Landing, Mark, Store, stale_after_ms, stale_mask
from engine.core.tally import Tally
from engine.core.telling import POINTS_PER_CHUNK, Telling
from engine.core.touching import touched_by
from engine.events import STALE_BITS, Event, Sample, SampleBatch

__all__ = ["Lander", "Outputs"]

Positions: TypeAlias = NDArray[np.int64]

AGELESS_MS = 2**60
DUE_PER_STEP = 4_096


class Lander:
    """Lands samples.

    Args:
        store: What is written.
        recent: Keeps what queries look back at.
        layouts: Knows the series and who reads them.
        tally: Counts what was accepted and dropped.
        book: Has the alerts of pointwise rules.
    """

    def __init__(self, store: Store, recent: Recent, layouts: Layouts, tally: Tally, book: AlertBook) -> None:
        self._book = book
        self._store = store
        self._recent = recent
        self._layouts = layouts
        self._tally = tally
        self._runs = Runs(store, layouts, tally, book)
        self.watermark_ms = -1
        """Samples stamped earlier are late: they are judged at this instant."""

    @property
    def _floor_ms(self) -> int:
        """Nothing is judged earlier."""
        return max(self.watermark_ms, self._store.blind_to_ms)

    def atoms(self, events: Sequence[Event]) -> Iterator[Event | list[Sample] | list[SampleBatch]]:
        """Split events into what may be landed at once: consecutive single samples come together, and batches of the
        same series."""
        if list(map(type, events)).count(Sample) == len(events):  # the usual case, and a fast way to see it
            for start in range(0, len(events), RUN_MAX):
                yield list(events[start : start + RUN_MAX])  # type: ignore[misc]  # just counted
            return
        run: list[Sample] = []
        batches: list[SampleBatch] = []
        for event in events:
            if run and not (isinstance(event, Sample) and len(run) < RUN_MAX):
                yield run
                run = []
            if batches and not (isinstance(event, SampleBatch) and _goes_on(batches, event)):
                yield batches
                batches = []
            if isinstance(event, Sample):
                run.append(event)
            elif isinstance(event, SampleBatch):
                batches.append(event)
            else:
                yield event
        if run or batches:
            yield run or batches

    def projected(self, batch: SampleBatch) -> Outputs:
        """Land what a projector made. A count must not be lost because two events share a millisecond or one came
        late: it takes the place of the sample at that time, and is never older than the last. It does not age, for that
        no event comes is known: the count is still the same."""
        handles = (yield from self._layouts.layout(batch.series)).handles
        time_ms = max(batch.time_ms, int(self._store.last_ms(handles).max(initial=batch.time_ms)))
        return (yield from self.batch(msgspec.structs.replace(batch, time_ms=time_ms), projected=True))

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

    def batch(self, batch: SampleBatch, *, projected: bool = False) -> Outputs:
        """Land one batch."""
        layout = yield from self._layouts.layout(batch.series)
        return (yield from self._batch(batch, layout, projected=projected))

    def _batch(self, batch: SampleBatch, layout: Layout, *, projected: bool = False) -> Outputs:
        values = np.asarray(batch.values, dtype=np.float64)
        if len(values) != len(batch.series):
            raise ValueError(f"a batch of {len(batch.series)} series has {len(values)} values")
        if layout.positions is not None:
            values = values[layout.positions]
        handles, index, readers, chains = layout.handles, layout.at, (layout.touched, layout.kins), layout.chains
        newer = self._store.last_ms(index) < batch.time_ms + projected
        if not newer.all():
            self._tally.drop("old", int(np.count_nonzero(~newer)))
            handles, values = handles[newer], values[newer]
            readers = yield from self._layouts.readers(handles)
            index, chains = handles, self._layouts.chains(handles)
        fresh_ms = AGELESS_MS if projected else stale_after_ms(batch.interval_ms)
        after: Positions | int = fresh_ms
        if batch.time_ms < self._store.blind_ms:
            after += self._store.blind_after(handles, batch.time_ms)
        first_ms = after if isinstance(after, int) else int(np.min(after, initial=NEVER_MS))
        stale_from = batch.time_ms + (first_ms if len(handles) else NEVER_MS) + 1
        mark = MARKS[batch.stale]
        landing = Landing(handles, index, batch.time_ms, values, stale_mask(values), mark, after, stale_from)
        if batch.time_ms <= self.watermark_ms:
            self._tally.count("samples_late_total", len(handles))
        return (yield from self._land(landing, readers, chains, max(batch.time_ms, self._floor_ms)))

    def run(self, run: list[Sample] | list[SampleBatch]) -> Outputs:
        """Land what `atoms` put together."""
        if isinstance(run[0], Sample):
            return (yield from self.samples(run))
        return (yield from self.batches(run))

    def batches(self, batches: list[SampleBatch]) -> Outputs:
        """Land batches of the same series, each an atom: together where that comes to the same."""
        layout = yield from self._layouts.layout(batches[0].series)
        if len(batches) > 1 and (run := self._batch_run(layout, batches)) is not None:
            for kin, _ in layout.kins:
                if not (yield from kin.ages.is_calm(batches[0].time_ms)):
                    break
            else:
                return (yield from self._runs.land_batches(run))
        made = yield from self._batch(batches[0], layout)
        for batch in batches[1:]:
            made = joined(made, (yield from self.batch(batch)))
        return made

    def _batch_run(self, layout: Layout, batches: list[SampleBatch]) -> BatchRun | None:
        """Batches as they can be landed together; None if they can't: each must have a number for each series, be newer
        than the one before, and come before a series goes stale."""
        first, last = batches[0], batches[-1]
        size, store = len(layout.handles), self._store
        pairs = sum(len(part.places) for _, parts in layout.kins for part in parts) * len(batches)
        if not layout.together or pairs > PAIRS_PER_RUN or store.restarted_ms >= 0:
            return None
        if first.time_ms <= self.watermark_ms or first.time_ms < max(self._floor_ms, store.blind_ms):
            return None
        if int(store.last_ms(layout.at).max(initial=BEFORE_ALL_MS)) >= first.time_ms:
            return None
        after = [stale_after_ms(batch.interval_ms) for batch in batches]
        for batch, following, fresh_ms in zip(batches, batches[1:], after, strict=False):
            if not batch.time_ms < following.time_ms <= batch.time_ms + fresh_ms:
                return None
        if any(kin.looks.judged_ms > first.time_ms for kin, _ in layout.kins):
            return None
        if any(len(batch.values) != size for batch in batches):
            return None
        values = np.array([batch.values for batch in batches], dtype=np.float64)
        if np.isnan(values).any():
            return None
        stale_from = min(batch.time_ms + fresh_ms for batch, fresh_ms in zip(batches, after, strict=True)) + 1
        landing = Landing(layout.handles, layout.at, last.time_ms, values[-1], None, Mark.LIVE, after[-1], stale_from)
        times = np.array([batch.time_ms for batch in batches], dtype=np.int64)
        return BatchRun(landing, times, values, layout.kins)

    def samples(self, samples: list[Sample]) -> Outputs:
        """Land single samples, each an atom: together where no rule needs to see one by itself."""
        handles, size = yield from self._layouts.handles([sample.series for sample in samples])
        run = columns_of(samples, handles, self._store, self._floor_ms)
        if int(handles.min()) < 0:
            run, samples = picked(run, samples, handles >= 0)
            if not samples:
                return []
        run, newer = accepted(run, self._store.last_ms, size)
        if newer is not None:
            self._tally.drop("old", int(np.count_nonzero(~newer)))
            run, samples = picked(run, samples, newer)
        if not samples:
            return []
        if int(run.times.min()) <= self.watermark_ms:
            self._tally.count("samples_late_total", int(np.count_nonzero(run.times <= self.watermark_ms)))
        runs, marked = self._layouts.runs(run.handles)
        not_numbers = np.isnan(run.values)
        odd = ~runs
        if not_numbers.any():  # NaN may be a stale marker
            odd |= not_numbers & ~marked
            run = run._replace(marks=marks_of(run.values, not_numbers, samples))
        # Some rules must see each sample by itself.
        alone = np.flatnonzero(odd).tolist()
        slices = list(self._layouts.run_slices(run.handles))
        if not alone and len(slices) == 1:
            return (yield from self._runs.land(run))
        made: list[Output] = []
        start = 0
        for stop in [*alone, len(samples)]:
            for some in slices:
                if (begin := max(start, some.start)) < (end := min(stop, some.stop)):
                    made = joined(made, (yield from self._runs.land(run.pick(slice(begin, end)))))
            if stop < len(samples):
                made += yield from self._land_one(run.pick(slice(stop, stop + 1)), samples[stop])
            start = stop + 1
        return made

    def _land_one(self, run: Run, sample: Sample) -> Outputs:
        mark, stale = MARKS[sample.stale], stale_mask(run.values)
        stale_from = int(run.times[0] + run.stale_after[0]) + 1
        landing = Landing(run.handles, run.handles, run.times, run.values, stale, mark, run.stale_after, stale_from)
        readers = yield from self._layouts.readers(run.handles)
        chains = self._layouts.chains(run.handles)
        return (yield from self._land(landing, readers, chains, int(run.judged_at[0])))

    def before(
        self, at_ms: int, handles: Positions, readers: Readers, chains: Iterable[tuple[Chain, Rules]]
    ) -> Outputs:
        """Let happen what comes strictly before `at_ms` for some series."""
        return (yield from self._before(at_ms, (yield from self._sorted_out(handles, readers, at_ms)), chains))

    def _before(self, at_ms: int, readers: Readers, chains: Iterable[tuple[Chain, Rules]]) -> Outputs:
        touched, kins = readers
        made: list[Output] = []
        due = self._book.rules_due(at_ms) if touched else set()
        waits = _Waiting(self._book)
        for judge, touch in touched:
            points = judge.before(touch, at_ms)
            if points is not None:
                made += self._book.tell(points)
            looks = judge.index in due or points is not None or not judge.binding.single
            if looks and (mine := judge.due(touch, at_ms)) is not None:
                for chunk in waits.add(mine):
                    made += chunk
                    yield
            yield
        for kin, parts in kins:
            for part in parts:
                if (mine := kin.due(part, at_ms)) is not None:
                    for chunk in waits.add(mine):
                        made += chunk
                        yield
                    yield
        for chunk in waits.rest():
            made += chunk
            yield
        for chain, _ in chains:
            made += yield from chain.before(at_ms, self.record)
        return made

    def _land(self, landing: Landing, readers: Readers, chains: Iterable[tuple[Chain, Rules]], at_ms: int) -> Outputs:
        """Land accepted samples: what was due before happens, the store is written, every rule judges."""
        touched, kins = readers = yield from self._sorted_out(landing.handles, readers, at_ms)
        made = yield from self._before(at_ms, readers, chains)
        self._store.land(landing)
        self._recent.land(landing.handles, landing.time_ms, landing.values)
        self._tally.count("samples_accepted_total", len(landing.handles))
        told = Telling(self._book)
        for kin, parts in kins:
            yield from self._tell_kin(made, told, kin, parts, landing, at_ms)
        for judge, touch in touched:
            points = judge.after(touch, landing, at_ms)
            yield
            for some in () if points is None else points.chunks(POINTS_PER_CHUNK):
                for chunk in told.add(judge, some):
                    made += chunk
                    yield
        for chunk in told.rest():
            made += chunk
            yield
        yield from told.done()
        for kin, _ in kins:
            kin.ages.landed(landing.stale_from_ms)
        for judge, _ in touched:
            judge.landed(landing.stale_from_ms)
        for chain, rules in chains:
            made += yield from chain.after(at_ms, landing.stale_from_ms, rules, self.record)
        return (yield from in_order(made))

    def _tell_kin(
        self, made: list[Output], told: Telling, kin: Kin, parts: Iterable[Part], landing: Landing, at_ms: int
    ) -> Generator[None, None, None]:
        for part in parts:
            points = kin.after(part, landing, at_ms)
            some: Points | None
            for some in () if points is None else points.chunks(POINTS_PER_CHUNK):
                yield from self._book.rows.growing(some.size)
                if kin.plain:
                    told.note(kin, some)
                    done, some = self._book.spells.tell(some)
                    made += done
                    yield
                for chunk in () if some is None else told.add(kin, some):
                    made += chunk
                    yield
            yield

    def _sorted_out(self, handles: Positions, readers: Readers, at_ms: int) -> Generator[None, None, Readers]:
        """Where an input went stale before a landing, or after a restart, the rules judge one by one."""
        touched, kins = readers
        odd = []
        for kin, _ in kins:
            if self._store.restarted_ms >= 0 or not (yield from kin.ages.is_calm(at_ms)):
                odd.append(kin)
        if not odd:
            return readers
        alone = yield from touched_by([judge for kin in odd for judge in kin.judges], handles)
        every = sorted([*touched, *alone], key=lambda one: one[0].index)
        return tuple(every), tuple((kin, parts) for kin, parts in kins if kin not in odd)


def _goes_on(batches: list[SampleBatch], batch: SampleBatch) -> bool:
    """Whether a batch may be landed with those before it."""
    return batch.series is batches[0].series and (len(batches) + 1) * len(batch.series) <= RUN_MAX


class _Waiting:
    """Alerts whose clock has come before a landing, of several rules: they pass it together."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._waiting: list[Due] = []
        self._size = 0

    def add(self, due: Due) -> Iterator[list[Output]]:
        """Take some; give what comes of those that have come together, if they are many."""
        self._waiting.append(due)
        self._size += len(due.places)
        if self._size >= DUE_PER_STEP:
            yield from self.rest()

    def rest(self) -> Iterator[list[Output]]:
        """Let happen what waits."""
        if self._waiting:
            waiting, self._waiting, self._size = self._waiting, [], 0
            yield from self._book.pass_places(*map(np.concatenate, zip(*waiting, strict=True)))
