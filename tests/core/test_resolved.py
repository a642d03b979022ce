"""What is remembered of resolved alerts: for how long, how many, and what makes it forgotten."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.names import key_of
from engine.core.notices import Output
from engine.core.promql.query_compile import compile_query
from engine.core.resolved import RESOLVED_KEPT_MS, Resolved
from engine.core.rules import compile_rule
from engine.core.tally import Tally
from engine.events import Sample, Transition

SECOND, MINUTE = 1_000, 60_000
WORDS = {"pending": ("inactive", "pending"), "firing": ("pending", "firing"), "resolved": ("firing", "inactive")}
WORDS |= {"cleared": ("pending", "inactive"), "lost": ("firing", "inactive"), "at once": ("inactive", "firing")}


def output(time_ms: int, kind: str = "resolved", host: str = "a", rule: int = 0) -> Output:
    reason = "lost" if kind == "lost" else "recovered"
    change = Transition(time_ms, f"R{rule}", {"host": host}, *WORDS[kind], reason, 1.0, 0)  # type: ignore[arg-type]
    assert change.kind == kind.replace("at once", "firing")
    return (0, time_ms, rule, key_of({"host": host}), 0, change)


def forget(memory: Resolved, now_ms: int) -> None:
    for _ in memory.forgetting(now_ms):
        pass


def hosts(memory: Resolved, now_ms: int) -> list[str]:
    return [change.labels["host"] for change in memory.at(now_ms)]


def test_a_resolve_is_remembered_for_fifteen_minutes_and_no_longer() -> None:
    """F50. As in Prometheus it is there at exactly fifteen minutes, and gone after."""
    memory = Resolved(10, Tally())
    memory.note([output(0, host="a"), output(MINUTE, host="b")])
    assert hosts(memory, RESOLVED_KEPT_MS) == ["b", "a"]
    assert hosts(memory, RESOLVED_KEPT_MS + 1) == ["b"]
    forget(memory, RESOLVED_KEPT_MS + 1)
    assert hosts(memory, 0) == ["b"]  # it is let go of, and not only not shown
    forget(memory, RESOLVED_KEPT_MS + MINUTE + 1)
    assert hosts(memory, 0) == []


@pytest.mark.parametrize("kinds", [["pending"], ["pending", "firing", "lost"], ["pending", "cleared"], ["at once"]])
def test_an_alert_that_is_back_is_a_new_one(kinds: list[str]) -> None:
    """However the new one goes on: Prometheus puts it in the place of the one that it remembered."""
    memory = Resolved(10, Tally())
    memory.note([output(0, host="a"), output(0, host="b")])
    for kind in kinds:
        memory.note([output(SECOND, kind, host="a")])
        assert hosts(memory, SECOND) == ["b"]


def test_rules_are_apart_and_one_instant_is_in_their_order() -> None:
    memory = Resolved(10, Tally())
    memory.note([output(5, host="b", rule=1), output(5, host="b"), output(5, host="a", rule=1), output(6, host="c")])
    memory.note([output(7, "pending", host="a", rule=0)])
    assert [(change.rule, change.labels["host"]) for change in memory.at(7)] == [
        ("R0", "c"),
        ("R0", "b"),
        ("R1", "a"),
        ("R1", "b"),
    ]


def test_of_one_rule_no_more_than_the_limit_are_remembered_and_that_is_told() -> None:
    tally = Tally()
    memory = Resolved(2, tally)
    memory.note([output(at, host=host) for at, host in enumerate("abc")])
    memory.note([output(3, "pending", host="b"), output(4, host="b"), output(5, host="a")])
    memory.note([output(9, host="z", rule=1)])
    assert hosts(memory, 9) == ["z", "a", "b"]
    assert tally.counters == {"resolved_forgotten_total": 2}
    assert [(told.component, told.reason, told.count) for told in tally.take_health(9)] == [
        ("rule.R0", "resolved_limit", 2)
    ]


def test_what_is_too_old_makes_room_before_anything_is_forgotten_early() -> None:
    tally = Tally()
    memory = Resolved(2, tally)
    memory.note([output(0, host="a"), output(0, host="b"), output(RESOLVED_KEPT_MS + 1, host="c")])
    assert hosts(memory, RESOLVED_KEPT_MS + 1) == ["c"]
    assert tally.counters == {}


def test_one_that_comes_late_is_not_shown_longer() -> None:
    memory = Resolved(10, Tally())
    memory.note([output(MINUTE, host="a"), output(0, host="late")])
    forget(memory, RESOLVED_KEPT_MS + 1)
    assert hosts(memory, RESOLVED_KEPT_MS + 1) == ["a"]


# -- through a core ------------------------------------------------------------------------------------------------


def grid(**more: Any) -> Core:
    rule = GridRule(kind="alert", name="R", plan=compile_query("x > 5"), for_ms=0)
    return Core([], groups=[GridGroup(name="g", rules=(rule,), interval_ms=SECOND)], **more)


def continuous(**more: Any) -> Core:
    return Core([compile_rule("R", "x > 5")], **more)


def looking_back(**more: Any) -> Core:
    return Core([compile_rule("R", "max_over_time(x[1s]) > 5")], **more)


@pytest.mark.parametrize("make", [grid, continuous, looking_back])
def test_every_mode_remembers(make: Any) -> None:
    core = make()
    for second in range(10):
        core.feed([Sample(second * SECOND, "x", 9.0 if second in (2, 3, 6) else 1.0)])
        core.advance(second * SECOND)
        if second == 6:
            assert core.resolved() == []  # it is back
    (resolved,) = core.resolved()
    assert (resolved.rule, resolved.kind, resolved.time_ms) == ("R", "resolved", 7 * SECOND)
    assert resolved.active_since_ms == 6 * SECOND
    for second, count in ((7 + 15 * 60, 1), (8 + 15 * 60, 0)):
        core.feed([Sample(second * SECOND, "x", 1.0)])
        core.advance(second * SECOND)
        assert len(core.resolved()) == count


def test_what_is_forgotten_early_is_counted_by_the_core() -> None:
    core = continuous(alerts_per_rule_max=2)
    for second, value in enumerate((9.0, 1.0)):
        core.feed([Sample(second * SECOND, f'x{{a="{number}"}}', value) for number in range(2)])
    core.feed([Sample(2 * SECOND, 'x{a="2"}', 9.0), Sample(3 * SECOND, 'x{a="2"}', 1.0)])
    core.advance(3 * SECOND)
    assert [one.labels["a"] for one in core.resolved()] == ["2", "1"]
    assert core.counters()["resolved_forgotten_total"] == 1
    assert [told.reason for told in core.take_health()] == ["resolved_limit"]


def test_a_snapshot_has_it() -> None:
    core, again = continuous(), continuous()
    core.feed([Sample(0, "x", 9.0), Sample(SECOND, "x", 1.0)])
    core.advance(SECOND)
    again.restore(core.snapshot())
    assert again.resolved() == core.resolved() != []
    assert again.snapshot() == core.snapshot()
    again.advance(SECOND + RESOLVED_KEPT_MS + 1)
    assert again.resolved() == []


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.sampled_from([1.0, 9.0])), max_size=30),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_splitting_changes_nothing(rows: list[tuple[int, str, float]], cuts: list[int]) -> None:
    """And it is what a walk over the transitions gives."""
    events, at_ms = [], 0
    for gap_s, host, value in rows:
        at_ms += (gap_s + 1) * SECOND
        events.append(Sample(at_ms, f'x{{host="{host}"}}', value, 1_000_000))
    whole, parts = continuous(), continuous()
    made = whole.feed(events) + whole.advance(at_ms)
    places = [0, *sorted(cuts), len(events)]
    for start, stop in pairwise(places):
        parts.feed(events[start:stop])
    parts.advance(at_ms)
    last = {change.labels["host"]: change for change in made}
    expected = [one for one in last.values() if one.kind == "resolved" and at_ms - one.time_ms <= RESOLVED_KEPT_MS]
    assert whole.resolved() == parts.resolved() == sorted(expected, key=lambda one: -one.time_ms)
