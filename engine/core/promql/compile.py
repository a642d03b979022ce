"""A plan of the whole language to a pointwise plan, where it is one. Numbers between numbers are computed here, once.

Whether it is one follows from the plan alone: what can't be judged label set by label set is refused, by name.
"""

from __future__ import annotations

import math

from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import (
    Aggregation,
    Arithmetic,
    ArithmeticOp,
    Call,
    Comparison,
    ComparisonOp,
    Matching,
    Negation,
    Node,
    Number,
    Plan,
    QueryPlan,
    Selector,
    SetOperation,
    walk,
)
from engine.core.promql.query_compile import compile_query

__all__ = ["NotPointwise", "compile_expr", "pointwise"]


class NotPointwise(PromQLError):
    """A result may depend on more than the newest sample of one series of each selector."""

    def __init__(self, what: str) -> None:
        hint = "pointwise are instant selectors with a metric name, numbers, arithmetic, comparison, and/or/unless"
        super().__init__(f"{what} is not pointwise", hint)


def compile_expr(expr: str) -> Plan:
    """Compile an expression to a pointwise plan.

    Raises:
        PromQLError: It does not parse, uses a construct that is not supported or not pointwise, or yields no vector.
    """
    return pointwise(compile_query(expr))


def pointwise(plan: QueryPlan) -> Plan:
    """The pointwise plan of an expression.

    Raises:
        PromQLError: It yields no vector.
        NotPointwise: It has none.
    """
    if plan.type != "vector":
        what = "number" if plan.type == "scalar" else plan.type
        raise PromQLError(
            f"the expression is a {what}, not a vector", 'compare a metric, as in "host_cpu_percent > 90"'
        )
    absence_matters = any(isinstance(node, SetOperation) and node.op in ("or", "unless") for node in walk(plan.root))
    return Plan(plan.expr, _node(plan.root), plan.leaves, absence_matters)


def _node(node: Node) -> Node:
    match node:
        case Number():
            return node
        case Selector():
            return _selector(node)
        case Negation():
            operand = _node(node.operand)
            return Number(-operand.value) if isinstance(operand, Number) else Negation(operand)
        case SetOperation() | Comparison() | Arithmetic() if node.matching != Matching():
            raise NotPointwise("on/ignoring/group_left/group_right")
        case SetOperation():
            return SetOperation(node.op, _node(node.left), _node(node.right))
        case Comparison():
            left, right = _node(node.left), _node(node.right)
            if isinstance(left, Number) and isinstance(right, Number):
                return Number(float(_compare(node.op, left.value, right.value)))
            return Comparison(node.op, left, right, node.as_bool)
        case Arithmetic():
            left, right = _node(node.left), _node(node.right)
            if isinstance(left, Number) and isinstance(right, Number):
                return Number(_fold(node.op, left.value, right.value))
            return Arithmetic(node.op, left, right)
        case Call():
            raise NotPointwise(f"function {node.function}()")
        case Aggregation():
            raise NotPointwise(f"aggregation {node.op}()")
        case _:
            # No vector has another node that is not an argument of a function.
            raise TypeError(f"{type(node).__name__} outside of a function")


def _selector(selector: Selector) -> Selector:
    if selector.at is not None:
        raise NotPointwise("@ modifier")
    if selector.offset_ms:
        raise NotPointwise("offset")
    if not selector.metric or any(matcher.label == "__name__" for matcher in selector.matchers):
        raise NotPointwise("selector without one metric name")
    return selector


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
