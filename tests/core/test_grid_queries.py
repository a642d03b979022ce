"""Grid mode seen from outside: questions to a core, alerts that it shows, and results of rules that clash."""

import math
from typing import Any

import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError, Scalar, Vector
from engine.events import STALE, Blind, Sample, SampleBatch
from engine.templates import Template, compile_go_template

MINUTE = 60_000


def alert(name: str, expr: str, for_ms: int = 0, **more: Any) -> GridRule:
    return GridRule(kind="alert", name=name, plan=compile_query(expr), for_ms=for_ms, **more)


def record(name: str, expr: str) -> GridRule:
    return GridRule(kind="record", name=name, plan=compile_query(expr))


def core(*rules: GridRule, queries: tuple[str, ...] = (), limit: int = 0, **more: Any) -> Core:
    group = GridGroup(name="g", rules=rules, interval_ms=MINUTE, limit=limit)
    return Core([], groups=[group], queries=[compile_query(expr) for expr in queries], **more)


def play(of: Core, minutes: int, **series: float) -> None:
    for minute in range(minutes + 1):
        of.feed([SampleBatch(minute * MINUTE, tuple(series), np.array(list(series.values())) * minute)])
        of.advance(minute * MINUTE)


def ask(of: Core, expr: str, minute: float) -> list[tuple[dict[str, str], float]]:
    value = of.query(compile_query(expr), round(minute * MINUTE))
    if isinstance(value, Scalar):
        return [({}, value.value)]
    assert isinstance(value, Vector)
    return value.items()


def test_what_was_announced_can_be_asked_for_all_time() -> None:
    questions = ("x", "made", 'ALERTS{alertname="A"}', "count_over_time(x[1h])")
    of = core(record("made", "x * 2"), alert("A", "x > 10"), queries=questions)
    play(of, 60, x=1.0, unread=1.0)
    assert ask(of, "x", 3) == [({"__name__": "x"}, 3.0)]
    assert ask(of, "made", 50.5) == [({"__name__": "made"}, 100.0)]
    assert ask(of, 'ALERTS{alertname="A"}', 10) == []
    assert [labels["alertstate"] for labels, _ in ask(of, 'ALERTS{alertname="A"}', 11)] == ["firing"]
    assert ask(of, "count_over_time(x[1h])", 60) == [({}, 60.0)]
    assert ask(of, "1 + 1", 0) == [({}, 2.0)]
    assert ask(of, "unread", 5) == []
    with pytest.raises(EvaluationError):
        ask(of, '{__name__=~"x|made"} + 1', 5)


def test_subqueries_without_a_step_take_the_given_one() -> None:
    for step_ms in (MINUTE, 30_000):
        of = core(record("made", "count_over_time(x[4m:])"), queries=("made", "x"), subquery_step_ms=step_ms)
        play(of, 10, x=1.0)
        assert ask(of, "made", 10) == [({"__name__": "made"}, 4 * MINUTE / step_ms)]
        assert ask(of, "count_over_time(x[4m:])", 10) == [({}, 4 * MINUTE / step_ms)]


def test_alerts_of_groups_are_shown_and_counted() -> None:
    text = {"at": compile_go_template("{{ $value }}")}
    of = core(alert("Soon", "x > 2", 30 * MINUTE), alert("Now", "x > 5", annotations=text))
    play(of, 8, x=1.0)
    shown = of.alerts()
    assert [(one.rule, one.state, one.active_since_ms) for one in shown] == [
        ("Now", "firing", 6 * MINUTE),
        ("Soon", "pending", 3 * MINUTE),
    ]
    assert shown[0].annotations == {"at": "8"}  # as of the last evaluation, not of the first
    assert of.alerts(1) == shown[:1]
    assert of.alert_counts() == {"pending": 1, "firing": 1}


def test_alerts_that_a_group_has_no_room_for_are_counted_and_told() -> None:
    of = core(alert("Any", "x > 0"), limit=2)
    play(of, 1, **{f'x{{a="{number}"}}': 1.0 for number in range(3)})
    assert of.counters()["alerts_refused_total"] == 1
    assert [(told.component, told.reason, told.count) for told in of.take_health()] == [("rule.Any", "alerts_limit", 1)]
    assert of.take_health() == []


def test_a_result_whose_series_has_another_sample_is_told() -> None:
    """Prometheus refuses it as a duplicate."""
    of = core(record("x", "vector(3)"))
    play(of, 2, x=1.0)
    (told,) = of.take_health()
    assert (told.component, told.reason, told.count) == ("store", "recorded_twice", 3)
    assert told.message.endswith(": x")


def test_a_result_whose_series_has_the_same_sample_is_nothing_new() -> None:
    of = core(record("x", "x"), record("n", "x * NaN"), record("n", "x * NaN"))
    play(of, 2, x=1.0)
    assert of.take_health() == []


def test_labels_that_no_series_can_have_are_the_rules_fault() -> None:
    of = core(record("long", f'label_replace(x, "{"l" * 200}", "v", "", "")'), record("fine", "x"), queries=("fine",))
    play(of, 1, x=1.0)
    assert [(told.component, told.reason) for told in of.take_health()] == [("rule.long", "evaluation_failed")]
    assert ask(of, "fine", 1) == [({"__name__": "fine"}, 1.0)]


def test_a_label_whose_template_gives_nothing_is_written_into_alerts_as_it_stands() -> None:
    """As Prometheus does: the series starts from the labels of the rule, and the alert has none of that name."""
    labels = {"gone": compile_go_template("{{ $labels.nope }}"), "kept": Template("k", None)}
    of = core(alert("A", "x > 0", labels=labels), queries=("ALERTS", "ALERTS_FOR_STATE"))
    play(of, 2, x=1.0)
    assert of.alerts()[0].labels == {"alertname": "A", "kept": "k"}
    written = {"alertname": "A", "kept": "k", "gone": "{{ $labels.nope }}"}
    assert ask(of, "ALERTS", 2) == [({"__name__": "ALERTS", "alertstate": "firing", **written}, 1.0)]
    assert ask(of, "ALERTS_FOR_STATE", 2) == [({"__name__": "ALERTS_FOR_STATE", **written}, 60.0)]


def test_a_template_may_ask_what_others_keep() -> None:
    text = {
        "sum": compile_go_template('{{ with query "sum(count_over_time(y[2m:]))" }}{{ . | first | value }}{{ end }}')
    }
    of = core(alert("A", "x > 0", annotations=text), queries=("y",), subquery_step_ms=30_000)
    play(of, 5, x=1.0, y=1.0)
    assert of.alerts()[0].annotations == {"sum": "4"}
    assert not math.isnan(of.alerts()[0].value)


def test_what_a_template_writes_out_is_kept_for_it_and_for_no_longer_than_it_asks() -> None:
    """No rule reads y, z or ALERTS."""
    text = {
        "y": compile_go_template('{{ query "sum_over_time(y[10m])" | first | value }}'),
        "alerts": compile_go_template('{{ "count(ALERTS)" | query | first | value }}'),
        "late": compile_go_template('{{ query "z offset 3m" | first | value }}'),
        "wrong": compile_go_template('{{ with query "y +" }}{{ end }}'),
    }
    of = core(alert("A", "x > 0", annotations=text))
    play(of, 60, x=1.0, y=1.0, z=1.0, w=1.0)
    shown = of.alerts()[0].annotations
    assert (shown["y"], shown["alerts"], shown["late"]) == (str(sum(range(51, 61))), "1", "57")
    assert "could not parse expression" in shown["wrong"]
    ((_, kept),) = ask(of, "count_over_time(y[1h])", 60)
    assert 10 <= kept <= 20
    assert ask(of, "w", 60) == []


def test_a_blind_span_pauses_the_clocks_of_groups_and_leaves_out_its_instants() -> None:
    """Nobody could see for a minute: the alert fires a minute later, and no instant in it is evaluated."""
    rule = GridRule(kind="alert", name="R", plan=compile_query("a > 1"), for_ms=120_000)
    core = Core([], groups=[GridGroup(name="g", interval_ms=15_000, rules=(rule,))])
    told = []
    for second in range(0, 300, 15):
        if second == 60:
            told += core.feed([Blind(120_000, 60_000, 120_000)])
        if not 60 <= second < 120:
            told += core.feed([Sample(second * 1_000, "a", 5.0, 15_000)]) + core.advance(second * 1_000)
    assert [(t.kind, t.time_ms) for t in told] == [("pending", 0), ("firing", 180_000)]
    assert core.counters()["instants_missed_total"] == 4


def test_the_clock_of_an_alert_that_began_just_before_a_blind_span_stands_still_in_it() -> None:
    """F79. The loop was held when the instant had come: what it finds is not older than what was seen since."""
    rule = GridRule(kind="alert", name="R", plan=compile_query("a > 1"), for_ms=30_000)
    core = Core([], groups=[GridGroup(name="g", interval_ms=15_000, rules=(rule,))])
    told = core.feed([Sample(0, "a", 5.0, 15_000)])  # the instant 0 s is not evaluated yet
    told += core.feed([Blind(100_000, 1_000, 100_000), Sample(100_000, "a", 5.0, 15_000)]) + core.advance(100_000)
    told += core.feed([Sample(130_000, "a", 5.0, 15_000)]) + core.advance(140_000)
    # 29 s are still to be seen after the span: over at 129 s, and looked at with the next instant.
    assert [(t.kind, t.time_ms) for t in told] == [("pending", 0), ("firing", 135_000)]
    assert core.counters()["instants_missed_total"] == 6


def test_series_that_a_group_has_no_room_for_are_dropped_counted_and_told() -> None:
    """Those it has are recorded; Prometheus drops all of them. One that is there no more has ended."""
    of = core(record("r", "x * 2"), queries=("r",), limit=2)
    for minute, hosts in enumerate(("abc", "ab", "c", "")):
        texts = tuple(f'x{{host="{host}"}}' for host in "abc")
        values = np.array([1.0 if host in hosts else STALE for host in "abc"])
        of.feed([SampleBatch(minute * MINUTE, texts, values)])
        of.advance(minute * MINUTE)
        recorded = [labels["host"] for labels, _ in ask(of, "r", minute)]
        assert recorded == list(hosts[:2]), minute
        told = [(one.component, one.reason, one.count) for one in of.take_health()]
        assert told == ([("rule.r", "series_over_limit", 1)] if len(hosts) > 2 else [])
    assert of.counters()["samples_dropped_total_series_over_limit"] == 1


def test_alerts_beyond_the_limit_take_the_places_that_come_free_and_those_that_are_there_stay() -> None:
    """F74. Prometheus forgets all of them, and no resolve is ever sent."""
    of = core(alert("Any", "x > 0"), limit=1, queries=("ALERTS",))
    made = []
    for minute, hosts in enumerate(("a", "ab", "ab", "b", "b", "")):
        texts = tuple(f'x{{host="{host}"}}' for host in "ab")
        of.feed([SampleBatch(minute * MINUTE, texts, np.array([float(host in hosts) for host in "ab"]))])
        made += [(t.labels["host"], t.kind, minute) for t in of.advance(minute * MINUTE)]
        assert len(ask(of, "ALERTS", minute)) <= 1
    assert made == [("a", "firing", 0), ("a", "resolved", 3), ("b", "firing", 3), ("b", "resolved", 5)]
    assert of.counters()["alerts_refused_total"] == 2
    assert [told.count for told in of.take_health()] == [2]


def test_a_group_without_a_limit_has_the_engines_for_alerts_and_none_for_series() -> None:
    """Prometheus has none; what is recorded is bounded by `series_max`, and alerts by the engine's limit."""
    of = core(alert("Any", "x > 0"), record("r", "x"), alerts_per_rule_max=2, queries=("r",))
    play(of, 1, **{f'x{{a="{number}"}}': 1.0 for number in range(3)})
    assert of.alert_counts() == {"pending": 0, "firing": 2}
    assert len(ask(of, "r", 1)) == 3
