"""Alerting rules at work, as a reader finds them: their alerts' clocks, and what they measure, label set by label set.

Pointwise rules, rules of the whole language and rules of groups keep these in ways of their own; here they look alike.
Reading changes nothing: who reads between any two steps of a core has not been there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.absence import Evidence, evidence_of, speaking
from engine.core.alert_rows import OFF, Ints
from engine.core.alerts import Code
from engine.core.book import AlertBook
from engine.core.conditions import Condition, Verdict, split_condition
from engine.core.grid_alerts import GridAlerts
from engine.core.groups import GridGroup
from engine.core.judge import Judge
from engine.core.promql.labels import NAME
from engine.core.promql.plan import Plan, QueryPlan, Selector
from engine.core.promql.query import evaluate_instant
from engine.core.promql.vector import EvaluationError, Value, Vector
from engine.core.query_judge import QueryJudge
from engine.core.store import NEVER_MS, Mark

if TYPE_CHECKING:
    from engine.core.parts import Parts

__all__ = ["Clocks", "Input", "Key", "Seat", "Standing", "seats_of"]

Key: TypeAlias = tuple[tuple[str, str], ...]
"""The labels of an alert, in their order."""
Codes: TypeAlias = NDArray[np.int16]
Floats: TypeAlias = NDArray[np.float64]
_NO_ROWS: Final = np.zeros(0, dtype=np.int64)


class Clocks(NamedTuple):
    """Alerts as columns, as in `engine.core.alert_rows`, by row of the book.

    Args:
        run, on: By level: since when its `when` holds in known time, `OFF` if it does not; and whether it does, which
            is not the same under `of`.
        held: By level, for how much of its window it held, under `of`.
    """

    rows: Ints
    phase: Ints
    level: Ints
    set: Ints
    run: Ints
    on: NDArray[np.bool_]
    held: Ints
    lost: Ints
    paused: Ints
    unknown: Ints
    keep: Ints
    active: Ints
    fired: Ints
    due: Ints


class Standing(NamedTuple):
    """What a rule measures at an instant: aligned columns.

    Args:
        token: Equal as long as the label sets are the same in the same order.
        key: The labels of the alert of a row.
        values: What is measured; NaN where nothing is known.
        codes: What the condition is.
    """

    token: object
    key: Callable[[int], Key]
    values: Floats
    codes: Codes


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A series that a rule reads for a label set.

    Args:
        state: `fresh`; `stale`; or what its last sample said: `ended` or `target_down`.
        time_ms: Of its last sample.
        stale_ms: When it is, or was, stale without another one; 0 if it never will be.
    """

    series: str
    state: str
    value: float
    time_ms: int
    stale_ms: int


class Seat:
    """One alerting rule at work.

    Args:
        book: Where its alerts are, under `number`.
        work: Who judges it.
        group: Of a rule in grid mode, its number.
    """

    def __init__(
        self,
        parts: Parts,
        book: AlertBook,
        number: int,
        work: Judge | QueryJudge | GridAlerts,
        group: int | None = None,
    ) -> None:
        self.book = book
        self.number = number
        self.group: GridGroup | None = None if group is None else parts.runners[group].group
        self._group = group
        self._parts = parts
        self._work = work
        self.name = work.rule.name
        self.plan: Plan | QueryPlan = work.rule.plan
        self.levels = book.rules[number].levels
        self._verdict: Verdict | None = None
        if isinstance(work, GridAlerts):
            measure, condition = split_condition(self.plan.root)
            self._measure = msgspec.structs.replace(work.rule.plan, root=measure)
            self.conditions: tuple[Condition | None, ...] = (condition,)
        else:
            self._verdict = Verdict(work.rule.levels)
            self.conditions = tuple(level.when for level in work.rule.levels)
        self._evidence: Sequence[Evidence] = (
            work.expression.evidence if isinstance(work, QueryJudge) else evidence_of(self.plan, ())
        )

    @property
    def window(self) -> bool:
        """Whether `of` says for what part of its time a level must be true."""
        return self.book.rules[self.number].of < 1

    def instant_from(self, time_ms: int) -> int:
        """When it looks at its clocks: at once, or, in grid mode, at the first instant from then on."""
        return time_ms if self._group is None else self._parts.instants.first_from(self._group, time_ms)

    # -- alerts ------------------------------------------------------------------------------------------------

    def clocks(self, at_ms: int) -> Clocks:
        """Its alerts at an instant, not before the last step; some are inactive and wait for data alone."""
        book, own = self.book, self.book.rows
        rows = book.rows_of(self.number) if book.counts[self.number] else _NO_ROWS
        run = own.run[: len(self.levels), rows]
        on, held = run != OFF, np.zeros_like(run)
        if self.window:
            known = own.known(rows, at_ms)
            for column, row in enumerate(rows.tolist()):
                for number, (is_on, true_ms) in enumerate(book.shares.held(row, int(known[column]))):
                    on[number, column], held[number, column] = is_on, true_ms
        columns = own.phase, own.level, own.set
        phase, level, bits = (column[rows].astype(np.int64) for column in columns)
        rest = own.lost, own.paused, own.unknown, own.keep, own.active, own.fired, own.due
        return Clocks(rows, phase, level, bits, run, on, held, *(column[rows] for column in rest))

    def key_of(self, row: int) -> Key:
        """The labels of an alert."""
        return self.book.key_of(row)

    # -- what is measured --------------------------------------------------------------------------------------

    def standing(self, at_ms: int) -> Standing:
        """What it measures at an instant, not before the last step, for every label set that it knows."""
        work = self._work
        if isinstance(work, Judge):
            slots = np.arange(len(work.places), dtype=np.int64)
            times = np.full(len(slots), at_ms)
            values = work.conditions.values_at(slots, times) if len(slots) else np.zeros(0)
            return Standing(len(slots), self._key_of_slot, values, work.conditions.at(slots, times))
        try:
            if isinstance(work, QueryJudge):
                result: Value = work.expression.seen(at_ms)
            else:
                assert self.group is not None
                query_ms = at_ms - self.group.query_offset_ms
                result = evaluate_instant(self._measure, self._parts.recent, query_ms)
        except EvaluationError:
            result = ""
        if not isinstance(result, Vector):
            return Standing(None, lambda row: (), np.zeros(0), np.zeros(0, dtype=np.int16))
        values = np.where(result.present, result.values, np.nan)

        def key(row: int) -> Key:
            return self._key_of_labels(result.shape.labels(row), float(values[row]), at_ms)

        return Standing(result.shape, key, values, self._codes(result))

    def _codes(self, result: Vector) -> Codes:
        if self._verdict is not None:
            return self._verdict.codes(result.values, result.present)
        (condition,) = self.conditions
        holds = result.present if condition is None else result.present & condition.holds(result.values)
        return np.where(holds, np.int16(Code.TRUE), np.int16(Code.FALSE))

    def _key_of_slot(self, slot: int) -> Key:
        assert isinstance(self._work, Judge)
        return _key(self._work.rule.alert_labels(self._work.conditions.labels_of(slot)))

    def _key_of_labels(self, labels: dict[str, str], value: float, at_ms: int) -> Key:
        if isinstance(self._work, GridAlerts):
            return self._work.labels_for(labels, value, at_ms)
        assert isinstance(self._work, QueryJudge)
        return _key(self._work.rule.alert_labels({name: text for name, text in labels.items() if name != NAME}))

    # -- what it reads -----------------------------------------------------------------------------------------

    def selectors(self) -> Iterator[tuple[Selector, Ints]]:
        """What it selects, and the series that were seen of each."""
        for leaf in self.plan.leaves:
            if isinstance(self._work, Judge):
                every = self._work.binding.handles(leaf.leaf, np.arange(len(self._work.places)))
                yield leaf, every[every >= 0]
            else:
                yield leaf, self._parts.recent.handles(leaf)

    def inputs(self, key: Key, at_ms: int, limit: int) -> list[Input]:
        """The series that speak for a label set, those that are not fresh first; at most so many."""
        if isinstance(self._work, Judge):
            slot = self._slot_of(key)
            leaves = range(len(self.plan.leaves)) if slot >= 0 else ()
            found = [self._work.binding.handles(leaf, np.array([slot])) for leaf in leaves]
        else:
            own = {"alertname", *self._work.rule.labels}  # the rule's labels say nothing of the series
            labels = {name: text for name, text in key if name not in own}
            found = list(speaking(self._evidence, labels, self._parts.recent, at_ms))
            if not self._evidence:
                found = [handles for _, handles in self.selectors()]
        handles = np.unique(np.concatenate([_NO_ROWS, *found]))
        made = [self._input(handle, at_ms) for handle in handles[handles >= 0].tolist()]
        return sorted(made, key=lambda one: (one.state == "fresh", one.series))[:limit]

    def _slot_of(self, key: Key) -> int:
        assert isinstance(self._work, Judge)
        every = range(len(self._work.places))
        return next((slot for slot in every if self._key_of_slot(slot) == key), -1)

    def _input(self, handle: int, at_ms: int) -> Input:
        store, one = self._parts.store, np.array([handle])
        time_ms, mark = int(store.last_ms(one)[0]), store.mark(handle)
        stale_ms = int(store.stale_from(one)[0])
        if self.group is not None and mark is Mark.LIVE:
            stale_ms = time_ms + self._parts.recent.lookback_ms + 1 + self.group.query_offset_ms
        state = mark.name.lower() if mark is not Mark.LIVE else "fresh" if at_ms < stale_ms else "stale"
        value = float(store.values(one)[0])
        never = mark is not Mark.LIVE or stale_ms >= NEVER_MS // 8
        return Input(
            series=store.table.text(handle),
            state=state,
            value=value,
            time_ms=time_ms,
            stale_ms=0 if never else stale_ms,
        )


def seats_of(parts: Parts) -> list[Seat]:
    """Every alerting rule, in the order of rules."""
    made = [
        Seat(parts, judge.book, judge.index if judge.book is parts.book else 0, judge)  # one of the whole has its own
        for judge in parts.judges
    ]
    for number, runner in enumerate(parts.runners):
        made += [Seat(parts, alerts.book, 0, alerts, number) for alerts in runner.alerting.values()]
    return made


def _key(labels: dict[str, str]) -> Key:
    return tuple(sorted(labels.items()))
