"""The alert table: every row, every gap, and the laws above it."""

import itertools

import numpy as np
import pytest

from engine.core.alerts import LEVELS_MAX, TABLE, Code, Given, Phase, next_phases, table_as_mermaid
from engine.errors import StateError

UNDEFINED = [pair for pair in itertools.product(Phase, Given) if pair not in TABLE]


def step(phase: Phase, given: Given) -> Phase:
    return Phase(int(next_phases(np.array([phase], dtype=np.int8), np.array([given], dtype=np.int8))[0]))


@pytest.mark.parametrize(("phase", "given"), TABLE, ids=lambda part: part.name)
def test_every_row(phase: Phase, given: Given) -> None:
    assert step(phase, given) is TABLE[phase, given]


@pytest.mark.parametrize(("phase", "given"), UNDEFINED, ids=lambda part: part.name)
def test_every_other_pair_is_a_bug(phase: Phase, given: Given) -> None:
    with pytest.raises(StateError, match=f"{phase.name} can't be given {given.name}"):
        step(phase, given)


def test_one_undefined_step_among_many_is_found() -> None:
    phases = np.array([Phase.PENDING, Phase.FIRING, Phase.PENDING], dtype=np.int8)
    with pytest.raises(StateError, match="FIRING can't be given KEPT"):
        next_phases(phases, np.array([Given.HELD, Given.KEPT, Given.IDLE], dtype=np.int8))


def test_the_undefined_pairs_are_these() -> None:
    assert set(UNDEFINED) == {
        (Phase.INACTIVE, Given.KEPT),
        (Phase.PENDING, Given.KEPT),
        (Phase.FIRING, Given.RUNNING),
        (Phase.FIRING, Given.KEPT),
        (Phase.KEEPING, Given.RUNNING),
    }


def test_law_1_only_a_condition_begins_an_alert() -> None:
    assert {given for (phase, given), after in TABLE.items() if not phase and after} == {Given.RUNNING, Given.HELD}


def test_law_3_people_see_keeping_as_firing() -> None:
    assert [phase.state for phase in Phase] == ["inactive", "pending", "firing", "firing"]


def test_law_4_unknown_changes_no_phase() -> None:
    assert all(TABLE[phase, Given.UNKNOWN] is phase for phase in Phase)


def test_nothing_but_known_time_resolves_a_firing_alert() -> None:
    ways = {given for (phase, given), after in TABLE.items() if phase >= Phase.FIRING and not after}
    assert ways == {Given.KEPT, Given.LOST}


def test_codes_tell_every_condition_apart() -> None:
    assert Code.FALSE & Code.WHENS == 0
    assert Code.FALSE >> 8 == Code.WHENS == 2**LEVELS_MAX - 1
    assert (Code.TRUE & Code.WHENS, Code.TRUE & Code.CLEAR) == (1, 0)
    assert 0 < Code.TRUE < Code.FALSE <= np.iinfo(np.int16).max
    assert len({Code.UNKNOWN, Code.MISSING, Code.ENDED, Code.REFUSED}) == 4
    assert max(Code.UNKNOWN, Code.MISSING, Code.ENDED, Code.REFUSED) < 0


def test_the_diagram_has_every_change_of_phase() -> None:
    diagram = table_as_mermaid()
    assert diagram.startswith("stateDiagram-v2\n    [*] --> inactive\n")
    for (phase, given), after in TABLE.items():
        arrow = f"{phase.name.lower()} --> {after.name.lower()}: "
        lines = [line.strip() for line in diagram.splitlines() if line.strip().startswith(arrow)]
        if phase is after:
            assert lines == []
        else:
            assert [given.name.lower() in line.removeprefix(arrow).split(", ") for line in lines] == [True]
