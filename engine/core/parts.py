"""What a core is made of: one store, rules at work in their chains and groups, and how they are wired.

It is made once, from rules and limits. Nothing happens here: who feeds the parts and passes time is
`engine.core.evaluator`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypedDict

import msgspec
import numpy as np

from engine.core.absence import evidence_of, sources_of
from engine.core.book import AlertBook
from engine.core.chains import chains_of
from engine.core.conditions import split_condition
from engine.core.dependencies import in_order, may_read
from engine.core.eviction import Eviction
from engine.core.expression import Expression, changes_with_time
from engine.core.grid import GroupRunner
from engine.core.groups import GridGroup, Instants
from engine.core.inputs import Inputs
from engine.core.judge import Judge
from engine.core.kin import Kin, kin_of
from engine.core.known import KnownView, before_ms, reach_ms
from engine.core.landing import Lander
from engine.core.layouts import Layouts
from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import Compat, Node, Plan, QueryPlan, Selector, walk
from engine.core.promql.query import evaluate_instant
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Scalar, Value, Vector
from engine.core.query_judge import QueryJudge
from engine.core.recent import Recent
from engine.core.recording import Owners, Recorder
from engine.core.resolved import Resolved
from engine.core.rules import OUTAGE_TOLERANCE_MS, RecordingRule, Rule
from engine.core.spans import back
from engine.core.store import Store
from engine.core.tally import Tally
from engine.core.timers import Timers
from engine.events import STALE_BITS
from engine.ports import Projector

__all__ = ["LOOKBACK_MS", "RESOLUTION_MS", "SUBQUERY_STEP_MS", "Options", "Parts"]

LOOKBACK_MS: Final = 300_000
RESOLUTION_MS: Final = 1_000
SUBQUERY_STEP_MS: Final = 60_000
"""Prometheus' default evaluation interval."""
FOR_EVER_MS: Final = 2**61


class Options(TypedDict, total=False):
    """What may be said of a core beside its rules.

    Args:
        series_max: How many series it keeps, 1,000,000 by default; samples of further ones are dropped and counted.
        batch_samples_max: How many samples of one batch it takes, 50,000; the rest is dropped and counted.
        alerts_per_rule_max: How many alerts one rule may have, 10,000; further ones are not made, and counted.
        projectors: Turn domain and health events into samples.
        groups: Rules in grid mode; they come after the others in every order.
        external_labels, external_url: For the templates of groups.
        lookback_ms: How old the sample of an instant selector may be in grid mode.
        resolution_ms: How often an expression is judged that changes with time alone.
        compat: Whose rules hold for windows in grid mode.
        subquery_step_ms: The step of subqueries that have none, in grid mode.
        outage_tolerance_ms: After a longer downtime a pending alert begins anew, in grid mode.
        queries: Expressions that `query` will be asked: what they read is kept, too, and for good.
    """

    series_max: int
    batch_samples_max: int
    alerts_per_rule_max: int
    projectors: Sequence[Projector]
    groups: Sequence[GridGroup]
    external_labels: Mapping[str, str] | None
    external_url: str
    lookback_ms: int
    resolution_ms: int
    compat: Compat
    subquery_step_ms: int
    outage_tolerance_ms: int
    queries: Sequence[QueryPlan]


class Parts:
    """The parts of a core: see `engine.core.evaluator.Core`."""

    def __init__(
        self,
        rules: Sequence[Rule | RecordingRule],
        options: Options,
    ) -> None:
        compat = options.get("compat", "prometheus3")
        lookback_ms = options.get("lookback_ms", LOOKBACK_MS)
        alerts_per_rule_max = options.get("alerts_per_rule_max", 10_000)
        groups = options.get("groups", ())
        self._compat: Compat = compat
        self._subquery_step_ms = options.get("subquery_step_ms", SUBQUERY_STEP_MS)
        self.outage_tolerance_ms = options.get("outage_tolerance_ms", OUTAGE_TOLERANCE_MS)
        self.store = Store(options.get("series_max", 1_000_000))
        self.timers = Timers()
        # Of pointwise rules: what happens to one label set there is nothing to any other, nor to a chain.
        self.sweeps = Timers()
        self.tally = Tally()
        self.recent = Recent(self.store.table, lookback_ms, left_open=compat == "prometheus3")
        self._resolution_ms = options.get("resolution_ms", RESOLUTION_MS)
        recording = in_order([rule for rule in rules if isinstance(rule, RecordingRule)])
        self._sources = sources_of(recording)
        self.recorded = {rule.record for rule in recording}
        """Metrics that rules record: no history has them."""
        self.recorded |= {rule.name for group in groups for rule in group.rules if rule.kind == "record"}
        alerting = [rule for rule in rules if isinstance(rule, Rule)]
        self.book = AlertBook(alerting, [alerts_per_rule_max] * len(alerting))
        leaves = max((len(rule.plan.leaves) for rule in alerting if isinstance(rule.plan, Plan)), default=0)
        self.inputs = Inputs(leaves)
        self.judges: list[Judge | QueryJudge] = [
            self._judge(index, rule, alerts_per_rule_max) for index, rule in enumerate(alerting)
        ]
        pointwise = [judge for judge in self.judges if isinstance(judge, Judge)]
        whole = [judge for judge in self.judges if isinstance(judge, QueryJudge)]
        self.pointwise = {judge.index: judge for judge in pointwise}
        self.kins = kin_of(pointwise, self.store, self.book, self.inputs, len(alerting))
        self.looking: dict[int, Judge | Kin] = {judge.index: judge for judge in pointwise}
        """Who looks for stale inputs of each pointwise rule."""
        self.looking.update({judge.index: kin for kin in self.kins for judge in kin.judges})
        self.instants = Instants(groups)
        self.runners: list[GroupRunner] = []
        self._asked: dict[str, QueryPlan] = {}
        for group in groups:
            self._add_group(
                group,
                alerts_per_rule_max,
                options.get("external_labels") or {},
                options.get("external_url", ""),
            )
        self.chains = tuple(chains_of(self._recorders(recording), whole))
        self.chain_of = {index: chain for chain in self.chains for index in chain.indices}
        for plan in options.get("queries", ()):
            self._want(plan, FOR_EVER_MS)
        self.grid = [alerts for runner in self.runners for alerts in runner.alerting.values()]
        self.group_of = {
            alerts.book: number for number, runner in enumerate(self.runners) for alerts in runner.alerting.values()
        }
        """Of a book of grid mode, the number of its group."""
        self.books = [self.book, *(judge.book for judge in whole), *(alerts.book for alerts in self.grid)]
        drop, keeps = self.tally.drop, self.recent.keeps
        self.layouts = Layouts(
            self.store,
            pointwise,
            self.kins,
            self.inputs,
            options.get("batch_samples_max", 50_000),
            drop,
            self.chains,
            keeps,
        )
        self.lander = Lander(self.store, self.recent, self.layouts, self.tally, self.book)
        kept = self.store, self.recent, self.layouts, self.inputs, self.tally
        self.eviction = Eviction(*kept, judges=pointwise, chains=self.chains, runners=self.runners)
        self.projectors = tuple(options.get("projectors", ()))
        self.resolved = Resolved(alerts_per_rule_max, self.tally)
        self.ages_taken = np.zeros(0, dtype=np.int64)
        """Of series that came with alerts, by handle, after how long without a sample they are stale."""
        self.begun = False
        """Whether there was an event."""
        self.time_begun = False

    def _judge(self, index: int, rule: Rule, alerts_max: int) -> Judge | QueryJudge:
        plan = rule.plan
        if isinstance(plan, Plan):
            if not any(may_read(plan, source.record) for source, _ in self._sources):
                return Judge(index, rule, self.store, self.book, self.inputs, self.sweeps)
            plan = compile_query(plan.expr)  # judged whole, once what others record has landed
        expression = self._expression(index, plan, split_condition(plan.root)[0])
        return QueryJudge(index, rule, expression, self.timers, self.tally, alerts_max=alerts_max)

    def _recorders(self, rules: Sequence[RecordingRule]) -> list[Recorder]:
        """Recording rules at work. Their numbers come after those of rules that alert: no transition has them."""
        first = len(self.judges) + sum(len(runner.group.rules) for runner in self.runners)
        owners: Owners = {}
        return [
            Recorder(index, rule, self._expression(index, rule.plan, unknown=rule.labels), owners, self.tally)
            for index, rule in enumerate(rules, first)
        ]

    def _expression(
        self, index: int, plan: QueryPlan, measure: Node | None = None, unknown: Collection[str] = ()
    ) -> Expression:
        self._want(plan, 0)
        if measure is not None:
            plan = msgspec.structs.replace(plan, root=measure)
        parts = self.store, self.recent, self.timers
        evidence = evidence_of(plan, self._sources, unknown)
        return Expression(index, plan, evidence, *parts, resolution_ms=self._resolution_ms)

    def _want(self, plan: QueryPlan, offset_ms: int, slack_ms: int = 0) -> None:
        """Keep what a query looks back at. The last sample of a series is kept for the lookback without asking."""
        for leaf, reach in zip(plan.leaves, plan.reaches_ms, strict=True):
            back_ms = FOR_EVER_MS if reach is None else reach + offset_ms
            self.recent.want(leaf, back_ms + slack_ms)

    def _add_group(
        self, group: GridGroup, alerts_max: int, external_labels: Mapping[str, str], external_url: str
    ) -> None:
        first = len(self.judges) + sum(len(runner.group.rules) for runner in self.runners)
        for rule in group.rules:
            templates = (*rule.labels.values(), *rule.annotations.values())
            # What else a template asks for is not known before; it finds at least what a lookback spans.
            slack_ms = self.recent.lookback_ms if any(template.queries for template in templates) else 0
            self._want(rule.plan, group.query_offset_ms, slack_ms)
            for expr in {expr for template in templates for expr in template.asks}:
                self._announce(expr)
        runner = GroupRunner(
            group,
            first,
            self.recent,
            self.tally,
            keeps=self.recent.keeps,
            alerts_max=alerts_max,
            external_labels=external_labels,
            external_url=external_url,
            unseen=self._unseen,
            known=self._known,
            unfilled=self._unfilled,
            query=self._query,
            subquery_step_ms=self._subquery_step_ms,
        )
        self.runners.append(runner)

    def _announce(self, expr: str) -> None:
        """A template will ask this at instants of its rule. What is wrong with it is said in the rendered text."""
        with contextlib.suppress(PromQLError):
            plan = self._asked[expr] = compile_query(expr, compat=self._compat)
            self._want(plan, 0, self.recent.lookback_ms)

    def _unseen(self, plan: QueryPlan, at_ms: int) -> bool:
        """Whether some input was not seen since a restart, though a sample is still to be expected at an instant."""
        if self.store.restarted_ms < 0:
            return False
        return any(self._unseen_input(leaf, at_ms) for leaf in plan.leaves)

    def _unseen_input(self, leaf: Selector, at_ms: int) -> bool:
        cells = self.recent.cells(leaf, at_ms)  # what has come since may be newer than the instant
        live = cells.values.view(np.int64) != STALE_BITS
        lookback_ms = self.recent.lookback_ms
        return bool(self.store.unseen_then(cells.handles, cells.times, live, at_ms, lookback_ms).any())

    def _known(self, plan: QueryPlan, at_ms: int) -> Vector | None:
        """What an expression would be worth at an instant of a group if blind spans had not been; None where that is
        no other question."""
        lookback_ms = self.recent.lookback_ms
        if self.store.blind_ms <= at_ms - reach_ms(plan) - lookback_ms:
            return None
        view = KnownView(self.recent, self.store, at_ms, lookback_ms)
        value = view.value(plan, default_step_ms=self._subquery_step_ms, constants={})
        return value if isinstance(value, Vector) else None

    def _unfilled(self, plan: QueryPlan, at_ms: int) -> bool:
        """Whether nobody knows what an expression would be worth at an instant of a group: windows hold nothing of
        before a restart."""
        since_ms = self.recent.known_from(plan)
        if since_ms < 0 or not any(map(changes_with_time, walk(plan.root))):
            return False
        return back(self.store.blind, at_ms - before_ms(plan, self.recent.lookback_ms)) < since_ms

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
        return evaluate_instant(plan, self.recent, at_ms, default_step_ms=self._subquery_step_ms)
