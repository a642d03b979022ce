"""The alert table: every row, every gap, and the laws above it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.alerts import TABLE, Action, Alert, Clock, Input, Phase, table_as_mermaid
from engine.errors import StateError

FOR, KEEP, HOLD = 300, 60, 1_000
UNDEFINED = [pair for pair in itertools.product(Phase, Input) if pair not in TABLE]


def alert(phase: Phase, *, now: int = 100) -> Alert:
    """An alert in a phase that it entered at `now`, reached by steps of the table alone."""
    made = Alert({"alertname": "R"}, now)
    for given_input in {
        Phase.INACTIVE: [],
        Phase.PENDING: [Input.TRUE],
        Phase.FIRING: [Input.TRUE, Input.DUE],
        Phase.KEEPING: [Input.TRUE, Input.DUE, Input.FALSE],
    }[phase]:
        made.step(given_input, now)
    assert made.phase is phase
    return made


@pytest.mark.parametrize(("phase", "given_input"), TABLE, ids=lambda part: part.name)
def test_every_row(phase: Phase, given_input: Input) -> None:
    before = alert(phase)
    after, action = TABLE[phase, given_input]
    clock = before.clock
    before.step(given_input, 150)
    assert before.phase is after
    assert before.active_since_ms == 100
    match action:
        case Action.START:
            assert before.clock == Clock(150)
        case Action.STOP:
            assert before.clock is None
        case Action.PAUSE:
            assert before.clock is clock
            assert clock is None or clock.paused_at == 150
        case Action.RESUME | Action.NOTHING:
            assert before.clock is clock
            assert clock is None or clock.paused_at is None


@pytest.mark.parametrize(("phase", "given_input"), UNDEFINED, ids=lambda part: part.name)
def test_every_other_pair_is_a_bug(phase: Phase, given_input: Input) -> None:
    before = alert(phase)
    with pytest.raises(StateError, match=f"{phase.name} can't be given {given_input.name}"):
        before.step(given_input, 150)
    assert before.phase is phase


def test_the_undefined_pairs_are_these() -> None:
    assert set(UNDEFINED) == {
        (Phase.INACTIVE, Input.DUE),
        (Phase.INACTIVE, Input.LOST),
        (Phase.FIRING, Input.DUE),
    }


def test_law_1_only_true_creates() -> None:
    assert {given_input for (phase, given_input), (after, _) in TABLE.items() if not phase and after} == {Input.TRUE}


def test_law_3_people_see_keeping_as_firing() -> None:
    assert [phase.state for phase in Phase] == ["inactive", "pending", "firing", "firing"]


def test_law_4_unknown_changes_no_phase_and_only_pauses() -> None:
    for phase in Phase:
        after, action = TABLE[phase, Input.UNKNOWN]
        assert after is phase
        assert action in (Action.PAUSE, Action.NOTHING)


def test_law_5_missing_and_ended_act_as_false() -> None:
    for phase in Phase:
        assert TABLE[phase, Input.MISSING] == TABLE[phase, Input.ENDED] == TABLE[phase, Input.FALSE]


def test_nothing_but_known_time_resolves_a_firing_alert() -> None:
    ways = {given_input for (phase, given_input), (after, _) in TABLE.items() if phase >= Phase.FIRING and not after}
    assert ways == {Input.DUE, Input.LOST}


def test_a_step_that_changes_nothing_says_so_and_keeps_the_version() -> None:
    pending = alert(Phase.PENDING)
    version = pending.version
    assert not pending.step(Input.TRUE, 110)
    assert pending.version == version
    assert pending.step(Input.UNKNOWN, 120)
    assert not pending.step(Input.UNKNOWN, 130)
    assert pending.next_input(FOR, KEEP, HOLD) == (120 + HOLD, Input.LOST)
    assert pending.step(Input.TRUE, 140)
    assert pending.next_input(FOR, KEEP, HOLD) == (100 + FOR + 20, Input.DUE)
    assert pending.version == version + 2
    assert pending.stepped_ms == 140


def test_fired_at_is_when_it_began_to_fire() -> None:
    firing = alert(Phase.PENDING)
    firing.step(Input.DUE, 400)
    assert firing.fired_ms == 400
    firing.step(Input.FALSE, 410)
    firing.step(Input.TRUE, 420)
    assert (firing.phase, firing.fired_ms, firing.active_since_ms) == (Phase.FIRING, 400, 100)


@pytest.mark.parametrize(
    ("phase", "then", "expected"),
    [
        (Phase.INACTIVE, None, None),
        (Phase.PENDING, None, (400, Input.DUE)),
        (Phase.FIRING, None, None),
        (Phase.KEEPING, None, (160, Input.DUE)),
        (Phase.PENDING, Input.UNKNOWN, (1_120, Input.LOST)),
        (Phase.FIRING, Input.UNKNOWN, (1_120, Input.LOST)),
        (Phase.KEEPING, Input.UNKNOWN, (1_120, Input.LOST)),
    ],
)
def test_what_time_alone_will_do(phase: Phase, then: Input | None, expected: tuple[int, Input] | None) -> None:
    one = alert(phase)
    if then is not None:
        one.step(then, 120)
    assert one.next_input(FOR, KEEP, HOLD) == expected


# --- clocks ---------------------------------------------------------------------------------------


def test_a_clock_counts_what_has_elapsed() -> None:
    assert Clock(100).elapsed(150) == 50
    assert Clock(100, paused=20).elapsed(150) == 30
    assert Clock(100, paused=20, paused_at=140).elapsed(1_000) == 20
    assert Clock(100, paused=20).reaches(300) == 420
    assert Clock(100, paused=20, paused_at=140).reaches(300) is None


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=10), st.integers(0, 500))
def test_elapsed_is_the_time_in_which_it_ran(spans: list[tuple[int, int]], length: int) -> None:
    """Spans of (known, unknown) time; the clock counts the known ones only, and says when it will be due."""
    pending, now, known = alert(Phase.PENDING, now=0), 0, 0
    for running, standing in spans:
        now += running
        known += running
        pending.step(Input.UNKNOWN, now)
        now += standing
        pending.step(Input.TRUE, now)
    assert pending.clock is not None
    assert pending.clock.elapsed(now) == known
    assert pending.clock.reaches(length) == now + length - known


def test_a_blind_span_is_taken_out_of_the_running_clock() -> None:
    pending = alert(Phase.PENDING)
    pending.skip(120, 150)
    assert pending.next_input(FOR, KEEP, HOLD) == (430, Input.DUE)
    pending.skip(0, 100)  # before the clock began
    assert pending.next_input(FOR, KEEP, HOLD) == (430, Input.DUE)


def test_only_what_lies_after_the_start_of_the_clock_is_taken_out() -> None:
    pending = alert(Phase.PENDING)
    pending.skip(50, 130)
    assert pending.next_input(FOR, KEEP, HOLD) == (430, Input.DUE)


def test_a_blind_span_is_no_part_of_the_time_an_alert_is_unknown() -> None:
    firing, pending = alert(Phase.FIRING), alert(Phase.PENDING)
    for one in (firing, pending):
        one.step(Input.UNKNOWN, 110)
        one.skip(120, 150)
        assert one.next_input(FOR, KEEP, HOLD) == (1_140, Input.LOST)
    pending.step(Input.TRUE, 200)
    assert pending.next_input(FOR, KEEP, HOLD) == (490, Input.DUE)


def test_what_was_unknown_only_for_want_of_sight_is_counted_from_the_span_on() -> None:
    pending = alert(Phase.PENDING)
    pending.step(Input.UNKNOWN, 130)
    pending.skip(120, 150)
    assert pending.next_input(FOR, KEEP, HOLD) == (1_150, Input.LOST)
    pending.step(Input.TRUE, 150)
    assert pending.next_input(FOR, KEEP, HOLD) == (430, Input.DUE)


def test_the_diagram_has_every_change_of_phase() -> None:
    diagram = table_as_mermaid()
    assert diagram.startswith("stateDiagram-v2\n    [*] --> inactive\n")
    for (phase, given_input), (after, _) in TABLE.items():
        arrow = f"{phase.name.lower()} --> {after.name.lower()}: "
        lines = [line.strip() for line in diagram.splitlines() if line.strip().startswith(arrow)]
        if phase is after:
            assert lines == []
        else:
            assert [given_input.value in line.removeprefix(arrow).split(", ") for line in lines] == [True]
