"""Quantiles and fractions of classic histograms against naive code, at the edges, and for speed."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.functions import COMPAT2_VECTOR, VECTOR, FunctionContext
from engine.core.promql.functions.histogram import upper_bound
from engine.core.promql.labels import Interner, Shape
from engine.core.promql.vector import Scalar, Vector
from tests.core.promql import naive
from tests.core.promql.function_cases import close

Histogram = list[tuple[str, float | None]]
INF, NAN = math.inf, math.nan


def vector_of(histograms: Mapping[str, Histogram]) -> Vector:
    """Rows in a mixed order. A count of None is a bucket that is not there at this instant."""
    rows = [(name, le, count) for name, buckets in histograms.items() for le, count in buckets]
    rows.sort(key=lambda row: (row[1], row[0]))
    shape = Shape.of(Interner(), [{"__name__": "x_bucket", "h": name, "le": le} for name, le, _ in rows])
    counts = np.array([-7.0 if count is None else count for *_, count in rows], dtype=np.float64)
    return Vector(shape, counts, np.array([count is not None for *_, count in rows], dtype=np.bool_))


def run(name: str, histograms: Mapping[str, Histogram], *numbers: float, compat2: bool = False) -> dict[str, float]:
    given_vector = vector_of(histograms)
    context = FunctionContext(0, given_vector.shape.interner)
    function = (COMPAT2_VECTOR if compat2 else VECTOR)[name]
    result = function(context, [*map(Scalar, numbers), given_vector])
    assert isinstance(result, Vector)
    assert all("le" not in labels and labels["__name__"] == "x_bucket" for labels, _ in result.items())
    return {labels["h"]: value for labels, value in result.items()}


def quantile(q: float, buckets: Histogram, *, compat2: bool = False) -> float | None:
    return run("histogram_quantile", {"a": buckets}, q, compat2=compat2).get("a")


les = st.sampled_from(["-3", "-1", "0", "0.5", "1", "1.0", "2", "5e0", "10", "+Inf", "Inf"])
counts = st.one_of(st.none(), st.integers(0, 20).map(lambda count: count / 2))
histograms = st.dictionaries(st.sampled_from("abcd"), st.dictionaries(les, counts, max_size=9), max_size=4)


@given(given_histograms=histograms, q=st.one_of(st.floats(-0.2, 1.2), st.sampled_from([0.0, 0.5, 1.0, NAN])))
def test_quantiles_agree_with_the_definition(given_histograms: dict[str, dict[str, float | None]], q: float) -> None:
    got = run("histogram_quantile", {name: list(buckets.items()) for name, buckets in given_histograms.items()}, q)
    expected = {}
    for name, buckets in given_histograms.items():
        there = [(float(le), count) for le, count in buckets.items() if count is not None]
        if there:
            expected[name] = naive.bucket_quantile(q, there)
    assert got.keys() == expected.keys()
    assert all(close(expected[name], got[name], 1e-12) for name in got)


@given(
    buckets=st.dictionaries(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 10.0]), st.integers(0, 20), max_size=6),
    whole=st.integers(0, 30),
    ends=st.tuples(*[st.one_of(st.floats(-5, 12), st.sampled_from([-INF, -1.0, 0.0, 1.0, 2.0, INF]))] * 2),
)
def test_fractions_agree_with_the_definition(buckets: dict[float, int], whole: int, ends: tuple[float, float]) -> None:
    complete = {**buckets, INF: whole}
    got = run("histogram_fraction", {"a": [(repr(le), float(count)) for le, count in complete.items()]}, *ends)
    assert close(naive.bucket_fraction(*ends, [(le, float(count)) for le, count in complete.items()]), got["a"], 1e-12)


TYPICAL: Histogram = [("0.1", 10.0), ("0.5", 60.0), ("1", 90.0), ("+Inf", 100.0)]


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.35, TYPICAL, 0.3),
        (0.05, TYPICAL, 0.05),  # the lowest bucket begins at 0
        (0.95, TYPICAL, 1.0),  # in the highest bucket, its lower bound
        (0.0, TYPICAL, 0.0),
        (-0.1, TYPICAL, -INF),
        (1.1, TYPICAL, INF),
        (NAN, TYPICAL, NAN),
        (0.1, [("-2", 5.0), ("0", 8.0), ("+Inf", 10.0)], -2.0),  # a negative lowest bound is the answer itself
        (0.6, [("-2", 5.0), ("0", 8.0), ("+Inf", 10.0)], -4 / 3),
        (0.5, [("1", 5.0), ("2", 8.0)], NAN),  # no +Inf
        (0.5, [("+Inf", 8.0)], NAN),  # one bucket
        (0.5, [("1", 0.0), ("+Inf", 0.0)], NAN),  # no observation
        (0.5, [("1", NAN), ("+Inf", NAN)], 1.0),  # no count reaches NaN
        (0.5, [("1", 2.0), ("1.0", 3.0), ("+Inf", 5.0)], 0.5),  # equal bounds are added
        (0.5, [("1", 5.0), ("2", 3.0), ("3", 8.0), ("+Inf", 10.0)], 1.0),  # never fewer than before
        (0.5, [*TYPICAL, ("many", 1e9), ("", 1e9), (" 1", 1e9), ("1e999", 1e9)], 0.42),  # what is no bound is ignored
        (0.5, [("0x1p-1", 4.0), ("infinity", 4.0)], 0.25),
        (2.0, [("1", 5.0)], INF),  # asked before the buckets are
    ],
)
def test_known_answers(q: float, buckets: Histogram, expected: float) -> None:
    got = quantile(q, buckets)
    assert got is not None
    assert close(expected, got, 1e-12), got


def test_counts_that_differ_by_rounding_are_the_same() -> None:
    """The last bucket gets 1e-13 more: an observation that nobody made would be the 100 % quantile."""
    buckets: Histogram = [("1", 5.0), ("2", 10.0), ("4", 10.0 + 1e-12), ("+Inf", 10.0 + 1e-12)]
    assert quantile(1.0, buckets) == 2.0
    assert quantile(1.0, buckets, compat2=True) == 4.0  # before 2.49


def test_a_bucket_that_is_gone_widens_the_next() -> None:
    assert quantile(0.35, [("0.1", 10.0), ("0.5", None), ("1", 90.0), ("+Inf", 100.0)]) == pytest.approx(0.38125)
    assert quantile(0.35, [("0.1", 10.0), ("0.5", 60.0), ("+Inf", None)]) is not None
    assert quantile(0.5, [("0.1", None), ("+Inf", None)]) is None
    assert quantile(0.5, [("bad", 1.0)]) is None
    assert run("histogram_quantile", {}, 0.5) == {}
    assert run("histogram_fraction", {}, 0, 1) == {}


def test_two_metrics_are_two_histograms() -> None:
    """Their names are dropped later; then two equal label sets are an error, as in Prometheus."""
    labels = [{"__name__": name, "le": le} for name in ("a", "b") for le in ("1", "+Inf")]
    given_vector = Vector(Shape.of(Interner(), labels), np.array([1.0, 2, 3, 4]), np.ones(4, dtype=np.bool_))
    result = VECTOR["histogram_quantile"](FunctionContext(0, Interner()), [Scalar(0.5), given_vector])
    assert isinstance(result, Vector)
    assert [labels for labels, _ in result.items()] == [{"__name__": "a"}, {"__name__": "b"}]


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("1", 1.0),
        ("+1.5e3", 1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000.0),
        ("0x1.8p1", 3.0),
        ("-inf", -INF),
        ("+Infinity", INF),
        ("", NAN),
        (".", NAN),
        ("1e", NAN),
        (" 1", NAN),
        ("٣", NAN),
        ("1e400", NAN),
        ("NaN", NAN),
        ("0x10", NAN),
        ("infi", NAN),
    ],
)
def test_bounds_are_read_as_go_reads_numbers(text: str, bound: float) -> None:
    assert close(bound, upper_bound(text), 0.0)


def _rows(buckets: int, each: int) -> tuple[Vector, list[list[tuple[float, float]]]]:
    bounds = [*range(1, each), INF]
    labels = [{"job": str(row // each), "le": repr(float(bounds[row % each]))} for row in range(buckets)]
    made = np.random.default_rng(3).integers(0, 9, (buckets // each, each)).cumsum(axis=1).astype(np.float64)
    given_vector = Vector(Shape.of(Interner(), labels), made.ravel(), np.ones(buckets, dtype=np.bool_))
    return given_vector, [list(zip(bounds, row, strict=True)) for row in made.tolist()]


@pytest.mark.parametrize("each", [10, 10_000])
def test_ten_thousand_buckets_are_no_loop(each: int) -> None:
    """Many small histograms, and a large one: as many calls as for a hundredth of them, and the right answers."""

    def calls(buckets: int) -> tuple[int, Vector, list[float]]:
        given_vector, lists = _rows(buckets, min(each, buckets))
        context = FunctionContext(0, given_vector.shape.interner)
        result = VECTOR["histogram_quantile"](context, [Scalar(0.95), given_vector])  # lays the buckets out
        assert isinstance(result, Vector)
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            VECTOR["histogram_quantile"](context, [Scalar(0.95), given_vector])
        finally:
            sys.setprofile(None)
        return counted, result, [naive.bucket_quantile(0.95, row) for row in lists]

    (many, result, expected), (few, _, _) = calls(10_000), calls(100)
    assert many <= 2 * few  # a loop would make some ten thousand
    np.testing.assert_allclose(np.asarray(result.values, np.float64), np.array(expected), rtol=1e-12)


def test_the_layout_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first time no label is looked at."""
    given_vector, _ = _rows(100, 10)
    context = FunctionContext(0, given_vector.shape.interner)
    first = VECTOR["histogram_quantile"](context, [Scalar(0.5), given_vector])
    monkeypatch.setattr(Interner, "value", lambda *_: pytest.fail("a label was read"))
    for name, numbers in (("histogram_quantile", [0.5]), ("histogram_fraction", [0.0, 2.0])):
        again = VECTOR[name](context, [*map(Scalar, numbers), given_vector._replace(values=given_vector.values * 2)])
        assert isinstance(first, Vector)
        assert isinstance(again, Vector)
        assert again.shape is first.shape
