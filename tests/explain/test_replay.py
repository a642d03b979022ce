"""What is said of a rule over a history is what the engine's core did with it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.load import load_text
from engine.core.evaluator import Core
from engine.core.explain import describe
from engine.events import STALE, Blind, Event, SampleBatch, TradeClosed, Transition
from engine.explain.answer import AlertAnswer, Answer
from engine.explain.replay import DAY_MS, Question, explain
from engine.explain.subject import ExplainError
from engine.explain.text import answer_lines
from engine.ports import RunInfo
from engine.runtime.assembly import compile_rules
from engine.series import series_text
from tests.explain.histories import MemoryHistory

NOW = 1_767_333_600_000  # 2026-01-02T06:00:00Z
MINUTE = 60_000
RULE = '[rule.R]\nexpr = "a > 1"\nfor = "5m"\n'


def a(instance: str = "x") -> str:
    return series_text("a", {"i": instance})


def every(seconds: int, values: Sequence[float], until_ms: int = NOW, series: str = "") -> list[Event]:
    """Samples at a distance, the last one at a time."""
    first = until_ms - (len(values) - 1) * seconds * 1000
    times = range(first, until_ms + 1, seconds * 1000)
    return [
        SampleBatch(at, (series or a(),), np.array([value]), seconds * 1000)
        for at, value in zip(times, values, strict=True)
        if value is not None
    ]


def asked(text: str, events: Sequence[Event], *labels: str, at_ms: int = NOW, rule: str = "R", **more: Any) -> Answer:
    history = MemoryHistory(events, **more)
    return asyncio.run(explain(load_text(text), history, Question(rule, labels, at_ms)))


def only(answer: Answer) -> AlertAnswer:
    ((alert,),) = [rule.alerts for rule in answer.rules]
    return alert


def story(alert: AlertAnswer) -> list[tuple[int, str]]:
    """What happened, in seconds before now."""
    return [((NOW - change.time_ms) // 1000, change.what) for change in alert.changes]


def test_a_pending_alert_has_a_deadline_and_the_sample_that_armed_it() -> None:
    alert = only(asked(RULE, every(15, [0.0] * 20 + [2.0] * 13)))
    assert (alert.now.state, alert.now.value, alert.now.levels[0].elapsed_ms) == ("pending", 2.0, 3 * MINUTE)
    assert alert.now.next is not None
    assert (alert.now.next.time_ms, alert.now.next.kind) == (NOW + 2 * MINUTE, "firing")
    assert story(alert) == [(180, "true"), (180, "pending")]
    assert alert.silent is not None
    assert (alert.silent.what, alert.silent.time_ms) == ("unknown", NOW + 45_001)


def test_a_clock_that_stands_names_the_series_and_since_when() -> None:
    alert = only(asked(RULE, every(15, [2.0] * 5, NOW - 10 * MINUTE)))
    assert (alert.now.state, alert.now.condition) == ("pending", "unknown")
    (stale,) = alert.now.inputs
    assert (stale.series, stale.state, stale.time_ms) == (a(), "stale", NOW - 10 * MINUTE)
    assert stale.stale_ms == alert.now.unknown_ms == NOW - 10 * MINUTE + 45_001
    assert alert.changes[-1].what == "unknown"
    assert alert.changes[-1].series == (a(),)
    assert alert.now.next is not None
    assert alert.now.next.reason == "lost"


def test_data_that_came_back_and_a_blind_span_are_in_the_story() -> None:
    events = [*every(15, [2.0] * 2, NOW - 8 * MINUTE), *every(15, [2.0] * 13)]
    span = Blind(NOW - 60_000, NOW - 100_000, NOW - 60_000, "*", "suspend")
    alert = only(asked(RULE, sorted([*events, span], key=lambda event: event.time_ms)))
    known, blind = [one for one in alert.changes if one.what in ("known", "blind")]
    assert (known.elapsed_ms, blind.elapsed_ms, blind.reason) == (5 * MINUTE - 45_001, 40_000, "suspend")
    assert alert.now.lost_ms == known.elapsed_ms + 40_000
    assert alert.now.levels[0].elapsed_ms == 8 * MINUTE + 15_000 - alert.now.lost_ms


def test_the_nearest_miss_is_the_longest_one_of_the_last_day() -> None:
    runs = [0.0] * 4 + [2.0] * 16 + [0.5] * 40 + [3.0] * 18 + [0.7] * 40 + [4.0] * 8 + [0.0] * 4
    old = every(15, [2.0] * 19 + [0.0], NOW - 25 * 60 * MINUTE)
    alert = only(asked(RULE, [*old, *every(15, runs)]))
    assert alert.miss is not None
    assert (alert.miss.elapsed_ms, alert.miss.need_ms, alert.miss.value) == (18 * 15_000, 5 * MINUTE, 0.7)
    assert alert.miss.to_ms - alert.miss.from_ms == 18 * 15_000
    assert alert.nearest is not None
    assert (alert.nearest.word, alert.nearest.value) == ("highest", 4.0)
    assert alert.nearest.time_ms == NOW - (8 + 4 - 1) * 15_000


@pytest.mark.parametrize(("op", "word", "value"), [("<", "lowest", -3.0), ("==", "nearest", 1.5)])
def test_the_nearest_value_depends_on_the_comparison(op: str, word: str, value: float) -> None:
    text = f'[rule.R]\nexpr = "a {op} 1"\nfor = "1h"\n'
    alert = only(asked(text, every(15, [4.0, -3.0, 1.5, math.nan, 9.0])))
    assert alert.nearest is not None
    assert (alert.nearest.word, alert.nearest.value) == (word, value)


def test_a_rule_that_never_saw_data_says_what_is_not_there() -> None:
    answer = asked('[rule.R]\nexpr = "ab > 1"\n', every(15, [1.0], series="abc"))
    ((selector,),) = [rule.selectors for rule in answer.rules]
    assert (answer.rules[0].alerts, selector.known, selector.series, selector.near) == ((), False, 0, ("abc",))
    none = asked('[rule.R]\nexpr = \'a{i="y", j!~"z"} > 1\'\n', every(15, [1.0]))
    ((selector,),) = [rule.selectors for rule in none.rules]
    assert (selector.text, selector.known, selector.series) == ('a{i="y", j!~"z"}', True, 0)


def test_rules_that_record_what_it_reads_are_played_too() -> None:
    text = """
[rule.Sum]
record = "s"
expr = "sum(a)"
[rule.Twice]
record = "t"
expr = "s * 2"
[rule.Other]
record = "u"
expr = "sum(b)"
[rule.R]
expr = "t > 3"
for = "5m"
"""
    answer = asked(text, [*every(15, [2.0] * 9), *every(15, [1.0] * 9, series=a("y"))])
    alert = only(answer)
    assert (alert.now.state, alert.now.value) == ("pending", 6.0)
    assert answer.samples == 18
    assert [(one.text, one.recorded, one.series) for one in answer.rules[0].selectors] == [("t", True, 1)]


CHAIN = """
[rule.First]
record = "s"
expr = "sum(orders_totl) + sum(a)"
[rule.Second]
record = "t"
expr = "s * 2"
[rule.R]
expr = "t > 3"
"""


def test_what_a_recording_rule_lacks_is_followed_to_its_source() -> None:
    answer = asked(CHAIN, [*every(15, [2.0] * 9), *every(15, [1.0], series="orders_total")])
    assert answer.rules[0].alerts == ()
    (selector,) = answer.rules[0].selectors
    (missing,) = selector.missing
    assert (missing.through, missing.metric, missing.near) == (("s",), "orders_totl", ("orders_total",))
    assert list(answer_lines(answer, UTC))[-1] == (
        "  t: recorded by a rule, which had no result; it reads s, recorded by a rule that reads orders_totl: "
        "the history has no series orders_totl at all; did you mean orders_total?"
    )
    there = asked(CHAIN, every(15, [2.0] * 9))
    assert there.rules[0].selectors[0].missing[0].near == ()


LEVELLED = """
[rule.R]
expr = "a"
levels = [{ severity = "warning", when = "> 1", for = "1m" }, { severity = "critical", when = "> 2", for = "5m" }]
"""


@pytest.mark.parametrize("severity", ["warning", "critical"])
def test_a_severity_is_no_label_of_its_own_but_may_be_asked_for(severity: str) -> None:
    """It is copied from a message about an alert, or is the level of which one wants to know why it is not reached."""
    events = [*every(15, [1.5] * 9), *every(15, [1.5] * 9, series=a("y"))]
    alert = only(asked(LEVELLED, events, "i=x", f"severity={severity}"))
    assert (dict(alert.now.key)["i"], alert.now.severity) == ("x", "warning")
    assert len(asked(LEVELLED, events, f"severity={severity}").rules[0].alerts) == 2


def test_a_severity_that_no_level_has_is_answered_with_those_there_are() -> None:
    with pytest.raises(ExplainError, match="R has no level of severity page; its levels are warning, critical"):
        asked(LEVELLED, every(15, [1.5] * 9), "severity=page")


def test_the_severity_that_a_rule_adds_is_a_label_as_any_other() -> None:
    text = RULE + 'labels = { severity = "page" }\n'
    assert only(asked(text, every(15, [2.0] * 9), "severity=page")).now.state == "pending"
    with pytest.raises(ExplainError, match="R has no alert with severity=info"):
        asked(text, every(15, [2.0] * 9), "severity=info")


def test_domain_events_are_counted_as_they_were() -> None:
    events: list[Event] = [TradeClosed(time_ms=NOW - at * 1000, symbol="X", pnl=1.0) for at in (50, 40, 30)]
    text = '[rule.R]\nexpr = \'longwatch_events_total{type="trade_closed"} > 2\'\nfor = "1m"\n'
    alert = only(asked(text, events))
    assert (alert.now.state, alert.now.value) == ("pending", 3.0)
    assert alert.now.next is not None
    assert alert.now.next.time_ms == NOW + 30_000


def test_what_the_engine_said_is_held_against_it() -> None:
    fired = Transition(
        NOW - MINUTE, "R", {"alertname": "R", "i": "x"}, "pending", "firing", "held", 2.0, 0, fired_ms=NOW - MINUTE
    )
    runs = [RunInfo(2, "n", NOW - 30_000), RunInfo(1, "n", NOW - DAY_MS)]
    answer = asked(RULE, every(15, [0.0] * 9), transitions=[fired], runs=runs)
    assert only(answer).told == fired
    (note,) = [note for note in answer.notes if "started anew" in note]
    assert "once, at 05:59:30" in note


@pytest.mark.parametrize(
    ("rule", "labels", "says"),
    [
        ("r", (), 'there is no rule "r"; did you mean R?'),
        ("Sum", (), '"Sum" is a recording rule, which has no alerts; ask about a rule that reads it'),
        ("s", (), '"s" is a recording rule, which has no alerts; ask about a rule that reads it'),
        ("R", ("i=q",), "R has no alert with i=q; there are i=x; i=y"),
        ("R", ("job=q",), "R has no label job; there are i=x; i=y"),
        ("R", ("i",), '--labels takes NAME=VALUE, as in instance=a, not "i"'),
        ("R", ("i=x", "i=y"), "--labels has i twice, with different values"),
    ],
)
def test_a_question_that_has_no_answer_is_one_clear_error(rule: str, labels: tuple[str, ...], says: str) -> None:
    text = RULE + '[rule.Sum]\nrecord = "s"\nexpr = "sum(a)"\n'
    events = [*every(15, [0.0]), *every(15, [0.0], series=a("y"))]
    with pytest.raises(ExplainError) as caught:
        asked(text, events, *labels, rule=rule)
    assert str(caught.value) == says


@st.composite
def batches(draw: st.DrawFn) -> list[Event]:
    """Samples at ascending times, and a blind span."""
    now, events = NOW - 10 * MINUTE, []
    for _ in range(draw(st.integers(1, 30))):
        now += draw(st.sampled_from([5_000, 10_000, 10_000, 20_000, 70_000]))
        names = draw(st.lists(st.sampled_from([a("x"), a("y")]), min_size=1, unique=True))
        values = [draw(st.sampled_from([0.0, 2.0, 2.5, 3.0, STALE])) for _ in names]
        cause: Any = draw(st.sampled_from(["ended", "target_down"]))
        events.append(SampleBatch(now, tuple(sorted(names)), np.array(values), 10_000, cause))
    if draw(st.booleans()):
        begin = draw(st.integers(0, now - NOW + 10 * MINUTE)) + NOW - 10 * MINUTE
        events.append(Blind(begin, begin, begin + 30_000, "*", "suspend"))
    return sorted(events, key=lambda event: (event.time_ms, not isinstance(event, Blind)))


LEVELS = 'levels = [{severity = "low", when = "> 1", for = "30s"}, {severity = "high", when = "> 2.2", for = "1m"}]'
TERMS = [
    'expr = "a > 1"\nfor = "1m"',
    'expr = "a > 1"\nfor = "1m"\nof = 0.8\nkeep_firing_for = "30s"',
    f'expr = "a"\n{LEVELS}\nclear = "< 1"',
    'expr = "a > 1"\nfor = "30s"\non_missing = "fire"\nmissing_for = "40s"',
    'expr = "a > 1"\nfor = "40s"\non_missing = "reset"\nkeep_firing_for = "20s"',
    'expr = "max_over_time(a[1m]) > 1"\nfor = "30s"',
    'expr = "sum(a) > 4"\nfor = "40s"\non_missing = "count"',
]


@settings(max_examples=15)
@given(st.sampled_from(TERMS), batches())
def test_an_alert_is_what_it_is_to_a_core_that_saw_it_live(terms: str, events: list[Event]) -> None:
    config = load_text(f"[rule.R]\n{terms}\n")
    at_ms = max(event.to_ms if isinstance(event, Blind) else event.time_ms for event in events) + 7_000
    core = Core(compile_rules(config))
    core.advance(at_ms - 2 * DAY_MS)
    made: list[Transition] = []
    for event in events:
        if isinstance(event, Blind):  # the engine's time has come that far when it learns of a span
            made += core.advance(event.from_ms - 1)
        made += core.feed([event])
    made += core.advance(at_ms)
    (seat,) = core.seats()
    answer = asked(f"[rule.R]\n{terms}\n", events, at_ms=at_ms)
    (rule,) = answer.rules
    assert repr([one.now for one in rule.alerts]) == repr(describe(seat, at_ms))
    told = {(one.time_ms, one.kind, repr(tuple(sorted(one.labels.items())))) for one in made}
    noted = {(change.time_ms, change.what, repr(one.now.key)) for one in rule.alerts for change in one.changes}
    shown = {repr(one.now.key) for one in rule.alerts}
    kinds = {"pending", "firing", "resolved", "cleared", "lost"}
    assert {one for one in noted if one[1] in kinds} == {one for one in told if one[2] in shown}
