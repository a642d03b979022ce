"""Alerts as rows of their own: what changed is told, and a core that is made of the newest rows goes on as if it had
never stopped."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import RecordingRule, Rule, compile_rule
from engine.errors import StateError
from engine.events import Blind, Event, Facts, Sample, SampleBatch, Transition
from tests.core.test_evaluator_properties import INSTANCES, METRICS, batches, samples, series
from tests.core.test_snapshot_properties import groups, pointwise, whole

EXAMPLES = min(100, (settings.default or settings()).max_examples)
SECOND = 1_000
EVERYTHING = tuple(series(metric, instance) for metric in METRICS for instance in INSTANCES)
Rows = dict[tuple[str, str], bytes]
Step = Event | int


@st.composite
def scripts(draw: st.DrawFn, now: int = 10_000) -> list[Step]:
    """Atoms in order of time, each followed by an advance; blind spans among them."""
    made: list[Step] = []
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.sampled_from([500, 500, 1_000, 1_500, 4_000]))
        kind = draw(st.sampled_from(["batch", "batch", "batch", "sample", "blind", "some", "none"]))
        if kind == "batch":
            made.append(draw(batches(now)))
        elif kind == "sample":
            made.append(draw(samples(now)))
        elif kind != "none":
            scope = "*" if kind == "blind" else draw(st.sampled_from(["a", series("b", "x")]))
            made.append(Blind(now, now - draw(st.sampled_from([0, 700, 3_000])), now, scope))
        made.append(now)
    return made


def play(core: Core, step: Step) -> list[Transition]:
    return core.advance(step) if isinstance(step, int) else core.feed([step])


def write(rows: Rows, core: Core, limit: int = 1_000) -> int:
    """Write down what changed, some rows at a time; return how many they were."""
    written = 0
    while made := core.changed_alerts(limit):
        assert len(made) <= limit
        written += len(made)
        for key, text, data in made:
            if data is None:
                rows.pop((key, text), None)
            else:
                rows[key, text] = data
    return written


def stored(rows: Rows) -> list[tuple[str, str, bytes]]:
    return [(key, text, data) for (key, text), data in rows.items()]


def batch(time_ms: int, **values: float) -> SampleBatch:
    return SampleBatch(time_ms, tuple(values), np.array(list(values.values())), SECOND)


def history(script: list[Step]) -> list[SampleBatch]:
    made = []
    for step in script:
        if isinstance(step, SampleBatch):
            made.append(step)
        elif isinstance(step, Sample):
            made.append(SampleBatch(step.time_ms, (step.series,), np.array([step.value]), step.interval_ms, step.stale))
    return made


def standing(core: Core) -> list[str]:
    """What does not hang on the newest sample."""
    return sorted(
        repr((one.rule, one.labels, one.state, one.active_since_ms, one.severity, one.flapping))
        for one in core.alerts()
    )


def times_of(facts: Facts) -> Facts:
    """Facts without what was measured."""
    return Facts(0.0, 0.0, 0, facts.true_ms, facts.unknown_ms)


def told(core: Core, step: Step, *, measures: bool) -> str:
    """What comes of a step.

    Args:
        measures: The value of an expression follows from the newest samples alone. Otherwise the end of an alert has
            the value when it last held, and no row is written for each of those.
    """
    made, replace = play(core, step), msgspec.structs.replace
    # No row is written for a sample that changes nothing: what was measured since the last row is not known.
    made = [one if one.facts is None else replace(one, facts=times_of(one.facts)) for one in made]
    if not measures:
        made = [one if one.after != "inactive" else replace(one, value=0.0, annotations={}) for one in made]
    return repr(made)


def unrecorded(group: GridGroup) -> GridGroup:
    """A group that reads nothing that it has recorded: what is refilled are the samples that were fed."""
    read = [rule for rule in group.rules if {leaf.metric for leaf in rule.plan.leaves} <= set(METRICS)]
    return msgspec.structs.replace(group, rules=tuple(read))


def goes_on(
    rules: list[Rule | RecordingRule], script: list[Step], data: st.DataObject, *, measures: bool = False, **more: Any
) -> None:
    """Play a script, cut it, and let a core that is made of rows and a history go on beside the one that was cut."""
    through = Core(rules, lookback_ms=5_000, **more)
    rows: Rows = {}
    limit = data.draw(st.sampled_from([1, 3, 1_000]))
    cut = data.draw(st.sampled_from([at for at, step in enumerate(script, 1) if isinstance(step, int)]))
    for step in script[:cut]:
        play(through, step)
        if data.draw(st.booleans()):
            write(rows, through, limit)
    write(rows, through, limit)
    until_ms = through.watermark_ms
    again = Core(rules, lookback_ms=5_000, **more)
    again.take_alerts(stored(rows), until_ms)
    assert not again.counters().get("alerts_not_restored_total")
    assert standing(again) == standing(through)
    again.refill(history(script[:cut]), until_ms, 0)
    seen_ms = until_ms + 1  # before anything goes stale: that is as sure as a row is old
    value = data.draw(st.sampled_from([0.0, 2.0]))
    seen = SampleBatch(seen_ms, EVERYTHING, np.full(len(EVERYTHING), value), SECOND)
    for core in (through, again):
        core.feed([seen])
        core.advance(seen_ms)
    assert standing(again) == standing(through)
    for step in data.draw(scripts(seen_ms)):
        assert told(again, step, measures=measures) == told(through, step, measures=measures)
        assert standing(again) == standing(through)


@settings(max_examples=EXAMPLES * 40 // 100)
@given(st.lists(st.sampled_from(["P0", "P1"]).flatmap(pointwise), min_size=1, max_size=3), scripts(), st.data())
def test_pointwise_rules_go_on(rules: list[Rule], script: list[Step], data: st.DataObject) -> None:
    goes_on([*rules], script, data, measures=True)


@settings(max_examples=EXAMPLES * 30 // 100)
@given(st.lists(st.sampled_from(["W0", "W1"]).flatmap(whole), min_size=1, max_size=2), scripts(), st.data())
def test_rules_of_the_whole_language_go_on(rules: list[Rule], script: list[Step], data: st.DataObject) -> None:
    goes_on([*rules], script, data, resolution_ms=5_000)


@settings(max_examples=EXAMPLES * 30 // 100)
@given(groups(), scripts(), st.data())
def test_groups_go_on(group: GridGroup, script: list[Step], data: st.DataObject) -> None:
    """What only some series missed comes back with the alerts that rest on them, and is not known of others."""
    script = [step for step in script if not isinstance(step, Blind) or step.scope == "*"]
    goes_on([], script, data, groups=[unrecorded(group)])


def test_only_what_changed_is_told() -> None:
    core = Core([compile_rule("R", "a > 1", for_ms=5 * SECOND), compile_rule("S", "sum(b) > 1")])
    rows: Rows = {}
    assert write(rows, core) == 2  # what the alerts of each rule have in common
    core.feed([batch(10_000, **{'a{i="x"}': 5.0, 'a{i="y"}': 0.0, "b": 5.0})])
    assert write(rows, core) == 2
    for second in range(11, 15):
        core.feed([batch(second * SECOND, **{'a{i="x"}': float(second), 'a{i="y"}': 0.0, "b": 5.0})])
        core.advance(second * SECOND)
        assert write(rows, core) == 0
    core.advance(15 * SECOND)
    assert write(rows, core) == 1


def test_what_is_over_keeps_its_ring_until_that_is_forgotten() -> None:
    core = Core([compile_rule("R", "a > 1")])
    rows: Rows = {}
    write(rows, core)
    core.feed([batch(10_000, a=5.0)])
    write(rows, core)
    large = max(map(len, rows.values()))
    core.feed([batch(11_000, a=0.0)])
    write(rows, core)
    assert len(rows) == 2
    assert max(map(len, rows.values())) < large // 4
    late = 11_000 + 40 * 60 * SECOND
    core.feed([batch(late, **{f'a{{i="{number}"}}': 5.0 for number in range(70)})])
    write(rows, core)
    assert len(rows) == 1 + 70


def test_damaged_and_unknown_rows_are_counted() -> None:
    core = Core([compile_rule("R", "a > 1"), compile_rule("Gone", "a > 1")])
    rows: Rows = {}
    core.feed([batch(10_000, **{'a{i="x"}': 5.0, 'a{i="y"}': 5.0})])
    write(rows, core)
    again = Core([compile_rule("R", "a > 1")])
    bad = [(key, text, b"\x00" if "R" in key and "x" in text else data) for key, text, data in stored(rows)]
    again.take_alerts(bad, 10_000)
    assert [one.labels["i"] for one in again.alerts()] == ["y"]
    assert again.counters()["alerts_not_restored_total"] == 1 + 2
    with pytest.raises(StateError, match="new core"):
        again.take_alerts(bad, 10_000)


def test_an_edited_rule_keeps_what_fits() -> None:
    before, after = compile_rule("R", "a > 1", for_ms=SECOND), compile_rule("R", "sum by (i) (a) > 2", for_ms=SECOND)
    for old, new in [(before, after), (after, before)]:
        core = Core([old])
        rows: Rows = {}
        core.feed([batch(10_000, **{'a{i="x"}': 5.0})])
        core.advance(12_000)
        write(rows, core)
        again = Core([new])
        again.take_alerts(stored(rows), 12_000, 12_000)
        assert [(one.state, one.active_since_ms) for one in again.alerts()] == [("firing", 10_000)]
        assert again.feed([batch(12_500, **{'a{i="x"}': 5.0})]) == []
        assert [one.kind for one in again.feed([batch(13_000, **{'a{i="x"}': 0.0})])] == ["resolved"]


def test_clocks_ran_until_the_end_and_stand_in_the_downtime() -> None:
    rule = compile_rule("R", "a > 1", for_ms=10 * SECOND)
    core = Core([rule])
    rows: Rows = {}
    for second in range(100, 109):
        core.feed([batch(second * SECOND, a=5.0)])
        core.advance(second * SECOND)
        write(rows, core)
    again = Core([rule])
    again.take_alerts(stored(rows), 108 * SECOND, 138 * SECOND)
    made: list[Transition] = []
    for second in range(138, 150):
        made += again.feed([batch(second * SECOND, a=5.0)]) + again.advance(second * SECOND)
    assert [(one.time_ms, one.kind) for one in made] == [(140 * SECOND, "firing")]


@pytest.mark.parametrize("expr", ["a > 1", "sum(a) > 1"])
def test_a_blind_span_that_is_told_again_is_taken_out_once(expr: str) -> None:
    rule = compile_rule("R", expr, for_ms=10 * SECOND)
    core = Core([rule])
    rows: Rows = {}
    core.feed([batch(100 * SECOND, a=5.0)])
    write(rows, core)
    core.feed([Blind(105 * SECOND, 102 * SECOND, 104 * SECOND), batch(105 * SECOND, a=5.0)])
    core.advance(105 * SECOND)
    write(rows, core)
    again = Core([rule])
    again.take_alerts(stored(rows), 105 * SECOND, 105 * SECOND)
    made: list[Transition] = []
    for one in (core, again):
        one.feed([batch(106 * SECOND, a=5.0), Blind(106 * SECOND, 101 * SECOND, 104 * SECOND)])
        for second in range(107, 120):
            made += one.feed([batch(second * SECOND, a=5.0)]) + one.advance(second * SECOND)
    assert [(one.time_ms, one.kind) for one in made] == [(113 * SECOND, "firing")] * 2


@pytest.mark.parametrize("grid", [False, True])
def test_without_a_history_an_end_waits_until_windows_have_filled_and_no_longer(grid: bool) -> None:
    plan = compile_query("max_over_time(a[2s]) > 1")
    rules = [] if grid else [compile_rule("R", plan.expr)]
    rule = GridRule(kind="alert", name="R", plan=plan)
    groups = [GridGroup(name="g", rules=(rule,), interval_ms=SECOND)] if grid else []
    core = Core(rules, groups=groups)
    rows: Rows = {}
    made: list[Transition] = []
    made += core.feed([batch(100 * SECOND, a=5.0)]) + core.advance(101 * SECOND)
    assert [one.kind for one in made] == ["firing"]
    write(rows, core)
    again = Core(rules, groups=groups)
    again.take_alerts(stored(rows), 101 * SECOND, 110 * SECOND)
    made = []
    for second in range(110, 120):
        made += again.feed([batch(second * SECOND, a=0.0)]) + again.advance(second * SECOND)
    (end,) = made
    assert end.kind == "resolved"
    assert 112 * SECOND <= end.time_ms <= 113 * SECOND, "two seconds of seen time, and at most an interval"
