"""The store and the worker that runs it, from the opening on: one pair, until the disk does not answer.

A disk that hangs must not keep the engine from beginning (F15): after `OPEN_S` it begins in memory, with another
worker, while the first one goes on waiting for what it has begun. Until that is back nothing touches the disk.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from engine.ports import Clock
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.operator import Restored
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import LedgerThread, Then, Worker
from engine.runtime.ledger.values import Notice

__all__ = ["LOCKED_S", "OPEN_S", "StoreRunner"]

T = TypeVar("T")
OPEN_S: Final = 10.0
"""How long the opening may take, a lock that is waited for included: as long as that of any other part. A disk that
turns idle spins up in less, and nobody is watched for meanwhile."""
LOCKED_S: Final = 3.0
"""For so long a file that is locked is tried again. With the five seconds that SQLite waits for a lock each time, and
one more to read it all the same, that is within `OPEN_S`."""
LOCKED_PAUSE_S: Final = 0.2


class StoreRunner:
    """Runs a store's functions in their order.

    Args:
        store: From now on it is this object's alone.
        clock: For how long things take.
        tell: Called in the loop with what a person should know.
        worker: What the store is run by; a thread of its own unless told otherwise.
    """

    def __init__(self, store: Store, clock: Clock, tell: Callable[[Notice], None], worker: Worker | None) -> None:
        self.store = store
        self._clock = clock
        self._tell = tell
        self._worker = worker if worker is not None else LedgerThread()
        self._unkept_since_s: float | None = None

    @property
    def unkept_s(self) -> float:
        """For how long what should be on disk has been kept in memory alone."""
        return 0.0 if self._unkept_since_s is None else self._clock.monotonic() - self._unkept_since_s

    async def open(self, *, fail_open: bool) -> Restored:
        """As `Ledger.open`. Raises `LedgerError`; `hung` if the disk does not answer."""
        self._worker.start()
        try:
            async with asyncio.timeout(OPEN_S):
                return await self._opened(fail_open=fail_open)
        except TimeoutError:
            error = LedgerError("hung", f"{self.store.name}: the disk has not answered for {OPEN_S:g} s")
            aside = self._step_aside()
        if not fail_open:
            raise error
        self.store, self._worker = aside, LedgerThread()
        self._worker.start()
        return await self.call(functools.partial(aside.open_degraded, error))

    async def _opened(self, *, fail_open: bool) -> Restored:
        until_s = self._clock.monotonic() + LOCKED_S
        while True:
            try:
                return await self.call(self.store.open)
            except LedgerError as error:
                if error.reason != "locked" or self._clock.monotonic() >= until_s:
                    if not fail_open:
                        raise
                    return await self.call(functools.partial(self.store.open_degraded, error))
            await asyncio.sleep(LOCKED_PAUSE_S)

    def _step_aside(self) -> Store:
        """Leave the worker to what it has begun, whose end it closes; return a store that waits for that."""
        hung, worker = self.store, self._worker
        aside = hung.successor()

        def back(value: Any, error: BaseException | None) -> None:
            aside.waits = False

        worker.post(hung.drop, back)
        worker.leave()
        return aside

    def post(self, function: Callable[[], Any], then: Then) -> None:
        """Run a function of the store, tell what there is to tell, then call back. Raises `LedgerError`: `overflow`,
        `closed`."""
        store = self.store

        def run() -> tuple[Any, BaseException | None, list[Notice]]:
            try:
                return function(), None, store.take_notices()
            except Exception as raised:  # noqa: BLE001  # it is raised again where it is waited for
                return None, raised, store.take_notices()

        def done(found: tuple[Any, BaseException | None, list[Notice]] | None, error: BaseException | None) -> None:
            value, raised, notices = found if found is not None else (None, error, [])
            self._look()
            for notice in notices:
                self._tell(notice)
            then(value, raised)

        self._worker.post(run, done)

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function of the store and wait for it. Raises what it raised, and `LedgerError`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def then(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(ledger_error(error, "the ledger"))

        self.post(function, then)
        return await future

    async def stop(self) -> None:
        """Return when everything that was posted is done; takes no more."""
        await self._worker.stop()

    def _look(self) -> None:
        if not self.store.trouble:
            self._unkept_since_s = None
        elif self._unkept_since_s is None:
            self._unkept_since_s = self._clock.monotonic()
