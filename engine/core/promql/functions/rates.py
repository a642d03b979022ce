"""How fast series change: rate, increase, delta and their instantaneous kin, changes, resets.

The extrapolation is Prometheus': to the ends of the window where samples come close enough to them, half a sample
interval otherwise, and for a counter never beyond the point where it would have been zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.promql.functions.context import RangeFunction
from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Times, Window

__all__ = ["COMPAT2_RATES", "RATES"]

# How much longer than the mean sample interval the way to the end of the window may be (Prometheus' constant).
EXTRAPOLATION_THRESHOLD = 1.1


def _extrapolated(window: Window, *, counter: bool, per_second: bool, zero_first: bool = False) -> tuple[Floats, Bools]:
    """The difference of last and first value, extrapolated to the window.

    Args:
        counter: Values that go down are resets.
        per_second: Divide by the length of the window.
        zero_first: The order of Prometheus before 2.52: the counter's zero limits the way to the start before
            the threshold is asked, and may then be replaced by half a sample interval.
    """
    counts, ends = window.counts(), window.ends()
    with np.errstate(all="ignore"):
        change = ends.last - ends.first
        if counter:
            change = change + window.resets_added()
        to_start = (ends.first_ms - window.start_ms) / 1000.0
        to_end = (window.end_ms - ends.last_ms) / 1000.0
        sampled = (ends.last_ms - ends.first_ms) / 1000.0
        interval = sampled / (counts - 1)
        threshold = interval * EXTRAPOLATION_THRESHOLD

        if zero_first and counter:
            to_start = _to_zero(to_start, sampled, ends.first, change)
        to_start = np.where(to_start >= threshold, interval / 2, to_start)
        if counter and not zero_first:
            to_start = _to_zero(to_start, sampled, ends.first, change)
        to_end = np.where(to_end >= threshold, interval / 2, to_end)

        factor = (sampled + to_start + to_end) / sampled
        if per_second:
            factor /= (window.end_ms - window.start_ms) / 1000.0
        return change * factor, counts >= 2


def _to_zero(to_start: Floats, sampled: Floats, first: Floats, change: Floats) -> Floats:
    """The way to the start, cut where the counter, had it always risen so fast, was zero."""
    to_zero = sampled * (first / change)
    return np.where((change > 0) & (first >= 0) & (to_zero < to_start), to_zero, to_start)


def rate(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Per-second increase of a counter."""
    return _extrapolated(window, counter=True, per_second=True)


def increase(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Increase of a counter."""
    return _extrapolated(window, counter=True, per_second=False)


def delta(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Difference of a gauge."""
    return _extrapolated(window, counter=False, per_second=False)


def _rate_2(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    return _extrapolated(window, counter=True, per_second=True, zero_first=True)


def _increase_2(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    return _extrapolated(window, counter=True, per_second=False, zero_first=True)


def _last_two(window: Window) -> tuple[Times, Floats, Floats, Bools]:
    """(ms between, value before, value after, whether there are two) of the last two samples."""
    times, values, counts = window.dense()
    if values.shape[1] < 2:
        nothing = np.full(len(counts), np.nan)
        return np.ones_like(counts), nothing, nothing, np.zeros(len(counts), dtype=np.bool_)
    rows, after = np.arange(len(counts)), np.maximum(counts - 1, 1)
    between = times[rows, after] - times[rows, after - 1]
    return between, values[rows, after - 1], values[rows, after], (counts >= 2) & (between != 0)


def irate(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Per-second increase of a counter between its last two samples."""
    between, before, after, present = _last_two(window)
    with np.errstate(all="ignore"):
        change = np.where(after < before, after, after - before)
        return change / (between / 1000.0), present


def idelta(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Difference of the last two samples."""
    _between, before, after, present = _last_two(window)
    with np.errstate(all="ignore"):
        return after - before, present


def changes(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """How often the value changed. From NaN to NaN is no change."""
    _times, values, counts = window.dense()
    before, after = values[:, :-1], values[:, 1:]
    changed = (after != before) & (~(np.isnan(after) & np.isnan(before)))
    if (counts < values.shape[1]).any():
        changed &= np.arange(1, max(values.shape[1], 1)) < counts[:, None]
    return np.count_nonzero(changed, axis=1).astype(np.float64), counts > 0


def resets(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """How often the value went down."""
    _times, values, counts = window.dense()
    down = values[:, 1:] < values[:, :-1]  # false at the padding, which is NaN
    return np.count_nonzero(down, axis=1).astype(np.float64), counts > 0


RATES: dict[str, RangeFunction] = {
    "rate": rate,
    "increase": increase,
    "delta": delta,
    "irate": irate,
    "idelta": idelta,
    "changes": changes,
    "resets": resets,
}
COMPAT2_RATES: dict[str, RangeFunction] = {"rate": _rate_2, "increase": _increase_2}
