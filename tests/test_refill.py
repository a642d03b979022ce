"""What a history has of the time before a start: read newest first, in the order and the batches it came in."""

from collections.abc import Sequence

import numpy as np
import pytest

from engine.errors import SinkError
from engine.events import STALE, STALE_BITS, SampleBatch
from engine.ports import History, SeriesSamples
from engine.refill import SLICE_MS, batches_of, past_of

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
NOW = 10 * HOUR


class Kept(History):
    """Ten series of two metrics, every ten seconds, since ever."""

    def __init__(self, rows_max: int = 1_000_000) -> None:
        self.asked: list[tuple[list[str], int, int]] = []
        self.rows_max = rows_max

    async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        self.asked.append((list(metrics), start_ms, end_ms))
        times = np.arange(-(-start_ms // 10_000) * 10_000, end_ms, 10_000)
        names = [f'{metric}{{i="{number}"}}' for metric in metrics if metric in "ab" for number in range(5)]
        if len(names) * len(times) > self.rows_max:
            raise SinkError("too_many_rows", "too many", retryable=False)
        return [SeriesSamples(name, times, times / 1_000.0) for name in names]

    async def metrics(self) -> list[str]:
        return ["a", "b"]


async def test_it_is_read_newest_first_and_no_further_than_each_metric_is_looked_back() -> None:
    history = Kept()
    past = await past_of(history, {"a": NOW - HOUR, "b": NOW - MINUTE}, NOW, 1_000_000)
    assert history.asked[0] == (["a", "b"], NOW - SLICE_MS, NOW)
    assert [names for names, _, _ in history.asked[1:]] == [["a"]] * (len(history.asked) - 1)
    assert [start for _, start, _ in history.asked] == [end for _, _, end in history.asked[1:]] + [NOW - HOUR]
    assert past.whole
    assert past.since_ms == NOW - HOUR
    times = [batch.time_ms for batch in batches_of(past.series) if batch.series[0].startswith("a")]
    assert times == list(range(NOW - HOUR, NOW, 10_000))


async def test_every_metric_is_all_that_the_history_has() -> None:
    history = Kept()
    await past_of(history, {"": NOW - MINUTE, "a": NOW - 2 * MINUTE, "gone": NOW - MINUTE}, NOW, 1_000)
    assert history.asked == [(["a", "b", "gone"], NOW - 2 * MINUTE, NOW)]
    assert (await past_of(history, {}, NOW, 1_000)).series == []
    assert (await past_of(history, {"a": NOW}, NOW, 1_000)).whole


@pytest.mark.parametrize(("rows_max", "samples_max"), [(400, 1_000_000), (1_000_000, 600)])
async def test_of_too_many_samples_the_newest_are_taken(rows_max: int, samples_max: int) -> None:
    past = await past_of(Kept(rows_max), {"a": NOW - HOUR}, NOW, samples_max)
    assert not past.whole
    assert past.since_ms == NOW - 3 * SLICE_MS if samples_max == 600 else NOW - SLICE_MS
    assert sum(len(one.times_ms) for one in past.series) == 5 * (NOW - past.since_ms) // 10_000 <= samples_max


async def test_another_error_is_for_the_caller() -> None:
    class Broken(Kept):
        async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
            raise SinkError("corrupt", "it is damaged", retryable=True)

    with pytest.raises(SinkError, match="damaged"):
        await past_of(Broken(), {"a": 0}, NOW, 1_000)


def kept(
    series: str,
    times: Sequence[int],
    values: Sequence[float] | None = None,
    down: Sequence[int] = (),
    interval_ms: int | None = None,
) -> SeriesSamples:
    numbers = np.arange(len(times), dtype=np.float64) if values is None else np.array(values)
    return SeriesSamples(series, np.array(times, dtype=np.int64), numbers, interval_ms, frozenset(down))


def shown(batch: SampleBatch) -> tuple[int, tuple[str, ...], list[object], int, str]:
    bits = batch.values.view(np.int64)
    values = ["stale" if bit == STALE_BITS else value for bit, value in zip(bits, batch.values.tolist(), strict=True)]
    return batch.time_ms, batch.series, values, batch.interval_ms, batch.stale


def test_what_came_together_is_together_in_order_of_time_with_the_interval_it_came_at() -> None:
    found = [
        kept("a", [1_000, 2_000, 3_003]),
        kept("b", [1_000, 2_000, 3_003]),
        kept("c", [2_000, 7_000]),
        kept("d", [9_000]),
    ]
    assert [shown(batch) for batch in batches_of(found)] == [
        (1_000, ("a", "b"), [0.0, 0.0], 1_000, "ended"),
        (2_000, ("a", "b"), [1.0, 1.0], 1_000, "ended"),
        (2_000, ("c",), [0.0], 5_000, "ended"),
        (3_003, ("a", "b"), [2.0, 2.0], 1_000, "ended"),
        (7_000, ("c",), [1.0], 5_000, "ended"),
        (9_000, ("d",), [0.0], 0, "ended"),
    ]
    assert list(batches_of([])) == []


def test_the_same_series_are_the_same_tuple() -> None:
    first, second = batches_of([kept("a", [1, 2]), kept("b", [1, 2])])
    assert first.series is second.series


def test_pieces_of_a_series_are_one_series_and_its_last_gaps_are_its_interval() -> None:
    """A target that was scraped every minute and is now scraped every second."""
    newest, oldest = kept("a", range(600_000, 620_000, 1_000)), kept("a", range(0, 600_000, 60_000))
    batches = list(batches_of([newest, oldest]))
    assert [batch.time_ms for batch in batches] == [*range(0, 600_000, 60_000), *range(600_000, 620_000, 1_000)]
    assert {batch.interval_ms for batch in batches} == {1_000}


def test_an_interval_that_is_stored_is_not_estimated() -> None:
    stored = [kept("a", [0, 1_000, 2_000], interval_ms=5_000), kept("b", [0, 1_000, 2_000], interval_ms=0)]
    assert [(batch.series, batch.interval_ms) for batch in batches_of(stored)] == [(("b",), 0), (("a",), 5_000)] * 3


def test_markers_keep_their_causes() -> None:
    found = [kept("a", [1, 2], [1.0, STALE], [2]), kept("b", [1, 2], [1.0, STALE])]
    assert [(series, values, cause) for _, series, values, _, cause in map(shown, batches_of(found))] == [
        (("a", "b"), [1.0, 1.0], "ended"),
        (("b",), ["stale"], "ended"),
        (("a",), ["stale"], "target_down"),
    ]


def test_very_many_of_one_instant_come_in_parts() -> None:
    found = [kept(f"a{number}", [5]) for number in range(25_000)]
    assert [len(batch.series) for batch in batches_of(found)] == [10_000, 10_000, 5_000]
