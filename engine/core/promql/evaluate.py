"""A plan over columns: for n label sets at once, values and presence, in a handful of vector operations.

The caller says what each selector shows for these label sets; everything else is arithmetic. Nothing here
knows of time, alerts or stores. Number rules are IEEE 754 as Go applies them in Prometheus: division
by zero gives an infinity or NaN, `%` takes the sign of the dividend, comparisons with NaN are false.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.plan import (
    Arithmetic,
    ArithmeticOp,
    Comparison,
    ComparisonOp,
    Negation,
    Node,
    Number,
    Selector,
    SetOperation,
)

__all__ = ["COMPARISON", "Columns", "arithmetic", "evaluate", "measured"]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


class Columns(NamedTuple):
    """A vector's columns over n label sets.

    Args:
        values: float64, shape (n,); meaningless where not present.
        present: bool, shape (n,).
        fed: Which selectors fed each label set, as bits: int64, shape (n,), or one int for all.
    """

    values: Floats
    present: Bools
    fed: NDArray[np.int64] | int


Leaf: TypeAlias = Callable[[int], tuple[Floats, Bools]]

_ARITHMETIC: dict[ArithmeticOp, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: dict[ComparisonOp, np.ufunc] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def arithmetic(op: ArithmeticOp, left: Any, right: Any) -> Any:
    """`left op right` on floats or arrays of them. Never raises or warns for a number."""
    with np.errstate(all="ignore"):
        return _ARITHMETIC[op](np.float64(left) if isinstance(left, float) else left, right)


def evaluate(node: Node, leaf: Leaf) -> Columns:
    """Evaluate a vector node for the label sets that `leaf` speaks of.

    Args:
        node: A plan's root, or any vector node below it.
        leaf: Gives (values, present) of the selector with that index.
    """
    match node:
        case Selector():
            values, present = leaf(node.leaf)
            return Columns(values, present, 1 << node.leaf)
        case Negation():
            inner = evaluate(node.operand, leaf)
            return inner._replace(values=-inner.values)
        case Arithmetic():
            return _arithmetic(node, leaf)
        case Comparison():
            return _comparison(node, leaf)
        case SetOperation():
            return _set(node, leaf)
        case _:
            raise TypeError(f"{type(node).__name__} is not a pointwise vector")  # compile_expr() lets none through


def measured(node: Node, leaf: Leaf) -> Columns:
    """Evaluate what a condition compares, whether or not the comparison holds: of `a > 5` it is `a`."""
    match node:
        case Comparison(as_bool=False):
            return measured(node.right if isinstance(node.left, Number) else node.left, leaf)
        case SetOperation(op="or"):
            return _union(measured(node.left, leaf), measured(node.right, leaf))
        case SetOperation():
            return measured(node.left, leaf)
        case _:
            return evaluate(node, leaf)


def _arithmetic(node: Arithmetic, leaf: Leaf) -> Columns:
    if isinstance(node.left, Number):
        inner = evaluate(node.right, leaf)
        return inner._replace(values=arithmetic(node.op, node.left.value, inner.values))
    left = evaluate(node.left, leaf)
    if isinstance(node.right, Number):
        return left._replace(values=arithmetic(node.op, left.values, node.right.value))
    right = evaluate(node.right, leaf)
    values = arithmetic(node.op, left.values, right.values)
    return Columns(values, left.present & right.present, left.fed | right.fed)


def _comparison(node: Comparison, leaf: Leaf) -> Columns:
    compare = COMPARISON[node.op]
    if isinstance(node.left, Number):
        kept = evaluate(node.right, leaf)
        holds = compare(node.left.value, kept.values)
    else:
        kept = evaluate(node.left, leaf)
        if isinstance(node.right, Number):
            holds = compare(kept.values, node.right.value)
        else:
            right = evaluate(node.right, leaf)
            holds = compare(kept.values, right.values)
            kept = Columns(kept.values, kept.present & right.present, kept.fed | right.fed)
    if node.as_bool:
        return kept._replace(values=holds.astype(np.float64))
    return kept._replace(present=kept.present & holds)


def _set(node: SetOperation, leaf: Leaf) -> Columns:
    left, right = evaluate(node.left, leaf), evaluate(node.right, leaf)
    if node.op == "and":
        return Columns(left.values, left.present & right.present, left.fed | right.fed)
    if node.op == "unless":
        return left._replace(present=left.present & ~right.present)
    return _union(left, right)


def _union(left: Columns, right: Columns) -> Columns:
    values = np.where(left.present, left.values, right.values)
    fed = np.where(left.present, left.fed, right.fed)
    return Columns(values, left.present | right.present, fed)
