"""info(): labels of info series, joined by `instance` and `job`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.core.promql.memory import MemorySource
from engine.core.promql.parse import PromQLError
from engine.core.promql.query import evaluate_instant, evaluate_range
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError, Vector
from engine.events import STALE
from engine.series import split_series

MINUTE = 60_000
Samples = dict[str, Sequence[float | None]]

SHOP: Samples = {
    'orders{instance="i1",job="shop",path="/a"}': [1, 2, 3],
    'orders{instance="i2",job="shop",path="/a"}': [4, 5, 6],
    'target_info{instance="i1",job="shop",version="7",zone="north"}': [1, 1, 1],
    'build_info{instance="i1",job="shop",compiler="gcc"}': [1, 1, 1],
    'build_info{instance="i2",job="shop",compiler="clang"}': [1, 1, 1],
}


def source(samples: Samples) -> MemorySource:
    """Samples a minute apart; None is no sample."""
    series = []
    for text, values in samples.items():
        metric, labels = split_series(text)
        given = [(at * MINUTE, value) for at, value in enumerate(values) if value is not None]
        series.append(({"__name__": metric, **labels}, [at for at, _ in given], [value for _, value in given]))
    return MemorySource(series)


def shown(expr: str, samples: Samples, minute: int = 2) -> dict[str, float]:
    """By its labels but for instance and job, in short."""
    value = evaluate_instant(compile_query(expr), source(samples), minute * MINUTE)
    assert isinstance(value, Vector)
    return {
        " ".join(f"{name}={text}" for name, text in labels.items() if name not in ("job", "path")): number
        for labels, number in value.items()
    }


@pytest.mark.parametrize(
    ("expr", "first", "second"),
    [
        ("info(orders)", "__name__=orders instance=i1 version=7 zone=north", "__name__=orders instance=i2"),
        ('info(orders, {zone=~".+"})', "__name__=orders instance=i1 zone=north", None),
        ('info(orders, {zone="south"})', None, None),
        ('info(orders, {zone=~".*"})', "__name__=orders instance=i1 zone=north", "__name__=orders instance=i2"),
        ('info(orders, {nothing=~"|.+"})', "__name__=orders instance=i1", "__name__=orders instance=i2"),
        ("info(orders, {})", "__name__=orders instance=i1 version=7 zone=north", "__name__=orders instance=i2"),
        (
            'info(orders, {__name__="build_info"})',
            "__name__=orders compiler=gcc instance=i1",
            "__name__=orders compiler=clang instance=i2",
        ),
        (
            'info(orders, {__name__=~".+_info", __name__!="target_info"})',
            "__name__=orders compiler=gcc instance=i1",
            "__name__=orders compiler=clang instance=i2",
        ),
        (
            'info(orders, {__name__!="target_info", __name__!="orders"})',
            "__name__=orders compiler=gcc instance=i1",
            "__name__=orders compiler=clang instance=i2",
        ),
        (
            'info(orders, {__name__=~".+_info"})',
            "__name__=orders compiler=gcc instance=i1 version=7 zone=north",
            "__name__=orders compiler=clang instance=i2",
        ),
        ('info(orders, {__name__="no_such_info"})', "__name__=orders instance=i1", "__name__=orders instance=i2"),
        ('info(orders, {__name__="no_such_info", zone=~".+"})', None, None),
        (
            'info(orders, {__name__=~".+_info", compiler="gcc"})',
            "__name__=orders compiler=gcc instance=i1",
            None,
        ),
    ],
)
def test_labels_of_info_series_join_what_they_tell_of(expr: str, first: str | None, second: str | None) -> None:
    expected = {key: value for key, value in ((first, 3.0), (second, 6.0)) if key is not None}
    assert shown(expr, SHOP) == expected


def test_what_is_around_and_below_it() -> None:
    assert shown("sum by (zone) (info(orders))", SHOP) == {"zone=north": 3, "": 6}
    assert shown("info(rate(orders[2m]))", SHOP) == {
        "instance=i1 version=7 zone=north": pytest.approx(1 / 60),
        "instance=i2": pytest.approx(1 / 60),
    }
    assert shown("info(orders > 5)", SHOP) == {"__name__=orders instance=i2": 6}
    assert shown('max_over_time(info(orders, {zone=~".+"})[2m:1m])', SHOP) == {"instance=i1 zone=north": 3}


def test_labels_that_are_there_stay() -> None:
    samples: Samples = {**SHOP, 'load{instance="i1",job="shop",zone="here"}': [1, 1, 1]}
    assert shown("info(load)", samples) == {"__name__=load instance=i1 version=7 zone=here": 1}
    assert shown('info(load, {zone="north"})', samples) == {"__name__=load instance=i1 zone=here": 1}
    assert shown('info(load, {zone="here"})', samples) == {}, "the matcher is about the info series"


def test_info_series_are_not_joined_with_themselves() -> None:
    assert shown('info(build_info, {__name__=~".+_info"})', SHOP) == {
        "__name__=build_info compiler=gcc instance=i1": 1,
        "__name__=build_info compiler=clang instance=i2": 1,
    }
    assert shown('info(build_info, {__name__="build_info", nothing=~".+"})', SHOP) == {
        "__name__=build_info compiler=gcc instance=i1": 1,
        "__name__=build_info compiler=clang instance=i2": 1,
    }
    # Where no name is asked for, no metric counts as one of info.
    assert shown('info(target_info, {zone="south"})', SHOP) == {}
    assert shown("info(target_info)", SHOP) == {"__name__=target_info instance=i1 version=7 zone=north": 1}
    assert shown('info(build_info, {__name__=~"target_.+", __name__=~".+_info"})', SHOP) == {
        "__name__=build_info compiler=gcc instance=i1 version=7 zone=north": 1,
        "__name__=build_info compiler=clang instance=i2": 1,
    }


def test_the_newest_of_two_info_series_counts() -> None:
    old, new = (f'target_info{{instance="i1",job="shop",version="{number}"}}' for number in "12")
    samples: Samples = {'x{instance="i1",job="shop"}': [1, 1, 1], old: [1, 1, None], new: [None, None, 1]}
    assert shown("info(x)", samples, 1) == {"__name__=x instance=i1 version=1": 1}
    assert shown("info(x)", samples, 2) == {"__name__=x instance=i1 version=2": 1}
    samples = {'x{instance="i1",job="shop"}': [1, 1, 1], old: [1, 1, STALE]}
    assert shown("info(x)", samples, 2) == {"__name__=x instance=i1": 1}


def test_two_info_series_of_one_time_are_an_error_for_what_they_tell_of() -> None:
    twice = {f'target_info{{instance="i1",job="shop",version="{number}"}}': [1.0] for number in "12"}
    with pytest.raises(EvaluationError, match="found duplicate series for info metric"):
        shown("info(x)", {'x{instance="i1",job="shop"}': [1], **twice}, 0)
    assert shown("info(x)", {'x{instance="i2",job="shop"}': [1], **twice}, 0) == {"__name__=x instance=i2": 1}


def test_two_info_metrics_may_not_contradict_each_other() -> None:
    samples: Samples = {
        'x{instance="i1",job="shop"}': [1],
        'y{instance="i1",job="shop",version="3"}': [1],
        'a_info{instance="i1",job="shop",version="1",zone="n"}': [1],
        'b_info{instance="i1",job="shop",version="2",zone="n"}': [1],
    }
    with pytest.raises(EvaluationError, match="conflicting label: version"):
        shown('info(x, {__name__=~"._info"})', samples, 0)
    assert shown('info(x, {__name__=~"._info", zone="n"})', samples, 0) == {"__name__=x instance=i1 zone=n": 1}
    assert shown('info(y, {__name__=~"._info"})', samples, 0) == {"__name__=y instance=i1 version=3 zone=n": 1}


def test_only_the_same_identifying_labels_find_each_other() -> None:
    samples: Samples = {
        'x{instance="i1"}': [1],
        "x": [2],
        'y{instance="i1",job="a"}': [3],
        'target_info{instance="i1",version="1"}': [1],
        'target_info{version="2"}': [1],
    }
    assert shown("info(x)", samples, 0) == {"__name__=x instance=i1 version=1": 1, "__name__=x": 2}
    assert shown("info(y)", samples, 0) == {"__name__=y instance=i1": 3}
    # An info series without a job tells of nothing as long as anything has one.
    assert shown('info({__name__=~"[xy]"})', samples, 0) == {
        "__name__=x instance=i1": 1,
        "__name__=x": 2,
        "__name__=y instance=i1": 3,
    }


def test_rows_that_become_the_same_are_an_error() -> None:
    samples: Samples = {
        'x{instance="i1"}': [1],
        'x{instance="i1",version="1"}': [2],
        'target_info{instance="i1",version="1"}': [1],
    }
    with pytest.raises(EvaluationError, match="same labelset"):
        shown("info(x)", samples, 0)


def test_it_looks_where_the_first_selector_of_its_argument_looks() -> None:
    old, new = (f'target_info{{instance="i1",version="{number}"}}' for number in "12")
    samples: Samples = {'x{instance="i1"}': [10, 20, 30], old: [1, 1, STALE], new: [None, None, 1]}
    assert shown("info(x offset 1m)", samples) == {"__name__=x instance=i1 version=1": 20}
    assert shown("info(x @ 60)", samples) == {"__name__=x instance=i1 version=1": 20}
    assert shown("info(x @ 60 offset -1m)", samples) == {"__name__=x instance=i1 version=2": 30}
    assert compile_query("sum_over_time(info(x offset 1m)[5m:1m])").reaches_ms == (6 * MINUTE, 6 * MINUTE)


def test_a_range_of_instants() -> None:
    old, new = (f'target_info{{instance="i1",version="{number}"}}' for number in "12")
    samples: Samples = {'x{instance="i1"}': [10, 20, 30], old: [1, 1, STALE], new: [None, None, 1]}
    found = evaluate_range(compile_query("info(x)"), source(samples), 0, 2 * MINUTE, MINUTE)
    made = {labels["version"]: (at.tolist(), values.tolist()) for labels, at, values in found.matrix.items()}
    assert made == {"1": ([0, 1], [10, 20]), "2": ([2], [30])}


def test_label_sets_are_made_again_only_when_an_info_series_changes() -> None:
    samples = source({**SHOP, 'other{instance="i1"}': [1]})
    plan = compile_query("info(orders > 2)")
    shapes = []
    for minute in range(3):
        value = evaluate_instant(plan, samples, minute * MINUTE)
        assert isinstance(value, Vector)
        shapes.append(value.shape)
    assert shapes[1] is shapes[2]


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("info(x, build_info)", "the second argument of info"),
        ("info(x, sum(y))", "the second argument of info"),
        ('info(x, {a="b"} offset 5m)', "the second argument of info"),
        ("info(x, 1)", "expected type vector"),
        ("info(x{}, {}) + {}", "at least one non-empty matcher"),
        ("info({}, {})", "at least one non-empty matcher"),
        ("info(1)", "expected type vector"),
    ],
)
def test_what_is_no_call_of_it(expr: str, says: str) -> None:
    with pytest.raises(PromQLError, match=says):
        compile_query(expr)


def test_prometheus_2_does_not_have_it() -> None:
    with pytest.raises(PromQLError, match=r"info\(\) is not supported: Prometheus 2 has no such function"):
        compile_query("info(x)", compat="prometheus2")


def test_a_comma_or_a_brace_in_a_string_opens_no_second_argument() -> None:
    plan = compile_query('info(x{a=",{", b=~"info[(]"}, { zone=~".*" }) + on () info(y, {})')
    assert [leaf.metric for leaf in plan.leaves] == ["x", "target_info", "y", "target_info"]
    assert [[matcher.label for matcher in leaf.matchers] for leaf in plan.leaves] == [["a", "b"], ["zone"], [], []]
