"""The part of a sink that acts by the clock: called at its interval, sooner after a failure, and never two at once.

Ticks that come late are not made up for. Nothing waits here that a stop would have to wait for.
"""

from __future__ import annotations

import math
from typing import Final

from engine.errors import SinkError
from engine.ports import Periodic
from engine.runtime.contain import Failure
from engine.runtime.desk import Desk

__all__ = ["TickWorker"]

TICK_TIMEOUT_S: Final = 60.0
INTERVAL_S_MIN: Final = 0.1


class TickWorker:
    """Ticks one sink until the drain begins.

    Args:
        sink: What is called.
        desk: The sink's bookkeeping.
    """

    def __init__(self, sink: Periodic, desk: Desk) -> None:
        self._sink = sink
        self._desk = desk

    async def run(self) -> None:
        """Tick: at once, then at each interval from the start on."""
        desk, clock = self._desk, self._desk.shared.clock
        if not await desk.opened():
            return
        start_s, failures = clock.monotonic(), 0
        while not desk.draining:
            parts = desk.shared.progress.read()
            outcome = await desk.call(lambda: self._sink.tick(parts), TICK_TIMEOUT_S)  # noqa: B023  # called at once
            desk.take_notices(self._sink)
            if outcome.failure is None:
                failures = 0
                desk.works()
                interval_s = self._interval_s()
                passed = math.floor((clock.monotonic() - start_s) / interval_s)
                await desk.pause(start_s + (passed + 1) * interval_s - clock.monotonic())
                continue
            failures += 1
            desk.retries += 1
            desk.tell(outcome.failure.reason, outcome.failure.message, status="degraded")
            await desk.pause(self._pause_s(outcome.failure, failures))

    def _interval_s(self) -> float:
        return max(INTERVAL_S_MIN, float(self._sink.interval_s))

    def _pause_s(self, failure: Failure, failures: int) -> float:
        """No longer than the interval, unless the other side asked for more."""
        pause_s = self._desk.retry_pause_s(failure, failures)
        asked = isinstance(failure.error, SinkError) and failure.error.retry_after_s > 0
        return pause_s if asked else min(pause_s, self._interval_s())
