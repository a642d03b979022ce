"""Aggregations: Prometheus' number rules to the bit, and a slow evaluator that must agree."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.aggregate import aggregate, grouped
from engine.core.promql.labels import Interner
from engine.core.promql.vector import Vector
from tests.core.promql import mini

NAN, INF = math.nan, math.inf
FOLDS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": lambda values: sum(mini.compensated(values)),
    "min": lambda values: min((v for v in values if not math.isnan(v)), default=NAN),
    "max": lambda values: max((v for v in values if not math.isnan(v)), default=NAN),
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
    "stdvar": mini.welford,
    "stddev": lambda values: math.sqrt(mini.welford(values)),
}


def column(values: Sequence[float | None]) -> Vector:
    return mini.vector(Interner(), [({"i": str(i)}, value) for i, value in enumerate(values)])


def of_all(op: Any, values: Sequence[float | None], **options: Any) -> float:
    given = column(values)
    found = mini.items(aggregate(op, given, grouped(given.shape, (), without=False), **options))
    assert list(found) == [frozenset()]
    return found[frozenset()]


def test_a_sum_is_compensated() -> None:
    assert of_all("sum", [1e16, 1.0, -1e16]) == 1.0
    assert of_all("sum", [1e16, 1.0, -1e16], compat="prometheus2") == 0.0
    assert of_all("sum", [0.1] * 10) == 1.0


@pytest.mark.parametrize("values", [[INF, 1.0], [1.0, INF, 5.0], [1e308, 1e308]])
def test_a_sum_beyond_the_finite_stays_there(values: list[float]) -> None:
    assert of_all("sum", values) == INF


def test_opposite_infinities_have_no_sum_and_no_mean() -> None:
    assert math.isnan(of_all("sum", [INF, -INF]))
    assert math.isnan(of_all("avg", [INF, -INF]))


def test_a_mean_does_not_overflow_where_its_sum_would() -> None:
    assert of_all("avg", [1.5e308, 1.5e308, 1.5e308]) == pytest.approx(1.5e308)
    assert of_all("avg", [INF, 1.0, 2.0]) == INF
    assert of_all("avg", [1e308, 1e308, -INF]) == -INF
    assert of_all("avg", [1e16, 1.0, -1e16]) == pytest.approx(1 / 3, rel=1e-15)


def test_nan_counts_in_means_but_not_in_extremes() -> None:
    assert math.isnan(of_all("avg", [1.0, NAN]))
    assert of_all("min", [NAN, 2.0, 1.0]) == 1.0
    assert of_all("max", [1.0, 2.0, NAN]) == 2.0
    assert math.isnan(of_all("max", [NAN, NAN]))


def test_the_variance_of_equal_values_is_exactly_zero() -> None:
    assert of_all("stdvar", [0.1] * 7) == 0.0
    assert of_all("stddev", [1e9 + 0.1] * 3) == 0.0


def test_the_variance_of_one_odd_value_is_unknown_since_prometheus_3() -> None:
    assert math.isnan(of_all("stddev", [NAN]))
    assert math.isnan(of_all("stdvar", [INF]))
    assert of_all("stddev", [NAN], compat="prometheus2") == 0.0


@pytest.mark.parametrize(
    ("q", "expected"), [(0.5, 2.0), (0.0, 1.0), (1.0, 3.0), (0.75, 2.5), (-0.1, -INF), (1.1, INF), (NAN, NAN)]
)
def test_a_quantile_is_interpolated(q: float, expected: float) -> None:
    assert of_all("quantile", [3.0, None, 1.0, 2.0], quantile=q) == pytest.approx(expected, nan_ok=True)


def test_nan_is_the_least_of_quantiles() -> None:
    assert math.isnan(of_all("quantile", [3.0, NAN], quantile=0.0))
    assert of_all("quantile", [3.0, NAN], quantile=1.0) == 3.0


def test_without_drops_the_name_and_by_can_keep_it() -> None:
    given = mini.vector(Interner(), [({"__name__": "m", "x": "1", "y": "2"}, 1.0)])
    assert grouped(given.shape, ("x",), without=True).shape.labels(0) == {"y": "2"}
    assert grouped(given.shape, ("__name__", "x"), without=False).shape.labels(0) == {"__name__": "m", "x": "1"}


def test_absent_rows_make_no_group() -> None:
    given = mini.vector(Interner(), [({"x": "1"}, 1.0), ({"x": "2"}, None)])
    found = aggregate("sum", given, grouped(given.shape, ("x",), without=False))
    assert mini.items(found) == {frozenset({("x", "1")}): 1.0}


def test_nothing_gives_nothing() -> None:
    given = mini.vector(Interner(), [])
    for op in (*FOLDS, "avg", "quantile"):
        found = aggregate(op, given, grouped(given.shape, (), without=False), quantile=0.5)  # type: ignore[arg-type]
        assert mini.items(found) == {}


def test_groups_of_very_different_sizes_are_summed_to_the_bit() -> None:
    rng = random.Random(3)
    sizes = [1, 2, 3, 100, 1, 1000, 7]
    rows = [
        ({"g": str(g), "i": str(i)}, rng.gauss(0, 10.0 ** rng.randint(-9, 9)))
        for g, n in enumerate(sizes)
        for i in range(n)
    ]
    rng.shuffle(rows)
    given = mini.vector(Interner(), rows)
    found = mini.items(aggregate("sum", given, grouped(given.shape, ("g",), without=False)))
    expected = mini.groups(mini.present(rows), ["g"], excluding=False)
    assert found == {key: sum(mini.compensated([v for _, v in members])) for key, members in expected.items()}


NUMBERS = st.sampled_from([0.0, 1.0, 0.1, 0.2, -0.3, 1e16, -1e16, 1e-9, 3.7, NAN, INF, -INF]) | st.floats(-1e6, 1e6)
ROWS = st.lists(
    st.tuples(
        st.fixed_dictionaries({"x": st.sampled_from("12"), "i": st.sampled_from("123456"), "__name__": st.just("m")}),
        st.none() | NUMBERS,
    ),
    max_size=12,
    unique_by=lambda row: tuple(row[0].values()),
)


@given(ROWS, st.sampled_from([*FOLDS, "quantile"]), st.booleans(), st.floats(0, 1))
def test_every_aggregation_is_as_in_the_slow_evaluator(
    rows: list[tuple[dict[str, str], float | None]], op: Any, without: bool, q: float
) -> None:
    given = mini.vector(Interner(), rows)
    labels = ("i",) if without else ("x",)
    found = mini.items(aggregate(op, given, grouped(given.shape, labels, without=without), quantile=q))
    members = mini.groups(mini.present(rows), labels, excluding=without)
    expected = {
        key: (mini.quantile(q, [v for _, v in group]) if op == "quantile" else FOLDS[op]([v for _, v in group]))
        for key, group in members.items()
    }
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal([found[key] for key in expected], list(expected.values()))
