"""Blind time adds up, is recorded in few rows, and is one alert."""

from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Blind, Event, Sample
from engine.runtime.blindtime import (
    OPEN_MAX,
    PIECE_GAP_MS,
    QUIET_MS,
    REASONS,
    REASONS_MAX,
    RECORDED_MS_MAX,
    BlindAlert,
    BlindSeconds,
    SpanRecord,
)


def span(from_ms: int, to_ms: int, reason: str = "dropped", scope: str = "*") -> Blind:
    return Blind(to_ms, from_ms, to_ms, scope, reason)


# --- seconds ------------------------------------------------------------------------------------------------------


def test_each_instant_counts_once_for_each_reason() -> None:
    account = BlindSeconds()
    assert account.seconds() == dict.fromkeys(REASONS, 0.0)
    assert [account.add(s) for s in (span(0, 1_000), span(500, 2_000, scope="x"), span(1_000, 1_500))] == [
        1_000,
        1_000,
        0,
    ]
    assert account.add(span(1_500, 2_500, "loop_lag")) == 1_000
    seconds = account.seconds()
    assert (seconds["dropped"], seconds["loop_lag"]) == (2.0, 1.0)


def test_reasons_that_a_host_makes_up_are_bounded_f74() -> None:
    account = BlindSeconds()
    for number in range(500):
        account.add(span(number, number + 1, f"reason{number}"))
    seconds = account.seconds()
    assert len(seconds) <= REASONS_MAX + 1
    assert round(sum(seconds.values()), 3) == 0.5, "none is lost"


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=30))
def test_in_the_order_of_time_it_is_the_length_of_the_union(pairs: list[tuple[int, int]]) -> None:
    account = BlindSeconds()
    for begun, length in sorted(pairs):
        account.add(span(begun, begun + length))
    union = {at for begun, length in pairs for at in range(begun, begun + length)}
    assert account.seconds()["dropped"] * 1000 == pytest.approx(len(union))


# --- the record ---------------------------------------------------------------------------------------------------


def recorded(steps: list[tuple[int, list[Event]]]) -> list[Event]:
    record = SpanRecord()
    told = [event for now_ms, events in steps for event in record.take(events, now_ms)]
    return told + record.take([], steps[-1][0], everything=True)


def test_what_is_no_span_passes_as_it_is() -> None:
    record, events = SpanRecord(), list[Event]([Sample(1, "x", 1.0)])
    assert record.take(events, 1, has_spans=False) is events


def test_pieces_are_put_together_and_others_are_not_touched() -> None:
    steps: list[tuple[int, list[Event]]] = [
        (at, [span(at - 100, at), Sample(at, "x", 1.0), span(at - 7, at, "suspend")]) for at in range(100, 1_100, 100)
    ]
    told = recorded(steps)
    assert [e for e in told if isinstance(e, Blind) and e.reason == "dropped"] == [span(0, 1_000)]
    assert sum(isinstance(e, Sample) for e in told) == 10
    assert sum(isinstance(e, Blind) and e.reason == "suspend" for e in told) == 10


def test_a_span_is_recorded_once_it_does_not_go_on() -> None:
    record = SpanRecord()
    assert record.take([span(0, 100)], 100) == []
    assert record.take([], 100 + PIECE_GAP_MS, has_spans=False) == []
    assert record.take([], 101 + PIECE_GAP_MS, has_spans=False) == [span(0, 100)]
    assert record.take([], 10_000, has_spans=False) == []


def test_hours_are_a_row_a_minute() -> None:
    hours = 2 * 3_600_000
    told = recorded([(at, [span(at - 100, at, "offline", "probe.a")]) for at in range(100, hours + 1, 100)])
    assert len(told) == pytest.approx(hours / RECORDED_MS_MAX, abs=1)
    covered = sorted((e.from_ms, e.to_ms) for e in told if isinstance(e, Blind))
    assert covered[0][0] == 0
    assert covered[-1][1] == hours
    assert all(before[1] == after[0] for before, after in pairwise(covered))


def test_it_holds_few_spans_at_a_time() -> None:
    record = SpanRecord()
    told = record.take([span(0, 1, scope=f"s{n}") for n in range(10 * OPEN_MAX)], 1)
    assert len(told) == 9 * OPEN_MAX
    assert len(record.take([], 1, everything=True)) == OPEN_MAX


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 90_000), st.sampled_from("ab")), max_size=20))
def test_no_instant_is_lost_or_made_up(parts: list[tuple[int, int, str]]) -> None:
    spans = [span(begun, begun + length, scope=scope) for begun, length, scope in parts]
    told = recorded([(s.to_ms, [s]) for s in spans] or [(0, [])])
    for scope in "ab":
        given_ms = {at for s in spans if s.scope == scope for at in range(s.from_ms // 1_000, s.to_ms // 1_000)}
        told_ms = {
            at
            for s in told
            if isinstance(s, Blind) and s.scope == scope
            for at in range(s.from_ms // 1_000, s.to_ms // 1_000)
        }
        assert given_ms <= told_ms
        assert max((s.to_ms for s in spans if s.scope == scope), default=0) == max(
            (s.to_ms for s in told if isinstance(s, Blind) and s.scope == scope), default=0
        )


# --- the alert ----------------------------------------------------------------------------------------------------

T0 = 1_767_225_600_000


def test_it_fires_with_the_first_span_and_resolves_when_nothing_was_missed_for_a_minute() -> None:
    alert = BlindAlert(ZoneInfo("Asia/Tokyo"))
    assert alert.advance(T0) == []
    alert.note(span(T0 - 3_000, T0, "loop_lag"), 3_000, T0)
    (fired,) = alert.advance(T0)
    assert (fired.kind, fired.rule, fired.value, fired.active_since_ms) == ("firing", "LongwatchBlind", 3.0, T0 - 3_000)
    assert fired.labels == {"alertname": "LongwatchBlind", "severity": "warning"}
    assert fired.annotations["summary"] == (
        "not everything was seen for 3s, from 2026-01-01 08:59:57 JST to 2026-01-01 09:00:00 JST (loop_lag 3s)"
    )
    assert alert.advance(T0 + 1_000) == []
    alert.note(span(T0 + 30_000, T0 + 32_000, "suspend"), 2_000, T0 + 32_000)
    assert alert.advance(T0 + QUIET_MS) == [], "not a minute since the last"
    status = alert.status(T0 + QUIET_MS)
    assert status is not None
    assert (status.state, status.elapsed_ms, status.value) == ("firing", QUIET_MS, 5.0)
    (resolved,) = alert.advance(T0 + 32_000 + QUIET_MS)
    assert (resolved.kind, resolved.reason, resolved.value) == ("resolved", "recovered", 5.0)
    assert "(loop_lag 3s, suspend 2s)" in resolved.annotations["summary"]
    assert alert.status(T0 + 99_000) is None
    assert alert.transitions == 2


def test_while_something_is_still_not_seen_it_fires() -> None:
    alert = BlindAlert()
    alert.note(span(T0, T0 + 10, "offline", "probe.a"), 10, T0 + 10)
    (fired,) = alert.advance(T0 + 10, blind=True)
    assert fired.annotations["summary"] == "not everything is seen since 2026-01-01 00:00:00 UTC (offline 10ms)"
    assert alert.advance(T0 + 10 * QUIET_MS, blind=True) == []
    (ended,) = alert.advance(T0 + 10 * QUIET_MS, blind=True, end=True)
    assert (ended.kind, ended.reason) == ("resolved", "ended")


def test_a_second_episode_begins_anew() -> None:
    alert = BlindAlert()
    alert.note(span(T0, T0 + 10, "suspend"), 10, T0 + 10)
    assert [t.kind for t in alert.advance(T0 + 10)] == ["firing"]
    assert [t.kind for t in alert.advance(T0 + 10 + QUIET_MS)] == ["resolved"]
    alert.note(span(T0 + 200_000, T0 + 200_500, "dropped"), 500, T0 + 200_500)
    (fired,) = alert.advance(T0 + 200_500)
    assert (fired.value, fired.active_since_ms) == (0.5, T0 + 200_000)
    assert "suspend" not in fired.annotations["summary"]


def test_at_the_end_what_begins_ends_too() -> None:
    alert = BlindAlert()
    alert.note(span(T0, T0 + 10, "suspend"), 10, T0 + 10)
    assert [(t.kind, t.reason) for t in alert.advance(T0 + 10, end=True)] == [
        ("firing", "condition"),
        ("resolved", "recovered"),
    ]
    assert alert.advance(T0 + 11, end=True) == []


def test_a_clock_that_is_set_back_is_told_in_other_words() -> None:
    alert = BlindAlert()
    alert.note(span(T0, T0, "clock_step"), 0, T0)
    (fired,) = alert.advance(T0)
    assert fired.annotations["summary"].startswith(
        "the wall clock was set back at 2026-01-01 00:00:00 UTC; nothing was missed"
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 50_000), st.integers(0, 200_000), st.booleans(), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
def test_it_alternates_and_ends(steps: list[tuple[int, int, bool, bool]]) -> None:
    alert, now_ms, told, left_ms = BlindAlert(), T0, [], 0
    for length_ms, pause_ms, blind, noted in steps:
        now_ms += length_ms
        if noted:
            alert.note(span(now_ms - length_ms, now_ms, "dropped"), length_ms, now_ms)
            left_ms += length_ms
        told += alert.advance(now_ms, blind=blind)
        now_ms += pause_ms
        told += alert.advance(now_ms, blind=blind)
    told += alert.advance(now_ms, end=True)
    assert [t.kind for t in told] == ["firing", "resolved"] * (len(told) // 2)
    assert round(sum(t.value for t in told if t.kind == "resolved") * 1000) == left_ms
    assert [t.time_ms for t in told] == sorted(t.time_ms for t in told)


def test_a_span_put_together_keeps_the_series_that_its_probe_stands_for() -> None:
    record = SpanRecord()
    pieces: list[Event] = [Blind(at, at - 1_000, at, "probe.shop", "offline", ("up",)) for at in (1_000, 2_000)]
    assert record.take(pieces, 2_000) == []
    assert record.take([], 2_000, everything=True) == [Blind(2_000, 0, 2_000, "probe.shop", "offline", ("up",))]
