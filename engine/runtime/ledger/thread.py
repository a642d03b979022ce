"""The one thread on which the ledger blocks: owned, a daemon, with a bounded queue.

It is a daemon because a disk that hangs must not keep a host's process from ending (M10). What it has begun is never
cancelled: a caller that goes away leaves a write that happens (M8).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from engine.runtime.ledger.errors import LedgerError

__all__ = ["LedgerThread", "LoopWorker", "Then", "Worker"]

CALLS_MAX: Final = 32
_JOIN_S: Final = 1.0  # it ends in microseconds then; this bounds the unforeseen
Then: TypeAlias = Callable[[Any, BaseException | None], None]


class Worker(Protocol):
    """Runs functions in their order, one at a time, and calls back in the loop."""

    def start(self) -> None:
        """Be ready; called in the loop."""

    def post(self, function: Callable[[], Any], then: Then) -> None:
        """Run `function`, then call `then` in the loop with its value or what it raised.

        Raises:
            LedgerError: `overflow`: too many wait. `closed`.
        """

    def leave(self) -> None:
        """Take no more, and end when everything that was posted is done; nobody waits for that."""

    async def stop(self) -> None:
        """Return when everything that was posted is done; takes no more."""


class LedgerThread:
    """A `Worker` on a thread of its own."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[[], Any], Then] | None] = queue.Queue(CALLS_MAX)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if it does not run already."""
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="longwatch ledger", daemon=True)
        self._thread.start()

    def post(self, function: Callable[[], Any], then: Then) -> None:
        """As in `Worker`."""
        if self._loop is None:
            raise LedgerError("closed", "the ledger is closed")
        try:
            self._calls.put_nowait((function, then))
        except queue.Full:
            raise LedgerError("overflow", "too many calls wait for the ledger") from None

    def leave(self) -> None:
        """As in `Worker`."""
        if self._loop is not None:
            self._loop = None
            try:
                self._calls.put_nowait(None)
            except queue.Full:
                pass  # it is stuck, and ends with the process

    async def stop(self) -> None:
        """As in `Worker`. Cancelling this does not stop what the thread has begun."""
        if self._ended is None:
            return
        self.leave()
        await asyncio.shield(self._ended)
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        loop, ended = self._loop, self._ended
        assert loop is not None
        assert ended is not None
        while (call := self._calls.get()) is not None:
            function, then = call
            value: Any = None
            error: BaseException | None = None
            try:
                value = function()
            except BaseException as raised:  # noqa: BLE001  # nothing may end this thread but its owner
                error = raised
            _in_loop(loop, then, value, error)
            del call, function, then, value, error  # an idle thread holds nothing
        _in_loop(loop, _set, ended)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        pass  # the loop is closed, so nobody waits


class LoopWorker:
    """A `Worker` without a thread, in the loop itself: for an engine that lives in virtual time, and for one that has
    nothing to keep."""

    def start(self) -> None:
        """There is nothing to start."""

    def post(self, function: Callable[[], Any], then: Then) -> None:
        """As in `Worker`, at the loop's next turn."""

        def run() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = function()
            except Exception as raised:  # noqa: BLE001  # it is told where it is waited for
                error = raised
            then(value, error)

        asyncio.get_running_loop().call_soon(run)

    def leave(self) -> None:
        """As in `Worker`."""

    async def stop(self) -> None:
        """As in `Worker`."""
        await asyncio.sleep(0)
