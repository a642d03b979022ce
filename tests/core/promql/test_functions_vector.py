"""Vector functions: arithmetic, dates, presence, order, and the tables themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import promql_parser as ast
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql import functions
from engine.core.promql.functions import COMPAT2_RANGE, KEEPS_NAME, RANGE, REFUSED, VECTOR, FunctionContext
from engine.core.promql.functions.order import natural
from engine.core.promql.labels import Interner, Shape
from engine.core.promql.plan import Matcher
from engine.core.promql.vector import Scalar, Value, Vector
from tests.core.promql.function_cases import close

AT_MS = 1_700_000_000_500
INF, NAN = math.inf, math.nan


def context(at_ms: int = AT_MS) -> FunctionContext:
    return FunctionContext(at_ms, Interner())


def vector_of(values: Sequence[float], names: Sequence[str] | None = None, present: Sequence[bool] = ()) -> Vector:
    labels = [{"i": name} for name in (names or [str(row) for row in range(len(values))])]
    there = np.array(present or [True] * len(values), dtype=np.bool_)
    return Vector(Shape.of(Interner(), labels), np.array(values, dtype=np.float64), there)


def values_of(value: Value) -> list[float]:
    assert isinstance(value, Vector)
    return [float(value.values[row]) for row in value.rows()]


def shown(value: Value) -> list[str]:
    assert isinstance(value, Vector)
    return [labels.get("i", "") for labels, _ in value.items()]


@pytest.mark.parametrize(
    ("name", "given_values", "numbers", "expected"),
    [
        ("abs", [-1.5, -INF, NAN], (), [1.5, INF, NAN]),
        ("ceil", [1.2, -1.2, INF], (), [2, -1, INF]),
        ("floor", [1.2, -1.2, -INF], (), [1, -2, -INF]),
        ("exp", [0, 1, -INF, 1e4], (), [1, math.e, 0, INF]),
        ("ln", [1, 0, -1, INF], (), [0, -INF, NAN, INF]),
        ("log2", [8, 0, -1], (), [3, -INF, NAN]),
        ("log10", [1000, 0, -1], (), [3, -INF, NAN]),
        ("sqrt", [9, -1], (), [3, NAN]),
        ("sgn", [-3, 0, 5, NAN, INF], (), [-1, 0, 1, NAN, 1]),
        ("deg", [math.pi], (), [180]),
        ("rad", [180], (), [math.pi]),
        ("asin", [1, 2], (), [math.pi / 2, NAN]),
        ("acosh", [1, 0], (), [0, NAN]),
        ("atanh", [1, 2], (), [INF, NAN]),
        ("tan", [INF], (), [NAN]),
        ("round", [2.5, -2.5, 0.4, NAN], (), [3, -2, 0, NAN]),
        ("round", [5.45, 7], (0.1,), [5.5, 7]),
        ("round", [1.0], (0.0,), [NAN]),
        ("clamp", [-5, 5, 15, NAN], (0, 10), [0, 5, 10, NAN]),
        ("clamp", [1, 2], (2, 1), []),
        ("clamp", [1], (NAN, 1), [NAN]),
        ("clamp_min", [-5, NAN, INF], (0,), [0, NAN, INF]),
        ("clamp_min", [1, INF], (NAN,), [NAN, INF]),  # an infinity wins over NaN, as in Go
        ("clamp_max", [5, NAN, -INF], (0,), [0, NAN, -INF]),
        ("clamp_max", [1, NAN], (-INF,), [-INF, -INF]),
        ("minute", [59, 60, 3599, -1], (), [0, 1, 59, 59]),
        ("year", [NAN, 1e300, -INF], (), [292277026596] * 3),  # what int64 makes of them on amd64
        ("hour", [NAN], (), [15]),
        ("day_of_week", [0, 3 * 86400], (), [4, 0]),
        ("days_in_month", [951782400, 4105123200, 1709164800], (), [29, 28, 29]),
        ("day_of_year", [1704067199, 1735689599, -86400], (), [365, 366, 365]),
        ("timestamp", [7, NAN], (), [AT_MS / 1000] * 2),
    ],
)
def test_known_answers(name: str, given_values: list[float], numbers: tuple[float, ...], expected: list[float]) -> None:
    got = values_of(VECTOR[name](context(), [vector_of(given_values), *map(Scalar, numbers)]))
    assert len(got) == len(expected)
    assert all(close(*pair, 1e-14) for pair in zip(expected, got, strict=True)), got


TRIGONOMETRY = ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"]


@pytest.mark.parametrize("name", TRIGONOMETRY)
@given(values=st.lists(st.floats(-20, 20)))
def test_trigonometry_agrees_with_the_c_library(name: str, values: list[float]) -> None:
    def naive(value: float) -> float:
        try:
            return float(getattr(math, name)(value))
        except ValueError:
            return math.copysign(INF, value) if name == "atanh" and abs(value) == 1 else NAN

    got = values_of(VECTOR[name](context(), [vector_of(values)]))
    assert all(close(naive(value), number, 1e-13) for value, number in zip(values, got, strict=True))


@given(st.lists(st.floats(-62_135_596_800, 253_402_300_799, exclude_min=True)))
def test_dates_agree_with_the_calendar(values: list[float]) -> None:
    dates = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=math.trunc(value)) for value in values]
    expected = {
        "minute": [date.minute for date in dates],
        "hour": [date.hour for date in dates],
        "day_of_month": [date.day for date in dates],
        "day_of_week": [date.isoweekday() % 7 for date in dates],
        "day_of_year": [date.timetuple().tm_yday for date in dates],
        "month": [date.month for date in dates],
        "year": [date.year for date in dates],
    }
    for name, wanted in expected.items():
        assert values_of(VECTOR[name](context(), [vector_of(values)])) == wanted, name


def test_dates_are_of_the_instant_without_an_argument() -> None:
    """2023-11-14 22:13:20 UTC, a Tuesday."""
    wanted = {"year": 2023, "month": 11, "day_of_month": 14, "hour": 22, "minute": 13, "day_of_week": 2}
    for name, number in {**wanted, "days_in_month": 30, "day_of_year": 318}.items():
        result = VECTOR[name](context(), [])
        assert isinstance(result, Vector)
        assert result.items() == [({}, number)]


@pytest.mark.parametrize("name", sorted(set(VECTOR) & {*TRIGONOMETRY, "abs", "round", "sort", "year", "timestamp"}))
def test_nothing_in_nothing_out(name: str) -> None:
    assert values_of(VECTOR[name](context(), [vector_of([])])) == []
    assert values_of(VECTOR[name](context(), [vector_of([1.0], present=[False])])) == []


def test_time_and_constants() -> None:
    assert VECTOR["time"](context(), []) == Scalar(1_700_000_000.5)
    assert VECTOR["pi"](context(), []) == Scalar(math.pi)
    assert values_of(VECTOR["vector"](context(), [Scalar(3.0)])) == [3.0]


@pytest.mark.parametrize(
    ("values", "present", "expected"),
    [([5.0], [True], 5.0), ([5.0, 6.0], [True, True], NAN), ([5.0, 6.0], [False, True], 6.0), ([5.0], [False], NAN)],
)
def test_scalar_of_one_element_only(values: list[float], present: list[bool], expected: float) -> None:
    result = VECTOR["scalar"](context(), [vector_of(values, present=present)])
    assert isinstance(result, Scalar)
    assert close(expected, result.value)


def test_timestamp_of_a_selector_is_its_samples_time() -> None:
    given_context = context()
    given_context.times = vector_of([12.5])
    assert values_of(VECTOR["timestamp"](given_context, [vector_of([1.0])])) == [12.5]


def test_single_shapes_are_made_once() -> None:
    """What is derived from a shape is kept with it: `vector(1)` must not lose it at each instant."""
    first = context()
    second = FunctionContext(AT_MS + 1000, first.interner, constants=first.constants)
    shapes = [VECTOR["vector"](one, [Scalar(1.0)]) for one in (first, second)]
    assert isinstance(shapes[0], Vector)
    assert isinstance(shapes[1], Vector)
    assert shapes[0].shape is shapes[1].shape


@pytest.mark.parametrize("name", ["absent", "absent_over_time"])
@pytest.mark.parametrize(("present", "expected"), [([], 1), ([False, False], 1), ([False, True], 0)])
def test_absent_is_one_element_if_there_is_none(name: str, present: list[bool], expected: int) -> None:
    given_context = context()
    given_context.absent = {"job": "api"}
    result = VECTOR[name](given_context, [vector_of([1.0] * len(present), present=present)])
    assert isinstance(result, Vector)
    assert result.items() == [({"job": "api"}, 1.0)] * expected


def test_absent_has_the_labels_that_are_asked_for_once() -> None:
    matchers = [
        Matcher("__name__", "=", "up"),
        Matcher("job", "=", "api"),
        Matcher("zone", "!=", "a"),
        Matcher("twice", "=", "a"),
        Matcher("twice", "=", "b"),
    ]
    assert functions.absent_labels(matchers) == {"job": "api"}


def test_sort_puts_nan_last_in_either_direction() -> None:
    given_vector = vector_of([2, NAN, INF, 1, 9], ["two", "nan", "inf", "one", "gone"], [True] * 4 + [False])
    assert shown(VECTOR["sort"](context(), [given_vector])) == ["one", "two", "inf", "nan"]
    assert shown(VECTOR["sort_desc"](context(), [given_vector])) == ["inf", "two", "one", "nan"]


def test_sort_by_label_is_natural_and_ends_with_all_labels() -> None:
    labels = [
        {"i": i, "z": z} for i, z in [("node10", "a"), ("node9", "b"), ("node9", "a"), ("", "c"), ("node-1", "a")]
    ]
    given_vector = Vector(Shape.of(Interner(), labels), np.arange(5.0), np.ones(5, dtype=np.bool_))
    up = VECTOR["sort_by_label"](context(), [given_vector, "i"])
    assert values_of(up) == [3, 2, 1, 0, 4]
    assert values_of(VECTOR["sort_by_label_desc"](context(), [given_vector, "i"])) == [4, 0, 1, 2, 3]
    assert values_of(VECTOR["sort_by_label"](context(), [given_vector, "z", "i"])) == [2, 0, 4, 1, 3]


@given(st.lists(st.text("ab019-", max_size=5), max_size=12))
def test_natural_order_is_an_order(values: list[str]) -> None:
    for left in values:
        for right in values:
            assert (natural(left, right) > 0) == (natural(right, left) < 0)
            assert (natural(left, right) == 0) == (left == right)
            for third in values:
                if natural(left, right) <= 0 and natural(right, third) <= 0:
                    assert natural(left, third) <= 0


# --- the tables --------------------------------------------------------------------------------------------------


def _known_to_the_parser(name: str) -> bool:
    try:
        ast.parse(f"{name}()")
    except ValueError as error:
        return "unknown function" not in str(error)
    return True


def test_every_function_is_known_and_in_one_table() -> None:
    tables = [set(RANGE), set(VECTOR), set(REFUSED)]
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert [name for name in set().union(*tables) if not _known_to_the_parser(name)] == []
    assert set(RANGE) | set(VECTOR) >= KEEPS_NAME
    assert {*COMPAT2_RANGE} - {*RANGE} == {"holt_winters"}


# Functions of Prometheus 3.5 over floats, by its documentation.
DOCUMENTED = (
    "abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp "
    "clamp_max clamp_min cos cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg "
    "delta deriv double_exponential_smoothing exp floor histogram_fraction histogram_quantile hour idelta "
    "increase irate label_join label_replace last_over_time ln log10 log2 mad_over_time max_over_time "
    "min_over_time minute month pi predict_linear present_over_time quantile_over_time rad rate resets "
    "round scalar sgn sin sinh sort sort_by_label sort_by_label_desc sort_desc sqrt stddev_over_time "
    "stdvar_over_time sum_over_time tan tanh time timestamp ts_of_last_over_time ts_of_max_over_time "
    "ts_of_min_over_time vector year "
)


@pytest.mark.parametrize("name", DOCUMENTED.split())
def test_every_documented_function_is_there(name: str) -> None:
    assert name in {**RANGE, **VECTOR}


@pytest.mark.parametrize("name", ["histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev"])
def test_what_is_refused_says_why(name: str) -> None:
    assert len(REFUSED[name]) > 20
