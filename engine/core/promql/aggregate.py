"""Aggregations: many rows of a vector into one for each group, over columns.

Sums are compensated and means are taken in the steps and the order of Prometheus, so that the bits are its bits, also
where terms cancel. What depends on labels alone (groups, layouts) is kept with the shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from engine.core.promql.labels import NAME, Codes, Grouping, Shape
from engine.core.promql.plan import AggregationOp, Compat
from engine.core.promql.vector import Floats, Vector

__all__ = ["aggregate", "grouped"]

EXACT_MAX = 2.0**53  # whole numbers up to here add up without any rounding


class _Class(NamedTuple):
    """Groups of about the same size.

    Args:
        groups: Which, shape (g,).
        rows: Their rows in order, shape (g, width); padding is n, one past the last row.
    """

    groups: Codes
    rows: Codes


class _Groups(NamedTuple):
    """A vector and its groups, ready to be folded.

    Args:
        vector: As given.
        grouping: Of its shape.
        counts: Rows present in each group.
    """

    vector: Vector
    grouping: Grouping
    counts: Codes

    def filled(self, value: float) -> Floats:
        """The values, with another one where no row is present."""
        return np.where(self.vector.present, self.vector.values, value)


def grouped(shape: Shape, labels: tuple[str, ...], *, without: bool) -> Grouping:
    """The groups of `by (labels)` or `without (labels)`; the latter drops the metric name, too."""
    return shape.group((*labels, NAME), excluding=True) if without else shape.group(labels, excluding=False)


def aggregate(
    op: AggregationOp,
    vector: Vector,
    grouping: Grouping,
    *,
    quantile: float = math.nan,
    compat: Compat = "prometheus3",
) -> Vector:
    """One value for each group that has a row present.

    Args:
        op: One of those that give one value for each group: not `topk`, `bottomk`, `limitk`, `limit_ratio`,
            `count_values`.
        quantile: The parameter of `quantile`.
        compat: Under "prometheus2" sums are not compensated, and a single NaN or infinity has the variance 0.
    """
    counts = np.bincount(grouping.ids[vector.present], minlength=grouping.count)
    groups = _Groups(vector, grouping, counts)
    with np.errstate(all="ignore"):
        if op == "quantile":
            values = _quantile(groups, quantile)
        else:
            folds = _FOLDS if compat == "prometheus3" else _FOLDS_2
            values = folds[op](groups)
    return Vector(grouping.shape, values, counts > 0)


def _layout(shape: Shape, grouping: Grouping) -> list[_Class]:
    """The rows of each group side by side, in classes by size, so that padding at most doubles them."""

    def make() -> list[_Class]:
        n, ids = len(shape), grouping.ids
        order = np.argsort(ids, kind="stable")
        sizes = np.bincount(ids, minlength=grouping.count)
        first = np.cumsum(sizes) - sizes
        rank = np.frexp(sizes.astype(np.float64))[1]
        classes = []
        for size_class in np.unique(rank):
            groups = np.flatnonzero(rank == size_class)
            cells = np.arange(int(sizes[groups].max()))
            at = first[groups][:, None] + cells
            rows = np.where(cells < sizes[groups][:, None], order[np.minimum(at, max(n - 1, 0))], n)
            classes.append(_Class(groups, rows))
        return classes

    return shape.derive(("layout", grouping), make)


def _naive(groups: _Groups) -> Floats:
    """The sum in the order of rows."""
    total = np.bincount(groups.grouping.ids, weights=groups.filled(0.0), minlength=groups.grouping.count)
    return total.astype(np.float64, copy=False)  # of no rows at all it would be integers


def _sums(groups: _Groups) -> tuple[Floats, Floats]:
    """(total, lost) of each group: the sum in the order of rows, and Neumaier's compensation for it."""
    filled = groups.filled(0.0)
    total = _naive(groups)
    lost = np.zeros(groups.grouping.count)
    if np.abs(filled).sum() < EXACT_MAX and (filled == np.trunc(filled)).all():
        return total, lost
    padded = np.append(filled, 0.0)
    for members, rows in _layout(groups.vector.shape, groups.grouping):
        added = padded[rows]
        after = np.cumsum(added, axis=1)
        before = np.empty_like(after)
        before[:, 0] = 0.0
        before[:, 1:] = after[:, :-1]
        larger = np.abs(before) >= np.abs(added)
        errors = np.where(larger, (before - after) + added, (added - after) + before)
        lost[members] = np.cumsum(errors, axis=1)[:, -1]
    # Beyond the finite there is nothing to compensate.
    return total, np.where(np.isfinite(total), lost, 0.0)


def _sum(groups: _Groups) -> Floats:
    total, lost = _sums(groups)
    return total + lost


def _mean(groups: _Groups) -> Floats:
    total, lost = _sums(groups)
    count = groups.counts.astype(np.float64)
    means: Floats = total / count + lost / count
    if np.isfinite(total).all():
        return means
    ids, (values, present) = groups.grouping.ids, groups.vector[1:3]
    unknown = np.bincount(ids, weights=present & np.isnan(values), minlength=len(total)) > 0
    rows = np.flatnonzero(present & ~(np.isfinite(total) | unknown)[ids])
    members: dict[int, list[float]] = {}
    for group, value in zip(ids[rows].tolist(), values[rows].tolist(), strict=True):
        members.setdefault(group, []).append(value)
    for group, found in members.items():
        means[group] = _running_mean(found)
    return means


def _running_mean(values: list[float]) -> float:
    """Prometheus' mean where the sum leaves the finite: from that value on a running mean, which does not."""
    total, lost, mean, running = values[0], 0.0, values[0], False
    for index, value in enumerate(values[1:], start=1):
        count = index + 1.0
        if not running:
            summed, change = _step(value, total, lost)
            if not math.isinf(summed):
                total, lost = summed, change
                continue
            running = True
            mean, lost = total / index, lost / index
        share = index / count
        mean, lost = _step(value / count, share * mean, share * lost)
    return mean + lost if running else total / len(values) + lost / len(values)


def _step(added: float, total: float, lost: float) -> tuple[float, float]:
    """One step of Neumaier's summation."""
    summed = total + added
    if math.isinf(summed):
        return summed, 0.0
    if abs(total) >= abs(added):
        return summed, lost + ((total - summed) + added)
    return summed, lost + ((added - summed) + total)


def _extreme(choose: np.ufunc) -> Callable[[_Groups], Floats]:
    def fold(groups: _Groups) -> Floats:
        padded = np.append(groups.filled(np.nan), np.nan)
        values = np.full(groups.grouping.count, np.nan)
        for members, rows in _layout(groups.vector.shape, groups.grouping):
            values[members] = choose.reduce(padded[rows], axis=1)
        return values

    return fold


def _variance(groups: _Groups, *, of_one: float = math.nan) -> Floats:
    """Welford's algorithm in the order of rows: other orders give other bits where values are close together.

    Args:
        of_one: The sum of squares after a first value that is not finite.
    """
    size = groups.grouping.count
    count, mean, squares = [0] * size, [0.0] * size, [0.0] * size
    rows = groups.vector.rows()
    for group, value in zip(groups.grouping.ids[rows].tolist(), groups.vector.values[rows].tolist(), strict=True):
        count[group] += 1
        if count[group] == 1:
            mean[group] = value
            squares[group] = 0.0 if math.isfinite(value) else of_one
            continue
        delta = value - mean[group]
        mean[group] += delta / count[group]
        squares[group] += delta * (value - mean[group])
    return np.array(squares) / np.maximum(groups.counts, 1)


def _quantile(groups: _Groups, quantile: float) -> Floats:
    if math.isnan(quantile):
        return np.full(groups.grouping.count, np.nan)
    if not 0 <= quantile <= 1:
        return np.full(groups.grouping.count, np.inf if quantile > 1 else -np.inf)
    rows = np.flatnonzero(groups.vector.present)
    values, ids = groups.vector.values[rows], groups.grouping.ids[rows]
    ordered = values[np.lexsort((values, ~np.isnan(values), ids))]  # NaN is less than all else
    if not len(ordered):
        return np.full(groups.grouping.count, np.nan)
    first = np.cumsum(groups.counts) - groups.counts
    last = np.maximum(groups.counts - 1, 0)
    rank = quantile * last
    lower = np.floor(rank).astype(np.int64)
    upper = np.minimum(lower + 1, last)
    weight = rank - lower
    top = len(ordered) - 1
    low, high = ordered[np.minimum(first + lower, top)], ordered[np.minimum(first + upper, top)]
    interpolated: Floats = low * (1 - weight) + high * weight
    return interpolated


_Fold: TypeAlias = Callable[[_Groups], Floats]
_FOLDS: dict[str, _Fold] = {
    "sum": _sum,
    "avg": _mean,
    "min": _extreme(np.fmin),
    "max": _extreme(np.fmax),
    "count": lambda groups: groups.counts.astype(np.float64),
    "group": lambda groups: np.ones(groups.grouping.count),
    "stddev": lambda groups: np.sqrt(_variance(groups)),
    "stdvar": _variance,
}
_FOLDS_2: dict[str, _Fold] = {
    **_FOLDS,
    "sum": _naive,
    "stddev": lambda groups: np.sqrt(_variance(groups, of_one=0.0)),
    "stdvar": lambda groups: _variance(groups, of_one=0.0),
}
