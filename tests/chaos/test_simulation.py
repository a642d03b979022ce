"""Days of a whole engine in virtual time, with receivers, a disk and a process that fail as a seed says.

I1, I2, I4, I5, I6, I7: every receiver has got exactly what the rules say over what was measured, in order, again only
with the same id and body, and the outbox is empty but for what was left to a person (`model`, `reference`,
`sim_judge`). I3: what is sent is in the file by then. I8: nothing that the engine holds grows with its life
(`sim_bounds`). I9: to the reference times are what a clock showed, and it knows better. I10: `good` is told within a
minute, whatever the others do. I11: after the last fault nothing waits for long.
"""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from engine.runtime.decided import Book
from engine.runtime.decided import Entry as Decided
from tests.chaos.model import Entry
from tests.chaos.reference import Ending, Sample, disagreement
from tests.chaos.sim_plants import PLANTS
from tests.chaos.sim_stories import STEADY
from tests.chaos.simulation import simulate

CHAOS = bool(os.environ.get("LONGWATCH_CHAOS"))
DAYS = 30
SEEDS = range(334 if CHAOS else 28)
FAILED_ONCE = (101, 114, 115, 124)
"""Seeds that found a bug, of the engine or of the model; they stay."""
STEADY_DAYS = 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*SEEDS, *FAILED_ONCE}))
def test_f42_f47_days_in_which_everything_goes_wrong(memory: Path, seed: int) -> None:
    outcome, seen = simulate(seed, DAYS, memory)
    assert outcome.faults == [], f"seed {seed}"
    assert outcome.crashes >= 5
    assert outcome.entries > 20 * DAYS
    assert {"answer lost", "crash any time", "io error"} <= seen


def test_i8_nothing_grows_in_a_long_life(memory: Path) -> None:
    outcome, seen = simulate(1, STEADY_DAYS, memory, STEADY)
    assert outcome.faults == []
    assert {"answer lost", "dead down", "dead hangs", "disk full"} <= seen


def test_what_grows_is_found(memory: Path) -> None:
    with patch.object(Book, "note", _hoard):
        outcome, _ = simulate(1, 3 * STEADY_DAYS / 4, memory, STEADY)
    assert any("Book" in fault for fault in outcome.faults)


def _hoard(self: Book, key: str, entry: Decided) -> None:
    """Everything is kept for ever."""
    self._firing[f"{key} {entry.seq}"] = entry


def test_the_same_seed_gives_the_same_days(memory: Path) -> None:
    runs = []
    for name in ("first", "second"):
        (memory / name).mkdir()
        runs.append(simulate(3, 5, memory / name))
    assert runs[0] == runs[1]
    assert runs[0][0].crashes


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PLANTS))
def test_the_simulation_finds_planted_bugs(memory: Path, name: str) -> None:
    with PLANTS[name]():
        outcome, _ = simulate(0, 10, memory)
    assert outcome.faults, f"{name} was not found in ten days"


# --- the reference can tell right from wrong ------------------------------------------------------------------

MINUTE = 60_000
UP = [Sample(0, 0), Sample(5 * MINUTE, 1), Sample(10 * MINUTE, 1), Sample(15 * MINUTE, 1)]
FIRING = Entry("a", "firing", 12 * MINUTE, 5 * MINUTE)
RESOLVED = Entry("a", "resolved", 20 * MINUTE, 5 * MINUTE)
FOR = 7 * MINUTE


def test_what_the_rule_says_is_right() -> None:
    assert disagreement(FOR, UP, [FIRING]) == ""
    assert disagreement(FOR, [*UP, Sample(20 * MINUTE, 0)], [FIRING, RESOLVED]) == ""
    assert disagreement(FOR, [*UP[:2], Sample(10 * MINUTE, 0), Sample(15 * MINUTE, 0)], []) == ""


@pytest.mark.parametrize(
    "told",
    [
        [],
        [FIRING._replace(time_ms=11 * MINUTE)],
        [FIRING._replace(time_ms=13 * MINUTE)],
        [FIRING._replace(active_ms=6 * MINUTE)],
        [FIRING, RESOLVED],
        [FIRING, FIRING],
        [RESOLVED],
    ],
)
def test_anything_else_is_wrong(told: list[Entry]) -> None:
    assert disagreement(FOR, UP, told)


def test_a_downtime_is_on_no_clock() -> None:
    crash = Ending("crash", 8 * MINUTE, 38 * MINUTE)
    after = [*UP[:2], crash, Sample(38 * MINUTE, 1), Sample(43 * MINUTE, 1)]
    assert disagreement(FOR, after, [FIRING._replace(time_ms=42 * MINUTE)]) == ""
    assert disagreement(FOR, after, [FIRING])
    late = [FIRING._replace(time_ms=43 * MINUTE)]
    assert disagreement(FOR, [*after, Sample(50 * MINUTE, 1)], late)
    forgetful = [*UP[:2], crash._replace(lost_ms=2 * MINUTE), *after[3:], Sample(50 * MINUTE, 1)]
    assert disagreement(FOR, forgetful, late) == ""


def test_what_begins_anew_after_a_long_downtime_begins_with_a_sample() -> None:
    """Not with the process: the life in between ended before it measured (seed 124 of the first simulation)."""
    away = Ending("crash", 8 * MINUTE, 98 * MINUTE, anew=True)
    unmeasured = Ending("stop", 99 * MINUTE, 99 * MINUTE)
    after = [*UP[:2], away, unmeasured, Sample(99 * MINUTE, 1), Sample(110 * MINUTE, 1)]
    assert disagreement(FOR, after, [Entry("a", "firing", 106 * MINUTE, 99 * MINUTE)]) == ""
    assert disagreement(FOR, after, [Entry("a", "firing", 106 * MINUTE, 98 * MINUTE)])
    assert disagreement(FOR, after, [Entry("a", "firing", 104 * MINUTE, 5 * MINUTE)])


def test_a_crash_may_cost_what_came_just_before_it() -> None:
    crash = Ending("crash", 5 * MINUTE + 500, 6 * MINUTE)
    anew = [FIRING._replace(time_ms=13 * MINUTE, active_ms=6 * MINUTE)]
    after = [Sample(6 * MINUTE, 1), Sample(15 * MINUTE, 1)]
    assert disagreement(FOR, [*UP[:2], crash, *after], anew) == ""
    stop = crash._replace(how="stop")
    assert disagreement(FOR, [*UP[:2], stop, *after], anew)
