"""Quantiles and fractions of classic histograms: cumulative buckets with their upper bounds in the label `le`.

Which series are the buckets of which histogram, and in which order, is found out once for each set of series.
Buckets lie one histogram after the other in flat arrays, so that it makes no difference whether there are few
large histograms or many small ones.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.functions.context import FunctionContext, VectorFunction, number, vector
from engine.core.promql.labels import Codes, Shape
from engine.core.promql.vector import Bools, Floats, Value, Vector

__all__ = ["COMPAT2_HISTOGRAM", "HISTOGRAM", "upper_bound"]

BUCKET_LABEL = "le"
# Counts of neighbouring buckets that differ by less, relative to their sum, are taken as equal (Prometheus' constant).
SMALL_DELTA = 1e-12
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)

_DECIMAL = re.compile(r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][+-]?[0-9]+")
_INFINITE = re.compile(r"([+-]?)inf(?:inity)?", re.IGNORECASE)


def upper_bound(label: str) -> float:
    """The bound that a value of `le` stands for, as Go's ParseFloat reads it; NaN if it stands for none."""
    if found := _INFINITE.fullmatch(label):
        return -math.inf if found[1] == "-" else math.inf
    try:
        if _DECIMAL.fullmatch(label):
            bound = float(label)
        elif _HEXADECIMAL.fullmatch(label):
            bound = float.fromhex(label)
        else:
            return math.nan
    except (ValueError, OverflowError):
        return math.nan
    return math.nan if math.isinf(bound) else bound  # out of range, which Go calls an error


class _Layout(NamedTuple):
    """How the label sets of a shape are histograms.

    Args:
        shape: Label sets of the histograms: without `le`, with the name.
        rows: Rows of the given shape that are buckets.
        slots: For each of `rows` its bucket. Several rows with equal bounds are one bucket.
        bounds: Of each bucket, ascending within its histogram.
        owners: The histogram of each bucket, ascending.
    """

    shape: Shape
    rows: Codes
    slots: Codes
    bounds: Floats
    owners: Codes


class _Buckets(NamedTuple):
    """Buckets that are there at an instant; histogram i has those from starts[i], sizes[i] of them."""

    counts: Floats
    bounds: Floats
    owners: Codes
    sizes: Codes
    starts: Codes


def _layout(shape: Shape) -> _Layout:
    grouping = shape.group((BUCKET_LABEL,), excluding=True)
    codes, inverse = np.unique(shape.column(BUCKET_LABEL), return_inverse=True)
    bounds = np.array([upper_bound(shape.interner.value(int(code))) for code in codes])[inverse]
    rows = np.flatnonzero(~np.isnan(bounds))
    rows = rows[np.lexsort((bounds[rows], grouping.ids[rows]))]
    owners, bounds = grouping.ids[rows], bounds[rows]
    begins = np.ones(len(rows), dtype=np.bool_)
    begins[1:] = (owners[1:] != owners[:-1]) | (bounds[1:] != bounds[:-1])
    return _Layout(grouping.shape, rows, np.cumsum(begins) - 1, bounds[begins], owners[begins])


def _buckets(layout: _Layout, given: Vector) -> _Buckets:
    present = given.present[layout.rows]
    rows, slots, size = layout.rows, layout.slots, len(layout.bounds)
    bounds, owners = layout.bounds, layout.owners
    if not present.all():
        rows, slots = rows[present], slots[present]
    counts: Floats = np.bincount(slots, weights=given.values[rows], minlength=size).astype(np.float64)
    if not present.all():
        there = np.bincount(slots, minlength=size) > 0
        counts, bounds, owners = counts[there], bounds[there], owners[there]
    sizes = np.bincount(owners, minlength=len(layout.shape))
    return _Buckets(counts, bounds, owners, sizes, np.cumsum(sizes) - sizes)


def _almost_equal(left: Floats, right: Floats, tolerance: float) -> Bools:
    """Whether two numbers differ by a relative error only."""
    total, apart = np.abs(left) + np.abs(right), np.abs(left - right)
    tiny = (left == 0) | (right == 0) | (total < SMALLEST_NORMAL)
    near: Bools = np.where(tiny, apart < tolerance * SMALLEST_NORMAL, apart / np.minimum(total, LARGEST) < tolerance)
    return near


def _monotonic(buckets: _Buckets, tolerance: float) -> Floats:
    """The counts, where a count below the one before (or one hardly different from it) becomes that one."""
    counts = buckets.counts
    before, after = counts[:-1], counts[1:]
    wrong = (after < before) | ((after != before) & _almost_equal(before, after, tolerance))
    wrong &= buckets.owners[1:] == buckets.owners[:-1]
    if not wrong.any():
        return counts
    counts = counts.copy()
    histograms = np.unique(buckets.owners[1:][wrong])
    accepted = counts[buckets.starts[histograms]]
    for step in range(1, int(buckets.sizes[histograms].max())):
        going = step < buckets.sizes[histograms]
        histograms, accepted = histograms[going], accepted[going]
        at = buckets.starts[histograms] + step
        count = counts[at]
        kept = (count < accepted) | _almost_equal(accepted, count, tolerance)
        accepted = np.where(kept, accepted, count)
        counts[at] = accepted
    return counts


def _first_reaching(counts: Floats, ranks: Floats, low: Codes, high: Codes) -> NDArray[np.int64]:
    """By bisection, the first bucket in [low, high) whose count reaches the rank, or high."""
    while (open_ := low < high).any():
        middle = (low + high) // 2
        reaches = counts[middle] >= ranks
        high = np.where(open_ & reaches, middle, high)
        low = np.where(open_ & ~reaches, middle + 1, low)
    return low


def _quantile(q: float, buckets: _Buckets, tolerance: float) -> Floats:
    """The quantile of each histogram, shape (histograms,); what has no bucket is meaningless."""
    if math.isnan(q) or not 0 <= q <= 1:
        return np.full(len(buckets.sizes), math.nan if math.isnan(q) else math.copysign(math.inf, q))
    result = np.full(len(buckets.sizes), np.nan)
    usable = np.flatnonzero(buckets.sizes >= 2)
    last = buckets.starts[usable] + buckets.sizes[usable] - 1
    closed = buckets.bounds[last] == math.inf
    usable, last = usable[closed], last[closed]
    if not len(usable):
        return result
    counts, bounds, first = _monotonic(buckets, tolerance), buckets.bounds, buckets.starts[usable]
    observations = counts[last]
    ranks = q * observations
    at = _first_reaching(counts, ranks, first, last)
    inner = at > first
    before = np.maximum(at - 1, 0)
    begin, missed = np.where(inner, bounds[before], 0.0), np.where(inner, counts[before], 0.0)
    value = begin + (bounds[at] - begin) * ((ranks - missed) / (counts[at] - missed))
    value = np.where(~inner & (bounds[at] <= 0), bounds[at], value)
    value = np.where(at == last, bounds[last - 1], value)
    result[usable] = np.where(observations == 0, np.nan, value)
    return result


def _fraction(lower: float, upper: float, buckets: _Buckets) -> Floats:
    """The share of observations between two values, shape (histograms,); what has no bucket is meaningless."""
    result = np.full(len(buckets.sizes), np.nan)
    usable = np.flatnonzero(buckets.sizes > 0)
    last = buckets.starts[usable] + buckets.sizes[usable] - 1
    closed = buckets.bounds[last] == math.inf
    usable, last = usable[closed], last[closed]
    if math.isnan(lower) or math.isnan(upper) or not len(usable):
        return result
    count = buckets.counts[last]
    low, high = (_rank_of(value, buckets, usable, last) for value in (lower, upper))
    share = np.zeros(len(usable)) if lower >= upper else (high - low) / count
    result[usable] = np.where(count == 0, np.nan, share)
    return result


def _rank_of(value: float, buckets: _Buckets, histograms: Codes, last: Codes) -> Floats:
    """How many observations are below a value, interpolated within its bucket."""
    counts, bounds = buckets.counts, buckets.bounds
    total = counts[last]
    if value == math.inf:
        return total
    first = buckets.starts[histograms]
    passed = np.bincount(buckets.owners[bounds <= value], minlength=len(buckets.sizes))[histograms]
    at = first + passed  # the first bucket that ends above the value; the last one always does
    inner = passed > 0
    before = np.maximum(at - 1, 0)
    begin = np.where(inner, bounds[before], np.where(bounds[first] > 0, 0.0, -math.inf))
    missed = np.where(inner, counts[before], 0.0)
    within = missed + (counts[at] - missed) * (value - begin) / (bounds[at] - begin)
    within = np.where(begin == -math.inf, counts[at], within)
    rank = np.where(begin >= value, missed, within)
    return np.where(rank > total, total, rank)


def _histogram_quantile(_: FunctionContext, arguments: list[Value], *, tolerance: float = SMALL_DELTA) -> Value:
    """A quantile of each histogram, interpolated linearly within its bucket.

    NaN without observations, with fewer than two buckets or without a bucket `+Inf`. In that one the next lower
    bound is given; the lowest one begins at 0 if it ends above.
    """
    given = vector(arguments[1])
    layout = given.shape.derive("histograms", lambda: _layout(given.shape))
    buckets = _buckets(layout, given)
    with np.errstate(all="ignore"):
        return Vector(layout.shape, _quantile(number(arguments[0]), buckets, tolerance), buckets.sizes > 0)


def _histogram_fraction(_: FunctionContext, arguments: list[Value]) -> Value:
    """The share of each histogram's observations between two values, interpolated linearly within buckets."""
    given = vector(arguments[2])
    layout = given.shape.derive("histograms", lambda: _layout(given.shape))
    buckets = _buckets(layout, given)
    with np.errstate(all="ignore"):
        share = _fraction(number(arguments[0]), number(arguments[1]), buckets)
    return Vector(layout.shape, share, buckets.sizes > 0)


def _histogram_quantile_2(context: FunctionContext, arguments: list[Value]) -> Value:
    """As before Prometheus 2.49: counts that hardly differ are not evened out."""
    return _histogram_quantile(context, arguments, tolerance=0.0)


HISTOGRAM: dict[str, VectorFunction] = {
    "histogram_quantile": _histogram_quantile,
    "histogram_fraction": _histogram_fraction,
}
COMPAT2_HISTOGRAM: dict[str, VectorFunction] = {"histogram_quantile": _histogram_quantile_2}
