"""PromQL text to a pointwise plan. Whatever can't be judged label set by label set is refused here, by name."""

from __future__ import annotations

import math
from typing import Any, get_args

import promql_parser as ast

from engine.core.promql.matchers import compile_matcher
from engine.core.promql.parse import DEPTH_MAX, EXPR_CHARS_MAX, LEAVES_MAX, OPERATORS_MAX, PromQLError, parse
from engine.core.promql.plan import (
    Arithmetic,
    ArithmeticOp,
    Comparison,
    ComparisonOp,
    Negation,
    Node,
    Number,
    Plan,
    Selector,
    SetOp,
    SetOperation,
)

__all__ = [
    "DEPTH_MAX",
    "EXPR_CHARS_MAX",
    "LEAVES_MAX",
    "OPERATORS_MAX",
    "PromQLError",
    "compile_expr",
    "fills",
]


def compile_expr(expr: str) -> Plan:
    """Compile an expression.

    Raises:
        PromQLError: It does not parse, uses a construct that is not supported, or yields no vector.
    """
    tree = parse(expr)
    builder = _Builder()
    root = builder.node(tree, 0)
    if not _is_vector(root):
        raise PromQLError("the expression is a number, not a vector", 'compare a metric, as in "host_cpu_percent > 90"')
    return Plan(expr, root, tuple(builder.leaves), builder.absence_matters)


class _Builder:
    """Turns a parser tree into plan nodes and collects the selectors."""

    def __init__(self) -> None:
        self.leaves: list[Selector] = []
        self.absence_matters = False

    def node(self, tree: Any, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise PromQLError(f"the expression is nested more than {DEPTH_MAX} deep")
        match tree:
            case ast.NumberLiteral():
                return Number(tree.val)
            case ast.ParenExpr():
                return self.node(tree.expr, depth + 1)
            case ast.UnaryExpr():
                operand = self.node(tree.expr, depth + 1)
                return Number(-operand.value) if isinstance(operand, Number) else Negation(operand)
            case ast.VectorSelector():
                return self._selector(tree)
            case ast.BinaryExpr():
                return self._binary(tree, depth)
            case ast.Call():
                raise _unsupported(f"function {tree.func.name}()")
            case ast.AggregateExpr():
                raise _unsupported(f"aggregation {tree.op}()")
            case ast.MatrixSelector():
                raise _unsupported("range selector")
            case ast.SubqueryExpr():
                raise _unsupported("subquery")
            case ast.StringLiteral():
                raise PromQLError("the expression is a string, not a vector")
            case _:
                raise _unsupported(type(tree).__name__)

    def _selector(self, tree: Any) -> Selector:
        if tree.offset is not None:
            raise _unsupported("offset")
        if tree.at is not None:
            raise _unsupported("@ modifier")
        if tree.matchers.or_matchers:
            raise _unsupported('"or" between matchers')
        metric, matchers = tree.name, []
        for matcher in tree.matchers.matchers:
            compiled = compile_matcher(matcher)
            if compiled.label == "__name__" and compiled.op == "=" and not metric:
                metric = compiled.value
            elif compiled.label == "__name__":
                raise _unsupported("selector without one metric name")
            else:
                matchers.append(compiled)
        if not metric:
            raise _unsupported("selector without one metric name")
        if len(self.leaves) >= LEAVES_MAX:
            raise PromQLError(f"the expression has more than {LEAVES_MAX} selectors")
        leaf = Selector(len(self.leaves), metric, tuple(matchers))
        self.leaves.append(leaf)
        return leaf

    def _binary(self, tree: Any, depth: int) -> Node:
        op, modifier = str(tree.op), tree.modifier
        if modifier is not None:
            if modifier.matching is not None:
                raise _unsupported("on/ignoring/group_left/group_right")
            if any(value is not None for value in fills(modifier)):
                raise _unsupported("fill()")
        left, right = self.node(tree.lhs, depth + 1), self.node(tree.rhs, depth + 1)
        as_bool = modifier is not None and modifier.return_bool
        if op in get_args(SetOp):
            self.absence_matters |= op in ("or", "unless")
            set_op: SetOp = op  # type: ignore[assignment]  # narrowed by the line above
            return SetOperation(set_op, left, right)
        if op in get_args(ComparisonOp):
            comparison: ComparisonOp = op  # type: ignore[assignment]
            if isinstance(left, Number) and isinstance(right, Number):
                return Number(float(_compare(comparison, left.value, right.value)))
            return Comparison(comparison, left, right, as_bool)
        if op in get_args(ArithmeticOp):
            arithmetic: ArithmeticOp = op  # type: ignore[assignment]
            if isinstance(left, Number) and isinstance(right, Number):
                return Number(_fold(arithmetic, left.value, right.value))
            return Arithmetic(arithmetic, left, right)
        raise _unsupported(f"operator {op}")


def fills(modifier: Any) -> list[Any]:
    """What `fill()` gives for the left and the right side, None where it gives nothing."""
    fill = getattr(modifier, "fill_values", None)
    return [] if fill is None else [getattr(fill, "lhs", None), getattr(fill, "rhs", None)]


def _unsupported(what: str) -> PromQLError:
    return PromQLError(
        f"{what} is not supported by this version",
        "it has instant selectors with a metric name, numbers, arithmetic, comparison, and/or/unless",
    )


def _is_vector(node: Node) -> bool:
    return not isinstance(node, Number)


def _compare(op: ComparisonOp, left: float, right: float) -> bool:
    table = {
        "==": left == right,
        "!=": left != right,
        ">": left > right,
        "<": left < right,
        ">=": left >= right,
        "<=": left <= right,
    }
    return table[op]


def _fold(op: ArithmeticOp, left: float, right: float) -> float:
    """Arithmetic of two numbers by Go's rules, which never raise."""
    from engine.core.promql.evaluate import arithmetic

    result = float(arithmetic(op, left, right))
    return math.nan if math.isnan(result) else result
