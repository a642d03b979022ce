"""F74: series that come and go for days do not pile up, and nobody's alert is lost for it."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import RecordingRule, Rule, compile_recording, compile_rule
from engine.events import STALE, Sample, SampleBatch, StaleCause, Transition
from engine.series import series_text
from tests.core.test_evaluator_properties import same, told

EXAMPLES = min(100, (settings.default or settings()).max_examples)  # each takes long

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_000 * HOUR
UNLIMITED = 1_000_000

POINTWISE = ["a > 1", "a / b > 1", "a > 1 unless b > 1", "a > 1 and b > 0", 'a{job="x"} >= 2', "a > 2 or b > 2"]
WHOLE = [
    "increase(a[12m]) > 3",
    "max_over_time(a[10m]) > 2 and b > 0",
    'absent(a{pod="p1"})',
    "max_over_time(r[10m]) > 2",
    "r > 1",
]
TOGETHER = ["max by (job) (a) > 2", "count(a) > 3", "max(r) > 2"]


def group() -> GridGroup:
    rules = [
        GridRule(kind="record", name="g", plan=compile_query("a + 1")),
        GridRule(kind="alert", name="G1", plan=compile_query("a > 1"), for_ms=5 * MINUTE, keep_firing_for_ms=MINUTE),
        GridRule(kind="alert", name="G2", plan=compile_query("sum by (job) (increase(a[10m])) > 2")),
        GridRule(kind="alert", name="G3", plan=compile_query("g > 3")),
    ]
    return GridGroup(name="g", rules=tuple(rules), interval_ms=5 * MINUTE)


class Pod(NamedTuple):
    name: str
    job: str
    single: bool

    def series(self, metric: str) -> str:
        return series_text(metric, {"job": self.job, "pod": self.name})


class Step(NamedTuple):
    """What happens at one time: samples, and the pods that end or fall silent there."""

    time_ms: int
    values: list[tuple[Pod, float, float]]
    ended: list[tuple[Pod, StaleCause]]


def atoms(step: Step) -> list[Sample | SampleBatch]:
    made: list[Sample | SampleBatch] = []
    together = [(pod, a, b) for pod, a, b in step.values if not pod.single]
    if together:
        series = [pod.series(metric) for pod, _, _ in together for metric in "ab"]
        values = np.array([value for _, a, b in together for value in (a, b)])
        made.append(SampleBatch(step.time_ms, tuple(series), values, 2 * MINUTE))
    for pod, a, b in step.values:
        if pod.single:
            made += [Sample(step.time_ms, pod.series("a"), a, 2 * MINUTE)]
            made += [Sample(step.time_ms, pod.series("b"), b, 2 * MINUTE)]
    for pod, cause in step.ended:
        made += [Sample(step.time_ms, pod.series(metric), STALE, 2 * MINUTE, cause) for metric in "ab"]
    return made


@st.composite
def churns(draw: st.DrawFn, *, silent: bool) -> list[Step]:
    """Hours in which pods come, end, now and then come back, and vanish without a word if `silent`."""
    made: list[Step] = []
    alive: list[Pod] = []
    past: list[Pod] = []
    now, count = START, 0
    for _ in range(draw(st.integers(25, 60))):
        now += draw(st.sampled_from([3, 5, 5, 10])) * MINUTE
        leaving = [pod for pod in alive if draw(st.integers(0, 3)) == 0]
        causes: list[StaleCause] = ["ended", "ended", "target_down"] if silent else ["ended"]
        ended = [(pod, draw(st.sampled_from(causes))) for pod in (leaving[:2] if silent else leaving)]
        alive = [pod for pod in alive if pod not in leaving]
        past += leaving
        if len(alive) < 4 and draw(st.integers(0, 6)):
            if past and draw(st.integers(0, 5)) == 0:
                back = past.pop(draw(st.integers(0, len(past) - 1)))
                if back not in alive and back not in leaving:
                    alive.append(back)
            else:
                alive.append(Pod(f"p{count}", draw(st.sampled_from("xy")), draw(st.booleans())))
                count += 1
        level = st.sampled_from([0.0, 1.0, 2.0, 3.0])
        values = [(pod, draw(level), draw(level)) for pod in alive if draw(st.integers(0, 9))]
        made.append(Step(now, values, ended))
    made.append(Step(now + 2 * HOUR, [], []))
    return made


def core(rules: list[Rule | RecordingRule], series_max: int, *, grid: bool = True) -> Core:
    return Core(rules, groups=[group()] if grid else [], series_max=series_max, resolution_ms=5 * MINUTE)


def run(core: Core, script: list[Step], *, split: bool = False) -> list[Transition]:
    made: list[Transition] = []
    for step in script:
        for part in [[atom] for atom in atoms(step)] if split else [atoms(step)]:
            made += core.feed(part)
        made += core.advance(step.time_ms)
    return made


def losses(core: Core) -> dict[str, int]:
    return {name: count for name, count in core.counters().items() if "dropped" in name or "failed" in name}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Rule | RecordingRule], list[Step]]:
    """Rules and what they see.

    A series that vanished without a word, and was forgotten, no longer keeps label sets unknown that it stood behind
    with others. So rules that put series together see those that end only.
    """
    silent = draw(st.booleans())
    exprs = st.sampled_from(POINTWISE + WHOLE + ([] if silent else TOGETHER))
    rules: list[Rule | RecordingRule] = [
        compile_rule(
            f"R{number}",
            draw(exprs),
            for_ms=draw(st.sampled_from([0, 5 * MINUTE, 30 * MINUTE])),
            on_missing=draw(st.sampled_from(["hold", "hold", "reset", "count", "fire"])),
            hold_max_ms=draw(st.sampled_from([5 * MINUTE, 20 * MINUTE])),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    rules.append(compile_recording("r", "r", "a + 0"))
    return rules, draw(churns(silent=silent))


@settings(max_examples=EXAMPLES * 12 // 100)
@given(cases())
def test_a_small_table_makes_the_same_transitions_as_one_without_a_limit(
    case: tuple[list[Rule | RecordingRule], list[Step]],
) -> None:
    """As long as what lives fits, whatever came and went."""
    rules, script = case
    small, large = core(rules, 72), core(rules, UNLIMITED)
    mine, theirs = run(small, script), run(large, script)
    same([told(one) for one in mine], [told(one) for one in theirs])
    assert losses(small) == losses(large) == {}
    assert repr(small.alerts()) == repr(large.alerts())  # with NaN equal to NaN
    assert small.take_health() == []


@settings(max_examples=max(1, EXAMPLES * 6 // 100))
@given(cases())
def test_what_goes_does_not_depend_on_how_the_input_is_cut(
    case: tuple[list[Rule | RecordingRule], list[Step]],
) -> None:
    """A replay repeats the advances; the feeds between them it may cut as it likes."""
    rules, script = case
    whole, parts = core(rules, 72), core(rules, 72)
    same([told(one) for one in run(whole, script)], [told(one) for one in run(parts, script, split=True)])
    assert whole.counters() == parts.counters()
    assert whole.series_count == parts.series_count


def fixed(steps: range, *, minutes: int) -> list[Step]:
    """Four new pods at each step, all in one batch with the others; each stays for three steps and then ends."""
    made: list[Step] = []
    for step in steps:
        pods = {
            at: [Pod(f"p{at}-{n}", "xy"[n % 2], single=False) for n in range(4)] for at in range(step - 3, step + 1)
        }
        ended: list[tuple[Pod, StaleCause]] = [(pod, "ended") for pod in pods.pop(step - 3)]
        values = [(pod, 3.0 if pod.name.endswith("-0") else 1.0, 1.0) for each in pods.values() for pod in each]
        made.append(Step(START + step * minutes * MINUTE, values, ended))
    return made


@pytest.mark.slow
def test_days_of_short_lived_series_fit_into_a_small_table() -> None:
    """F74: 1,152 pods with four series each, in a table of 250; each alert of each pod is told and resolved."""
    rules: list[Rule | RecordingRule] = [
        compile_recording("r", "r", "a + 0"),
        compile_rule("Pod", "a > 2", for_ms=2 * MINUTE),
        compile_rule("Both", "a / b > 2"),
        compile_rule("Recorded", "r > 2"),
        compile_rule("Window", "count_over_time(a[25m]) > 1"),
    ]
    small, steps = core(rules, 250), 2 * DAY // (10 * MINUTE)
    counts: Counter[tuple[str, str]] = Counter()
    most = 0
    for at in range(0, steps, 24):
        made = run(small, fixed(range(at, at + 24), minutes=10))
        counts.update((transition.rule, transition.after) for transition in made)
        most = max(most, small.series_count)
    assert most <= 250
    assert losses(small) == {}
    assert small.counters()["series_evicted_total"] > 16 * steps - 250 - 16
    for rule, pods in (("Pod", 1), ("Both", 1), ("Recorded", 1), ("Window", 4), ("G3", 1)):
        assert counts[rule, "firing"] >= (steps - 3) * pods, rule
        assert counts[rule, "firing"] - counts[rule, "inactive"] <= 3 * pods, rule


@pytest.mark.slow
def test_memory_stays_what_it_was_after_some_hours() -> None:
    """Texts, label values, blocks, windows, caches: none of them grows with what has been."""
    small = core([compile_rule("Pod", "a > 2"), compile_rule("Window", "max by (pod) (increase(a[5m])) > 1")], 250)
    run(small, fixed(range(60), minutes=2))
    tracemalloc.start()
    try:
        sizes = []
        for at in range(60, 240, 30):
            run(small, fixed(range(at, at + 30), minutes=2))
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes[3:]) < max(sizes[:3]) + 20_000
    assert len(small._parts.recent.interner) < 250


def test_what_does_not_fit_is_dropped_counted_and_told_and_costs_the_others_nothing() -> None:
    rules: list[Rule | RecordingRule] = [compile_rule("Pod", "a > 2", for_ms=2 * MINUTE), compile_rule("All", "b > 2")]
    known = [Pod(f"known{n}", "x", n % 2 == 0) for n in range(10)]
    full, alone = core(rules, 20, grid=False), core(rules, UNLIMITED, grid=False)
    mine: list[Transition] = []
    theirs: list[Transition] = []
    for minute in range(180):
        values = [(pod, float((minute + n) % 5), float(minute % 4)) for n, pod in enumerate(known)]
        further = [(Pod(f"more{minute}-{n}", "y", n % 2 == 0), 9.0, 9.0) for n in range(4)]
        theirs += run(alone, [Step(START + minute * MINUTE, values, [])])
        for part in (values, further):
            mine += full.feed(atoms(Step(START + minute * MINUTE, part, [])))
        mine += full.advance(START + minute * MINUTE)
    same([told(one) for one in mine], [told(one) for one in theirs])
    assert losses(full) == {"samples_dropped_total_series_limit": 180 * 8}
    assert [(event.reason, event.count) for event in full.take_health()] == [("series_limit", 180 * 8)]
    assert "series_evicted_total" not in full.counters()


def settle(series_max: int = 40) -> tuple[Core, Pod]:
    """A core with a pod whose alert is held, among 19 pods that vanished with it; their series are 40."""
    small = core([compile_rule("Pod", "a > 2", hold_max_ms=DAY), compile_rule("B", "b > 5")], series_max, grid=False)
    pods = [Pod(f"p{n}", "x", single=False) for n in range(20)]
    made = run(small, [Step(START, [(pod, 3.0 if pod.name == "p7" else 1.0, 1.0) for pod in pods], [])])
    assert [one.labels["pod"] for one in made] == ["p7"]
    return small, pods[7]


def test_the_series_of_a_held_alert_stay_and_it_ends_when_they_come_back() -> None:
    small, pod = settle()
    assert small.advance(START + 20 * HOUR) == []
    assert small.counters()["series_evicted_total"] == 39
    assert [(alert.labels["pod"], alert.paused) for alert in small.alerts()] == [("p7", True)]
    made = run(small, [Step(START + 21 * HOUR, [(pod, 1.0, 1.0)], [])])
    assert [(one.labels["pod"], one.reason) for one in made] == [("p7", "recovered")]


def test_a_deadline_finds_its_alert_after_handles_were_given_anew() -> None:
    small, _ = settle()
    small.advance(START + 20 * HOUR)
    made = small.advance(START + 30 * HOUR)
    assert [(one.labels["pod"], one.reason, one.time_ms) for one in made] == [
        ("p7", "lost", START + DAY + 6 * MINUTE + 1)
    ]


def test_of_the_series_behind_a_held_group_one_of_each_kind_stays() -> None:
    """Some ended, some vanished: it is unknown as long as the alert is there, and no further series stay for it."""
    small = core([compile_rule("Job", "max by (job) (a) > 2", hold_max_ms=DAY)], 40, grid=False)
    pods = [Pod(f"p{n}", "xy"[n % 2], single=False) for n in range(20)]
    first = Step(START, [(pod, 3.0 if pod.name == "p4" else 1.0, 1.0) for pod in pods], [])
    made = run(small, [first, Step(START + MINUTE, [], [(pod, "ended") for pod in pods[:4]])])
    assert [one.labels["job"] for one in made] == ["x"]
    assert small.advance(START + 20 * HOUR) == []
    assert small.counters()["series_evicted_total"] == 38
    assert [(alert.labels["job"], alert.paused) for alert in small.alerts()] == [("x", True)]
    made = run(small, [Step(START + 21 * HOUR, [], [(pod, "ended") for pod in pods[4::2]])])
    assert [(one.labels["job"], one.reason) for one in made] == [("x", "ended")]


@pytest.mark.parametrize("grid", [False, True])
def test_labels_that_no_series_has_stay_what_they_are(grid: bool) -> None:
    """Label sets that expressions make themselves are made anew when labels get other codes."""
    made = 'label_replace(vector(3), "who", "{}", "", "")'
    me, you = made.format("me"), made.format("you")
    expr = f'a > 9 or absent(a{{pod="none",job="no"}}) or {me} > 2 or max_over_time({you}[6m:2m]) > 2'
    rule = GridRule(kind="alert", name="R", plan=compile_query(expr))
    groups = [GridGroup(name="g", rules=(rule,), interval_ms=MINUTE)] if grid else []
    small = Core([] if grid else [compile_rule("R", expr)], groups=groups, series_max=40, resolution_ms=MINUTE)
    changes = [(one.labels, one.after) for one in run(small, fixed(range(60), minutes=2))]
    assert changes == [
        ({"alertname": "R", "job": "no", "pod": "none"}, "firing"),
        ({"alertname": "R", "who": "me"}, "firing"),
        ({"alertname": "R", "who": "you"}, "firing"),
    ]
    assert small.counters()["series_evicted_total"] > 200


def test_a_series_that_comes_back_is_a_new_one() -> None:
    """Also for its counter: the first sample after that is no increase."""
    small = core([compile_rule("New", "increase(c[3h]) > 0")], 9, grid=False)
    small.feed([Sample(START, f'c{{i="{n}"}}', 5.0, MINUTE) for n in range(9)])
    small.advance(START + MINUTE)
    small.advance(START + 5 * HOUR)
    assert small.series_count == 0
    assert small.feed([Sample(START + 5 * HOUR, 'c{i="3"}', 99.0, MINUTE)]) == []
    assert len(small.feed([Sample(START + 5 * HOUR + MINUTE, 'c{i="3"}', 100.0, MINUTE)])) == 1


def test_nothing_goes_that_a_window_can_see() -> None:
    """However full the table is: a window of three hours, and the lookback before it."""
    small = core([compile_rule("Long", "count_over_time(c[3h]) > 5")], 8, grid=False)
    small.feed([SampleBatch(START, tuple(f'c{{i="{n}"}}' for n in range(8)), np.ones(8), MINUTE)])
    for minute in range(3 * 60 + 5):
        small.advance(START + minute * MINUTE)
        assert small.series_count == 8, minute
    small.advance(START + (3 * 60 + 6) * MINUTE)
    assert small.series_count == 0


def test_in_a_table_that_is_nearly_full_the_longest_idle_go_before_their_hour() -> None:
    small = core([compile_rule("Pod", "a > 2")], 32, grid=False)
    for minute in range(30):
        small.feed([Sample(START + minute * MINUTE, f'a{{i="{minute}"}}', 1.0, MINUTE)])
        small.advance(START + minute * MINUTE)
    # It happened once, when 29 of 32 were used; after that a quarter was free.
    assert (small.series_count, small.counters()["series_evicted_total"]) == (25, 5)
    # What is known does not take an old sample; what was forgotten is new.
    small.feed([Sample(START + minute * MINUTE, f'a{{i="{minute}"}}', 1.0, MINUTE) for minute in range(30)])
    assert small.counters()["samples_dropped_total_old"] == 25


@pytest.mark.parametrize("dead", [0.4, 0.6])
def test_in_a_large_table_more_than_half_must_be_dead(dead: float) -> None:
    count = 10_000
    large = core([compile_rule("Pod", "a > 2")], UNLIMITED, grid=False)
    texts = [f'a{{i="{n}"}}' for n in range(count)]
    cut = int(count * dead)
    large.feed([SampleBatch(START, tuple(texts), np.ones(count), MINUTE)])
    large.advance(START + MINUTE)
    large.feed([SampleBatch(START + 3 * HOUR, tuple(texts[cut:]), np.ones(count - cut), MINUTE)])
    large.advance(START + 3 * HOUR)
    assert large.series_count == (count if dead < 0.5 else count - cut)


@pytest.mark.slow
def test_a_hundred_thousand_series_are_gone_through_in_slices() -> None:
    """Six tenths of them are dead; what is left is judged as before."""
    rules = [
        compile_rule("One", "a > 5"),
        compile_rule("Two", "a / b > 5"),
        compile_rule("Sum", "sum by (job) (increase(a[5m])) > 1e9"),
    ]
    large = Core(rules, resolution_ms=DAY, batch_samples_max=UNLIMITED)
    pods = [Pod(f"p{n}", f"j{n % 50}", single=False) for n in range(50_000)]
    series = tuple(pod.series(metric) for pod in pods for metric in "ab")
    for minute in range(3):
        large.feed([SampleBatch(START + minute * MINUTE, series, np.ones(len(series)), MINUTE)])
    large.advance(START + 3 * MINUTE)
    left = series[60_000:]
    large.feed([SampleBatch(START + 2 * HOUR, left, np.ones(len(left)), MINUTE)])
    yields = sum(1 for _ in large.advancing(START + 2 * HOUR))
    assert (large.series_count, large.counters()["series_evicted_total"]) == (40_000, 60_000)
    assert 20 < yields < 1_000  # a few thousand series in each
    values = np.ones(len(left))
    values[[0, 5]] = 7.0, 0.1
    made = large.feed([SampleBatch(START + 2 * HOUR + MINUTE, left, values, MINUTE)])
    assert [(one.rule, one.labels["pod"]) for one in made] == [
        ("One", "p30000"),
        ("Two", "p30000"),
        ("Two", "p30002"),
    ]


def test_a_preparation_that_is_given_up_changes_nothing() -> None:
    """The host stopped in the middle of it, wherever that was: what is there then is what was there."""
    for steps in range(1, 60):
        small, _ = settle()
        for now_ms in (6 * MINUTE, 6 * MINUTE + 1):  # the alert is held; a minute has not passed
            assert small.advance(START + now_ms) == []
        assert small.series_count == 40
        advancing = small.advancing(START + 20 * HOUR)
        done = [step for step in (next(advancing, "end") for _ in range(steps)) if step == "end"]
        advancing.close()
        assert small.series_count == (40 if "series_evicted_total" not in small.counters() else 1)
        made = small.advance(START + 30 * HOUR)
        assert [(one.labels["pod"], one.reason) for one in made] == [("p7", "lost")]
        if done:
            return
    pytest.fail("it never ended")
