"""Samples in memory: what selectors and ranges see of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.memory import MemorySource
from engine.core.promql.plan import Selector
from engine.core.promql.query_compile import compile_query
from engine.events import STALE

X = Selector(0, "x")
LOOKBACK_MS = 300_000


def source(*rows: tuple[list[int], list[float]], left_open: bool = True) -> MemorySource:
    named = (({"__name__": "x", "i": str(i)}, times, values) for i, (times, values) in enumerate(rows))
    return MemorySource(named, LOOKBACK_MS, left_open=left_open)


@pytest.mark.parametrize(
    ("at_ms", "left_open", "value"),
    [
        (999, True, None),
        (1_000, True, 1.0),
        (1_999, True, 1.0),
        (2_000, True, 2.0),
        (2_000 + LOOKBACK_MS - 1, True, 2.0),
        (2_000 + LOOKBACK_MS, True, None),
        (2_000 + LOOKBACK_MS, False, 2.0),
        (2_001 + LOOKBACK_MS, False, None),
        (10**15, True, None),
        (-(10**15), True, None),
    ],
)
def test_the_newest_sample_within_the_lookback(at_ms: int, left_open: bool, value: float | None) -> None:
    values, times = source(([1_000, 2_000], [1.0, 2.0]), ([], []), left_open=left_open).instant(X, at_ms)
    assert values.items() == ([] if value is None else [({"__name__": "x", "i": "0"}, value)])
    assert [seconds for _, seconds in times.items()] == ([] if value is None else [value])


def test_a_stale_marker_ends_a_series_until_it_returns() -> None:
    samples = source(([1_000, 2_000, 3_000], [1.0, STALE, math.nan]))
    found = [len(samples.instant(X, at_ms)[0].items()) for at_ms in (1_500, 2_500, 3_500)]
    assert found == [1, 0, 1]
    assert samples.window(X, 0, 5_000)[1].counts().tolist() == [2]


@pytest.mark.parametrize(("left_open", "times"), [(True, [2_000, 3_000]), (False, [1_000, 2_000, 3_000])])
def test_the_left_end_of_a_range(left_open: bool, times: list[int]) -> None:
    samples = source(([1_000, 2_000, 3_000, 4_000], [1.0, 2.0, 3.0, 4.0]), left_open=left_open)
    assert samples.window(X, 1_000, 3_000)[1].dense().times.tolist() == [times]


def test_nothing_at_all() -> None:
    for samples in (MemorySource([]), source(([], []))):
        assert samples.instant(X, 0)[0].items() == []
        assert samples.window(X, 0, 10)[1].counts().sum() == 0


def test_the_shape_of_a_selection_stays_the_same_object() -> None:
    samples = source(([1], [1.0]))
    assert samples.instant(X, 5)[0].shape is samples.window(X, 0, 9)[0] is samples.instant(Selector(3, "x"), 7)[0].shape


def test_selectors_by_name_and_matchers() -> None:
    rows = [{"__name__": "a", "x": "1"}, {"__name__": "b", "x": "2"}, {"x": "3"}]
    samples = MemorySource((labels, [0], [float(i)]) for i, labels in enumerate(rows))

    def selected(expr: str) -> list[float]:
        return [value for _, value in samples.instant(compile_query(expr).leaves[0], 1)[0].items()]

    assert selected('{__name__=~"a|b"}') == [0.0, 1.0]
    assert selected('{__name__=~"a|b",__name__!="a"}') == [1.0]
    assert selected('{__name__="",x="3"}') == [2.0]
    assert selected('{x=~".+",x!="1"}') == [1.0, 2.0]
    assert selected('a{y=""}') == [0.0]


@pytest.mark.parametrize(("times", "values"), [([2, 1], [0.0, 0.0]), ([1, 1], [0.0, 0.0]), ([1], [])])
def test_samples_out_of_order_are_refused(times: list[int], values: list[float]) -> None:
    with pytest.raises(ValueError, match="not in order"):
        source((times, values))


SAMPLES = st.lists(st.tuples(st.integers(-20, 20), st.sampled_from([1.0, STALE, math.nan])), max_size=8).map(
    lambda pairs: sorted(dict(pairs).items())
)


@given(st.lists(SAMPLES, max_size=4), st.integers(-30, 30), st.integers(0, 25), st.booleans())
def test_windows_and_instants_are_what_a_loop_finds(
    rows: list[list[tuple[int, float]]], end: int, length: int, left_open: bool
) -> None:
    series = [({"__name__": "x", "i": str(i)}, [t for t, _ in row], [v for _, v in row]) for i, row in enumerate(rows)]
    samples = MemorySource(series, length, left_open=left_open)

    def inside(time: int) -> bool:
        return time <= end and (time > end - length if left_open else time >= end - length)

    stale = np.array([STALE]).view(np.uint64)[0]

    def is_stale(value: float) -> bool:
        return bool(np.array([value]).view(np.uint64)[0] == stale)

    found = samples.window(X, end - length, end)[1].dense()
    expected = [[t for t, v in row if inside(t) and not is_stale(v)] for row in rows]
    assert [times[:count].tolist() for times, count in zip(found.times, found.counts, strict=True)] == expected
    newest = [max(((t, v) for t, v in row if t <= end), default=None, key=lambda pair: pair[0]) for row in rows]
    present = samples.instant(X, end)[0].present.tolist()
    assert present == [last is not None and inside(last[0]) and not is_stale(last[1]) for last in newest]
