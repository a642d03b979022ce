"""The one task that enters the core: it drains the channel, feeds, advances, and hands on what came of it.

The core is stepped in slices, so that a host's loop is not held; nobody else enters it while a step is under way, and
readers see the last published version. Nothing here waits for a sink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Final

from engine.events import Event, Health, SampleBatch, Transition
from engine.runtime.blindness import Blindness
from engine.runtime.contain import describe
from engine.runtime.internal import InternalAlerts
from engine.runtime.keyseries import SERIES_MAX
from engine.runtime.past import Refiller
from engine.runtime.restarting import AlertKeeper
from engine.runtime.stepped import CoreLike, Published
from engine.runtime.supervisor import Shared
from engine.status import AlertStatus

__all__ = ["ALERTS_MAX", "FREED_PER_STEP", "CoreLike", "Published", "Stepper", "letting_go"]

WAIT_S_MIN: Final = 0.001
"""A timer that was due at the last step already is waited for this long, so that the loop is not held whatever the core
says."""
NEWS_EVERY_MS: Final = 1_000
ALERTS_MAX: Final = 200
"""Alerts that a status lists: each costs the rendering of its annotations. How many there are is counted."""
FREED_PER_STEP: Final = 4_096
WAKE_MS_MAX: Final = 1_000
"""It looks at the clocks at least this often, however coarse the rules' resolution is."""


class Stepper:
    """Steps the core until the channel is closed and drained.

    Args:
        core: The core. From now on it is this object's alone.
        shared: The engine's clock, channel and so on.
        resolution_ms: The core is advanced at least this often, at multiples of it.
        slice_s: How long a step may hold the loop.
        key_metrics: Metrics whose latest values are published, for the view, as far as there is room.
        own: Called at each step with the time; the engine's own metrics, if they are due.
        deliver: Takes the events and the transitions of one step; waits for nothing but its turns of the loop, and does
            not keep the lists.
        record: Takes the transitions of each step, none included, and the time up to which it has judged, for the
            ledger, which may keep the list; waits for nothing but its turns of the loop.
        blindness: Watches for what can't be seen; by default one for clock, loop and channel alone.
        internal: The alerts of the engine's own; by default that about blindness alone.
        refiller: Knows the past.
        keeper: Keeps what changes of alerts.
        resume: Takes back, given the time, what was kept; returns the alerts that ended with that.
        resumed: Called once the core has what there was to take back.
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
        deliver: Callable[[list[Event], list[Transition]], Awaitable[None]],
        record: Callable[[list[Transition], int], Awaitable[None]] | None = None,
        blindness: Blindness | None = None,
        internal: InternalAlerts | None = None,
        refiller: Refiller | None = None,
        keeper: AlertKeeper | None = None,
        resume: Callable[[int], Awaitable[list[Transition]]] | None = None,
        resumed: Callable[[], None] = lambda: None,
    ) -> None:
        self._core = core
        self._shared = shared
        self._wake_ms = min(resolution_ms, WAKE_MS_MAX)
        self._slice_s = slice_s
        self._key_metrics = key_metrics
        self._own = own
        self._deliver = deliver
        self._record = record
        self._inside = False
        self._published = Published()
        self._published_step = -1
        self.blindness = blindness if blindness is not None else Blindness(shared)
        self._internal = internal if internal is not None else InternalAlerts([self.blindness])
        self._refiller = refiller
        self._keeper = keeper
        self._resume = resume
        self._resumed = resumed
        self._ended: list[Transition] = []  # at the start
        self._wake_s = 0.0
        self._stepped_ms = -1
        self._news_ms = 0
        self.steps = 0
        self.step_s = 0.0
        self.errors = 0

    @property
    def ended(self) -> Sequence[Transition]:
        """Alerts that ended when they were taken back, until the first step has handed them on."""
        return self._ended

    async def run(self) -> None:
        """Step, for as long as the channel is open or holds anything; then advance once more."""
        self._plan_wake()
        with self.blindness.watching():
            # Before anything else: counters that start at 0 must be older than the first event they count.
            begun_ms = self._shared.clock.now_ms()
            await self._refill(begun_ms, away=await self._take_back(begun_ms))
            await self._step([], begun_ms - 1)
            while True:
                batch = await self._next_batch()
                deadline_ms = self._core.next_deadline()
                due = deadline_ms is not None and deadline_ms <= self._shared.clock.now_ms()
                events = self.blindness.complete(batch or [], due=due)
                now_ms = self._shared.clock.now_ms()  # before any await: what is queued after this is not older
                await self._step(events, now_ms, end=batch is None)
                if batch is None:
                    return
                self._tell_news(now_ms)

    def published(self) -> Published:
        """The core as it is between two steps, or as it was before the one that is under way."""
        if not self._inside and self._published_step != self.steps:
            try:
                self._publish()
            except Exception as error:  # noqa: BLE001  # a bug in the core must not reach who asks how things are
                self._note_error(error)
            self._published_step = self.steps
        return self._published

    def alerts(self) -> Sequence[AlertStatus]:
        """Every alert; while a step is under way the foremost ones of the version before it."""
        if self._inside:
            return self._published.alerts
        try:
            return [*self._internal.statuses(self._shared.clock.now_ms()), *self._core.alerts()]
        except Exception as error:  # noqa: BLE001  # as in `published`
            self._note_error(error)
            return self._published.alerts

    def _publish(self) -> None:
        gauges: dict[str, float] = {}
        for metric in self._key_metrics:
            gauges.update(self._core.latest(metric, SERIES_MAX - len(gauges)))
        core, own = self._core, self._internal.statuses(self._shared.clock.now_ms())
        alerts = [*own, *core.alerts(ALERTS_MAX - len(own))]
        counts, counters = dict(core.alert_counts()), dict(core.counters())
        counts["firing"] = counts.get("firing", 0) + len(own)
        counters["transitions_total"] = counters.get("transitions_total", 0) + self._internal.transitions_total
        self._published = Published(alerts, counts, counters, core.series_count, gauges)

    def _plan_wake(self) -> None:
        clock = self._shared.clock
        to_next_ms = self._wake_ms - clock.now_ms() % self._wake_ms
        self._wake_s = clock.monotonic() + to_next_ms / 1000

    async def _next_batch(self) -> list[Event] | None:
        """What has come in, nothing if it is time to advance, or None at the end."""
        clock, channel = self._shared.clock, self._shared.channel
        wait_s = self._wake_s - clock.monotonic()
        deadline_ms = self._core.next_deadline()
        least_s = WAIT_S_MIN
        if deadline_ms is not None:
            wait_s = min(wait_s, (deadline_ms - clock.now_ms()) / 1000)
            if deadline_ms > self._stepped_ms:  # it has come since the last step began: one turn of the loop is enough
                least_s = 0.0
        batch: list[Event] = []
        try:
            async with asyncio.timeout(max(wait_s, least_s)):
                batch = await channel.get_batch(channel.capacity_samples)
            if not batch:
                return None
        except TimeoutError:
            pass  # nothing came: advance
        if clock.monotonic() >= self._wake_s:
            self._plan_wake()
        return batch

    async def _step(self, batch: list[Event], now_ms: int, *, end: bool = False) -> None:
        clock = self._shared.clock
        begun_s = clock.monotonic()
        own = self._own(now_ms)
        if own is not None:
            batch.append(own)
        self._inside, self._stepped_ms = True, now_ms
        try:
            transitions = await self._drive(self._core.feeding(batch, self._note_error)) if batch else []
            transitions += await self._drive(self._core.advancing(now_ms))
            if self._keeper is not None:
                if end:
                    self._keeper.end()
                transitions += await self._drive(self._keeper.changing(now_ms))
            health = self._take_health()
        finally:
            self._inside = False
        self.steps += 1
        ended_s = clock.monotonic()
        self.step_s += ended_s - begun_s
        self._shared.progress.made("core", ended_s)
        ended, self._ended = self._ended, []
        transitions = ended + transitions + self._internal.transitions(now_ms, end=end)
        if self._record is not None:
            await self._record(transitions, now_ms)
        records = self.blindness.record(batch, now_ms, end=end)
        if records or transitions:
            await self._deliver(records, transitions)
            if self._record is None:  # the ledger keeps them until they are committed
                await self._drive(letting_go(transitions))
        for event in health:
            self._send(event, now_ms)

    async def _take_back(self, now_ms: int) -> bool:
        """Let the core have the alerts that were there; return whether it was away."""
        resume, self._resume = self._resume, None  # once, also if this task is begun again
        if resume is not None:
            self._inside = True
            try:
                self._ended = await resume(now_ms)
            except Exception as error:  # noqa: BLE001  # as in `_drive`
                self._note_error(error)
            finally:
                self._inside = False
        resumed, self._resumed = self._resumed, lambda: None
        resumed()
        return resume is not None and self._keeper is not None and self._keeper.took

    async def _refill(self, now_ms: int, *, away: bool) -> None:
        """Let the core know what was before, as far as it asks and there is a history, and end its downtime."""
        steps = None
        if self._refiller is not None:
            try:
                steps = await self._refiller.steps(now_ms)
            except Exception as error:  # noqa: BLE001  # as in `_drive`
                self._note_error(error)
        if steps is None and self._keeper is not None and away:
            steps = self._keeper.resuming(now_ms)
        if steps is not None:
            self._inside = True
            try:
                await self._drive(steps)
            finally:
                self._inside = False

    def _take_health(self) -> list[Health]:
        try:
            return self._core.take_health()
        except Exception as error:  # noqa: BLE001  # as in `_drive`
            self._note_error(error)
            return []

    async def _drive(self, step: Generator[None, None, list[Transition] | None]) -> list[Transition]:
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
            transitions: list[Transition] | None = end.value
            return transitions or []
        except Exception as error:  # noqa: BLE001  # a bug in the core must not end the watch
            self._note_error(error)
            return []

    def _note_error(self, error: Exception) -> None:
        self.errors += 1
        now_ms = self._shared.clock.now_ms()
        self._shared.report(self._shared.reporter.failed(now_ms, "core", "raised", describe(error).message))

    def _tell_news(self, now_ms: int) -> None:
        """Once a second: what was held back so that nothing is told too often, and is due."""
        if now_ms - self._news_ms >= NEWS_EVERY_MS:
            self._news_ms = now_ms
            self._shared.report(self._shared.reporter.due(now_ms))

    def _send(self, event: Health, now_ms: int) -> None:
        """Put the core's own news on the common road, rarely enough that it can't feed itself."""
        if event.status != "ok":
            told = self._shared.reporter.failed(
                now_ms, event.component, event.reason, event.message, status=event.status, count=event.count
            )
        else:
            told = self._shared.reporter.recovered(now_ms, event.component, event.message)
        self._shared.report(told)


def letting_go(transitions: list[Transition]) -> Generator[None, None, None]:
    """Empty a list, in steps: very many transitions at once take tens of milliseconds to go."""
    while len(transitions) > FREED_PER_STEP:
        del transitions[-FREED_PER_STEP:]
        yield
