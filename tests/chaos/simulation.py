"""A whole engine in virtual time, with a seed that decides what goes wrong: days of it in the time of a breath.

Core, ledger, policy and delivery are the real ones, the ledger is a real file. Its receivers are functions, and a crash
is a copy of the state folder as it is at that instant: what a process that is killed leaves, too. Each life has a loop
of its own, which begins where the one before was cut off. It is judged by the model that real kills are judged by, and
by a reference over what was measured.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import NamedTuple

from engine.testing import FunctionProbe
from engine.testing.loop import START_MS, VirtualLoop
from tests.chaos.model import RECEIVERS
from tests.chaos.reference import HOLD_MS, Ending
from tests.chaos.sim_bounds import overgrown
from tests.chaos.sim_engine import HEARTBEAT_MS, TOLERANCE_MS, Watch, coarse, configuration
from tests.chaos.sim_judge import judged
from tests.chaos.sim_receivers import Receiver
from tests.chaos.sim_stories import Story, story_of
from tests.chaos.sim_world import DAY_MS, HOUR_MS, STEP_MS, Crash, World

__all__ = ["Outcome", "simulate"]

HEAL_MS = 24 * HOUR_MS
"""After the last fault everything must be told in that time: the longest pause of a retry is five minutes there."""
PAUSES_S = (*(0.001, 0.001, 1.0, 60.0, 1200.0) * 10, TOLERANCE_MS / 1000 + 1, 40 * 3600.0)
"""How long there is no process after a crash. Longer than the tolerance is rare."""
LIVES_S = (0.5, 2 * 3600.0, 2 * 86_400.0, 4 * 86_400.0)
"""Of what is drawn from how long a process may live: some end while they begin."""
KEPT = ("state.db", "state.db-wal", "life.json")


class Outcome(NamedTuple):
    """What came of a run."""

    days: float
    crashes: int
    entries: int
    duplicates: int
    faults: list[str]


class Simulation:
    """One run.

    Args:
        folder: For the state folders.
    """

    def __init__(self, seed: int, folder: Path, story: Story) -> None:
        self.world = World(seed, story)
        self._folder = folder
        self._lives = 0
        self._passed_s = 0.0
        self._ended: Ending | None = None
        self._ended_at_ms = 0
        self._back = False
        self._born_ms = 0.0

    def run(self, days: float) -> Outcome:
        """Faults for so many days, then none, and the verdict."""
        world = self.world
        end_ms = START_MS + days * DAY_MS
        with coarse(world):
            while self._life(end_ms):
                self._passed_s += world.rng.choice(PAUSES_S)
            world.calm = True
            world.model.calm()
            self._life(max(end_ms, START_MS + 1000 * self._passed_s) + HEAL_MS)
        faults = [*world.model.verdict(), *judged(world, self._state / "state.db")]
        return Outcome(days, world.crashes, world.model.entries, world.model.duplicates, faults)

    @property
    def _state(self) -> Path:
        return self._folder / f"life{self._lives}"

    def _life(self, until_ms: float) -> bool:
        """Returns whether it ended before its time was up."""
        world, loop = self.world, VirtualLoop()
        loop._virtual.now_s = self._passed_s
        loop.set_exception_handler(
            lambda loop, context: None if world.dead else loop.default_exception_handler(context)
        )
        world.begin(loop, self._keep)
        if self._ended is not None:
            away_ms = world.shown_ms - self._ended_at_ms  # by the clock: to be away is not to know better
            anew = away_ms > TOLERANCE_MS or (None if away_ms + self._ended.lost_ms > TOLERANCE_MS else False)
            unwritten = self._ended.time_ms - self._born_ms <= HOLD_MS  # what was taken back then is again
            self._back = away_ms < 0 or (self._back and unwritten)
            world.happened.append(self._ended._replace(begin_ms=world.now_ms, anew=anew, back=self._back))
        self._born_ms = world.now_ms
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._live(until_ms))
        world.end()
        if world.dead:
            shutil.rmtree(self._folder / f"life{self._lives - 1}")
        return world.now_ms < until_ms

    async def _live(self, until_ms: float) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        self._state.mkdir(exist_ok=True)
        watch = Watch(
            configuration(self._state, world.model.rules), clock=world.clock, rng=random.Random(world.rng.random())
        )
        watch.add_probe("signals", FunctionProbe(world.measure), f"{STEP_MS}ms", "1s")
        for name in RECEIVERS:
            watch.add_sink(name, Receiver(name, world))
        await watch.start()
        left_s = max(0.0, (until_ms - world.now_ms) / 1000)
        if not (world.calm or world.story.steady):
            strikes_s = world.rng.choice(LIVES_S) * world.rng.expovariate(1.0)
            if world.rng.random() < 0.3:
                left_s = min(left_s, strikes_s)  # it is stopped
            else:
                loop.call_later(strikes_s, self._strike)
        try:
            async with asyncio.timeout(left_s):
                await world.died.wait()
        except TimeoutError:
            if not world.dead:
                await self._stop(watch)

    async def _stop(self, watch: Watch) -> None:
        """A stop in good order, which a crash may still come into."""
        world = self.world
        world.model.faults += overgrown(watch, skip=(world,))
        world.model.stops(world.now_ms)
        world.stopping, asked_ms = True, world.now_ms
        await watch.stop()
        if not world.dead:
            world.model.died(world.now_ms)
            self._passed_s = asyncio.get_running_loop().time()
            self._ended_at_ms = world.shown_ms
            self._ended = Ending("stop", world.now_ms, 0.0, lost_ms=world.now_ms - asked_ms)

    def _strike(self) -> None:
        try:
            if not self.world.dead:
                self.world.may_crash("any time", 1.0)
        except Crash:
            pass

    def _forgotten_ms(self) -> float:
        """What clocks may be behind after a crash: since the last look of the core before the last sign of life."""
        sure_ms = self.world.shown_ms - HEARTBEAT_MS  # it looks at full hours of its own time
        return min(HEARTBEAT_MS + sure_ms % STEP_MS, self.world.now_ms - self._born_ms)

    def _keep(self) -> None:
        """What a killed process leaves is what is in its files."""
        world = self.world
        self._passed_s = asyncio.get_running_loop().time()
        world.model.stops(world.now_ms)
        world.model.died(world.now_ms)
        self._ended_at_ms = world.shown_ms
        self._ended = Ending("crash", world.now_ms, 0.0, lost_ms=self._forgotten_ms())
        old = self._state
        self._lives += 1
        self._state.mkdir()
        for name in KEPT:
            if (old / name).exists():
                shutil.copyfile(old / name, self._state / name)


def simulate(seed: int, days: float, folder: Path, story: Story | None = None) -> tuple[Outcome, set[str]]:
    """Run one seed, with its story or another one; returns what came of it, and which faults there were."""
    simulation = Simulation(seed, folder, story or story_of(seed))
    return simulation.run(days), simulation.world.seen
