"""The first failure is told at once, then one a minute for each reason, with the count (F118)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.report import KEYS_MAX, LATE_MAX, REPEAT_MS, Reporter


def test_the_first_is_told_the_next_counted_and_told_after_a_minute() -> None:
    reporter = Reporter()
    (first,) = reporter.failed(0, "probe.x", "timeout", "no\nanswer")
    assert (first.time_ms, first.component, first.status, first.reason) == (0, "probe.x", "failed", "timeout")
    assert (first.message, first.count) == ("no\\nanswer", 1)
    assert [reporter.failed(t, "probe.x", "timeout") for t in (1_000, REPEAT_MS - 1)] == [(), ()]
    (again,) = reporter.failed(REPEAT_MS, "probe.x", "timeout")
    assert again.count == 3


def test_reasons_and_components_are_told_apart() -> None:
    reporter = Reporter()
    assert reporter.failed(0, "a", "x")
    assert reporter.failed(0, "a", "y")
    assert reporter.failed(0, "b", "x")


def test_recovery_is_told_only_where_the_failure_was() -> None:
    reporter = Reporter()
    assert reporter.recovered(0, "a") == ()
    reporter.failed(0, "a", "x")
    (told,) = reporter.recovered(1, "a")
    assert (told.status, told.reason) == ("ok", "recovered")
    assert reporter.recovered(2, "a") == ()
    assert reporter.failed(3, "a", "x") == (), "a component that flaps is not told each time"
    assert reporter.recovered(4, "a") == (), "so its recovery is not, either"


def test_what_was_held_back_is_told_with_the_recovery() -> None:
    reporter = Reporter()
    reporter.failed(0, "a", "x")
    reporter.failed(1, "a", "x", "again", count=9)
    untold, recovered = reporter.recovered(2, "a")
    assert (untold.reason, untold.count, untold.message, recovered.status) == ("x", 9, "again", "ok")
    assert reporter.due(REPEAT_MS) == ()


def test_the_last_failure_for_ever_is_told_a_minute_later_and_leaves_the_component_as_it_is() -> None:
    reporter = Reporter()
    reporter.failed(0, "sink.ops", "timeout", "m1")
    reporter.recovered(5_000, "sink.ops")
    assert reporter.failed(6_000, "sink.ops", "timeout", "m2", count=10) == ()
    assert reporter.recovered(7_000, "sink.ops") == ()
    assert reporter.due(REPEAT_MS - 1) == ()
    told = reporter.due(REPEAT_MS)
    assert [(event.status, event.count, event.message) for event in told] == [("failed", 10, "m2"), ("ok", 1, "")]
    reporter.failed(REPEAT_MS + 1, "sink.ops", "timeout", count=2)
    assert [event.count for event in reporter.due(REPEAT_MS + 2, everything=True)] == [2], "the end waits for no minute"


def test_a_component_that_is_forgotten_is_told_first() -> None:
    reporter = Reporter()
    reporter.failed(0, "a", "x")
    reporter.failed(0, "a", "x", count=7)
    events = [event for number in range(KEYS_MAX) for event in reporter.failed(0, f"c{number}", "x")]
    assert [event.count for event in events if event.component == "a"] == [7]


def test_what_comes_after_the_end_is_kept_within_a_bound() -> None:
    reporter = Reporter()
    for number in range(LATE_MAX + 5):
        for event in reporter.failed(0, f"c{number}", "x"):
            reporter.keep_late(event)
    late = reporter.take_late()
    assert [len(late), late[0].component, reporter.take_late()] == [LATE_MAX, "c5", []]


@given(st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=200))
def test_at_most_one_a_minute_and_no_failure_forgotten(steps: list[tuple[int, bool]]) -> None:
    reporter, now, noted, told, at = Reporter(), 0, 0, 0, []
    for pause, fails in steps:
        now += pause
        events = reporter.failed(now, "a", "x") if fails else reporter.recovered(now, "a")
        noted += fails
        told += sum(event.count for event in (*events, *reporter.due(now)) if event.status == "failed")
        at += [now] if any(event.status == "ok" for event in events) else []
    assert all(b - a >= REPEAT_MS for a, b in pairwise(at)), "a recovery belongs to a failure that was told"
    final = reporter.due(now, everything=True)
    assert told + sum(event.count for event in final if event.status == "failed") == noted


def test_what_is_remembered_is_bounded() -> None:
    reporter = Reporter()
    for number in range(KEYS_MAX + 100):
        assert reporter.failed(0, f"c{number}", "x")
    assert len(reporter._told) == KEYS_MAX
