"""Evaluates a plan of the whole language over a source: at an instant, or at each step of a range.

A pure function of the plan, the source and the time. Every instant is evaluated by itself; what does not depend on
time (groups, joins, label sets of results) is kept with the shapes that the source gives, and what subqueries found
at their steps with the source.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from engine.core.promql import functions
from engine.core.promql.aggregate import aggregate, grouped
from engine.core.promql.binary import combine, combine_sets, distinct, nameless, unique
from engine.core.promql.choose import count_values, limit_ratio, limitk, topk
from engine.core.promql.labels import Codes, Shape
from engine.core.promql.matrix import Matrix, dense, stack
from engine.core.promql.plan import (
    Aggregation,
    Arithmetic,
    At,
    Call,
    Comparison,
    Compat,
    Negation,
    Node,
    Number,
    QueryPlan,
    RangeSelector,
    Selector,
    SetOperation,
    StringLiteral,
    Subquery,
)
from engine.core.promql.source import Source
from engine.core.promql.steps import Basis, Budget, Run
from engine.core.promql.vector import Bools, Scalar, Value, Vector
from engine.core.promql.window import DenseWindow, Window

__all__ = ["Constants", "RangeResult", "evaluate_instant", "evaluate_range"]

INSTANTS_MAX = 200_000  # in one evaluation, subqueries included: two months by the half minute, seconds of work

_RANGE: dict[Compat, dict[str, functions.RangeFunction]] = {
    "prometheus3": functions.RANGE,
    "prometheus2": {**functions.RANGE, **functions.COMPAT2_RANGE},
}
_VECTOR: dict[Compat, dict[str, functions.VectorFunction]] = {
    "prometheus3": functions.VECTOR,
    "prometheus2": {**functions.VECTOR, **functions.COMPAT2_VECTOR},
}

Constants: TypeAlias = dict[frozenset[tuple[str, str]], Shape]


class RangeResult(NamedTuple):
    """What a range query gives.

    Args:
        times_ms: The instants, int64, shape (k,).
        matrix: The values at them; a scalar is one row without labels.
    """

    times_ms: Codes
    matrix: Matrix


def evaluate_instant(
    plan: QueryPlan,
    source: Source,
    at_ms: int,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    default_step_ms: int = 60_000,
    constants: Constants | None = None,
) -> Value:
    """The value of an expression at an instant.

    Args:
        start_ms, end_ms: What `@ start()` and `@ end()` mean; the instant by default.
        default_step_ms: The step of subqueries that have none: Prometheus' global evaluation interval.
        constants: Shapes of single label sets. A caller that evaluates again and again over one source hands in the
            same dict, so that what is derived from them is kept, too.

    Raises:
        EvaluationError: It has no value there, for instance because a matching is ambiguous.
    """
    start_ms = at_ms if start_ms is None else start_ms
    end_ms = at_ms if end_ms is None else end_ms
    evaluation = _Evaluation(plan, source, start_ms, end_ms, default_step_ms, {} if constants is None else constants)
    return evaluation.value(plan.root, at_ms)


def evaluate_range(
    plan: QueryPlan,
    source: Source,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    *,
    default_step_ms: int = 60_000,
    constants: Constants | None = None,
) -> RangeResult:
    """The values of an expression at start, start + step, ... up to the end.

    Raises:
        EvaluationError: It has no value at one of them, or there are too many of them.
    """
    evaluation = _Evaluation(plan, source, start_ms, end_ms, default_step_ms, {} if constants is None else constants)
    times_ms = evaluation.instants(start_ms, end_ms, step_ms)
    return RangeResult(times_ms, evaluation.over(plan.root, times_ms).matrix)


class _Evaluation:
    """One query: the plan, where samples come from, and what its ends are."""

    def __init__(
        self, plan: QueryPlan, source: Source, start_ms: int, end_ms: int, default_step_ms: int, constants: Constants
    ) -> None:
        self._source = source
        self._ends = {"start": start_ms, "end": end_ms}
        self._default_step_ms = default_step_ms
        self._constants = constants
        self._budget = Budget(INSTANTS_MAX)
        self._seen: dict[int, tuple[Shape, Bools]] | None = None
        self._settled = True
        self._compat = plan.compat
        self._modern = plan.compat == "prometheus3"

    def value(self, node: Node, at_ms: int) -> Value:
        match node:
            case Selector():
                return self._source.instant(node, self._time(node.at, at_ms) - node.offset_ms)[0]
            case Call():
                return self._call(node, at_ms)
            case Aggregation():
                return self._aggregation(node, at_ms)
            case Arithmetic() | Comparison():
                left, right = self._operand(node.left, at_ms), self._operand(node.right, at_ms)
                return combine(node, left, right, atan2_keeps_name=not self._modern)
            case SetOperation():
                return combine_sets(node, self.vector(node.left, at_ms), self.vector(node.right, at_ms))
            case Number():
                return Scalar(node.value)
            case Negation():
                return self._negation(node, at_ms)
            case StringLiteral():
                return node.value
            case _:
                # compile_query() lets none through
                raise TypeError(f"{type(node).__name__} has no value at an instant")

    def vector(self, node: Node, at_ms: int) -> Vector:
        value = self.value(node, at_ms)
        if isinstance(value, Scalar):  # only the root of a range query can be one
            shape = functions.FunctionContext(at_ms, self._source.interner, constants=self._constants).single({})
            return Vector(shape, np.array([value.value]), np.ones(1, dtype=np.bool_))
        assert isinstance(value, Vector)
        return value

    def instants(self, start_ms: int, end_ms: int, step_ms: int) -> Codes:
        """The instants to evaluate at; all that one query asks for are counted against a limit."""
        count = max(0, (end_ms - start_ms) // step_ms + 1)
        self._budget.spend(count)
        return start_ms + step_ms * np.arange(count)

    def over(self, node: Node, times_ms: Codes) -> Run:
        """A node at several instants, one range query of Prometheus."""
        outer = self._seen, self._settled
        self._seen, self._settled = {}, True
        vectors, lefts = [], [self._budget.left]
        for at_ms in times_ms.tolist():
            vectors.append(self.vector(node, at_ms))
            lefts.append(self._budget.left)
        matrix = stack(vectors, self._source.interner)
        settled = self._settled and all(vector.shape is matrix.shape for vector in vectors)
        self._seen, self._settled = outer
        return Run(matrix, -np.diff(lefts), settled)

    def _at_steps(self, node: Subquery, times_ms: Codes, step_ms: int) -> Matrix:
        """A subquery's operand at each step. What an evaluation before this one found there is not evaluated again."""
        source = self._source
        subject = source.steps.subject(node, self._default_step_ms, self._compat)
        if subject is None or not len(times_ms):
            return self.over(node.operand, times_ms).matrix
        ranged = (Basis(source.basis(selector).shape) for selector in subject.ranged)
        basis = (*map(source.basis, subject.instant), *ranged)
        return source.steps.run(subject, basis, times_ms, step_ms, partial(self.over, node.operand), self._budget)

    def _time(self, at: At, at_ms: int) -> int:
        if at is None:
            return at_ms
        return at if isinstance(at, int) else self._ends[at]

    def _operand(self, node: Node, at_ms: int) -> Vector | Scalar:
        value = self.value(node, at_ms)
        assert not isinstance(value, str)
        return value

    def _scalar(self, node: Node, at_ms: int) -> float:
        value = self.value(node, at_ms)
        assert isinstance(value, Scalar)
        return value.value

    def _negation(self, node: Negation, at_ms: int) -> Value:
        operand = self._operand(node.operand, at_ms)
        if isinstance(operand, Scalar):
            return Scalar(-operand.value)
        shape = nameless(operand.shape)
        return self._distinct(node, operand._replace(shape=shape, values=-operand.values))

    def _distinct(self, node: Node, vector: Vector) -> Vector:
        """Negation and range functions give one series for each input: equal ones may not even take turns."""
        if unique(vector.shape):
            if self._seen:
                self._seen.pop(id(node), None)
            return vector
        self._settled = False
        if self._seen is not None:
            shape, present = self._seen.get(id(node), (vector.shape, vector.present))
            present = present | vector.present if shape is vector.shape else vector.present
            self._seen[id(node)] = (vector.shape, present)
            distinct(vector._replace(present=present))
            return vector
        return distinct(vector)

    def _window(self, node: Node, at_ms: int) -> tuple[Shape, Window]:
        if isinstance(node, RangeSelector):
            selector = node.selector
            end_ms = self._time(selector.at, at_ms) - selector.offset_ms
            return self._source.window(selector, end_ms - node.range_ms, end_ms)
        assert isinstance(node, Subquery)
        end_ms = self._time(node.at, at_ms) - node.offset_ms
        start_ms = end_ms - node.range_ms
        step_ms = node.step_ms or self._default_step_ms
        first_ms = -(-start_ms // step_ms) * step_ms
        if first_ms == start_ms and self._modern:
            first_ms += step_ms
        times_ms = self.instants(first_ms, end_ms, step_ms)
        matrix = self._at_steps(node, times_ms, step_ms)
        return matrix.shape, DenseWindow(start_ms, end_ms, dense(matrix, times_ms))

    def _aggregation(self, node: Aggregation, at_ms: int) -> Vector:
        operand = self.vector(node.operand, at_ms)
        if node.op == "count_values":
            assert isinstance(node.parameter, StringLiteral)
            return count_values(operand, node.parameter.value, node.grouping, without=node.without)
        parameter = float("nan") if node.parameter is None else self._scalar(node.parameter, at_ms)
        if node.op == "limit_ratio":
            return limit_ratio(operand, parameter)
        grouping = grouped(operand.shape, node.grouping, without=node.without)
        match node.op:
            case "topk" | "bottomk":
                return topk(operand, grouping, parameter, least=node.op == "bottomk", compat=self._compat)
            case "limitk":
                return limitk(operand, grouping, parameter)
            case op:
                return aggregate(op, operand, grouping, quantile=parameter, compat=self._compat)

    def _call(self, node: Call, at_ms: int) -> Value:
        ranged = next((a for a in node.arguments if isinstance(a, RangeSelector | Subquery)), None)
        if ranged is not None and node.function != "absent_over_time":
            return self._range_function(node.function, node, ranged, at_ms)
        context = functions.FunctionContext(at_ms, self._source.interner, constants=self._constants)
        arguments: list[Value]
        if ranged is not None:
            arguments = [self._range_function("present_over_time", node, ranged, at_ms, check=False)]
            if isinstance(ranged, RangeSelector):
                context.absent = functions.absent_labels(ranged.selector.matchers)
        elif node.function in ("timestamp", "info") and isinstance(node.arguments[-1], Selector):
            arguments = [self.value(argument, at_ms) for argument in node.arguments[:-1]]
            selector = context.selector = node.arguments[-1]
            # Where there is an `@`, Prometheus forgets the offset in timestamp().
            offset_ms = 0 if selector.at is not None and node.function == "timestamp" else selector.offset_ms
            values, context.times = self._source.instant(selector, self._time(selector.at, at_ms) - offset_ms)
            arguments.append(values)
        else:
            arguments = [self.value(argument, at_ms) for argument in node.arguments]
            if node.function == "absent" and isinstance(node.arguments[0], Selector):
                context.absent = functions.absent_labels(node.arguments[0].matchers)
        result = _VECTOR[self._compat][node.function](context, arguments)
        if not isinstance(result, Vector):
            return result
        if node.function not in functions.KEEPS_NAME:
            result = result._replace(shape=nameless(result.shape))
        return distinct(result)

    def _range_function(self, name: str, node: Call, ranged: Node, at_ms: int, *, check: bool = True) -> Vector:
        shape, window = self._window(ranged, at_ms)
        others = [np.asarray(self._scalar(a, at_ms)) for a in node.arguments if a is not ranged]
        values, present = _RANGE[self._compat][name](window, others, at_ms)
        if name not in functions.KEEPS_NAME:
            shape = nameless(shape)
        vector = Vector(shape, values, present)
        return self._distinct(node, vector) if check else vector
