"""The first failure is told at once, then one a minute for each reason, with the count (F118)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.report import KEYS_MAX, REPEAT_MS, Reporter


def test_the_first_is_told_the_next_counted_and_told_after_a_minute() -> None:
    reporter = Reporter()
    first = reporter.failed(0, "probe.x", "timeout", "no\nanswer")
    assert first is not None
    assert (first.time_ms, first.component, first.status, first.reason) == (0, "probe.x", "failed", "timeout")
    assert (first.message, first.count) == ("no\\nanswer", 1)
    assert [reporter.failed(t, "probe.x", "timeout") for t in (1_000, REPEAT_MS - 1)] == [None, None]
    again = reporter.failed(REPEAT_MS, "probe.x", "timeout")
    assert again is not None
    assert again.count == 3


def test_reasons_and_components_are_told_apart() -> None:
    reporter = Reporter()
    assert reporter.failed(0, "a", "x")
    assert reporter.failed(0, "a", "y")
    assert reporter.failed(0, "b", "x")


def test_recovery_is_told_only_where_the_failure_was() -> None:
    reporter = Reporter()
    assert reporter.recovered(0, "a") is None
    reporter.failed(0, "a", "x")
    told = reporter.recovered(1, "a")
    assert told is not None
    assert (told.status, told.reason) == ("ok", "recovered")
    assert reporter.recovered(2, "a") is None
    assert reporter.failed(3, "a", "x") is None, "a component that flaps is not told each time"
    assert reporter.recovered(4, "a") is None, "so its recovery is not, either"


@given(st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=200))
def test_at_most_one_a_minute_and_no_failure_forgotten(steps: list[tuple[int, bool]]) -> None:
    reporter, now, noted, told, at = Reporter(), 0, 0, 0, []
    for pause, fails in steps:
        now += pause
        event = reporter.failed(now, "a", "x") if fails else reporter.recovered(now, "a")
        noted += fails
        if event is not None and event.status == "failed":
            told += event.count
            at.append(now)
    assert all(b - a >= REPEAT_MS for a, b in pairwise(at))
    final = reporter.failed(now + REPEAT_MS, "a", "x")
    assert final is not None
    assert told + final.count == noted + 1


def test_what_is_remembered_is_bounded() -> None:
    reporter = Reporter()
    for number in range(KEYS_MAX + 100):
        assert reporter.failed(0, f"c{number}", "x") is not None
    assert len(reporter._told) == KEYS_MAX
