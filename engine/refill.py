"""What windows are refilled with: the samples a history has of the time before a start, as the batches they came in.

An edge: it asks a `History`. What becomes of the samples is the core's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import SinkError
from engine.events import SampleBatch, StaleCause
from engine.ports import History, SeriesSamples

__all__ = ["Past", "batches_of", "past_of"]

SLICE_MS: Final = 300_000
"""How much is read first, the newest; then twice as much each time."""
SAMPLES_PER_BATCH: Final = 10_000
GAPS_MAX: Final = 10
ROUNDED_MS: Final = 100


class Past(NamedTuple):
    """What was found.

    Args:
        series: Samples of series; one series may come in several pieces.
        since_ms: Everything that was asked for is there from then on.
        whole: Whether that is all that was asked for.
    """

    series: list[SeriesSamples]
    since_ms: int
    whole: bool


async def past_of(history: History, reach: Mapping[str, int], end_ms: int, samples_max: int) -> Past:
    """Read samples before `end_ms`, the newest first, for as long as there are not too many.

    Args:
        reach: By metric since when (ms); "" is every metric.
        samples_max: When there are so many, older ones are left out.

    Raises:
        SinkError: The history can't be read.
    """
    since = dict(reach)
    if "" in since:
        every_ms = since.pop("")
        for name in await history.metrics():
            since[name] = min(every_ms, since.get(name, every_ms))
    found: list[SeriesSamples] = []
    oldest_ms, until_ms, width_ms, count = min(since.values(), default=end_ms), end_ms, SLICE_MS, 0
    while until_ms > oldest_ms:
        wanted = sorted(name for name, first_ms in since.items() if first_ms < until_ms)
        start_ms = max(min(since[name] for name in wanted), until_ms - width_ms)
        try:
            piece = await history.raw_samples(wanted, start_ms, until_ms)
        except SinkError as error:
            if error.reason == "too_many_rows":
                return Past(found, until_ms, whole=False)
            raise
        count += sum(len(one.times_ms) for one in piece)
        if count > samples_max:
            return Past(found, until_ms, whole=False)
        found += piece
        until_ms, width_ms = start_ms, 2 * width_ms
    return Past(found, oldest_ms, whole=True)


def batches_of(found: Sequence[SeriesSamples]) -> Iterator[SampleBatch]:
    """Samples in order of time, those of one time and one interval together. An interval that is not
    stored is estimated."""
    texts: dict[str, int] = {}
    numbers = [texts.setdefault(one.series, len(texts)) for one in found]
    if not found:
        return
    sizes = [len(one.times_ms) for one in found]
    series = np.repeat(np.array(numbers, dtype=np.int64), sizes)
    times = np.concatenate([one.times_ms for one in found])
    values = np.concatenate([one.values for one in found])
    down = np.concatenate([_among(one.times_ms, one.down_ms) for one in found])
    order = np.lexsort((times, series))
    every = _intervals(series[order], times[order], len(texts))
    for number, one in zip(numbers, found, strict=True):
        if one.interval_ms is not None:
            every[number] = one.interval_ms
    intervals = every[series]
    order = np.lexsort((series, down, intervals, times))
    series, times, values = series[order], times[order], values[order]
    down, intervals = down[order], intervals[order]
    cuts = (np.diff(times) != 0) | (np.diff(intervals) != 0) | (np.diff(down) != 0)
    bounds = [0, *(np.flatnonzero(cuts) + 1).tolist(), len(times)]
    names = list(texts)
    known: dict[bytes, tuple[str, ...]] = {}  # the same tuple each time: it is recognised
    for first, end in pairwise(bounds):
        for start in range(first, end, SAMPLES_PER_BATCH):
            part = slice(start, min(start + SAMPLES_PER_BATCH, end))
            key = series[part].tobytes()
            if key not in known:
                known[key] = tuple(names[number] for number in series[part].tolist())
            cause: StaleCause = "target_down" if down[start] else "ended"
            yield SampleBatch(int(times[start]), known[key], values[part], int(intervals[start]), cause)


def _among(times: NDArray[np.int64], those: frozenset[int]) -> NDArray[np.bool_]:
    if not those:
        return np.zeros(len(times), dtype=np.bool_)
    found: NDArray[np.bool_] = np.isin(times, np.fromiter(those, np.int64, len(those)))
    return found


def _intervals(series: NDArray[np.int64], times: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How often each series comes, by the median of its last gaps, in milliseconds; 0 where there is none.

    Where a history does not say it, a series would go stale after five minutes only."""
    made = np.zeros(count, dtype=np.int64)
    bounds = np.flatnonzero(np.diff(series, prepend=-1, append=count)).tolist()
    for first, end in pairwise(bounds):
        gaps = np.diff(times[max(first, end - GAPS_MAX - 1) : end])
        if len(gaps):
            made[series[first]] = max(ROUNDED_MS, round(float(np.median(gaps)) / ROUNDED_MS) * ROUNDED_MS)
    return made
