"""The bookkeeping of one sink, shared by the workers that write to it and tell through it.

What was lost is counted by reason and told as a health event, at most once a minute for each reason, so that the
news of a failing sink can't go round through that sink for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from engine.events import HealthStatus
from engine.ports import Notices, Sink
from engine.runtime.contain import Failure, Outcome, describe
from engine.runtime.schedule import backoff_s
from engine.runtime.supervisor import Shared
from engine.text import clean

__all__ = ["Desk"]

T = TypeVar("T")
RETRY_AFTER_S_MAX: Final = 3600.0
"""The most a receiver may ask for. Sinks keep to it themselves; this holds for those that forget."""


class Desk:
    """The bookkeeping of one sink, shared by its workers.

    Args:
        component: Its address, `sink.ops`.
    """

    def __init__(self, component: str, shared: Shared) -> None:
        self.component = component
        self.shared = shared
        self.status: HealthStatus = "ok"
        self.message = ""
        self.written = 0
        self.retries = 0
        self.dropped: dict[str, int] = {}
        self.notices = 0
        self.is_open = False
        self.gave_up = False
        """Whether it could not be opened, and will not be."""
        self.draining = False
        """Whether the end has begun: no long pauses, few attempts."""
        self.ending = False
        """Whether, on top of that, nothing more will be offered."""
        self._changed = asyncio.Event()

    def note_change(self) -> None:
        """Wake whoever waits for the sink to open, or for the drain."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def opened(self) -> bool:
        """Wait until the sink is open; False if it can't be opened before the end."""
        while not self.is_open and not self.gave_up:
            await self._changed.wait()
        return self.is_open

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the drain begins."""
        if self.draining:
            await asyncio.sleep(min(seconds, 1.0))
            return
        try:
            async with asyncio.timeout(seconds):
                while not self.draining:
                    await self._changed.wait()
        except TimeoutError:
            pass  # the whole pause

    async def call(self, function: Callable[[], Awaitable[T]], timeout_s: float) -> Outcome[T]:
        """Call the sink; one that is left behind hanging gets no further call until that has ended."""
        if self.shared.containment.is_hung(self.component):
            return Outcome(None, Failure("hung", "an earlier call has not ended, and ignores being cancelled"))
        return await self.shared.containment.call(self.component, function, timeout_s)

    def works(self) -> None:
        """The sink took something."""
        self.status, self.message = "ok", ""
        self.shared.report(self.shared.reporter.recovered(self.shared.clock.now_ms(), self.component))

    def tell(self, reason: str, message: str, *, status: HealthStatus = "failed", count: int = 1) -> None:
        """Something went wrong."""
        self.status, self.message = status, message
        now_ms = self.shared.clock.now_ms()
        self.shared.report(
            self.shared.reporter.failed(now_ms, self.component, reason, message, status=status, count=count)
        )

    def take_notices(self, sink: Sink) -> None:
        """Ask a sink that has any for what it has to tell beside its errors."""
        if not isinstance(sink, Notices):
            return
        try:
            notices = [(clean(str(reason), 64), clean(str(message))) for reason, message in sink.take_notices()]
        except BaseException as error:  # noqa: BLE001  # foreign code, called from our own task
            notices = [("notices", describe(error).message)]
        now_ms = self.shared.clock.now_ms()
        for reason, message in notices:
            self.notices += 1
            self.shared.report(self.shared.reporter.failed(now_ms, self.component, reason, message, status="degraded"))

    def lose(self, reason: str, count: int) -> None:
        """Count records or messages that this sink will never see."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def retry_pause_s(self, failure: Failure, attempt: int) -> float:
        """How long to wait before the next attempt, with what the receiver asked for."""
        asked = failure.asked
        asked_s = 0.0 if asked is None else min(asked.retry_after_s, RETRY_AFTER_S_MAX)
        return max(backoff_s(attempt, self.shared.rng), asked_s)
