"""Rules of any expression in continuous mode: exact instants, three values, time that passes by itself."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.conditions import split_condition
from engine.core.evaluator import Core
from engine.core.promql.query_compile import compile_query
from engine.core.rules import OnMissing, Rule, compile_recording, compile_rule
from engine.events import STALE, Sample, SampleBatch, Transition
from tests.core.test_evaluator_properties import batches, run, same, samples

START_MS = 1_000_000


def rule(expr: str, **more: object) -> Rule:
    plan = compile_query(expr)
    made = compile_rule("R", expr, **more)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, plan=plan, measure=split_condition(plan.root)[0])


def play(
    core: Core, script: list[tuple[int, dict[str, float]]], until_s: int, interval_ms: int = 1_000
) -> list[Transition]:
    made = []
    for second, values in script:
        now = START_MS + second * 1_000
        batch = SampleBatch(now, tuple(values), np.array(list(values.values())), interval_ms)
        made += core.feed([batch]) + core.advance(now)
    return made + core.advance(START_MS + until_s * 1_000)


def kinds(transitions: list[Transition]) -> list[tuple[float, str, str]]:
    return [((t.time_ms - START_MS) / 1_000, t.kind, t.reason) for t in transitions]


def test_an_average_fires_exactly_for_after_it_crossed() -> None:
    core = Core([rule("avg_over_time(cpu[10s]) > 50", for_ms=5_000)])
    script = [(s, {"cpu": 100.0 if s >= 20 else 0.0}) for s in range(60)]
    # Of the samples in (t-10s, t] more than half are 100 from the sixth on: at 25 s.
    assert kinds(play(core, script, 60)) == [(25, "pending", "condition"), (30, "firing", "held")]


def test_a_window_runs_empty_with_time_alone() -> None:
    """Nothing comes in any more; the expression changes at multiples of the resolution."""
    core = Core([rule("max_over_time(errors[10s]) > 0", on_missing="reset")])
    made = play(core, [(0, {"errors": 1.0}), (1, {"errors": 0.0})], 30, interval_ms=60_000)
    assert kinds(made) == [(0, "firing", "condition"), (10, "resolved", "recovered")]


def test_a_group_is_unknown_only_when_all_its_inputs_are() -> None:
    core = Core([rule("sum by (job) (up) < 2")])
    both = {'up{job="a",i="x"}': 1.0, 'up{job="a",i="y"}': 0.0}
    one = {'up{job="a",i="x"}': 1.0}
    script = [(0, both), (1, both), *((s, one) for s in range(2, 20))]
    made = play(core, script, 60)
    assert kinds(made) == [(0, "firing", "condition")], "one of two inputs went stale, then both: held, not resolved"
    assert core.alerts()[0].paused
    back = play(core, [(70, {'up{job="a",i="x"}': 1.0, 'up{job="a",i="y"}': 1.0})], 71)
    assert kinds(back) == [(70, "resolved", "recovered")]


def test_absence_is_the_meaning_of_absent() -> None:
    core = Core([rule("absent(heartbeat)", for_ms=5_000)])
    made = play(core, [(s, {"heartbeat": 1.0}) for s in range(5)], 60)
    assert kinds(made) == [(7.001, "pending", "condition"), (12.001, "firing", "held")]


def test_an_input_that_ended_resolves() -> None:
    core = Core([rule("sum(x) > 0")])
    assert kinds(play(core, [(0, {"x": 1.0}), (1, {"x": STALE})], 2)) == [
        (0, "firing", "condition"),
        (1, "resolved", "ended"),
    ]


@pytest.mark.parametrize(("missing", "expected"), [("hold", []), ("reset", [(4.001, "resolved", "missing")])])
@pytest.mark.parametrize("other", [True, False])
def test_what_is_due_at_the_instant_an_input_goes_stale_is_due_before_it(
    missing: OnMissing, expected: list[tuple[float, str, str]], other: bool
) -> None:
    """Whatever else the rule has a sample of at that instant: its own is none."""
    core = Core([rule("sum by (i) (a) > 1", for_ms=3_001, on_missing=missing)])
    made = core.feed([Sample(START_MS + 1_000, 'a{i="x"}', 5.0, 1_000)])
    if other:
        made += core.feed([Sample(START_MS + 4_001, 'a{i="y"}', 0.0, 1_000)])
    made += core.advance(START_MS + 5_000)
    assert kinds(made) == [(1, "pending", "condition"), (4.001, "firing", "held"), *expected]


@pytest.mark.parametrize("single", [True, False])
def test_what_has_a_sample_at_the_instant_it_would_go_stale_was_never_missing(single: bool) -> None:
    """In whatever order the samples of that instant come."""
    core = Core([rule("sum by (i) (a) > 1", on_missing="fire", missing_for_ms=0)])
    core.feed([Sample(START_MS + 1_000, f'a{{i="{name}"}}', 0.0, 1_000) for name in "xy"])
    core.feed([Sample(START_MS + 4_000, 'a{i="x"}', 0.0, 1_000)])
    both = [Sample(START_MS + 4_001, f'a{{i="{name}"}}', 0.0, 1_000) for name in "xy"]
    made = [one for some in ([[each] for each in both] if single else [both]) for one in core.feed(some)]
    assert made + core.advance(START_MS + 5_000) == []


@pytest.mark.parametrize("expr", ["a > 1", "sum(a) > 1"])
@pytest.mark.parametrize("missing", ["hold", "reset", "count"])
def test_an_alert_that_ends_without_a_value_has_none(expr: str, missing: OnMissing) -> None:
    """The value is what is measured at that instant, whoever judges the rule."""
    ended, silent = (Core([compile_rule("R", expr, on_missing=missing, hold_max_ms=5_000)]) for _ in range(2))
    made = play(ended, [(0, {"a": 5.0}), (1, {"a": STALE})], 2)
    made += play(silent, [(0, {"a": 5.0})], 20)
    assert [one.value for one in made if one.kind == "firing"] == [5.0, 5.0]
    assert [repr(one.value) for one in made if one.after == "inactive"] == ["nan", "nan"]


def test_an_expression_without_a_value_changes_nothing_and_is_told() -> None:
    core = Core([rule("a * on () group_left b > 0")])
    made = play(core, [(0, {"a": 1.0, "b": 1.0}), (1, {"a": 1.0, "b": 1.0, 'b{i="x"}': 1.0})], 1)
    assert kinds(made) == [(0, "firing", "condition")]
    assert [(h.component, h.reason) for h in core.take_health()] == [("rule.R", "evaluation_failed")]


SIMPLE = ["a > 1", "1 < a", "a / b > 1", "a > 1 and b > 1", "a + a > 3"]


@given(st.sampled_from(SIMPLE), st.sampled_from([0, 1_000, 2_500]), st.sampled_from([0, 2_500]), st.data())
def test_it_agrees_with_the_pointwise_judge(expr: str, for_ms: int, keep_ms: int, data: st.DataObject) -> None:
    """The fast path is a fast path: on what both can judge they say the same."""
    now, script = 10_000, []
    for _ in range(data.draw(st.integers(1, 20))):
        now += data.draw(st.sampled_from([500, 1_000, 4_000]))
        atom = data.draw(st.one_of(samples(now), batches(now)))
        script += [atom, now] if data.draw(st.booleans()) else [atom]
    script.append(now + 400_000)
    pointwise = compile_rule("R", expr, for_ms=for_ms, keep_firing_for_ms=keep_ms, on_missing="reset")
    whole = rule(expr, for_ms=for_ms, keep_firing_for_ms=keep_ms, on_missing="reset")
    left = [entry[:5] for entry in run(Core([pointwise]), script)]
    right = [entry[:5] for entry in run(Core([whole]), script)]
    assert sorted(left) == sorted(right)


@given(st.data())
def test_more_advances_change_nothing(data: st.DataObject) -> None:
    expr = data.draw(st.sampled_from(["rate(a[3s]) > 0.4", "sum(a) > 2", "max_over_time(a[2s]) > 1", "a > 1 unless b"]))
    now, script, denser = 10_000, [], []
    for _ in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from([500, 1_000, 2_500]))
        denser += [between for between in range(now + 250, now + step, 250) if data.draw(st.booleans())]
        now += step
        atom = data.draw(samples(now))
        script.append(atom)
        denser.append(atom)
    script.append(now + 30_000)
    denser.append(now + 30_000)
    some = [rule(expr, for_ms=1_000)]
    same(sorted(run(Core(some), script), key=repr), sorted(run(Core(some), denser), key=repr))


def test_a_series_of_another_metric_that_steps_in_is_the_same_label_set() -> None:
    """Even if it never held before: it was once taken for absent, which is false, which clears."""
    core = Core([rule("sum by (i) (a > 0) or b", when="> 2", clear="< 1")])
    series = {'a{i="x"}': 5.0, 'b{i="x"}': 1.5}
    low = {'a{i="x"}': 0.0}
    script = [(0, series), (1, {**series, **low}), (2, {**low, 'b{i="x"}': 0.5})]
    assert kinds(play(core, script, 2)) == [(0, "firing", "condition"), (2, "resolved", "recovered")]


def test_of_two_series_that_differ_in_their_metric_alone_the_one_that_holds_counts() -> None:
    core = Core([rule('{__name__=~"a|b"}', when="> 2")])
    script = [(0, {"a": 5.0, "b": 1.0}), (1, {"a": 5.0, "b": 1.0, 'b{i="new"}': 0.0}), (2, {"a": 1.0, "b": 5.0})]
    assert kinds(play(core, script, 2)) == [(0, "firing", "condition")]


COUNTED = [
    "rate(x[20s]) > 0",
    "increase(x[20s]) > 0",
    "irate(x[20s]) > 0",
    "delta(x[20s]) > 0",
    "idelta(x[20s]) > 0",
    "deriv(x[20s]) > 0",
    "predict_linear(x[20s], 600) > 200",
    "sum by (job) (rate(x[20s])) > 0",
    "rate(x[20s]) / 2 > 0",
]


@pytest.mark.parametrize("expr", COUNTED)
def test_the_first_sample_after_a_gap_is_no_evidence_for_what_needs_two(expr: str) -> None:
    """The input is fresh again, and still there is no rate: nobody knows, and the alert goes on."""
    core = Core([rule(expr)])
    before = [(s, {"x": float(s)}) for s in range(0, 30, 5)]
    after = [(s, {"x": float(s)}) for s in range(100, 130, 5)]
    assert kinds(play(core, before + after, 130, 5_000)) == [(5, "firing", "condition")]
    still = [(s, {"x": 125.0}) for s in range(130, 160, 5)]
    assert [kind[1:] for kind in kinds(play(core, still, 160, 5_000))] == [("resolved", "recovered")]


def test_a_window_that_runs_out_of_samples_before_the_series_is_stale_is_no_evidence() -> None:
    core = Core([rule("rate(x[10s]) > 0")])
    script = [(s, {"x": float(s)}) for s in range(0, 30, 5)]  # stale after 15 s, two samples for less than 10 s
    assert kinds(play(core, script, 60, 5_000)) == [(5, "firing", "condition")]
    assert core.alerts()[0].paused


@pytest.mark.parametrize("end", ["ended", "flat", "one of two"])
def test_what_is_known_still_resolves(end: str) -> None:
    """A series that has ended, one that stands still, and a group of which one input has its samples."""
    core = Core([rule("sum(rate(x[20s])) > 0")])
    both = [(s, {"x": float(s), 'x{i="b"}': 0.0}) for s in range(0, 30, 5)]
    gap = [(s, {'x{i="b"}': 0.0}) for s in range(30, 100, 5)]
    last = {"ended": {"x": STALE, 'x{i="b"}': STALE}, "flat": {"x": 25.0, 'x{i="b"}': 0.0}}.get(end, {'x{i="b"}': 0.0})
    more = [(s, last) for s in range(30, 60, 5)] if end != "one of two" else gap
    made = kinds(play(core, both + more, more[-1][0], 5_000))
    assert made[0] == (5, "firing", "condition")
    assert [kind for _, kind, _ in made[1:]] == ["resolved"]


def test_a_series_of_which_a_window_never_holds_two_is_judged_by_what_there_is() -> None:
    """Samples that come every minute, and a window of one: their absence from it says nothing new."""
    core = Core([rule("increase(x[65s]) > 0")])
    assert kinds(play(core, [(0, {"x": 1.0}), (60, {"x": 2.0})], 130, 60_000)) == [
        (60, "firing", "condition"),
        (65, "resolved", "recovered"),
    ]


def test_what_is_recorded_of_a_rate_is_as_unknown_as_the_rate() -> None:
    core = Core([rule("r > 0"), compile_recording("r", "r", "rate(x[20s])")])
    script = [(s, {"x": float(s)}) for s in (*range(0, 30, 5), *range(100, 130, 5))]
    assert kinds(play(core, script, 130, 5_000)) == [(5, "firing", "condition")]
