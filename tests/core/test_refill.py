"""Windows that are refilled from a history: a core that was down knows them as if it had never stopped (I10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import recent
from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Vector
from engine.core.rules import compile_recording, compile_rule
from engine.errors import StateError
from engine.events import STALE, Sample, SampleBatch, StaleCause, Transition

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
SERIES = ('a{i="x"}', 'a{i="y"}', 'b{i="x"}', 'c{i="x"}')
EXPRS = [
    "rate(a[9s])",
    "sum_over_time(a[20s])",
    "max_over_time(b[9s])",
    "count_over_time(a[4s] offset 3s)",
    "a",
    "changes(b[20s])",
    "max_over_time(sum(a)[9s:1s])",
]
ASKED = [compile_query(expr) for expr in EXPRS]
WHOLE = [*EXPRS, "sum by (i) (a) > 1", "absent(b)", "avg_over_time(a[5s]) > 1", "a > on (i) group_left () b"]
RULES = [compile_rule(f"R{number}", expr, on_missing="reset") for number, expr in enumerate(WHOLE)]
GROUP = GridGroup(
    name="g",
    rules=tuple(
        GridRule(kind="alert", name=f"G{number}", plan=compile_query(f"({expr}) > 1"))
        for number, expr in enumerate(EXPRS)
    ),
    interval_ms=2 * SECOND,
)

EXAMPLES = min(100, (settings.default or settings()).max_examples)  # each takes long
Step = tuple[int, dict[str, float]]


def at(second: float, interval_ms: int = SECOND, **values: float) -> SampleBatch:
    return SampleBatch(round(second * SECOND), tuple(values), np.array(list(values.values())), interval_ms)


def of(step: Step) -> SampleBatch:
    return SampleBatch(step[0], tuple(step[1]), np.array(list(step[1].values())), SECOND)


def history(steps: Iterable[Step], since_ms: int = 0) -> list[SampleBatch]:
    """What a history has of them: at each time everything of that time together, and no metric that nobody wants."""
    found: dict[int, dict[str, float]] = {}
    for time_ms, values in steps:
        if time_ms >= since_ms:
            found.setdefault(time_ms, {}).update(values)
    return [of((time_ms, values)) for time_ms, values in sorted(found.items())]


def new() -> Core:
    return Core([*RULES, compile_rule("P", "a > 2")], groups=[GROUP], queries=ASKED, lookback_ms=5_000)


def windows(core: Core, at_ms: int) -> list[object]:
    found: list[object] = []
    for plan in ASKED:
        value = core.query(plan, at_ms)
        assert isinstance(value, Vector)
        found.append(sorted((repr(labels), number) for labels, number in value.items()))
    return found


def told(made: Iterable[Transition]) -> list[tuple[object, ...]]:
    return [(one.time_ms, one.rule, one.kind, sorted(one.labels.items())) for one in made]


def states(core: Core) -> list[tuple[object, ...]]:
    return sorted((one.rule, one.state, sorted(one.labels.items())) for one in core.alerts())


@st.composite
def steps(draw: st.DrawFn, first_ms: int) -> list[Step]:
    """Landings of some series each, a few of them markers; now and then two at a time, or some time without any."""
    made: list[Step] = []
    now = first_ms
    taken: set[str] = set()
    for _ in range(draw(st.integers(1, 14))):
        more = draw(st.sampled_from([0, 500, 1_000, 1_000, 1_000, 2_500]))
        now, taken = now + more, set() if more else taken
        here = draw(st.sets(st.sampled_from(SERIES), min_size=1)) - taken
        taken |= here
        value = st.sampled_from([0.0, 1.0, 2.0, 5.0, 9.0, STALE])
        if here:
            made.append((now, {series: draw(value) for series in sorted(here)}))
    return made


@settings(max_examples=EXAMPLES * 12 // 100)
@given(steps(10_000), steps(40_000), st.data())
@pytest.mark.parametrize("alone", [False, True])
def test_a_core_that_was_refilled_is_one_that_never_stopped(
    alone: bool, before: list[Step], after: list[Step], data: st.DataObject
) -> None:
    """The snapshot is older than the stop by any number of landings, or there is none at all."""
    with pytest.MonkeyPatch.context() as patch:
        if alone:
            patch.setattr(recent, "NARROW_BLOCKS_MAX", 1)
        through, lost = new(), new()
        cut = data.draw(st.integers(0, len(before)))
        for number, step in enumerate(before):
            for core in (through, lost)[: 1 + (number < cut)]:
                core.feed([of(step)])
                core.advance(step[0])
        again = new()
        if data.draw(st.booleans()) or cut == len(before):
            again.restore(lost.snapshot())
        now_ms = before[-1][0] + data.draw(st.sampled_from([0, 700, 8_000]))
        kept = data.draw(st.sampled_from([0, min(again.reach(now_ms).values())]))
        again.refill(history(before, kept), now_ms)
        for ahead_ms in (0, 500, 2_000):
            assert windows(again, now_ms + ahead_ms) == windows(through, now_ms + ahead_ms)
        # Everything is seen for as long as a rule looks back, and from then on nobody could tell the two apart.
        for seen_ms in range(now_ms + 1, now_ms + 30_001, 3 * SECOND):
            seen: Step = (seen_ms, dict.fromkeys(SERIES, 1.0))
            for core in (through, again):
                core.feed([of(seen)])
                core.advance(seen_ms)
        for core in (through, again):
            core.advance(now_ms + 32_001)
        assert states(again) == states(through)
        shift = now_ms + 33_000 - after[0][0]
        for time_ms, values in after:
            step = (time_ms + shift, values)
            assert told(again.feed([of(step)])) == told(through.feed([of(step)]))
            assert told(again.advance(step[0])) == told(through.advance(step[0]))
            assert windows(again, step[0]) == windows(through, step[0])


def test_nothing_is_judged_and_nothing_is_late() -> None:
    core = Core([compile_rule("R", "sum_over_time(a[1h]) > 1"), compile_rule("P", "a > 1")])
    core.feed([at(1, a=5.0)])
    core.advance(2 * SECOND)
    again = Core([compile_rule("R", "sum_over_time(a[1h]) > 1"), compile_rule("P", "a > 1")])
    again.restore(core.snapshot())
    before = again.counters()
    again.refill([at(1, a=7.0), at(2, a=0.0, b=1.0), at(3, a=0.0)], 4 * SECOND)
    assert again.counters() == before | {"samples_refilled_total": 2}
    assert again.series_count == 1
    assert [one.rule for one in again.alerts()] == ["R", "P"]
    assert again.advance(4 * SECOND) == []


def test_a_window_of_an_hour_is_there_with_the_first_sample() -> None:
    rule = compile_rule("R", "increase(a[1h]) > 3000")
    past = [at(100 + 10 * step, 10 * SECOND, a=10.0 * step) for step in range(361)]
    cold, refilled = Core([rule]), Core([rule])
    refilled.refill(past, 3_702 * SECOND)
    last = at(3_710, 10 * SECOND, a=3_610.0)
    assert cold.feed([last]) + cold.advance(3_711 * SECOND) == []
    assert told(refilled.feed([last])) == [(3_710 * SECOND, "R", "firing", [("alertname", "R")])]


def test_absent_is_not_true_because_the_engine_has_just_begun() -> None:
    rule = compile_rule("R", "absent(a)")
    cold, refilled = Core([rule]), Core([rule])
    refilled.refill([at(98, a=1.0), at(99, a=1.0)], 100 * SECOND)
    assert [one.kind for one in cold.advance(100 * SECOND)] == ["firing"]
    assert refilled.advance(101 * SECOND) == []
    assert told(refilled.advance(200 * SECOND)) == [(102 * SECOND + 1, "R", "firing", [("alertname", "R")])]


@pytest.mark.parametrize("expr", ["absent(a)", "c unless a", "count(c) unless a", "sum(c) > sum(a) or sum(c) > 0"])
@pytest.mark.parametrize("on_missing", ["reset", "fire", "count"])
def test_nothing_happens_in_the_downtime(expr: str, on_missing: Any) -> None:
    """What went stale in it says nothing about then: clocks begin with the start."""
    core = Core(
        [compile_rule("R", expr, for_ms=5 * MINUTE, on_missing=on_missing), compile_rule("W", "sum(a + c) > 9")]
    )
    past = [at(second, a=1.0, c=1.0) for second in (98, 99)] + [at(second, c=1.0) for second in range(100, 130)]
    core.refill(past, 7_200 * SECOND)
    made = core.advance(7_200 * SECOND)
    for second in range(7_201, 7_501, 10):
        made += core.feed([at(second, 10 * SECOND, c=1.0)]) + core.advance(second * SECOND)
    assert {one.kind for one in made} <= {"pending"}
    assert all(one.time_ms >= 7_200 * SECOND for one in made)
    made = core.feed([at(7_501, c=1.0)]) + core.advance(7_501 * SECOND)
    assert [one.kind for one in made] == ["firing"]
    assert 7_500 * SECOND <= made[0].time_ms <= 7_501 * SECOND


def test_who_is_known_from_the_past_alone_ages_while_nobody_looks() -> None:
    """An old value must not be counted after a long downtime; one that a snapshot knew was watched until the end."""
    rule = compile_rule("R", "sum(a) > 4")
    old = [at(second, **{'a{i="x"}': 5.0}) for second in (98, 99)]
    first = at(7_200, **{'a{i="y"}': 0.0})
    refilled = Core([rule])
    refilled.refill(old, 7_200 * SECOND)
    assert refilled.feed([first]) == []
    known = Core([rule])
    known.feed([at(98, **{'a{i="x"}': 0.0})])
    known.advance(98 * SECOND)
    again = Core([rule])
    again.restore(known.snapshot())
    again.refill(old, 7_200 * SECOND)
    assert [one.kind for one in again.feed([first])] == ["firing"]


def test_the_end_of_a_series_is_evidence_and_its_cause_counts() -> None:
    causes: dict[StaleCause, list[str]] = {"ended": ["resolved"], "target_down": []}
    for cause, kinds in causes.items():
        rule = compile_rule("R", "sum by (i) (a) > 4")
        core, again = Core([rule]), Core([rule])
        core.feed([at(98, **{'a{i="x"}': 5.0, 'a{i="y"}': 0.0})])
        core.advance(98 * SECOND)
        again.restore(core.snapshot())
        again.refill([SampleBatch(99 * SECOND, ('a{i="x"}',), np.array([STALE]), SECOND, cause)], 100 * SECOND)
        made = again.feed([at(100, **{'a{i="y"}': 0.0})]) + again.advance(100 * SECOND)
        assert [one.kind for one in made] == kinds


def test_a_rule_that_is_new_finds_the_whole_of_its_window_and_an_old_one_what_it_lacks() -> None:
    core = Core([compile_rule("Old", "sum_over_time(a[10s]) > 1e9")])
    for second in range(100, 200):
        core.feed([at(second, a=1.0, b=1.0)])
        core.advance(second * SECOND)
    asked = [compile_query("sum_over_time(a[10s])"), compile_query("sum_over_time(b[1m])")]
    again = Core(
        [compile_rule("Old", "sum_over_time(a[10s]) > 1e9"), compile_rule("New", "sum_over_time(b[1m]) > 1e9")]
    )
    again.restore(core.snapshot())
    now_ms = 201 * SECOND
    assert again.reach(now_ms) == {"a": 0, "b": 0}  # a lookback before what is there, and before the window
    again.refill([at(second, a=1.0, b=1.0) for second in range(120, 201)], now_ms)
    values = [again.query(plan, 200 * SECOND) for plan in asked]
    assert [value.items() for value in values if isinstance(value, Vector)] == [[({}, 10.0)], [({}, 60.0)]]


def test_how_far_back_it_reaches() -> None:
    core = Core(
        [
            compile_rule("P", "p > 1"),
            compile_rule("R", "rate(a[1h] offset 10m) > 1"),
            compile_rule("S", "a > 1 or sum(b) > 1"),
            compile_recording("Rec", "r", "sum(c)"),
        ],
        groups=[
            GridGroup(name="g", rules=(GridRule(kind="alert", name="G", plan=compile_query("d > 1")),), interval_ms=9)
        ],
    )
    now_ms = 10 * HOUR
    at_once = now_ms - 5 * MINUTE
    assert core.reach(now_ms) == {"a": at_once - 70 * MINUTE, "b": at_once, "c": at_once, "d": at_once}
    assert Core([compile_rule("N", 'sum({job="x"}) > 1')]).reach(now_ms) == {"": at_once}
    assert Core([compile_rule("A", "sum(a @ 5) > 1")]).reach(now_ms) == {"a": 0}


@pytest.mark.parametrize("used", ["fed", "advanced", "asked", "refilled", "restarted"])
def test_it_is_refilled_before_it_goes_on_and_once(used: str) -> None:
    core = Core([compile_rule("R", "sum(a) > 1")], queries=[compile_query("a")])
    match used:
        case "fed":
            core.feed([Sample(1, "a", 1.0)])
        case "advanced":
            core.advance(1)
        case "asked":
            core.query(compile_query("a"), 1)
        case "refilled":
            core.refill([], 1)
        case _:
            core.restore(Core([]).snapshot(), 5)
    with pytest.raises(StateError, match="before the core goes on"):
        core.refill([at(1, a=1.0)], 2_000)


def test_it_is_taken_in_steps_and_series_beyond_the_limit_are_dropped() -> None:
    core = Core([compile_rule("R", "sum(a) > 1")], series_max=3)
    chunks = list(core.refilling([at(n, **{f'a{{i="{n}"}}': 1.0}) for n in range(1, 6)], 10 * SECOND))
    assert len(chunks) >= 5
    assert core.series_count == 3
    counted = {name: number for name, number in core.counters().items() if number}
    assert counted == {"samples_refilled_total": 3, "samples_dropped_total_series_limit": 2}
