"""A snapshot goes on where it was taken, whatever rules there are and wherever it is taken.

Two cores are fed the same; one of them is taken down to bytes and brought back after every step.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import recent
from engine.core.conditions import split_condition
from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.projectors import EventCounter, HealthProjector
from engine.core.promql.query_compile import compile_query
from engine.core.rules import LevelTerms, RecordingRule, Rule, compile_recording, compile_rule
from engine.events import Blind, Event, Health
from engine.templates import compile_go_template
from tests.core.test_evaluator_properties import JOINED, POINTWISE, batches, durations, samples, series

EXAMPLES = min(100, (settings.default or settings()).max_examples)  # each takes long

MEASURED = ["a", "a + b", "a - b", "b"]
WHOLE = [
    "sum by (i) (a) > 1",
    "sum(a) > 2",
    "rate(a[3s]) > 0.3",
    "avg_over_time(a[2s]) > 1",
    "max_over_time(sum(a)[3s:1s]) > 2",
    "absent(a)",
    "a > on (i) sum by (i) (b)",
    "count(a) unless c",
    "topk(1, a) > 1",
    "increase(b[4s]) > 1",
]
RECORDED = ["sum by (i) (a)", "avg_over_time(a[3s])", "a + b", "rate(a[3s])", "a > 1", "absent(c)"]
GRID = [
    "a > 1",
    "sum(a) > 2",
    "rate(a[5s]) > 0.2",
    "avg_over_time(a[4s]) > 1",
    "g > 1",
    "a unless b",
    "sum_over_time(b[6s]) > 3",
    "count(ALERTS) > 1",
    "max_over_time(a[4s:1s]) > 1",
]
TEMPLATES = ["{{ $value }}", "{{ $labels.i }}", "{{ with query `a` }}{{ . | first | value }}{{ end }}"]
Step = Event | int


@st.composite
def pointwise(draw: st.DrawFn, name: str) -> Rule:
    options: dict[str, Any] = {
        "keep_firing_for_ms": draw(durations),
        "on_missing": draw(st.sampled_from(["hold", "reset", "count", "fire"])),
        "hold_max_ms": draw(st.sampled_from([3_000, 86_400_000])),
        "of": draw(st.sampled_from([1.0, 1.0, 0.7])),
    }
    if options["on_missing"] == "fire":
        options["missing_for_ms"] = draw(durations)
    if draw(st.booleans()):
        return compile_rule(name, draw(st.sampled_from(POINTWISE + JOINED)), for_ms=draw(durations), **options)
    levels = [
        LevelTerms(severity="low", when="> 1", for_ms=draw(durations), clear=draw(st.sampled_from(["", "<= 0"]))),
        LevelTerms(severity="high", when="> 2", for_ms=draw(durations), clear=draw(st.sampled_from(["", "<= 1"]))),
    ]
    return compile_rule(name, draw(st.sampled_from(MEASURED)), levels=levels, **options)


@st.composite
def whole(draw: st.DrawFn, name: str) -> Rule:
    rule = draw(pointwise(name))
    if draw(st.booleans()):  # judged whole, though it need not be
        plan = compile_query(rule.plan.expr)
        return msgspec.structs.replace(rule, plan=plan, measure=split_condition(plan.root)[0])
    return compile_rule(
        name,
        draw(st.sampled_from([*WHOLE, "r > 1", "sum(r) > 1", "s > 1", "max_over_time(r[2s:1s]) > 1"])),
        for_ms=draw(durations),
        keep_firing_for_ms=draw(durations),
        on_missing=rule.on_missing,
        missing_for_ms=rule.missing_for_ms,
        hold_max_ms=rule.hold_max_ms,
        of=rule.of,
    )


@st.composite
def groups(draw: st.DrawFn) -> GridGroup:
    made = [GridRule(kind="record", name="g", plan=compile_query(draw(st.sampled_from(RECORDED))))]
    for number in range(draw(st.integers(1, 3))):
        labels = {"n": compile_go_template(draw(st.sampled_from(["x", "{{ $value }}"])))}
        plan = compile_query(draw(st.sampled_from(GRID)))
        texts = {"text": compile_go_template(draw(st.sampled_from(TEMPLATES)))}
        clocks = {"for_ms": draw(durations), "keep_firing_for_ms": draw(durations)}
        made.append(GridRule(kind="alert", name=f"G{number}", plan=plan, labels=labels, annotations=texts, **clocks))
    return GridGroup(
        name="g",
        rules=tuple(made),
        interval_ms=draw(st.sampled_from([1_000, 1_500])),
        query_offset_ms=draw(st.sampled_from([0, 500])),
        limit=draw(st.sampled_from([0, 0, 2])),
    )


@st.composite
def scripts(draw: st.DrawFn, *, leap_ms: int = 400_000) -> list[Step]:
    """Atoms, late ones among them, blind spans, events, advances, and leaps in which series die."""
    made: list[Step] = []
    now = 10_000
    for _ in range(draw(st.integers(1, 16))):
        now += draw(st.sampled_from([0, 500, 500, 1_000, 1_500, 4_000]))
        at = now - draw(st.sampled_from([0, 0, 0, 500, 2_000]))
        kind = draw(
            st.sampled_from(["sample", "batch", "batch", "advance", "advance", "blind", "some", "leap", "event"])
        )
        if kind == "leap":
            now += draw(st.sampled_from([30_000, 61_000, leap_ms]))
        if kind in ("advance", "leap"):
            made.append(now)
        elif kind == "sample":
            made.append(draw(samples(at)))
        elif kind == "batch":
            made.append(draw(batches(at)))
        elif kind == "event":
            made.append(Health(at, draw(st.sampled_from(["x", "y"])), draw(st.sampled_from(["ok", "degraded"])), "why"))
        else:
            scope = "*" if kind == "blind" else draw(st.sampled_from(["a", series("b", "x")]))
            made.append(Blind(now, now - draw(st.sampled_from([0, 700, 3_000])), now + 300, scope))
    return [*made, now + 2_000, now + 20_000, now + leap_ms]


def bytes_again(core: Core, fresh: Core) -> Core:
    data = core.snapshot()
    fresh.restore(data)
    assert fresh.snapshot() == data
    return fresh


def goes_on(script: list[Step], rules: list[Rule | RecordingRule], **more: Any) -> int:
    """Play a script on a core, and on one that is brought back after every step; return how much happened."""

    def new() -> Core:
        return Core(rules, projectors=[HealthProjector(), EventCounter()], lookback_ms=5_000, **more)

    through, interrupted = new(), bytes_again(new(), new())
    happened = 0
    for step in script:
        told = through.advance(step) if isinstance(step, int) else through.feed([step])
        again = interrupted.advance(step) if isinstance(step, int) else interrupted.feed([step])
        assert repr(again) == repr(told)
        assert repr(interrupted.take_health()) == repr(through.take_health())
        assert sorted(map(repr, interrupted.alerts())) == sorted(map(repr, through.alerts()))
        assert interrupted.counters() == through.counters()
        assert repr(interrupted.resolved()) == repr(through.resolved())
        happened += len(told)
        interrupted = bytes_again(interrupted, new())
    return happened


@given(st.lists(st.sampled_from(["P0", "P1", "P2"]).flatmap(pointwise), min_size=1, max_size=3), scripts(), st.data())
def test_rules_that_are_pointwise(rules: list[Rule], script: list[Step], data: st.DataObject) -> None:
    goes_on(script, [*rules], alerts_per_rule_max=data.draw(st.sampled_from([1, 2, 10_000])))


@settings(max_examples=EXAMPLES * 40 // 100)
@given(st.lists(st.sampled_from(["W0", "W1"]).flatmap(whole), min_size=1, max_size=3), scripts(), st.data())
def test_chains(rules: list[Rule], script: list[Step], data: st.DataObject) -> None:
    recorded = [
        compile_recording("One", "r", data.draw(st.sampled_from(RECORDED))),
        compile_recording("Two", "s", data.draw(st.sampled_from(["r + 1", "sum(r)", "b"])), labels={"by": "two"}),
    ]
    alerts_max = data.draw(st.sampled_from([1, 2, 10_000]))
    goes_on(script, [*rules, *recorded], resolution_ms=5_000, alerts_per_rule_max=alerts_max)


@settings(max_examples=EXAMPLES * 30 // 100)
@given(st.lists(groups(), min_size=1, max_size=2), scripts(leap_ms=62_000))
def test_groups(some: list[GridGroup], script: list[Step]) -> None:
    goes_on(script, [], groups=some)


@settings(max_examples=EXAMPLES * 30 // 100)
@given(pointwise("P"), whole("W"), groups(), scripts(leap_ms=62_000), st.sampled_from([4, 6, 9]))
def test_all_of_it_where_series_are_let_go(
    one: Rule, other: Rule, group: GridGroup, script: list[Step], series_max: int
) -> None:
    rules: list[Rule | RecordingRule] = [one, other, compile_recording("One", "r", "sum by (i) (a)")]
    goes_on(script, rules, groups=[group], series_max=series_max)


@settings(max_examples=EXAMPLES * 30 // 100)
@given(whole("W"), groups(), scripts(leap_ms=62_000))
def test_series_that_land_alone(rule: Rule, group: GridGroup, script: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent, "NARROW_BLOCKS_MAX", 1)
        goes_on(script, [rule], groups=[group])
