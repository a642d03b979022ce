"""F74: series that come and go for days do not pile up, and nobody's alert is lost for it."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core import eviction
from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import RecordingRule, Rule, compile_recording, compile_rule
from engine.events import STALE, Sample, SampleBatch, StaleCause, Transition
from engine.series import series_text
from tests.core.test_evaluator_properties import same, told

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_000 * HOUR
UNLIMITED = 1_000_000

POINTWISE = ["a > 1", "a / b > 1", "a > 1 unless b > 1", "a > 1 and b > 0", 'a{job="x"} >= 2', "a > 2 or b > 2"]
WHOLE = [
    "max by (job) (a) > 2",
    "increase(a[12m]) > 3",
    "max_over_time(a[10m]) > 2 and b > 0",
    'absent(a{pod="p1"})',
    "count(a) > 3",
    "max_over_time(r[10m]) > 2",
    "r > 1",
]


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
def churns(draw: st.DrawFn) -> list[Step]:
    """Hours in which pods come, end, vanish, and now and then come back."""
    made: list[Step] = []
    now, alive, past, count = START, [], [], 0
    for _ in range(draw(st.integers(25, 60))):
        now += draw(st.sampled_from([3, 5, 5, 10])) * MINUTE
        leaving = [pod for pod in alive if draw(st.integers(0, 3)) == 0]
        ended = [(pod, draw(st.sampled_from(["ended", "ended", "target_down"]))) for pod in leaving[:2]]
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


rule_lists = st.lists(
    st.tuples(
        st.sampled_from([*POINTWISE, *WHOLE]),
        st.sampled_from([0, 5 * MINUTE, 30 * MINUTE]),
        st.sampled_from(["hold", "reset"]),
        st.sampled_from([5 * MINUTE, 20 * MINUTE]),
    ),
    min_size=1,
    max_size=3,
).map(
    lambda given: [
        compile_recording("r", "r", "a + 0"),
        *(
            compile_rule(f"R{n}", expr, for_ms=for_ms, on_missing=missing, hold_max_ms=hold)  # type: ignore[arg-type]
            for n, (expr, for_ms, missing, hold) in enumerate(given)
        ),
    ]
)


@given(rule_lists, churns())
def test_a_small_table_makes_the_same_transitions_as_one_without_a_limit(
    rules: list[Rule | RecordingRule], script: list[Step]
) -> None:
    """As long as what lives fits, whatever came and went."""
    small, large = core(rules, 72), core(rules, UNLIMITED)
    mine, theirs = run(small, script), run(large, script)
    same([told(one) for one in mine], [told(one) for one in theirs])
    assert losses(small) == losses(large) == {}
    assert repr(small.alerts()) == repr(large.alerts())  # with NaN equal to NaN
    assert small.take_health() == []


