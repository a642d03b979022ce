"""The core: events in, transitions out, as a function of nothing but what it was fed.

`feed` takes atoms in order; a batch is one atom, and rules see all of it at once. `advance` moves the
watermark, and deadlines up to it happen. Both exist as generators that yield between chunks of work, so
that a host's loop is not held; nobody else may enter the core meanwhile.

Transitions of one atom come out ordered by (time, rule, labels), atoms in the order they were fed. So for
a given sequence of atoms and advances it does not matter how the atoms are split into feeds. Runs of single
samples are landed together (`engine.core.runs`), which changes the cost and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np

from engine.core.absence import evidence_of, sources_of
from engine.core.alerts import Phase
from engine.core.book import AlertBook
from engine.core.chains import chains_of
from engine.core.conditions import split_condition
from engine.core.dependencies import in_order, may_read
from engine.core.eviction import Eviction
from engine.core.expression import Expression
from engine.core.grid import GroupRunner
from engine.core.groups import GridGroup, Instants
from engine.core.judge import Judge, SavedRule
from engine.core.landing import POINTS_PER_CHUNK, Lander, Outputs, Telling
from engine.core.layouts import Layouts
from engine.core.notices import Output
from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import Compat, Node, Plan, QueryPlan
from engine.core.promql.query import evaluate_instant
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Scalar, Value, Vector
from engine.core.query_judge import QueryJudge
from engine.core.recent import Recent
from engine.core.recording import Owners, Recorder
from engine.core.resolved import Resolved
from engine.core.rules import RecordingRule, Rule
from engine.core.store import NEVER_MS, Store
from engine.core.tally import Tally
from engine.core.timers import Timers
from engine.errors import StateError
from engine.events import Blind, Event, Health, Sample, SampleBatch, Transition
from engine.ports import Projector
from engine.status import AlertStatus

__all__ = ["Core"]

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, list[Transition]]

LOOKBACK_MS = 300_000
RESOLUTION_MS = 1_000
SUBQUERY_STEP_MS = 60_000  # Prometheus' default evaluation interval
FOR_EVER_MS = 2**61
SNAPSHOT_VERSION = 1
TIMERS_PER_RULE_MAX = 4
SCOPES_MAX = 1_024
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
    blind_to_ms: int = 0
    resolved: dict[str, list[Transition]] = {}


class Core:
    """Judges rules over what it is fed.

    Args:
        rules: In the order in which simultaneous transitions come out. Two with the same name and labels
            are told apart by their order. Recording rules may stand anywhere among them.
        series_max: How many series it keeps; samples of further ones are dropped and counted.
        batch_samples_max: How many samples of one batch it takes; the rest is dropped and counted.
        alerts_per_rule_max: How many alerts one rule may have; further ones are not made, and counted.
        projectors: Turn domain and health events into samples.
        groups: Rules in grid mode; they come after `rules` in every order.
        external_labels, external_url: For the templates of groups.
        lookback_ms: How old the sample of an instant selector may be in grid mode.
        resolution_ms: How often an expression is judged that changes with time alone.
        compat: Whose rules hold for windows in grid mode.
        subquery_step_ms: The step of subqueries that have none, in grid mode.
        queries: Expressions that `query` will be asked: what they read is kept, too, and for good.

    Raises:
        RuleError: A recording rule reads, directly or through others, what it records.
    """

    def __init__(
        self,
        rules: Sequence[Rule | RecordingRule],
        *,
        series_max: int = 1_000_000,
        batch_samples_max: int = 50_000,
        alerts_per_rule_max: int = 10_000,
        projectors: Sequence[Projector] = (),
        groups: Sequence[GridGroup] = (),
        external_labels: Mapping[str, str] | None = None,
        external_url: str = "",
        lookback_ms: int = LOOKBACK_MS,
        resolution_ms: int = RESOLUTION_MS,
        compat: Compat = "prometheus3",
        subquery_step_ms: int = SUBQUERY_STEP_MS,
        queries: Sequence[QueryPlan] = (),
    ) -> None:
        self._compat: Compat = compat
        self._subquery_step_ms = subquery_step_ms
        self._store = Store(series_max)
        self._timers = Timers()
        # Of pointwise rules: what happens to one label set there is nothing to any other, nor to a chain.
        self._sweeps = Timers()
        self._tally = Tally()
        self._recent = Recent(self._store.table, lookback_ms, left_open=compat == "prometheus3")
        self._resolution_ms = resolution_ms
        recording = in_order([rule for rule in rules if isinstance(rule, RecordingRule)])
        self._sources = sources_of(recording)
        alerting = [rule for rule in rules if isinstance(rule, Rule)]
        self._book = AlertBook(alerting, [alerts_per_rule_max] * len(alerting))
        self._judges: list[Judge | QueryJudge] = [
            self._judge(index, rule, alerts_per_rule_max) for index, rule in enumerate(alerting)
        ]
        pointwise = [judge for judge in self._judges if isinstance(judge, Judge)]
        self._pointwise = {judge.index: judge for judge in pointwise}
        whole = [judge for judge in self._judges if isinstance(judge, QueryJudge)]
        self._instants = Instants(groups)
        self._runners: list[GroupRunner] = []
        self._asked: dict[str, QueryPlan] = {}
        for group in groups:
            self._add_group(group, alerts_per_rule_max, external_labels or {}, external_url)
        self._chains = tuple(chains_of(self._recorders(recording), whole))
        self._chain_of = {index: chain for chain in self._chains for index in chain.indices}
        for plan in queries:
            self._want(plan, FOR_EVER_MS)
        grid = [alerts for runner in self._runners for alerts in runner.alerting.values()]
        self._books = [self._book, *(judge.book for judge in whole), *(alerts.book for alerts in grid)]
        keeps = self._recent.keeps
        self._layouts = Layouts(self._store, pointwise, batch_samples_max, self._tally.drop, self._chains, keeps)
        self._lander = Lander(self._store, self._recent, self._layouts, self._tally, self._book)
        self._eviction = Eviction(
            self._store,
            self._recent,
            self._layouts,
            self._tally,
            judges=pointwise,
            chains=self._chains,
            runners=self._runners,
        )
        self._projectors = tuple(projectors)
        self._resolved = Resolved(alerts_per_rule_max, self._tally)
        self._blind_to_ms = 0
        self._blind_scopes: dict[str, int] = {}
        self._begun = False
        self._time_begun = False

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
        made: list[Output] = []
        for atom in self._lander.atoms(events):
            try:
                made += yield from self._take_atom(atom)
            except Exception as error:  # whatever it is, the watch goes on
                if on_error is None:
                    raise
                self._tally.count("atoms_failed_total", 1)
                on_error(error)
        self._tidy_timers()
        self._resolved.note(made)
        self._tally.count("transitions_total", len(made))
        return [output[-1] for output in made]

    def _take_atom(self, atom: Event | list[Sample]) -> Outputs:
        made: list[Output] = []
        if not self._begun:
            self._begun = True
            first = atom[0] if isinstance(atom, list) else atom
            self._begin(first.time_ms)
            for batch in [b for projector in self._projectors for b in projector.initial(first.time_ms)]:
                made += yield from self._lander.batch(batch)
        if isinstance(atom, SampleBatch):
            made += yield from self._lander.batch(atom)
        elif isinstance(atom, list):
            made += yield from self._lander.samples(atom)
        elif isinstance(atom, Blind):
            self._blind(atom)
        elif not isinstance(atom, Sample):  # those came as runs
            self._tally.count("events_total", 1)
            for projector in self._projectors:
                projected = projector.apply(atom)
                if projected is not None:
                    made += yield from self._lander.projected(projected)
        return made

    def advancing(self, now_ms: int) -> Steps:
        """`advance` in steps: a generator that returns the transitions."""
        done: list[Output] = []
        self._begin(now_ms)
        while True:
            timer_ms, instant_ms = self._timers.next_ms(), self._instants.next_ms()
            if timer_ms is not None and timer_ms <= now_ms and (instant_ms is None or timer_ms <= instant_ms):
                done += yield from self._wake(timer_ms)
            elif instant_ms is not None and instant_ms <= now_ms:
                done += yield from self._evaluate_groups(instant_ms)
            else:
                break
        done += yield from self._sweep(now_ms)
        for chunk in self._book.passing(now_ms):
            done += chunk
            yield
        before_ms, self._lander.watermark_ms = self._lander.watermark_ms, max(self._lander.watermark_ms, now_ms)
        self._recent.horizon_ms = self._instants.horizon_ms(self._lander.watermark_ms)
        self._tidy_timers()
        done.sort()
        self._resolved.note(done)
        self._resolved.forget(self._lander.watermark_ms)
        yield from self._evict(before_ms)
        self._tally.count("transitions_total", len(done))
        return [output[-1] for output in done]

    def _wake(self, time_ms: int) -> Outputs:
        """Let happen what is due for chains at an instant."""
        done: list[Output] = []
        if (woken := self._timers.pop(time_ms)) is not None:
            for chain in dict.fromkeys(self._chain_of[deadline.rule] for deadline in sorted(woken[1])):
                done += yield from chain.wake(time_ms, self._lander.record)
        return done

    def _sweep(self, now_ms: int) -> Outputs:
        """Let pointwise rules look for inputs that went stale until now."""
        done: list[Output] = []
        told = Telling(self._book)
        swept: list[Judge] = []
        while (woken := self._sweeps.pop(now_ms)) is not None:
            for index in {deadline.rule for deadline in woken[1]}:
                judge = self._pointwise[index]
                points = judge.sweep(now_ms)
                swept.append(judge)
                yield
                for part in () if points is None else points.chunks(POINTS_PER_CHUNK):
                    for chunk in told.add(judge, part):
                        done += chunk
                        yield
        for chunk in told.rest():
            done += chunk
            yield
        told.done()
        for judge in swept:
            judge.watch()
        return done

    def _evict(self, before_ms: int) -> Generator[None, None, None]:
        """Let go of dead series. Should that fail, which is a bug, nothing has changed, and no transition is lost."""
        try:
            yield from self._eviction.pass_time(before_ms, self._lander.watermark_ms)
        except Exception as error:  # noqa: BLE001  # told as health
            self._tally.breach("store", "eviction_failed", 1, str(error))

    def _begin(self, time_ms: int) -> None:
        """Time begins, with the first event or the first advance."""
        self._instants.begin(time_ms)
        if not self._time_begun:
            self._time_begun = True
            for chain in self._chains:
                chain.begin(time_ms)

    def _evaluate_groups(self, instant_ms: int) -> Outputs:
        """Evaluate the groups of an instant, each landing what its rules record before the next rule."""
        done: list[Output] = []
        for index in self._instants.take(instant_ms):
            for made, recorded in self._runners[index].evaluate(instant_ms):
                done += made
                if recorded is not None:
                    done += yield from self._lander.recorded(recorded)
                yield
        self._skip_instants()
        return done

    def _judge(self, index: int, rule: Rule, alerts_max: int) -> Judge | QueryJudge:
        plan = rule.plan
        if isinstance(plan, Plan):
            if not any(may_read(plan, source.record) for source, _ in self._sources):
                return Judge(index, rule, self._store, self._book, self._sweeps)
            plan = compile_query(plan.expr)  # judged whole, once what others record has landed
        expression = self._expression(index, plan, split_condition(plan.root)[0])
        return QueryJudge(index, rule, expression, self._timers, self._tally, alerts_max=alerts_max)

    def _recorders(self, rules: Sequence[RecordingRule]) -> list[Recorder]:
        """Recording rules at work. Their numbers come after those of rules that alert: no transition has them."""
        first = len(self._judges) + sum(len(runner.group.rules) for runner in self._runners)
        owners: Owners = {}
        return [
            Recorder(index, rule, self._expression(index, rule.plan), owners, self._tally)
            for index, rule in enumerate(rules, first)
        ]

    def _expression(self, index: int, plan: QueryPlan, measure: Node | None = None) -> Expression:
        self._want(plan, 0)
        if measure is not None:
            plan = msgspec.structs.replace(plan, root=measure)
        parts = self._store, self._recent, self._timers
        evidence = evidence_of(plan, self._sources)
        return Expression(index, plan, evidence, *parts, resolution_ms=self._resolution_ms)

    def _want(self, plan: QueryPlan, offset_ms: int, slack_ms: int = 0) -> None:
        """Keep what a query looks back at. The last sample of a series is kept for the lookback without asking."""
        for leaf, reach_ms in zip(plan.leaves, plan.reaches_ms, strict=True):
            back_ms = FOR_EVER_MS if reach_ms is None else reach_ms + offset_ms
            self._recent.want(leaf, back_ms + slack_ms)

    def _add_group(
        self, group: GridGroup, alerts_max: int, external_labels: Mapping[str, str], external_url: str
    ) -> None:
        first = len(self._judges) + sum(len(runner.group.rules) for runner in self._runners)
        for rule in group.rules:
            templates = (*rule.labels.values(), *rule.annotations.values())
            # What else a template asks for is not known before; it finds at least what a lookback spans.
            slack_ms = self._recent.lookback_ms if any(template.queries for template in templates) else 0
            self._want(rule.plan, group.query_offset_ms, slack_ms)
            for expr in {expr for template in templates for expr in template.asks}:
                self._announce(expr)
        runner = GroupRunner(
            group,
            first,
            self._recent,
            self._tally,
            keeps=self._recent.keeps,
            alerts_max=alerts_max,
            external_labels=external_labels,
            external_url=external_url,
            query=self._query,
            subquery_step_ms=self._subquery_step_ms,
        )
        self._runners.append(runner)

    def _announce(self, expr: str) -> None:
        """A template will ask this at instants of its rule. What is wrong with it is said in the rendered text."""
        with contextlib.suppress(PromQLError):
            plan = self._asked[expr] = compile_query(expr, compat=self._compat)
            self._want(plan, 0, self._recent.lookback_ms)

    def _query(self, expr: str, at_ms: int) -> list[tuple[dict[str, str], float]]:
        """The answer to a template's query, over what is kept for rules and for what templates have written out."""
        value = self.query(self._asked.get(expr) or compile_query(expr, compat=self._compat), at_ms)
        if isinstance(value, Scalar):
            return [({}, value.value)]
        return value.items() if isinstance(value, Vector) else []

    def query(self, plan: QueryPlan, at_ms: int) -> Value:
        """The value of an expression at an instant, over what is kept: see `queries` of the constructor.

        Raises:
            EvaluationError: It has none.
        """
        return evaluate_instant(plan, self._recent, at_ms, default_step_ms=self._subquery_step_ms)

    def next_deadline(self) -> int | None:
        """When `advance` may next have something to do, in milliseconds since the epoch; None if never."""
        due_ms = self._book.due_ms if self._book.due_ms != NEVER_MS else None
        planned = self._timers.next_ms(), self._sweeps.next_ms(), self._instants.next_ms(), due_ms
        return min((at for at in planned if at is not None), default=None)

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def series_count(self) -> int:
        """How many series it knows."""
        return len(self._store)

    @property
    def watermark_ms(self) -> int:
        """The last `now` it was given; -1 before the first."""
        return self._lander.watermark_ms

    def alerts(self, limit: int | None = None) -> list[AlertStatus]:
        """Pending and firing alerts at the watermark: firing ones first, and what is true for longest first.

        Args:
            limit: At most so many. Each costs the rendering of its annotations; the counts do not, see `alert_counts`.
        """
        now_ms = self._lander.watermark_ms
        shown = [(book, book.shown()) for book in self._books]
        which = np.repeat(np.arange(len(shown)), [len(rows) for _, rows in shown])
        if not len(which):
            return []
        rows = np.concatenate([rows for _, rows in shown])
        pending = np.concatenate([book.rows.phase[rows] == Phase.PENDING for book, rows in shown])
        active = np.concatenate([book.rows.active[rows] for book, rows in shown])
        rules = np.concatenate([book.first + book.rows.rule[rows] for book, rows in shown])
        places = np.concatenate([book.rows.place[rows] for book, rows in shown])
        order = np.lexsort((places, rules, active, pending))[:limit]
        statuses: dict[int, AlertStatus] = {}
        for number in np.unique(which[order]).tolist():
            mine = order[which[order] == number]
            made = shown[number][0].statuses(rows[mine], now_ms)
            statuses.update(zip(mine.tolist(), made, strict=True))
        return [statuses[place] for place in order.tolist()]

    def resolved(self) -> list[Transition]:
        """The resolves of the last fifteen minutes before the watermark whose alerts are not back, the newest first.

        Of one rule at most `alerts_per_rule_max`; what is beyond that is counted as `resolved_forgotten_total`.
        """
        return self._resolved.at(self._lander.watermark_ms)

    def alert_counts(self) -> dict[str, int]:
        """How many alerts there are, by state."""
        phases = [book.rows.phase[book.shown()] for book in self._books]
        pending = sum(int(np.count_nonzero(phase == Phase.PENDING)) for phase in phases)
        return {"pending": pending, "firing": sum(map(len, phases)) - pending}

    def latest(self, metric: str) -> dict[str, float]:
        """The fresh values of a metric at the watermark, by canonical series text."""
        handles = self._layouts.of_metric(metric)
        values, present = self._store.show(handles, self._lander.watermark_ms)
        rows = np.flatnonzero(present).tolist()
        return {self._store.table.text(int(handles[row])): float(values[row]) for row in rows}

    def counters(self) -> dict[str, int]:
        """What was counted since the start: `samples_accepted_total`, `samples_late_total`,
        `samples_dropped_total_<reason>`, `events_total`, `transitions_total`, `alerts_refused_total`,
        `instants_missed_total`, `series_evicted_total`, `resolved_forgotten_total`."""
        return dict(self._tally.counters) | {
            "alerts_refused_total": sum(int(book.refused.sum()) for book in self._books)
        }

    def take_health(self) -> list[Health]:
        """Limits that were reached since the last call, as events stamped with the watermark."""
        for book in self._books:
            for name, new in book.take_refused():
                self._tally.breach(f"rule.{name}", "alerts_limit", new)
        return self._tally.take_health(max(0, self._lander.watermark_ms))

    # -- bookkeeping -------------------------------------------------------------------------------------------

    def _blind(self, blind: Blind) -> None:
        """Take a span out of every clock and every age. Of spans that overlap, each instant is taken out once."""
        if blind.scope != "*":
            self._blind_some(blind)
            return
        from_ms = max(blind.from_ms, self._blind_to_ms)
        if blind.to_ms <= from_ms:
            return
        self._blind_to_ms = blind.to_ms
        self._lander.blind(from_ms, blind.to_ms)
        self._store.skip(from_ms, blind.to_ms)
        for book in (self._book, *(judge.book for chain in self._chains for judge in chain.judges)):
            book.blind(from_ms, blind.to_ms)
        for chain in self._chains:
            chain.blind(from_ms, blind.to_ms)
        self._instants.blind(from_ms, blind.to_ms)
        self._skip_instants()

    def _blind_some(self, blind: Blind) -> None:
        """The same for some series. Groups of rule files have no clock for these alone."""
        known = self._layouts.known(blind.series or (blind.scope,))
        from_ms = max(blind.from_ms, self._blind_to_ms, self._blind_scopes.get(blind.scope, -1))
        if not len(known) or blind.to_ms <= from_ms:
            return
        if len(self._blind_scopes) >= SCOPES_MAX:
            del self._blind_scopes[next(iter(self._blind_scopes))]
        self._blind_scopes[blind.scope] = blind.to_ms
        self._store.skip(from_ms, blind.to_ms, known)
        for judge in self._layouts.readers(known):
            judge.blind(known, from_ms, blind.to_ms)
        for chain, rules in self._layouts.chains(known):
            chain.blind_some(rules, known, from_ms, blind.to_ms)

    def _skip_instants(self) -> None:
        """Take blind spans that no instant comes before any more out of the clocks of groups."""
        for missed in self._instants.skip():
            self._runners[missed.group].blind(missed.from_ms, missed.to_ms)
            self._tally.count("instants_missed_total", missed.instants)

    def _tidy_timers(self) -> None:
        """Timers that mean nothing any more wait for their time; when they are many, begin anew."""
        if len(self._timers) > TIMERS_PER_RULE_MAX * len(self._chain_of) + TIMERS_SLACK:
            self._timers.clear()
            for chain in self._chains:
                chain.arm_all()
        if len(self._sweeps) > TIMERS_PER_RULE_MAX * len(self._pointwise) + TIMERS_SLACK:
            self._sweeps.clear()
            for judge in self._pointwise.values():
                judge.rearm()

    # -- snapshot ----------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything it knows, for `restore` of a core with the same rules and projectors."""
        return msgspec.msgpack.encode(
            Snapshot(
                version=SNAPSHOT_VERSION,
                watermark_ms=self._lander.watermark_ms,
                counters=self._tally.counters,
                series=self._store.table.texts(),
                columns=self._store.columns(),
                rules=dict(zip(self._rule_keys(), (judge.saved() for judge in self._saveable()), strict=True)),
                projectors=[projector.snapshot() for projector in self._projectors],
                blind_to_ms=self._blind_to_ms,
                resolved={
                    key: kept for rule, key in enumerate(self._rule_keys()) if (kept := self._resolved.saved(rule))
                },
            )
        )

    def _saveable(self) -> list[Judge]:
        """The rules, if all are pointwise. Raises `StateError` if not: no snapshot holds what queries look back at."""
        pointwise = [judge for judge in self._judges if isinstance(judge, Judge)]
        if self._chains or self._runners:
            raise StateError("a core with rules that look back at samples has no snapshot yet")
        return pointwise

    def restore(self, data: bytes) -> None:
        """Take a snapshot into a core that was not fed yet. Alerts of rules it does not have are left out.

        A limit that is lower now takes nothing away: what was kept stays, and nothing new is taken.

        Raises:
            StateError: It is not a snapshot, is damaged, is of another version, or the core is not new. A core
                that raised this may hold half of it: make another.
        """
        if self._begun or self._lander.watermark_ms >= 0:
            raise StateError("a snapshot is restored into a new core only")
        try:
            saved = msgspec.msgpack.decode(data, type=Snapshot)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
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
        self._lander.watermark_ms = saved.watermark_ms
        self._blind_to_ms = saved.blind_to_ms
        self._tally.counters.update(saved.counters)
        for projector, state in zip(self._projectors, saved.projectors, strict=True):
            projector.restore(state)
        for key, judge in zip(self._rule_keys(), self._saveable(), strict=True):
            if (rule := saved.rules.get(key)) is not None:
                self._tally.count("alerts_not_restored_total", judge.load(rule))
            self._resolved.load(judge.index, saved.resolved.get(key, []))

    def _rule_keys(self) -> list[str]:
        seen: dict[str, int] = {}
        keys = []
        for judge in self._judges:
            ordinal = seen[judge.rule.key] = seen.get(judge.rule.key, -1) + 1
            keys.append(f"{judge.rule.key}\xff{ordinal}")
        return keys


def _exhaust(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
