"""A reader of Prometheus' own test cases that knows just enough to try functions: calls of selectors and constants.

It shares nothing with the evaluator, so that the functions are judged by themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import promql_parser as ast

from engine.core.promql.functions import (
    COMPAT2_RANGE,
    COMPAT2_VECTOR,
    KEEPS_NAME,
    RANGE,
    REFUSED,
    VECTOR,
    FunctionContext,
    absent_labels,
)
from engine.core.promql.labels import NAME, Interner, Shape
from engine.core.promql.plan import Matcher
from engine.core.promql.regex import Regex
from engine.core.promql.vector import EvaluationError, Scalar, Value, Vector
from engine.core.promql.window import DenseWindow

Labels = dict[str, str]
Samples = list[tuple[int, float]]

LOOKBACK_MS = 300_000
_TOKEN = re.compile(
    r"(?P<first>[+-]?[^x+\-\s]+?(?:[eE][+-]?\d+)?)(?:(?P<sign>[+-])(?P<step>[^x]+))?(?:x(?P<times>\d+))?"
)


class NotSimple(Exception):
    """More than this reader knows."""


def labels_of(text: str) -> Labels:
    """`name{a="b"}` as labels."""
    if text.startswith("{}"):
        return {}
    selector: Any = ast.parse(text)
    labels = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
    return {**labels, **({NAME: selector.name} if selector.name else {})}


def samples_of(notation: str, step_ms: int) -> Samples:
    """promtool's notation: `1 2+3x4 _x5 stale`. Histograms are not simple."""
    samples: Samples = []
    at = 0
    for token in notation.split():
        if "{" in token or token == "stale":
            raise NotSimple(token)
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise NotSimple(token)
        repeated = int(parts["times"] or 0)
        if parts["first"] == "_":
            at += (repeated or 1) * step_ms
            continue
        step = float(parts["step"] or 0) * (-1 if parts["sign"] == "-" else 1)
        value = float(parts["first"])
        for _ in range(repeated + 1):
            samples.append((at, value))
            value += step
            at += step_ms
    return samples


class Reader:
    """Evaluates calls of functions at an instant."""

    def __init__(self, series: Sequence[tuple[Labels, Samples]], *, compat2: bool = False) -> None:
        self.series = series
        self.compat2 = compat2
        self.interner = Interner()

    def value(self, tree: Any, at_ms: int) -> Value:
        match tree:
            case ast.NumberLiteral():
                return Scalar(tree.val)
            case ast.StringLiteral():
                return str(tree.val)
            case ast.ParenExpr():
                return self.value(tree.expr, at_ms)
            case ast.UnaryExpr() if isinstance(tree.expr, ast.NumberLiteral):
                return Scalar(-tree.expr.val)
            case ast.VectorSelector():
                return self._instant(tree, at_ms)[0]
            case ast.Call():
                return self._call(tree, at_ms)
        raise NotSimple(type(tree).__name__)

    def _matchers(self, tree: Any) -> list[Matcher]:
        if tree.offset is not None or tree.at is not None:
            raise NotSimple("offset")
        found = []
        for matcher in tree.matchers.matchers:
            op = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(matcher.op).rsplit(".", 1)[-1]]
            pattern = Regex(matcher.value) if "~" in op else None
            found.append(Matcher(matcher.name, op, matcher.value, pattern))  # type: ignore[arg-type]
        return [Matcher(NAME, "=", tree.name), *found] if tree.name else found

    def _selected(self, tree: Any) -> list[tuple[Labels, Samples]]:
        matchers = self._matchers(tree)
        return [one for one in self.series if all(m.matches(one[0].get(m.label, "")) for m in matchers)]

    def _instant(self, tree: Any, at_ms: int) -> tuple[Vector, Vector]:
        rows = []
        for labels, samples in self._selected(tree):
            past = [sample for sample in samples if sample[0] <= at_ms]
            fresh = past and at_ms - past[-1][0] < LOOKBACK_MS + self.compat2
            rows.append((labels, past[-1] if fresh else None))
        shape = Shape.of(self.interner, [labels for labels, _ in rows])
        present = np.array([sample is not None for _, sample in rows], dtype=np.bool_)
        values = np.array([math.nan if sample is None else sample[1] for _, sample in rows])
        times = np.array([math.nan if sample is None else sample[0] / 1000 for _, sample in rows])
        return Vector(shape, values, present), Vector(shape, times, present)

    def _call(self, tree: Any, at_ms: int) -> Value:
        name = tree.func.name
        trees = [_bare(arg) for arg in tree.args]
        if name in REFUSED or any(isinstance(arg, ast.SubqueryExpr) for arg in trees):
            raise NotSimple(name)
        ranged = [arg for arg in trees if isinstance(arg, ast.MatrixSelector)]
        if ranged and name != "absent_over_time":
            others = [self.value(arg, at_ms) for arg in trees if arg is not ranged[0]]
            result: Value = self._range(
                name, ranged[0], [float(o.value) for o in others if isinstance(o, Scalar)], at_ms
            )
        else:
            result = self._vector(name, trees, at_ms)
        if not isinstance(result, Vector):
            return result
        if name not in KEEPS_NAME:
            result = result._replace(shape=result.shape.without([NAME]))
        rows = result.rows()
        if len(np.unique(result.shape.ids()[rows])) < len(rows):
            raise EvaluationError("the result has a label set twice")
        return result

    def _range(self, name: str, tree: Any, numbers: list[float], at_ms: int) -> Vector:
        start_ms = at_ms - int(tree.range.total_seconds() * 1000)
        selected = self._selected(tree.vector_selector)
        rows = []
        for _, samples in selected:
            inside = [(t, v) for t, v in samples if start_ms - self.compat2 < t <= at_ms]
            rows.append((np.array([t for t, _ in inside], dtype=np.int64), np.array([v for _, v in inside])))
        function = (COMPAT2_RANGE.get(name) if self.compat2 else None) or RANGE[name]
        window = DenseWindow.of(start_ms, at_ms, rows)
        values, present = function(window, [np.array(number) for number in numbers], at_ms)
        assert values.shape == present.shape == (len(rows),)
        return Vector(Shape.of(self.interner, [labels for labels, _ in selected]), values, present)

    def _vector(self, name: str, trees: Sequence[Any], at_ms: int) -> Value:
        context = FunctionContext(at_ms, self.interner)
        arguments = trees
        if name.startswith("absent"):
            selector = getattr(trees[0], "vector_selector", trees[0])
            if isinstance(selector, ast.VectorSelector):
                context.absent = absent_labels(self._matchers(selector))
        if name == "absent_over_time":
            return VECTOR[name](context, [self._range("present_over_time", trees[0], [], at_ms)])
        if name == "timestamp" and isinstance(trees[0], ast.VectorSelector):
            context.times = self._instant(trees[0], at_ms)[1]
        function = (COMPAT2_VECTOR.get(name) if self.compat2 else None) or VECTOR[name]
        return function(context, [self.value(argument, at_ms) for argument in arguments])


def _bare(tree: Any) -> Any:
    return _bare(tree.expr) if isinstance(tree, ast.ParenExpr) else tree


def result_of(value: Value) -> list[tuple[Labels, float]]:
    """As Prometheus shows it: labels and values in their order; a number without labels."""
    if isinstance(value, Vector):
        return value.items()
    assert isinstance(value, Scalar)
    return [({}, value.value)]


def same(expected: Sequence[tuple[Mapping[str, str], float]], got: Sequence[tuple[Mapping[str, str], float]]) -> bool:
    """Equal label sets in any order, values within 1e-9 or both NaN."""
    left, right = ({tuple(sorted(labels.items())): value for labels, value in side} for side in (expected, got))
    return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)


def close(expected: float, got: float, tolerance: float = 1e-9) -> bool:
    """Equal within a relative error, or both NaN."""
    if math.isnan(expected) or math.isnan(got):
        return math.isnan(expected) and math.isnan(got)
    return expected == got or math.isclose(expected, got, rel_tol=tolerance)
