"""Subqueries that remember their steps against subqueries that do not: the same bits, whatever lands in between."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.expression import FreshView
from engine.core.promql.memory import MemorySource
from engine.core.promql.plan import Compat, QueryPlan
from engine.core.promql.query import evaluate_instant
from engine.core.promql.query_compile import compile_query
from engine.core.promql.steps import Steps
from engine.core.promql.vector import EvaluationError, Scalar, Vector
from engine.core.recent import Recent
from engine.core.store import Landing, Mark, Store, stale_mask
from engine.events import STALE
from tests.core.promql import expressions
from tests.core.promql.answers import loaded

EXAMPLES = min(100, (settings.default or settings()).max_examples)  # each takes long

MINUTE_MS = 60_000
COMPATS: list[Compat] = ["prometheus3", "prometheus2"]


def answer(plan: QueryPlan, source: Any, at_ms: int, *, default_step_ms: int = 60_000) -> Any:
    """What an evaluation gives, to the bit and in its order; the text of an error."""
    try:
        value = evaluate_instant(plan, source, at_ms, default_step_ms=default_step_ms)
    except EvaluationError as error:
        return str(error)
    if not isinstance(value, Vector):
        return np.float64(value.value).tobytes() if isinstance(value, Scalar) else value
    return [(labels, np.float64(number).tobytes()) for labels, number in value.items()]


class Counted:
    """A source that counts what it is asked."""

    def __init__(self, source: MemorySource) -> None:
        self._source = source
        self.steps = source.steps
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += name in ("instant", "window")
        return getattr(self._source, name)


# -- over samples that do not change ------------------------------------------------------------------------------


def subqueries(rng: random.Random) -> str:
    made = expressions.Expressions(rng)
    inner = made.vector(2)
    if rng.random() < 0.4:
        inner = f"max_over_time(({inner})[{rng.choice(['2m', '90s'])}:{rng.choice(['30s', '1m', ''])}])"
    offset = rng.choice(["", "", "", " offset 1m", " offset -1m", f" @ {expressions.START_MS // 1000 + 300}"])
    function = rng.choice(["sum_over_time", "avg_over_time", "last_over_time", "rate", "count_over_time", "deriv"])
    ranged = f"({inner})[{rng.choice(['3m', '5m', '4m7s'])}:{rng.choice(['15s', '1m', '37s', ''])}]{offset}"
    twice = rng.choice(["", "", f" + on(job, instance) {function}({ranged})", f" or absent_over_time({ranged})"])
    return f"{function}({ranged}){twice}"


@settings(max_examples=EXAMPLES * 60 // 100)
@given(st.integers(0, 2**32), st.sampled_from(COMPATS))
def test_what_is_remembered_changes_no_answer(seed: int, compat: Compat) -> None:
    rng = random.Random(seed)
    series, left_open = expressions.series(seed % 5), compat == "prometheus3"
    warm, cold = (MemorySource(series, left_open=left_open) for _ in range(2))
    cold.steps = Steps(cells_max=0)
    at_ms = expressions.START_MS + 240_000
    plans = [compile_query(subqueries(rng), compat=compat) for _ in range(3)]
    for _ in range(6):
        for plan in plans:
            assert answer(plan, warm, at_ms) == answer(plan, cold, at_ms), plan.expr
        at_ms += rng.choice([0, 15_000, 15_000, 60_000, 1_234, -37_000, 700_000])
    assert cold.steps.cells == 0


@pytest.mark.parametrize(
    ("expr", "first", "again"),
    [
        ("max_over_time(rate(x[5m])[1h:])", 60, 1),
        ("max_over_time(rate(x[5m])[1h:]) / avg_over_time(rate(x[5m])[1h:])", 60, 1),
        ("max_over_time(avg_over_time(sum(x)[10m:1m])[1h:1m])", 69, 1),
        ("max_over_time((x offset 5m)[1h:])", 60, 1),
        ("max_over_time(x[1h:] @ 3600)", 60, 0),
        ("max_over_time((x offset -5m)[1h:])", 60, 60),  # what is not there yet may still come
        ("max_over_time((x @ 60)[1h:])", 60, 60),
    ],
)
def test_an_evaluation_a_step_later_asks_for_one_step_more(expr: str, first: int, again: int) -> None:
    source, plan = Counted(loaded([(MINUTE_MS, [("x", "0+1x200")])])), compile_query(expr)
    answer(plan, source, 100 * MINUTE_MS)
    assert source.asked == first
    for at in range(101, 105):
        source.asked = 0
        answer(plan, source, at * MINUTE_MS)
        assert source.asked == again


def test_time_may_go_back() -> None:
    source, plan = loaded([(MINUTE_MS, [("x", "0+1x99")])]), compile_query("sum_over_time(x[3m:1m])")
    for at in (50, 49, 47, 48, 10, 90, 50):
        expected = float(3 * at - 3)
        assert answer(plan, source, at * MINUTE_MS) == [({}, np.float64(expected).tobytes())]


def test_subqueries_are_told_apart_by_their_default_step() -> None:
    source, plan = loaded([(MINUTE_MS, [("x", "0+1x30")])]), compile_query("count_over_time(x[10m:])")
    for step_ms, count in ((60_000, 10), (30_000, 20), (60_000, 10)):
        found = answer(plan, source, 20 * MINUTE_MS, default_step_ms=step_ms)
        assert found == [({}, np.float64(count).tobytes())]


@pytest.mark.parametrize("inner", ["x", "(x or vector(0))"])
def test_a_limit_of_instants_is_reached_whatever_is_known(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The label sets of a vector() are made anew by each evaluation, so that what is known does not fit."""
    source = loaded([(MINUTE_MS, [('x{i="1"}', "0+1x99")])])
    plan = compile_query(f"sum_over_time(sum_over_time({inner}[10m:1m])[10m:1m])")
    answer(plan, source, 50 * MINUTE_MS)
    monkeypatch.setattr("engine.core.promql.query.INSTANTS_MAX", 109)
    for at in (50, 51):
        assert "more than" in str(answer(plan, source, at * MINUTE_MS))
    monkeypatch.setattr("engine.core.promql.query.INSTANTS_MAX", 110)
    for at in (51, 52):
        assert "more than" not in str(answer(plan, source, at * MINUTE_MS))


def test_memory_is_bounded_and_what_was_used_last_stays() -> None:
    source = Counted(loaded([(MINUTE_MS, [("x", "0+1x99"), ("y", "0+1x99")])]))
    source.steps = Steps(cells_max=100)
    x, y, large = (compile_query(f"sum_over_time({range_})") for range_ in ("x[20m:1m]", "y[20m:1m]", "x[1h:1m]"))
    for plan in (x, y, x, large):
        answer(plan, source, 70 * MINUTE_MS)
        assert source.steps.cells <= 100
    assert source.steps.cells == 80
    third = compile_query("sum_over_time(y[15m:1m])")
    for plan in (third, x):
        answer(plan, source, 70 * MINUTE_MS)
    source.asked = 0
    answer(x, source, 70 * MINUTE_MS)
    assert (source.asked, source.steps.cells) == (0, 70)
    answer(y, source, 70 * MINUTE_MS)
    assert source.asked == 20


# -- over samples that land ---------------------------------------------------------------------------------------

SERIES = [f'{metric}{{i="{i}"}}' for metric in ("a", "b") for i in ("x", "y", "z")]
LIVE = [
    "sum_over_time(a[2m:10s])",
    "max_over_time((a / b)[1m:10s])",
    "avg_over_time(rate(a[1m])[2m:20s])",
    "sum_over_time(sum(max_over_time(b[30s:10s]))[1m:20s])",
    'last_over_time({i="x"}[1m:10s]) or on(i) count_over_time(b[1m:10s] offset 20s)',
    'avg_over_time(increase({i=~"x|y"}[40s])[1m:10s])',
    "count_over_time((topk(2, a) or b)[1m:10s])",
    "sum_over_time((timestamp(a) > 1 unless b offset 30s)[1m:7s])",
    "sum_over_time((a offset -20s)[1m:10s])",
]


class Live:
    """A store and what is recent, with or without remembered steps."""

    def __init__(self, plans: list[QueryPlan], *, left_open: bool, remembers: bool) -> None:
        self.store = Store(100)
        self.recent = Recent(self.store.table, 60_000, left_open=left_open)
        if not remembers:
            self.recent.steps = Steps(cells_max=0)
        self.fresh = FreshView(self.recent, self.store)
        for plan in plans:
            for leaf, reach_ms in zip(plan.leaves, plan.reaches_ms, strict=True):
                self.recent.want(leaf, (reach_ms or 0) + 60_000)

    def land(self, at_ms: int, which: list[int], values: list[float], interval_ms: int) -> None:
        handles = np.array([self.store.intern(SERIES[series]) for series in which])
        numbers = np.array(values)
        landing = Landing(handles, handles, at_ms, numbers, stale_mask(numbers), Mark.ENDED, 3 * interval_ms, 0)
        self.store.land(landing)
        self.recent.land(handles, at_ms, numbers)


@settings(max_examples=EXAMPLES * 40 // 100)
@given(st.data(), st.sampled_from(COMPATS))
def test_whatever_lands_answers_are_those_of_a_whole_evaluation(data: st.DataObject, compat: Compat) -> None:
    """Late samples, stale markers, new series, other intervals, blind spans: between any two evaluations."""
    chosen = data.draw(st.lists(st.sampled_from(LIVE), min_size=2, max_size=3, unique=True))
    plans = [compile_query(expr, compat=compat) for expr in chosen]
    sides = [Live(plans, left_open=compat == "prometheus3", remembers=remembers) for remembers in (True, False)]
    now_ms, last = 1_000_000, dict.fromkeys(range(len(SERIES)), 0)
    for _ in range(data.draw(st.integers(5, 25))):
        now_ms += data.draw(st.sampled_from([1_000, 5_000, 10_000, 10_000, 40_000]))
        at_ms = now_ms - data.draw(st.sampled_from([0, 0, 0, 500, 12_000, 45_000]))
        which = data.draw(st.sampled_from([[0, 1], [0, 1, 3, 4], [3], [1], [0, 1, 2, 3, 4, 5], [5, 2]]))
        which = [series for series in which if last[series] < at_ms]
        values = [data.draw(st.sampled_from([0.0, 0.1, 1.7, 2.0, 5.3, 1e9, STALE])) for _ in which]
        interval_ms = data.draw(st.sampled_from([5_000, 10_000, 30_000]))
        last.update(dict.fromkeys(which, at_ms))
        blind = data.draw(st.integers(0, 9)) == 0
        for side in sides:
            if which:
                side.land(at_ms, which, values, interval_ms)
            if blind:
                side.store.skip(now_ms - 20_000, now_ms - 5_000)
            side.recent.horizon_ms = now_ms
        for plan in plans:
            for mine, theirs in ((sides[0].recent, sides[1].recent), (sides[0].fresh, sides[1].fresh)):
                assert answer(plan, mine, now_ms) == answer(plan, theirs, now_ms), plan.expr


def live(*exprs: str) -> tuple[Live, list[QueryPlan]]:
    plans = [compile_query(expr) for expr in exprs]
    return Live(plans, left_open=True, remembers=True), plans


def test_a_late_sample_is_seen_at_the_steps_after_it() -> None:
    side, [plan] = live("sum_over_time(a[1m:10s])")
    side.land(1_000_000, [0], [1.0], 10_000)
    assert answer(plan, side.recent, 1_040_000) == [({"i": "x"}, np.float64(5.0).tobytes())]
    side.land(1_020_000, [0], [3.0], 10_000)
    assert answer(plan, side.recent, 1_040_000) == [({"i": "x"}, np.float64(11.0).tobytes())]
    side.land(1_030_000, [0], [3.0], 10_000)
    assert answer(plan, side.recent, 1_020_000) == [({"i": "x"}, np.float64(5.0).tobytes())]
    side.land(1_020_000, [1], [7.0], 10_000)  # a series that nobody knew
    assert answer(plan, side.recent, 1_040_000) == [
        ({"i": "x"}, np.float64(11.0).tobytes()),
        ({"i": "y"}, np.float64(21.0).tobytes()),
    ]


def test_a_sample_at_the_very_step_or_of_any_metric_is_seen() -> None:
    side, plans = live("sum_over_time(a[1m:10s])", 'sum_over_time({i="x"}[1m:10s])')
    side.land(1_000_000, [0], [1.0], 10_000)
    for plan in plans:
        assert answer(plan, side.recent, 1_040_000)
    side.land(1_040_000, [0], [3.0], 10_000)
    for plan in plans:
        assert [number for _, number in answer(plan, side.recent, 1_040_000)] == [np.float64(7.0).tobytes()]


def test_an_evaluation_that_begins_anew_is_not_paid_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    side, [plan] = live("sum_over_time(sum_over_time(a[1m:10s])[1m:10s])")
    side.land(1_000_000, [0], [1.0], 10_000)
    answer(plan, side.recent, 1_040_000)
    side.land(1_045_000, [1], [1.0], 10_000)
    monkeypatch.setattr("engine.core.promql.query.INSTANTS_MAX", 42)
    assert "more than" not in str(answer(plan, side.recent, 1_050_000))


def test_zeros_of_either_sign_are_told_apart() -> None:
    source = loaded([(MINUTE_MS, [("x", "1x9")])])
    for zero in ("0", "-0", "0"):
        found = answer(compile_query(f"last_over_time((x * {zero})[5m:1m])"), source, 5 * MINUTE_MS)
        assert found == [({}, np.float64(zero).tobytes())]


def test_what_was_forgotten_is_found_again() -> None:
    source = Counted(loaded([(MINUTE_MS, [("x", "0+1x9")])]))
    plan = compile_query("sum_over_time(x[5m:1m])")
    before = answer(plan, source, 9 * MINUTE_MS)
    source.steps.clear()
    assert (source.steps.cells, answer(plan, source, 9 * MINUTE_MS), source.asked) == (0, before, 10)


def test_a_sample_of_another_metric_disturbs_nothing() -> None:
    side, [plan, _] = live("sum_over_time(a[1m:10s])", "b")
    side.land(1_000_000, [0], [1.0], 10_000)
    answer(plan, side.recent, 1_040_000)
    kept = side.recent.steps.cells
    side.land(1_010_000, [3], [3.0], 10_000)
    assert side.recent.steps.cells == kept > 0
    side.land(1_020_000, [0], [3.0], 10_000)
    assert 0 < side.recent.steps.cells < kept
    side.land(1_000_001, [1], [3.0], 10_000)
    side.land(980_001, [2], [3.0], 10_000)
    assert side.recent.steps.cells == 0


def test_series_that_take_turns_are_refused_also_if_the_first_turn_is_remembered() -> None:
    side, [plan] = live('sum_over_time(max_over_time({i="x"}[20s])[1m:10s])')
    side.land(1_000_000, [0], [1.0], 10_000)
    assert answer(plan, side.recent, 1_030_000) == [({"i": "x"}, np.float64(2.0).tobytes())]
    side.land(1_040_000, [3], [1.0], 10_000)  # b{i="x"}: without its name it is a{i="x"}
    assert "same labelset" in str(answer(plan, side.recent, 1_040_000))


def test_a_series_that_is_stale_earlier_is_seen_so_at_every_step() -> None:
    """In continuous mode an age limit follows from the last sample: a shorter interval ends the past sooner, too."""
    side, [plan] = live("count_over_time(a[2m:10s])")
    side.land(1_000_000, [0], [1.0], 30_000)
    assert answer(plan, side.fresh, 1_040_000) == [({"i": "x"}, np.float64(5.0).tobytes())]
    side.land(1_045_000, [0], [1.0], 5_000)
    assert answer(plan, side.fresh, 1_050_000) == [({"i": "x"}, np.float64(3.0).tobytes())]


def test_more_subqueries_than_are_told_apart_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.core.promql.steps.SUBJECTS_MAX", 2)
    source = Counted(loaded([(MINUTE_MS, [("x", "0+1x9")])]))
    plans = [compile_query(f"sum_over_time(x[{number}m:1m])") for number in range(1, 6)]
    before = [answer(plan, source, 9 * MINUTE_MS) for plan in plans]
    source.asked = 0
    assert [answer(plan, source, 9 * MINUTE_MS) for plan in plans] == before
    assert source.asked == 0
