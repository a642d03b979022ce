"""The core: events in, transitions out, as a function of nothing but what it was fed.

`feed` takes atoms in order; a batch is one atom, and rules see all of it at once. `advance` moves the
watermark, and deadlines up to it happen. Both exist as generators that yield between chunks of work, so
that a host's loop is not held; nobody else may enter the core meanwhile.

Transitions of one atom come out ordered by (time, rule, labels), atoms in the order they were fed. So for
a given sequence of atoms and advances it does not matter how the atoms are split into feeds. Runs of single
samples are landed together (`engine.core.runs`), which changes the cost and nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np

from engine.core.binding import Touched
from engine.core.judge import Judge, Look, Output, SavedRule
from engine.core.layouts import Layouts
from engine.core.rules import Rule
from engine.core.runs import Run, Watch, accepted, positions_before
from engine.core.store import Landing, Mark, Store, stale_after_ms, stale_mask
from engine.core.timers import Deadline, Timers
from engine.errors import StateError
from engine.events import Blind, Event, Health, Sample, SampleBatch, Transition
from engine.ports import Projector
from engine.status import AlertStatus

__all__ = ["Core"]

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, list[Transition]]

SNAPSHOT_VERSION = 1
TIMERS_PER_ALERT_MAX = 4
TIMERS_SLACK = 10_000


class Snapshot(msgspec.Struct):
    """Everything a core knows, as it is written."""

    version: int
    watermark_ms: int
    counters: dict[str, int]
    series: list[str]
    columns: dict[str, bytes]
    rules: dict[str, SavedRule]
    projectors: list[bytes]


class Core:
    """Judges rules over what it is fed.

    Args:
        rules: In the order in which simultaneous transitions come out. Two with the same name and labels
            are told apart by their order.
        series_max: How many series it keeps; samples of further ones are dropped and counted.
        batch_samples_max: How many samples of one batch it takes; the rest is dropped and counted.
        alerts_per_rule_max: How many alerts one rule may have; further ones are not made, and counted.
        projectors: Turn domain and health events into samples.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        series_max: int = 1_000_000,
        batch_samples_max: int = 50_000,
        alerts_per_rule_max: int = 10_000,
        projectors: Sequence[Projector] = (),
    ) -> None:
        self._store = Store(series_max)
        self._timers = Timers()
        self._judges = [Judge(i, rule, self._store, self._timers, alerts_per_rule_max) for i, rule in enumerate(rules)]
        self._layouts = Layouts(self._store, self._judges, batch_samples_max, self._drop)
        self._projectors = tuple(projectors)
        self._watermark_ms = -1
        self._begun = False
        self._counters: dict[str, int] = {}
        self._breaches: dict[tuple[str, str], int] = {}
        self._told_refused: dict[int, int] = {}

    # -- in and out --------------------------------------------------------------------------------------------

    def feed(self, events: Sequence[Event]) -> list[Transition]:
        """Take events in order and return the transitions they cause."""
        return _exhaust(self.feeding(events))

    def advance(self, now_ms: int) -> list[Transition]:
        """Move the watermark to `now_ms` and return what was due until then. A time already passed changes nothing."""
        return _exhaust(self.advancing(now_ms))

    def feeding(self, events: Sequence[Event]) -> Steps:
        """`feed` in steps: a generator that returns the transitions."""
        made: list[Transition] = []
        for atom in self._atoms(events):
            if not self._begun:
                self._begun = True
                first = atom[0] if isinstance(atom, list) else atom
                for batch in [b for projector in self._projectors for b in projector.initial(first.time_ms)]:
                    made += yield from self._land_batch(batch)
            if isinstance(atom, SampleBatch):
                made += yield from self._land_batch(atom)
            elif isinstance(atom, list):
                made += yield from self._land_samples(atom)
            elif isinstance(atom, Blind):
                self._blind(atom)
            elif not isinstance(atom, Sample):  # those came as runs
                self._count("events_total", 1)
                for projector in self._projectors:
                    projected = projector.apply(atom)
                    if projected is not None:
                        made += yield from self._land_projected(projected)
        self._tidy_timers()
        self._count("transitions_total", len(made))
        return made

    def advancing(self, now_ms: int) -> Steps:
        """`advance` in steps: a generator that returns the transitions."""
        done: list[Output] = []
        while (woken := self._timers.pop(now_ms)) is not None:
            time_ms, deadlines = woken
            for judge, clocks, sweeps in self._by_rule(deadlines):
                for chunk in judge.due(clocks, time_ms) if clocks else ():
                    done += chunk
                    yield
                for chunk in judge.sweep(time_ms) if sweeps else ():
                    done += chunk
                    yield
        self._watermark_ms = max(self._watermark_ms, now_ms)
        self._tidy_timers()
        done.sort(key=lambda output: output.order)
        self._count("transitions_total", len(done))
        return [output.transition for output in done]

    def next_deadline(self) -> int | None:
        """When `advance` may next have something to do, in milliseconds since the epoch; None if never."""
        return self._timers.next_ms()

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def series_count(self) -> int:
        """How many series it knows."""
        return len(self._store)

    @property
    def watermark_ms(self) -> int:
        """The last `now` it was given; -1 before the first."""
        return self._watermark_ms

    def alerts(self) -> list[AlertStatus]:
        """Every pending and firing alert, at the watermark."""
        return [status for judge in self._judges for status in judge.statuses(self._watermark_ms)]

    def latest(self, metric: str) -> dict[str, float]:
        """The fresh values of a metric at the watermark, by canonical series text."""
        handles = self._layouts.of_metric(metric)
        values, present = self._store.show(handles, self._watermark_ms)
        rows = np.flatnonzero(present).tolist()
        return {self._store.table.text(int(handles[row])): float(values[row]) for row in rows}

    def counters(self) -> dict[str, int]:
        """What was counted since the start: `samples_accepted_total`, `samples_late_total`,
        `samples_dropped_total_<reason>`, `events_total`, `transitions_total`, `alerts_refused_total`."""
        return dict(self._counters) | {"alerts_refused_total": sum(judge.refused for judge in self._judges)}

    def take_health(self) -> list[Health]:
        """Limits that were reached since the last call, as events stamped with the watermark."""
        for judge in self._judges:
            if new := judge.refused - self._told_refused.get(judge.index, 0):
                self._told_refused[judge.index] = judge.refused
                breach = (f"rule.{judge.rule.name}", "alerts_limit")
                self._breaches[breach] = self._breaches.get(breach, 0) + new
        told = [
            Health(max(0, self._watermark_ms), component, "degraded", reason, _BREACHES[reason], count)
            for (component, reason), count in self._breaches.items()
        ]
        self._breaches.clear()
        return told

    # -- atoms -------------------------------------------------------------------------------------------------

    def _atoms(self, events: Sequence[Event]) -> Iterator[Event | list[Sample]]:
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

    def _land_projected(self, batch: SampleBatch) -> Steps:
        """Land what a projector made. A count must not be lost because two events share a millisecond or one came
        late: it takes the place of the sample at that time, and is never older than the last."""
        handles = self._layouts.layout(batch.series).handles
        time_ms = max(batch.time_ms, int(self._store.last_ms(handles).max(initial=batch.time_ms)))
        return (yield from self._land_batch(msgspec.structs.replace(batch, time_ms=time_ms), replaces=True))

    def _land_batch(self, batch: SampleBatch, *, replaces: bool = False) -> Steps:
        layout = self._layouts.layout(batch.series)
        values = np.asarray(batch.values, dtype=np.float64)
        if len(values) != len(batch.series):
            raise ValueError(f"a batch of {len(batch.series)} series has {len(values)} values")
        if layout.positions is not None:
            values = values[layout.positions]
        handles, index, touched = layout.handles, layout.at, layout.touched
        newer = self._store.last_ms(index) < batch.time_ms + replaces
        if not newer.all():
            self._drop("old", int(np.count_nonzero(~newer)))
            handles, values = handles[newer], values[newer]
            index, touched = handles, self._layouts.touched(handles)
        after = stale_after_ms(batch.interval_ms)
        stale_from = batch.time_ms + after + 1
        mark = _MARKS[batch.stale]
        landing = Landing(handles, index, batch.time_ms, values, stale_mask(values), mark, after, stale_from)
        if batch.time_ms <= self._watermark_ms:
            self._count("samples_late_total", len(handles))
        return (yield from self._land(landing, touched, max(batch.time_ms, self._watermark_ms)))

    def _land_samples(self, samples: list[Sample]) -> Steps:
        """Land a run of samples, each an atom: those that change nothing in bulk, the others one by one."""
        handles = np.array([self._layouts.handle(sample.series) for sample in samples], dtype=np.int64)
        if handles.min() < 0:
            samples = [sample for sample, handle in zip(samples, handles.tolist(), strict=True) if handle >= 0]
            handles = handles[handles >= 0]
        times = np.array([sample.time_ms for sample in samples], dtype=np.int64)
        newer = accepted(handles, times, self._store.last_ms(handles))
        if not newer.all():
            self._drop("old", int(np.count_nonzero(~newer)))
            samples = [sample for sample, keep in zip(samples, newer.tolist(), strict=True) if keep]
            handles, times = handles[newer], times[newer]
        if not samples:
            return []
        values = np.array([sample.value for sample in samples], dtype=np.float64)
        after = np.array([stale_after_ms(sample.interval_ms) for sample in samples], dtype=np.int64)
        self._count("samples_late_total", int(np.count_nonzero(times <= self._watermark_ms)))
        if len(samples) == 1:
            stale_from, mark = int(times[0] + after[0]) + 1, _MARKS[samples[0].stale]
            landing = Landing(handles, handles, times, values, stale_mask(values), mark, after, stale_from)
            at_ms = max(samples[0].time_ms, self._watermark_ms)
            return (yield from self._land(landing, self._layouts.touched(handles), at_ms))
        at = np.maximum(times, self._watermark_ms)
        return (yield from self._land_run(Run(handles, times, at, values, after, positions_before(handles))))

    def _land_run(self, run: Run) -> Steps:
        judges = self._layouts.readers(np.unique(run.handles))
        watch = Watch(run, judges, self._store) if judges else None
        made: list[Transition] = []
        start = 0
        while start < len(run.handles):
            stop = watch.next(start) if watch else len(run.handles)
            if stop > start:
                landing = run.landing(start, stop)
                self._store.land(landing)
                self._count("samples_accepted_total", stop - start)
                for judge in judges:
                    judge.expect_stale(landing.stale_from_ms)
                yield
            if watch and stop < len(run.handles):
                landing = run.landing(stop, stop + 1)
                touched = self._layouts.touched(landing.handles)
                made += yield from self._land(landing, touched, int(run.judged_at[stop]))
                watch.looked(stop)
                stop += 1
            start = stop
        return made

    def _land(self, landing: Landing, touched: Iterable[tuple[Judge, Touched]], at_ms: int) -> Steps:
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
        self._store.land(landing)
        self._count("samples_accepted_total", len(landing.handles))
        for judge, look in looks:
            for chunk in judge.settle(look):
                done += chunk
                yield
        done.sort(key=lambda output: output.order)
        return [output.transition for output in done]

    def _blind(self, blind: Blind) -> None:
        if blind.scope == "*":
            for judge in self._judges:
                judge.blind(blind.from_ms, blind.to_ms)

    # -- bookkeeping -------------------------------------------------------------------------------------------

    def _by_rule(self, deadlines: list[Deadline]) -> Iterator[tuple[Judge, list[Deadline], bool]]:
        clocks: dict[int, list[Deadline]] = {}
        sweeps = {deadline.rule for deadline in deadlines if deadline.slot < 0}
        for deadline in deadlines:
            if deadline.slot >= 0:
                clocks.setdefault(deadline.rule, []).append(deadline)
        for index in sorted(sweeps | clocks.keys()):
            yield self._judges[index], clocks.get(index, []), index in sweeps

    def _tidy_timers(self) -> None:
        """Timers that mean nothing any more wait for their time; when they are many, begin anew."""
        if len(self._timers) <= TIMERS_SLACK:
            return
        in_use = sum(1 + len(judge.alerts) for judge in self._judges)
        if len(self._timers) > TIMERS_PER_ALERT_MAX * in_use + TIMERS_SLACK:
            self._timers.clear()
            for judge in self._judges:
                judge.arm_all()

    def _count(self, name: str, number: int) -> None:
        if number:
            self._counters[name] = self._counters.get(name, 0) + number

    def _drop(self, reason: str, number: int) -> None:
        self._count(f"samples_dropped_total_{reason}", number)
        if reason in _BREACHES:
            self._breaches["store", reason] = self._breaches.get(("store", reason), 0) + number

    # -- snapshot ----------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything it knows, for `restore` of a core with the same rules and projectors."""
        return msgspec.msgpack.encode(
            Snapshot(
                version=SNAPSHOT_VERSION,
                watermark_ms=self._watermark_ms,
                counters=self._counters,
                series=self._store.table.texts(),
                columns=self._store.columns(),
                rules=dict(zip(self._rule_keys(), (judge.saved() for judge in self._judges), strict=True)),
                projectors=[projector.snapshot() for projector in self._projectors],
            )
        )

    def restore(self, data: bytes) -> None:
        """Take a snapshot into a core that was not fed yet. Alerts of rules it does not have are left out.

        A limit that is lower now takes nothing away: what was kept stays, and nothing new is taken.

        Raises:
            StateError: It is not a snapshot, is damaged, is of another version, or the core is not new. A core
                that raised this may hold half of it: make another.
        """
        if self._begun or self._watermark_ms >= 0:
            raise StateError("a snapshot is restored into a new core only")
        try:
            saved = msgspec.msgpack.decode(data, type=Snapshot)
        except msgspec.DecodeError as error:
            raise StateError(f"not a snapshot: {error}") from error
        if saved.version != SNAPSHOT_VERSION or len(saved.projectors) != len(self._projectors):
            raise StateError(f"a snapshot of version {saved.version} can't be restored by this one")
        self._begun = True
        try:
            self._take(saved)
        except (ValueError, OverflowError, LookupError) as error:
            raise StateError(f"a damaged snapshot: {error}") from error

    def _take(self, saved: Snapshot) -> None:
        self._store.table.series_max = max(self._store.table.series_max, len(saved.series))
        for text in saved.series:
            self._layouts.handle(text)
        self._store.refill(saved.series, saved.columns)
        self._watermark_ms = saved.watermark_ms
        self._counters = saved.counters
        for projector, state in zip(self._projectors, saved.projectors, strict=True):
            projector.restore(state)
        for key, judge in zip(self._rule_keys(), self._judges, strict=True):
            if (rule := saved.rules.get(key)) is not None:
                self._count("alerts_not_restored_total", judge.load(rule))
                self._told_refused[judge.index] = judge.refused

    def _rule_keys(self) -> list[str]:
        seen: dict[str, int] = {}
        keys = []
        for judge in self._judges:
            ordinal = seen[judge.rule.key] = seen.get(judge.rule.key, -1) + 1
            keys.append(f"{judge.rule.key}\xff{ordinal}")
        return keys


_MARKS = {"ended": Mark.ENDED, "target_down": Mark.TARGET_DOWN}
_BREACHES = {
    "series_limit": "samples of new series are dropped; raise engine.series_max",
    "batch_limit": "samples beyond the limit of a batch are dropped; raise engine.batch_samples_max",
    "malformed": "samples of malformed series are dropped",
    "alerts_limit": "new alerts of this rule are not made; raise engine.alerts_per_rule_max",
}


def _exhaust(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
