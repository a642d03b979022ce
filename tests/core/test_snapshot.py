"""Snapshots: what comes back, what is refused, and what becomes of rules that were edited since."""

import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.projectors import EventCounter
from engine.core.promql.query_compile import compile_query
from engine.core.rules import LevelTerms, RecordingRule, Rule, compile_recording, compile_rule
from engine.core.snapshot import VERSION
from engine.errors import StateError
from engine.events import STALE, Blind, Event, Sample, SampleBatch

SECOND, MINUTE, DAY = 1_000, 60_000, 86_400_000
ENDED = "ended"


def sample(second: float, what: float | str, series: str = "a") -> Sample:
    time_ms = round(second * SECOND)
    if isinstance(what, str):
        return Sample(time_ms, series, STALE, SECOND, "ended" if what == ENDED else "target_down")
    return Sample(time_ms, series, what, SECOND)


def batch(second: float, values: dict[str, float]) -> SampleBatch:
    return SampleBatch(round(second * SECOND), tuple(values), np.array(list(values.values())), SECOND)


def rule(expr: str, **options: Any) -> Rule:
    return compile_rule(options.pop("name", "R"), expr, **options)


def used_core(**limits: Any) -> Core:
    core = Core([rule("a > 1", for_ms=5 * SECOND), rule("a unless b", name="S")], **limits)
    core.feed([batch(1, {'a{i="1"}': 5.0, 'a{i="2"}': 5.0, 'b{i="1"}': 1.0}), sample(2, "down", 'a{i="2"}')])
    core.advance(2_500)
    return core


def rich_core(*, fed: bool = False) -> Core:
    """A core with a part of every kind."""
    rules: list[Rule | RecordingRule] = [
        rule("a > 1", for_ms=5 * SECOND, of=0.5),
        rule("a / b > 1", name="Two", on_missing="fire", missing_for_ms=5 * SECOND),
        rule("sum by (i) (rate(a[5s])) > 0", name="Whole"),
        rule("r > 1", name="Of recorded"),
        compile_recording("Rec", "r", "sum by (i) (a)"),
    ]
    alert = GridRule(kind="alert", name="G", plan=compile_query("sum(rate(a[5s])) > 0"))
    record = GridRule(kind="record", name="g", plan=compile_query("avg_over_time(a[3s])"))
    core = Core(rules, groups=[GridGroup(name="g", rules=(alert, record), interval_ms=SECOND)])
    for second in range(8 if fed else 0):
        core.feed([batch(second, {'a{i="1"}': second % 4, 'a{i="2"}': 5.0 * second}), sample(second, 0.5, 'b{i="1"}')])
        core.advance(second * SECOND + 100)
    return core


def fresh_core(**limits: Any) -> Core:
    return Core([rule("a > 1", for_ms=5 * SECOND), rule("a unless b", name="S")], **limits)


def test_a_restored_core_is_the_same_core() -> None:
    core, again = used_core(), fresh_core()
    again.restore(core.snapshot())
    assert again.snapshot() == core.snapshot()
    assert repr(again.alerts()) == repr(core.alerts())
    assert again.counters() == core.counters() | {"alerts_refused_total": 0}
    assert (again.watermark_ms, again.series_count) == (2_500, 3)
    assert repr(again.advance(DAY)) == repr(core.advance(DAY))


@pytest.mark.parametrize(
    "use",
    [
        lambda core: core.feed([sample(1, 5.0)]),
        lambda core: core.advance(0),
        lambda core: core.restore(used_core().snapshot()),
    ],
)
def test_a_snapshot_is_for_a_new_core_only(use: Callable[[Core], object]) -> None:
    core = fresh_core()
    use(core)
    with pytest.raises(StateError, match="into a new core only"):
        core.restore(used_core().snapshot())


@pytest.mark.parametrize("data", [b"", b"\x00", b"nonsense", b"\x80", b"\x81\xa7version\xa1x", b"\xff" * 100])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(StateError, match="not a snapshot"):
        fresh_core().restore(data)


def test_a_snapshot_of_nothing_is_nothing() -> None:
    """The first event is still the first: configured counters exist at 0 from then on."""
    core, again = Core([], projectors=[EventCounter(["x"])]), Core([], projectors=[EventCounter(["x"])])
    again.restore(core.snapshot())
    again.feed([sample(1, 5.0)])
    assert again.series_count == 2


def test_a_snapshot_of_another_version_or_other_projectors_is_refused() -> None:
    fields = msgspec.msgpack.decode(used_core().snapshot())
    fields["version"] = 99
    with pytest.raises(StateError, match="version 99"):
        fresh_core().restore(msgspec.msgpack.encode(fields))
    with pytest.raises(StateError, match="can't be restored by this one"):
        Core([], projectors=[EventCounter()]).restore(used_core().snapshot())


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_snapshot_is_refused(damage: str) -> None:
    data = used_core().snapshot()
    for place in range(len(data)):
        tail = b"" if damage == "cut" else bytes([data[place] ^ 0x55]) + data[place + 1 :]
        with pytest.raises(StateError):
            fresh_core().restore(data[:place] + tail)


def test_one_of_which_the_checksum_knows_no_damage_is_refused_or_read_but_never_anything_else() -> None:
    whole = msgspec.msgpack.decode(rich_core(fed=True).snapshot())
    body = whole["body"]
    outcomes = {"refused": 0, "read": 0}
    for place in range(0, len(body), 3):
        changed = body[:place] + bytes([body[place] ^ 0x55]) + body[place + 1 :]
        data = msgspec.msgpack.encode({"version": VERSION, "check": zlib.crc32(changed), "body": changed})
        try:
            rich_core().restore(data)
        except StateError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1  # a bit in a value can't be told from a value
    assert min(outcomes.values()) > 0


def test_a_rule_that_is_gone_takes_its_alerts_with_it_and_a_new_one_begins() -> None:
    core = used_core()
    again = Core([rule("a unless b", name="S"), rule("a > 1", name="T")])
    again.restore(core.snapshot())
    assert {status.rule for status in again.alerts()} == {"S"}
    assert [(t.rule, t.kind) for t in again.feed([batch(3, {'a{i="1"}': 5.0})])] == [("T", "firing")]


def test_an_alert_whose_label_set_the_new_expression_cannot_yield_is_counted() -> None:
    core = Core([rule("a > 1")])
    core.feed([batch(1, {'a{i="1"}': 5.0, 'a{i="2"}': 5.0})])
    again = Core([rule('a{i="1"} > 1')])
    again.restore(core.snapshot())
    assert [status.labels["i"] for status in again.alerts()] == ["1"]
    assert again.counters()["alerts_not_restored_total"] == 1


def test_lower_limits_take_nothing_away() -> None:
    core = used_core()
    again = fresh_core(series_max=1, alerts_per_rule_max=1)
    again.restore(core.snapshot())
    assert again.series_count == 3
    assert len(again.alerts()) == len(core.alerts()) == 3
    again.feed([sample(3, 5.0, "new")])
    assert again.series_count == 3
    assert [health.reason for health in again.take_health()] == ["series_limit"]


@pytest.mark.parametrize(
    "series", ["a", 'a{"odd.label"="q\\"{}\\\\"}', '{"odd.name",i="1"}', '{"{",i="}"}', '{"odd.name"}']
)
def test_alerts_of_oddly_named_series_survive(series: str) -> None:
    exprs = ["a > 1", "a + a > 1", '{"odd.name"} > 1', '{"odd.name"} and {"odd.name"}', '{"{"} > 1 or {"{"} < -1']
    core, again = Core([rule(expr) for expr in exprs]), Core([rule(expr) for expr in exprs])
    core.feed([sample(1, 5.0, series)])
    assert core.alerts() != []
    again.restore(core.snapshot())
    assert repr(again.alerts()) == repr(core.alerts())
    assert "alerts_not_restored_total" not in again.counters()
    ended: list[Event] = [sample(2, ENDED, series)]
    assert repr(again.feed(ended)) == repr(core.feed(ended)) != "[]"


# --- rules that were edited -----------------------------------------------------------------------


LEVELS = [
    LevelTerms(severity="warning", when="> 10", for_ms=2 * SECOND, clear="< 5"),
    LevelTerms(severity="critical", when="> 20", for_ms=2 * SECOND, clear="< 15"),
]


def edited(before: list[Any], after: list[Any], series: dict[str, float], seconds: int = 4) -> Core:
    """A core of the rules `after` that goes on where one of the rules `before` was."""
    core, again = Core(before), Core(after)
    for second in range(1, seconds + 1):
        core.feed([batch(second, series)])
        core.advance(second * SECOND)
    again.restore(core.snapshot())
    return again


def shown(core: Core) -> list[tuple[str, str, str]]:
    return sorted((one.labels.get("i", ""), one.state, one.severity) for one in core.alerts())


@pytest.mark.parametrize(
    ("before", "after", "left", "lost"),
    [
        pytest.param("a > 1", "a > 2", [("1", "firing", ""), ("2", "firing", "")], 0, id="another threshold"),
        pytest.param("a > 1", "a + a > 3", [("1", "firing", ""), ("2", "firing", "")], 0, id="one more selector"),
        pytest.param("a > 1", 'a{i="1"} > 1', [("1", "firing", "")], 1, id="fewer series"),
        pytest.param("a > 1", "sum by (i) (a) > 1", [("1", "firing", ""), ("2", "firing", "")], 0, id="judged whole"),
        pytest.param("sum by (i) (a) > 1", "a > 1", [("1", "firing", ""), ("2", "firing", "")], 0, id="pointwise now"),
        pytest.param("sum by (i) (a) > 1", "max by (i) (a) > 1", [("1", "firing", ""), ("2", "firing", "")], 0, id="w"),
    ],
)
def test_alerts_outlive_an_edited_expression(before: str, after: str, left: list[Any], lost: int) -> None:
    again = edited([rule(before)], [rule(after)], {'a{i="1"}': 5.0, 'a{i="2"}': 5.0})
    assert shown(again) == left
    assert again.counters().get("alerts_not_restored_total", 0) == lost
    assert again.feed([batch(5, {'a{i="1"}': 5.0, 'a{i="2"}': 5.0})]) == []  # nobody is told twice
    made = again.feed([batch(6, {'a{i="1"}': 0.0, 'a{i="2"}': 0.0})])
    assert [(t.kind, t.labels["i"]) for t in made] == [("resolved", i) for i, *_ in left]


def test_what_a_new_expression_does_not_yield_any_more_ends() -> None:
    again = edited([rule("sum by (i) (a) > 1")], [rule("sum by (i) (a) > 7")], {'a{i="1"}': 5.0, 'a{i="2"}': 9.0})
    assert [(t.kind, t.labels["i"], t.time_ms) for t in again.advance(5 * SECOND)] == [("resolved", "1", 4_001)]


@pytest.mark.parametrize("value", [12.0, 25.0])
@pytest.mark.parametrize("names", ["warning", "critical", "info warning", "info warning critical", "x"])
@pytest.mark.parametrize("then", [0.0, 7.0, 12.0, 17.0, 25.0])
def test_levels_that_are_still_there_are_kept(value: float, names: str, then: float) -> None:
    """Whatever comes next is a step that the table of alerts has, and nobody is told again what is so anyway."""
    terms = {"info": "> 8", "warning": "> 10", "critical": "> 20", "x": "> 1"}
    levels = [LevelTerms(severity=name, when=terms[name], for_ms=2 * SECOND) for name in names.split()]
    again = edited([rule("a", levels=LEVELS)], [rule("a", levels=levels)], {"a": value})
    reached = {"warning"} if value < 20 else {"warning", "critical"}
    kept = [name for name in names.split() if name in reached]
    assert [one.severity for one in again.alerts()] == kept[-1:]
    assert again.counters().get("alerts_not_restored_total", 0) == (not kept)
    made = again.feed([batch(5, {"a": then})]) + again.advance(20 * SECOND)
    if kept and then == 0.0:
        assert [(t.kind, t.severity_before) for t in made] == [("resolved", kept[-1])]
    if kept and then == value and names.rsplit(maxsplit=1)[-1] == kept[-1]:
        assert [t for t in made if t.time_ms < 8 * SECOND] == []


def test_a_pending_alert_keeps_the_clocks_of_levels_that_are_still_there() -> None:
    longer = [LevelTerms(severity="new", when="> 5", for_ms=9 * SECOND), *LEVELS]
    again = edited([rule("a", levels=LEVELS)], [rule("a", levels=longer)], {"a": 12.0}, seconds=2)
    assert [(one.state, one.active_since_ms) for one in again.alerts()] == [("pending", 1_000)]
    made = again.feed([batch(2.5, {"a": 12.0})]) + again.advance(3_100)
    assert [(t.time_ms, t.kind, t.severity) for t in made] == [(3_000, "firing", "warning")]


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.5), (0.5, 1.0), (0.5, 0.9)])
def test_a_pending_alert_outlives_another_part_of_its_time(before: float, after: float) -> None:
    first, second = rule("a > 1", for_ms=6 * SECOND, of=before), rule("a > 1", for_ms=6 * SECOND, of=after)
    again = edited([first], [second], {"a": 5.0}, seconds=2)
    made = again.feed([batch(2.5, {"a": 5.0})]) + again.advance(3_000)
    for at in range(3, 9):
        made += again.feed([batch(at, {"a": 5.0})])
    made += again.advance(8_500)
    assert [(t.time_ms, t.kind) for t in made] == [(round(1_000 + 6_000 * after), "firing")]


def test_rules_are_told_apart_whatever_their_labels_say() -> None:
    odd = [
        rule("a > 1", labels={"x": "1\xffy\xfe2"}),
        rule("a > 1", labels={"x": "1", "y": "2"}),
        rule("a > 1", name="R\xffx"),
    ]
    assert len({one.key for one in odd}) == 3
    again = edited(odd, odd[::-1], {"a": 5.0})
    assert len(again.alerts()) == 3
    assert again.feed([batch(5, {"a": 5.0})]) == []


def group(*rules: GridRule, name: str = "g", interval_ms: int = MINUTE) -> GridGroup:
    return GridGroup(name=name, rules=rules, interval_ms=interval_ms)


def grid(name: str, expr: str, **more: Any) -> GridRule:
    return GridRule(kind="alert", name=name, plan=compile_query(expr), **more)


def test_groups_and_their_rules_are_found_again_by_their_keys() -> None:
    slow, now = grid("Slow", "a > 1", for_ms=3 * MINUTE), grid("Now", "a > 1")
    core = Core([], groups=[group(slow, now), group(now, name="other")])
    again = Core([], groups=[group(now, name="other", interval_ms=MINUTE // 2), group(now, grid("New", "a > 1"), slow)])
    for minute in range(1, 3):
        core.feed([batch(60 * minute, {"a": 5.0})])
        core.advance(MINUTE * minute)
    again.restore(core.snapshot())
    assert sorted((one.rule, one.state) for one in again.alerts()) == [
        ("Now", "firing"),
        ("Now", "firing"),
        ("Slow", "pending"),
    ]
    made = []
    for minute in range(3, 5):
        made += again.feed([batch(60 * minute, {"a": 5.0})]) + again.advance(MINUTE * minute)
    assert [(t.time_ms // MINUTE, t.rule, t.kind) for t in made] == [(3, "New", "firing"), (4, "Slow", "firing")]
    assert again.next_deadline() == 4 * MINUTE + MINUTE // 2


def test_two_inputs_are_judged_in_order_across_a_restart() -> None:
    again = edited([rule("a < b")], [rule("a < b")], {"a": 5.0, "b": 1.0})  # judged at 4 s
    (change,) = again.feed([sample(3.5, 0.0, "c"), batch(4.5, {"b": 9.0})])
    assert change.time_ms == 4_500
    core, again = Core([rule("a < b")]), Core([rule("a < b")])
    core.feed([sample(10, 5.0, "a"), sample(12, 1.0, "b")])
    again.restore(core.snapshot())
    assert [t.time_ms for t in again.feed([sample(11, 0.0, "a")])] == [12_000]


def test_blind_spans_that_overlap_across_a_restart_are_taken_out_once() -> None:
    core, again = Core([rule("a > 1", for_ms=10 * SECOND)]), Core([rule("a > 1", for_ms=10 * SECOND)])
    core.feed([*(sample(second, 5.0) for second in range(5)), Blind(8_000, 5_000, 8_000)])
    again.restore(core.snapshot())
    made = again.feed([Blind(9_000, 6_000, 9_000), *(sample(second, 5.0) for second in range(9, 16))])
    assert [(t.time_ms, t.kind) for t in made] == [(14_000, "firing")]


def test_a_limit_that_was_reached_is_told_after_a_restart_if_it_was_not_before() -> None:
    core, again = fresh_core(series_max=1, alerts_per_rule_max=1), fresh_core(series_max=1, alerts_per_rule_max=1)
    core.feed([sample(1, 5.0, "a"), sample(1, 5.0, "b"), sample(1, 5.0, "c")])
    again.restore(core.snapshot())
    assert [(one.reason, one.count) for one in again.take_health()] == [("series_limit", 2)]
    assert again.take_health() == []
