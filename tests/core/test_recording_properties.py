"""An alert over a recorded series is the alert with the expression written out, whatever comes in."""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.conditions import split_condition
from engine.core.evaluator import Core
from engine.core.promql.query_compile import compile_query
from engine.core.rules import RecordingRule, Rule, compile_recording, compile_rule
from engine.events import STALE, Sample, SampleBatch
from tests.core.oracle import Told
from tests.core.test_evaluator_properties import batches, durations, run, same, samples, told

EXAMPLES = min(100, (settings.default or settings()).max_examples)  # each takes long

OF_INSTANTS = [
    "a",
    "a * 2",
    "a > 1",
    "a > b",
    "a / b",
    "a or b",
    "a unless b",
    "sum(a)",
    "sum by (i) (a)",
    "count(a)",
    'sum by (i) ({__name__=~"[ab]"})',
]
OF_WINDOWS = [
    "max_over_time(a[2s])",
    "avg_over_time(a[3s])",
    "rate(a[3s])",
    "a offset 1s",
    "max_over_time(sum(a)[3s:1s])",
]
OF_NOTHING = ["absent(a)", "sum(a) or vector(2)"]  # recorded from the first event on, and not before it
JUDGED = ["r > 1", "1 < r", "r * 2 > 3", "r > 1 and r < 3", "sum(r) > 1"]
BESIDE_OTHERS = ["r == 2 unless c", "r > b", "a < r", "sum(r) > on () sum(c)"]
LOOKING_BACK = ["max_over_time(r[2s:1s]) > 1", "min_over_time(r[3s:1s]) > 1"]
Atom = Sample | SampleBatch


def written_out(expr: str, recorded: str) -> str:
    return re.sub(r"\br\b", f"({recorded})", expr)


@st.composite
def alerting(draw: st.DrawFn, expr: str, name: str = "R") -> Rule:
    for_ms, keep_ms = draw(durations), draw(durations)
    on_missing = draw(st.sampled_from(["hold", "reset"]))
    return judged(expr, for_ms, keep_ms, on_missing, draw(st.sampled_from([3_000, 86_400_000])), name)


def judged(expr: str, for_ms: int, keep_firing_ms: int, on_missing: str, hold_max_ms: int, name: str = "R") -> Rule:
    """A rule judged as one that looks back, for what reads a recorded series is judged so."""
    rule = compile_rule(
        name,
        expr,
        for_ms=for_ms,
        keep_firing_for_ms=keep_firing_ms,
        on_missing=on_missing,
        hold_max_ms=hold_max_ms,
    )
    plan = compile_query(expr)
    return msgspec.structs.replace(rule, plan=plan, measure=split_condition(plan.root)[0])


@st.composite
def scripts(draw: st.DrawFn, *, late: bool = True, silence_ms: int = 8_000) -> list[Atom | int]:
    """Atoms in order of time, advances between them that may make some late, and what happens in silence afterwards."""
    made: list[Atom | int] = []
    now = 10_000
    for _ in range(draw(st.integers(1, 20))):
        now += draw(st.sampled_from([0, 500, 1_000, 2_500, 4_000]))
        made.append(draw(st.one_of(samples(now), batches(now))))
        if draw(st.booleans()):
            made.append(now + (draw(st.sampled_from([0, 0, 700, 3_001])) if late else 0))
    return [*made, now + silence_ms]


def says_the_same(recorded: str, expr: str, over: Rule, script: list[Atom | int]) -> None:
    out = msgspec.structs.replace(over, plan=compile_query(written_out(expr, recorded)))
    left = run(Core([compile_recording("Of", "r", recorded), over]), script)
    right = run(Core([out]), script)
    if recorded in OF_WINDOWS:
        left, right = _without_old_values(left), _without_old_values(right)
    same(sorted(left, key=repr), sorted(right, key=repr))


def _without_old_values(transitions: list[Told]) -> list[Told]:
    """Transitions without the value that an end brings along from before: a window moves unseen between two multiples
    of the resolution, but a recording rule looks when its inputs are stale, too, and then nothing was measured last."""
    return [(*entry[:-1], math.nan) if entry[5] == "recovered" else entry for entry in transitions]


@given(st.sampled_from(OF_INSTANTS + OF_WINDOWS + OF_NOTHING), st.sampled_from(JUDGED), st.data())
def test_an_alert_over_a_recorded_series_is_the_alert_written_out(
    recorded: str, expr: str, data: st.DataObject
) -> None:
    says_the_same(recorded, expr, data.draw(alerting(expr)), data.draw(scripts()))


@pytest.mark.parametrize("value", [math.nan, STALE])
@pytest.mark.parametrize("on_missing", ["hold", "reset"])
def test_so_it_is_when_a_late_sample_is_the_last(value: float, on_missing: str) -> None:
    """It makes its series stale before the instant at which it came: time has nothing left to tell."""
    x = ('a{i="x"}',)
    script: list[Atom | int] = [
        SampleBatch(10_500, x, np.array([2.0]), 500),
        13_501,
        SampleBatch(11_000, x, np.array([value]), 500),
        22_500,
    ]
    says_the_same("a offset 1s", "r * 2 > 3", judged("r * 2 > 3", 2_500, 2_500, on_missing, 3_000), script)


def test_so_it_is_when_series_go_silent_at_the_instant_at_which_others_came() -> None:
    script: list[Atom | int] = [
        Sample(10_000, 'a{i="x"}', 0.0, 500),
        13_001,
        SampleBatch(10_000, ('a{i="x"}', 'a{i="y"}', "a"), np.array([0.0, 0.0, 2.0]), 1_000),
        Sample(10_500, 'a{i="y"}', 0.0, 500),
        Sample(10_500, "a", 0.0, 500),
        18_500,
    ]
    says_the_same("a offset 1s", "r > 1", judged("r > 1", 0, 0, "hold", 3_000), script)


def test_so_is_a_total_of_which_a_part_goes_silent_as_another_comes() -> None:
    script: list[Atom | int] = [
        SampleBatch(18_000, ("a", 'a{i="x"}', 'a{i="y"}'), np.array([3.0, math.nan, 3.0]), 1_000, "target_down"),
        21_001,
        Sample(19_000, "a", 2.0, 500),
        Sample(19_000, 'a{i="x"}', math.inf, 500),
        19_700,
        Sample(19_000, 'a{i="y"}', math.nan, 1_000),
        Sample(21_500, 'a{i="y"}', 0.0, 0),
        21_500,
        Sample(22_000, 'a{i="y"}', 0.0, 500),
        30_000,
    ]
    says_the_same("a offset 1s", "sum(r) > 1", judged("sum(r) > 1", 5_000, 2_500, "reset", 3_000), script)


def test_so_is_what_was_measured_last_where_another_series_took_over() -> None:
    script: list[Atom | int] = [Sample(10_000, 'b{i="x"}', 0.0, 1_000), Sample(10_500, 'a{i="x"}', 2.0, 500), 20_000]
    says_the_same("a or b", "r * 2 > 3", judged("r * 2 > 3", 5_000, 0, "reset", 3_000), script)


@given(st.sampled_from(OF_INSTANTS), st.sampled_from(BESIDE_OTHERS), st.data())
def test_so_is_one_that_reads_what_was_measured_too(recorded: str, expr: str, data: st.DataObject) -> None:
    """Of instants alone: between two multiples of the resolution a window moves unseen, and a sample that makes the
    alert look then is none that makes the recording rule look."""
    says_the_same(recorded, expr, data.draw(alerting(expr)), data.draw(scripts()))


@given(
    st.sampled_from([expr for expr in OF_INSTANTS + OF_WINDOWS if " or " not in expr]),
    st.sampled_from(LOOKING_BACK),
    st.sampled_from([500, 1_000, 0]),
    st.data(),
)
def test_so_is_one_that_looks_back_as_long_as_no_sample_is_late(
    recorded: str, expr: str, interval_ms: int, data: st.DataObject
) -> None:
    """A late sample is judged now, so its result is recorded now: a rule that looks back at results finds it there. And
    a rule that looks back at samples takes the interval of the last one for that of all, and those of `a` and of `b` in
    `a or b` for two series."""
    script: list[Atom | int] = [
        step if isinstance(step, int) else msgspec.structs.replace(step, interval_ms=interval_ms)
        for step in data.draw(scripts(late=False))
    ]
    says_the_same(recorded, expr, data.draw(alerting(expr)), script)


@settings(max_examples=EXAMPLES * 15 // 100)
@given(st.sampled_from(OF_INSTANTS + OF_WINDOWS + OF_NOTHING), st.sampled_from(JUDGED), st.data())
def test_so_it_is_after_a_long_silence(recorded: str, expr: str, data: st.DataObject) -> None:
    """Longer than series are fresh whose interval is not known."""
    says_the_same(recorded, expr, data.draw(alerting(expr)), data.draw(scripts(silence_ms=310_000)))


CHAINED: list[Rule | RecordingRule] = [
    compile_recording("One", "r", "sum by (i) (a)"),
    compile_recording("Two", "s", "r + b"),
    compile_recording("Three", "t", "max_over_time(s[2s])"),
]


@st.composite
def rule_sets(draw: st.DrawFn) -> list[Rule | RecordingRule]:
    exprs = ["r > 1", "s > 2", "t > 1", "a > r", "s > b", "t > s", "b > 1", "sum(c) > 1"]
    chosen = draw(st.lists(st.sampled_from(exprs), min_size=1, max_size=4, unique=True))
    return [*CHAINED, *(draw(alerting(expr, f"R{number}")) for number, expr in enumerate(chosen))]


@settings(max_examples=EXAMPLES * 40 // 100)
@given(rule_sets(), scripts(), st.data())
def test_the_order_of_rules_changes_nothing_but_that_of_transitions(
    rules: list[Rule | RecordingRule], script: list[Atom | int], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rules))
    left, right = run(Core(rules), script), run(Core(shuffled), script)
    same(sorted(left, key=repr), sorted(right, key=repr))


@settings(max_examples=EXAMPLES * 40 // 100)
@given(rule_sets(), scripts(), st.data())
def test_splitting_feeds_changes_nothing(
    rules: list[Rule | RecordingRule], script: list[Atom | int], data: st.DataObject
) -> None:
    core = Core(rules)
    made: list[Told] = []
    waiting: list[Atom] = []
    for step in script:
        if isinstance(step, int) or data.draw(st.booleans()):
            made += map(told, core.feed(waiting))
            waiting = []
        if isinstance(step, int):
            made += map(told, core.advance(step))
        else:
            waiting.append(step)
    same(made, run(Core(rules), script))


@settings(max_examples=EXAMPLES * 40 // 100)
@given(rule_sets(), scripts(), st.data())
def test_more_advances_change_nothing(
    rules: list[Rule | RecordingRule], script: list[Atom | int], data: st.DataObject
) -> None:
    """Advances between atoms that are not late anyway."""
    sparse = [step for step in script[:-1] if not isinstance(step, int)]
    dense: list[Atom | int] = []
    for before, step in zip([sparse[0], *sparse], sparse, strict=False):
        between = range(before.time_ms + 250, step.time_ms, 250)
        dense += [at for at in between if data.draw(st.booleans())]
        dense.append(step)
    end = sparse[-1].time_ms + 10_000
    left, right = run(Core(rules), [*sparse, end]), run(Core(rules), [*dense, end])
    same(sorted(left, key=repr), sorted(right, key=repr))
