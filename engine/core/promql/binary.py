"""Operators between values: arithmetic, comparison, and the set operators, with the matching of label sets.

Which row meets which follows from labels alone, as long as no two series of the "one" side share their matching labels:
then the table is made once for a pair of shapes. Otherwise it depends on what is present, and is made each time.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np

from engine.core.promql.evaluate import COMPARISON, arithmetic
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.plan import Arithmetic, Comparison, Matching, SetOperation
from engine.core.promql.vector import Bools, EvaluationError, Floats, Scalar, Vector

__all__ = ["combine", "combine_sets", "distinct", "nameless", "unique"]

# What a value that is no longer the metric's loses: its name, and since Prometheus 3 its type and unit.
METADATA = (NAME, "__type__", "__unit__")


class _Signatures(NamedTuple):
    """Matching labels of two shapes as integers from one numbering, 0..distinct-1."""

    left: Codes
    right: Codes
    distinct: int
    left_unique: bool
    right_unique: bool


class _Join(NamedTuple):
    """Which rows meet, and the label sets of the results.

    Args:
        left, right: Row numbers of the pairs; None for all rows in order.
        shape: Of the pairs' results.
    """

    left: Codes | None
    right: Codes | None
    shape: Shape


def nameless(shape: Shape) -> Shape:
    """The label sets of values that are no longer the metric's."""
    return shape.without(METADATA)


def distinct(vector: Vector) -> Vector:
    """The vector, once it is known that no label set is present twice.

    Raises:
        EvaluationError: One is.
    """
    if not unique(vector.shape) and _twice(vector.shape.ids()[vector.present]):
        raise EvaluationError("vector cannot contain metrics with the same labelset")
    return vector


def combine(
    node: Arithmetic | Comparison, left: Vector | Scalar, right: Vector | Scalar, *, atan2_keeps_name: bool = False
) -> Vector | Scalar:
    """`left op right` for arithmetic and comparison.

    Args:
        atan2_keeps_name: As in Prometheus 2, where other arithmetic drops the metric name and this does not.

    Raises:
        EvaluationError: The matching is ambiguous, or a label set would be in the result twice.
    """
    if isinstance(left, Scalar) and isinstance(right, Scalar):
        value, holds = _values(node, np.float64(left.value), np.float64(right.value))
        return Scalar(float(value if holds is None else holds))
    drops_name = node.as_bool if isinstance(node, Comparison) else not (node.op == "atan2" and atan2_keeps_name)
    if isinstance(left, Vector) and isinstance(right, Vector):
        return _vectors(node, left, right, drops_name=drops_name)
    vector = left if isinstance(left, Vector) else right
    assert isinstance(vector, Vector)
    value, holds = _values(node, _operand(left), _operand(right))
    shape = nameless(vector.shape) if drops_name else vector.shape
    if holds is None:
        return distinct(Vector(shape, value, vector.present))
    if drops_name:
        return distinct(Vector(shape, holds.astype(np.float64), vector.present))
    return Vector(shape, vector.values, vector.present & holds, vector.ordered)


def _operand(value: Vector | Scalar) -> Any:
    return value.values if isinstance(value, Vector) else np.float64(value.value)


def _values(node: Arithmetic | Comparison, left: Any, right: Any) -> tuple[Any, Any]:
    """(value, None) of arithmetic; (left value, whether it holds) of a comparison."""
    if isinstance(node, Arithmetic):
        return arithmetic(node.op, left, right), None
    with np.errstate(invalid="ignore"):
        return left, COMPARISON[node.op](left, right)


def _vectors(node: Arithmetic | Comparison, left: Vector, right: Vector, *, drops_name: bool) -> Vector:
    matching = node.matching
    swap = matching.cardinality == "one-to-many"
    many, one = (right, left) if swap else (left, right)
    join = _join(many, one, matching, drops_name=drops_name)
    many_values, one_values = _at(many.values, join.left), _at(one.values, join.right)
    present = _at(many.present, join.left) & _at(one.present, join.right)
    if join.right is not None:
        present &= join.right >= 0
    values, holds = _values(node, *((one_values, many_values) if swap else (many_values, one_values)))
    if holds is not None and drops_name:
        values = holds.astype(np.float64)
    elif holds is not None:
        present &= holds
    result = Vector(join.shape, values, present)
    if many.present.any() and one.present.any():
        _refuse_ambiguous(many.shape, one.shape, matching, join, present)
    return distinct(result)


def _at(column: Any, rows: Codes | None) -> Any:
    return column if rows is None else column[rows]


def _join(many: Vector, one: Vector, matching: Matching, *, drops_name: bool) -> _Join:
    signatures = _signatures(many.shape, one.shape, matching)
    if signatures.right_unique:
        return many.shape.derive(
            ("join", one.shape, matching, drops_name),
            lambda: _static(signatures, many.shape, one.shape, matching, drops_name),
        )
    rows = np.flatnonzero(one.present)
    if many.present.any() and len(rows):
        _refuse_many_to_many(one.shape, rows, signatures.right, matching)
    table = np.full(signatures.distinct, -1)
    table[signatures.right[rows]] = rows
    found = table[signatures.left]
    if matching.include:
        return _Join(None, found, _result_shape(many.shape, one.shape, found, matching, drops_name))
    # Without labels from the other side the results are called the same, whoever they meet.
    shape = many.shape.derive(
        ("joined", matching, drops_name),
        lambda: _result_shape(many.shape, one.shape, found, matching, drops_name),
    )
    return _Join(None, found, shape)


def _static(signatures: _Signatures, many: Shape, one: Shape, matching: Matching, drops_name: bool) -> _Join:
    table = np.full(signatures.distinct, -1)
    table[signatures.right] = np.arange(len(one))
    found = table[signatures.left]
    rows = np.flatnonzero(found >= 0)
    if len(rows) == len(many):
        shape = _result_shape(many, one, found, matching, drops_name)
        return _Join(None, None if np.array_equal(found, np.arange(len(one))) else found, shape)
    return _Join(rows, found[rows], _result_shape(many.take(rows), one, found[rows], matching, drops_name))


def _result_shape(many: Shape, one: Shape, found: Codes, matching: Matching, drops_name: bool) -> Shape:
    """The results' label sets: the many side's, less the name, less what matching leaves out, plus what it includes."""
    shape = nameless(many) if drops_name else many
    if matching.cardinality == "one-to-one":
        shape = shape.keep(matching.labels) if matching.on else shape.without(matching.labels)
    for label in matching.include:
        codes = one.column(label)
        taken = codes[found] if len(codes) else np.zeros(len(found), dtype=np.int64)
        shape = shape.with_column(label, np.where(found >= 0, taken, 0))
    return shape


def _refuse_ambiguous(many: Shape, one: Shape, matching: Matching, join: _Join, present: Bools) -> None:
    """Several rows of the many side with the same matching labels: wrong one to one, else only if results are equal.

    Raises:
        EvaluationError: It is so.
    """
    signatures = _signatures(many, one, matching)
    if signatures.left_unique:
        return
    rows = np.flatnonzero(present)
    matched = _at(signatures.left, join.left)[rows]
    if matching.cardinality == "one-to-one":
        if _twice(matched):
            raise EvaluationError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
    elif not unique(join.shape) and _twice(matched * len(join.shape) + join.shape.ids()[rows]):
        raise EvaluationError("multiple matches for labels: grouping labels must ensure unique matches")


def _refuse_many_to_many(one: Shape, rows: Codes, signatures: Codes, matching: Matching) -> None:
    present = signatures[rows]
    if not _twice(present):
        return
    _, first, inverse = np.unique(present, return_index=True, return_inverse=True)
    again = next(row for row in range(len(rows)) if first[inverse[row]] != row)
    _many_to_many(one, int(rows[again]), int(rows[first[inverse[again]]]), matching)


def _many_to_many(one: Shape, row: int, other: int, matching: Matching) -> NoReturn:
    labels = one.labels(row)
    if matching.on:
        group = {name: value for name, value in labels.items() if name in matching.labels}
    else:
        group = {name: value for name, value in labels.items() if name not in (*matching.labels, NAME)}
    side = "left" if matching.cardinality == "one-to-many" else "right"
    raise EvaluationError(
        f"found duplicate series for the match group {_shown(group)} on the {side} hand-side of the operation: "
        f"[{_shown(labels)}, {_shown(one.labels(other))}];many-to-many matching not allowed: "
        "matching labels must be unique on one side"
    )


def _shown(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _signatures(left: Shape, right: Shape, matching: Matching) -> _Signatures:
    def make() -> _Signatures:
        both = Shape.concatenate([left, right])
        ids = both.group(matching.labels, excluding=False).ids if matching.on else _ignoring(both, matching)
        left_ids, right_ids = ids[: len(left)], ids[len(left) :]
        count = int(ids.max(initial=-1)) + 1
        return _Signatures(left_ids, right_ids, count, not _twice(left_ids), not _twice(right_ids))

    return left.derive(("signatures", right, matching.on, matching.labels), make)


def _ignoring(both: Shape, matching: Matching) -> Codes:
    return both.group((*matching.labels, NAME), excluding=True).ids


def combine_sets(node: SetOperation, left: Vector, right: Vector) -> Vector:
    """`left and right`, `left or right`, `left unless right`."""
    signatures = _signatures(left.shape, right.shape, node.matching)
    if node.op == "or":
        return _union(signatures, left, right)
    there = np.zeros(signatures.distinct, dtype=np.bool_)
    there[signatures.right[right.present]] = True
    found = there[signatures.left]
    return left._replace(present=left.present & (found if node.op == "and" else ~found))


def _union(signatures: _Signatures, left: Vector, right: Vector) -> Vector:
    """The left rows, and the right ones whose matching labels no left row has.

    A label set that both sides know has one row in the result, so that it stays unique.
    """
    there = np.zeros(signatures.distinct, dtype=np.bool_)
    there[signatures.left[left.present]] = True
    added = right.present & ~there[signatures.right]
    shape, places = left.shape.derive(("union", right.shape), lambda: _merged(left.shape, right.shape))
    values: Floats = np.zeros(len(shape))
    present = np.zeros(len(shape), dtype=np.bool_)
    values[: len(left.values)] = left.values
    present[: len(left.values)] = left.present
    values[places[added]] = right.values[added]
    present[places[added]] = True
    return Vector(shape, values, present)


def _merged(left: Shape, right: Shape) -> tuple[Shape, Codes]:
    """(label sets of both, where each right row is among them)."""
    both = Shape.concatenate([left, right])
    if not (unique(left) and unique(right)) or unique(both):
        return both, np.arange(len(left), len(both))
    ids = both.ids()
    row_of = np.full(int(ids.max()) + 1, -1)
    row_of[ids[: len(left)]] = np.arange(len(left))
    new = np.flatnonzero(row_of[ids[len(left) :]] < 0)
    row_of[ids[len(left) + new]] = len(left) + np.arange(len(new))
    return both.take(np.concatenate([np.arange(len(left)), len(left) + new])), row_of[ids[len(left) :]]


def unique(shape: Shape) -> bool:
    """Whether no two of its label sets are equal."""
    return shape.derive("unique", lambda: not _twice(shape.ids()))


def _twice(ids: Codes) -> bool:
    return len(ids) > 1 and len(np.unique(ids)) < len(ids)
