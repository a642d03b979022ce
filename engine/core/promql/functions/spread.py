"""How samples spread: variance, quantiles, and the median deviation from the median."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.promql.functions.compensated import add, columns
from engine.core.promql.functions.context import RangeFunction
from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Window

__all__ = ["COMPAT2_SPREAD", "SPREAD", "quantiles"]


def _variances(window: Window, *, forgets: bool = True) -> tuple[Floats, Bools]:
    """Population variances, by Welford's method with compensation."""
    dense = window.dense()
    mean, mean_lost, squares, squares_lost = np.zeros((4, len(dense.counts)))
    with np.errstate(all="ignore"):
        for index, values, have in columns(dense):
            off = values - (mean + mean_lost)
            if have is not None:  # at the mean, a value adds nothing
                off = np.where(have, off, 0.0)
                values = np.where(have, values, 0.0)
            mean, mean_lost = add(off / (index + 1.0), mean, mean_lost, forgets=forgets)
            square = off * (values - (mean + mean_lost))
            squares, squares_lost = add(square, squares, squares_lost, forgets=forgets)
        return (squares + squares_lost) / dense.counts, dense.counts > 0


def stdvar_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Population variance."""
    return _variances(window)


def stddev_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Population standard deviation."""
    variance, present = _variances(window)
    return np.sqrt(variance), present


def _stdvar_2(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    return _variances(window, forgets=False)


def _stddev_2(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    variance, present = _variances(window, forgets=False)
    return np.sqrt(variance), present


def quantiles(q: Floats, values: Floats, counts: Floats | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    """A quantile of each row, by linear interpolation between the two nearest ranks.

    Args:
        q: Shape () or (n,). Below 0 gives -Inf, above 1 gives +Inf, NaN gives NaN.
        values: Shape (n, k), rows left aligned; what is not counted must be NaN. NaN counts as the least value.
        counts: Shape (n,): how many values each row has. A row without any gives NaN.
    """
    size, width = values.shape
    result = np.full(size, np.nan)
    if not size or not width:
        return result
    with np.errstate(all="ignore"):
        ascending = np.sort(values, axis=1)  # NaN last
        nans = counts - (~np.isnan(values)).sum(axis=1)
        rank = np.clip(np.where(np.isnan(q), 0.0, q), 0.0, 1.0) * (counts - 1)
        below = np.maximum(np.floor(rank), 0.0)
        weight = rank - np.floor(rank)
        low = _ranked(ascending, nans, below)
        high = _ranked(ascending, nans, np.minimum(counts - 1.0, below + 1))
        result = low * (1 - weight) + high * weight
    result = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))
    return np.where(np.isnan(q) | (counts == 0), np.nan, result)


def _ranked(ascending: Floats, nans: Floats, rank: Floats) -> Floats:
    """The value of this rank in each row, where `nans` NaN come before the numbers."""
    place = (rank - nans).astype(np.int64)
    found: Floats = ascending[np.arange(len(place)), np.clip(place, 0, ascending.shape[1] - 1)]
    return np.where(place < 0, np.nan, found)


def quantile_over_time(window: Window, arguments: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """A quantile of the samples; the first argument says which."""
    _times, values, counts = window.dense()
    return quantiles(arguments[0], values, counts), counts > 0


def mad_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Median of the absolute deviations from the median."""
    _times, values, counts = window.dense()
    half = np.array(0.5)
    with np.errstate(all="ignore"):
        median = quantiles(half, values, counts)
        return quantiles(half, np.abs(values - median[:, None]), counts), counts > 0


SPREAD: dict[str, RangeFunction] = {
    "stdvar_over_time": stdvar_over_time,
    "stddev_over_time": stddev_over_time,
    "quantile_over_time": quantile_over_time,
    "mad_over_time": mad_over_time,
}
COMPAT2_SPREAD: dict[str, RangeFunction] = {"stdvar_over_time": _stdvar_2, "stddev_over_time": _stddev_2}
