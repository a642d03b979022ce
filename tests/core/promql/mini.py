"""Aggregation, matching and set operators the slow and obvious way, over lists of (labels, value)."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.core.promql.labels import NAME, Interner, Shape
from engine.core.promql.plan import Matching
from engine.core.promql.vector import Vector

Labels = frozenset[tuple[str, str]]
Rows = list[tuple[Labels, float]]
DROPPED = (NAME, "__type__", "__unit__")


class Ambiguous(Exception):
    """Prometheus would refuse."""


def vector(interner: Interner, rows: Sequence[tuple[Mapping[str, str], float | None]]) -> Vector:
    """A vector whose rows without a value are not present."""
    shape = Shape.of(interner, [labels for labels, _ in rows])
    values = np.array([math.nan if value is None else value for _, value in rows])
    return Vector(shape, values, np.array([value is not None for _, value in rows], dtype=np.bool_))


def present(rows: Sequence[tuple[Mapping[str, str], float | None]]) -> Rows:
    return [(frozenset((k, v) for k, v in labels.items() if v), value) for labels, value in rows if value is not None]


def items(found: Vector) -> dict[Labels, float]:
    result = {frozenset(labels.items()): value for labels, value in found.items()}
    assert len(result) == len(found.rows()), "a label set is there twice"
    return result


def without(labels: Labels, names: Sequence[str]) -> Labels:
    return frozenset(pair for pair in labels if pair[0] not in names)


def only(labels: Labels, names: Sequence[str]) -> Labels:
    return frozenset(pair for pair in labels if pair[0] in names)


def signature(labels: Labels, matching: Matching) -> Labels:
    return only(labels, matching.labels) if matching.on else without(labels, (*matching.labels, NAME))


def joined(
    left: Rows,
    right: Rows,
    matching: Matching,
    compute: Callable[[float, float], float | None],
    *,
    drops_name: bool,
) -> dict[Labels, float]:
    """Arithmetic and comparison between vectors; `compute` gives None where a filter does not hold."""
    if not left or not right:
        return {}
    swap = matching.cardinality == "one-to-many"
    many, one = (right, left) if swap else (left, right)
    table: dict[Labels, tuple[Labels, float]] = {}
    for labels, value in one:
        if signature(labels, matching) in table:
            raise Ambiguous
        table[signature(labels, matching)] = labels, value
    result: dict[Labels, float] = {}
    matched: set[Labels] = set()
    for labels, value in many:
        key = signature(labels, matching)
        if key not in table:
            continue
        other_labels, other = table[key]
        number = compute(other, value) if swap else compute(value, other)
        if number is None:
            continue
        name = without(labels, DROPPED) if drops_name else labels
        if matching.cardinality == "one-to-one":
            if key in matched:
                raise Ambiguous
            name = only(name, matching.labels) if matching.on else without(name, matching.labels)
        matched.add(key)
        for label in matching.include:
            name = without(name, [label]) | only(other_labels, [label])
        if name in result:
            raise Ambiguous
        result[name] = number
    return result


def sets(op: str, left: Rows, right: Rows, matching: Matching) -> dict[Labels, float]:
    left_keys = {signature(labels, matching) for labels, _ in left}
    right_keys = {signature(labels, matching) for labels, _ in right}
    if op == "or":
        return dict(left) | {labels: v for labels, v in right if signature(labels, matching) not in left_keys}
    return {labels: v for labels, v in left if (signature(labels, matching) in right_keys) == (op == "and")}


def groups(rows: Rows, names: Sequence[str], *, excluding: bool) -> dict[Labels, list[tuple[Labels, float]]]:
    found: dict[Labels, list[tuple[Labels, float]]] = {}
    for labels, value in rows:
        key = without(labels, (*names, NAME)) if excluding else only(labels, names)
        found.setdefault(key, []).append((labels, value))
    return found


def compensated(values: Sequence[float]) -> tuple[float, float]:
    """Neumaier's sum and what it lost."""
    total = lost = 0.0
    for value in values:
        summed = total + value
        if math.isinf(summed):
            lost = 0.0
        elif abs(total) >= abs(value):
            lost += (total - summed) + value
        else:
            lost += (value - summed) + total
        total = summed
    return total, lost


def welford(values: Sequence[float]) -> float:
    mean, squares = values[0], 0.0 if math.isfinite(values[0]) else math.nan
    for count, value in enumerate(values[1:], start=2):
        delta = value - mean
        mean += delta / count
        squares += delta * (value - mean)
    return squares / len(values)


def quantile(q: float, values: Sequence[float]) -> float:
    if math.isnan(q):
        return math.nan
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    ordered = sorted(values, key=lambda value: (not math.isnan(value), value if not math.isnan(value) else 0.0))
    rank = q * (len(ordered) - 1)
    lower = math.floor(rank)
    weight = rank - lower
    return ordered[lower] * (1 - weight) + ordered[min(lower + 1, len(ordered) - 1)] * weight
