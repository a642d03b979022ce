"""What a reader is told of an alert is what it is, and what will be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.explain import AlertView, describe
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import Rule
from engine.events import STALE, Blind, Event, Sample, SampleBatch, Transition
from tests.core.test_evaluator_properties import series
from tests.core.test_snapshot_properties import pointwise, whole

A, B = series("a", "0"), series("a", "1")
INTERVAL_MS = 1_000
Step = Event | int


def views(core: Core, at_ms: int | None = None) -> list[AlertView]:
    (seat,) = core.seats()
    return describe(seat, core.watermark_ms if at_ms is None else at_ms)


def play(core: Core, steps: list[Step]) -> list[Transition]:
    made = []
    for step in steps:
        made += core.advance(step) if isinstance(step, int) else core.feed([step])
    return made


# --- the law: what is predicted happens ---------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Samples of a few series, blind spans and advances, in the order of time."""
    steps: list[Step] = []
    now = 10_000
    for _ in range(draw(st.integers(1, 20))):
        now += draw(st.sampled_from([0, 300, 700, 1_000, 1_000, 4_000]))
        kind = draw(st.sampled_from(["sample", "sample", "sample", "blind"]))
        if kind == "blind":
            scope = draw(st.sampled_from(["*", "*", A]))
            steps.append(Blind(now, now - draw(st.sampled_from([500, 2_000])), now, scope, "suspend"))
        else:
            metric, instance = draw(st.sampled_from("ab")), draw(st.sampled_from("01"))
            value = draw(st.sampled_from([0.0, 1.0, 1.5, 2.5, 3.0, math.nan, STALE]))
            cause: Any = draw(st.sampled_from(["ended", "target_down"]))
            steps.append(Sample(now, series(metric, instance), value, INTERVAL_MS, cause))
        if draw(st.booleans()):
            steps.append(now)
    return [*steps, now]


def first_after(told: list[Transition], view: AlertView) -> tuple[int, str, str, str] | None:
    """The first transition of an alert."""
    for one in told:
        if one.labels == view.labels:
            return one.time_ms, one.kind, one.reason, one.severity
    return None


def predicted(view: AlertView) -> tuple[int, str, str, str] | None:
    return None if view.next is None else (view.next.time_ms, view.next.kind, view.next.reason, view.next.severity)


def same_deadline(core: Core, view: AlertView) -> None:
    """What the live view shows of a pending alert is what is predicted."""
    (status,) = [one for one in core.alerts() if one.labels == view.labels] or [None]
    if status is None or status.state != "pending" or view.next is None or status.paused:
        return
    if view.next.kind == "firing":
        assert status.due_ms == view.next.time_ms
    assert status.fading == (view.next.kind == "cleared" and view.levels[0].need_ms < view.levels[0].for_ms)


def the_same_again(view: AlertView, from_ms: int, to_ms: int) -> list[Step]:
    """Every series that speaks for an alert goes on saying what it said, and time passes."""
    steps: list[Step] = []
    for at in range(from_ms + 1, to_ms + INTERVAL_MS, INTERVAL_MS):
        fresh = [one for one in view.inputs if one.state == "fresh"]
        batch = SampleBatch(at, tuple(one.series for one in fresh), np.array([one.value for one in fresh]), INTERVAL_MS)
        steps += [batch, at] if fresh else [at]
    return steps


@settings(max_examples=60)
@given(pointwise("R"), histories())
def test_what_is_predicted_happens_if_nothing_changes(rule: Rule, history: list[Step]) -> None:
    core = Core([rule])
    play(core, history)
    saved, now = core.snapshot(), core.watermark_ms
    for view in views(core):
        same_deadline(core, view)
        again = Core([rule])
        again.restore(saved)
        until = min(view.next.time_ms, now + 20_000) if view.next is not None else now + 10_000
        told = play(again, the_same_again(view, now, until + 2_000))
        actual, said = first_after(told, view), predicted(view)
        if said is not None and said[0] <= until:
            assert actual == said
        else:
            assert actual is None or actual[0] > until


@settings(max_examples=60)
@given(st.one_of(pointwise("R"), whole("R")), histories())
def test_without_samples_it_happens_unless_the_data_goes_missing_first(rule: Rule, history: list[Step]) -> None:
    core = Core([rule])
    play(core, history)
    saved, now = core.snapshot(), core.watermark_ms
    for view in views(core):
        if view.next is None or not view.inputs:
            continue
        stale = [one.stale_ms for one in view.inputs if one.stale_ms > now]
        again = Core([rule])
        again.restore(saved)
        if view.next.time_ms < min(stale, default=now + 60_000) and "[" not in rule.plan.expr:
            assert first_after(again.advance(view.next.time_ms), view) == predicted(view)


GRID = GridRule(kind="alert", name="R", plan=compile_query("a > 1"), for_ms=2_500, keep_firing_for_ms=1_200)


@settings(max_examples=60)
@given(histories(), st.sampled_from([700, 1_000, 3_000]))
def test_a_rule_of_a_group_fires_at_the_instant_that_is_predicted(history: list[Step], interval_ms: int) -> None:
    group = GridGroup(name="g", rules=(GRID,), interval_ms=interval_ms)
    core = Core([], groups=[group])
    play(core, history)
    saved, now = core.snapshot(), core.watermark_ms
    for view in views(core):
        same_deadline(core, view)
        if view.next is None:
            continue
        assert view.next.time_ms % interval_ms == 0
        again = Core([], groups=[group])
        again.restore(saved)
        told = play(again, the_same_again(view, now, view.next.time_ms))
        assert first_after(told, view) == predicted(view)


@settings(max_examples=60)
@given(st.one_of(pointwise("R"), whole("R")), histories())
def test_who_reads_changes_nothing(rule: Rule, history: list[Step]) -> None:
    core, other = Core([rule]), Core([rule])
    for step in history:
        told = core.advance(step) if isinstance(step, int) else core.feed([step])
        assert repr(told) == repr(other.advance(step) if isinstance(step, int) else other.feed([step]))
        (seat,) = core.seats()
        describe(seat, max(core.watermark_ms, step if isinstance(step, int) else step.time_ms))
        assert core.snapshot() == other.snapshot()
