"""Whole queries: time and its modifiers, subqueries, labels of results, ranges of instants."""

import math

import numpy as np
import pytest

from engine.core.promql.memory import MemorySource
from engine.core.promql.query import INSTANTS_MAX, Constants, evaluate_instant, evaluate_range
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError, Scalar, Vector
from tests.core.promql.answers import loaded

MINUTE_MS = 60_000


def minutes(*series: tuple[str, str], compat2: bool = False) -> MemorySource:
    return loaded([(MINUTE_MS, series)], compat2=compat2)


def values(
    source: MemorySource, expr: str, at_ms: int, *, start_ms: int | None = None, end_ms: int | None = None
) -> list[float]:
    found = evaluate_instant(compile_query(expr), source, at_ms, start_ms=start_ms, end_ms=end_ms)
    if isinstance(found, Scalar):
        return [found.value]
    assert isinstance(found, Vector)
    return [value for _, value in found.items()]


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("x", 10.0),
        ("x offset 3m", 7.0),
        ("x offset -2m", 12.0),
        ("x @ 120", 2.0),
        ("x @ 120 offset 1m", 1.0),
        ("x offset 1m @ 120", 1.0),
        ("x @ start()", 4.0),
        ("x @ end() offset 1m", 19.0),
        ("sum_over_time(x[2m])", 19.0),
        ("sum_over_time(x[2m] offset 1m)", 17.0),
        ("sum_over_time(x[2m] @ 240)", 7.0),
        ("timestamp(x)", 600.0),
        ("timestamp(x offset 1m)", 540.0),
        ("timestamp((x @ 125))", 120.0),
        ("timestamp(x + 0)", 600.0),
        ("timestamp(x @ 125 offset 1m)", 120.0),  # as Prometheus does
        ("time()", 600.0),
    ],
)
def test_modifiers_move_the_time_of_a_selector(expr: str, value: float) -> None:
    assert values(minutes(("x", "0+1x30")), expr, 10 * MINUTE_MS, start_ms=4 * MINUTE_MS, end_ms=20 * MINUTE_MS) == [
        value
    ]


@pytest.mark.parametrize(
    ("expr", "count", "count_2"),
    [
        ("count_over_time(x[4m:2m])", 2, 3),
        ("count_over_time(x[5m:2m])", 3, 3),
        ("count_over_time(x[4m:])", 4, 5),
        ("count_over_time(x[4m:50s])", 5, 5),
        ("count_over_time(x[4m:2m] offset 1m)", 2, 2),
        ("count_over_time(x[4m:2m] @ 300)", 2, 2),
        ("count_over_time(x[10s:1m])", 1, 1),
        ("count_over_time((x @ 60)[4m:1m])", 4, 5),
    ],
)
def test_steps_of_subqueries_are_multiples_of_the_step(expr: str, count: int, count_2: int) -> None:
    series = ("x", "0+1x30")
    assert values(minutes(series), expr, 10 * MINUTE_MS) == [count]
    found = evaluate_instant(compile_query(expr, compat="prometheus2"), minutes(series, compat2=True), 10 * MINUTE_MS)
    assert isinstance(found, Vector)
    assert [value for _, value in found.items()] == [count_2]


def test_a_subquery_sees_each_label_set_as_one_series() -> None:
    source = minutes(("a", "1 _ _ _ _ _ _ _"), ("b", "_ _ _ _ _ _ 2 2"))
    assert values(source, "sum_over_time((-a or -b)[7m:1m])", 7 * MINUTE_MS) == [-8.0]
    assert values(source, "count_over_time((a > 5)[7m:1m])", 7 * MINUTE_MS) == []


def test_series_that_come_and_go_within_a_subquery_leave_no_gaps() -> None:
    source = minutes(('x{i="1"}', "1 2 stale _ 5 6"), ('x{i="2"}', "_ _ _ 4 stale 6"))
    assert values(source, "count_over_time(x[6m:1m])", 5 * MINUTE_MS) == [4.0, 2.0]
    assert values(source, "last_over_time(x[6m:1m])", 5 * MINUTE_MS) == [6.0, 6.0]
    assert values(source, "sum_over_time(x[4m:1m])", 5 * MINUTE_MS) == [11.0 + 0.0 * 2, 10.0]


def test_absent_takes_labels_from_its_selector_alone() -> None:
    source = minutes(("x", "1"))

    def labels(expr: str) -> list[dict[str, str]]:
        found = evaluate_instant(compile_query(expr), source, 0)
        assert isinstance(found, Vector)
        return [row for row, _ in found.items()]

    assert labels('absent(nope{a="1",b!="2",c=~"3"})') == [{"a": "1"}]
    assert labels('absent((nope{a="1"}))') == [{"a": "1"}]
    assert labels('absent_over_time(nope{a="1"}[5m])') == [{"a": "1"}]
    assert labels('absent_over_time(nope{a="1"}[5m:1m])') == [{}]
    assert labels('absent(sum(nope{a="1"}))') == [{}]
    assert labels("absent(x)") == labels("absent_over_time(x[5m])") == []


def test_names_are_dropped_where_the_value_is_another() -> None:
    source = minutes(("a", "1+1x5"))
    for expr, name in (
        ("a", "a"),
        ("a > 1", "a"),
        ("last_over_time(a[5m])", "a"),
        ("sort(a)", "a"),
        ("topk(1, a)", "a"),
        ("-a", ""),
        ("a + 0", ""),
        ("a > bool 1", ""),
        ("max_over_time(a[5m])", ""),
        ("abs(a)", ""),
        ("timestamp(a)", ""),
    ):
        found = evaluate_instant(compile_query(expr), source, 5 * MINUTE_MS)
        assert isinstance(found, Vector)
        assert [labels.get("__name__", "") for labels, _ in found.items()] == [name], expr


@pytest.mark.parametrize("expr", ['-{j="1"}', 'abs({j="1"})', 'rate({j="1"}[5m])', '{j="1"} * 2'])
def test_two_results_may_not_have_the_same_labels(expr: str) -> None:
    source = minutes(('a{j="1"}', "1+1x5"), ('b{j="1"}', "1+1x5"))
    with pytest.raises(EvaluationError, match="same labelset"):
        values(source, expr, 5 * MINUTE_MS)


def test_range_functions_refuse_equal_labels_even_if_they_take_turns() -> None:
    """Prometheus makes one series for each input of a range function, of other functions one for each label set."""
    source = minutes(('a{j="1"}', "1 2 stale _ _ _ _ _"), ('b{j="1"}', "_ _ _ _ 5 6 7 8"))
    plan = compile_query('max_over_time({j="1"}[1m])')
    assert evaluate_range(plan, source, MINUTE_MS, MINUTE_MS, MINUTE_MS).matrix.present.sum() == 1
    with pytest.raises(EvaluationError, match="same labelset"):
        evaluate_range(plan, source, 0, 7 * MINUTE_MS, MINUTE_MS)
    found = evaluate_range(compile_query('{j="1"} + 0'), source, 0, 7 * MINUTE_MS, MINUTE_MS)
    [(labels, at, numbers)] = found.matrix.items()
    assert (labels, at.tolist(), numbers.tolist()) == ({"j": "1"}, [0, 1, 4, 5, 6, 7], [1.0, 2.0, 5.0, 6.0, 7.0, 8.0])


def test_a_range_query_evaluates_every_step_up_to_the_end() -> None:
    source = minutes(("x", "0+1x10"))
    found = evaluate_range(compile_query("x + x @ start()"), source, MINUTE_MS, 4 * MINUTE_MS + 1, 90_000)
    assert found.times_ms.tolist() == [60_000, 150_000, 240_000]
    assert found.matrix.values.tolist() == [[2.0, 3.0, 5.0]]
    scalar = evaluate_range(compile_query("time()"), source, 0, 2_000, 1_000)
    assert [(labels, numbers.tolist()) for labels, _, numbers in scalar.matrix.items()] == [({}, [0.0, 1.0, 2.0])]
    nothing = evaluate_range(compile_query("x"), source, 1, 0, 1_000)
    assert nothing.matrix.items() == []


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = minutes(("x", "1"))
    with pytest.raises(EvaluationError, match=f"more than {INSTANTS_MAX:,} instants"):
        values(source, "sum_over_time(x[1y:1s])", 0)
    with pytest.raises(EvaluationError, match="more than"):
        evaluate_range(compile_query("x"), source, 0, INSTANTS_MAX, 1)
    nested = "sum_over_time(sum_over_time(x[10m:1m])[10m:1m])"
    monkeypatch.setattr("engine.core.promql.query.INSTANTS_MAX", 110)
    assert values(source, nested, 0) == [1.0]
    monkeypatch.setattr("engine.core.promql.query.INSTANTS_MAX", 109)
    with pytest.raises(EvaluationError, match="more than"):
        values(source, nested, 0)


def test_strings_and_numbers_are_values() -> None:
    source = minutes()
    assert evaluate_instant(compile_query('"text"'), source, 0) == "text"
    assert evaluate_instant(compile_query("1 / 0"), source, 0) == Scalar(math.inf)
    assert evaluate_instant(compile_query("-(2 ^ 3)"), source, 0) == Scalar(-8.0)


@pytest.mark.parametrize(
    ("expr", "says"), [("topk(NaN, x)", "NaN"), ("topk(1e20, x)", "int64"), ("limit_ratio(NaN, x)", "NaN")]
)
def test_parameters_out_of_bounds(expr: str, says: str) -> None:
    with pytest.raises(EvaluationError, match=says):
        values(minutes(("x", "1")), expr, 0)


def test_an_evaluation_that_sees_the_same_series_makes_no_labels_again() -> None:
    source = minutes(('a{j="1",i="1"}', "1+1x9"), ('a{j="1",i="2"}', "1+1x9"), ('b{j="1"}', "2x9"))
    plan = compile_query("sum by (j) (rate(a[3m])) / on(j) b > vector(0) or absent(nope) * 2")
    constants: Constants = {}
    first, second = (evaluate_instant(plan, source, at_ms, constants=constants) for at_ms in (300_000, 360_000))
    assert isinstance(first, Vector)
    assert isinstance(second, Vector)
    assert first.shape is second.shape
    assert np.isfinite(first.values[first.rows()]).all()
