"""The ledger in the engine: opened before the first step of the core, given each step (T1), closed after the last word.

Nothing here waits for the disk but the opening and the closing. A ledger that can't be opened does not stop the watch:
everything is kept in memory then, which is told, and the file is tried again and again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Final, NamedTuple

from engine.clock import SystemClock
from engine.codec import EventCodec
from engine.config.shape import Config
from engine.events import Transition
from engine.ports import Clock, Progress, WallClock
from engine.runtime.contain import describe, settle
from engine.runtime.downtime import BootClock
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.holding import Outcome
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.operator import Restored, align, misaligned
from engine.runtime.ledger.recall import Found
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import LedgerThread, LoopWorker
from engine.runtime.ledger.values import Instant, LedgerStatus, Limits, NewTransition, Notice, Step, StoredTransition
from engine.runtime.restarting import WATCHED_UNTIL, AlertKeeper
from engine.runtime.supervisor import Shared
from engine.runtime.turns import in_turns

__all__ = ["LEDGER_FILE", "TOLD", "Committed", "Keeper", "build_keeper"]

LEDGER_FILE: Final = "state.db"
COMPONENT: Final = "ledger"
TRANSITIONS_PER_TURN: Final = 100
OUTBOX_BYTES_MAX: Final = 32 * 1024 * 1024
STUCK_S: Final = 60.0
"""A commit that is under way for longer than this is stuck, and what is kept in memory alone for longer may be lost:
who watches from outside must notice."""
TOLD: Final = frozenset({"firing", "resolved", "lost"})
"""Kinds of transitions that somebody may be told of."""


class Committed(NamedTuple):
    """Transitions that are committed.

    Args:
        seqs: Of each its number; 0 for one that could not be kept.
        keys: Of each the key of its alert: the fingerprint of its labels.
        order: Which of the core's decisions these are, counted from 1; 0 for those of a run before.
        late: The ledger had no room for them, so that they come before older ones that wait in it.
    """

    seqs: Sequence[int]
    keys: Sequence[str]
    transitions: Sequence[Transition]
    order: int = 0
    late: bool = False

    def each(self) -> Iterator[tuple[int, str, Transition]]:
        """Number, key and transition of each."""
        return zip(self.seqs, self.keys, self.transitions, strict=True)

    def part(self, start: int, end: int) -> Committed:
        """Some of them."""
        return self._replace(
            seqs=self.seqs[start:end], keys=self.keys[start:end], transitions=self.transitions[start:end]
        )


class Keeper:
    """Gives the ledger what the core decides, and tells how the ledger is.

    Args:
        ledger: From now on this object's to open and to close.
        receivers: Names of those that are told; messages for others are parked.
        wanted: Whether anybody reads the ledger. If not, nothing is put into it.
    """

    def __init__(self, ledger: Ledger, shared: Shared, *, receivers: Collection[str] = (), wanted: bool = True) -> None:
        self.ledger = ledger
        ledger.receivers = receivers
        self.opened = asyncio.Event()
        """Set once the ledger can be used; the core waits for it."""
        self.restored: Restored | None = None
        """What the run before has left; None until it is open."""
        self.alerts: AlertKeeper | None = None
        """Has the rows of alerts that a step has changed; None if nobody keeps them."""
        self._file = ("", 0)  # whether it can be written, and how often it was begun anew
        self.taken_back = asyncio.Event()
        """Set once the core has the alerts of the run before; until then nothing is decided or sent."""
        self.untold = 0
        """Transitions handed over whose commit has not been told yet."""
        self.refused_total = 0
        """Transitions that could not be kept; they were told all the same."""
        self.closed_well = False
        """Whether it is closed with everything on disk."""
        self.now = _instants(shared.clock)
        """Reads the clock, for times that must hold across restarts."""
        self._wanted = wanted
        self._shared = shared
        self._receivers = receivers
        self._codec = EventCodec()
        self._orders = 0
        self._then: Callable[[Committed], None] = lambda committed: None
        ledger.then_found = self._found

    def follow(self, then: Callable[[Committed], None]) -> None:
        """Tell of each commit, in the order of the core's decisions but for those that are late."""
        self._then = then

    async def run(self) -> None:
        """Open the ledger and keep it in order, for ever."""
        if not self.opened.is_set():
            restored = await self.ledger.open(fail_open=True)
            await self._align()
            self.restored = restored
            self.opened.set()
            if self.alerts is None:
                self.taken_back.set()
        await self.ledger.run()

    async def _align(self) -> None:
        """Fit what waits to the receivers there are; where it does, nothing is committed: the core waits for this."""
        look = functools.partial(misaligned, receivers=self._receivers)
        if not await self.ledger.call(look, writes=False):
            return
        parked, _ = await self.ledger.call(functools.partial(align, receivers=self._receivers))
        if parked:
            text = f"{parked} messages wait for receivers that are not configured any more"
            self.tell("no_receiver", text, count=parked)

    async def record(self, transitions: Sequence[Transition], until_ms: int) -> None:
        """T1: hand over what a step changed. Waits for nothing but its turns of the loop.

        Args:
            until_ms: The time up to which the core has judged.
        """
        changed = self._changed(until_ms)
        if not self._wanted or not (transitions or changed.alerts or changed.counters):
            return
        rows = await in_turns(self._encoding(transitions))
        urgent = any(transition.kind in TOLD for transition in transitions)
        keys = [row.fingerprint for row in rows]
        self._orders += 1
        told = Committed((), keys, transitions, self._orders)
        then = functools.partial(self._committed, told, changed.counters.get(WATCHED_UNTIL))
        self.untold += len(transitions)
        if not self.ledger.record(changed._replace(transitions=rows), then, urgent=urgent):
            late = told._replace(late=True)
            outcome = Outcome(None, False, LedgerError("overflow", "too many transitions wait"))
            self._committed(late, changed.counters.get(WATCHED_UNTIL), outcome)

    def _changed(self, until_ms: int) -> Step:
        """The rows of the step."""
        if self.alerts is None:
            return Step()
        status = self.ledger.status()
        file, self._file = self._file, (status.trouble, status.resets_total)
        if file != self._file:
            self.alerts.tell_again()
        return self.alerts.take(until_ms)

    def _encoding(self, transitions: Sequence[Transition]) -> Generator[None, None, list[NewTransition]]:
        rows = []
        for number, one in enumerate(transitions, 1):
            body = self._codec.to_msgpack(one)
            rows.append(NewTransition(one.time_ms, one.rule, one.fingerprint, one.kind, body))
            if number % TRANSITIONS_PER_TURN == 0:
                yield
        return rows

    def _committed(self, committed: Committed, until_ms: int | None, outcome: Outcome) -> None:
        if self.alerts is not None and until_ms is not None:  # else the ledger was not told how far the core has come
            self.alerts.told(until_ms, outcome)
        if not (count := len(committed.transitions)):
            return
        self.untold -= count
        seqs: Sequence[int] = outcome.value if outcome.error is None else [0] * count
        if outcome.error is not None:  # fail open: what can't be kept is told from memory
            self.refused_total += count
            text = f"{count} transitions could not be kept: {outcome.error}"
            self.tell(outcome.error.reason, text, failed=True, count=count)
        self._then(committed._replace(seqs=seqs))

    def _found(self, found: Found) -> None:
        """The file that could not be read at the start can be: what it had decided is told, what it had is compared."""
        untold = [(stored, one) for stored in found.transitions if (one := self.decoded(stored)) is not None]
        if untold:
            seqs, keys = [stored.seq for stored, _ in untold], [stored.fingerprint for stored, _ in untold]
            self._then(Committed(seqs, keys, [one for _, one in untold]))
        if self.alerts is not None:
            self.alerts.find(found.alerts, self._shared.clock.now_ms())

    def decoded(self, stored: StoredTransition) -> Transition | None:
        """A transition as it was; None, told, if it can't be read."""
        try:
            found = self._codec.from_msgpack(stored.body)
        except ValueError as error:
            self.tell("bad_record", f"transition {stored.seq} can't be read: {describe(error).message}")
            return None
        return found if isinstance(found, Transition) else None

    # --- how it is ------------------------------------------------------------------------------------

    @property
    def durable(self) -> bool:
        """Whether what is committed is on disk."""
        return self.ledger.status().kept == "disk"

    def status(self) -> LedgerStatus:
        """How the ledger is now."""
        return self.ledger.status()

    def committing(self) -> Progress:
        """Whether commits get on."""
        return Progress(self._shared.clock.monotonic() - self.ledger.status().busy_s, STUCK_S)

    def writing(self) -> Progress:
        """Whether what should be on disk gets there."""
        return Progress(self._shared.clock.monotonic() - self.ledger.status().unkept_s, STUCK_S)

    def tell(self, reason: str, message: str, *, failed: bool = False, count: int = 1) -> None:
        """Something that a person should know."""
        _tell(self._shared, Notice("failed" if failed else "degraded", reason, message), count)

    # --- the end --------------------------------------------------------------------------------------

    async def close(self, timeout_s: float) -> None:
        """Commit what waits and close, in the time there is. What the disk has begun goes on without us."""
        closing = asyncio.get_running_loop().create_task(self.ledger.close(), name="longwatch ledger close")
        cancelled = await settle([closing], timeout_s)
        if not closing.done():
            closing.cancel()
            cancelled += await settle([closing], 1.0)
        if cancelled:
            raise asyncio.CancelledError
        self.closed_well = not closing.cancelled() and closing.exception() is None and closing.result()


def _instants(clock: Clock) -> Callable[[], Instant]:
    """What reads the clock in a form that can be compared across restarts."""
    wall_ms = clock.wall_now_ms if isinstance(clock, WallClock) else clock.now_ms
    boot = clock.boot if isinstance(clock, BootClock) else lambda: None

    def now() -> Instant:
        up = boot()
        return Instant(wall_ms()) if up is None else Instant(wall_ms(), up.boot_id, up.up_ms)

    return now


def build_keeper(config: Config, shared: Shared, receivers: Collection[str]) -> Keeper:
    """The ledger of an engine: in its state folder, or in memory if it has none.

    A thread is part of it where the engine lives in real time, and if there is anything to keep.
    """
    folder = config.engine.state_dir
    wanted = folder is not None or bool(receivers)
    store = Store(None if folder is None else folder / LEDGER_FILE, shared.clock.now_ms)
    worker = LedgerThread() if wanted and isinstance(shared.clock, SystemClock) else LoopWorker()
    # All of them together must leave room for the rest where everything is kept in memory.
    limits = Limits(outbox_bytes_max=OUTBOX_BYTES_MAX // max(1, len(receivers)))
    tell = functools.partial(_tell, shared)
    ledger = Ledger(store, shared.clock, tell, worker=worker, rng=shared.rng, limits=limits)
    keeper = Keeper(ledger, shared, receivers=receivers, wanted=wanted)
    shared.progress.follow("ledger", keeper.committing)
    if folder is not None:
        shared.progress.follow("disk", keeper.writing)
    return keeper


def _tell(shared: Shared, notice: Notice, count: int = 1) -> None:
    now_ms = shared.clock.now_ms()
    if notice.status == "ok":
        shared.report(shared.reporter.recovered(now_ms, COMPONENT, notice.message))
        return
    shared.report(
        shared.reporter.failed(now_ms, COMPONENT, notice.reason, notice.message, status=notice.status, count=count)
    )
