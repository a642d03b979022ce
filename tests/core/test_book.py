"""The book of alerts: what it is told and what time does, as stories of one label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.alerts import Code
from engine.core.book import AlertBook, Points
from engine.core.conditions import Level, Verdict, parse_condition
from engine.core.store import NEVER_MS
from engine.events import Transition


class Terms(msgspec.Struct, frozen=True):
    """A rule, as far as the book knows it."""

    name: str = "R"
    levels: tuple[Level, ...] = (Level(for_ms=300),)
    of: float = 1.0
    keep_firing_for_ms: int = 0
    hold_max_ms: int = 1_000
    on_missing: str = "hold"
    missing_for_ms: int = 0
    is_low: bool = False

    def alert_labels(self, series_labels: Mapping[str, str]) -> dict[str, str]:
        return {**series_labels, "alertname": self.name}

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        return {}


class Story:
    """One rule and some label sets, told what they are."""

    def __init__(self, terms: Terms, *, alerts_max: int = 10, places: int = 1) -> None:
        self.terms = terms
        self.verdict = Verdict(terms.levels)
        self.book = AlertBook([terms], [alerts_max])
        self.book.attach(0, self)
        self.book.add_places(0, places)

    def labels_of(self, slot: int) -> Mapping[str, str]:
        return {"slot": str(slot)}

    def values_at(self, slots: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.full(len(slots), np.nan)

    def tell(self, time_ms: int, *told: float | str) -> list[tuple[int, str, str]]:
        """A number is a measured value; a word is `unknown`, `missing`, `ended` or `false`. One for each place."""
        words = {"unknown": Code.UNKNOWN, "missing": Code.MISSING, "ended": Code.ENDED, "false": Code.FALSE}
        codes = [
            words[what] if isinstance(what, str) else int(self.verdict.codes(np.array([what]), None)[0])
            for what in told
        ]
        size = len(told)
        zeros = np.zeros(size, dtype=np.int64)
        values = np.array([np.nan if isinstance(what, str) else what for what in told])
        made = self.book.tell(
            Points(
                zeros,
                np.arange(size),
                zeros + time_ms,
                zeros + time_ms - 1,
                zeros,
                np.array(codes, dtype=np.int16),
                values,
                values,
                np.ones(size, dtype=np.bool_),
            )
        )
        return shown(made)

    def advance(self, time_ms: int) -> list[tuple[int, str, str]]:
        return shown(self.book.pass_time(time_ms))

    def due(self) -> int | None:
        rows = self.book.rows.taken()
        due = int(self.book.rows.due[rows].min()) if len(rows) else NEVER_MS
        return None if due == NEVER_MS else due


def shown(made: Sequence[tuple[object, ...]]) -> list[tuple[int, str, str]]:
    """(time, state with severity, reason)."""
    rows = []
    for output in made:
        one = output[-1]
        assert isinstance(one, Transition)
        rows.append((one.time_ms, f"{one.after} {one.severity}".strip(), one.reason))
    return rows


PENDING, FIRING, OVER = "pending", "firing", "inactive"


def test_it_fires_when_it_was_held_and_resolves_when_it_is_over() -> None:
    story = Story(Terms())
    assert story.tell(100, 1.0) == [(100, PENDING, "condition")]
    assert story.due() == 400
    assert story.advance(399) == []
    assert story.advance(1_000) == [(400, FIRING, "held")]
    assert story.tell(1_100, "false") == [(1_100, OVER, "recovered")]
    assert story.due() is None
    assert len(story.book.rows) == 0


def test_a_false_at_the_very_deadline_breaks_it_and_later_does_not() -> None:
    early, late = Story(Terms()), Story(Terms())
    early.tell(100, 1.0)
    late.tell(100, 1.0)
    assert early.tell(400, "false") == [(400, OVER, "recovered")]
    assert late.tell(401, "false") == [(400, FIRING, "held"), (401, OVER, "recovered")]


def test_unknown_stops_the_clock_and_what_was_known_counts() -> None:
    story = Story(Terms())
    story.tell(100, 1.0)
    assert story.tell(200, "unknown") == []
    assert story.due() == 1_200
    assert story.tell(900, 1.0) == []
    assert story.due() == 1_100
    assert story.advance(2_000) == [(1_100, FIRING, "held")]


@pytest.mark.parametrize(("before", "state"), [([(100, 1.0)], PENDING), ([(100, 1.0), (401, 1.0)], FIRING)])
def test_what_is_unknown_for_too_long_is_lost(before: list[tuple[int, float]], state: str) -> None:
    story = Story(Terms())
    for time_ms, value in before:
        story.tell(time_ms, value)
    story.tell(450 if state == FIRING else 200, "unknown")
    (lost,) = story.advance(10_000)
    assert lost == ((1_450 if state == FIRING else 1_200), OVER, "lost")


def test_under_count_the_clock_runs_on() -> None:
    story = Story(Terms(on_missing="count"))
    story.tell(100, 1.0)
    story.tell(200, "unknown")
    assert story.advance(900) == [(400, FIRING, "held")]
    assert story.advance(5_000) == [(1_200, OVER, "lost")]


def test_under_fire_missing_data_fires_as_the_same_alert_and_resolves_on_evidence() -> None:
    story = Story(Terms(on_missing="fire", missing_for_ms=500, hold_max_ms=100_000))
    assert story.tell(100, "false") == []
    assert story.tell(200, "unknown") == []
    assert (story.due(), len(story.book.shown())) == (700, 0)
    assert story.advance(5_000) == [(700, FIRING, "missing")]
    assert story.tell(6_000, "false") == [(6_000, OVER, "recovered")]


@pytest.mark.parametrize("value", [1.0, "false"])
def test_under_fire_data_that_returns_in_time_fires_nothing(value: float | str) -> None:
    story = Story(Terms(on_missing="fire", missing_for_ms=500))
    story.tell(200, "unknown")
    assert [state for _, state, _ in story.tell(699, value)] == ([PENDING] if value == 1.0 else [])
    assert story.advance(900) == []


def test_under_fire_a_pending_alert_fires_when_data_was_missing_for_long_enough() -> None:
    story = Story(Terms(on_missing="fire", missing_for_ms=500, hold_max_ms=2_000))
    story.tell(100, 1.0)
    story.tell(200, "unknown")
    assert story.advance(1_000) == [(700, FIRING, "missing")]
    assert story.advance(10_000) == [(2_200, OVER, "lost")]


def test_keeping_has_a_clock_of_its_own_and_a_return_need_not_serve_again() -> None:
    story = Story(Terms(keep_firing_for_ms=200))
    story.tell(100, 1.0)
    story.advance(400)
    assert story.tell(500, "false") == []
    assert story.due() == 700
    assert story.tell(600, 1.0) == []
    assert story.due() is None
    story.tell(650, "false")
    assert story.advance(10_000) == [(850, OVER, "recovered")]


# --- levels -------------------------------------------------------------------------------------------------

KAPACITOR = (
    Level(severity="info", when=parse_condition("> 60"), clear=parse_condition("< 50")),
    Level(severity="warning", when=parse_condition("> 70"), clear=parse_condition("< 60")),
    Level(severity="critical", when=parse_condition("> 80"), clear=parse_condition("< 70")),
)


def test_levels_step_down_through_what_is_not_clear() -> None:
    """Kapacitor's vector. At 62 it shows info, for it asks the conditions anew; here warning is not clear before 60."""
    story, seen = Story(Terms(levels=KAPACITOR)), []
    for at, value in enumerate([61, 73, 64, 85, 62, 56, 47]):
        story.tell(1_000 * at, float(value))
        (status,) = story.book.statuses(story.book.shown(), 1_000 * at) or (None,)
        seen.append(status.severity if status else "ok")
    assert seen == ["info", "warning", "warning", "critical", "warning", "info", "ok"]


def test_a_level_change_is_a_transition_of_the_same_alert() -> None:
    story = Story(Terms(levels=KAPACITOR))
    assert story.tell(0, 65.0) == [(0, "firing info", "condition")]
    assert story.tell(10, 90.0) == [(10, "firing critical", "level")]
    assert story.tell(20, 65.0) == [(20, "firing warning", "level")]
    assert story.tell(30, 10.0) == [(30, "inactive warning", "recovered")]
    assert story.book.counts.tolist() == [0]


LADDER = (Level(severity="warning", for_ms=100), Level(severity="critical", for_ms=300))


def test_a_ladder_by_duration_is_levels_without_when() -> None:
    story = Story(Terms(levels=LADDER))
    assert story.tell(0, 1.0) == [(0, PENDING, "condition")]
    assert story.advance(1_000) == [(100, "firing warning", "held"), (300, "firing critical", "level")]
    assert story.tell(1_100, "false") == [(1_100, "inactive critical", "recovered")]


def test_each_level_serves_its_own_time() -> None:
    levels = (
        Level(severity="warning", when=parse_condition("> 80"), for_ms=600, clear=parse_condition("< 75")),
        Level(severity="critical", when=parse_condition("> 90"), for_ms=300),
    )
    story = Story(Terms(levels=levels))
    story.tell(0, 85.0)
    assert story.tell(100, 95.0) == []
    assert story.advance(400) == [(400, "firing critical", "held")]
    assert story.tell(450, 85.0) == [(450, "firing warning", "level")]  # not clear, so it counts as set
    assert story.tell(500, 78.0) == []
    assert story.tell(550, 74.0) == [(550, "inactive warning", "recovered")]


def test_clear_never_affects_a_pending_run() -> None:
    levels = (Level(severity="w", when=parse_condition("> 80"), clear=parse_condition("< 75"), for_ms=300),)
    story = Story(Terms(levels=levels))
    story.tell(0, 85.0)
    assert story.tell(100, 78.0) == [(100, OVER, "recovered")]  # neither true nor clear: the run is broken all the same
    story.tell(200, 85.0)
    assert story.advance(500) == [(500, "firing w", "held")]
    assert story.tell(600, 78.0) == []
    assert story.tell(700, 74.0) == [(700, "inactive w", "recovered")]


def test_a_return_while_it_is_kept_restores_the_levels_that_were_set() -> None:
    levels = (
        Level(severity="w", when=parse_condition("> 1")),
        Level(severity="c", when=parse_condition("> 2"), for_ms=50),
    )
    story = Story(Terms(levels=levels, keep_firing_for_ms=200))
    story.tell(0, 3.0)
    assert story.advance(100) == [(50, "firing c", "level")]
    story.tell(110, 0.0)
    assert story.tell(150, 3.0) == []
    assert story.tell(160, 2.0) == [(160, "firing w", "level")]


# --- of -----------------------------------------------------------------------------------------------------


def test_of_needs_a_part_of_the_window_only_and_ends_when_the_share_is_gone() -> None:
    story = Story(Terms(of=0.9, levels=(Level(for_ms=100),)))
    assert story.tell(1_000, 1.0) == [(1_000, PENDING, "condition")]
    assert story.tell(1_050, "false") == []  # a short break is forgiven
    assert story.tell(1_055, 1.0) == []
    assert story.advance(1_094) == []
    assert story.advance(2_000) == [(1_095, FIRING, "held")]
    assert story.tell(2_100, "false") == []
    assert story.advance(3_000) == [(2_111, OVER, "recovered")]


def test_of_forgets_nothing_of_its_window_when_it_resolves() -> None:
    story = Story(Terms(of=0.5, levels=(Level(for_ms=100),)))
    story.tell(0, 1.0)
    assert story.advance(100) == [(50, FIRING, "held")]
    story.tell(100, "false")
    assert story.advance(151) == [(151, OVER, "recovered")]
    assert story.tell(160, 1.0) == [(160, PENDING, "condition")]  # 40 of the last 100 are true already
    assert story.advance(209) == []  # as much leaves as enters, until what was true has left
    assert story.advance(1_000) == [(210, FIRING, "held")]


def test_of_is_cleared_when_nothing_true_is_left_in_the_window() -> None:
    story = Story(Terms(of=0.9, levels=(Level(for_ms=100),)))
    story.tell(0, 1.0)
    assert story.tell(30, "false") == []
    assert story.advance(1_000) == [(130, OVER, "recovered")]
    assert len(story.book.rows) == 0


def test_of_counts_known_time_only() -> None:
    story = Story(Terms(of=0.5, levels=(Level(for_ms=100),), hold_max_ms=100_000))
    story.tell(0, 1.0)
    story.tell(30, "unknown")
    story.tell(5_030, 1.0)
    assert story.advance(10_000) == [(5_050, FIRING, "held")]
    blind = Story(Terms(of=0.5, levels=(Level(for_ms=100),)))
    blind.tell(0, 1.0)
    blind.book.blind(30, 1_030)
    assert blind.advance(10_000) == [(1_050, FIRING, "held")]


# --- limits -------------------------------------------------------------------------------------------------


def test_who_leaves_makes_room_in_the_same_instant_and_who_is_refused_is_asked_again() -> None:
    story = Story(Terms(levels=(Level(),)), alerts_max=2, places=4)
    assert [state for _, state, _ in story.tell(0, 1.0, 1.0, 1.0, "false")] == [FIRING, FIRING]
    assert story.book.take_refused() == [("R", 1)]
    assert sorted(state for _, state, _ in story.tell(10, "false", 1.0, 1.0, "false")) == [FIRING, OVER]
    assert story.book.counts.tolist() == [2]
    assert story.book.take_refused() == []


def test_rows_are_used_again() -> None:
    story = Story(Terms(levels=(Level(),)), alerts_max=1_000, places=300)
    for round_ in range(5):
        assert len(story.tell(20 * round_, *[1.0] * 300)) == 300
        assert len(story.tell(20 * round_ + 10, *["false"] * 300)) == 300
    assert len(story.book.rows) == 0
    assert len(story.book.rows.place) <= 512


# --- clocks -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=10))
def test_elapsed_is_the_time_in_which_it_was_known(spans: list[tuple[int, int]]) -> None:
    """Spans of (known, unknown) time; the clock counts the known ones only, and says when it will be due."""
    story = Story(Terms(levels=(Level(for_ms=10_000),), hold_max_ms=10**9))
    now = known = 0
    story.tell(0, 1.0)
    for running, standing in spans:
        now, known = now + running, known + running
        story.tell(now, "unknown")
        now += standing
        story.tell(now, 1.0)
    assert story.due() == now + 10_000 - known
    (status,) = story.book.statuses(story.book.shown(), now)
    assert status.elapsed_ms == known


@pytest.mark.parametrize(
    ("span", "due"),
    [((120, 150), 430), ((0, 100), 400), ((50, 130), 430), ((100, 101), 401)],
)
def test_a_blind_span_is_taken_out_of_the_running_clock(span: tuple[int, int], due: int) -> None:
    story = Story(Terms())
    story.tell(100, 1.0)
    story.book.blind(*span)
    assert story.due() == due


def test_a_blind_span_does_not_undo_what_was_due_before_it() -> None:
    story = Story(Terms())
    story.tell(100, 1.0)
    story.book.blind(400, 900)
    assert story.advance(2_000) == [(400, FIRING, "held")]


def test_a_blind_span_is_no_part_of_the_time_an_alert_is_unknown() -> None:
    story = Story(Terms())
    story.tell(100, 1.0)
    story.tell(110, "unknown")
    story.book.blind(120, 150)
    assert story.due() == 1_140
    story.tell(200, 1.0)
    assert story.due() == 490


@pytest.mark.parametrize(("to_ms", "lost_ms", "due_ms"), [(150, 1_150, 430), (125, 1_130, 425)])
def test_what_was_unknown_only_for_want_of_sight_is_counted_from_the_span_on(
    to_ms: int, lost_ms: int, due_ms: int
) -> None:
    story = Story(Terms())
    story.tell(100, 1.0)
    story.tell(130, "unknown")
    story.book.blind(120, to_ms)
    assert story.due() == lost_ms
    story.tell(150, 1.0)
    assert story.due() == due_ms
