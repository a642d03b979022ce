"""Recording rules in continuous mode: what lands when, why a series is gone, and who sees it first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import RecordingRule, Rule, compile_recording, compile_rule
from engine.errors import RuleError
from engine.events import STALE, Blind, SampleBatch, Transition

START_MS = 1_000_000
Script = list[tuple[int, dict[str, float]]]


def record(metric: str, expr: str, **labels: str) -> RecordingRule:
    return compile_recording(f"Of_{metric}", metric, expr, labels=labels)


def alert(expr: str, **more: object) -> Rule:
    return compile_rule("R", expr, **more)  # type: ignore[arg-type]


def batch(second: float, values: dict[str, float], interval_ms: int = 1_000, stale: str = "ended") -> SampleBatch:
    series = tuple(values)
    return SampleBatch(START_MS + int(second * 1_000), series, np.array(list(values.values())), interval_ms, stale)  # type: ignore[arg-type]


def play(core: Core, script: Script, until_s: float, interval_ms: int = 1_000) -> list[Transition]:
    made: list[Transition] = []
    for second, values in script:
        made += core.feed([batch(second, values, interval_ms)]) + core.advance(START_MS + second * 1_000)
    return made + core.advance(START_MS + int(until_s * 1_000))


def kinds(transitions: list[Transition]) -> list[tuple[float, str, str]]:
    return [((t.time_ms - START_MS) / 1_000, t.kind, t.reason) for t in transitions]


# --- what lands, and when -------------------------------------------------------------------------


def test_a_result_lands_with_its_sample_and_carries_the_rules_labels() -> None:
    core = Core([record("job:up", "sum by (job) (up)", team="web", job="")])
    core.feed([batch(0, {'up{job="a",i="x"}': 1.0, 'up{job="a",i="y"}': 2.0})])
    assert core.latest("job:up") == {'job:up{team="web"}': 3.0}
    core.feed([batch(1, {'up{job="a",i="x"}': 5.0})])
    assert core.latest("job:up") == {'job:up{team="web"}': 7.0}


def test_a_number_is_one_series_without_labels() -> None:
    core = Core([record("answer", "42"), record("sum:a", "scalar(sum(a))")])
    core.feed([batch(0, {"a": 2.0})])
    core.advance(START_MS + 2_000)
    assert (core.latest("answer"), core.latest("sum:a")) == ({"answer": 42.0}, {"sum:a": 2.0})


def test_what_needs_no_sample_is_there_for_ever() -> None:
    """It would go stale like any series if it were not recorded anew in time."""
    core = Core([record("limit", "vector(90)"), alert("limit > 0", for_ms=3_600_000)])
    assert kinds(play(core, [], 0)) == [(0, "pending", "condition")]
    assert kinds(play(core, [], 4_000)) == [(3_600, "firing", "held")]
    assert core.latest("limit") == {"limit": 90.0}


def test_what_changes_with_time_alone_is_recorded_at_multiples_of_the_resolution() -> None:
    core = Core([record("recent:max", "max_over_time(a[10s])"), alert("recent:max > 0", on_missing="reset")])
    made = play(core, [(0, {"a": 1.0}), (1, {"a": 0.0})], 30, interval_ms=60_000)
    assert kinds(made) == [(0, "firing", "condition"), (10, "resolved", "recovered")]


def test_rules_are_evaluated_in_the_order_of_what_they_read() -> None:
    core = Core(
        [alert("c > 3", for_ms=2_000), record("c", "b + 1"), record("b", "sum(a) * 2")],
    )
    made = play(core, [(0, {"a": 1.0}), (1, {"a": 2.0}), (2, {"a": 2.0}), (4, {"a": 0.0})], 5)
    assert kinds(made) == [(1, "pending", "condition"), (3, "firing", "held"), (4, "resolved", "recovered")]


def test_a_group_of_a_rule_file_reads_what_is_recorded() -> None:
    group = GridGroup(
        name="g", rules=(GridRule(kind="alert", name="G", plan=compile_query("b > 1")),), interval_ms=5_000
    )
    core = Core([record("b", "sum(a)")], groups=[group])
    assert kinds(play(core, [(0, {"a": 1.0}), (4, {"a": 2.0}), (8, {"a": 0.0})], 20)) == [
        (5, "firing", "condition"),
        (10, "resolved", "recovered"),
    ]


# --- no glitches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("expr", ["a > sum:a", "sum:a > a", "a != sum:a", "sum:a != on () a", "a unless sum:a == a"])
def test_no_rule_sees_a_new_sample_beside_an_old_result(expr: str) -> None:
    """`sum:a` is `a` at every instant; a rule that was judged between the two would fire."""
    core = Core([alert(expr), record("sum:a", "sum(a)")])
    assert play(core, [(s, {"a": float(s * s % 7)}) for s in range(20)], 60) == []


def test_nor_does_a_rule_over_two_results() -> None:
    core = Core([record("x", "a + 1"), alert("abs(x - y) > 0"), record("y", "sum(a) + 1")])
    made = play(core, [(s, {"a": float(s)}) for s in range(10)], 60)
    assert made == []


def test_an_alert_is_judged_once_for_a_landing() -> None:
    """At 2 s the new `a` and the old `b` make 6.5, which neither instant has."""
    core = Core([record("b", "a * 3"), alert("a + b > 3.5 and a + b < 7.5")])
    assert kinds(play(core, [(0, {"a": 0.0}), (1, {"a": 2.0}), (2, {"a": 0.5})], 2)) == []


# --- why a series is gone -------------------------------------------------------------------------


def test_a_target_that_is_down_is_not_known_behind_a_recorded_series_either() -> None:
    core = Core([record("b", "sum by (job) (a)"), alert("b > 0", for_ms=3_000)])
    core.feed([batch(0, {'a{job="x"}': 1.0})])
    core.advance(START_MS + 1_000)
    core.feed([batch(1, {'a{job="x"}': STALE}, stale="target_down")])
    core.advance(START_MS + 60_000)
    (status,) = core.alerts()
    assert (status.state, status.paused, status.elapsed_ms) == ("pending", True, 1_000)
    made = core.feed([batch(60, {'a{job="x"}': 1.0})]) + core.advance(START_MS + 63_000)
    assert kinds(made) == [(62, "firing", "held")]


def test_a_target_that_falls_silent_is_unknown_at_the_very_instant_at_which_its_series_is_stale() -> None:
    core = Core([record("b", "sum(a)"), alert("b > 0", on_missing="reset"), alert("b > 0", hold_max_ms=5_000)])
    made = play(core, [(0, {"a": 1.0})], 20)
    assert kinds(made) == [
        (0, "firing", "condition"),
        (0, "firing", "condition"),
        (3.001, "resolved", "missing"),
        (8.001, "lost", "lost"),
    ]


def test_a_series_that_ended_is_evidence_behind_a_recorded_series() -> None:
    core = Core([record("b", "sum(a)"), alert("b > 0")])
    assert kinds(play(core, [(0, {"a": 1.0}), (1, {"a": STALE})], 2)) == [
        (0, "firing", "condition"),
        (1, "resolved", "ended"),
    ]
    assert core.latest("b") == {}


def test_a_result_that_is_filtered_away_is_false_and_not_unknown() -> None:
    core = Core([record("hot", "a > 50"), alert("hot > 0")])
    assert kinds(play(core, [(0, {"a": 60.0}), (1, {"a": 40.0})], 60)) == [
        (0, "firing", "condition"),
        (1, "resolved", "recovered"),
    ]


def test_an_alert_held_while_nobody_knew_resolves_when_the_filter_says_no() -> None:
    core = Core([record("hot", "a > 50"), alert("hot > 0")])
    assert kinds(play(core, [(0, {"a": 60.0}), (20, {"a": 40.0})], 21)) == [
        (0, "firing", "condition"),
        (20, "resolved", "recovered"),
    ]


def test_matchers_on_a_recorded_series_hold_for_what_is_behind_it() -> None:
    """`y` is fresh all the time, but it is none of the rule's business."""
    core = Core([record("b", "a * 1"), alert('sum(b{i="x"}) > 0')])
    both, one = {'a{i="x"}': 1.0, 'a{i="y"}': 1.0}, {'a{i="y"}': 1.0}
    made = play(core, [(0, both), *((s, one) for s in range(1, 10))], 10)
    assert kinds(made) == [(0, "firing", "condition")]
    assert core.alerts()[0].paused


def test_labels_of_a_recording_rule_are_none_of_its_inputs() -> None:
    """The inputs say `env="dev"`, the rule `env="prod"`: they are its inputs all the same."""
    core = Core([record("b", "a * 1", env="prod"), record("c", "b + 0"), alert('c{env="prod"} > 0')])
    made = play(core, [(0, {'a{env="dev"}': 1.0})], 60)
    assert kinds(made) == [(0, "firing", "condition")]
    assert core.alerts()[0].paused


def test_a_blind_span_ages_no_recorded_series() -> None:
    core = Core([record("b", "sum(a)"), alert("b > 0", for_ms=3_000)])
    made = play(core, [(0, {"a": 1.0})], 1)
    made += core.feed([Blind(START_MS + 3_601_000, START_MS + 1_000, START_MS + 3_601_000)])
    made += play(core, [(3_602, {"a": 1.0})], 3_602)
    assert kinds(made) == [(0, "pending", "condition")]
    assert kinds(core.advance(START_MS + 3_603_000)) == [(3_603, "firing", "held")]


# --- faults of rules ------------------------------------------------------------------------------


def health(core: Core) -> list[tuple[str, str]]:
    return [(h.component, h.reason) for h in core.take_health()]


def test_two_rules_that_record_the_same_series_are_told_and_the_first_one_keeps_it() -> None:
    core = Core([record("b", "sum(a)"), compile_recording("Other", "b", "sum(a) * 2")])
    play(core, [(0, {"a": 1.0})], 0)
    assert core.latest("b") == {"b": 1.0}
    (told,) = core.take_health()
    assert (told.component, told.reason) == ("rule.Other", "evaluation_failed")
    assert "the rule Of_b records b, too" in told.message


def test_two_rules_may_record_one_metric_with_different_labels() -> None:
    core = Core([record("b", "sum(a)", q="1"), compile_recording("Other", "b", "max(a)", labels={"q": "2"})])
    play(core, [(0, {'a{i="x"}': 1.0, 'a{i="y"}': 2.0})], 0)
    assert core.latest("b") == {'b{q="1"}': 3.0, 'b{q="2"}': 2.0}
    assert health(core) == []


def test_a_series_that_somebody_measures_is_not_recorded_and_that_is_told() -> None:
    core = Core([record("b", "sum(a)")])
    play(core, [(0, {"b": 7.0}), (1, {"a": 1.0})], 1)
    assert core.latest("b") == {"b": 7.0}
    assert health(core) == [("store", "recorded_twice")]
    play(core, [(2, {"a": 2.0})], 2)
    assert core.latest("b") == {"b": 2.0}, "nobody else has written since"


def test_results_that_become_equal_change_nothing_and_are_told() -> None:
    core = Core([record("b", "a * 1", i="")])
    play(core, [(0, {'a{i="x"}': 1.0}), (1, {'a{i="x"}': 2.0, 'a{i="y"}': 3.0})], 1)
    assert core.latest("b") == {"b": 1.0}
    assert health(core) == [("rule.Of_b", "evaluation_failed")]
    core.advance(START_MS + 60_000)
    assert core.latest("b") == {}, "what is not recorded any more goes stale"


def test_an_alert_over_a_rule_that_lost_its_value_is_held() -> None:
    core = Core([record("b", "a * on () group_left () c"), alert("b > 0")])
    made = play(core, [(0, {"a": 1.0, "c": 1.0})], 0)
    for second in range(1, 20):
        made += play(core, [(second, {"a": 1.0, "c": 1.0, 'c{i="x"}': 1.0})], second)
    assert kinds(made) == [(0, "firing", "condition")]
    assert core.alerts()[0].paused, "the inputs are fresh, but the rule has had no value for three intervals"


def test_nan_and_infinity_are_recorded() -> None:
    core = Core([record("b", "a / 0")])
    play(core, [(0, {'a{i="x"}': 0.0, 'a{i="y"}': 1.0})], 0)
    nan, infinite = core.latest("b").values()
    assert math.isnan(nan)
    assert infinite == math.inf


def test_no_room_for_a_recorded_series_is_told() -> None:
    core = Core([record("b", "a * 1")], series_max=3)
    play(core, [(0, {'a{i="x"}': 0.0, 'a{i="y"}': 1.0})], 0)
    assert list(core.latest("b")) == ['b{i="x"}']
    assert health(core) == [("store", "series_limit")]


def test_a_cycle_is_refused() -> None:
    with pytest.raises(RuleError, match="Of_b -> Of_c -> Of_b"):
        Core([record("b", "c + 1"), record("c", "b + a")])


# --- what has a value without samples -------------------------------------------------------------


def test_a_metric_that_never_came_is_absent() -> None:
    core = Core([alert("absent(heartbeat)", for_ms=5_000)])
    assert kinds(play(core, [(0, {"other": 1.0})], 60)) == [(0, "pending", "condition"), (5, "firing", "held")]


def test_a_metric_that_comes_with_the_first_atom_is_not() -> None:
    core = Core([alert("absent(heartbeat)")])
    assert play(core, [(0, {"heartbeat": 1.0})], 1) == []
