"""The part of a sink that acts by the clock: called at its interval, sooner after a failure, and never two at once.

Ticks that come late are not made up for. Nothing waits here that a stop would have to wait for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Final

from engine.ports import Periodic, Progress
from engine.runtime.contain import Failure
from engine.runtime.desk import Desk

__all__ = ["TickWorker"]

TICK_TIMEOUT_S: Final = 60.0
INTERVAL_S_MIN: Final = 0.1
LAST_S: Final = 2.0
"""So long a tick that is under way may still take once the drain has begun."""


class TickWorker:
    """Ticks one sink until the drain begins.

    Args:
        sink: What is called.
        desk: The sink's bookkeeping.
    """

    def __init__(self, sink: Periodic, desk: Desk) -> None:
        self._sink = sink
        self._desk = desk
        self._limit: asyncio.Timeout | None = None

    def drain(self) -> None:
        """The end has begun: a tick that is under way gets a little time."""
        if self._limit is not None and self._limit.when() is None:
            self._limit.reschedule(asyncio.get_running_loop().time() + LAST_S)

    async def run(self) -> None:
        """Tick: at once, then at each interval from the start on."""
        desk, clock = self._desk, self._desk.shared.clock
        if not await desk.opened():
            return
        start_s, failures = clock.monotonic(), 0
        while not desk.draining:
            parts = desk.shared.progress.read()
            outcome = await desk.call(lambda: self._tick(parts), TICK_TIMEOUT_S)  # noqa: B023  # called at once
            if self._cut_off(outcome.failure):
                return
            desk.take_notices(self._sink)
            if outcome.failure is None:
                failures = 0
                desk.works()
                interval_s = self._interval_s()
                passed = math.floor((clock.monotonic() - start_s) / interval_s)
                await self._pause(start_s + (passed + 1) * interval_s - clock.monotonic())
                continue
            failures += 1
            desk.retries += 1
            desk.tell(outcome.failure.reason, outcome.failure.message, status="degraded")
            await self._pause(self._pause_s(outcome.failure, failures))

    async def _tick(self, parts: Mapping[str, Progress]) -> None:
        try:
            async with asyncio.timeout(None) as self._limit:
                await self._sink.tick(parts)
        finally:
            self._limit = None

    def _cut_off(self, failure: Failure | None) -> bool:
        return self._desk.draining and failure is not None and isinstance(failure.error, TimeoutError)

    async def _pause(self, seconds: float) -> None:
        if not self._desk.draining:
            await self._desk.pause(seconds)

    def _interval_s(self) -> float:
        return max(INTERVAL_S_MIN, float(self._sink.interval_s))

    def _pause_s(self, failure: Failure, failures: int) -> float:
        """No longer than the interval, unless the other side asked for more."""
        pause_s = self._desk.retry_pause_s(failure, failures)
        asked = failure.asked
        return pause_s if asked is not None and asked.retry_after_s > 0 else min(pause_s, self._interval_s())
