"""The core: events in, transitions out, as a function of nothing but what it was fed.

`feed` takes atoms in order; a batch is one atom, and rules see all of it at once. `advance` moves the
watermark, and deadlines up to it happen. Both exist as generators that yield between chunks of work, so
that a host's loop is not held; nobody else may enter the core meanwhile.

Transitions of one atom come out ordered by (time, rule, labels), atoms in the order they were fed. So for
a given sequence of atoms and advances it does not matter how the atoms are split into feeds. Runs of single
samples of different series are landed together, which changes the cost and nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.binding import Touched
from engine.core.columns import Column
from engine.core.judge import Judge, Look, Output, SavedRule
from engine.core.rules import Rule
from engine.core.store import Landing, Mark, Store, stale_after_ms, stale_mask
from engine.core.timers import Deadline, Timers
from engine.errors import StateError
from engine.events import Blind, Event, Health, Sample, SampleBatch, Transition
from engine.ports import Projector
from engine.series import split_series
from engine.status import AlertStatus

__all__ = ["Core"]

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, list[Transition]]

LAYOUTS_MAX = 1_024
SNAPSHOT_VERSION = 1
TIMERS_PER_ALERT_MAX = 4
TIMERS_SLACK = 10_000


class Layout(NamedTuple):
    """What is known of a tuple of series that was seen before.

    Args:
        series: The tuple itself; it is held so that its identity stays its own.
        handles: Of the series that are accepted, each once.
        positions: Where these stand in the tuple, or None if all do.
        touched: For each rule that reads any of them, what they touch.
    """

    series: tuple[str, ...]
    handles: NDArray[np.int64]
    positions: NDArray[np.int64] | None
    touched: tuple[tuple[Judge, Touched], ...]


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
        self._readers: dict[str, list[Judge]] = {}
        for judge in self._judges:
            for metric in dict.fromkeys(leaf.metric for leaf in judge.rule.plan.leaves):
                self._readers.setdefault(metric, []).append(judge)
        self._by_metric: dict[str, Column[np.int64]] = {}
        self._projectors = tuple(projectors)
        self._batch_samples_max = batch_samples_max
        self._layouts: dict[int, Layout] = {}
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
                        made += yield from self._land_batch(projected)
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
        known = self._by_metric.get(metric)
        if known is None:
            return {}
        values, present = self._store.show(known.array, self._watermark_ms)
        rows = np.flatnonzero(present)
        return {self._store.table.text(int(known.array[row])): float(values[row]) for row in rows}

    def counters(self) -> dict[str, int]:
        """What was counted since the start: `samples_accepted_total`, `samples_late_total`,
        `samples_dropped_total_<reason>`, `events_total`, `transitions_total`, `alerts_refused_total`."""
        return dict(self._counters) | {"alerts_refused_total": sum(judge.refused for judge in self._judges)}

    def take_health(self) -> list[Health]:
        """Limits that were reached since the last call, as events stamped with the watermark."""
        for judge in self._judges:
            if new := judge.refused - self._told_refused.get(judge.index, 0):
                self._told_refused[judge.index] = judge.refused
                self._breaches[f"rule.{judge.rule.name}", "alerts_limit"] = new
        told = [
            Health(max(0, self._watermark_ms), component, "degraded", reason, _BREACHES[reason], count)
            for (component, reason), count in self._breaches.items()
        ]
        self._breaches.clear()
        return told

    # -- atoms -------------------------------------------------------------------------------------------------

    def _atoms(self, events: Sequence[Event]) -> Iterator[Event | list[Sample]]:
        """Split events into what is landed at once: single samples of different series form a run."""
        run: list[Sample] = []
        seen: set[str] = set()
        for event in events:
            if isinstance(event, Sample) and event.series not in seen and self._joins_run(event):
                run.append(event)
                seen.add(event.series)
                continue
            if run:
                yield run
                run, seen = [], set()
            if isinstance(event, Sample):
                run, seen = [event], {event.series}
                if not self._joins_run(event):
                    yield run
                    run, seen = [], set()
            else:
                yield event
        if run:
            yield run

    def _joins_run(self, sample: Sample) -> bool:
        """Whether a sample may land beside others: no rule that reads it must see it alone first."""
        metric = sample.series.partition("{")[0]
        if not metric or sample.value != sample.value:  # quoted names and NaN (stale markers) are rare
            return False
        return all(judge.binding.single for judge in self._readers.get(metric, ()))

    def _land_batch(self, batch: SampleBatch) -> Steps:
        layout = self._layouts.get(id(batch.series)) or self._new_layout(batch.series)
        values = np.asarray(batch.values, dtype=np.float64)
        if len(values) != len(batch.series):
            raise ValueError(f"a batch of {len(batch.series)} series has {len(values)} values")
        if layout.positions is not None:
            values = values[layout.positions]
        handles, touched = layout.handles, layout.touched
        newer = self._store.last_ms(handles) < batch.time_ms if len(handles) else np.ones(0, np.bool_)
        if not newer.all():
            self._drop("old", int(np.count_nonzero(~newer)))
            handles, values = handles[newer], values[newer]
            touched = self._touched(handles)
        times = np.full(len(handles), batch.time_ms, dtype=np.int64)
        after = stale_after_ms(batch.interval_ms)
        landing = Landing(
            handles, times, values, stale_mask(values), _MARKS[batch.stale], after, batch.time_ms + after + 1
        )
        at_ms = max(batch.time_ms, self._watermark_ms)
        if at_ms != batch.time_ms or batch.time_ms == self._watermark_ms:
            self._count("samples_late_total", len(handles))
        return (yield from self._land(landing, touched, at_ms, one_atom=True))

    def _land_samples(self, run: list[Sample]) -> Steps:
        samples, handles = [], []
        for sample in run:
            handle = self._intern(sample.series)
            if handle < 0:
                continue
            samples.append(sample)
            handles.append(handle)
        at = np.array(handles, dtype=np.int64)
        times = np.array([sample.time_ms for sample in samples], dtype=np.int64)
        newer = self._store.last_ms(at) < times if len(at) else np.ones(0, np.bool_)
        if not newer.all():
            self._drop("old", int(np.count_nonzero(~newer)))
            at, times = at[newer], times[newer]
            samples = [sample for sample, keep in zip(samples, newer.tolist(), strict=True) if keep]
        if not samples:
            return []
        values = np.array([sample.value for sample in samples], dtype=np.float64)
        after = np.array([stale_after_ms(sample.interval_ms) for sample in samples], dtype=np.int64)
        mark = _MARKS[samples[0].stale]  # a marker is always alone in its run
        stale_from = int((times + after).min()) + 1
        landing = Landing(at, times, values, stale_mask(values), mark, after, stale_from)
        self._count("samples_late_total", int(np.count_nonzero(times <= self._watermark_ms)))
        return (
            yield from self._land(landing, self._touched(at), np.maximum(times, self._watermark_ms), one_atom=False)
        )

    def _land(
        self,
        landing: Landing,
        touched: Iterable[tuple[Judge, Touched]],
        at_ms: NDArray[np.int64] | int,
        *,
        one_atom: bool,
    ) -> Steps:
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
        done.sort(key=lambda output: output.order[1:] if one_atom else output.order)
        return [output.transition for output in done]

    def _blind(self, blind: Blind) -> None:
        if blind.scope == "*":
            for judge in self._judges:
                judge.blind(blind.from_ms, blind.to_ms)

    # -- series ------------------------------------------------------------------------------------------------

    def _intern(self, text: str) -> int:
        """Return the handle of a series, telling the rules of it at first sight; -1 if it is refused."""
        known = len(self._store)
        try:
            handle = self._store.intern(text)
        except ValueError:
            self._drop("malformed", 1)
            return -1
        if handle < 0:
            self._drop("series_limit", 1)
        elif handle == known:
            metric = split_series(text)[0]
            for judge in self._readers.get(metric, ()):
                judge.add_series(handle, text)
            members = self._by_metric.get(metric)
            if members is None:
                members = self._by_metric[metric] = Column(np.int64, -1)
            members.append(handle)
        return handle

    def _new_layout(self, series: tuple[str, ...]) -> Layout:
        handles: dict[int, int] = {}
        for position, text in enumerate(series[: self._batch_samples_max]):
            handle = self._intern(text)
            if handle >= 0 and handles.setdefault(handle, position) != position:
                self._drop("duplicate", 1)
        if len(series) > self._batch_samples_max:
            self._drop("batch_limit", len(series) - self._batch_samples_max)
        at = np.fromiter(handles, np.int64, len(handles))
        positions = None if len(handles) == len(series) else np.fromiter(handles.values(), np.int64, len(handles))
        layout = Layout(series, at, positions, self._touched(at))
        # A layout with refused series is not kept: its drops are counted each time, and a place may come free.
        if positions is None:
            while len(self._layouts) >= LAYOUTS_MAX:
                del self._layouts[next(iter(self._layouts))]
            self._layouts[id(series)] = layout
        return layout

    def _touched(self, handles: NDArray[np.int64]) -> tuple[tuple[Judge, Touched], ...]:
        metrics = {self._store.table.text(handle).partition("{")[0] for handle in handles.tolist()}
        quoted = "" in metrics  # a quoted name stands inside the braces; then every rule is asked
        judges = self._judges if quoted else [j for j in self._judges if j.binding.metrics & metrics]
        found = [(judge, judge.binding.touched(handles)) for judge in judges]
        return tuple((judge, touch) for judge, touch in found if touch is not None)

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
        alerts = sum(len(judge.alerts) for judge in self._judges)
        if len(self._timers) > TIMERS_PER_ALERT_MAX * alerts + TIMERS_SLACK:
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

        Raises:
            StateError: It is not a snapshot, is of another version, or the core is not new.
        """
        if self._begun or self._watermark_ms >= 0:
            raise StateError("a snapshot is restored into a new core only")
        try:
            saved = msgspec.msgpack.decode(data, type=Snapshot)
        except msgspec.DecodeError as error:
            raise StateError(f"not a snapshot: {error}") from error
        if saved.version != SNAPSHOT_VERSION or len(saved.projectors) != len(self._projectors):
            raise StateError(f"a snapshot of version {saved.version} can't be restored by this one")
        for text in saved.series:
            self._intern(text)
        try:
            self._store.refill(saved.series, saved.columns)
        except ValueError as error:
            raise StateError(f"a damaged snapshot: {error}") from error
        self._watermark_ms = saved.watermark_ms
        self._counters = saved.counters
        self._begun = True
        for projector, state in zip(self._projectors, saved.projectors, strict=True):
            projector.restore(state)
        for key, judge in zip(self._rule_keys(), self._judges, strict=True):
            if (rule := saved.rules.get(key)) is not None:
                self._count("alerts_not_restored_total", judge.load(rule))

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
