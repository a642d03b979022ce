"""Laws of alerts as properties, and what pauses do as a table: four `on_missing`, blind or not."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import OnMissing, OnRestart
from engine.events import Blind, Transition
from tests.core.reference import Reference, Spec, SpecLevel
from tests.core.test_reference import (
    DOWN,
    START,
    Step,
    any_spec,
    by_instance,
    compiled,
    durations,
    feed_reference,
    play,
    sample,
    specs,
    stories,
    told,
)

pytestmark = pytest.mark.timeout(900)  # the deep profile takes its minutes


def made_by(spec: Spec, story: list[Step]) -> list[Transition]:
    return play(Core([compiled(spec)]), story)


# --- laws ---------------------------------------------------------------------------------------------------


@given(specs(["a"], ["hold", "reset"], (1.0,)), stories())
def test_nothing_fires_without_for_of_known_true_time(spec: Spec, story: list[Step]) -> None:
    reference = Reference(spec)
    feed_reference(reference, story)
    levels = {level.severity: (number, level.for_ms) for number, level in enumerate(spec.levels)}
    for change in made_by(spec, story):
        if (change.before, change.after) == ("pending", "firing"):
            alert = reference.alerts[change.labels["i"]]
            number, left = levels[change.severity]
            for ms in range(change.time_ms - 1, START - 100, -1):
                if left == 0 or not (ms in reference.unseen or ms in alert.paused or alert.truths[ms][number]):
                    break
                left -= ms not in reference.unseen and ms not in alert.paused
            assert left == 0


@given(any_spec, stories())
def test_states_follow_on_each_other(spec: Spec, story: list[Step]) -> None:
    for name, rows in by_instance([told(change) for change in made_by(spec, story)]).items():
        states = ["inactive", *(after for _, _, _, after, _, _ in rows)]
        assert [before for _, _, before, _, _, _ in rows] == states[:-1], name
        for (_, _, before, after, severity, reason), last in zip(rows, [None, *rows], strict=False):
            assert before != after or (reason == "level" and last is not None and severity != last[4])


@given(any_spec, stories())
def test_nothing_happens_in_a_blind_span(spec: Spec, story: list[Step]) -> None:
    spans = [step for step in story if isinstance(step, Blind)]
    for change in made_by(spec, story):
        assert not [span for span in spans if span.from_ms < change.time_ms < span.to_ms]


@given(any_spec, stories())
def test_a_hold_ends(spec: Spec, story: list[Step]) -> None:
    """A sample of each series with its interval, and then none: whatever there is ends."""
    spec = dataclasses.replace(spec, hold_max_ms=12)
    core, last = Core([compiled(spec)]), story[-1]
    assert isinstance(last, int)
    final = [sample(last + 1, metric, instance, 2.0, 1) for metric in "ab" for instance in "xy"]
    play(core, [*story, *final, last + 1 + 4 + 12 + 3])
    core.advance(last + 100)
    assert core.alerts() == []


@given(any_spec, stories(), st.sampled_from([-7, 3_600_000, -3_600_000, 1_700_000_000_000]))
def test_the_offset_of_the_wall_clock_changes_nothing(spec: Spec, story: list[Step], by_ms: int) -> None:
    by_ms = max(by_ms, -START + 20)
    moved = [(row[0] + by_ms, *row[1:]) for row in map(told, made_by(spec, story))]
    assert list(map(told, made_by(spec, [shifted(step, by_ms) for step in story]))) == moved


def shifted(step: Step, by_ms: int) -> Step:
    if isinstance(step, int):
        return step + by_ms
    if isinstance(step, Blind):
        return Blind(step.time_ms + by_ms, step.from_ms + by_ms, step.to_ms + by_ms)
    return msgspec.structs.replace(step, time_ms=step.time_ms + by_ms)


STRIDE_MS = 16


@given(st.lists(st.sampled_from([0.0, 2.0]), min_size=1, max_size=12), durations, durations, st.integers(0, 15))
def test_a_continuous_rule_is_the_limit_of_ever_finer_grids(
    values: list[float], for_ms: int, keep_ms: int, phase_ms: int
) -> None:
    """The finer the grid, the nearer: each transition comes less than two intervals later, at 1 ms none."""
    story: list[Step] = [
        sample(START + phase_ms + number * STRIDE_MS, "a", "x", value, 0) for number, value in enumerate(values)
    ]
    end = START + (len(values) + 2) * STRIDE_MS
    exact = [told(one)[::2] for one in made_by(one_level(for_ms, keep_ms), [*story, end])]
    for interval_ms in (8, 4, 2, 1):
        rule = GridRule(kind="alert", name="R", plan=compile_query("a > 1"), for_ms=for_ms, keep_firing_for_ms=keep_ms)
        core = Core([], groups=[GridGroup(name="g", rules=(rule,), interval_ms=interval_ms)])
        ticks = [step for step in story for step in (step.time_ms - 1, step)]  # type: ignore[union-attr]
        grid = [told(one)[::2] for one in play(core, [*ticks, end])]
        assert [row[1:] for row in grid] == [row[1:] for row in exact]
        delays_ms = [late[0] - on_time[0] for late, on_time in zip(grid, exact, strict=True)]
        assert all(0 <= delay_ms <= 2 * (interval_ms - 1) for delay_ms in delays_ms)


def one_level(for_ms: int, keep_ms: int = 0, on_missing: OnMissing = "hold") -> Spec:
    return Spec("a", (SpecLevel("", (">", 1.0), None, for_ms),), 1.0, keep_ms, on_missing, 6, 20)


# --- pauses, as a table -------------------------------------------------------------------------------------
# for = 10, stale after 3 ms, missing_for = 6, hold_max = 20. Samples at 0, 1 and 2, then silence: stale at 6.

AWAY = [sample(START + ms, "a", "x", 2.0, 1) for ms in range(3)]
BACK = [sample(START + ms, "a", "x", 2.0, 1) for ms in range(16, 30)]


def blind(from_ms: int, to_ms: int) -> list[Step]:
    return [START + from_ms, Blind(START + to_ms, START + from_ms, START + to_ms)]


TWO = [*blind(8, 11), Blind(START + 13, START + 9, START + 13)]
"""Two spans that overlap, within the silence."""
ENTERING = blind(4, 9)
"""It begins while the data is fresh: stale at 11 then."""

PAUSES: dict[tuple[OnMissing, str], tuple[list[Step], list[tuple[int, str, str]]]] = {
    ("hold", "seeing"): ([*AWAY, *BACK], [(0, "pending", "condition"), (20, "firing", "held")]),
    ("hold", "two blind spans"): ([*AWAY, *TWO, *BACK], [(0, "pending", "condition"), (20, "firing", "held")]),
    ("hold", "blind before stale"): ([*AWAY, *ENTERING, *BACK], [(0, "pending", "condition"), (20, "firing", "held")]),
    ("hold", "open"): ([*AWAY, START + 25], [(0, "pending", "condition")]),
    ("hold", "open, then lost"): ([*AWAY, START + 26], [(0, "pending", "condition"), (26, "inactive", "lost")]),
    ("hold", "open and blind"): ([*AWAY, *TWO, START + 31], [(0, "pending", "condition"), (31, "inactive", "lost")]),
    ("reset", "seeing"): (
        [*AWAY, *BACK],
        [(0, "pending", "condition"), (6, "inactive", "missing"), (16, "pending", "condition"), (26, "firing", "held")],
    ),
    ("reset", "two blind spans"): (
        [*AWAY, *TWO, *BACK],
        [(0, "pending", "condition"), (6, "inactive", "missing"), (16, "pending", "condition"), (26, "firing", "held")],
    ),
    ("reset", "blind before stale"): (
        [*AWAY, *ENTERING, *BACK],
        [
            (0, "pending", "condition"),
            (11, "inactive", "missing"),
            (16, "pending", "condition"),
            (26, "firing", "held"),
        ],
    ),
    ("reset", "open"): ([*AWAY, START + 25], [(0, "pending", "condition"), (6, "inactive", "missing")]),
    ("count", "seeing"): ([*AWAY, *BACK], [(0, "pending", "condition"), (10, "firing", "held")]),
    ("count", "two blind spans"): ([*AWAY, *TWO, *BACK], [(0, "pending", "condition"), (15, "firing", "held")]),
    ("count", "blind before stale"): ([*AWAY, *ENTERING, *BACK], [(0, "pending", "condition"), (15, "firing", "held")]),
    ("count", "open"): (
        [*AWAY, START + 40],
        [(0, "pending", "condition"), (10, "firing", "held"), (26, "inactive", "lost")],
    ),
    ("fire", "seeing"): ([*AWAY, *BACK], [(0, "pending", "condition"), (12, "firing", "missing")]),
    ("fire", "two blind spans"): ([*AWAY, *TWO, START + 18], [(0, "pending", "condition"), (17, "firing", "missing")]),
    ("fire", "two blind spans, and back in time"): (
        [*AWAY, *TWO, *BACK],
        [(0, "pending", "condition"), (20, "firing", "held")],
    ),
    ("fire", "open"): (
        [*AWAY, START + 40],
        [(0, "pending", "condition"), (12, "firing", "missing"), (26, "inactive", "lost")],
    ),
}


@pytest.mark.parametrize("case", PAUSES, ids=": ".join)
def test_what_a_pause_does(case: tuple[OnMissing, str]) -> None:
    """F72, F73: a gap pauses, resets or counts by policy, and fires only where that is asked for."""
    story, expected = PAUSES[case]
    spec = one_level(10, on_missing=case[0])
    reference = Reference(spec)
    feed_reference(reference, story)
    core = [told(one) for one in made_by(spec, story)]
    assert core == reference.told
    assert [(row[0] - START, row[3], row[5]) for row in core] == expected


# --- restarts, as a table -----------------------------------------------------------------------------------
# The same rule. Samples at 0, 1 and 2; down from 8 to 28; samples from then on. Stale at 6, or at 9 if blind.

RESTARTS: dict[tuple[OnMissing, str], tuple[int, int, int]] = {
    # when it first fires under pause, count and reset
    ("hold", "seeing"): (32, 38, 38),  # 6 ms had run; where all clocks run on, it is lost at 26
    ("reset", "seeing"): (38, 38, 38),
    ("count", "seeing"): (30, 10, 38),
    ("fire", "seeing"): (32, 12, 38),  # 12: missing since 6
    ("hold", "two blind spans"): (33, 13, 38),  # fresh as it went down, 5 ms had run
    ("reset", "two blind spans"): (33, 13, 38),
    ("count", "two blind spans"): (33, 13, 38),
    ("fire", "two blind spans"): (33, 13, 38),
}
_OVERLAPPING: list[Step] = [Blind(START + 5, START + 3, START + 5), Blind(START + 6, START + 4, START + 6)]


@pytest.mark.parametrize("number", range(3), ids=["pause", "count", "reset"])
@pytest.mark.parametrize("kept", ["snapshot", "rows"])
@pytest.mark.parametrize("case", RESTARTS, ids=": ".join)
def test_what_a_restart_does_to_a_pause(case: tuple[OnMissing, str], number: int, kept: str) -> None:
    how: OnRestart = ("pause", "count", "reset")[number]
    rules = [msgspec.structs.replace(compiled(one_level(10, on_missing=case[0])), on_restart=how)]
    core, again = Core(rules), Core(rules)
    spans = _OVERLAPPING if case[1] != "seeing" else []
    assert play(core, [*AWAY, *spans, START + 8])[0].after == "pending"
    if kept == "snapshot":
        again.restore(core.snapshot(), START + 28)
    else:
        rows = [(key, text, row) for key, text, row in core.changed_alerts(100) if row is not None]
        assert again.take_alerts(rows, START + 8, START + 28) == []
    back: list[Step] = [sample(START + ms, "a", "x", 2.0, 1) for ms in range(28, 45)]
    made = play(again, [START + 27, *back])
    assert next(one.time_ms - START for one in made if one.after == "firing") == RESTARTS[case][number]


# --- a crash loop (pint#966): each failed scrape takes away what the successful one before it showed --------


def crash_loop(rounds: int) -> list[Step]:
    """A target that answers every second scrape, and says then that it is not ready."""
    return [
        sample(START + at, "a", "x", DOWN if number % 2 else 2.0, 1)
        for number, at in enumerate(range(0, 2 * rounds, 1))
    ]


@pytest.mark.parametrize(("on_missing", "fires"), [("hold", True), ("count", True), ("fire", True), ("reset", False)])
def test_a_target_in_a_crash_loop_is_found(on_missing: OnMissing, fires: bool) -> None:
    """Under `reset`, as in Prometheus, every failed scrape breaks `for`, and nobody is ever told."""
    states = [one.after for one in made_by(one_level(10, on_missing=on_missing), crash_loop(20))]
    assert ("firing" in states) is fires


def test_up_in_a_crash_loop_is_found_by_its_share() -> None:
    """`up` itself is 0 and 1 in turn, each of them evidence: half of the time is what there is to ask for."""
    story: list[Step] = [sample(START + ms, "a", "x", 2.0 if ms % 2 else 0.0, 1) for ms in range(40)]
    assert not [one for one in made_by(one_level(10), story) if one.after == "firing"]
    found = made_by(dataclasses.replace(one_level(10), of=0.5), story)
    assert [one.time_ms - START for one in found if one.after == "firing"] == [10]


# --- Prometheus' own tables ---------------------------------------------------------------------------------


def test_prometheus_keep_firing_for() -> None:
    """TestKeepFiringFor: 75, 85, 70, 70, 10, 10 a minute apart; `for` and `keep_firing_for` of one minute."""
    story: list[Step] = [sample(START + 60 * n, "a", "x", v, 60) for n, v in enumerate([75.0, 85, 70, 70, 10, 10])]
    spec = Spec("a", (SpecLevel("", (">", 50.0), None, 60),), keep_ms=60)
    assert [(one.time_ms - START, one.after) for one in made_by(spec, [*story, START + 301])] == [
        (0, "pending"),
        (60, "firing"),
        (300, "inactive"),
    ]


def test_prometheus_pending_and_keep_firing_for() -> None:
    """TestPendingAndKeepFiringFor: it does not keep what never fired."""
    story: list[Step] = [sample(START, "a", "x", 75.0, 60), sample(START + 60, "a", "x", 10.0, 60)]
    spec = Spec("a", (SpecLevel("", (">", 50.0), None, 120),), keep_ms=60)
    assert [(one.time_ms - START, one.after) for one in made_by(spec, story)] == [(0, "pending"), (60, "inactive")]


# --- vmalert's ----------------------------------------------------------------------------------------------


def test_vmalert_an_alert_that_matches_again_is_pending_from_then_on() -> None:
    """It takes the inactive instance of the last 15 minutes again, with `ActiveAt` of now; so does a new alert here."""
    story: list[Step] = [sample(START + ms, "a", "x", value, 60) for ms, value in [(0, 2.0), (20, 0.0), (50, 2.0)]]
    made = made_by(one_level(10), [*story, START + 60])
    assert [(one.time_ms - START, one.active_since_ms - START, one.after) for one in made] == [
        (0, 0, "pending"),
        (10, 0, "firing"),
        (20, 0, "inactive"),
        (50, 50, "pending"),
        (60, 50, "firing"),
    ]


def test_vmalert_keep_firing_for_ends_when_it_is_reached() -> None:
    story: list[Step] = [sample(START, "a", "x", 2.0, 60), sample(START + 5, "a", "x", 0.0, 60)]
    assert [one.after for one in made_by(one_level(0, 20), [*story, START + 24])] == ["firing"]
    assert [one.time_ms - START for one in made_by(one_level(0, 20), [*story, START + 25])] == [0, 25]


def test_vmalert_a_gap_longer_than_the_interval_is_no_new_beginning_here() -> None:
    """Its replay begins a pending alert anew over any such gap; known time counts here."""
    story: list[Step] = [sample(START + ms, "a", "x", 2.0, 1) for ms in (0, 3, 9, 10, 13, 16)]
    made = made_by(one_level(10), story)
    assert [(one.time_ms - START, one.after) for one in made] == [(0, "pending"), (12, "firing")]
