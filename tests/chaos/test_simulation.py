"""Days of a whole engine in virtual time, with receivers, a disk and a process that fail as a seed says.

Invariants I1 to I5, I7, I8 and I11 of each run are the model's: all that was committed is told to everybody in order,
once or again with the same id and body, and when the faults are over the outbox is empty. `good` never waits for the
others (I10), which is exact here.
"""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from engine.core.blindness import Blindness
from engine.runtime import outbox
from engine.runtime.ledger.ledger import Ledger
from tests.chaos.plants import plant
from tests.chaos.simulation import simulate

CHAOS = bool(os.environ.get("LONGWATCH_CHAOS"))
DAYS = 5
SEEDS = range(2_000 if CHAOS else 12)
FAILED_ONCE: tuple[int, ...] = ()
"""Seeds that found a bug; they stay."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*SEEDS, *FAILED_ONCE}))
def test_f42_f47_days_in_which_everything_goes_wrong(tmp_path: Path, seed: int) -> None:
    outcome, seen = simulate(seed, DAYS, tmp_path)
    assert outcome.faults == [], f"seed {seed}"
    assert outcome.crashes >= 2
    assert outcome.entries > 50 * DAYS
    assert {"answer lost", "dead down"} & seen


def test_the_same_seed_gives_the_same_days(tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        runs.append(simulate(3, 3, tmp_path / name))
    assert runs[0] == runs[1]
    assert runs[0][0].crashes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mark_before_send", "two_transactions", "wall_clock_for"])
def test_the_simulation_finds_planted_bugs(tmp_path: Path, name: str) -> None:
    with (
        patch.object(outbox, "look", outbox.look),
        patch.object(Ledger, "record", Ledger.record),
        patch.object(Blindness, "take", Blindness.take),
    ):
        plant(name)
        for seed in range(5):
            (tmp_path / str(seed)).mkdir()
            outcome, _ = simulate(seed, 3, tmp_path / str(seed))
            if outcome.faults:
                print(name, seed, outcome.faults[0])
                return
    pytest.fail(f"{name} was not found")
