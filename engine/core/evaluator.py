"""The core: events in, transitions out, as a function of nothing but what it was fed.

`feed` takes atoms in order; a batch is one atom, and rules see all of it at once. `advance` moves the
watermark, and deadlines up to it happen. Both exist as generators that yield between chunks of work, so
that a host's loop is not held; nobody else may enter the core meanwhile.

Transitions of one atom come out ordered by (time, rule, labels), atoms in the order they were fed. So for
a given sequence of atoms and advances it does not matter how the atoms are split into feeds. Runs of single
samples are landed together (`engine.core.runs`), which changes the cost and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeAlias, TypeVar, Unpack

from engine.core import reading
from engine.core.alert_bytes import Changed, Writer
from engine.core.alert_taking import take_rows
from engine.core.blindness import Blindness
from engine.core.course import Course
from engine.core.kept_rows import lost_rows
from engine.core.landing import Outputs
from engine.core.notices import Output
from engine.core.orphans import DAMAGED, endings
from engine.core.outputs import OUTPUTS_PER_STEP, in_order, joined
from engine.core.parts import Options, Parts
from engine.core.promql.plan import QueryPlan
from engine.core.promql.vector import Value
from engine.core.refilling import Refill, fill_recent, reach
from engine.core.restart import restart
from engine.core.rules import RecordingRule, Rule
from engine.core.seats import Seat, seats_of
from engine.core.snapshot import put, take
from engine.core.tally import words_of
from engine.errors import StateError
from engine.events import Blind, Event, Health, Sample, SampleBatch, Transition
from engine.status import AlertStatus

__all__ = ["Core"]

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, list[Transition]]


class Core:
    """Judges rules over what it is fed.

    Args:
        rules: In the order in which simultaneous transitions come out. Two with the same name and labels
            are told apart by their order. Recording rules may stand anywhere among them.
        options: See `engine.core.parts.Options`.

    Raises:
        RuleError: A recording rule reads, directly or through others, what it records.
    """

    def __init__(self, rules: Sequence[Rule | RecordingRule], **options: Unpack[Options]) -> None:
        parts = self._parts = Parts(rules, options)
        self._lander, self._resolved, self._tally = parts.lander, parts.resolved, parts.tally
        self._blindness = Blindness(parts)
        self._course = Course(parts, self._blindness)
        self._restored = False
        self._writer: Writer | None = None
        self._gone: list[tuple[str, str]] = []  # rows that were taken and have no place
        self._at_rest = True  # nothing was fed, and no time has passed, since it was made or restored

    # -- in and out --------------------------------------------------------------------------------------------

    def feed(self, events: Sequence[Event]) -> list[Transition]:
        """Take events in order and return the transitions they cause."""
        return _exhaust(self.feeding(events))

    def advance(self, now_ms: int) -> list[Transition]:
        """Move the watermark to `now_ms` and return what was due until then. A time already passed changes nothing."""
        return _exhaust(self.advancing(now_ms))

    def feeding(self, events: Sequence[Event], on_error: Callable[[Exception], None] | None = None) -> Steps:
        """`feed` in steps: a generator that returns the transitions.

        Args:
            on_error: Is told of an atom that could not be taken, which is a bug; what was made before it is kept
                and the others are taken. Without it, the error is raised.
        """
        self._go_on()
        made: list[Output] = []
        for atom in self._lander.atoms(events):
            try:
                made = joined(made, (yield from self._take_atom(atom)))
            except Exception as error:  # whatever it is, the watch goes on
                if on_error is None:
                    raise
                self._tally.count("atoms_failed_total", 1)
                on_error(error)
        self._course.tidy_timers()
        return (yield from self._given(made))

    def _given(self, made: list[Output]) -> Steps:
        """The transitions, once they are counted and noted. The list is used up, so that it need not go at once."""
        self._tally.count("transitions_total", len(made))
        if len(made) <= OUTPUTS_PER_STEP:
            self._resolved.note(made)
            return [output[-1] for output in made]
        given: list[Transition] = []
        made.reverse()
        while made:
            some = made[: -OUTPUTS_PER_STEP - 1 : -1]
            del made[-OUTPUTS_PER_STEP:]
            self._resolved.note(some)
            given += [output[-1] for output in some]
            del some
            yield
        return given

    def _take_atom(self, atom: Event | list[Sample] | list[SampleBatch]) -> Outputs:
        made: list[Output] = []
        if not self._parts.begun:
            self._parts.begun = True
            first = atom[0] if isinstance(atom, list) else atom
            self._course.begin(first.time_ms)
            for batch in [b for projector in self._parts.projectors for b in projector.initial(first.time_ms)]:
                made += yield from self._lander.batch(batch)
        if isinstance(atom, list):
            made = joined(made, (yield from self._lander.run(atom)))
        elif isinstance(atom, Blind):
            made += yield from self._course.before_blind(atom)
            self._blindness.take(atom)
        elif not isinstance(atom, Sample | SampleBatch):  # those came as runs
            self._tally.count("events_total", 1)
            for projector in self._parts.projectors:
                projected = projector.apply(atom)
                if projected is not None:
                    made += yield from self._lander.projected(projected)
        return made

    def advancing(self, now_ms: int) -> Steps:
        """`advance` in steps: a generator that returns the transitions."""
        self._go_on()
        self._course.begin(now_ms)
        done = yield from self._course.until(now_ms)
        before_ms, self._lander.watermark_ms = self._lander.watermark_ms, max(self._lander.watermark_ms, now_ms)
        self._parts.recent.horizon_ms = self._parts.instants.horizon_ms(self._lander.watermark_ms)
        self._course.tidy_timers()
        lookback_ms = self._parts.recent.lookback_ms if self._parts.runners else 0
        self._parts.store.end_warming(self._lander.watermark_ms, lookback_ms)
        given = yield from self._given((yield from in_order(done)))
        yield from self._resolved.forgetting(self._lander.watermark_ms)
        yield from self._evict(before_ms)
        return given

    def _evict(self, before_ms: int) -> Generator[None, None, None]:
        """Let go of dead series. Should that fail, which is a bug, nothing has changed, and no transition is lost."""
        try:
            yield from self._parts.eviction.pass_time(before_ms, self._lander.watermark_ms)
        except Exception as error:  # noqa: BLE001  # told as health
            self._tally.breach("store", "eviction_failed", 1, words_of(error))

    def query(self, plan: QueryPlan, at_ms: int) -> Value:
        """The value of an expression at an instant, over what is kept: see `queries` of the constructor.

        Raises:
            EvaluationError: It has none.
        """
        self._go_on()
        return self._parts.query(plan, at_ms)

    def next_deadline(self) -> int | None:
        """When `advance` may next have something to do, in milliseconds since the epoch; None if never."""
        return self._course.next_ms()

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def series_count(self) -> int:
        """How many series it knows."""
        return len(self._parts.store)

    @property
    def watermark_ms(self) -> int:
        """The last `now` it was given; -1 before the first."""
        return self._lander.watermark_ms

    def alerts(self, limit: int | None = None) -> list[AlertStatus]:
        """Pending and firing alerts at the watermark: firing ones first, and what is true for longest first.

        Args:
            limit: At most so many. Each costs the rendering of its annotations; the counts do not, see `alert_counts`.
        """
        return reading.alerts(self._parts, limit)

    def resolved(self) -> list[Transition]:
        """The resolves of the last fifteen minutes before the watermark whose alerts are not back, the newest first.

        Of one rule at most `alerts_per_rule_max`; what is beyond that is counted as `resolved_forgotten_total`.
        """
        return self._resolved.at(self._lander.watermark_ms)

    def alert_counts(self) -> dict[str, int]:
        """How many alerts there are, by state."""
        return reading.alert_counts(self._parts)

    def latest(self, metric: str, limit: int | None = None) -> dict[str, float]:
        """The fresh values of a metric at the watermark, by canonical series text.

        Args:
            limit: At most so many, and so few that reading them costs next to nothing: those of the newest series.
        """
        return reading.latest(self._parts, metric, limit)

    def seats(self) -> list[Seat]:
        """Its alerting rules at work, for `engine.core.explain`; to be read between two steps only."""
        return seats_of(self._parts)

    def counters(self) -> dict[str, int]:
        """What was counted since the start: `samples_accepted_total`, `samples_late_total`,
        `samples_dropped_total_<reason>`, `events_total`, `transitions_total`, `alerts_refused_total`,
        `instants_missed_total`, `series_evicted_total`, `resolved_forgotten_total`, `flaps_forgotten_total`,
        `samples_refilled_total`."""
        return reading.counters(self._parts)

    def take_health(self) -> list[Health]:
        """Limits that were reached since the last call, as events stamped with the watermark."""
        return reading.take_health(self._parts)

    # -- snapshot ----------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything it knows, for `restore` of a core with the same projectors. Between two steps only."""
        return take(self._parts)

    def restore(self, data: bytes, now_ms: int | None = None) -> None:
        """Take a snapshot into a core that was not fed yet; it goes on where the snapshot was taken.

        Rules are found again by their keys. Of one that was edited, what still fits is kept; what does not is counted
        as `alerts_not_restored_total`. What a rule had that is gone is left out. A limit that is lower now takes
        nothing away: what was kept stays, and nothing new is taken.

        Args:
            now_ms: What has passed since the snapshot's watermark was the engine's own downtime: nothing goes stale
                because of it, and each rule's `on_restart` and `outage_tolerance` say what becomes of its clocks. Until
                every input of an alert was seen again, or is stale, it does not resolve. Without it no time has passed.

        Raises:
            StateError: It is not a snapshot, is damaged, is of another version, or the core is not new. A core
                that raised this may hold half of it: make another.
        """
        parts = self._parts
        if not self._at_rest or self._restored:
            raise StateError("a snapshot is restored into a new core only")
        self._restored = True
        put(parts, data)
        if now_ms is not None:
            self._go_on()
            restart(parts, self._blindness, now_ms)

    def changed_alerts(self, limit: int) -> list[Changed]:
        """Rows of the alerts that changed since the last call, at most so many; the rest comes with the next call.

        The first call says that somebody wants to know, and begins with everything there is. A row is the key of the
        rule, the labels of the alert as one text (empty for what all alerts of the rule have in common), and all that
        it takes to go on, or None when nothing is left to be kept. Between two steps only.
        """
        if self._writer is None:
            self._writer = Writer(self._parts)
        gone, self._gone = self._gone[:limit], self._gone[limit:]
        return [(key, text, None) for key, text in gone] + self._writer.changed(limit - len(gone))

    def tell_all_alerts(self) -> None:
        """What `changed_alerts` told was lost: it begins again with everything there is."""
        self._writer = None

    def take_alerts(
        self, rows: Iterable[tuple[str, str, bytes]], until_ms: int, now_ms: int | None = None
    ) -> list[Transition]:
        """Take rows of `changed_alerts` into a core that was not fed yet: of each alert the newest.

        Rules are found by their keys; of one that was edited, what still fits is kept. Alerts that have no place any
        more end, as `rule_removed` or `rule_changed`. They and rows that are damaged are counted as
        `alerts_not_restored_total`, and are not kept from then on. Windows come with `refill`.

        Args:
            until_ms: Until when somebody watched: clocks that were running ran until then.
            now_ms: As with `restore`.

        Returns:
            The ends of alerts that have no place, at `now_ms`, or at `until_ms` without it.

        Raises:
            StateError: The core is not new.
        """
        if not self._at_rest or self._restored:
            raise StateError("alerts are taken into a new core only")
        self._restored = True
        orphans = take_rows(self._parts, rows, until_ms)
        unplaced = sum(orphan.alert is not None or orphan.reason == DAMAGED for orphan in orphans)
        self._tally.count("alerts_not_restored_total", unplaced)
        self._gone = [(orphan.rule_key, orphan.text) for orphan in orphans]
        if now_ms is not None:
            self._go_on()
            restart(self._parts, self._blindness, now_ms)
        return endings(orphans, max(until_ms, now_ms or 0))

    def lose_alerts(self, rows: Iterable[tuple[str, str, bytes]], now_ms: int) -> list[Transition]:
        """What becomes of rows that turned up when this core had begun without them: what it does not have itself by
        now ends as `lost`, and is told to be gone by the next `changed_alerts`. After one that told nothing more.

        Returns:
            The ends of alerts, at `now_ms`.
        """
        orphans = lost_rows(row for row in rows if self._writer is None or not self._writer.has(*row[:2]))
        self._tally.count("alerts_not_restored_total", sum(one.alert is not None for one in orphans))
        self._gone += [(one.rule_key, one.text) for one in orphans]
        return endings(orphans, now_ms)

    def reach(self, now_ms: int) -> dict[str, int]:
        """What `refill` needs if the core goes on at `now_ms`: by metric, since when (ms); "" is every metric.

        To be asked after `restore`, if there is a snapshot: then it is little more than the time since."""
        return reach(self._parts, now_ms)

    def refill(self, batches: Iterable[SampleBatch], now_ms: int, since_ms: int | None = None) -> None:
        """Take samples of the past into windows, and go on at `now_ms`: see `refilling`."""
        _exhaust(self.refilling(batches, now_ms, since_ms))

    def refilling(
        self, batches: Iterable[SampleBatch], now_ms: int, since_ms: int | None = None
    ) -> Generator[None, None, None]:
        """Take samples of the past into the windows of a core that is new, or was restored without `now_ms`.

        In steps. Nothing is judged, nothing is late; of each series what is newer than its last sample is taken, as
        far as a query reads its metric, and counted as `samples_refilled_total`. Then the downtime ends, as with
        `now_ms` of `restore`; a new core was away since the newest of the samples. A series that a snapshot did not
        hold goes stale by its own age.

        Args:
            batches: In order of time. Their `interval_ms` says when series go stale that are new to the core.
            since_ms: They are all that there were since then, as far back as `reach` says, of what no rule records; if
                nothing is said, that is so of the metrics that they are of. What else windows held is unknown to a
                core that has nothing but alerts: until that has left them, nothing changes because of it.

        Raises:
            StateError: It was fed, or time has passed.
        """
        if not self._at_rest:
            raise StateError("windows are refilled before the core goes on, and once")
        self._at_rest = False
        yield from Refill(self._parts).run(batches, self._blindness, now_ms, since_ms)

    def _go_on(self) -> None:
        """Windows are as they will be when the first event comes."""
        if self._at_rest:
            self._at_rest = False
            fill_recent(self._parts)


def _exhaust(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
