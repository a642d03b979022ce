"""Range functions: against naive code written from the definitions, at the edges, and for speed."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.core.promql.functions import COMPAT2_RANGE, RANGE
from engine.core.promql.vector import EvaluationError
from engine.core.promql.window import DenseWindow
from tests.core.promql import naive
from tests.core.promql.function_cases import close

Samples = list[tuple[int, float]]
START_MS, END_MS = 1_000_000, 1_300_000
ARGUMENTS = {"quantile_over_time": 1, "predict_linear": 1, "double_exponential_smoothing": 2, "holt_winters": 2}


def window_of(series: Sequence[Samples], start_ms: int = START_MS, end_ms: int = END_MS) -> DenseWindow:
    return DenseWindow.of(
        start_ms,
        end_ms,
        [
            (np.array([ms for ms, _ in one], dtype=np.int64), np.array([value for _, value in one], dtype=np.float64))
            for one in series
        ],
    )


def run(name: str, series: Sequence[Samples], *arguments: float, at_ms: int = END_MS) -> list[float | None]:
    values, present = RANGE[name](window_of(series), [np.array(argument) for argument in arguments], at_ms)
    assert values.shape == present.shape == (len(series),)
    assert values.dtype == np.float64
    assert present.dtype == np.bool_
    return [float(value) if there else None for value, there in zip(values, present, strict=True)]


def one(name: str, values: Sequence[float], *arguments: float) -> float | None:
    """The result for one series, a sample each ten seconds up to the end of the window."""
    times = range(END_MS - 10_000 * (len(values) - 1), END_MS + 1, 10_000)
    return run(name, [list(zip(times, values, strict=True))], *arguments)[0]


def agree(expected: float | None, got: float | None, tolerance: float = 1e-9, absolute: float = 0.0) -> bool:
    if expected is None or got is None:
        return expected is got
    return close(expected, got, tolerance) or abs(expected - got) <= absolute


ordinary = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
any_float = st.one_of(ordinary, st.sampled_from([math.nan, math.inf, -math.inf, 0.0]))


@st.composite
def windows(draw: st.DrawFn, values: st.SearchStrategy[float] = ordinary) -> list[Samples]:
    """Up to six series of up to twelve samples within the window."""
    return [
        [(ms, draw(values)) for ms in sorted(draw(st.sets(st.integers(START_MS + 1, END_MS), max_size=12)))]
        for _ in range(draw(st.integers(0, 6)))
    ]


counters = windows(st.integers(0, 40).map(lambda value: value / 4))


@pytest.mark.parametrize("name", ["rate", "increase", "delta", "irate", "idelta", "changes", "resets"])
@given(series=st.one_of(counters, windows()))
def test_rates_agree_with_the_definition(name: str, series: list[Samples]) -> None:
    definition: naive.Naive = getattr(naive, name)
    expected = [definition(samples, START_MS, END_MS) for samples in series]
    assert all(agree(*pair, absolute=1e-9) for pair in zip(expected, run(name, series), strict=True))


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("sum_over_time", naive.total),
        ("avg_over_time", naive.mean),
        ("min_over_time", naive.least),
        ("max_over_time", naive.greatest),
        ("ts_of_min_over_time", naive.time_of_least),
        ("ts_of_max_over_time", naive.time_of_greatest),
        ("count_over_time", lambda samples, *_: float(len(samples)) if samples else None),
        ("present_over_time", lambda samples, *_: 1.0 if samples else None),
        ("first_over_time", lambda samples, *_: samples[0][1] if samples else None),
        ("last_over_time", lambda samples, *_: samples[-1][1] if samples else None),
        ("ts_of_first_over_time", lambda samples, *_: samples[0][0] / 1000 if samples else None),
        ("ts_of_last_over_time", lambda samples, *_: samples[-1][0] / 1000 if samples else None),
        ("changes", naive.changes),
        ("resets", naive.resets),
    ],
)
@given(series=windows(any_float))
def test_over_time_agrees_with_the_definition(name: str, definition: naive.Naive, series: list[Samples]) -> None:
    expected = [definition(samples, START_MS, END_MS) for samples in series]
    # A sum that cancels keeps an error of its last bits; so does the reference's one, of the result.
    assert all(agree(*pair, absolute=1e-15) for pair in zip(expected, run(name, series), strict=True))


@given(series=windows(any_float))
def test_variance_agrees_with_exact_fractions(series: list[Samples]) -> None:
    expected = [naive.variance(samples, START_MS, END_MS) for samples in series]
    got = run("stdvar_over_time", series)
    assert all(agree(*pair, absolute=1e-12) for pair in zip(expected, got, strict=True))
    roots = [None if value is None else math.sqrt(value) for value in got]
    assert all(agree(*pair) for pair in zip(roots, run("stddev_over_time", series), strict=True))


@given(series=windows(any_float), q=st.one_of(st.floats(-0.5, 1.5), st.sampled_from([0.0, 0.5, 1.0, math.nan])))
def test_quantile_agrees_with_sorting(series: list[Samples], q: float) -> None:
    expected = [naive.quantile(q, [value for _, value in samples]) for samples in series]
    assert all(agree(*pair) for pair in zip(expected, run("quantile_over_time", series, q), strict=True))


@given(series=windows(any_float))
def test_mad_is_the_median_distance_from_the_median(series: list[Samples]) -> None:
    expected = []
    for samples in series:
        middle = naive.quantile(0.5, [value for _, value in samples])
        away = [abs(value - middle) for _, value in samples] if middle is not None else []
        expected.append(naive.quantile(0.5, away))
    assert all(agree(*pair) for pair in zip(expected, run("mad_over_time", series), strict=True))


@given(series=windows(), seconds=st.integers(-3600, 3600))
def test_lines_agree_with_exact_least_squares(series: list[Samples], seconds: int) -> None:
    # Two samples a millisecond apart among others far away lose digits here as in Prometheus.
    assume(all(b[0] - a[0] >= 1000 for samples in series for a, b in itertools.pairwise(samples)))
    slopes = [naive.slope(samples, START_MS, END_MS) for samples in series]
    assert all(agree(*pair, absolute=1e-6) for pair in zip(slopes, run("deriv", series), strict=True))
    ahead = [naive.predicted(samples, END_MS, seconds) for samples in series]
    got = run("predict_linear", series, float(seconds))
    assert all(agree(*pair, tolerance=1e-7, absolute=1e-2) for pair in zip(ahead, got, strict=True))


@given(series=windows(any_float), factors=st.tuples(*[st.floats(0.01, 0.99)] * 2))
def test_double_exponential_smoothing_agrees_with_the_definition(
    series: list[Samples], factors: tuple[float, float]
) -> None:
    expected = [naive.smoothed(samples, *factors) for samples in series]
    got = run("double_exponential_smoothing", series, *factors)
    assert all(agree(*pair, absolute=1e-9) for pair in zip(expected, got, strict=True))


# --- answers Prometheus gives ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "arguments", "expected"),
    [
        ("sum_over_time", [1e100, 1, -1e100, 1], (), 2.0),
        ("avg_over_time", [1e100, 1, -1e100, 1], (), 0.5),
        ("sum_over_time", [1e16, 1, 1, -1e16], (), 2.0),
        ("avg_over_time", [1.7e308, 1.7e308], (), 1.7e308),  # the sum overflows, the mean does not
        ("avg_over_time", [1.7e308, -1.7e308, 1.7e308, -1.7e308], (), 0.0),
        ("avg_over_time", [1.7e308, 1.7e308, -math.inf], (), -math.inf),
        ("avg_over_time", [math.inf, 1, math.inf], (), math.inf),
        ("avg_over_time", [math.inf, -math.inf], (), math.nan),
        ("avg_over_time", [1, math.nan, 3], (), math.nan),
        ("sum_over_time", [math.inf, -math.inf], (), math.nan),
        ("stddev_over_time", [1.5990505637277868] * 3, (), 0.0),
        ("stdvar_over_time", [0, 8, 8, 2, 3], (), 10.56),
        ("stddev_over_time", [0, 8, 8, 2, 3], (), 3.249615361854384),
        ("max_over_time", [math.nan, 2, 3, math.nan], (), 3.0),
        ("max_over_time", [math.nan, math.nan], (), math.nan),
        ("min_over_time", [math.nan, -math.inf, 3], (), -math.inf),
        ("ts_of_max_over_time", [2, 3, 3, 1, math.nan], (), 1280.0),
        ("ts_of_min_over_time", [math.nan, math.nan], (), 1300.0),
        ("mad_over_time", [4, 6, 2, 1, 999, 1, 2], (), 1.0),
        ("quantile_over_time", [0, 1, 2], (0.8,), 1.6),
        ("quantile_over_time", [math.nan, 1, 2], (0.25,), math.nan),
        ("quantile_over_time", [math.nan, 1, 2], (0.5,), 1.0),
        ("quantile_over_time", [1, math.inf], (0.0,), math.nan),  # infinity times zero, as there
        ("changes", [math.nan, math.nan, 1, 1, math.nan], (), 2.0),
        ("resets", [3, 2, math.nan, 1, 0], (), 2.0),
        ("irate", [5, 2], (), 0.2),
        ("irate", [5, math.nan], (), math.nan),
        ("idelta", [5, 2], (), -3.0),
        ("deriv", [7, 7, 7], (), 0.0),
        ("deriv", [math.inf, math.inf], (), math.nan),
        ("predict_linear", [7, 7, 7], (1e9,), 7.0),
        ("double_exponential_smoothing", [10, 20, 30, 40], (0.01, 0.1), 40.0),
    ],
)
def test_known_answers(name: str, values: list[float], arguments: tuple[float, ...], expected: float) -> None:
    got = one(name, values, *arguments)
    assert got is not None
    assert close(expected, got, 1e-12), got


def test_extrapolation_reaches_the_ends_when_samples_come_close() -> None:
    """Ten-second samples over five minutes: 290 s seen, 10 s extrapolated to the start."""
    samples = [(ms, 5.0 + (ms - START_MS) / 1000) for ms in range(START_MS + 10_000, END_MS + 1, 10_000)]
    assert run("increase", [samples]) == [pytest.approx(300.0, rel=1e-14)]
    assert run("rate", [samples]) == [pytest.approx(1.0, rel=1e-14)]


def test_a_counter_is_not_extrapolated_below_zero() -> None:
    """First sample 1 after a slope of 1/s: zero was one second before it."""
    samples = [(END_MS - 10_000 + ms, 1.0 + ms / 1000) for ms in (0, 5_000, 10_000)]
    assert run("increase", [samples]) == [pytest.approx(11.0)]
    assert run("delta", [samples]) == [pytest.approx(12.5)]  # half an interval, for a gauge


def test_prometheus_2_asks_for_zero_before_the_threshold() -> None:
    """Zero lies 4 s before the first sample, half an interval 2.5 s: the older order takes the 4, below 1.1 x 5 s."""
    samples = [(END_MS - 10_000 + ms, 4.0 + ms / 1000) for ms in (0, 5_000, 10_000)]
    newer, older = (
        float(table["increase"](window_of([samples]), [], END_MS)[0][0]) for table in (RANGE, COMPAT2_RANGE)
    )
    assert newer == pytest.approx(12.5)
    assert older == pytest.approx(14.0)


def test_prediction_starts_at_the_instant_not_at_the_end_of_the_window() -> None:
    """With an offset the window ends earlier than the instant of evaluation."""
    samples = [(ms, ms / 1000) for ms in range(START_MS + 10_000, END_MS + 1, 10_000)]
    assert run("predict_linear", [samples], 60.0, at_ms=END_MS + 600_000) == [pytest.approx(END_MS / 1000 + 660)]


@pytest.mark.parametrize("factors", [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0)])
def test_factors_must_lie_between_zero_and_one(factors: tuple[float, float]) -> None:
    with pytest.raises(EvaluationError, match="between 0 and 1"):
        run("double_exponential_smoothing", [[(END_MS, 1.0)]], *factors)
    assert run("double_exponential_smoothing", [], *factors) == []  # Prometheus asks only where there is a series


# --- edges -------------------------------------------------------------------------------------------------------

TWO_NEEDED = {"rate", "increase", "delta", "irate", "idelta", "deriv", "predict_linear", "double_exponential_smoothing"}


@pytest.mark.parametrize("name", sorted(RANGE))
def test_no_series_no_samples_one_sample(name: str) -> None:
    arguments = [0.5] * ARGUMENTS.get(name, 0)
    assert run(name, [], *arguments) == []
    assert run(name, [[], [], []], *arguments) == [None, None, None]
    mixed = run(name, [[], [(END_MS - 5000, 3.0)], [(END_MS - 9000, 1.0), (END_MS, 2.0)]], *arguments)
    assert mixed[0] is None
    assert (mixed[1] is None) == (name in TWO_NEEDED)
    assert mixed[2] is not None


@pytest.mark.parametrize("name", sorted(COMPAT2_RANGE.keys() - {"rate", "increase"}))
@given(series=windows())
def test_prometheus_2_differs_in_unusual_cases_only(name: str, series: list[Samples]) -> None:
    """On plain numbers the older functions give the newer numbers."""
    series = [samples for samples in series if len(samples) >= 2]
    arguments = [np.array(0.5)] * ARGUMENTS.get(name, 0)
    newer = RANGE.get(name, RANGE["double_exponential_smoothing"])
    for left, right in zip(
        newer(window_of(series), arguments, END_MS),
        COMPAT2_RANGE[name](window_of(series), arguments, END_MS),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(left, np.float64), np.asarray(right, np.float64), rtol=1e-9, atol=1e-6)


@given(series=windows(any_float))
def test_a_series_is_not_touched_by_its_neighbours(series: list[Samples]) -> None:
    for name in RANGE:
        arguments = [0.5] * ARGUMENTS.get(name, 0)
        together = run(name, series, *arguments)
        alone = [run(name, [samples], *arguments)[0] for samples in series]
        assert all(agree(*pair, absolute=1e-12) for pair in zip(alone, together, strict=True)), name


def test_arguments_may_differ_by_series() -> None:
    series = [[(END_MS - 1000, 1.0), (END_MS, 2.0)]] * 3
    values, _ = RANGE["quantile_over_time"](window_of(series), [np.array([0.0, 0.5, 2.0])], END_MS)
    assert values.tolist() == [1.0, 1.5, math.inf]


# --- speed -------------------------------------------------------------------------------------------------------


def _calls(work: Callable[[], object]) -> int:
    """How many functions it calls, Python's and C's: a count, which no busy machine changes."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("name", ["rate", "changes", "resets"])
def test_a_hundred_times_the_series_are_no_more_calls(name: str) -> None:
    """Columns, and no loop over series."""
    times = np.arange(START_MS + 10_000, END_MS + 1, 10_000)
    values = np.cumsum(np.random.default_rng(7).random((10_000, len(times))), axis=1)
    few, many = (DenseWindow.of(START_MS, END_MS, [(times, row) for row in values[:n]]) for n in (100, 10_000))
    RANGE[name](few, [], END_MS)
    assert _calls(lambda: RANGE[name](many, [], END_MS)) <= _calls(lambda: RANGE[name](few, [], END_MS)) + 10
