"""Where series are going: straight lines through their samples, and double exponential smoothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.promql.functions.compensated import add, columns
from engine.core.promql.functions.context import RangeFunction
from engine.core.promql.vector import Bools, EvaluationError, Floats
from engine.core.promql.window import Dense, Times, Window

__all__ = ["COMPAT2_TREND", "TREND"]


def _line(dense: Dense, origin_ms: Times | int, *, forgets: bool = True) -> tuple[Floats, Floats]:
    """Least squares: (slope per second, value at the origin) of each series.

    Equal values give a flat line exactly, equal infinities NaN. Needs two samples.
    """
    size, width = dense.values.shape
    if not width:
        return np.full(size, np.nan), np.full(size, np.nan)
    # One row each: x, y, x*y, x*x.
    total, lost = np.zeros((2, 4, size))
    flat = np.ones(size, dtype=np.bool_)
    first = dense.values[:, 0]
    seconds = np.ascontiguousarray((dense.times - np.reshape(origin_ms, (-1, 1))).T / 1000.0)
    for index, y, have in columns(dense):
        x = seconds[index]
        added = np.stack((x, y, x * y, x * x))
        unequal = y != first
        if have is not None:
            added[:, ~have] = 0.0  # leaves sums as they are
            unequal &= have
        if index:
            flat &= ~unequal
        total, lost = add(added, total, lost, forgets=forgets)
    x, y, xy, xx = total + lost
    count = dense.counts
    slope = (xy - x * y / count) / (xx - x * x / count)
    at_origin = y / count - slope * x / count
    level = np.where(np.isinf(first), np.nan, first)
    return np.where(flat, level - level, slope), np.where(flat, level, at_origin)


def _deriv(window: Window, *, forgets: bool = True) -> tuple[Floats, Bools]:
    dense = window.dense()
    with np.errstate(all="ignore"):
        # Times are counted from the first sample: near the values in use, small numbers stay exact.
        slope, _level = _line(dense, window.ends().first_ms, forgets=forgets)
    return slope, dense.counts >= 2


def _predict(window: Window, seconds: Floats, at_ms: int, *, forgets: bool = True) -> tuple[Floats, Bools]:
    dense = window.dense()
    with np.errstate(all="ignore"):
        slope, level = _line(dense, at_ms, forgets=forgets)
        return slope * seconds + level, dense.counts >= 2


def deriv(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Slope per second, by least squares."""
    return _deriv(window)


def predict_linear(window: Window, arguments: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """The value that the line through the samples has some seconds after the instant of evaluation."""
    return _predict(window, arguments[0], at_ms)


def _deriv_2(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    return _deriv(window, forgets=False)


def _predict_linear_2(window: Window, arguments: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    return _predict(window, arguments[0], at_ms, forgets=False)


def double_exponential_smoothing(window: Window, arguments: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """The smoothed value at the last sample; arguments: smoothing factor, trend factor.

    Raises:
        EvaluationError: A factor is not between 0 and 1, both exclusive, and there is a series.
    """
    smoothing, trending = arguments[0], arguments[1]
    dense = window.dense()
    if (dense.counts > 0).any():
        for what, factor in (("smoothing", smoothing), ("trend", trending)):
            if ((factor <= 0) | (factor >= 1)).any():
                raise EvaluationError(f"the {what} factor must be between 0 and 1, exclusive")
    size, width = dense.values.shape
    if width < 2:
        return np.full(size, np.nan), np.zeros(size, dtype=np.bool_)
    before, level = np.zeros(size), dense.values[:, 0].copy()
    with np.errstate(all="ignore"):
        trend = dense.values[:, 1] - level
        for index, values, have in columns(dense):
            if index == 0:
                continue
            if index > 1:
                trend = trending * (level - before) + (1 - trending) * trend
            smoothed = smoothing * values + (1 - smoothing) * (level + trend)
            if have is not None:
                smoothed = np.where(have, smoothed, level)
            before, level = level, smoothed
    return level, dense.counts >= 2


TREND: dict[str, RangeFunction] = {
    "deriv": deriv,
    "predict_linear": predict_linear,
    "double_exponential_smoothing": double_exponential_smoothing,
}
COMPAT2_TREND: dict[str, RangeFunction] = {
    "deriv": _deriv_2,
    "predict_linear": _predict_linear_2,
    "holt_winters": double_exponential_smoothing,
}
