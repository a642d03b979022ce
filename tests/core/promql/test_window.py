"""Windows in padded arrays."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.window import CELLS_AT_ONCE, DenseWindow
from tests.core.promql import mini

odd = st.sampled_from([0.0, -0.0, 0.1, -0.3, 1e16, -1e16, 1e308, -1e308, math.inf, -math.inf, math.nan, 5e-324, 3.0])
rows = st.lists(st.lists(odd | st.floats(-1e3, 1e3), max_size=12), max_size=5)


def neumaier(values: list[float]) -> float:
    """Prometheus' sum, value by value."""
    total, lost = mini.compensated(values)
    return total if math.isinf(total) else total + lost


@given(rows)
def test_sums_are_those_of_one_value_after_the_other_to_the_bit(given_rows: list[list[float]]) -> None:
    times = [np.arange(len(row)) for row in given_rows]
    window = DenseWindow.of(0, 1, list(zip(times, map(np.array, given_rows), strict=True)))
    expected = np.array([neumaier(row) for row in given_rows])
    sums = window.sums()
    np.testing.assert_array_equal(np.isnan(sums), np.isnan(expected))
    known = ~np.isnan(sums)
    assert sums[known].tobytes() == expected[known].tobytes()


def test_sums_of_many_series_are_made_in_parts() -> None:
    width = 7
    values = np.random.default_rng(1).normal(size=(3 * CELLS_AT_ONCE // width, width))
    window = DenseWindow.of(0, 1, [(np.arange(width), row) for row in values])
    assert window.sums().tobytes() == np.array([neumaier(row) for row in values.tolist()]).tobytes()
