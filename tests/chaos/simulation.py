"""A whole engine in virtual time, with a seed that decides what goes wrong: days of it in the time of a breath.

Core, ledger, policy and delivery are the real ones, the ledger is a real file. Its receivers are functions, and a crash
is a copy of the state folder as it is at that instant: what a process that is killed leaves, too. Each life has a loop
of its own, which begins where the one before was cut off. It is judged by the model that real kills are judged by.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import numpy as np
from msgspec.structs import replace

import engine.runtime.blindness
import engine.runtime.engine
import engine.runtime.gate
import engine.runtime.ledger.ledger
import engine.runtime.outbox
import engine.runtime.overview
import engine.runtime.statefiles
import engine.runtime.stepping
from engine import Engine
from engine.config.load import load_text
from engine.config.shape import Config
from engine.durations import Duration
from engine.errors import SinkError
from engine.events import SampleBatch
from engine.ports import Notification
from engine.runtime import retry
from engine.runtime.ledger.store import Store
from engine.runtime.threads import ThreadPool
from engine.status import EngineStatus
from engine.testing import FunctionProbe
from engine.testing.loop import START_MS, VirtualClock, VirtualLoop
from sinks._body_own import render
from tests.chaos.model import RECEIVERS, Model, Rule
from tests.chaos.reference import Ending, Sample, disagreement

__all__ = ["DAY_MS", "Outcome", "simulate"]

T = TypeVar("T")
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
STEP_MS = HOUR_MS
"""How often it is measured, and so how often anything happens at all."""
SLOWER = STEP_MS // MINUTE_MS
"""What the product does each second or minute to be prompt, it does that much more rarely here: nothing happens in
between, and days are cheap. What was true of a minute there is true of a step here."""
HEARTBEAT_MS = STEP_MS // 4
HEAL_MS = 24 * HOUR_MS
"""After the last fault everything must be told in that time: the longest pause of a retry is five minutes there."""
LATE_MS = 60_000
RULES = (
    Rule("t0", "told", 0, 1),
    Rule("t1", "told", 2 * HOUR_MS, 1),
    Rule("t2", "told", 6 * HOUR_MS, 1),
    Rule("f0", "free", 0, 1),
    Rule("f1", "free", 3 * HOUR_MS, 1),
    Rule("b0", "blip", 24 * HOUR_MS, 1),
)
TURNS_MS: dict[Any, tuple[int, int]] = {
    "told": (12 * HOUR_MS, 9 * HOUR_MS),
    "free": (18 * HOUR_MS, 9 * HOUR_MS),
    "blip": (32 * HOUR_MS, 0),
}
PACE = (
    (engine.runtime.blindness, "LAG_S_MIN", 2 * STEP_MS / 1000),
    (engine.runtime.blindness, "TURNS_EVERY_S", STEP_MS / 1000),
    (engine.runtime.ledger.ledger, "TICK_S", STEP_MS / 1000),
    (engine.runtime.ledger.ledger, "UPKEEP_S", HOUR_MS / 1000),
    (engine.runtime.outbox, "LOOK_S_MAX", HOUR_MS / 1000),
    (engine.runtime.gate, "Breaker", partial(retry.Breaker, open_s_max=SLOWER * 60.0)),
    (engine.runtime.overview, "OWN_INTERVAL_MS", DAY_MS),
    (retry, "AGE_S_MAX", SLOWER * retry.AGE_S_MAX),
    (retry, "SLOW_S", SLOWER * retry.SLOW_S),
    (retry, "jittered_s", partial(retry.jittered_s, max_s=SLOWER * retry.WAIT_S_MAX)),
    (engine.runtime.statefiles, "HEARTBEAT_S", HEARTBEAT_MS / 1000),
    (engine.runtime.stepping, "WAKE_MS_MAX", STEP_MS),
)
TOLERANCE_MS = 10 * HOUR_MS
PAUSES_S = (*(0.001, 0.001, 1.0, 60.0, 1200.0) * 10, TOLERANCE_MS / 1000 + 1, 40 * 3600.0)
"""How long there is no process after a crash. Longer than the tolerance is rare."""
LIVES_S = (0.5, 2 * 3600.0, 2 * 86_400.0, 4 * 86_400.0)
"""Of what is drawn from how long a process may live: some end while they begin."""
TASKS_MAX = 40
KEPT = ("state.db", "state.db-wal", "life.json")


class Crash(BaseException):
    """The process is gone; nothing after it counts."""


class Outcome(NamedTuple):
    """What came of a run."""

    days: float
    crashes: int
    entries: int
    duplicates: int
    faults: list[str]


class Mood(NamedTuple):
    """How a receiver behaves for a while."""

    name: str
    until_ms: float


class InlinePool(ThreadPool):
    """Without threads, which live in real time."""

    async def call(self, owner: str, function: Callable[[], T], error: Any = None) -> T:
        """Run it."""
        return function()


class World:
    """What the engine is in: signals, receivers, a disk, and when it crashes.

    Args:
        seed: Decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.model = Model(random.Random(self.rng.random()), RULES, TURNS_MS, LATE_MS)
        self.clock: VirtualClock | None = None
        self.dead = False
        self.died = asyncio.Event()
        self.at_crash: Callable[[], None] = lambda: None
        self.connections: list[sqlite3.Connection] = []
        self.store: Store | None = None
        self.reader: sqlite3.Connection | None = None
        self.troubled_ms = 0.0
        self.disk_full_until_ms = 0.0
        self.calm = False
        self.stopping = False
        """In good order: with a broken disk that loses what a kill would."""
        self.crashes = 0
        self.seen: set[str] = set()
        self.happened: list[tuple[float, dict[str, int]] | Ending] = []
        self._moods = {name: Mood("well", 0.0) for name in RECEIVERS}

    @property
    def now_ms(self) -> float:
        """Event time."""
        assert self.clock is not None
        return self.clock.now_ms()

    # --- what goes wrong --------------------------------------------------------------------------------

    @property
    def disk_full(self) -> bool:
        """Whether nothing can be written now."""
        return not (self.calm or self.stopping) and self.now_ms < self.disk_full_until_ms

    def io_fails(self) -> bool:
        """Whether this commit ends with an error; nobody knows then whether it is done."""
        if self.calm or self.stopping or self.dead or self.rng.random() >= 0.003:
            return False
        self.seen.add("io error")
        return True

    def may_crash(self, where: str, chance: float) -> None:
        """Crash here, perhaps."""
        if self.dead:
            raise Crash
        if not self.calm and self.rng.random() < chance and self.is_kept():
            self.seen.add(f"crash {where}")
            self.crash()
            raise Crash

    def is_kept(self) -> bool:
        """Whether all is on disk, and since two looks of the core: else a crash would cost more, as documented."""
        if self.store is None or self.store.in_memory:
            self.troubled_ms = self.now_ms
        return self.now_ms > self.troubled_ms + 2 * STEP_MS

    def crash(self) -> None:
        """From now on the process is gone."""
        self.dead = True
        self.crashes += 1
        self.at_crash()
        self.died.set()

    def mood(self, receiver: str) -> str:
        """How a receiver behaves now: `good` is always well."""
        if self.calm or receiver == "good":
            return "well"
        mood = self._moods[receiver]
        if self.now_ms >= mood.until_ms:
            names = ("well", "slow") if receiver == "slow" else MOODS
            name = self.rng.choice(names)
            longest_ms = 36 * HOUR_MS if name == "down" else 8 * HOUR_MS
            mood = self._moods[receiver] = Mood(name, self.now_ms + self.rng.uniform(0, longest_ms))
            self.seen.add(f"{receiver} {name}")
        return mood.name

    def disagreements(self) -> Iterator[str]:
        """Where what was told is not what the rules say over what was measured."""
        for name, alert in self.model.alerts.items():
            happened = (each if isinstance(each, Ending) else Sample(each[0], each[1][name]) for each in self.happened)
            if fault := disagreement(alert.rule.for_ms, happened, alert.told["good"]):
                yield f"{name}: {fault}"

    # --- what the engine does ---------------------------------------------------------------------------

    def measure(self) -> SampleBatch | list[Any]:
        """One measurement."""
        self.may_crash("measure", 0.002)
        now_ms = int(self.now_ms)
        if not self.calm and self.rng.random() < 0.002 and self.store is not None and self.store.groups > 9:
            self.disk_full_until_ms = now_ms + self.rng.uniform(0, 12 * HOUR_MS)
            self.seen.add("disk full")
        if len(asyncio.all_tasks()) > TASKS_MAX:
            self.model.faults.append(f"{len(asyncio.all_tasks())} tasks")
        signals = self.model.signals(now_ms)
        self.happened.append((now_ms, {name: alert.value for name, alert in self.model.alerts.items()}))
        return SampleBatch(now_ms, tuple(signals), np.array([*signals.values()], dtype=float), STEP_MS)

    def _check_kept(self, receiver: str, message_id: str, body: bytes) -> None:
        """I3: what is sent must be in the file, so that a crash now can't make anybody forget it."""
        if self.store is None or self.store.in_memory or self.store.path is None:
            return
        if self.reader is None:
            self.reader = sqlite3.connect(f"file:{self.store.path}?mode=ro", uri=True)
        kept = self.reader.execute("SELECT body FROM outbox WHERE message_id = ?", (message_id,)).fetchall()
        if kept != [(body,)]:
            self.model.faults.append(f"{receiver}: {message_id} is sent and is not in the outbox")

    async def take(self, receiver: str, message_id: str, body: bytes) -> None:
        """One attempt to send. Raises `SinkError`."""
        self.may_crash("before send", 0.003)
        answer = ANSWERS[self.mood(receiver)]
        self._check_kept(receiver, message_id, body)
        if await answer(self):
            self.model.receive(receiver, message_id, body, self.now_ms)
            if not self.calm and receiver != "good" and self.rng.random() < 0.05:
                self.seen.add("answer lost")
                raise SinkError("timeout", "the answer was lost", retryable=True)
        self.may_crash("after send", 0.003)


# --- how receivers behave: true if they take it ---------------------------------------------------------------


async def _well(_: World) -> bool:
    return True


async def _slow(world: World) -> bool:
    await asyncio.sleep(world.rng.uniform(0, 25))
    return True


async def _hangs(_: World) -> bool:
    await asyncio.sleep(10 * 60)
    return False


async def _down(_: World) -> bool:
    raise SinkError("refused", "nobody listens", retryable=True)


async def _flaps(world: World) -> bool:
    if world.now_ms // STEP_MS % 2:
        raise SinkError("http_503", "unavailable", retryable=True, status=503)
    return True


async def _busy(world: World) -> bool:
    after_s = world.rng.choice([float("nan"), float("inf"), -1.0, 0.0, 1e9, 1e-9, 30.0])
    raise SinkError("http_429", "too many", retryable=True, status=429, retry_after_s=after_s)


async def _locked(world: World) -> bool:
    status = world.rng.choice([401, 403, 404])
    raise SinkError(f"http_{status}", "no entry", retryable=True, status=status)


ANSWERS: dict[str, Callable[[World], Awaitable[bool]]] = {
    "well": _well,
    "slow": _slow,
    "hangs": _hangs,
    "down": _down,
    "flaps": _flaps,
    "busy": _busy,
    "locked": _locked,
}
MOODS = tuple(ANSWERS)


class Receiver:
    """One of the three."""

    def __init__(self, name: str, world: World) -> None:
        self._name = name
        self._world = world

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def render(self, notification: Notification) -> bytes:
        """As the webhook does."""
        return render(notification)

    async def deliver(self, message_id: str, body: bytes) -> None:
        """One attempt."""
        if self._world.dead:
            raise SinkError("closed", "the process is gone", retryable=True)
        try:
            await self._world.take(self._name, message_id, body)
        except Crash:
            await asyncio.Event().wait()


# --- one life after the other -----------------------------------------------------------------------------------


class _Watch(Engine):
    """Its status is not asked for: that is much work, and done every two seconds."""

    def status(self) -> EngineStatus:
        """Nothing of interest."""
        return EngineStatus("simulated", 0, "running", 0, 0)


class Simulation:
    """One run.

    Args:
        folder: For the state folders.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.world = World(seed)
        self._folder = folder
        self._lives = 0
        self._passed_s = 0.0
        self._ended: Ending | None = None
        self._born_ms = 0.0

    def run(self, days: float) -> Outcome:
        """Faults for so many days, then none, and the verdict."""
        world = self.world
        end_ms = START_MS + days * DAY_MS
        with _coarse(world):
            while self._life(end_ms):
                self._passed_s += world.rng.choice(PAUSES_S)
            world.calm = True
            world.model.calm()
            self._life(max(end_ms, START_MS + 1000 * self._passed_s) + HEAL_MS)
        faults = [*world.model.verdict(), *self._left(), *world.disagreements()]
        return Outcome(days, world.crashes, world.model.entries, world.model.duplicates, faults)

    def _left(self) -> Iterator[str]:
        """What is in the outbox though everything was told."""
        with sqlite3.connect(self._state / "state.db") as connection:
            rows = connection.execute("SELECT receiver, status, count(*) FROM outbox GROUP BY 1, 2").fetchall()
        connection.close()
        for row in rows:
            yield f"in the outbox: {row}"

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
        if world.reader is not None:
            world.reader.close()
            world.reader = None
        world.stopping = False
        world.dead, world.died, world.at_crash = False, asyncio.Event(), self._keep
        world.clock = VirtualClock(loop)
        world.disk_full_until_ms = 0.0  # with a ledger that can't be opened alerts begin anew, as documented
        world.model.born(world.now_ms)
        self._born_ms = world.now_ms
        if self._ended is not None:
            away_ms = world.now_ms - self._ended.time_ms
            world.happened.append(self._ended._replace(begin_ms=world.now_ms, anew=away_ms > TOLERANCE_MS))
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._live(until_ms))
        while world.connections:  # a process that ends leaves none open
            world.connections.pop().close()
        if world.reader is not None:
            world.reader.close()
            world.reader = None
        if world.dead:
            shutil.rmtree(self._folder / f"life{self._lives - 1}")
        return world.now_ms < until_ms

    async def _live(self, until_ms: float) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        self._state.mkdir(exist_ok=True)
        config = _configuration(self._state)
        watch = _Watch(config, clock=world.clock, rng=random.Random(world.rng.random()))
        watch.add_probe("signals", FunctionProbe(world.measure), f"{STEP_MS}ms", "1s")
        for name in RECEIVERS:
            watch.add_sink(name, Receiver(name, world))
        await watch.start()
        left_s = max(0.0, (until_ms - world.now_ms) / 1000)
        if not world.calm:
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
                world.model.stops(world.now_ms)
                world.stopping, asked_ms = True, world.now_ms
                await watch.stop()
            if not world.dead:
                world.model.died(world.now_ms)
                self._passed_s = loop.time()
                self._ended = Ending("stop", world.now_ms, 0.0, lost_ms=world.now_ms - asked_ms)

    def _strike(self) -> None:
        try:
            if not self.world.dead:
                self.world.may_crash("any time", 1.0)
        except Crash:
            pass

    def _forgotten_ms(self) -> float:
        """What clocks may be behind after a crash: since the last look of the core before the last sign of life."""
        now_ms = self.world.now_ms
        sure_ms = now_ms - HEARTBEAT_MS
        return min(now_ms - sure_ms + sure_ms % STEP_MS, now_ms - self._born_ms)

    def _keep(self) -> None:
        """What a killed process leaves is what is in its files."""
        world = self.world
        self._passed_s = world.clock._loop.time() if world.clock is not None else 0.0
        world.model.stops(world.now_ms)
        world.model.died(world.now_ms)
        self._ended = Ending("crash", world.now_ms, 0.0, lost_ms=self._forgotten_ms())
        old = self._state
        self._lives += 1
        self._state.mkdir()
        for name in KEPT:
            if (old / name).exists():
                shutil.copyfile(old / name, self._state / name)


def simulate(seed: int, days: float, folder: Path) -> tuple[Outcome, set[str]]:
    """Run one seed; returns what came of it, and which faults there were."""
    simulation = Simulation(seed, folder)
    return simulation.run(days), simulation.world.seen


def _configuration(state: Path) -> Config:
    rules = (f'[rule.{rule.name}]\nexpr = "{rule.metric} > 0"\nfor = "{rule.for_ms}ms"\n' for rule in RULES)
    config = load_text(f'[engine]\nstate_dir = "{state}"\noutage_tolerance = "{TOLERANCE_MS}ms"\n' + "".join(rules))
    return replace(config, engine=replace(config.engine, resolution=Duration(STEP_MS)))


@contextmanager
def _coarse(world: World) -> Iterator[None]:
    """The product with its pauses stretched, without threads, and with a ledger that the world can get at."""
    begin, run = Store.__init__, Store.run

    class Disk(sqlite3.Connection):
        """Full while the world says so. What is only in memory is never full."""

        def __init__(self, database: str, *args: Any, **more: Any) -> None:
            self._on_disk = "state.db" in str(database)
            super().__init__(database, *args, **more)
            world.connections.append(self)

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.startswith(("BEGIN IMMEDIATE", "PRAGMA wal_checkpoint")) and self._on_disk and world.disk_full:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            if sql == "COMMIT" and self._on_disk:
                world.may_crash("at commit", 0.0005)
            if sql == "COMMIT" and self._on_disk and world.io_fails():
                if world.rng.random() < 0.5:
                    super().execute(sql)
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            return super().execute(sql, *parameters)

    def begin_with_disk(self: Store, path: Path | None, now_ms: Callable[[], int]) -> None:
        begin(self, path, now_ms, Disk)
        world.store = self

    def run_or_crash(self: Store, jobs: Any) -> Any:
        world.may_crash("before commit", 0.0005)
        found = run(self, jobs)
        world.may_crash("after commit", 0.0005)
        return found

    with ExitStack() as stack:
        for module, name, value in PACE:
            stack.enter_context(patch.object(module, name, value))
        stack.enter_context(patch.object(engine.runtime.engine, "ThreadPool", InlinePool))
        stack.enter_context(patch.object(Store, "run", run_or_crash))
        stack.enter_context(patch.object(Store, "__init__", begin_with_disk))
        yield
