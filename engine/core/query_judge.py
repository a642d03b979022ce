"""A rule of any expression, in continuous mode: judged whole at every input that can change it.

Its life is a line of events: samples of the metrics it reads, inputs that go stale, multiples of the resolution
where the expression changes with time alone, and the clocks of its alerts. `before` lets happen what lies before
a landing; `after` judges the landing itself; `due`, `sweep` and `tick` are woken by timers when time advances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from engine.core.alerts import Alert, Input
from engine.core.book import AlertBook, Output
from engine.core.promql.labels import NAME, Shape
from engine.core.promql.plan import (
    Aggregation,
    Arithmetic,
    Call,
    Comparison,
    Negation,
    Node,
    QueryPlan,
    RangeSelector,
    Selector,
    SetOperation,
    Subquery,
)
from engine.core.promql.query import Constants, evaluate_instant
from engine.core.promql.vector import EvaluationError, Vector
from engine.core.promql.window import Window
from engine.core.recent import Recent
from engine.core.rules import Rule
from engine.core.store import NEVER_MS, Mark, Store
from engine.core.tally import Tally
from engine.core.timers import Deadline, Timers
from engine.status import AlertStatus

__all__ = ["SWEEP", "TICK", "QueryJudge"]

SWEEP, TICK = -1, -2
Labels = tuple[tuple[str, str], ...]
# Functions whose value changes while nothing comes in, or whose meaning is that nothing does.
_OF_TIME = frozenset({"time", "timestamp", "absent", "absent_over_time"})
_DATES = frozenset({"day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"})


class FreshView:
    """The recent samples as continuous mode sees them: a series is there until it is stale, not for a lookback."""

    def __init__(self, recent: Recent, store: Store) -> None:
        self._recent = recent
        self._store = store
        self.interner = recent.interner

    def instant(self, selector: Selector, at_ms: int) -> tuple[Vector, Vector]:
        """The newest sample of each selected series at `at_ms`."""
        cells = self._recent.cells(selector, at_ms)
        return cells.vectors(cells.times + self._store.stale_after(cells.handles) >= at_ms)

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, Window]:
        """The samples of each selected series in a window."""
        return self._recent.window(selector, start_ms, end_ms)


class QueryJudge:
    """The state of one rule of any expression.

    Args:
        index: The rule's place in the order of rules.
        resolution_ms: How often the expression is judged where it changes with time alone.
        alerts_max: How many alerts it may have.
    """

    def __init__(
        self,
        index: int,
        rule: Rule,
        plan: QueryPlan,
        store: Store,
        recent: Recent,
        timers: Timers,
        tally: Tally,
        *,
        resolution_ms: int,
        alerts_max: int,
    ) -> None:
        self.index = index
        self.rule = rule
        self.book = AlertBook(index, rule, timers, alerts_max)
        self._plan = plan
        self._store = store
        self._recent = recent
        self._view = FreshView(recent, store)
        self._timers = timers
        self._tally = tally
        self._resolution_ms = resolution_ms
        self._constants: Constants = {}
        self._evidence = tuple(_evidence(plan.root))
        self._ticks = any(_changes_with_time(node) for node in _walk(plan.root))
        self._reach_ms = max((reach or 0 for reach in plan.reaches_ms), default=0)
        self._slots: dict[Labels, int] = {}
        self._series_labels: dict[int, dict[str, str]] = {}
        self._values: dict[int, float] = {}
        self._next_slot = 0
        self._judged_ms = -1
        self._landed_ms = -1
        self._sweep_ms = NEVER_MS
        self._swept_ms = -1
        self._tick_ms = NEVER_MS

    @property
    def alerts(self) -> dict[int, Alert]:
        """Its alerts by slot, to be read."""
        return self.book.alerts

    def reads(self, metric: str) -> bool:
        """Whether a sample of the metric can change it."""
        return any(not leaf.metric or leaf.metric == metric for leaf in self._plan.leaves)

    # -- a landing ---------------------------------------------------------------------------------------------

    def before(self, at_ms: int) -> Iterator[list[Output]]:
        """Let happen, in order of time, what comes strictly before a landing at `at_ms`."""
        while True:
            due = {slot: at[0] for slot in self.alerts if (at := self.book.next_input(slot))}
            clock_ms = min(due.values(), default=NEVER_MS)
            next_ms = min(clock_ms, self._sweep_ms, self._tick_ms)
            if next_ms >= at_ms:
                return
            if clock_ms == next_ms:
                slots = [slot for slot, due_ms in due.items() if due_ms == next_ms]
                yield [made for slot in slots for made in self._pass_time(slot, next_ms)]
            elif self._sweep_ms == next_ms:
                yield from self.sweep(next_ms)
            else:
                yield from self.tick(next_ms)

    def after(self, at_ms: int, stale_from_ms: int) -> list[Output]:
        """Judge a landing that the store has taken."""
        self._landed_ms = max(self._landed_ms, at_ms)
        self._expect(stale_from_ms)
        return self._judge(at_ms)

    # -- time --------------------------------------------------------------------------------------------------

    def due(self, deadlines: list[Deadline], time_ms: int) -> Iterator[list[Output]]:
        """Step the alerts whose clock has come."""
        for slot in self.book.still_due(deadlines):
            yield self._pass_time(slot, time_ms)

    def sweep(self, time_ms: int) -> Iterator[list[Output]]:
        """Judge anew when an input goes stale."""
        if time_ms != self._sweep_ms:
            return
        self._sweep_ms = NEVER_MS
        first = self._next_stale(self._swept_ms)
        self._swept_ms = time_ms
        if first <= time_ms:
            yield self._judge(time_ms)
        self._expect(self._next_stale(time_ms))

    def tick(self, time_ms: int) -> Iterator[list[Output]]:
        """Judge anew at a multiple of the resolution, as long as anything can still change."""
        if time_ms != self._tick_ms:
            return
        self._tick_ms = NEVER_MS
        yield self._judge(time_ms)
        if time_ms <= self._landed_ms + self._reach_ms + self._recent.lookback_ms or self.alerts:
            self._plan_tick(time_ms)

    def arm_all(self) -> None:
        """Set every timer anew."""
        for slot in self.alerts:
            self.book.arm(slot)
        sweep_ms, tick_ms = self._sweep_ms, self._tick_ms
        self._sweep_ms = self._tick_ms = NEVER_MS
        self._expect(sweep_ms)
        if tick_ms != NEVER_MS:
            self._tick_ms = tick_ms
            self._timers.add(tick_ms, Deadline(self.index, TICK, 0))

    def _plan_tick(self, after_ms: int) -> None:
        if self._ticks and self._tick_ms == NEVER_MS:
            self._tick_ms = (after_ms // self._resolution_ms + 1) * self._resolution_ms
            self._timers.add(self._tick_ms, Deadline(self.index, TICK, 0))

    def _expect(self, instant_ms: int) -> None:
        if instant_ms < self._sweep_ms:
            self._sweep_ms = instant_ms
            self._timers.add(instant_ms, Deadline(self.index, SWEEP, 0))

    def _next_stale(self, after_ms: int) -> int:
        """The first instant after `after_ms` at which an input goes stale."""
        first = NEVER_MS
        for leaf in self._plan.leaves:
            instants = self._store.stale_from(self._recent.handles(leaf))
            first = min(first, int(np.min(instants, where=instants > after_ms, initial=NEVER_MS)))
        return first

    def statuses(self, slots: Sequence[int], now_ms: int) -> list[AlertStatus]:
        """The alerts of these slots, as people see them at `now_ms`."""
        return [self.book.status(slot, self._values[slot], now_ms) for slot in slots]

    # -- steps -------------------------------------------------------------------------------------------------

    def _judge(self, time_ms: int) -> list[Output]:
        """Evaluate the expression and tell every alert what that means for it."""
        time_ms = self._judged_ms = max(time_ms, self._judged_ms)
        self._plan_tick(time_ms)
        try:
            active = self._active(time_ms)
        except EvaluationError as error:  # the rule's own fault: nothing changes
            self._tally.breach(f"rule.{self.rule.name}", "evaluation_failed", 1, str(error))
            return []
        made: list[Output] = []
        told: set[int] = set()
        for labels, value in active.items():
            slot = self._slots.get(labels)
            if slot is None:
                slot = self._next_slot
                if self.book.open(slot, dict(labels), time_ms) is None:
                    continue
                self._slots[labels] = slot
                self._series_labels[slot] = dict(labels)
                self._next_slot += 1
            told.add(slot)
            self._values[slot] = value
            made += self.book.tell(slot, Input.TRUE, time_ms, value)
        for slot in [slot for slot in self.alerts if slot not in told]:
            made += self.book.tell(slot, self._classify(slot, time_ms), time_ms, self._values[slot])
        self._tidy()
        return made

    def _active(self, time_ms: int) -> dict[Labels, float]:
        """The label sets of the result, without the metric name."""
        value = evaluate_instant(self._plan, self._view, time_ms, constants=self._constants)
        if not isinstance(value, Vector):
            raise EvaluationError("a rule's expression gives a vector")
        active: dict[Labels, float] = {}
        for sample_labels, number in value.items():
            labels = tuple((name, text) for name, text in sample_labels.items() if name != NAME)
            if labels in active:
                raise EvaluationError("two results have the same labels")
            active[labels] = number
        return active

    def _classify(self, slot: int, time_ms: int) -> Input:
        """Why a label set is absent. Its inputs are the series whose labels agree with it; they speak for it as long as
        one of them is fresh."""
        unknown = ended = False
        for leaf in self._evidence:
            cells = self._recent.cells(leaf, time_ms)
            mine = self._agreeing(cells.shape, self._series_labels[slot])
            if not len(mine):
                continue
            fresh = cells.vectors(cells.times + self._store.stale_after(cells.handles) >= time_ms)[0].present
            if not fresh[mine].any():
                marks = {self._store.mark(handle) for handle in cells.handles[mine].tolist()}
                ended |= marks == {Mark.ENDED}
                unknown |= marks != {Mark.ENDED}
        if ended:
            return Input.ENDED
        if unknown:
            return Input.MISSING if self.rule.on_missing == "reset" else Input.UNKNOWN
        return Input.FALSE

    @staticmethod
    def _agreeing(shape: Shape, labels: dict[str, str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Rows whose labels are those of a label set, as far as both have them; all rows if no label is shared."""
        agrees = np.ones(len(shape), dtype=np.bool_)
        for name, text in labels.items():
            if name in shape.columns:
                column = shape.column(name)
                agrees &= (column == shape.interner.code(text)) | (column == 0)
        return np.flatnonzero(agrees)

    def _pass_time(self, slot: int, time_ms: int) -> list[Output]:
        made = self.book.pass_time(slot, time_ms, self._values[slot])
        self._tidy()
        return made

    def _tidy(self) -> None:
        """Forget label sets without an alert."""
        if len(self._slots) == len(self.alerts):
            return
        for labels, slot in list(self._slots.items()):
            if slot not in self.alerts:
                del self._slots[labels], self._series_labels[slot], self._values[slot]


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Negation() | Subquery():
            return (node.operand,)
        case Aggregation():
            return (node.operand,) if node.parameter is None else (node.parameter, node.operand)
        case Arithmetic() | Comparison() | SetOperation():
            return node.left, node.right
        case Call():
            return node.arguments
        case RangeSelector():
            return (node.selector,)
        case _:
            return ()


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _changes_with_time(node: Node) -> bool:
    match node:
        case RangeSelector() | Subquery():
            return True
        case Selector():
            return bool(node.offset_ms) or node.at is not None
        case Call():
            return node.function in _OF_TIME or (node.function in _DATES and not node.arguments)
        case _:
            return False


def _evidence(node: Node) -> Iterator[Selector]:
    """The selectors whose silence is no answer: not those of which absence is the meaning."""
    match node:
        case Selector():
            yield node
        case SetOperation(op="unless"):
            yield from _evidence(node.left)
        case Call(function="absent" | "absent_over_time"):
            return
        case _:
            for child in _children(node):
                yield from _evidence(child)
