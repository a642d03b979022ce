"""What the condition of each label set of a pointwise rule is: its expression, and what becomes of absence.

Conditions have three values. Inside an expression there is only presence; absence is classified here: ended if an
input that feeds the label set has ended, unknown if one is stale, else false. When a condition is looked at, and who is
told, is not for this module to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.alerts import Code
from engine.core.binding import Binding
from engine.core.columns import Column, Index
from engine.core.conditions import Verdict
from engine.core.promql.evaluate import Columns, evaluate, measured
from engine.core.promql.plan import Comparison, Node, Plan, SetOperation, walk
from engine.core.rules import Rule
from engine.core.store import Store

__all__ = ["SlotConditions", "State"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int16]
Leaf = Callable[[int], tuple[Floats, Bools]]
State: TypeAlias = tuple[Floats, Bools, Bools]
"""Of a selector: (values, fresh, ended)."""


class SlotConditions:
    """The conditions of a rule's label sets.

    Args:
        plan: Of the rule's expression.
        binding: Which series feed which slot.
        store: Where samples are read.
    """

    def __init__(self, rule: Rule, plan: Plan, binding: Binding, store: Store) -> None:
        self._measure = rule.measure
        self._plan = plan
        self._binding = binding
        self._store = store
        self._verdict = Verdict(rule.levels)
        # Whether what it measures may be absent though its inputs are there.
        self._selective = any(map(_selects, walk(rule.measure)))
        self._missing = Code.MISSING if rule.on_missing == "reset" else Code.UNKNOWN
        # Under `fire` it matters that an input is gone even where there is no alert, if it was ever there.
        self._fires = rule.on_missing == "fire"
        self.complete: Column[np.bool_] = Column(np.bool_, False)
        """By slot, under `fire`, whether everything was there once."""
        self.fed: Column[np.int64] = Column(np.int64, 0)
        """By slot, with `or`, which selectors fed it last, as bits."""

    def labels_of(self, slot: int) -> Mapping[str, str]:
        """The labels of a slot's series, without the metric name."""
        return self._binding.labels(slot, self._store.table)

    def resize(self, size: int) -> None:
        """Have room for so many slots."""
        self.complete.resize(size)
        self.fed.resize(size)

    def compacted(self, left: Bools) -> Callable[[], None]:
        """Prepare to forget slots, but for those that are `left`; what is returned does it."""
        complete, fed = self.complete.taken(left), self.fed.taken(left)

        def commit() -> None:
            self.complete, self.fed = complete, fed

        return commit

    def states(self, slots: Index, times: Ints) -> list[State]:
        """Of each selector for some slots: (values, fresh, ended) at `times`, by the store."""
        return [self._store.state(self._binding.handles(leaf, slots), times) for leaf in range(len(self._plan.leaves))]

    def at(self, slots: Ints, times: Ints) -> Codes:
        """What the condition of slots is at instants by the newest samples, for who reads: the book is told nothing."""
        states = self.states(slots, times)
        return self.codes(evaluate(self._measure, lambda leaf: states[leaf][:2]), slots, states)

    def codes(self, columns: Columns, slots: Index, states: list[State] | None) -> Codes:
        """The code of each slot's condition.

        Args:
            states: Of each selector (values, fresh, ended); None if all are fresh.
        """
        if states is None and not self._selective:
            if self._fires:
                self.complete.array[slots] = True
            return self._verdict.codes(columns.values, None)
        codes = self._verdict.codes(columns.values, columns.present)
        fed = np.asarray(columns.fed, dtype=np.int64)
        if fed.ndim:
            fed = self.fed.array[slots] = np.where(columns.present, fed, self.fed.array[slots])
        if states is None or all(fresh.all() for _, fresh, _ in states):  # then what is not true is false
            if self._fires:
                self.complete.array[slots] |= columns.present
            return codes
        out = ~columns.present
        if not out.any():
            if self._fires:
                self.complete.array[slots] = True
            return codes
        unknown = np.zeros(len(codes), dtype=np.bool_)
        ended = np.zeros(len(codes), dtype=np.bool_)
        for leaf, (_, fresh, over) in enumerate(states):
            feeds = (fed >> leaf & 1) != 0
            unknown |= feeds & ~fresh
            ended |= feeds & over
        if self._fires:
            complete = self.complete.array
            complete[slots] = (complete[slots] | columns.present) & (columns.present | ~ended)
            unknown &= complete[slots]
        codes[out & unknown] = self._missing
        codes[out & ended] = Code.ENDED
        return codes

    def values_at(self, slots: Ints, times: Ints) -> Floats:
        """What the expression measures where its comparison is left out; NaN where nothing is known."""
        states = self.states(slots, times)
        return self.shown(lambda leaf: states[leaf][:2])

    def shown(self, leaf: Leaf) -> Floats:
        """The expression's value where it holds, else what it measures; NaN where nothing is known."""
        columns = evaluate(self._measure, leaf)
        if columns.present.all():
            return columns.values
        seen = measured(self._plan.root, leaf)
        return np.where(columns.present, columns.values, np.where(seen.present, seen.values, np.nan))


def _selects(node: Node) -> bool:
    return isinstance(node, SetOperation) or (isinstance(node, Comparison) and not node.as_bool)
