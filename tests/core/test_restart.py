"""The engine's own downtime: what each rule's `on_restart` and `outage_tolerance` make of it (F07, F10, F95, I6)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import LevelTerms, RecordingRule, Rule, compile_recording, compile_rule
from engine.events import STALE, Blind, Sample, SampleBatch, Transition

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
Kind = Literal["pointwise", "whole"]


def rule(expr: str = "a > 1", **options: Any) -> Rule:
    return compile_rule(options.pop("name", "R"), expr, **options)


def at(second: float, **values: float) -> SampleBatch:
    return SampleBatch(round(second * SECOND), tuple(values), np.array(list(values.values())), SECOND)


def restarted(core: Core, rules: list[Rule | RecordingRule], now_s: float, **more: Any) -> Core:
    again = Core(rules, **more)
    again.restore(core.snapshot(), round(now_s * SECOND))
    return again


def told(made: list[Transition]) -> list[tuple[float, str]]:
    return [(one.time_ms / SECOND, one.kind) for one in made]


# --- the table ------------------------------------------------------------------------------------
# `for` and `keep_firing_for` are 10 s. Down from 108 on: pending since 100, firing since 80, keeping since 104.

BEFORE: dict[str, list[tuple[int, float]]] = {
    "pending": [(100, 5.0), (104, 5.0), (108, 5.0)],
    "firing": [(80, 5.0), (90, 5.0), (100, 5.0), (108, 5.0)],
    "keeping": [(80, 5.0), (90, 5.0), (100, 5.0), (104, 0.0), (108, 0.0)],
}
SHORT, LONG = 30, 7_200
TABLE: dict[tuple[str, str, int], list[tuple[float, str]]] = {
    # 8 of 10 seconds are on the clock; what is true at once after the downtime fires 2 s later
    ("pause", "pending", SHORT): [(140, "firing")],
    ("pause", "pending", LONG): [(7_308, "pending"), (7_318, "firing")],
    ("count", "pending", SHORT): [(110, "firing")],
    ("count", "pending", LONG): [(7_308, "pending"), (7_318, "firing")],
    ("reset", "pending", SHORT): [(138, "pending"), (148, "firing")],
    ("reset", "pending", LONG): [(7_308, "pending"), (7_318, "firing")],
    **{(how, "firing", outage): [] for how in ("pause", "count", "reset") for outage in (SHORT, LONG)},
    # 4 of 10 seconds are on the clock, and the condition does not return
    ("pause", "keeping", SHORT): [(144, "resolved")],
    ("pause", "keeping", LONG): [(7_314, "resolved")],
    ("count", "keeping", SHORT): [(114, "resolved")],
    ("count", "keeping", LONG): [(114, "resolved")],
    ("reset", "keeping", SHORT): [(144, "resolved")],
    ("reset", "keeping", LONG): [(7_314, "resolved")],
}


@pytest.mark.parametrize("expr", ["a > 1", "a + a > 2", "sum(a) > 1"])
@pytest.mark.parametrize(("how", "state", "outage"), TABLE)
def test_on_restart(how: Any, state: str, outage: int, expr: str) -> None:
    rules: list[Rule | RecordingRule] = [
        rule(expr, for_ms=10 * SECOND, keep_firing_for_ms=10 * SECOND, on_restart=how, on_missing="count")
    ]
    core = Core(rules)
    for second, value in BEFORE[state]:
        core.feed([at(second, a=value)])
        core.advance(second * SECOND)
    again = restarted(core, rules, 108 + outage)
    before = again.counters().get("alerts_begun_anew_total", 0)
    assert before == (state == "pending" and (how == "reset" or outage == LONG))
    value = 0.0 if state == "keeping" else 5.0
    made: list[Transition] = []
    for second in range(108 + outage, 108 + outage + 20):
        made += again.feed([at(second, a=value)])
        made += again.advance(second * SECOND)
    assert told(made) == TABLE[how, state, outage]


@pytest.mark.parametrize("how", ["pause", "count", "reset"])
@pytest.mark.parametrize("expr", ["a > 1", "sum(a) > 1"])
def test_what_fired_is_firing_from_the_first_instant_and_nothing_goes_stale(how: Any, expr: str) -> None:
    """F10: whatever the downtime, and however often it restarts before anything comes in."""
    rules: list[Rule | RecordingRule] = [
        rule(expr, on_restart=how, on_missing=missing, name=missing, hold_max_ms=5 * SECOND, missing_for_ms=SECOND)
        for missing in ("hold", "reset", "count", "fire")
    ]
    core = Core(rules)
    assert len(core.feed([at(100, a=5.0)])) == 4
    now = 100.5
    core.advance(round(now * SECOND))
    for outage in (1, 60, 7_200, 0.25):
        now += outage
        core = restarted(core, rules, now)
        assert core.alert_counts() == {"pending": 0, "firing": 4}
        assert core.advance(round(now * SECOND)) == []
    assert core.feed([at(now + 1, a=5.0)]) == []
    assert {one.kind for one in core.feed([at(now + 2, a=0.0)])} == {"resolved"}


def test_outage_tolerance_is_a_rules_own() -> None:
    rules: list[Rule | RecordingRule] = [
        rule(name="short", for_ms=10 * SECOND, outage_tolerance_ms=5 * SECOND),
        rule(name="exact", for_ms=10 * SECOND, outage_tolerance_ms=6 * SECOND),
        rule(name="whole", expr="sum(a) > 1", for_ms=10 * SECOND, outage_tolerance_ms=5 * SECOND),
    ]
    core = Core(rules)
    core.feed([at(100, a=5.0)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, 106)
    assert [one.rule for one in again.alerts()] == ["exact"]
    assert again.counters()["alerts_begun_anew_total"] == 2


def test_a_higher_level_that_was_running_begins_anew_with_the_pending_ones() -> None:
    levels = [LevelTerms(severity="low", when="> 1"), LevelTerms(severity="high", when="> 2", for_ms=10 * SECOND)]
    for how, due in (("pause", 128), ("count", 110), ("reset", 130)):
        rules: list[Rule | RecordingRule] = [rule("a", levels=levels, on_restart=how)]
        core = Core(rules)
        core.feed([at(100, a=5.0)])
        core.advance(102 * SECOND)
        again = restarted(core, rules, 120)
        made = again.feed([at(120, a=5.0)])
        for second in range(121, 140):
            made += again.feed([at(second, a=5.0)]) + again.advance(second * SECOND)
        assert [(one.time_ms / SECOND, one.severity) for one in made] == [(due, "high")]


def test_a_share_of_time_begins_anew_too() -> None:
    for how, due in (("pause", 125), ("reset", 128)):
        rules: list[Rule | RecordingRule] = [rule(for_ms=16 * SECOND, of=0.5, on_restart=how)]
        core = Core(rules)
        core.feed([at(100, a=5.0)])
        core.advance(103 * SECOND)
        again = restarted(core, rules, 120)
        made = [
            one
            for second in range(120, 140)
            for one in (*again.feed([at(second, a=5.0)]), *again.advance(second * SECOND))
        ]
        assert told(made)[-1] == (due, "firing")


def test_data_that_is_missing_goes_on_being_so() -> None:
    """`missing_for` is a clock as any other; under `reset` it begins anew."""
    for how, due in (("pause", 131), ("count", 114.001), ("reset", 140)):
        rules: list[Rule | RecordingRule] = [rule(on_missing="fire", missing_for_ms=10 * SECOND, on_restart=how)]
        core = Core(rules)
        core.feed([at(101, a=0.0)])
        core.advance(113_001 if how != "count" else 105 * SECOND)
        again = restarted(core, rules, 130)
        assert told(again.advance(200 * SECOND)) == [(due, "firing")]


@pytest.mark.parametrize("now", [100, 50, 0])
def test_a_clock_that_went_back_is_no_downtime(now: int) -> None:
    """F95."""
    rules: list[Rule | RecordingRule] = [rule(for_ms=10 * SECOND)]
    core = Core(rules)
    core.feed([at(100, a=5.0)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, now)
    assert told(again.advance(103 * SECOND)) == []
    assert told(again.feed([at(second, a=5.0) for second in (103, 106, 109)]) + again.advance(110 * SECOND)) == [
        (110, "firing")
    ]


def test_without_an_advance_the_newest_sample_is_where_it_went_down() -> None:
    rules: list[Rule | RecordingRule] = [rule(for_ms=10 * SECOND)]
    core = Core(rules)
    core.feed([at(100, a=5.0)])
    again = restarted(core, rules, 300)
    made = [one for second in range(300, 315) for one in again.feed([at(second, a=5.0)])]
    assert told(made) == [(310, "firing")]
    assert restarted(Core(rules), rules, 300).advance(400 * SECOND) == []


@given(st.integers(0, 9), st.sampled_from([1, 5_000, 7_000_000]), st.sampled_from(["a > 1", "a + b > 2", "sum(a) > 1"]))
def test_a_pause_is_a_blind_span(cut: int, outage_ms: int, expr: str) -> None:
    """I6: what comes of a restart is what comes of a blind span of the same length."""
    rules: list[Rule | RecordingRule] = [
        rule(expr, for_ms=3 * SECOND, keep_firing_for_ms=2 * SECOND, outage_tolerance_ms=10**9),
        compile_recording("Rec", "r", "sum(a)"),
        rule("r > 1", name="S", for_ms=4 * SECOND, outage_tolerance_ms=10**9),
    ]
    values = [5.0, 5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 5.0, 5.0, 5.0]
    core = Core(rules)
    for second in range(100, 101 + cut):
        core.feed([at(second, a=values[second - 100], b=1.0)])
        core.advance(second * SECOND)
    down = (100 + cut) * SECOND
    up = down + outage_ms
    again = restarted(core, rules, up / SECOND)
    core.feed([Blind(up, down, up)])
    for number, value in enumerate(values):
        event = at(up / SECOND + 0.5 + number, a=value, b=1.0)
        assert repr(again.feed([event])) == repr(core.feed([event]))
        assert repr(again.advance(event.time_ms)) == repr(core.advance(event.time_ms))


# --- warming --------------------------------------------------------------------------------------


def one(second: float, series: str, value: float) -> Sample:
    return Sample(round(second * SECOND), series, value, SECOND)


@pytest.mark.parametrize("expr", ["a > b", "sum(a) > sum(b)", "a > on () b"])
@pytest.mark.parametrize("single", [True, False])
def test_nothing_resolves_before_every_input_was_seen(expr: str, single: bool) -> None:
    rules: list[Rule | RecordingRule] = [rule(expr)]
    core = Core(rules)
    core.feed([at(100, a=5.0, b=1.0)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, 200)
    low = [one(201, "a", 0.5)] if single else [at(201, a=0.5)]
    assert again.feed(low) == []  # b may have fallen, too
    assert [status.paused for status in again.alerts()] == [True]
    assert again.feed([one(201.5, "b", 0.2)]) == []  # it had
    assert [status.paused for status in again.alerts()] == [False]
    assert told(again.feed([one(202, "a", 0.1)])) == [(202, "resolved")]


@pytest.mark.parametrize("expr", ["a > b", "sum(a) > sum(b)"])
def test_it_resolves_when_the_last_input_is_seen(expr: str) -> None:
    rules: list[Rule | RecordingRule] = [rule(expr)]
    core = Core(rules)
    core.feed([at(100, a=5.0, b=1.0)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, 200)
    assert again.feed([one(201, "a", 0.5)]) == []
    assert told(again.feed([one(201.5, "b", 1.0)])) == [(201.5, "resolved")]


def test_an_input_past_its_limit_is_waited_for_no_longer() -> None:
    """It is as stale then as it would be without a restart, and the rule's own `on_missing` decides."""
    for missing, expected in (("hold", []), ("reset", [(203.001, "resolved")])):
        rules: list[Rule | RecordingRule] = [rule("a > b", on_missing=missing)]
        core = Core(rules)
        core.feed([at(100, a=5.0, b=1.0)])
        core.advance(100 * SECOND)
        again = restarted(core, rules, 200)
        made = [one_ for second in (201, 202, 203) for one_ in again.feed([one(second, "a", 0.5)])]
        made += again.feed([one(204, "a", 0.5)]) + again.advance(204 * SECOND)
        assert told(made) == expected


def test_one_group_of_an_aggregation_does_not_wait_for_another() -> None:
    rules: list[Rule | RecordingRule] = [rule("sum by (i) (a) > 1")]
    core = Core(rules)
    series = ('a{i="x",n="1"}', 'a{i="x",n="2"}', 'a{i="y",n="1"}')
    core.feed([SampleBatch(100 * SECOND, series, np.array([5.0, 5.0, 5.0]), SECOND)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, 200)
    made = again.feed([SampleBatch(201 * SECOND, (series[0], series[2]), np.array([-9.0, 0.0]), SECOND)])
    assert [(status.labels["i"]) for status in again.alerts()] == ["x"]
    assert [(t.labels["i"], t.kind) for t in made] == [("y", "resolved")]
    assert told(again.feed([one(201.5, series[1], 0.0)])) == [(201.5, "resolved")]


@pytest.mark.parametrize("outage_s", [2, 100, 7_200])
@pytest.mark.parametrize("expr", ["sum(a) < 5", "count(a) < 3", "sum(max_over_time(a[10s])) < 5"])
@pytest.mark.parametrize("grid", [False, True])
def test_nobody_is_told_because_only_a_part_was_seen(expr: str, outage_s: int, grid: bool) -> None:
    """Three inputs come back one after the other: what the others were counts until they are there."""
    series = tuple(f'a{{i="{name}"}}' for name in "xyz")
    rules: list[Rule | RecordingRule] = [] if grid else [rule(expr)]
    plan = GridRule(kind="alert", name="R", plan=compile_query(expr))
    groups = [GridGroup(name="g", rules=(plan,), interval_ms=SECOND)] if grid else []
    core = Core(rules, groups=groups)
    for second in range(60, 101):
        core.feed([SampleBatch(second * SECOND, series, np.full(3, 3.0), SECOND)])
        core.advance(second * SECOND)
    up = 100 + outage_s
    again = restarted(core, rules, up, groups=groups)
    for number, text in enumerate(series):
        at_s = up + 0.3 + 0.6 * number
        assert again.feed([one(at_s, text, 3.0)]) + again.advance(round(at_s * SECOND)) == []
    for second in range(up + 3, up + 20):
        assert again.feed([SampleBatch(second * SECOND, series, np.full(3, 3.0), SECOND)]) == []
        assert again.advance(second * SECOND) == []
    low = SampleBatch((up + 20) * SECOND, series, np.full(3, 1.0), SECOND)
    seen = again.feed([low]) + again.advance((up + 20) * SECOND)
    assert [one_.kind for one_ in seen] == (["firing"] if expr == "sum(a) < 5" else [])


def test_it_survives_another_restart_and_ends() -> None:
    rules: list[Rule | RecordingRule] = [rule("a > b")]
    core = Core(rules)
    core.feed([at(100, a=5.0, b=1.0)])
    core.advance(100 * SECOND)
    core = restarted(restarted(core, rules, 200), rules, 200.5)
    same = Core(rules)
    same.restore(core.snapshot())
    for each in (core, same):
        assert each.feed([one(201, "a", 0.5)]) == []
        assert told(each.feed([one(202, "b", 0.9)])) == [(202, "resolved")]
        each.advance(210 * SECOND)
    other = Core(rules)
    other.restore(core.snapshot())
    other.feed([one(211, "b", 0.0), one(211, "a", 5.0)])
    assert told(other.feed([one(211.5, "a", -1.0)])) == [(211.5, "resolved")]  # b was not seen twice, and need not be


@pytest.mark.parametrize("expr", ["a > b", "sum(a) > sum(b)"])
def test_a_late_sample_of_before_the_restart_is_seen_all_the_same(expr: str) -> None:
    """It came after the restart, and is the newest that there is."""
    rules: list[Rule | RecordingRule] = [rule(expr)]
    core = Core(rules)
    core.feed([at(100, a=5.0, b=1.0)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, 110)
    assert again.feed([one(109, "b", 2.0)]) == []
    same = Core(rules)
    same.restore(again.snapshot())
    for each in (again, same):
        assert told(each.feed([one(109.5, "a", 0.5)])) == [(110, "resolved")]


def test_an_end_is_evidence_even_then() -> None:
    rules: list[Rule | RecordingRule] = [rule("a > b")]
    core = Core(rules)
    core.feed([at(100, a=5.0, b=1.0)])
    core.advance(100 * SECOND)
    again = restarted(core, rules, 200)
    assert told(again.feed([Sample(201 * SECOND, "a", STALE, SECOND, "ended")])) == [(201, "resolved")]


# --- groups ---------------------------------------------------------------------------------------


def group(*, interval_s: int = 15) -> GridGroup:
    record = GridRule(kind="record", name="r", plan=compile_query("sum by (i) (a)"))
    alert = GridRule(kind="alert", name="A", plan=compile_query("r > 1"), for_ms=MINUTE)
    direct = GridRule(kind="alert", name="B", plan=compile_query("a > 1"), for_ms=MINUTE)
    return GridGroup(name="g", rules=(record, alert, direct), interval_ms=interval_s * SECOND)


def played(minutes: float) -> Core:
    core = Core([], groups=[group()])
    for second in range(0, round(minutes * 60) + 1, 15):
        core.feed([SampleBatch(second * SECOND, ('a{i="x"}',), np.array([5.0]), 15 * SECOND)])
        core.advance(second * SECOND)
    return core


@pytest.mark.parametrize("outage_s", [20, 600, 7_200])
@pytest.mark.parametrize("first_scrape_s", [1, 31])
def test_firing_alerts_of_groups_outlive_a_downtime_longer_than_the_lookback(
    outage_s: int, first_scrape_s: int
) -> None:
    """Longer than the lookback, too: Prometheus would resolve them at the first instant before the first scrape."""
    core = played(3)
    assert core.alert_counts() == {"pending": 0, "firing": 2}
    up = 180 + outage_s
    again = Core([], groups=[group()])
    again.restore(core.snapshot(), up * SECOND)
    assert again.counters()["instants_missed_total"] > 0
    made = again.advance((up + first_scrape_s) * SECOND)
    for second in range(up + first_scrape_s, up + 120, 15):
        made += again.feed([SampleBatch(second * SECOND, ('a{i="x"}',), np.array([5.0]), 15 * SECOND)])
        made += again.advance((second + 14) * SECOND)
    assert made == []
    made = again.feed([SampleBatch((up + 150) * SECOND, ('a{i="x"}',), np.array([0.0]), 15 * SECOND)])
    made += again.advance((up + 180) * SECOND)
    assert sorted((one.rule, one.kind) for one in made) == [("A", "resolved"), ("B", "resolved")]


@pytest.mark.parametrize("fed_s", [0, 16, 46])
def test_instants_before_the_first_sample_after_a_restart_do_not_know_of_it(fed_s: int) -> None:
    """How a feed and an advance fall changes nothing: the sample may be there before its instant has come."""
    again = Core([], groups=[group()])
    again.restore(played(3).snapshot(), 780 * SECOND)
    made = again.advance((780 + fed_s) * SECOND)
    made += again.feed([SampleBatch(826 * SECOND, ('a{i="x"}',), np.array([5.0]), 15 * SECOND)])
    made += again.advance(790 * SECOND)
    made += again.advance(812 * SECOND)
    made += again.advance(840 * SECOND)
    assert made == []
    made += again.feed([SampleBatch(841 * SECOND, ('a{i="x"}',), np.array([0.0]), 15 * SECOND)])
    assert {one.kind for one in again.advance(856 * SECOND)} == {"resolved"}


def test_they_end_when_their_inputs_do_not_come_back() -> None:
    """In a group an input is expected for the lookback, however often its probe measures: without a downtime its last
    sample would be looked back at for so long."""
    again = Core([], groups=[group()])
    again.restore(played(3).snapshot(), 1_000 * SECOND)
    assert again.advance(1_285 * SECOND) == []
    made = again.advance(1_500 * SECOND)
    assert {(one.rule, one.kind) for one in made} == {("A", "resolved"), ("B", "resolved")}
    assert all(1_285 * SECOND < one.time_ms <= 1_330 * SECOND for one in made)


@pytest.mark.parametrize(("outage_s", "firing_s"), [(600, 30), (7_200, 60)])
def test_pending_alerts_of_groups_pause_and_begin_anew_after_a_long_outage(outage_s: int, firing_s: int) -> None:
    again = Core([], groups=[group()])
    up = 30 + outage_s
    again.restore(played(0.5).snapshot(), up * SECOND)
    made = []
    for second in range(up, up + 120, 15):
        made += again.feed([SampleBatch(second * SECOND, ('a{i="x"}',), np.array([5.0]), 15 * SECOND)])
        made += again.advance(second * SECOND)
    kinds = [(one.time_ms // SECOND - up, one.rule, one.kind) for one in made]
    begins = [(0, "A", "pending"), (0, "B", "pending")] if outage_s == 7_200 else []
    assert [row for row in kinds if row[2] == "pending"] == begins
    assert [row for row in kinds if row[2] == "firing"] == [(firing_s, name, "firing") for name in "AB"]
