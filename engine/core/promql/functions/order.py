"""The order in which a result is shown: by value, or by labels in natural order."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np

from engine.core.promql.functions.context import FunctionContext, VectorFunction, text, vector
from engine.core.promql.labels import Codes, Shape
from engine.core.promql.vector import Value

__all__ = ["ORDER", "natural"]

INT64_MAX = 2**63 - 1
_CHUNK = re.compile(r"[0-9]+|[^0-9]+")


def _by_value(sign: int) -> VectorFunction:
    def function(_: FunctionContext, arguments: list[Value]) -> Value:
        """Rows by value; NaN is last in either direction."""
        given = vector(arguments[0])
        return given._replace(ordered=np.argsort(sign * given.values, kind="stable"))

    return function


def natural(left: str, right: str) -> int:
    """Negative, zero or positive as `left` comes before, with or after `right`; digits compare as numbers."""
    if left == right:
        return 0
    for mine, theirs in zip(_CHUNK.findall(left), _CHUNK.findall(right), strict=False):
        if _is_number(mine) and _is_number(theirs):
            if int(mine) != int(theirs):
                return -1 if int(mine) < int(theirs) else 1
        elif mine != theirs:
            return -1 if mine < theirs else 1
    # One goes on where the other ends, or they differ in leading zeros only.
    return -1 if (len(left), left) < (len(right), right) else 1


def _is_number(chunk: str) -> bool:
    return chunk[0] in "0123456789" and int(chunk) <= INT64_MAX


def _by_label(*, descending: bool) -> VectorFunction:
    def function(_: FunctionContext, arguments: list[Value]) -> Value:
        """Rows by these labels' values; equal ones by all labels."""
        given = vector(arguments[0])
        names = tuple(text(name) for name in arguments[1:])
        order = given.shape.derive(("by label", names), lambda: _label_order(given.shape, names))
        return given._replace(ordered=order[::-1] if descending else order)

    return function


def _label_order(shape: Shape, names: tuple[str, ...]) -> Codes:
    rows = sorted(range(len(shape)), key=lambda row: tuple(shape.labels(row).items()))
    whole = np.empty(len(shape), dtype=np.int64)
    whole[rows] = np.arange(len(shape))
    return np.lexsort((whole, *(_ranks(shape, name, natural) for name in reversed(names))))


def _ranks(shape: Shape, name: str, compare: Callable[[str, str], int]) -> Codes:
    """For each label set the rank of its value of this label."""
    codes, inverse = np.unique(shape.column(name), return_inverse=True)
    values = [shape.interner.value(int(code)) for code in codes]
    ranks = np.empty(len(values), dtype=np.int64)
    key = functools.cmp_to_key(compare)
    ranks[sorted(range(len(values)), key=lambda at: key(values[at]))] = np.arange(len(values))
    return ranks[inverse]


ORDER: dict[str, VectorFunction] = {
    "sort": _by_value(1),
    "sort_desc": _by_value(-1),
    "sort_by_label": _by_label(descending=False),
    "sort_by_label_desc": _by_label(descending=True),
}
