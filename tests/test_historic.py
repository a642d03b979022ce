"""What an expression reads of a history: the metrics and the span it needs, and no more."""

import math

import numpy as np
import pytest

from engine.core.promql.query import evaluate_instant
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Vector
from engine.events import STALE, Blind, DomainEvent, Health, Transition
from engine.historic import source_of
from engine.ports import History, RunInfo, SeriesSamples

MINUTE = 60_000
STORED = {
    "up": {'up{job="a"}': 1.0, 'up{job="b"}': 0.0},
    "http_requests_total": {"http_requests_total": 5.0},
    "http_errors_total": {"http_errors_total": 2.0},
}


class Told(History):
    """A history that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.listed = 0

    async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        self.asked.append((metric, start_ms, end_ms))
        times = np.arange(0, 10 * MINUTE, MINUTE)
        inside = times[(times >= start_ms) & (times < end_ms)]
        return [
            SeriesSamples(series, inside, inside / MINUTE * value) for series, value in STORED.get(metric, {}).items()
        ]

    async def metrics(self) -> list[str]:
        self.listed += 1
        return sorted(STORED)

    async def transitions(self, start_ms: int, end_ms: int) -> list[Transition]:
        raise NotImplementedError

    async def health(self, start_ms: int, end_ms: int) -> list[Health]:
        raise NotImplementedError

    async def runs(self) -> list[RunInfo]:
        raise NotImplementedError

    async def events(self, start_ms: int, end_ms: int) -> list[DomainEvent]:
        raise NotImplementedError

    async def blind(self, start_ms: int, end_ms: int) -> list[Blind]:
        raise NotImplementedError


async def answer(expr: str, at_ms: int, history: Told) -> list[tuple[dict[str, str], float]]:
    plan = compile_query(expr)
    value = evaluate_instant(plan, await source_of(history, plan, at_ms, at_ms), at_ms)
    assert isinstance(value, Vector)
    return value.items()


@pytest.mark.parametrize(
    ("expr", "back_ms"),
    [
        ("up", 5 * MINUTE),
        ("rate(up[3m])", 8 * MINUTE),
        ("up offset 1m", 6 * MINUTE),
        ("max_over_time(rate(up[1m])[2m:1m] offset 1m)", 9 * MINUTE),
        ("up and rate(up[3m])", 8 * MINUTE),
    ],
)
async def test_as_far_back_as_it_looks_and_no_further(expr: str, back_ms: int) -> None:
    history = Told()
    await answer(expr, 9 * MINUTE, history)
    assert history.asked == [("up", 9 * MINUTE - back_ms, 9 * MINUTE + 1)]
    assert history.listed == 0


async def test_answers() -> None:
    assert await answer("up", 3 * MINUTE, Told()) == [
        ({"__name__": "up", "job": "a"}, 3.0),
        ({"__name__": "up", "job": "b"}, 0.0),
    ]
    assert await answer("sum(increase(http_requests_total[2m]))", 4 * MINUTE, Told()) == [({}, 10.0)]


@pytest.mark.parametrize("expr", ["up offset -2m", "up @ 300", "sum_over_time((up offset -1m)[1m:1m] offset -1m)"])
async def test_what_looks_ahead_reads_ahead(expr: str) -> None:
    history = Told()
    rows = await answer(expr, 3 * MINUTE, history)
    assert [number for labels, number in rows if labels["job"] == "a"] == [5.0]
    assert history.asked[0][2] > 5 * MINUTE


async def test_a_pattern_reads_the_metrics_it_can_mean() -> None:
    history = Told()
    rows = await answer('{__name__=~"http_.*", job=""}', 2 * MINUTE, history)
    assert sorted(number for _, number in rows) == [4.0, 10.0]
    assert [metric for metric, _, _ in history.asked] == ["http_errors_total", "http_requests_total"]
    await answer('{job="a"} or {job="b"}', 2 * MINUTE, history)
    assert history.listed == 2


async def test_a_series_that_ended_is_gone() -> None:
    class Ended(Told):
        async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
            return [SeriesSamples("up", np.array([0, MINUTE]), np.array([1.0, STALE]))]

    assert math.isnan(STALE)
    assert await answer("up", MINUTE - 1, Ended()) == [({"__name__": "up"}, 1.0)]
    assert await answer("up", MINUTE, Ended()) == []
