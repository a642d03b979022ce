"""The ledger as the engine's tasks see it: nothing here waits for the disk unless it is awaited.

What is handed over waits until no commit is under way, and then all of it is committed at once: there is no commit
timer. What came of it is told after the commit: of the core's steps first, and in their order. Changes that tell
nobody anything (an alert that turns pending, or no longer is) may wait a second, so that each alert costs one write.
"""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from engine.ports import Clock
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.group import Job, Ran
from engine.runtime.ledger.holding import Held, Outcome, ThenCall, Waiting
from engine.runtime.ledger.operator import Restored, put_meta
from engine.runtime.ledger.pruning import PRUNE_ROWS, prune
from engine.runtime.ledger.recall import Found
from engine.runtime.ledger.running import StoreRunner
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import Worker
from engine.runtime.ledger.transactions import record
from engine.runtime.ledger.values import LedgerStatus, Limits, Notice, Step, message_id

__all__ = ["Ledger"]

T = TypeVar("T")
HOLD_S: Final = 1.0
"""How long a change that tells nobody anything may wait for others of the same alert."""
TICK_S: Final = 1.0
UPKEEP_S: Final = 60.0
HEAL_S_MIN: Final = 1.0
HEAL_S_MAX: Final = 60.0
JOBS_MAX: Final = 10_000
TRANSITIONS_MAX: Final = 100_000


class Ledger:
    """The ledger of one engine.

    Args:
        store: What it is kept in; from now on it is this object's alone.
        clock: For event time, and for how long things take.
        tell: Called in the loop with what a person should know.
        worker: What the store is run by; a thread of its own unless told otherwise.
        rng: For the pauses between attempts to heal.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tell: Callable[[Notice], None],
        *,
        worker: Worker | None = None,
        rng: random.Random | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._runner = StoreRunner(store, clock, tell, worker)
        self._clock = clock
        self._rng = rng if rng is not None else random.Random()
        self.then_found: Callable[[Found], None] = lambda found: None
        """Is given what a file has in it that could not be read at the start, as soon as it can be."""
        self.limits = limits if limits is not None else Limits()
        self._id_base = secrets.token_hex(16)
        self._waiting: list[Waiting] = []
        self._held = Held()
        self._urgent = False
        self._timer: asyncio.TimerHandle | None = None
        self._busy_since_s: float | None = None
        self._open = False
        self._restored: Restored | None = None
        self._refused = 0
        self._dropped = (0, 0)
        self.receivers: Collection[str] | None = None
        """Who is told; None for whoever was. What others were told is forgotten in time."""

    # --- life -----------------------------------------------------------------------------------------

    async def open(self, *, fail_open: bool = False) -> Restored:
        """Open the file, on its thread; once, also if it is asked for again. Raises `LedgerError` as `Store.open` does,
        but not with `fail_open`: then it goes on in memory, tells, and `run` tries to go back to the file."""
        if self._restored is None:
            self._restored = await self._runner.open(fail_open=fail_open)
            self._open = True
        await self.call(functools.partial(put_meta, values={"clean": "0"}))
        return self._restored

    async def run(self) -> None:
        """Keep the ledger in order, for ever: checkpoints and pruning once a minute, healing when it is degraded."""
        pause_s = HEAL_S_MIN
        next_s = self._clock.monotonic() + UPKEEP_S
        while True:
            await asyncio.sleep(TICK_S)
            now_s = self._clock.monotonic()
            if self._runner.store.trouble:
                if now_s >= next_s or pause_s == HEAL_S_MIN:
                    healed = await self.heal()
                    next_s = now_s + pause_s * self._rng.uniform(0.5, 1.0)
                    pause_s = HEAL_S_MIN if healed else min(2 * pause_s, HEAL_S_MAX)
            elif now_s >= next_s:
                next_s, pause_s = now_s + UPKEEP_S, HEAL_S_MIN
                await self.upkeep()

    async def heal(self) -> bool:
        """Try to go back to the file now; returns whether the ledger is where it should be."""
        healed = await self._runner.call(self._runner.store.heal)
        if (found := self._runner.store.take_found()) is not None:
            self.then_found(found)
        return healed

    async def upkeep(self) -> None:
        """Checkpoint, look after the file, delete what nobody needs any more."""
        await self._runner.call(self._runner.store.upkeep)
        more = functools.partial(prune, limits=self.limits, now_ms=self._clock.now_ms(), receivers=self.receivers)
        while (pruned := await self.call(more)).rows:
            self._dropped = (self._dropped[0] + pruned.transitions, self._dropped[1] + pruned.told)
            if pruned.rows < PRUNE_ROWS:
                return

    async def backup(self, target: Path) -> None:
        """Write a copy to a new file, while everything goes on. Raises `LedgerError`."""
        await self._runner.call(functools.partial(self._runner.store.backup, target))

    async def close(self, last: Sequence[Job[Any]] = ()) -> bool:
        """Commit what waits and the last jobs, and close; returns whether everything is on disk.

        Cancelling this does not undo anything. It may take as long as the disk does: the caller has a deadline.
        """
        if not self._open:
            try:
                self._runner.post(self._runner.store.close, lambda *_: None)  # an opening that was cancelled happens
            except LedgerError:
                pass  # there was none, or it is closed
            await self._runner.stop()
            return False
        self._urgent = True
        try:
            await self.call(lambda _: None, writes=False)  # what was handed over until now is committed before it
        except LedgerError:
            pass  # what waits is committed by then, or never
        self._open = False
        clean: Job[None] = Job(functools.partial(put_meta, values={"clean": "1"}))
        try:
            return bool(await self._runner.call(functools.partial(self._runner.store.close, [*last, clean])))
        finally:
            await self._runner.stop()

    # --- handing over -----------------------------------------------------------------------------------

    def record(self, step: Step, then: ThenCall | None = None, *, urgent: bool = True) -> bool:
        """T1: hand over what a step of the core changed; never waits.

        Args:
            then: Called in the loop after the commit; the outcome's value has the number of each of its transitions.
            urgent: False if nobody is told anything by it; then it may wait for `HOLD_S`.

        Returns:
            Whether its transitions were taken. If too many wait they are not, and `then` is not called; the rows of
            its alerts are taken in any case, so that the reconcile can find what was missed.
        """
        if not self._open:
            return False
        taken = self._held.transitions + len(step.transitions) <= TRANSITIONS_MAX and self._held.parts < JOBS_MAX
        if taken:
            self._held.add(step, then)
        else:
            self._refused += len(step.transitions)
            self._held.add(step._replace(transitions=()), None)
        if urgent:
            self._release()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_S, self._release)
        return taken

    def submit(self, job: Job[Any], then: ThenCall | None = None) -> bool:
        """Hand over any other transaction, such as T2; never waits. Returns whether there was room for it."""
        if not self._open or len(self._waiting) >= JOBS_MAX:
            self._refused += 1
            return False
        self._waiting.append(Waiting(job, then))
        self._next()
        return True

    async def call(self, function: Callable[[Any], T], *, writes: bool = True) -> T:
        """Run one transaction and wait for it. When the waiting task is cancelled, the write happens all the same.

        Raises:
            LedgerError: Why nothing came of it.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def then(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        if not self.submit(Job(function, writes), then):
            reason = "overflow" if self._open else "closed"
            raise LedgerError(reason, "the ledger takes nothing now")
        outcome = await future
        if outcome.error is not None:
            raise outcome.error
        value: T = outcome.value
        return value

    def message_id(self, receiver: str, seq: int, part: int = 0) -> str:
        """The idempotency key of a message (`values.message_id`)."""
        return message_id(self._id_base, receiver, seq, part)

    def status(self) -> LedgerStatus:
        """How it is now."""
        store = self._runner.store
        busy_s = 0.0 if self._busy_since_s is None else self._clock.monotonic() - self._busy_since_s
        kept = "disk" if not store.in_memory else "degraded" if store.trouble else "memory"
        return LedgerStatus(
            kept,
            store.trouble,
            busy_s,
            len(self._waiting) + self._held.parts,
            self._refused,
            store.groups,
            store.degraded_total,
            store.resets_total,
            store.log_bytes,
            store.has_ballast,
            *self._dropped,
            self._runner.unkept_s,
        )

    # --- groups -----------------------------------------------------------------------------------------

    def _release(self) -> None:
        """What was held may be committed."""
        self._urgent = True
        self._next()

    def _next(self) -> None:
        """Commit all that waits, unless a commit is under way: what comes meanwhile goes with the next."""
        if self._busy_since_s is not None or not (self._waiting or self._urgent):
            return
        waiting, self._waiting = self._waiting, []
        if self._held and (self._urgent or any(each.job.writes for each in waiting)):  # in the second case for nothing
            step, then = self._held.take()
            waiting.insert(0, Waiting(Job(functools.partial(record, step=step)), then))
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._urgent = False
        if not waiting:
            return
        self._busy_since_s = self._clock.monotonic()
        jobs = [each.job for each in waiting]
        try:
            self._runner.post(
                functools.partial(self._runner.store.run, jobs), functools.partial(self._committed, waiting)
            )
        except LedgerError as error:
            self._committed(waiting, None, error)

    def _committed(self, waiting: list[Waiting], ran: Ran | None, error: BaseException | None) -> None:
        self._busy_since_s = None
        failure = None if error is None else ledger_error(error, "the ledger")
        results: Sequence[Any] = [failure] * len(waiting) if ran is None else ran.results
        durable = ran is not None and ran.durable
        loop = asyncio.get_running_loop()
        for each, result in zip(waiting, results, strict=True):
            if each.then is None:
                continue
            wrong = result if isinstance(result, LedgerError) else None
            outcome = Outcome(None if wrong is not None else result, durable and wrong is None, wrong)
            loop.call_soon(each.then, outcome)  # in order, and one that raises is the loop's to tell
        self._next()
