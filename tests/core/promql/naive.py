"""Range functions and histograms once more: one series, one float at a time, from their definitions.

A series is a list of (milliseconds, value); None stands for no result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

Samples = Sequence[tuple[int, float]]
Naive = Callable[[Samples, int, int], float | None]


def _numbers(samples: Samples) -> list[float]:
    return [value for _, value in samples if not math.isnan(value)]


def rate(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    whole = increase(samples, start_ms, end_ms)
    return None if whole is None else whole / ((end_ms - start_ms) / 1000)


def increase(samples: Samples, start_ms: int, end_ms: int, *, counter: bool = True) -> float | None:
    if len(samples) < 2:
        return None
    first_ms, first = samples[0]
    last_ms, last = samples[-1]
    rise = last - first
    if counter:
        rise += sum(before for (_, before), (_, after) in itertools.pairwise(samples) if after < before)
    span = (last_ms - first_ms) / 1000
    mean = span / (len(samples) - 1)
    left, right = (first_ms - start_ms) / 1000, (end_ms - last_ms) / 1000
    if left >= 1.1 * mean:
        left = mean / 2
    if right >= 1.1 * mean:
        right = mean / 2
    if counter and rise > 0 and first >= 0:
        left = min(left, span * (first / rise))
    return rise * (span + left + right) / span


def delta(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    return increase(samples, start_ms, end_ms, counter=False)


def irate(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    if len(samples) < 2:
        return None
    (before_ms, before), (after_ms, after) = samples[-2:]
    return (after if after < before else after - before) / ((after_ms - before_ms) / 1000)


def idelta(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    return samples[-1][1] - samples[-2][1] if len(samples) > 1 else None


def changes(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    count = 0
    for (_, before), (_, after) in itertools.pairwise(samples):
        count += before != after and not (math.isnan(before) and math.isnan(after))
    return float(count) if samples else None


def resets(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    count = sum(after < before for (_, before), (_, after) in itertools.pairwise(samples))
    return float(count) if samples else None


def total(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    values = [value for _, value in samples]
    if not values:
        return None
    if all(map(math.isfinite, values)):
        return math.fsum(values)
    return sum(value for value in values if not math.isfinite(value))


def mean(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    summed = total(samples, start_ms, end_ms)
    return None if summed is None else summed / len(samples)


def least(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    return min(_numbers(samples), default=math.nan) if samples else None


def greatest(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    return max(_numbers(samples), default=math.nan) if samples else None


def time_of_greatest(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    if not samples:
        return None
    most = greatest(samples, start_ms, end_ms)
    times = [ms for ms, value in samples if value == most] or [ms for ms, _ in samples]
    return times[-1] / 1000


def time_of_least(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    return time_of_greatest([(ms, -value) for ms, value in samples], start_ms, end_ms)


def variance(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    values = [value for _, value in samples]
    if not values:
        return None
    if not all(map(math.isfinite, values)):
        return math.nan
    exact = [Fraction(value) for value in values]
    centre = sum(exact) / len(exact)
    return float(sum((value - centre) ** 2 for value in exact) / len(exact))


def quantile(q: float, values: Sequence[float]) -> float | None:
    if not values:
        return None
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    ranked = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = q * (len(ranked) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] * (1 - (rank - low)) + ranked[high] * (rank - low)


def slope(samples: Samples, start_ms: int, end_ms: int) -> float | None:
    """Least squares in exact fractions. Finite values only."""
    if len(samples) < 2:
        return None
    return float(_fit(samples)[0])


def predicted(samples: Samples, at_ms: int, seconds: float) -> float | None:
    if len(samples) < 2:
        return None
    rise, middle_s, middle = _fit(samples)
    return float(middle + rise * (Fraction(at_ms, 1000) + Fraction(seconds) - middle_s))


def _fit(samples: Samples) -> tuple[Fraction, Fraction, Fraction]:
    x = [Fraction(ms, 1000) for ms, _ in samples]
    y = [Fraction(value) for _, value in samples]
    middle_x, middle_y = sum(x, Fraction(0)) / len(x), sum(y, Fraction(0)) / len(y)
    covariance = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    squares = sum(((a - middle_x) ** 2 for a in x), Fraction(0))
    return Fraction(covariance) / squares, middle_x, middle_y


def smoothed(samples: Samples, smoothing: float, trending: float) -> float | None:
    if len(samples) < 2:
        return None
    values = [value for _, value in samples]
    level, trend = values[0], values[1] - values[0]
    for at, value in enumerate(values[1:]):
        expected = level + trend
        new = smoothing * value + (1 - smoothing) * expected
        if at < len(values) - 2:
            trend = trending * (new - level) + (1 - trending) * trend
        level = new
    return level


def bucket_quantile(q: float, buckets: Sequence[tuple[float, float]]) -> float:
    """The quantile of one histogram of (upper bound, cumulative count)."""
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q)
    merged: dict[float, float] = {}
    for bound, count in buckets:
        merged[bound] = merged.get(bound, 0.0) + count
    bounds = sorted(merged)
    counts: list[float] = []
    for count in (merged[bound] for bound in bounds):
        near = bool(counts) and counts[-1] > 0 and abs(count - counts[-1]) / (count + counts[-1]) < 1e-12
        counts.append(counts[-1] if counts and (count < counts[-1] or near) else count)
    if bounds[-1] != math.inf or len(bounds) < 2 or counts[-1] == 0:
        return math.nan
    rank = q * counts[-1]
    at = next(i for i, count in enumerate(counts) if count >= rank)
    if at == len(bounds) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    begin, missed = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if counts[at] == missed:
        return math.nan  # nought of nought: the least of an empty lowest bucket
    return begin + (bounds[at] - begin) * (rank - missed) / (counts[at] - missed)


def bucket_fraction(lower: float, upper: float, buckets: Sequence[tuple[float, float]]) -> float:
    """The share between two values of one histogram of distinct bounds, the last one +Inf."""
    ordered = sorted(buckets)
    whole = ordered[-1][1]
    if whole == 0:
        return math.nan

    def below(value: float) -> float:
        begin, missed = (0.0 if ordered[0][0] > 0 else -math.inf), 0.0
        for bound, count in ordered:
            if begin >= value:
                return missed
            if value < bound:
                return count if begin == -math.inf else missed + (count - missed) * (value - begin) / (bound - begin)
            begin, missed = bound, count
        return whole

    return 0.0 if lower >= upper else (min(below(upper), whole) - min(below(lower), whole)) / whole
