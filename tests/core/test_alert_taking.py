"""A core that is made of rows of alerts: what must come back for them to go on exactly, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.projectors import EventCounter, HealthProjector
from engine.core.promql.query_compile import compile_query
from engine.core.rules import LevelTerms, RecordingRule, Rule, compile_recording, compile_rule
from engine.core.stored import VERSION, SavedAlert, Stored
from engine.events import STALE, Blind, Deployment, Sample, Transition
from tests.core.test_alert_rows import Rows, batch, stored, write

SECOND = 1_000


def written(core: Core) -> Rows:
    rows: Rows = {}
    write(rows, core)
    return rows


def taken(core: Core, rules: Sequence[Rule | RecordingRule], now_ms: int | None = None, **more: Any) -> Core:
    """A core that is made of the rows of another, at once unless a time is said."""
    again = Core(rules, **more)
    again.take_alerts(stored(written(core)), core.watermark_ms, core.watermark_ms if now_ms is None else now_ms)
    return again


def told(made: Sequence[Transition]) -> list[tuple[float, str, str]]:
    return [(one.time_ms / SECOND, one.kind, one.reason) for one in made]


def ended(second: int, series: str) -> Sample:
    return Sample(second * SECOND, series, STALE, SECOND, "ended")


def test_which_input_fed_an_alert_of_or_comes_back() -> None:
    """What it rests on is stale, and that is not known to be over: the other input, which has ended, has no say."""
    rules = [compile_rule("R", "a or b")]
    core = Core(rules)
    core.feed([batch(100_000, **{'b{i="x"}': 1.0}), ended(101, 'b{i="x"}')])
    core.feed([batch(102_000, **{'a{i="x"}': 1.0})])
    core.advance(102_000)
    again = taken(core, rules)
    for one in (core, again):
        assert told(one.advance(110_000)) == []
        assert [alert.state for alert in one.alerts()] == ["firing"]


@pytest.mark.parametrize("expr", ["a", "a + a", "sum(a)"])
def test_what_was_told_last_comes_back(expr: str) -> None:
    """The next measurement says the same: nothing has changed, and nothing is written."""
    rules = [compile_rule("R", expr, when="> 1")]
    core = Core(rules)
    core.feed([batch(100_000, a=5.0)])
    core.advance(100_000)
    again = taken(core, rules)
    written(again)
    assert again.feed([batch(101_000, a=5.0)]) == []
    assert written(again) == {}
    assert told(again.feed([batch(102_000, a=0.0)])) == [(102.0, "resolved", "recovered")]


@pytest.mark.parametrize("expr", ["vector(110) < vector(time())", "vector(time()) > 110", "absent(a) > 0"])
def test_an_expression_that_time_alone_changes_goes_on(expr: str) -> None:
    rules = [compile_rule("R", expr, for_ms=5 * SECOND)]
    core = Core(rules, resolution_ms=SECOND)
    core.feed([batch(100_000, b=1.0)])
    core.advance(106_500)
    again = taken(core, rules, resolution_ms=SECOND)
    rest = [told(one.advance(130_000)) for one in (core, again)]
    assert rest[0] == rest[1]


def test_an_input_that_goes_stale_after_the_restart_is_looked_at() -> None:
    rules = [compile_rule("R", "sum(a) > 1", on_missing="reset")]
    core = Core(rules)
    core.feed([batch(100_000, a=5.0)])
    core.advance(100_500)
    again = taken(core, rules)
    assert told(core.advance(130_000)) == [(103.001, "resolved", "missing")]
    # Whether a sample came until the end, which would have changed nothing, is not known: it is as if one had.
    assert told(again.advance(130_000)) == [(103.501, "resolved", "missing")]


def test_what_is_recorded_by_time_alone_goes_on() -> None:
    rules: list[Rule | RecordingRule] = [compile_recording("r", "r", "vector(time())"), compile_rule("R", "r > 110")]
    core = Core(rules, resolution_ms=SECOND)
    core.feed([batch(100_000, b=1.0)])
    core.advance(106_500)
    again = taken(core, rules, resolution_ms=SECOND)
    rest = [told(one.advance(130_000)) for one in (core, again)]
    assert rest[0] == rest[1] != []


def recorded(expr: str) -> list[Rule | RecordingRule]:
    return [compile_recording("r", "r", expr), compile_rule("R", "r > 1")]


@pytest.mark.parametrize("expr", ["a > 1", "sum by (i) (a > 1)", "a * 2"])
def test_an_alert_over_what_is_recorded_ends_when_its_cause_does(expr: str) -> None:
    """And not before: while an input of the recording rule was not seen, nobody knows that it has gone."""
    rules = recorded(expr)
    core = Core(rules)
    core.feed([batch(100_000, **{'a{i="x"}': 5.0, 'a{i="y"}': 5.0})])
    core.advance(100_000)
    again = taken(core, rules, 160_000)
    assert told(again.feed([batch(161_500, **{'a{i="x"}': 0.0})])) == [(161.5, "resolved", "recovered")]
    assert [one.labels["i"] for one in again.alerts()] == ["y"]
    assert told(again.feed([batch(162_000, **{'a{i="y"}': 0.0})])) == [(162.0, "resolved", "recovered")]


@pytest.mark.parametrize("expr", ["a > 1", "sum by (i) (a > 1)", "a * 2"])
def test_a_group_ends_what_it_recorded_before(expr: str) -> None:
    record = GridRule(kind="record", name="r", plan=compile_query(expr))
    alert = GridRule(kind="alert", name="A", plan=compile_query("r > 1"))
    meta = GridRule(kind="alert", name="M", plan=compile_query('ALERTS{alertname="A"}'))
    groups = [GridGroup(name="g", rules=(record, alert, meta), interval_ms=SECOND)]
    core = Core([], groups=groups)
    core.feed([batch(100_000, **{'a{i="x"}': 5.0, 'a{i="y"}': 5.0})])
    core.advance(101_000)
    assert len(core.alerts()) == 4
    again = taken(core, [], 159_500, groups=groups)
    made = again.feed([batch(160_000, **{'a{i="x"}': 0.0, 'a{i="y"}': 5.0})]) + again.advance(162_500)
    assert [(one.kind, one.rule, one.labels["i"]) for one in made] == [("resolved", "A", "x"), ("resolved", "M", "x")]


def test_alerts_of_a_rule_that_is_gone_end_and_are_not_kept() -> None:
    terms: dict[str, Any] = {"for_ms": 5 * SECOND, "labels": {"team": "x"}}
    gone = compile_rule("Gone", "a", levels=[LevelTerms(severity="low", when="> 1", for_ms=0)], **terms)
    core = Core([compile_rule("R", "a > 1"), gone, compile_rule("P", "a > 1", for_ms=60 * SECOND)])
    core.feed([batch(100_000, **{'a{i="x"}': 5.0})])
    core.advance(101_000)
    rows = written(core)
    again = Core([compile_rule("R", "a > 1")])
    made = again.take_alerts(stored(rows), 101_000, 130_000)
    assert [(one.time_ms, one.kind, one.before, one.reason, one.value) for one in made] == [
        (130_000, "resolved", "firing", "rule_removed", 5.0),
        (130_000, "cleared", "pending", "rule_removed", 5.0),
    ]
    assert made[0].labels == {"alertname": "Gone", "i": "x", "team": "x"}
    assert (made[0].severity, made[0].active_since_ms, made[0].fired_ms) == ("low", 100_000, 100_000)
    assert [one.rule for one in again.alerts()] == ["R"]
    write(rows, again, 2)
    assert {key.split(",")[0] for key, _ in rows} == {'["R"'}


def test_an_alert_that_the_new_expression_can_not_have_ends() -> None:
    core = Core([compile_rule("R", "a > 1")])
    core.feed([batch(100_000, **{'a{i="x"}': 5.0})])
    core.advance(101_000)
    rows = written(core)
    again = Core([compile_rule("R", "b > 1")])
    made = again.take_alerts(stored(rows), 101_000, 130_000)
    assert told(made) == [(130.0, "resolved", "rule_changed")]
    write(rows, again)
    assert again.alerts() == []
    assert len(rows) == 2  # what the rule's alerts have in common, and the ring: it may be back


def test_a_row_that_no_alert_can_have_is_counted_and_forgotten() -> None:
    core = Core([compile_rule("R", "a > 1")])
    core.feed([batch(100_000, **{f'a{{i="{number}"}}': 5.0 for number in range(6)})])
    core.advance(100_000)
    rows = written(core)
    harm: list[Callable[[SavedAlert], object]] = [
        lambda one: one.columns.pop("lost"),
        lambda one: one.columns.update(phase=9),
        lambda one: one.columns.update(level=3),
        lambda one: one.columns.update(reason=2**40),
        lambda one: one.run.append(5),
    ]
    for (key, text), damage in zip([place for place in rows if place[1]], harm, strict=False):
        row = msgspec.msgpack.decode(rows[key, text], type=Stored)
        assert row.alert is not None
        damage(row.alert)
        rows[key, text] = msgspec.msgpack.encode(row)
    again = Core([compile_rule("R", "a > 1")])
    assert again.take_alerts(stored(rows), 101_000, 130_000) == []
    assert (len(again.alerts()), again.counters()["alerts_not_restored_total"]) == (1, 5)
    write(rows, again)
    kept = [msgspec.msgpack.decode(row, type=Stored) for row in rows.values()]
    assert len([row for row in kept if row.alert is not None]) == 1  # of the others there are the rings


def test_everything_is_told_again_if_what_was_told_is_lost() -> None:
    core = Core([compile_rule("R", "a > 1"), compile_rule("S", "sum(b) > 1")])
    core.feed([batch(100_000, a=5.0, b=5.0)])
    rows = written(core)
    assert written(core) == {}
    core.tell_all_alerts()
    assert written(core) == rows


@pytest.mark.parametrize("expr", ["a > 1", "a + b > 1", "max by (i) (a) > 1"])
def test_what_was_there_and_does_not_come_back_fires_as_missing(expr: str) -> None:
    """Under `fire`, also where there was no alert; what has ended before is not waited for."""
    rules = [compile_rule("R", expr, on_missing="fire", missing_for_ms=5 * SECOND)]
    core = Core(rules)
    rows: Rows = {}
    there = {f'{metric}{{i="{name}"}}': 0.0 for metric in "ab" for name in "xyz"}
    core.feed([batch(100_000, **there)])
    core.advance(100_000)
    write(rows, core)
    core.feed([ended(101, f'{metric}{{i="z"}}') for metric in "ab"])
    core.advance(101_000)
    write(rows, core)
    before = dict(rows)
    core.feed([batch(102_000, **{key: 0.0 for key in there if "z" not in key})])
    core.advance(102_000)
    write(rows, core)
    assert rows == before  # what is there and stays so is not worth a row
    again = Core(rules)
    assert again.take_alerts(stored(rows), 102_000, 160_000) == []
    assert again.alerts() == []
    for second in range(160, 170):
        some = {key: 0.0 for key in there if "x" in key}
        made = again.feed([batch(second * SECOND, **some)]) + again.advance(second * SECOND)
        assert [(one.kind, one.reason, one.labels["i"]) for one in made] in ([], [("firing", "missing", "y")])
    assert [(one.state, one.labels["i"]) for one in again.alerts()] == [("firing", "y")]


def test_what_is_remembered_is_forgotten_with_its_series() -> None:
    core = Core([compile_rule("R", "a > 1", on_missing="fire", missing_for_ms=5 * SECOND)])
    rows: Rows = {}
    core.feed([batch(100_000, **{'a{i="x"}': 0.0, 'a{i="y"}': 0.0})])
    write(rows, core)
    assert len(rows) == 3
    core.feed([ended(101, 'a{i="x"}')])
    write(rows, core)
    assert sorted(text.split("\0")[-1] for _, text in rows) == ["", "y"]
    core.feed([batch(102_000, **{'a{i="x"}': 5.0})])
    write(rows, core)
    core.feed([batch(103_000, **{'a{i="x"}': 0.0})])
    write(rows, core)
    kept = {text.split("\0")[-1]: msgspec.msgpack.decode(row, type=Stored) for (_, text), row in rows.items()}
    assert kept["x"].alert is None
    assert kept["x"].ring is not None
    assert kept["x"].seen is not None


class Broken(EventCounter):
    """Somebody's projector that can neither say what it knows nor take it back."""

    def snapshot(self) -> bytes:
        raise ArithmeticError("https://user:hunter2@db/")

    restore = None  # type: ignore[assignment]


def test_what_projectors_have_counted_goes_on() -> None:
    def made() -> Core:
        rules = [compile_rule("R", "longwatch_events_total > 2")]
        return Core(rules, projectors=[EventCounter(["deployment"]), HealthProjector(), Broken(["trade_closed"])])

    core = made()
    rows: Rows = {}
    for second in range(100, 103):
        core.feed([Deployment(time_ms=second * SECOND, service="s", version="v1")])
        write(rows, core)
    assert [text.split(".")[-1] for key, text in rows if not key] == ["EventCounter#0"]
    told = core.take_health()
    assert [one.reason for one in told] == ["projector_failed"]
    assert "Broken#0: ArithmeticError raised" in told[0].message
    assert "hunter2" not in told[0].message
    again = made()
    assert again.take_alerts(stored(rows), 103_000, 160_000) == []
    assert again.feed([batch(161_000, a=1.0)]) + again.advance(161_000) == []
    assert [one.state for one in again.alerts()] == ["firing"]
    assert again.latest("longwatch_events_total")['longwatch_events_total{type="deployment"}'] == 3.0
    bad = {key: row if key[0] else msgspec.msgpack.encode(Stored(VERSION)) for key, row in rows.items()}
    third = made()
    assert third.take_alerts(stored(bad), 103_000, 160_000) == []
    assert [one.reason for one in third.take_health()] == ["projector_failed"]


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("expr", ["a > 1", "a + a > 2", "max_over_time(a[5s]) > 1"])
def test_a_clock_that_was_set_back_freezes_nothing(expr: str, blind: bool) -> None:
    """F95: by an hour, between two runs. What fires goes on and ends with its cause; nothing waits for the hour, nor
    for the end of a span that was blind before."""
    rules = [compile_rule("R", expr), compile_rule("P", expr, for_ms=10 * SECOND, keep_firing_for_ms=2 * SECOND)]
    core = Core(rules)
    for second in range(7_200, 7_206):
        if blind and second == 7_203:
            core.feed([Blind(second * SECOND, 3_000_000, second * SECOND)])
        core.feed([batch(second * SECOND, a=5.0)])
        core.advance(second * SECOND)
    again = Core(rules)
    assert again.take_alerts(stored(written(core)), 3_600_000, 3_600_000) == []
    made: list[Transition] = []
    for second in range(3_600, 3_640):
        value = 5.0 if second < 3_620 else 0.0
        made += again.feed([batch(second * SECOND, a=value)]) + again.advance(second * SECOND)
    assert [(one.rule, one.kind) for one in made] == [("P", "firing"), ("R", "resolved"), ("P", "resolved")]
    assert made[0].time_ms <= 3_610_000
    assert made[-1].time_ms <= 3_628_000
