"""One number for all samples of a window: sums, means, extremes, ends, counts, and when they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.promql.functions.compensated import add, columns
from engine.core.promql.functions.context import RangeFunction
from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Dense, Window

__all__ = ["COMPAT2_OVER_TIME", "OVER_TIME"]


def avg_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Mean: compensated sum by count, and where that sum overflows the mean of means, as Prometheus has it."""
    counts = window.counts()
    with np.errstate(all="ignore"):
        means = window.sums() / counts
        present = counts > 0
        odd = np.flatnonzero(present & ~np.isfinite(means))
        if len(odd):
            dense = window.dense()
            means[odd] = _careful_means(Dense(dense.times[odd], dense.values[odd], dense.counts[odd]))
    return means, present


def _careful_means(dense: Dense) -> Floats:
    """Means of series whose sum may overflow. Each has at least one sample."""
    total, lost = dense.values[:, 0].copy(), np.zeros(len(dense.counts))
    count = np.ones(len(dense.counts))
    as_mean = np.zeros(len(dense.counts), dtype=np.bool_)
    for index, values, have in columns(dense):
        if not index:
            continue
        within = np.ones_like(as_mean) if have is None else have
        summed, summed_lost = add(values, total, lost)
        turned = within & ~as_mean & np.isinf(summed)  # from here on `total` is a mean
        total, lost = np.where(turned, total / index, total), np.where(turned, lost / index, lost)
        as_mean |= turned
        share = index / (index + 1.0)
        mean, mean_lost = add(values / (index + 1.0), share * total, share * lost)
        total = np.where(within, np.where(as_mean, mean, summed), total)
        lost = np.where(within, np.where(as_mean, mean_lost, summed_lost), lost)
        count = np.where(within, index + 1.0, count)
    return np.where(as_mean, total + lost, total / count + lost / count)


def _avg_2(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Mean as in Prometheus 2.x: always the mean of means, and an infinite one stays unless NaN or the other comes."""
    dense = window.dense()
    mean, lost = np.zeros((2, len(dense.counts)))
    with np.errstate(all="ignore"):
        for index, values, have in columns(dense):
            new, new_lost = add(values / (index + 1.0) - mean / (index + 1.0), mean, lost, forgets=False)
            stays = np.isinf(mean) & ~np.isnan(values) & (np.isfinite(values) | ((mean > 0) == (values > 0)))
            if have is not None:
                stays |= ~have
            mean, lost = np.where(stays, mean, new), np.where(stays, lost, new_lost)
        return np.where(np.isinf(mean), mean, mean + lost), dense.counts > 0


def sum_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Compensated sum."""
    return window.sums(), window.counts() > 0


def min_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Least value; NaN only if all are."""
    return window.minima(), window.counts() > 0


def max_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Greatest value; NaN only if all are."""
    return window.maxima(), window.counts() > 0


def count_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """How many samples."""
    counts = window.counts()
    return counts.astype(np.float64), counts > 0


def present_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """1 for each series that has a sample."""
    counts = window.counts()
    return np.ones(len(counts)), counts > 0


def first_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Oldest value."""
    return window.ends().first, window.counts() > 0


def last_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """Newest value."""
    return window.ends().last, window.counts() > 0


def ts_of_first_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """When the oldest sample was, in seconds."""
    return window.ends().first_ms / 1000.0, window.counts() > 0


def ts_of_last_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """When the newest sample was, in seconds."""
    return window.ends().last_ms / 1000.0, window.counts() > 0


def _last_time_of(window: Window, extremes: Floats) -> tuple[Floats, Bools]:
    """When a series last had its extreme value, in seconds; if all values are NaN, the last sample's time."""
    times, values, counts = window.dense()
    hits = np.isnan(extremes)[:, None] | (values == extremes[:, None])
    hits &= np.arange(values.shape[1]) < counts[:, None]
    long_ago = np.iinfo(np.int64).min
    latest = np.where(hits, times, long_ago).max(axis=1, initial=long_ago)
    return latest / 1000.0, counts > 0


def ts_of_min_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """When the least value was last seen, in seconds."""
    return _last_time_of(window, window.minima())


def ts_of_max_over_time(window: Window, _: Sequence[Floats], at_ms: int) -> tuple[Floats, Bools]:
    """When the greatest value was last seen, in seconds."""
    return _last_time_of(window, window.maxima())


OVER_TIME: dict[str, RangeFunction] = {
    "avg_over_time": avg_over_time,
    "sum_over_time": sum_over_time,
    "min_over_time": min_over_time,
    "max_over_time": max_over_time,
    "count_over_time": count_over_time,
    "present_over_time": present_over_time,
    "first_over_time": first_over_time,
    "last_over_time": last_over_time,
    "ts_of_first_over_time": ts_of_first_over_time,
    "ts_of_last_over_time": ts_of_last_over_time,
    "ts_of_min_over_time": ts_of_min_over_time,
    "ts_of_max_over_time": ts_of_max_over_time,
}
COMPAT2_OVER_TIME: dict[str, RangeFunction] = {"avg_over_time": _avg_2}
