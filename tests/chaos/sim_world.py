"""What a simulated engine is in: signals, receivers that behave, a disk, and when its process is gone.

A seed decides everything. The world knows when things really happened; the engine has its own idea of the time.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.events import SampleBatch
from engine.runtime.ledger.store import Store
from engine.testing.loop import VirtualLoop
from tests.chaos.model import RECEIVERS, Model, Rule
from tests.chaos.reference import Ending
from tests.chaos.sim_clock import SetClock, true_ms
from tests.chaos.sim_stories import Story

__all__ = ["DAY_MS", "GRID_MS", "HOUR_MS", "MINUTE_MS", "STEP_MS", "WRITING", "Crash", "World"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
STEP_MS = HOUR_MS
"""How often it is measured, and so how often anything happens at all."""
LATE_MS = 60_000
RULES = (
    Rule("t0", "told", 0, 1),
    Rule("t1", "told", 2 * HOUR_MS, 1),
    Rule("t2", "told", 6 * HOUR_MS, 1),
    Rule("f0", "free", 0, 1),
    Rule("f1", "free", 3 * HOUR_MS, 1),
    Rule("b0", "blip", 24 * HOUR_MS, 1),
)
GRID_RULES = (Rule("g0", "told", 0, 1, grid=True), Rule("g1", "told", 4 * HOUR_MS, 1, grid=True))
GRID_MS = 2 * HOUR_MS
"""How far they look back."""
UNSEEN_MS = GRID_MS + STEP_MS
"""So long after a restart it may take until an end shows: nothing ends before as much was seen as rules look back
(docs/blindness.md), and then at the next instant."""
TURNS_MS: dict[Any, tuple[int, int]] = {
    "told": (12 * HOUR_MS, 9 * HOUR_MS),
    "free": (18 * HOUR_MS, 9 * HOUR_MS),
    "blip": (32 * HOUR_MS, 0),
}
HIDDEN_MS_MAX = 2_500
"""A start waits three seconds for a file that it can't read; after that alerts begin anew, as documented."""
WRITING = ("BEGIN IMMEDIATE", "PRAGMA wal_checkpoint")
"""How what needs to write begins."""
TASKS_MAX = 40
COUNT = "SELECT receiver, count(*) FROM outbox GROUP BY receiver"
SET_BY_MS = (
    2_000,
    -2_000,
    90_000,
    -90_000,
    HOUR_MS,
    -HOUR_MS,
    26 * HOUR_MS,
    -26 * HOUR_MS,
)
"""By how much a clock is set: never by as little as is slewed."""


class Crash(BaseException):
    """The process is gone; nothing after it counts."""


class Mood(NamedTuple):
    """How a receiver behaves for a while."""

    name: str
    until_ms: float


class World:
    """Everything around the engine.

    Args:
        seed: Decides everything.
    """

    def __init__(self, seed: int, story: Story) -> None:
        self.rng = random.Random(seed)
        self.story = story
        rules = RULES + GRID_RULES * story.rule_file
        self.model = Model(random.Random(self.rng.random()), rules, TURNS_MS, LATE_MS, UNSEEN_MS)
        self.model.clock_is_set = story.clock
        self.causes = 0
        """Of `LongwatchBlind`."""
        self.model.excused = frozenset({"dead"} if story.refuses else {"dead", "slow"} if story.outbox_rows_max else ())
        self.clock: SetClock | None = None
        self._loop: VirtualLoop | None = None
        self._judges = False
        self.spans: list[tuple[int, int]] = []
        """Since when event time was ahead of the true time, and by how much."""
        self.dead = False
        self.died = asyncio.Event()
        self.at_crash: Callable[[], None] = lambda: None
        self.connections: list[sqlite3.Connection] = []
        self.store: Store | None = None
        self.reader: sqlite3.Connection | None = None
        self.troubled_ms = 0.0
        self.disk_full_until_ms = 0.0
        self.locked_until_ms = 0.0
        self.hidden_until_ms = 0.0
        """Until when it can't even be read."""
        self.calm = False
        self.stopping = False
        """In good order: with a broken disk that loses what a kill would."""
        self.crashes = 0
        self.seen: set[str] = set()
        self.happened: list[tuple[float, dict[str, int]] | Ending] = []
        self._series: tuple[str, ...] = ()
        self._moods = {name: Mood("well", 0.0) for name in RECEIVERS}

    @property
    def now_ms(self) -> float:
        """The true time, whatever clocks show."""
        assert self._loop is not None
        return true_ms(self._loop)

    @property
    def shown_ms(self) -> int:
        """Event time: what the engine takes the time to be."""
        assert self.clock is not None
        return self.clock.now_ms()

    def begin(self, loop: VirtualLoop, at_crash: Callable[[], None]) -> None:
        """A process is about to be started."""
        ahead_ms = 0 if self.clock is None else self.clock.ahead_ms
        if self.story.clock and not self.calm and self.rng.random() < 0.2:
            ahead_ms += self._set_by_ms(ahead_ms, "while nobody lives")
        while not self._judges and self.happened and not isinstance(self.happened[-1], Ending):
            self.happened.pop()  # of a life that ended before anything was judged
        self._judges = False
        self._loop, self.at_crash = loop, at_crash
        self.clock = SetClock(loop, ahead_ms, self.spans)
        self.dead, self.stopping, self.died = False, False, asyncio.Event()
        self.disk_full_until_ms = self.locked_until_ms = self.hidden_until_ms = 0.0
        if self.story.shut and not self.calm and self.rng.random() < 0.4:
            self._shut()
        self.model.born(self.now_ms)

    def end(self) -> None:
        """A process has ended: it leaves nothing open."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    # --- what goes wrong --------------------------------------------------------------------------------

    @property
    def disk_full(self) -> bool:
        """Whether nothing can be written now."""
        return not (self.calm or self.stopping) and self.now_ms < self.disk_full_until_ms

    def is_locked(self, sql: str) -> bool:
        """Whether another process has a lock now that this needs."""
        until_ms = self.locked_until_ms if sql.startswith(WRITING) else self.hidden_until_ms
        return not (self.calm or self.stopping) and self.now_ms < until_ms

    def _shut(self) -> None:
        """The file can't be written for a while, and for a moment not be read either."""
        how = self.rng.choice(["full", "locked", "hidden"])
        until_ms = self.now_ms + self.rng.choice([1_000, HOUR_MS, 6 * HOUR_MS]) * self.rng.random()
        if how == "full":
            self.disk_full_until_ms = until_ms
        else:
            self.locked_until_ms = until_ms
        if how == "hidden":
            self.hidden_until_ms = min(until_ms, self.now_ms + self.rng.uniform(0, HIDDEN_MS_MAX))
        self.seen.add(f"{how} at the start")

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
        may = not (self.calm or self.story.steady)
        if may and self.rng.random() < chance and self.is_kept():
            self.seen.add(f"crash {where}")
            self.dead = True
            self.crashes += 1
            self.causes += 1
            self.at_crash()
            self.died.set()
            raise Crash

    def is_kept(self) -> bool:
        """Whether all is on disk, and since two looks of the core: else a crash would cost more, as documented."""
        if self.store is None or self.store.in_memory:
            self.troubled_ms = self.now_ms
        return self.now_ms > self.troubled_ms + 2 * STEP_MS

    def mood(self, receiver: str, moods: tuple[str, ...]) -> str:
        """How a receiver behaves now, of what it may do: `good` is always well."""
        if self.calm or receiver == "good":
            return "well"
        mood = self._moods[receiver]
        if self.now_ms >= mood.until_ms:
            names = ("well", "slow") if receiver == "slow" else moods
            name = self.rng.choice(names)
            longest_ms = 36 * HOUR_MS if name == "down" else 8 * HOUR_MS
            mood = self._moods[receiver] = Mood(name, self.now_ms + self.rng.uniform(0, longest_ms))
            self.seen.add(f"{receiver} {name}")
        return mood.name

    def moments(self, event_ms: int) -> list[float]:
        """When event time may have been this."""
        ends_ms = [begin_ms for begin_ms, _ in self.spans[1:]] + [self.now_ms]
        return [
            event_ms - ahead_ms
            for (begin_ms, ahead_ms), end_ms in zip(self.spans, ends_ms, strict=True)
            if begin_ms - 1 <= event_ms - ahead_ms <= end_ms + 1
        ]

    def _set_by_ms(self, ahead_ms: int, when: str) -> int:
        by_ms = self.rng.choice([by_ms for by_ms in SET_BY_MS if abs(ahead_ms + by_ms) <= 20 * DAY_MS])
        self.causes += 1
        self.seen.add(f"clock set {'forward' if by_ms > 0 else 'back'} {when}")
        return by_ms

    def core_begins(self) -> None:
        """What was measured while the ledger was waited for is judged now: it is late. Until now nobody looked."""
        self._judges = True
        for at in range(len(self.happened) - 1, -1, -1):
            last = self.happened[at]
            if isinstance(last, Ending):
                self.happened[at] = last._replace(begin_ms=self.now_ms)
                return
            self.happened[at] = (self.now_ms, last[1])

    # --- what is seen -----------------------------------------------------------------------------------

    def measure(self) -> SampleBatch | list[Any]:
        """One measurement."""
        self.may_crash("measure", 0.002)
        if not self.calm and self.rng.random() < 0.002 and self.store is not None and self.store.groups > 9:
            self.disk_full_until_ms = self.now_ms + self.rng.uniform(0, 12 * HOUR_MS)
            self.seen.add("disk full")
        if len(asyncio.all_tasks()) > TASKS_MAX:
            self.model.faults.append(f"{len(asyncio.all_tasks())} tasks")
        batch = self._signals()
        self.happened.append(
            (self.now_ms, {name: alert.value for name, alert in self.model.alerts.items() if not alert.is_own})
        )
        if self.story.clock and not self.calm and self.rng.random() < 0.02 and self.clock is not None:
            self.clock.step(self._set_by_ms(self.clock.ahead_ms, "while it lives"))
        return batch

    def _signals(self) -> SampleBatch:
        signals = self.model.signals(self.now_ms) | self.model.signals(self.now_ms, grid=True)
        self._series = self._series or tuple(signals)  # the same object, as probes have it
        return SampleBatch(self.shown_ms, self._series, np.array([*signals.values()], dtype=float), STEP_MS)

    def check_kept(self, receiver: str, message_id: str, body: bytes) -> None:
        """I3: what is sent must be in the file, so that a crash now can't make anybody forget it."""
        if self.store is None or self.store.in_memory or self.store.path is None:
            return
        if self.reader is None:
            self.reader = sqlite3.connect(f"file:{self.store.path}?mode=ro", uri=True)
        kept = self.reader.execute("SELECT body FROM outbox WHERE message_id = ?", (message_id,)).fetchall()
        if kept != [(body,)] and not self.story.outbox_rows_max:  # what is being sent may have to make room
            self.model.faults.append(f"{receiver}: {message_id} is sent and is not in the outbox")
        self._check_room()

    def _check_room(self) -> None:
        assert self.reader is not None
        most = self.story.outbox_rows_max
        for receiver, count in self.reader.execute(COUNT).fetchall() if most else ():
            if count >= most:
                self.seen.add(f"{receiver} full")
            if count > most:
                self.model.faults.append(f"{receiver}: {count} messages in an outbox of {most}")
