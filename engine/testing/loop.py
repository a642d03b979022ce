"""Virtual time: an event loop on which waiting costs nothing.

Its selector does not sleep: when nothing is ready it moves the loop's clock to the next timer. A day of
one-second ticks takes a second or two, and every time-out fires at its exact instant. It is meant for fakes.
Threads and sockets live in real time: while a call of `run_in_executor` is under way, or inside `hold()`, virtual
time stands still; any other thread is invisible, and waiting for it is reported as a deadlock.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from engine.clock import BootTime, Reading, Timeline
from engine.ports import ClockJump

__all__ = ["START_MS", "DeadlockError", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z: where virtual wall time starts unless told otherwise."""
_RESOLUTION_S = 1e-9  # asyncio adds the resolution of the system's clock when it looks which timers are due
_REAL_WAIT_S = 0.001  # one look at real work in flight; virtual time stands meanwhile


class DeadlockError(RuntimeError):
    """Everything waits and no timer is set: under virtual time nothing can ever happen again."""

    def __init__(self) -> None:
        super().__init__(
            "nothing is ready and no timer is set: every task waits for another, or for a thread or a socket, "
            "which do not work under virtual time (use a fake, or loop.hold())"
        )


class _VirtualSelector(selectors.DefaultSelector):
    """A selector that moves the clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.in_flight = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.in_flight:
            return super().select(_REAL_WAIT_S)
        if timeout is None:
            raise DeadlockError
        self.now_s += max(timeout, 0.0)
        if self.now_s + _RESOLUTION_S == self.now_s:  # decades on: asyncio asks for later than the timer, not for equal
            self.now_s = math.nextafter(self.now_s, math.inf)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, which starts at 0.0."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now_s

    def stall(self, seconds: float) -> None:
        """Let time pass while nothing runs, as if somebody's code had held the loop."""
        self._virtual.now_s += seconds

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let virtual time stand still while something real is waited for."""
        self._virtual.in_flight += 1
        try:
            yield
        finally:
            self._virtual.in_flight -= 1

    def run_in_executor(  # type: ignore[override]  # the types of the arguments do not matter here
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As in every loop; time stands still until the call has returned."""
        future = super().run_in_executor(executor, func, *args)
        self._virtual.in_flight += 1
        future.add_done_callback(self._landed)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As in every loop; the threads it waits for live in real time."""
        with self.hold():
            await super().shutdown_default_executor(*args)

    def _landed(self, _: asyncio.Future[Any]) -> None:
        self._virtual.in_flight -= 1


class VirtualClock:
    """The clocks of a loop, for everything that takes a `Clock`: the same event time as on a real machine
    (`engine.clock.Timeline`), over a wall clock that can be set and a machine that can be put to sleep.

    Args:
        loop: Usually a `VirtualLoop`; any loop will do.
        start_ms: Wall time at the loop's time 0, milliseconds since the epoch.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ms: int = START_MS) -> None:
        self._loop = loop
        self._wall_ms = start_ms  # at the loop's time 0
        self._slept_ms = 0
        self._timeline = Timeline(Reading(start_ms * 1_000_000, 0))
        self._last_ms = start_ms

    def now_ms(self) -> int:
        """Event time, never less than the last answer. A wall clock that was set shows in it after `look` alone."""
        self._last_ms = max(self._last_ms, self._timeline.at(self._monotonic_ns()))
        return self._last_ms

    def wall_ms(self) -> int:
        """What a watch on the wall shows."""
        return self._wall_ms + self._monotonic_ns() // 1_000_000

    def wall_now_ms(self) -> int:
        """The same, by the name that sinks know it by."""
        return self.wall_ms()

    def monotonic(self) -> float:
        """The loop's own time, in seconds."""
        return self._loop.time()

    def look(self) -> ClockJump | None:
        """Compare event time with the wall clock, as `SystemClock` does; a running engine does so by itself."""
        reading = Reading(self.wall_ms() * 1_000_000, self._monotonic_ns(), self._slept_ms * 1_000_000)
        return self._timeline.look(reading)

    def boot(self) -> BootTime | None:
        """The boot clock: the loop's time, and what the machine slept."""
        return BootTime("virtual", self._monotonic_ns() // 1_000_000 + self._slept_ms)

    async def sleep(self, seconds: float) -> None:
        """Let time pass: everything that is due meanwhile happens."""
        await asyncio.sleep(seconds)

    def step(self, by_ms: int) -> None:
        """Set the wall clock forward or back, as a time server does; the monotonic clock does not notice."""
        self._wall_ms += by_ms

    def suspend(self, by_ms: int) -> None:
        """Put the machine to sleep: wall clock and boot clock run on, the monotonic clock and the loop do not."""
        self._wall_ms += by_ms
        self._slept_ms += by_ms

    def _monotonic_ns(self) -> int:
        return round(self._loop.time() * 1000) * 1_000_000


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, start_ms: int = START_MS) -> T:
    """Run an async function in virtual time and return what it returns.

    Args:
        main: Called with the clock of the new loop.
        start_ms: Wall time at the start, milliseconds since the epoch.

    Raises:
        DeadlockError: Everything waits, and nothing is left that could happen.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main(VirtualClock(runner.get_loop(), start_ms)))
