"""The core told as stories: what is fed and when, and the exact instant of everything that comes of it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import course, layouts
from engine.core.course import TIMERS_PER_RULE_MAX
from engine.core.evaluator import Core
from engine.core.rules import Rule, compile_rule
from engine.events import STALE, Blind, Sample, SampleBatch, Transition
from engine.series import series_text

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
CPU = "host_cpu_percent"
ENDED, DOWN = "ended", "down"

Moment = tuple[float, Any]
"""(second, what): a number or marker is a sample of the CPU, a dict samples of several series in one batch,
`advance` an advance, a `Blind` itself."""
Told = tuple[float, str, str]


def sample(second: float, what: float | str, series: str = CPU) -> Sample:
    time_ms = round(second * SECOND)
    if isinstance(what, str):
        return Sample(time_ms, series, STALE, SECOND, "ended" if what == ENDED else "target_down")
    return Sample(time_ms, series, what, SECOND)


def batch(second: float, values: dict[str, float]) -> SampleBatch:
    return SampleBatch(round(second * SECOND), tuple(values), np.array(list(values.values())), SECOND)


def play(core: Core, moments: Sequence[Moment]) -> list[Transition]:
    made: list[Transition] = []
    for second, what in moments:
        if what == "advance":
            made += core.advance(round(second * SECOND))
        elif isinstance(what, Blind):
            made += core.feed([what])
        elif isinstance(what, dict):
            made += core.feed([batch(second, what)])
        else:
            made += core.feed([sample(second, what)])
    return made


def told(made: Sequence[Transition]) -> list[Told]:
    return [(transition.time_ms / SECOND, transition.kind, transition.reason) for transition in made]


def rule(expr: str = f"{CPU} > 60", **options: Any) -> Rule:
    return compile_rule(options.pop("name", "R"), expr, **options)


def every(start: int, stop: int, value: float) -> list[Moment]:
    return [(second, value) for second in range(start, stop)]


def blind(from_s: float, to_s: float) -> Blind:
    return Blind(round(to_s * SECOND), round(from_s * SECOND), round(to_s * SECOND))


FOR_10S = {"for_ms": 10 * SECOND}
STORIES: dict[str, tuple[dict[str, Any], list[Moment], list[Told]]] = {
    "fires exactly when it was held for long enough": (
        FOR_10S,
        [*every(100, 115, 80.0), (115, 10.0)],
        [(100, "pending", "condition"), (110, "firing", "held"), (115, "resolved", "recovered")],
    ),
    "fires between two samples": (
        FOR_10S,
        [(100.5, 80.0), *every(101, 113, 80.0)],
        [(100.5, "pending", "condition"), (110.5, "firing", "held")],
    ),
    "fires by time alone": (
        {**FOR_10S, "hold_max_ms": DAY},
        [*every(100, 110, 80.0), (110, "advance")],
        [(100, "pending", "condition"), (110, "firing", "held")],
    ),
    "not a millisecond early": (
        FOR_10S,
        [*every(100, 110, 80.0), (109.999, "advance")],
        [(100, "pending", "condition")],
    ),
    "one sample below breaks it": (
        FOR_10S,
        [*every(100, 109, 80.0), (109, 60.0), *every(110, 121, 80.0), (121, 80.0)],
        [
            (100, "pending", "condition"),
            (109, "cleared", "recovered"),
            (110, "pending", "condition"),
            (120, "firing", "held"),
        ],
    ),
    "one sample below at the very instant breaks it": (
        FOR_10S,
        [*every(100, 110, 80.0), (110, 60.0)],
        [(100, "pending", "condition"), (110, "cleared", "recovered")],
    ),
    "one sample below a millisecond later does not": (
        FOR_10S,
        [*every(100, 110, 80.0), (110.001, 60.0)],
        [(100, "pending", "condition"), (110, "firing", "held"), (110.001, "resolved", "recovered")],
    ),
    "without for it fires at once": (
        {},
        [(100, 80.0), (101, 10.0)],
        [(100, "firing", "condition"), (101, "resolved", "recovered")],
    ),
    "keeps firing, and resolves at exactly that": (
        {"keep_firing_for_ms": 5 * SECOND},
        [(100, 80.0), *every(101, 106, 10.0), (105.999, "advance"), (106, "advance")],
        [(100, "firing", "condition"), (106, "resolved", "recovered")],
    ),
    "what comes back while it is kept fires on, without its for": (
        {"for_ms": 2 * SECOND, "keep_firing_for_ms": 5 * SECOND},
        [*every(100, 104, 80.0), (104, 10.0), (105, 10.0), (106, 80.0), *every(107, 114, 10.0)],
        [(100, "pending", "condition"), (102, "firing", "held"), (112, "resolved", "recovered")],
    ),
    "keep_firing_for is nothing to a pending alert": (
        {**FOR_10S, "keep_firing_for_ms": 60 * SECOND},
        [(100, 80.0), (101, 10.0)],
        [(100, "pending", "condition"), (101, "cleared", "recovered")],
    ),
    "hold: a gap stops the clock, and known time counts": (
        # known 100..103 (the last sample is stale from 105.001 on: the clock ran till then), then from 120 on
        FOR_10S,
        [*every(100, 103, 80.0), (119, "advance"), *every(120, 126, 80.0), (126, "advance")],
        [(100, "pending", "condition"), (124.999, "firing", "held")],
    ),
    "hold: a gap while firing is no resolve": (
        {},
        [(100, 80.0), (200, "advance"), (201, 80.0), (202, 10.0)],
        [(100, "firing", "condition"), (202, "resolved", "recovered")],
    ),
    "hold: a gap while it is kept stops that clock, too": (
        {"keep_firing_for_ms": 5 * SECOND},
        [(100, 80.0), (101, 10.0), (150, 10.0), (151, 10.0), (152, "advance")],
        [(100, "firing", "condition"), (151.999, "resolved", "recovered")],
    ),
    "hold_max: it ends as lost, to the millisecond, and is never called resolved": (
        {"hold_max_ms": 60 * SECOND},
        [(100, 80.0), (163, "advance"), (163.001, "advance"), (170, 80.0)],
        [(100, "firing", "condition"), (163.001, "lost", "lost"), (170, "firing", "condition")],
    ),
    "hold_max: a pending alert is lost without a trace of firing": (
        {**FOR_10S, "hold_max_ms": 60 * SECOND},
        [(100, 80.0), (300, "advance")],
        [(100, "pending", "condition"), (163.001, "cleared", "lost")],
    ),
    "reset: gone is not true, at the instant it goes stale": (
        {"on_missing": "reset"},
        [(100, 80.0), (103, "advance"), (103.001, "advance")],
        [(100, "firing", "condition"), (103.001, "resolved", "missing")],
    ),
    "reset: a pending alert is cleared": (
        {**FOR_10S, "on_missing": "reset"},
        [(100, 80.0), (101, 80.0), (120, 80.0)],
        [(100, "pending", "condition"), (104.001, "cleared", "missing"), (120, "pending", "condition")],
    ),
    "reset: keep_firing_for runs from the instant it went stale": (
        {"on_missing": "reset", "keep_firing_for_ms": 5 * SECOND},
        [(100, 80.0), (200, "advance")],
        [(100, "firing", "condition"), (108.001, "resolved", "missing")],
    ),
    "ended is evidence": (
        {},
        [(100, 80.0), (101, ENDED)],
        [(100, "firing", "condition"), (101, "resolved", "ended")],
    ),
    "ended clears a pending alert": (
        FOR_10S,
        [(100, 80.0), (101, ENDED), (120, "advance")],
        [(100, "pending", "condition"), (101, "cleared", "ended")],
    ),
    "ended and then kept": (
        {"keep_firing_for_ms": 5 * SECOND},
        [(100, 80.0), (101, ENDED), (200, "advance")],
        [(100, "firing", "condition"), (106, "resolved", "ended")],
    ),
    "the first reason is told": (
        {"keep_firing_for_ms": 5 * SECOND},
        [(100, 80.0), (101, 10.0), (102, ENDED), (200, "advance")],
        [(100, "firing", "condition"), (106, "resolved", "recovered")],
    ),
    "a target that is down is not evidence": (
        {"hold_max_ms": 60 * SECOND},
        [(100, 80.0), (101, DOWN), (160, "advance"), (161, "advance")],
        [(100, "firing", "condition"), (161, "lost", "lost")],
    ),
    "a target that is down and on_missing = reset": (
        {"on_missing": "reset"},
        [(100, 80.0), (101, DOWN)],
        [(100, "firing", "condition"), (101, "resolved", "missing")],
    ),
    "down, then ended": (
        {},
        [(100, 80.0), (101, DOWN), (102, ENDED)],
        [(100, "firing", "condition"), (102, "resolved", "ended")],
    ),
    "down stops the clock until the next sample": (
        FOR_10S,
        [*every(100, 105, 80.0), (105, DOWN), *every(110, 117, 80.0)],
        [(100, "pending", "condition"), (115, "firing", "held")],
    ),
    "what is false after a gap resolves then, not before": (
        {},
        [(100, 80.0), (200, 10.0)],
        [(100, "firing", "condition"), (200, "resolved", "recovered")],
    ),
    "a late sample is judged at the watermark": (
        FOR_10S,
        [(100, 10.0), (105, "advance"), (104, 80.0), *every(106, 117, 80.0)],
        [(105, "pending", "condition"), (115, "firing", "held")],
    ),
    "so late that it is stale on arrival, it shows nothing": (
        {},
        [(100, 10.0), (105, "advance"), (101, 80.0), (106, 10.0)],
        [],
    ),
    "a blind span is no part of for": (
        FOR_10S,
        [*every(100, 104, 80.0), (113, blind(104, 113)), *every(113, 121, 80.0)],
        [(100, "pending", "condition"), (119, "firing", "held")],
    ),
    "a blind span that is told twice is taken out once": (
        FOR_10S,
        [*every(100, 104, 80.0), (113, blind(104, 113)), (113, blind(104, 113)), *every(113, 121, 80.0)],
        [(100, "pending", "condition"), (119, "firing", "held")],
    ),
    "a blind span: nothing goes stale in it, so that reset does not resolve": (
        {"on_missing": "reset"},
        [(100, 80.0), (28_901, blind(101, 28_901)), (28_901.5, "advance"), (28_902, 80.0), (28_903, 10.0)],
        [(100, "firing", "condition"), (28_903, "resolved", "recovered")],
    ),
    "a blind span: what is gone after it, goes stale after it": (
        {"on_missing": "reset"},
        [(100, 80.0), (28_901, blind(101, 28_901)), (28_903, "advance"), (28_903.001, "advance")],
        [(100, "firing", "condition"), (28_903.001, "resolved", "missing")],
    ),
    "a blind span is no part of hold_max": (
        {"hold_max_ms": 60 * SECOND},
        [(100, 80.0), (110, "advance"), (1_000, blind(120, 1_000)), (1_043, "advance"), (1_043.001, "advance")],
        [(100, "firing", "condition"), (1_043.001, "lost", "lost")],
    ),
    "a blind span that is noticed when its samples are missed already": (
        FOR_10S,
        [*every(100, 104, 80.0), (110, "advance"), (113, blind(104, 113)), *every(113, 121, 80.0)],
        [(100, "pending", "condition"), (119, "firing", "held")],
    ),
    "unless: a blind span hides nothing on the right": (
        {"expr": "a > 1 unless b > 1"},
        [(100, {"a": 2.0, "b": 2.0}), (900, blind(101, 900)), (901, "advance"), (901, {"a": 2.0, "b": 2.0})],
        [],
    ),
    "a blind span does not undo what was due before it": (
        FOR_10S,
        [*every(100, 110, 80.0), (120, blind(111, 120)), (120, "advance")],
        [(100, "pending", "condition"), (110, "firing", "held")],
    ),
    "a blind span is no part of keep_firing_for": (
        {"keep_firing_for_ms": 5 * SECOND},
        [(100, 80.0), (101, 10.0), (111, blind(102, 111)), (112, 10.0), (114.999, "advance"), (115, "advance")],
        [(100, "firing", "condition"), (115, "resolved", "recovered")],
    ),
    "unless: missing data on the right is no ignorance": (
        {"expr": "a > 1 unless b > 1", "hold_max_ms": DAY},
        [(100, {"a": 2.0, "b": 2.0}), (101, {"a": 2.0}), (102, {"a": 2.0}), (103, {"a": 2.0}), (103.5, "advance")],
        [(103.001, "firing", "condition")],
    ),
    "unless: it comes back": (
        {"expr": "a > 1 unless b > 1"},
        [(100, {"a": 2.0}), (101, {"a": 2.0, "b": 2.0}), (102, {"a": 2.0, "b": 0.0})],
        [(100, "firing", "condition"), (101, "resolved", "recovered"), (102, "firing", "condition")],
    ),
    "and: the right side going stale is ignorance": (
        {"expr": "a > 1 and b > 1", "hold_max_ms": DAY},
        [(100, {"a": 2.0, "b": 2.0}), (101, {"a": 2.0}), (110, {"a": 0.0}), (111, {"b": 0.0})],
        [(100, "firing", "condition"), (111, "resolved", "recovered")],
    ),
    "and: false on evidence of one side does not need the other": (
        {"expr": "a > 1 and b > 1"},
        [(100, {"a": 2.0, "b": 2.0}), (101, {"a": 2.0, "b": 0.0})],
        [(100, "firing", "condition"), (101, "resolved", "recovered")],
    ),
    "or: the other side takes over without a break": (
        {"expr": "a > 1 or b > 1", "for_ms": 3 * SECOND},
        [
            (100, {"a": 2.0, "b": 0.0}),
            (101, {"a": 0.0, "b": 2.0}),
            (102, {"b": 2.0}),
            (103, {"b": 2.0}),
            (104, {"b": 2.0}),
        ],
        [(100, "pending", "condition"), (103, "firing", "held")],
    ),
    "NaN is a value that no comparison holds for": (
        {},
        [(100, 80.0), (101, math.nan), (102, math.inf), (103, -math.inf)],
        [
            (100, "firing", "condition"),
            (101, "resolved", "recovered"),
            (102, "firing", "condition"),
            (103, "resolved", "recovered"),
        ],
    ),
    "NaN is fresh: an alert on it is never unknown": (
        {"expr": f"{CPU} != {CPU}", "for_ms": 2 * SECOND},
        [*every(100, 103, math.nan), (103, 1.0)],
        [(100, "pending", "condition"), (102, "firing", "held"), (103, "resolved", "recovered")],
    ),
    "a marker before any value is nothing": ({}, [(100, ENDED), (101, DOWN), (102, 10.0)], []),
    "five minutes of breach in a day of samples": (
        {"for_ms": 300 * SECOND},
        [*every(0, 40, 10.0), *every(40, 341, 80.0), *every(341, 380, 10.0)],
        [(40, "pending", "condition"), (340, "firing", "held"), (341, "resolved", "recovered")],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str) -> None:
    options, moments, expected = STORIES[name]
    assert told(play(Core([rule(**options)]), moments)) == expected


@pytest.mark.parametrize("name", STORIES)
def test_story_with_a_restart_after_each_moment(name: str) -> None:
    options, moments, expected = STORIES[name]
    made: list[Transition] = []
    core = Core([rule(**options)])
    for moment in moments:
        made += play(core, [moment])
        data = core.snapshot()
        core = Core([rule(**options)])
        core.restore(data)
        assert core.snapshot() == data
    assert told(made) == expected


@pytest.mark.parametrize(
    "name", [name for name, story in STORIES.items() if not any(s == "advance" for _, s in story[1])]
)
def test_story_fed_at_once(name: str) -> None:
    options, moments, expected = STORIES[name]
    events = [
        what if isinstance(what, Blind) else batch(second, what) if isinstance(what, dict) else sample(second, what)
        for second, what in moments
    ]
    assert told(Core([rule(**options)]).feed(events)) == expected


# --- what a transition says -----------------------------------------------------------------------


def test_a_transition_carries_identity_value_and_since_when() -> None:
    core = Core([rule(for_ms=2 * SECOND, labels={"severity": "critical"})])
    series = f'{CPU}{{instance="web-1"}}'
    made = core.feed([sample(second, value, series) for second, value in ((1, 70.0), (2, 75.0), (3, 80.0), (4, 5.0))])
    labels = {"alertname": "R", "severity": "critical", "instance": "web-1"}
    assert [(t.rule, t.labels, t.value, t.active_since_ms) for t in made] == [
        ("R", labels, 70.0, 1_000),
        ("R", labels, 80.0, 1_000),
        ("R", labels, 5.0, 1_000),  # what it measures, now that the comparison does not hold
    ]


def test_the_value_is_unknown_where_nothing_is_known() -> None:
    made = play(Core([rule(hold_max_ms=SECOND)]), [(1, 80.0), (100, "advance")])
    assert [(t.kind, math.isnan(t.value)) for t in made] == [("firing", False), ("lost", True)]


def test_annotations_are_told_to_people_only() -> None:
    class Words:
        def render(self, labels: Any, value: float, external: Any) -> str:
            return f"{labels['alertname']} {value:g}"

    core = Core([rule(for_ms=SECOND, annotations={"summary": Words()})])
    made = play(core, [(1, 80.0), (2, 10.0), (3, 80.0), (4, 80.0), (5, 10.0)])
    assert [(t.kind, t.annotations.get("summary")) for t in made] == [
        ("pending", None),
        ("cleared", None),
        ("pending", None),
        ("firing", "R 80"),
        ("resolved", "R 10"),
    ]


def test_simultaneous_transitions_come_by_time_rule_and_labels() -> None:
    core = Core([rule(name="B"), rule(name="A"), rule(name="B", labels={"severity": "x"})])
    series = {f'{CPU}{{i="{i}"}}': 80.0 for i in "cab"}
    assert [(t.rule, t.labels.get("severity"), t.labels["i"]) for t in core.feed([batch(1, series)])] == [
        *[("B", None, i) for i in "abc"],
        *[("A", None, i) for i in "abc"],
        *[("B", "x", i) for i in "abc"],
    ]


def test_an_advance_tells_by_time_first() -> None:
    core = Core([rule(name="slow", for_ms=3 * SECOND), rule(name="fast", for_ms=SECOND)])
    core.feed([sample(1, 80.0)])
    assert [(t.time_ms, t.rule) for t in core.advance(DAY)] == [(2_000, "fast"), (4_000, "slow")]


def test_rules_with_the_same_name_have_their_own_alerts() -> None:
    core = Core([rule(f"{CPU} > 60"), rule(f"{CPU} > 90", for_ms=5 * SECOND)])
    assert [t.kind for t in core.feed([sample(1, 95.0)])] == ["firing", "pending"]
    assert [status.state for status in core.alerts()] == ["firing", "pending"]
    again = Core([rule(f"{CPU} > 60"), rule(f"{CPU} > 90", for_ms=5 * SECOND)])
    again.restore(core.snapshot())
    assert [status.state for status in again.alerts()] == ["firing", "pending"]


# --- what is not accepted (faults F70, F71, F74, F75) ---------------------------------------------


def test_old_and_repeated_samples_are_dropped_and_counted() -> None:
    core = Core([rule()])
    made = play(core, [(10, 10.0), (10, 80.0), (9, 80.0), (10, {CPU: 80.0}), (11, 10.0)])
    assert made == []
    assert core.counters() == {
        "samples_accepted_total": 2,
        "samples_dropped_total_old": 3,
        "alerts_refused_total": 0,
        "flaps_forgotten_total": 0,
    }
    assert core.take_health() == []  # so common that it is a count, not an event


@given(st.permutations([(second, value) for second in range(5) for value in (10.0, 80.0)]))
def test_any_order_gives_the_transitions_of_the_accepted_subsequence(order: list[tuple[int, float]]) -> None:
    """F71."""
    kept: list[tuple[int, float]] = []
    for second, value in order:
        if not kept or second > kept[-1][0]:
            kept.append((second, value))
    core = Core([rule(for_ms=SECOND)])
    assert told(play(core, order)) == told(play(Core([rule(for_ms=SECOND)]), kept))
    assert core.counters()["samples_dropped_total_old"] == len(order) - len(kept)
    assert told(Core([rule(for_ms=SECOND)]).feed([sample(*one) for one in order])) == told(
        play(Core([rule(for_ms=SECOND)]), kept)
    )


def test_late_samples_are_accepted_and_counted() -> None:
    core = Core([rule()])
    play(core, [(10, 10.0), (20, "advance"), (19, 10.0), (20, {CPU: 10.0}), (21, 10.0)])
    assert core.counters()["samples_late_total"] == 2
    assert core.counters()["samples_accepted_total"] == 4


@pytest.mark.parametrize("text", ["", "a{", 'a{b="c",}', "1x", "a b", "a{b='c'}", "é"])
def test_malformed_series_are_dropped_and_told(text: str) -> None:
    core = Core([rule("a > 1")])
    assert core.feed([Sample(1, text, 5.0), SampleBatch(2, (text, "a"), np.array([5.0, 5.0]))]) != []
    assert core.counters()["samples_dropped_total_malformed"] == 2
    assert core.series_count == 1
    (health,) = core.take_health()
    assert (health.component, health.status, health.reason, health.count) == ("store", "degraded", "malformed", 2)


def test_a_series_twice_in_a_batch_counts_once() -> None:
    core = Core([rule("a > 1")])
    made = core.feed([SampleBatch(1, ("a", "a", "b"), np.array([5.0, 0.0, 0.0]))])
    assert [t.value for t in made] == [5.0]
    assert core.counters()["samples_dropped_total_duplicate"] == 1


def test_a_batch_whose_columns_do_not_match_is_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 2 series has 1 values"):
        Core([]).feed([SampleBatch(1, ("a", "b"), np.zeros(1))])


def test_an_empty_batch_and_an_empty_feed_are_nothing() -> None:
    core = Core([rule()])
    assert core.feed([]) == []
    assert core.feed([SampleBatch(1, (), np.zeros(0))]) == []
    assert core.series_count == 0


def test_series_beyond_the_limit_are_dropped_told_once_and_wipe_nothing() -> None:
    """F74."""
    core = Core([rule("a > 1")], series_max=2)
    core.feed([batch(1, {'a{i="1"}': 5.0, 'a{i="2"}': 5.0})])
    flood = [batch(second, {f'a{{i="{number}"}}': 5.0 for number in range(1, 102)}) for second in (2, 3)]
    assert core.feed(flood) == []
    assert core.feed([sample(4, 5.0, 'a{i="x"}')]) == []
    assert core.series_count == 2
    assert len(core.alerts()) == 2
    assert core.counters()["samples_dropped_total_series_limit"] == 2 * 99 + 1
    assert core.counters()["samples_accepted_total"] == 6
    (health,) = core.take_health()
    assert (health.component, health.reason, health.count) == ("store", "series_limit", 199)
    assert "engine.series_max" in health.message
    assert core.take_health() == []


def test_refused_series_are_counted_each_time_their_tuple_comes() -> None:
    core, series = Core([rule("a > 1")], series_max=1), ("a", "b", "c{")
    for second in (1, 2, 3):
        core.feed([SampleBatch(second, series, np.zeros(3))])
    assert core.counters()["samples_dropped_total_series_limit"] == 3
    assert core.counters()["samples_dropped_total_malformed"] == 3
    assert core.counters()["samples_accepted_total"] == 3


def test_samples_beyond_the_limit_of_a_batch_are_dropped_and_told() -> None:
    core = Core([rule("a > 1")], batch_samples_max=10)
    made = core.feed([batch(1, {f'a{{i="{number:02}"}}': 5.0 for number in range(15)})])
    assert len(made) == 10
    assert core.counters()["samples_dropped_total_batch_limit"] == 5
    (health,) = core.take_health()
    assert (health.reason, health.count) == ("batch_limit", 5)


def test_alerts_beyond_the_limit_are_not_made_told_once_and_wipe_nothing() -> None:
    """Prometheus wipes the rule's state here; that would resolve what fires."""
    core = Core([rule("a > 1", name="Many")], alerts_per_rule_max=3)
    series = {f'a{{i="{number}"}}': 5.0 for number in range(5)}
    assert len(core.feed([batch(1, series)])) == 3
    assert core.feed([batch(2, series)]) == []
    assert core.counters()["alerts_refused_total"] == 4
    (health,) = core.take_health()
    assert (health.component, health.status, health.reason, health.count) == (
        "rule.Many",
        "degraded",
        "alerts_limit",
        4,
    )
    assert core.take_health() == []
    freed = core.feed([batch(3, series | {'a{i="0"}': 0.0})])
    assert [(t.kind, t.labels["i"]) for t in freed] == [("resolved", "0"), ("firing", "3")]


def test_the_limit_is_told_for_all_rules_of_one_name() -> None:
    core = Core([rule("a > 1"), rule("a > 2")], alerts_per_rule_max=1)
    core.feed([batch(1, {'a{i="1"}': 5.0, 'a{i="2"}': 5.0})])
    (health,) = core.take_health()
    assert health.count == 2


def test_a_breach_that_was_told_is_not_told_again_after_a_restart() -> None:
    core = Core([rule("a > 1")], alerts_per_rule_max=1)
    core.feed([batch(1, {'a{i="1"}': 5.0, 'a{i="2"}': 5.0})])
    assert len(core.take_health()) == 1
    again = Core([rule("a > 1")], alerts_per_rule_max=1)
    again.restore(core.snapshot())
    assert again.take_health() == []
    assert again.counters()["alerts_refused_total"] == 1


def test_years_far_and_near() -> None:
    """F96, F71: 1970, 2038, 2106 and the year 9999."""
    for start in (0, 2**31 - 5, 2**32 - 5, 253_402_300_000):
        made = play(Core([rule(for_ms=2 * SECOND)]), [(start, 80.0), (start + 1, 80.0), (start + 2, "advance")])
        assert told(made) == [(start, "pending", "condition"), (start + 2, "firing", "held")]


def test_time_never_goes_back() -> None:
    core = Core([rule(for_ms=5 * SECOND)])
    core.feed([sample(10, 80.0)])
    core.advance(12_000)
    assert core.advance(1_000) == []
    assert core.watermark_ms == 12_000
    made = core.feed([sample(11, 10.0)])
    assert told(made) == [(12, "cleared", "recovered")]


# --- reading --------------------------------------------------------------------------------------


def test_alerts_are_shown_with_their_clock() -> None:
    core = Core([rule(for_ms=10 * SECOND, keep_firing_for_ms=60 * SECOND, labels={"severity": "x"})])

    def shown() -> tuple[Any, ...]:
        (one,) = core.alerts()
        return one.state, one.elapsed_ms, one.value, one.paused, one.keeping, one.due_ms

    play(core, [(100, 80.0), (102, "advance")])
    assert shown() == ("pending", 2_000, 80.0, False, False, 110_000)
    play(core, [(105, "advance")])
    pending = core.alerts()[0]
    assert (pending.paused, pending.elapsed_ms, pending.due_ms, math.isnan(pending.value)) == (True, 3_001, 0, True)
    play(core, [(106, 81.0), (108, 82.0), (110, 82.0), (113, 82.0), (114, "advance")])
    assert shown() == ("firing", 1_001, 82.0, False, False, 0)
    play(core, [(115, 5.0), (117, "advance")])
    assert shown() == ("firing", 2_000, 5.0, False, True, 175_000)
    one = core.alerts()[0]
    assert (one.rule, one.labels, one.for_ms, one.active_since_ms) == (
        "R",
        {"alertname": "R", "severity": "x"},
        10_000,
        100_000,
    )


def test_latest_shows_what_is_fresh() -> None:
    core = Core([])
    core.feed([batch(1, {'a{i="1"}': 5.0, 'a{i="2"}': math.nan, "b": 1.0}), sample(2, 6.0, 'a{i="1"}')])
    core.advance(4_000)
    latest = core.latest("a")
    assert latest['a{i="1"}'] == 6.0
    assert math.isnan(latest['a{i="2"}'])
    core.advance(4_001)
    assert core.latest("a") == {'a{i="1"}': 6.0}
    core.feed([Sample(5_000, 'a{i="1"}', STALE)])
    assert core.latest("a") == {}
    assert core.latest("nothing") == {}


def test_the_next_deadline_is_never_late() -> None:
    core = Core([rule(for_ms=10 * SECOND)])
    assert core.next_deadline() is None
    core.feed([sample(100, 10.0)])
    assert core.next_deadline() is None  # nothing can come of it
    core.feed([sample(101, 80.0)])
    assert core.next_deadline() == 104_001  # it goes stale before it fires
    core.feed([sample(second, 80.0) for second in range(102, 111)])
    deadlines: list[int] = []
    made: list[Transition] = []
    while (due := core.next_deadline()) is not None and due <= 111_000:
        deadlines.append(due)
        made = core.advance(due)
    assert deadlines[-1] == 111_000
    assert [t.time_ms for t in made] == [111_000]


@pytest.mark.parametrize("expr", ["a > 5 < 9", "(a > 5) * 2", "-(a > 5)", "(a > 5) - 1 < 9"])
def test_a_comparison_inside_an_expression_leaves_out_what_it_does_not_hold_for(expr: str) -> None:
    """Of a batch as of a sample: what the inner comparison drops is false, whatever the outer one says."""
    for low, high in ((batch(1, {"a": 1.0}), batch(2, {"a": 6.0})), (sample(1, 1.0, "a"), sample(2, 6.0, "a"))):
        core = Core([rule(expr=expr)])
        assert core.feed([low]) == []
        assert [t.after for t in core.feed([high])] == ["firing"]


@pytest.mark.parametrize("expr", ["a - a != 0", "a > 1 and a < 5", "a < 5 unless a < 6"])
def test_a_sample_that_two_selectors_select_is_seen_by_both_at_once(expr: str) -> None:
    core = Core([rule(expr=expr)])
    assert core.feed([sample(second, value, "a") for second, value in enumerate([0.0, 7.0, 0.0, 7.0])]) == []


@given(st.lists(st.tuples(st.sampled_from([500, 1_000, 4_000]), st.sampled_from([10.0, 80.0])), max_size=12))
def test_advancing_from_deadline_to_deadline_misses_nothing(steps: list[tuple[int, float]]) -> None:
    """The host may sleep until `next_deadline`: waking then and only then gives the same as one long step."""
    some = [rule(for_ms=2_500), rule(name="S", keep_firing_for_ms=1_500, on_missing="reset"), rule(hold_max_ms=2_000)]
    lazy, eager = Core(some), Core(some)
    now, made, expected = 10_000, [], []
    for gap, value in steps:
        while (due := eager.next_deadline()) is not None and due < now + gap:
            expected += eager.advance(due)
        made += lazy.advance(now + gap - 1)
        now += gap
        for core, into in ((lazy, made), (eager, expected)):
            into += core.feed([Sample(now, CPU, value, SECOND)])
    assert [repr(t) for t in made] == [repr(t) for t in expected]


# --- steps and bounds -----------------------------------------------------------------------------


def steps_of(generator: Any) -> tuple[int, list[Transition]]:
    count = 0
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return count, stop.value
        count += 1


STORM = {f'a{{i="{number:05}"}}': 5.0 for number in range(10_000)}


def test_a_storm_yields_and_gives_the_same() -> None:
    """F80: 10,000 alerts at once, in steps of some hundreds."""
    stepped, straight = (Core([rule("a > 1", for_ms=SECOND)]) for _ in range(2))
    for what in (batch(1, STORM), 2_000, batch(3, dict.fromkeys(STORM, 0.0))):
        if isinstance(what, int):
            (count, made), expected = steps_of(stepped.advancing(what)), straight.advance(what)
        else:
            (count, made), expected = steps_of(stepped.feeding([what])), straight.feed([what])
        assert len(made) == 10_000
        assert made == expected
        assert count >= 10_000 // 256


def test_going_stale_all_at_once_yields_too() -> None:
    core = Core([rule("a > 1", on_missing="reset")])
    core.feed([batch(1, dict(list(STORM.items())[:1_000]))])
    count, made = steps_of(core.advancing(DAY))
    assert {(t.time_ms, t.reason) for t in made} == {(4_001, "missing")}
    assert (len(made), count >= 4) == (1_000, True)


def test_timers_stay_bounded_when_alerts_flap_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer is not taken out before its time; with a long `for` thousands would wait for theirs."""
    monkeypatch.setattr(course, "TIMERS_SLACK", 100)
    core = Core([rule("a > 1", for_ms=DAY), rule("a > 1", keep_firing_for_ms=DAY)])
    series = tuple(f'a{{i="{number}"}}' for number in range(5))
    high, low = np.full(5, 5.0), np.zeros(5)
    most = 0
    for tick in range(1, 2_001):  # 8 hours
        core.feed([SampleBatch(tick * 15 * SECOND, series, high if tick % 2 else low, 15 * SECOND)])
        most = max(most, len(core._parts.timers))
    assert most <= 100 + TIMERS_PER_RULE_MAX * (2 + 2 * 5)
    assert core.counters()["transitions_total"] >= 5 * 1_999


def test_timers_that_were_made_anew_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "TIMERS_SLACK", 100)
    core = Core([rule("a > 1", for_ms=HOUR), rule("b > 1", for_ms=HOUR, name="S")])
    core.feed([Sample(SECOND, "b", 5.0, HOUR)])
    for second in range(1, 1_000):
        core.feed([Sample(second * SECOND, "a", 5.0 if second % 2 else 0.0, SECOND)])
    assert len(core._parts.timers) < 200
    made = core.advance(2 * HOUR)
    assert ("S", HOUR + SECOND, "firing") in [(t.rule, t.time_ms, t.kind) for t in made]


@pytest.mark.parametrize(("limit", "value"), [("LAYOUT_SERIES_MAX", 100), ("LAYOUTS_MAX", 50)])
def test_a_new_tuple_of_texts_each_time_is_forgotten_again(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(layouts, limit, value)
    core, series = Core([rule("a > 1")]), ["a", "b"]
    for second in range(200):
        core.feed([SampleBatch(second, tuple(series), np.zeros(2))])
    assert len(core._parts.layouts._layouts) == 50
    assert core.series_count == 2


@pytest.mark.parametrize("value", ["cafe\u0301", "x\ny", "e" * 2_000, "\u202etxt"])
def test_a_label_selects_its_own_series(value: str) -> None:
    """Labels are made clean as they come in (F75); a matcher finds them as they were, and as they are."""
    written = value.replace("\n", "\\n")
    core = Core([rule(expr=f'm{{a="{written}"}} > 5', name="One"), rule(expr=f'm{{a!="{written}"}} > 5', name="Other")])
    made = core.feed([sample(1, 6.0, series_text("m", {"a": value})), sample(1, 6.0, series_text("m", {"a": "b"}))])
    assert sorted((t.rule, t.labels["a"] == "b") for t in made) == [("One", False), ("Other", True)]


def test_under_of_the_clock_shows_how_much_of_the_share_there_is() -> None:
    core = Core([rule(for_ms=20 * SECOND, of=0.8)])
    core.feed([sample(second, 80.0 if second < 110 or second >= 118 else 10.0) for second in range(100, 122)])
    core.advance(121 * SECOND)
    shown = core.alerts()[0]
    assert (shown.state, shown.elapsed_ms, shown.for_ms) == ("pending", 12 * SECOND, 16 * SECOND)
    assert not shown.fading
    assert core.next_deadline() is not None
