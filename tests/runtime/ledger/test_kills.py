"""SIGKILL, at random moments and at single system calls; a disk that fails at single calls. Judged by `kills`."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.ledger.kills import Ended, Nursery, Verdict, can_trace, final_life, judge, nursery

pytestmark = pytest.mark.process
CHAOS = bool(os.environ.get("LONGWATCH_CHAOS"))
RANDOM_KILLS = 1_000 if CHAOS else 30
NO_TRACE = can_trace()
needs_strace = pytest.mark.skipif(bool(NO_TRACE), reason=NO_TRACE)


@pytest.fixture(scope="module")
def nurse() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


def killed_at_random(nurse: Nursery, folder: Path, kills: int, bug: str = "") -> Verdict:
    rng = random.Random(5)
    killed = 0
    for number in range(kills):
        killed += nurse.life(folder, 10**6, seed=number, bug=bug, after_ms=rng.randint(5, 60)).killed
    assert killed == kills
    return final_life(nurse, folder, bug)


def test_f01_f02_f03_kills_at_random_moments_lose_nothing(nurse: Nursery, tmp_path: Path) -> None:
    verdict = killed_at_random(nurse, tmp_path, RANDOM_KILLS)
    print(verdict)
    assert verdict.faults == []
    assert verdict.transitions > RANDOM_KILLS
    assert verdict.duplicates <= 8 * 2 * RANDOM_KILLS, "at most what was in flight at each kill"


@pytest.mark.parametrize("bug", ["mark_before_send", "two_transactions", "naive_send", "send_before_commit"])
def test_the_harness_finds_planted_bugs(nurse: Nursery, tmp_path: Path, bug: str) -> None:
    rng = random.Random(7)
    for number in range(40):
        nurse.life(tmp_path, 10**6, seed=number, bug=bug, after_ms=rng.randint(10, 40))
        if number % 5 == 4:
            assert nurse.life(tmp_path, 0, bug=bug) == Ended(0, 0)
            if judge(tmp_path).faults:
                return
    pytest.fail(f"{bug} was not found in 40 kills")
