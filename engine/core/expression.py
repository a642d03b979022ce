"""An expression of the whole language at work in continuous mode.

It says what it is worth at an instant, when it must be evaluated again though no sample comes, and why a label set is
absent from its result. Samples of what it reads are reported by its chain (`engine.core.chains`). It knows nothing of
alerts, and nothing of series that are made of its results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core import spans
from engine.core.absence import Absence, Evidence, rests_on, speaking
from engine.core.known import KnownView, reach_ms
from engine.core.promql.labels import Shape
from engine.core.promql.plan import (
    Call,
    Node,
    QueryPlan,
    RangeSelector,
    Selector,
    Subquery,
    walk,
)
from engine.core.promql.query import Constants, evaluate_instant
from engine.core.promql.steps import Basis
from engine.core.promql.vector import Bools, Value, Vector
from engine.core.promql.window import Window
from engine.core.recent import Recent
from engine.core.store import NEVER_MS, STALE_AFTER_MS, Store
from engine.core.timers import Deadline, Timers
from engine.core.witnesses import witnesses

__all__ = ["Expression", "FreshView", "SavedTimers", "changes_with_time"]

SWEEP, TICK = -1, -2
AGE_MAX_MS = 31 * 86_400_000
"""For no longer after a blind span it is asked how old the samples before it are."""
_DATES = frozenset({"day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"})
# Functions that give a result where there is no sample at all.
_OF_NOTHING = frozenset({"absent", "absent_over_time", "pi", "time", "vector"})
# Functions whose value changes while nothing comes in, or whose meaning is that nothing does.
_OF_TIME = frozenset({"time", "timestamp", "absent", "absent_over_time"})

# Functions that compare samples: in known time those before a span and those after it stand side by side.
_COMPARING = frozenset(
    {
        *("changes", "delta", "deriv", "double_exponential_smoothing", "holt_winters", "idelta", "increase", "irate"),
        *("predict_linear", "rate", "resets"),
    }
)


class FreshView:
    """The recent samples as continuous mode sees them: a series is there until it is stale, not for a lookback."""

    def __init__(self, recent: Recent, store: Store) -> None:
        self._recent = recent
        self._store = store
        self.interner = recent.interner
        self.steps = recent.steps

    def instant(self, selector: Selector, at_ms: int) -> tuple[Vector, Vector]:
        """The newest sample of each selected series at `at_ms`."""
        cells = self._recent.cells(selector, at_ms)
        return cells.vectors(cells.times + self._store.stale_after(cells.handles) >= at_ms)

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, Window]:
        """The samples of each selected series in a window."""
        return self._recent.window(selector, start_ms, end_ms)

    def basis(self, selector: Selector) -> Basis:
        """The series it selects, and when each is stale: that follows from what its last sample said."""
        shape, _ = self._recent.basis(selector)
        return Basis(shape, self._store.stale_after(self._recent.handles(selector)))


class SavedTimers(NamedTuple):
    """What a snapshot keeps of an expression: when it is to be looked at."""

    refresh_ms: int
    sweep_ms: int
    swept_ms: int
    tick_ms: int


class Expression:
    """One expression, with its timers.

    Args:
        rule: Whose it is, for the timers.
        evidence: What stands behind its results.
        resolution_ms: How often it is evaluated where it changes with time alone.
    """

    def __init__(
        self,
        rule: int,
        plan: QueryPlan,
        evidence: Sequence[Evidence],
        store: Store,
        recent: Recent,
        timers: Timers,
        *,
        resolution_ms: int,
    ) -> None:
        self.plan = plan
        self.interner = recent.interner
        self._rule = rule
        self._store = store
        self._recent = recent
        self._timers = timers
        self._resolution_ms = resolution_ms
        self._view = FreshView(recent, store)
        self._constants: Constants = {}
        self._last: tuple[int, Value] | None = None
        self.evidence = evidence
        nodes = list(walk(plan.root))
        self._ticks = any(map(changes_with_time, nodes))
        self._reach_ms = reach_ms(plan)
        self._compares = any(isinstance(node, Call) and node.function in _COMPARING for node in nodes)
        self._filled = not self._ticks
        ranged = {node.selector for node in nodes if isinstance(node, RangeSelector)}
        self._aging = [leaf for leaf in plan.leaves if leaf not in ranged]
        self._needs_no_sample = not plan.leaves or any(map(_is_of_nothing, nodes))
        self._refresh_ms = NEVER_MS
        self._sweep_ms = NEVER_MS
        self._swept_ms = -1
        self._tick_ms = NEVER_MS

    @property
    def next_ms(self) -> int:
        """When it must be evaluated though no sample comes, or looked at; NEVER_MS if not."""
        return min(self._sweep_ms, self._tick_ms)

    def value(self, at_ms: int) -> Value:
        """What it is worth at an instant, not before one at which it was asked.

        Raises:
            EvaluationError: It has no value.
        """
        self._plan_tick(at_ms)
        self._last = None
        value = evaluate_instant(self.plan, self._view, at_ms, constants=self._constants)
        self._last = at_ms, value
        return value

    def seen(self, at_ms: int) -> Value:
        """`value` for who reads: it plans nothing.

        Raises:
            EvaluationError: It has no value.
        """
        if self._last is not None and self._last[0] == at_ms:
            return self._last[1]
        return evaluate_instant(self.plan, self._view, at_ms, constants=self._constants)

    def known(self, at_ms: int) -> Vector | None:
        """What it would be worth at an instant if blind spans had not been; None where that is no other question."""
        store = self._store
        if not self._ticks or store.blind_ms <= at_ms - self._reach_ms - AGE_MAX_MS:
            return None
        ages = [int(store.stale_after(self._recent.handles(leaf)).max(initial=0)) for leaf in self.plan.leaves]
        if store.blind_ms <= at_ms - self._reach_ms - max(ages, default=0):
            return None
        value = KnownView(self._recent, store, at_ms).value(self.plan, constants=self._constants)
        return value if isinstance(value, Vector) else None

    def unfilled(self, at_ms: int) -> bool:
        """Whether windows that it looks at do not yet hold what they would, had the engine not begun anew without a
        history."""
        if not self._filled:
            since_ms = self._recent.known_from(self.plan)
            first_ms = at_ms - self._reach_ms - self._age_ms(since_ms)
            self._filled = spans.back(self._store.blind, first_ms) >= since_ms
        return not self._filled

    def _age_ms(self, since_ms: int) -> int:
        """How old the last sample of an input may be, blind time apart."""
        store, oldest_ms = self._store, 0
        if since_ms < 0:
            return 0
        for leaf in self._aging:
            handles = self._recent.handles(leaf)
            # What came with an alert is as if it had had samples until its windows begin.
            ages = store.seen_age(handles) - np.maximum(since_ms - store.last_ms(handles), 0)
            oldest_ms = max(oldest_ms, int(ages.max(initial=0)) if len(handles) else STALE_AFTER_MS)
        return min(oldest_ms, AGE_MAX_MS)

    def forget_shapes(self) -> None:
        """Label sets have got other codes: what was made of the old ones means nothing any more."""
        self._constants.clear()
        self._last = None

    def witnesses(self, label_sets: Sequence[Mapping[str, str]], gone: Bools) -> NDArray[np.int64]:
        """Of the series that are to go, those without which it could not be said why label sets are absent."""
        return witnesses(self.evidence, label_sets, self._recent, self._store, gone)

    def rests_on(self, label_sets: Sequence[Mapping[str, str]], handles: NDArray[np.int64], at_ms: int) -> Bools:
        """Which label sets have, behind some selector, no other inputs than these series."""
        return rests_on(self.evidence, label_sets, handles, self._recent, at_ms)

    def is_known(self, labels: Mapping[str, str], at_ms: int) -> bool:
        """Whether what a label set is in known time compares nothing of before a blind span with what came after it."""
        if not self._compares:
            return True
        found = speaking(self.evidence, labels, self._recent, at_ms)
        return not any(bool((self._store.last_ms(handles) >= self._store.blind_ms).any()) for handles in found)

    def was_fed_at(self, labels: Mapping[str, str], at_ms: int) -> bool:
        """Whether a series that speaks for a label set had its last sample at an instant; what was recorded had none
        of its own."""
        measured = [one for one in self.evidence if not one.recorded]
        found = speaking(measured, labels, self._recent, at_ms)
        return any(bool((self._store.last_ms(handles) == at_ms).any()) for handles in found)

    def absence(self, at_ms: int) -> Absence:
        """Why label sets are absent from its value at an instant."""
        return Absence(self.evidence, self._recent, self._store, at_ms)

    def stale_after_ms(self, at_ms: int) -> int:
        """After how long its slowest input that is fresh at an instant is stale without a sample."""
        longest = 0
        for leaf in self.plan.leaves:
            handles = self._recent.handles(leaf)
            instants = self._store.stale_from(handles)
            fresh = (instants > at_ms) & (instants < NEVER_MS)
            longest = max(longest, int(np.max(self._store.stale_after(handles), where=fresh, initial=0)))
        return longest or STALE_AFTER_MS

    @property
    def warming(self) -> bool:
        """Whether there was a restart, and not all series were seen since."""
        return self._store.restarted_ms >= 0

    def saved(self) -> SavedTimers:
        """What a snapshot keeps of it."""
        return SavedTimers(self._refresh_ms, self._sweep_ms, self._swept_ms, self._tick_ms)

    def load(self, saved: SavedTimers) -> None:
        """Take back what `saved` gave."""
        self._refresh_ms, self._sweep_ms, self._swept_ms, self._tick_ms = saved
        self.arm()

    # -- time --------------------------------------------------------------------------------------------------

    def begin(self, time_ms: int) -> None:
        """Time begins. What has a value without any sample has one now."""
        if self._needs_no_sample:
            self.refresh(time_ms)

    def expect(self, instant_ms: int) -> None:
        """An input goes stale at `instant_ms`, if no sample comes."""
        if instant_ms < self._sweep_ms:
            self._sweep_ms = instant_ms
            self._timers.add(instant_ms, Deadline(self._rule, SWEEP))

    def begin_again(self, until_ms: int) -> None:
        """Time was watched until an instant, and goes on."""
        self._swept_ms = max(self._swept_ms, until_ms)
        self._plan_tick(until_ms)
        self.expect(self._next_stale(until_ms))

    def refresh(self, instant_ms: int) -> None:
        """It must be evaluated at `instant_ms`, whatever its inputs do. A later call takes the place of this one."""
        self._refresh_ms = instant_ms
        self.expect(instant_ms)

    def is_due(self, time_ms: int) -> bool:
        """Whether time is still to evaluate it at an instant: `passes` would say so."""
        return time_ms == self._tick_ms or (time_ms == self._sweep_ms and self._next_stale(self._swept_ms) <= time_ms)

    def passes(self, time_ms: int) -> bool:
        """Time reaches one of its timers; return whether it must be evaluated."""
        must = self.is_due(time_ms)
        if time_ms == self._tick_ms:
            self._tick_ms = NEVER_MS
        if time_ms == self._sweep_ms:
            self._sweep_ms = NEVER_MS
            self._swept_ms = time_ms
            self.expect(self._next_stale(time_ms))
        return must

    def blind(self, from_ms: int, to_ms: int) -> None:
        """Time does not evaluate it in a span in which nobody could see."""
        if from_ms <= self._tick_ms < to_ms:
            self._tick_ms = -(-to_ms // self._resolution_ms) * self._resolution_ms
            self._timers.add(self._tick_ms, Deadline(self._rule, TICK))

    def arm(self) -> None:
        """Set its timers anew."""
        sweep_ms, tick_ms = self._sweep_ms, self._tick_ms
        self._sweep_ms = NEVER_MS
        self.expect(sweep_ms)
        if tick_ms != NEVER_MS:
            self._timers.add(tick_ms, Deadline(self._rule, TICK))

    def _plan_tick(self, after_ms: int) -> None:
        if self._ticks and self._tick_ms == NEVER_MS:
            self._tick_ms = (after_ms // self._resolution_ms + 1) * self._resolution_ms
            self._timers.add(self._tick_ms, Deadline(self._rule, TICK))

    def _next_stale(self, after_ms: int) -> int:
        """The first instant after `after_ms` at which an input goes stale, or that was asked for."""
        first = self._refresh_ms if self._refresh_ms > after_ms else NEVER_MS
        for leaf in self.plan.leaves:
            instants = self._store.stale_from(self._recent.handles(leaf))
            first = min(first, int(np.min(instants, where=instants > after_ms, initial=NEVER_MS)))
        return first


def changes_with_time(node: Node) -> bool:
    """Whether a part of an expression is worth something else as time passes and nothing comes in."""
    match node:
        case RangeSelector() | Subquery():
            return True
        case Selector():
            return bool(node.offset_ms) or node.at is not None
        case Call():
            return node.function in _OF_TIME or (node.function in _DATES and not node.arguments)
        case _:
            return False


def _is_of_nothing(node: Node) -> bool:
    return isinstance(node, Call) and (node.function in _OF_NOTHING or (node.function in _DATES and not node.arguments))
