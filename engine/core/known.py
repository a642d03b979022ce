"""Samples in known time: as if spans in which nobody could see had not been.

A window that reaches back so far in known time holds what was seen before a span, too. What an expression is worth over
such windows is no answer, and is told to nobody: it says whether the answer over the time that really passed is one
of the samples, or of nobody having looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core import spans
from engine.core.conditions import Condition
from engine.core.joined import JoinedWindow
from engine.core.promql.labels import Shape
from engine.core.promql.plan import (
    Aggregation,
    Call,
    Node,
    QueryPlan,
    RangeSelector,
    Selector,
    SetOperation,
    Subquery,
    children,
    walk,
)
from engine.core.promql.query import Constants, evaluate_instant
from engine.core.promql.steps import Basis, Steps
from engine.core.promql.vector import EvaluationError, Floats, Scalar, Vector
from engine.core.promql.window import Dense, Ends, Window
from engine.core.recent import Recent
from engine.core.spans import Edges
from engine.core.store import Store

__all__ = ["KnownView", "LabelSet", "before_ms", "label_set", "label_sets", "may_begin", "may_end", "reach_ms"]

Ints = NDArray[np.int64]
LabelSet = tuple[tuple[str, str], ...]
S = TypeVar("S", bound=np.generic)
_OF_SILENCE: Final = frozenset({"absent", "absent_over_time", "time", "vector"})
_ADDING: Final = frozenset({"changes", "count_over_time", "delta", "increase", "rate", "resets", "sum_over_time"})
SCOPES_MAX: Final = 8
"""Of so many different spans of series of one selector; of more, only those that are everybody's count."""


class KnownView:
    """A source over recent samples, in known time before an instant.

    Args:
        at_ms: Until then; nothing is asked for that is later.
        lookback_ms: How old a sample may be; 0 in continuous mode, where each series has an age of its own.
    """

    def __init__(self, recent: Recent, store: Store, at_ms: int, lookback_ms: int = 0) -> None:
        self.interner = recent.interner
        self.steps = Steps()
        self._recent = recent
        self._store = store
        self._at_ms = at_ms
        self._lookback_ms = lookback_ms

    def value(self, plan: QueryPlan, *, default_step_ms: int = 60_000, constants: Constants) -> Vector | Scalar | None:
        """What an expression is worth; None if it has no value."""
        try:
            value = evaluate_instant(plan, self, self._at_ms, default_step_ms=default_step_ms, constants=constants)
        except EvaluationError:
            return None
        return None if isinstance(value, str) else value

    def basis(self, selector: Selector) -> Basis:
        """What an answer depends on: nothing is kept here."""
        return self._recent.basis(selector)

    def instant(self, selector: Selector, at_ms: int) -> tuple[Vector, Vector]:
        """The newest sample of each selected series at `at_ms`."""
        handles = self._recent.handles(selector)
        edges, scope = self._spans(handles)
        found = [self._recent.cells(selector, spans.back(one, at_ms)) for one in edges]
        cells = found[0]._replace(
            values=_picked([one.values for one in found], scope), times=_picked([one.times for one in found], scope)
        )
        times = self._moved(handles, cells.times)
        if self._lookback_ms:
            oldest_ms = at_ms - self._lookback_ms
            young = (times > oldest_ms) if self._recent.left_open else (times >= oldest_ms)
        else:
            young = times + self._store.seen_age(handles) >= at_ms
        return cells._replace(times=times).vectors(young)

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, Window]:
        """The samples of each selected series in a window."""
        handles = self._recent.handles(selector)
        edges, scope = self._spans(handles)
        found = [self._recent.window(selector, spans.back(one, start_ms), spans.back(one, end_ms)) for one in edges]
        shape, window = found[0]
        rows = np.arange(len(handles))
        if len(found) > 1:
            window, rows = JoinedWindow(start_ms, end_ms, [one for _, one in found]), scope * len(rows) + rows
        return shape, _Moved(start_ms, end_ms, window, rows, lambda times: self._moved(handles, times))

    def _moved(self, handles: Ints, times: Ints) -> Ints:
        """Times of samples of these series in known time."""
        later = self._store.blind_after(handles, np.full(len(handles), self._at_ms))
        if times.ndim == 1:
            return times + self._store.blind_after(handles, times) - later
        columns = [self._moved(handles, times[:, at]) for at in range(times.shape[1])]
        return np.stack(columns, axis=1) if columns else times

    def _spans(self, handles: Ints) -> tuple[list[Edges], Ints]:
        """What was blind of these series: the different cases, and which is that of each series."""
        store = self._store
        if store.blind_ms <= store.blind_to_ms or not len(handles):
            return [self._until(store.blind)], np.zeros(len(handles), dtype=np.int64)
        own, scope = np.unique(np.stack(store.blind_spans(handles), axis=1), axis=0, return_inverse=True)
        if len(own) > SCOPES_MAX:
            return [self._until(store.blind)], np.zeros(len(handles), dtype=np.int64)
        found = []
        for from_ms, to_ms in own.tolist():
            edges = list(store.blind)
            if to_ms > from_ms:
                spans.add(edges, from_ms, to_ms)
            found.append(self._until(edges))
        return found, scope.ravel()

    def _until(self, edges: Edges) -> Edges:
        """The spans until the end."""
        if not edges or edges[-1] <= self._at_ms:
            return edges
        edges = list(edges)
        spans.remove(edges, self._at_ms, edges[-1])
        return edges


class _Moved:
    """Some rows of a window, of which the samples have other times."""

    def __init__(self, start_ms: int, end_ms: int, window: Window, rows: Ints, moved: Callable[[Ints], Ints]) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._window = window
        self._rows = rows
        self._moved = moved

    def counts(self) -> Ints:
        """How many samples."""
        return self._window.counts()[self._rows]

    def ends(self) -> Ends:
        """First and last samples."""
        ends, rows = self._window.ends(), self._rows
        first_ms, last_ms = self._moved(ends.first_ms[rows]), self._moved(ends.last_ms[rows])
        return Ends(first_ms, ends.first[rows], last_ms, ends.last[rows])

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        return self._window.resets_added()[self._rows]

    def sums(self) -> Floats:
        """Sum."""
        return self._window.sums()[self._rows]

    def minima(self) -> Floats:
        """Least value."""
        return self._window.minima()[self._rows]

    def maxima(self) -> Floats:
        """Greatest value."""
        return self._window.maxima()[self._rows]

    def dense(self) -> Dense:
        """All samples."""
        dense, rows = self._window.dense(), self._rows
        made = Dense(dense.times[rows], dense.values[rows], dense.counts[rows])
        return made._replace(times=np.where(made.inside, self._moved(made.times), 0))


def _picked(columns: list[NDArray[S]], scope: Ints) -> NDArray[S]:
    """Of each row the value from the column of its scope."""
    if len(columns) == 1:
        return columns[0]
    picked: NDArray[S] = np.stack(columns)[scope, np.arange(len(scope))]
    return picked


def may_begin(root: Node, condition: Condition | None, *, adding: bool = True) -> bool:
    """Whether what holds for the samples that there are, holds for more of them as well: not if it is about samples
    that are missing or of another time, nor if it adds up and more of them may be too much.

    Args:
        condition: What is asked of the value, if that is known.
        adding: Whether the value matters, and not only that there is one.
    """
    nodes = list(walk(root))
    if any(_is_moved(node) or (isinstance(node, SetOperation) and node.op == "unless") for node in nodes):
        return False
    if any(isinstance(node, Call) and node.function in _OF_SILENCE for node in nodes):
        return False
    more = not adding or (condition is not None and condition.op in (">", ">="))
    return more or not any(
        isinstance(node, Aggregation) or (isinstance(node, Call) and node.function in _ADDING) for node in nodes
    )


def may_end(root: Node) -> bool:
    """Whether what does not hold for the samples that there are, does not for more of them either: if it is about
    samples that are missing and looks at no others."""
    nodes = list(walk(root))
    if any(isinstance(node, Subquery | Aggregation) or _is_moved(node) for node in nodes):
        return False
    looking = (node for node in nodes if any(isinstance(child, RangeSelector) for child in children(node)))
    return all(isinstance(node, Call) and node.function in _OF_SILENCE for node in looking)


def _is_moved(node: Node) -> bool:
    return isinstance(node, Selector) and bool(node.offset_ms or node.at is not None)


def reach_ms(plan: QueryPlan) -> int:
    """How far before the instant of evaluation an expression reads, the age of samples apart."""
    return max((reach for reach in plan.reaches_ms if reach is not None), default=0)


def before_ms(plan: QueryPlan, lookback_ms: int) -> int:
    """How far before the instant of evaluation an expression knows something from. What is asked for at that very
    instant is not looked for in the past: whether a sample is still to come is another question."""
    ranged = {node.selector for node in walk(plan.root) if isinstance(node, RangeSelector)}
    reaches = [
        reach if leaf in ranged else reach + lookback_ms
        for leaf, reach in zip(plan.leaves, plan.reaches_ms, strict=True)
        if reach
    ]
    return max(reaches, default=0)


def label_set(labels: Mapping[str, str]) -> LabelSet:
    """Labels without the metric name, to be compared."""
    return tuple(sorted((name, text) for name, text in labels.items() if name != "__name__"))


def label_sets(vector: Vector) -> dict[LabelSet, int]:
    """The label sets of a result, with their rows."""
    return {label_set(vector.shape.labels(row)): row for row in vector.rows().tolist()}
