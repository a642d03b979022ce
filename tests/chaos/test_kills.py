"""A real engine with real receivers, killed at random moments, at each point of its way and at single system calls.

It is judged from what the receivers were sent alone, by a model that knows what was measured: nothing lost, nothing
told that has not happened, again only with the same id and body, of each alert in order, nothing damaged.
"""

import math
import os
import random
from pathlib import Path

import pytest

from tests.chaos.drive import Stage, Verdict, staged
from tests.chaos.failpoints import POINTS
from tests.runtime.ledger.kills import can_trace

pytestmark = pytest.mark.process
CHAOS = bool(os.environ.get("LONGWATCH_CHAOS"))
KILLS = 25
"""Between two looks at whether everything has arrived."""
SEEDS = range(40 if CHAOS else 4)
REAL_EVERY = 10
NO_TRACE = can_trace()
needs_strace = pytest.mark.skipif(bool(NO_TRACE), reason=NO_TRACE)


async def judged(stage: Stage, what: object) -> Verdict:
    """Let everything be sent, and fail if anything is wrong."""
    verdict = await stage.settle()
    assert verdict.faults == [], f"{what}, in {stage.folder}"
    return verdict


# --- at random moments --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
async def test_f01_f02_f03_f07_f10_kills_at_random_moments(folder: Path, seed: int) -> None:
    async with staged(folder, seed) as stage:
        for number in range(KILLS):
            await stage.killed_at_random(real=number % REAL_EVERY == REAL_EVERY - 1)
        verdict = await judged(stage, seed)
    print(verdict)
    assert verdict.kills == KILLS
    assert verdict.entries > 3 * len(stage.model.alerts), "something has happened to almost all of them"


# --- at each point --------------------------------------------------------------------------------------

WHEN = (1, 2, 3, 5, 8, 13) if CHAOS else (1, 4)
ONCE = ("open", "close", "store_close")


@pytest.mark.parametrize("part", sorted({name.partition(".")[0] for name in POINTS}))
async def test_f01_f02_f04_f06_f56_kills_at_each_point(folder: Path, part: str) -> None:
    """Before and after each thing that has an effect, the first time that it is done in a life and later."""
    async with staged(folder, 1) as stage:
        for name, point in POINTS.items():
            if name.partition(".")[0] == part:
                for when in (1,) if part in ONCE else WHEN:
                    assert await stage.killed_at_point(name, when, 15.0, stopping=point.stopping), f"{name} {when}"
                await judged(stage, name)
        assert stage.kills


# --- at single system calls -------------------------------------------------------------------------------

# Of the thread that makes most of them; strace counts the calls of each thread.
FEW = {
    "write": (1, 4),
    "pwrite64": (9, 12, 40, 65),
    "fdatasync": (1, 2, 7),
    "fsync": (1,),
    "ftruncate": (1, 2),
    "unlink": (1,),
    "rename": (1, 2),
    "connect": (3, 8),
    "sendto": (10, 22, 35),
    "recvfrom": (10, 23, 36),
}
MANY = 250
LIFE_S = 10.0 if CHAOS else 2.5
JUDGED_EVERY = 5


@needs_strace
@pytest.mark.parametrize("call", FEW)
async def test_f03_f04_f06_kills_at_single_calls(folder: Path, call: str) -> None:
    """From the making of the ledger to what is sent."""
    reached = 0
    async with staged(folder, 2) as stage:
        for number in range(1, MANY) if CHAOS else FEW[call]:
            if not await stage.killed_at(call, number, LIFE_S):
                break
            reached += 1
            if reached % JUDGED_EVERY == 0:
                await judged(stage, f"{call} up to {number}")
        await judged(stage, call)
    print(call, reached)


# --- one receiver and the others -------------------------------------------------------------------------------

LATE_MS_MAX = 5_000
"""So long a message to the receiver that answers at once may take on a busy machine; the one that hangs does so for
20 s."""


async def test_f61_a_receiver_that_hangs_delays_no_other(folder: Path) -> None:
    async with staged(folder, 4) as stage:
        await by_patience(stage)
        stage.model.late_ms_max = math.inf
        await judged(stage, "a life beside a receiver that hangs")
        assert min(len(alert.told["good"]) for alert in stage.model.alerts.values() if alert.rule.kind == "told") >= 2


# --- the harness itself -------------------------------------------------------------------------------------


async def by_random_kills(stage: Stage) -> None:
    for _ in range(4):
        await stage.killed_at_random()


async def by_points(stage: Stage) -> None:
    for _ in range(4):
        await stage.killed_at_point("t1.after", stage.rng.randint(1, 8), 5.0)


async def by_patience(stage: Stage) -> None:
    stage.model.late_ms_max = LATE_MS_MAX
    await stage.world.feel("hangs")
    await stage.killed_after(LATE_MS_MAX / 1000 + 1.5)


async def by_outages(stage: Stage) -> None:
    for _ in range(4):
        await stage.killed_after(stage.rng.uniform(0.1, 0.4))
        await stage.nobody(0.4)


FOUND_BY = {
    "mark_before_send": by_random_kills,
    "two_transactions": by_points,
    "shared_queue": by_patience,
    "wall_clock_for": by_outages,
    "no_ledger": by_random_kills,
    "new_id": by_random_kills,
}


@pytest.mark.parametrize("plant", FOUND_BY)
async def test_the_harness_finds_planted_bugs(folder: Path, plant: str) -> None:
    """By what is a part of the tests above, and in less time."""
    async with staged(folder, random.Random(plant).randint(0, 99), plant) as stage:
        for _ in range(5):
            await FOUND_BY[plant](stage)
            verdict = await stage.settle()
            if verdict.faults:
                print(plant, verdict.kills, verdict.faults[0])
                return
    pytest.fail(f"{plant} was not found")
