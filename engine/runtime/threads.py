"""Blocking calls on a few daemon threads of the engine's own.

The host's default executor is never used: six hung calls would starve its name resolution, and its
threads would keep the process from ending. Here a call that never returns costs one thread of the pool
and blocks one owner, nobody else; the exit waits for none.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from engine.errors import LongwatchError, ProbeError

__all__ = ["ThreadPool"]

T = TypeVar("T")
_JOIN_S = 1.0  # an idle thread ends in microseconds; this bounds the unforeseen


class _Call(NamedTuple):
    owner: str
    function: Callable[[], Any]
    error: Callable[[str, str], LongwatchError]
    done: Callable[[Any, BaseException | None], None]


class ThreadPool:
    """Runs blocking functions, at most one at a time for each owner.

    Args:
        threads_max: How many threads it starts at most; further calls wait, and their time-outs run.
    """

    def __init__(self, threads_max: int) -> None:
        self.threads_max = threads_max
        self._changed = threading.Condition()
        # Everything below is read and written under the condition's lock only.
        self._queue: deque[_Call] = deque()
        self._owners: set[str] = set()
        self._threads: set[threading.Thread] = set()
        self._working: set[threading.Thread] = set()  # those inside a call; the others are, or soon will be, idle
        self._started = 0
        self._closed = False

    @property
    def busy(self) -> int:
        """Calls that wait or are under way, those included that nobody waits for any more."""
        with self._changed:
            return len(self._owners)

    @property
    def threads(self) -> int:
        """Threads alive, idle ones included."""
        with self._changed:
            return len(self._threads)

    async def call(
        self,
        owner: str,
        function: Callable[[], T],
        error: Callable[[str, str], LongwatchError] = ProbeError,
    ) -> T:
        """Run `function` on a thread and return what it returns.

        When the waiting task is cancelled the call is abandoned. One that has begun can't be ended: it counts as
        the owner's outstanding call until it returns.

        Args:
            owner: Who asks, such as `probe.host`.
            error: Builds the error from a reason and a message, for the cases below.

        Raises:
            ProbeError: Or what `error` builds. Reason `busy`: an earlier call of the owner has not returned. `raised`:
                the function raised what must not travel through an event loop, such as SystemExit. `closed`.
            Exception: What the function raised.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(value: T, raised: BaseException | None) -> None:
            if result.done():
                return
            if raised is None:
                result.set_result(value)
            elif isinstance(raised, Exception) and not isinstance(raised, StopIteration):
                result.set_exception(raised)
            else:
                result.set_exception(error("raised", f"the call raised {type(raised).__name__}"))

        def done(value: Any, raised: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, value, raised)
            except RuntimeError:
                pass  # the loop is closed, so nobody waits

        call = _Call(owner, function, error, done)
        self._submit(call)
        try:
            return await result
        except asyncio.CancelledError:
            self._withdraw(call)
            raise

    def caller(
        self, owner: str, error: Callable[[str, str], LongwatchError] = ProbeError
    ) -> Callable[[Callable[[], Any]], Awaitable[Any]]:
        """`call` for one owner, as a context hands it to a probe or a sink."""

        def call(function: Callable[[], Any]) -> Awaitable[Any]:
            return self.call(owner, function, error)

        return call

    def close(self) -> None:
        """End the idle threads and take no more calls. A busy thread ends with its call; nobody waits for it."""
        with self._changed:
            self._closed = True
            for call in self._queue:
                self._owners.discard(call.owner)
                call.done(None, call.error("closed", "the engine has stopped"))
            self._queue.clear()
            idle = self._threads - self._working
            self._changed.notify_all()
        for thread in idle:
            thread.join(_JOIN_S)

    def _submit(self, call: _Call) -> None:
        with self._changed:
            if self._closed:
                raise call.error("closed", "the engine has stopped")
            if call.owner in self._owners:
                raise call.error("busy", "an earlier blocking call has not returned")
            if len(self._queue) >= len(self._threads) - len(self._working) and len(self._threads) < self.threads_max:
                started = self._start_thread()
                if not started and not self._threads:
                    raise call.error("no_thread", "the system has no thread to give")
            self._owners.add(call.owner)
            self._queue.append(call)
            self._changed.notify()

    def _start_thread(self) -> bool:
        self._started += 1
        thread = threading.Thread(target=self._work, name=f"longwatch-call-{self._started}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._threads.add(thread)
        return True

    def _withdraw(self, call: _Call) -> None:
        with self._changed:
            if call in self._queue:
                self._queue.remove(call)
                self._owners.discard(call.owner)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            finish = functools.partial(call.done, None, None)
            try:
                finish = functools.partial(call.done, call.function(), None)
            except BaseException as raised:  # noqa: BLE001  # carried back to whoever waits
                finish = functools.partial(call.done, None, raised)
            with self._changed:
                self._owners.discard(call.owner)
                self._working.discard(threading.current_thread())  # before the answer, so that the next call finds it
            finish()
            del call, finish  # an idle thread must not keep a result alive

    def _next(self) -> _Call | None:
        thread = threading.current_thread()
        with self._changed:
            while not self._queue:
                if self._closed:
                    self._threads.discard(thread)
                    return None
                self._changed.wait()
            self._working.add(thread)
            return self._queue.popleft()
