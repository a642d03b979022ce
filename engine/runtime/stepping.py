"""The one task that enters the core: it drains the channel, feeds, advances, and hands on what came of it.

The core is stepped in slices, so that a host's loop is not held; nobody else enters it while a step is under way, and
readers see the last published version. Nothing here waits for a sink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple, Protocol

from engine.events import Event, Health, SampleBatch, Transition
from engine.runtime.contain import describe
from engine.runtime.supervisor import Shared
from engine.status import AlertStatus

__all__ = ["CoreLike", "Published", "Stepper"]

WAIT_S_MIN: Final = 0.001
"""A timer that is due already is waited for this long, so that the loop gets its turn whatever the core says."""
DROPS_TOLD_EVERY_MS: Final = 1_000
DROPS_OVER_AFTER_MS: Final = 10_000
"""After this long without a dropped sample the channel counts as recovered."""
LAG_S_MAX: Final = 1.0
"""A loop turn later than this is told as a health event."""


class CoreLike(Protocol):
    """What the stepper needs of the core (`engine.core.evaluator.Core`)."""

    def feeding(self, events: Sequence[Event]) -> Generator[None, None, list[Transition]]: ...
    def advancing(self, now_ms: int) -> Generator[None, None, list[Transition]]: ...
    def next_deadline(self) -> int | None: ...
    def alerts(self) -> list[AlertStatus]: ...
    def latest(self, metric: str) -> dict[str, float]: ...
    def counters(self) -> dict[str, int]: ...
    def take_health(self) -> list[Health]: ...
    @property
    def series_count(self) -> int: ...


class Published(NamedTuple):
    """The core as readers see it."""

    alerts: Sequence[AlertStatus] = ()
    counters: dict[str, int] = {}  # never written to
    series: int = 0
    gauges: dict[str, float] = {}  # never written to


class Stepper:
    """Steps the core until the channel is closed and drained.

    Args:
        core: The core. From now on it is this object's alone.
        shared: The engine's clock, channel and so on.
        resolution_ms: The core is advanced at least this often, at multiples of it.
        slice_s: How long a step may hold the loop.
        key_metrics: Metrics whose latest values are published, for the view.
        own: Called at each step with the time; the engine's own metrics, if they are due.
        deliver: Takes the events and the transitions of one step; must not wait.
    """

    def __init__(
        self,
        core: CoreLike,
        shared: Shared,
        *,
        resolution_ms: int,
        slice_s: float,
        key_metrics: Sequence[str],
        own: Callable[[int], SampleBatch | None],
        deliver: Callable[[list[Event], list[Transition]], None],
    ) -> None:
        self._core = core
        self._shared = shared
        self._resolution_ms = resolution_ms
        self._slice_s = slice_s
        self._key_metrics = key_metrics
        self._own = own
        self._deliver = deliver
        self._inside = False
        self._published = Published()
        self._wake_s = 0.0
        self._drops = 0
        self._drops_at_ms: int | None = None
        self._looked_ms = 0
        self.lag_s = 0.0
        self.lag_s_max = 0.0
        self.steps = 0
        self.step_s = 0.0
        self.errors = 0

    async def run(self) -> None:
        """Step, for as long as the channel is open or holds anything; then advance once more."""
        self._plan_wake()
        # Before anything else: counters that start at 0 must be older than the first event they count.
        await self._step([], self._shared.clock.now_ms() - 1)
        while True:
            batch = await self._next_batch()
            now_ms = self._shared.clock.now_ms()  # before any await: what is queued after this is not older
            if batch is None:
                break
            await self._step(batch, now_ms)
            self._look_at_drops(now_ms)
        await self._step([], now_ms)

    def published(self) -> Published:
        """The core as it is between two steps, or as it was before the one that is under way."""
        if not self._inside:
            self._publish()
        return self._published

    def _publish(self) -> None:
        gauges: dict[str, float] = {}
        for metric in self._key_metrics:
            gauges.update(self._core.latest(metric))
        self._published = Published(self._core.alerts(), self._core.counters(), self._core.series_count, gauges)

    def _plan_wake(self) -> None:
        clock = self._shared.clock
        to_next_ms = self._resolution_ms - clock.now_ms() % self._resolution_ms
        self._wake_s = clock.monotonic() + to_next_ms / 1000

    async def _next_batch(self) -> list[Event] | None:
        """What has come in, nothing if it is time to advance, or None at the end."""
        clock, channel = self._shared.clock, self._shared.channel
        wait_s = self._wake_s - clock.monotonic()
        deadline_ms = self._core.next_deadline()
        if deadline_ms is not None:
            wait_s = min(wait_s, (deadline_ms - clock.now_ms()) / 1000)
        batch: list[Event] = []
        try:
            async with asyncio.timeout(max(wait_s, WAIT_S_MIN)):
                batch = await channel.get_batch(channel.capacity_samples)
            if not batch:
                return None
        except TimeoutError:
            pass  # nothing came: advance
        self._measure_lag()
        return batch

    def _measure_lag(self) -> None:
        """How late the wake-up was, if it was time for one."""
        late_s = self._shared.clock.monotonic() - self._wake_s
        if late_s < 0:
            return
        self.lag_s = late_s
        self.lag_s_max = max(self.lag_s_max, late_s)
        self._plan_wake()
        now_ms = self._shared.clock.now_ms()
        reporter = self._shared.reporter
        if late_s > LAG_S_MAX:
            message = f"the event loop was held for {late_s:.1f} s"
            self._shared.report(reporter.failed(now_ms, "loop", "lag", message, status="degraded"))
        else:
            self._shared.report(reporter.recovered(now_ms, "loop"))

    async def _step(self, batch: list[Event], now_ms: int) -> None:
        clock = self._shared.clock
        begun_s = clock.monotonic()
        own = self._own(now_ms)
        if own is not None:
            batch.append(own)
        self._inside = True
        try:
            transitions = await self._drive(self._core.feeding(batch)) if batch else []
            transitions += await self._drive(self._core.advancing(now_ms))
            health = self._core.take_health()
        finally:
            self._inside = False
        self.steps += 1
        self.step_s += clock.monotonic() - begun_s
        if batch or transitions:
            self._deliver(batch, transitions)
        for event in health:
            self._send(event, now_ms)

    async def _drive(self, step: Generator[None, None, list[Transition]]) -> list[Transition]:
        """Run one step of the core, giving way to the loop after each slice."""
        clock = self._shared.clock
        until_s = clock.monotonic() + self._slice_s
        try:
            while True:
                next(step)
                if clock.monotonic() >= until_s:
                    await asyncio.sleep(0)
                    until_s = clock.monotonic() + self._slice_s
        except StopIteration as end:
            transitions: list[Transition] = end.value
            return transitions
        except Exception as error:  # noqa: BLE001  # a bug in the core must not end the watch
            self.errors += 1
            now_ms = self._shared.clock.now_ms()
            self._shared.report(self._shared.reporter.failed(now_ms, "core", "raised", describe(error).message))
            return []

    def _send(self, event: Health, now_ms: int) -> None:
        """Put the core's own news on the common road, rarely enough that it can't feed itself."""
        if event.status != "ok":
            told = self._shared.reporter.failed(
                now_ms, event.component, event.reason, event.message, status=event.status, count=event.count
            )
        else:
            told = self._shared.reporter.recovered(now_ms, event.component, event.message)
        self._shared.report(told)

    def _look_at_drops(self, now_ms: int) -> None:
        """Tell of dropped samples, at most once a second."""
        if now_ms - self._looked_ms < DROPS_TOLD_EVERY_MS:
            return
        self._looked_ms = now_ms
        dropped = self._shared.channel.statistics().dropped
        total = sum(dropped.values())
        new, self._drops = total - self._drops, total
        reporter = self._shared.reporter
        if new > 0:
            self._drops_at_ms = now_ms
            message = "samples were dropped: " + ", ".join(f"{n} {why}" for why, n in sorted(dropped.items()))
            self._shared.report(
                reporter.failed(
                    now_ms, "channel", "full", message, status="degraded", count=new, repeat_ms=DROPS_TOLD_EVERY_MS
                )
            )
        elif self._drops_at_ms is not None and now_ms - self._drops_at_ms >= DROPS_OVER_AFTER_MS:
            self._drops_at_ms = None
            self._shared.report(reporter.recovered(now_ms, "channel"))
