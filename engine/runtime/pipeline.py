"""The only task group: what runs side by side, in which order it stops, and the one deadline for that.

Every component is supervised on its own: one that fails is told, waited for and started again, and no failure
cancels a sibling. The core begins when the ledger is open. The stop goes with the stream: probes end, the core drains
the channel and advances once more, what follows is decided, messages are told, records are written, everything is
closed. A cancellation from outside means the same; a second one means at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from engine.events import Event, Record, Transition
from engine.ports import RecordKind
from engine.runtime.commands.server import CommandServer
from engine.runtime.contain import describe, settle
from engine.runtime.deciding import Policy
from engine.runtime.delivery import SinkRunner
from engine.runtime.keeping import Keeper
from engine.runtime.queues import kind_of
from engine.runtime.reconcile import Reconcile
from engine.runtime.recording import RECORDS_PER_TURN
from engine.runtime.schedule import backoff_s
from engine.runtime.sentinel import Sentinel
from engine.runtime.statefiles import StatusFile
from engine.runtime.stepping import Stepper
from engine.runtime.supervisor import ProbeRunner, Shared
from engine.runtime.threads import ThreadPool
from engine.runtime.turns import in_turns

if TYPE_CHECKING:
    from engine.http.build import Listener  # brings aiohttp

__all__ = ["Parts", "Pipeline", "deliver_to"]

CLOSE_SHARE: Final = 0.25
"""The share of the shutdown time that is kept for closing, however long flushing takes."""
RECORD_SHARE: Final = 0.1
"""The share that is kept for recording, however long telling takes: what one sink lost, the others record."""
CLOSE_S_MIN: Final = 1.0
"""Even a hurried stop gives sinks this long to close: an open database connection keeps a process from ending."""


class Parts(NamedTuple):
    """What a pipeline is made of."""

    shared: Shared
    stepper: Stepper
    probes: Sequence[ProbeRunner]
    sinks: Sequence[SinkRunner]
    keeper: Keeper
    policy: Policy
    status_file: StatusFile | None
    pool: ThreadPool
    shutdown_timeout_s: float
    sentinel: Sentinel | None = None
    listener: Listener | None = None
    commands: CommandServer | None = None


def deliver_to(sinks: Sequence[SinkRunner]) -> Callable[[list[Event], list[Transition]], Awaitable[None]]:
    """The stepper's way to the record: everything of a step to every sink, without waiting for any, in turns of the
    loop."""

    async def deliver(events: list[Event], transitions: list[Transition]) -> None:
        records: list[Record] = [*events, *transitions]
        if len(records) <= RECORDS_PER_TURN:
            kinds = [(kind_of(record), record) for record in records]
            for sink in sinks:
                sink.offer(kinds)
            return
        for start in range(0, len(records), RECORDS_PER_TURN):
            kinds = [(kind_of(record), record) for record in records[start : start + RECORDS_PER_TURN]]
            for sink in sinks:
                await in_turns(sink.offering(kinds))

    return deliver


class Pipeline:
    """Runs the parts until it is asked to stop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = asyncio.Event()
        self._shutdown_timeout_s = parts.shutdown_timeout_s
        self._cancelled = 0
        self.phase = "starting"
        self.left_running = 0
        """Calls of probes and sinks that could not be ended."""

    def request_stop(self, timeout_s: float | None = None) -> None:
        """Begin to stop; a shorter time for it than the configured one may be given."""
        if timeout_s is not None:
            self._shutdown_timeout_s = min(self._shutdown_timeout_s, timeout_s)
        self._stop.set()

    async def run(self) -> None:
        """Start everything, wait for the request to stop, and stop it in order.

        Raises:
            asyncio.CancelledError: It was cancelled, and has stopped everything nevertheless.
        """
        async with asyncio.TaskGroup() as group:
            tasks = self._start(group)
            try:
                await self._stop.wait()
            except asyncio.CancelledError:
                self._cancelled += 1
            self.phase = "draining"
            try:
                await self._wind_down(group, tasks)
            finally:
                for task in tasks.all():
                    task.cancel()
        self.phase = "stopped"
        if self._cancelled:
            raise asyncio.CancelledError

    def _start(self, group: asyncio.TaskGroup) -> _Tasks:
        def spawn(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
            return group.create_task(self._supervise(name, run), name=f"longwatch {name}")

        parts = self._parts
        jobs = [job for sink in parts.sinks for job in sink.jobs()]
        telling = [spawn(job.name, job.run) for job in jobs if job.tells]
        downstream = [spawn(job.name, job.run) for job in jobs if not job.tells]
        core = spawn("core", self._core)
        policy = spawn("policy", parts.policy.run)
        upstream = [spawn(probe.component, probe.run) for probe in parts.probes]
        if parts.sentinel is not None:
            upstream.append(spawn("network", parts.sentinel.run))
        reconcile = Reconcile(parts.keeper, parts.policy)
        beside = [spawn("ledger", parts.keeper.run), spawn("reconcile", reconcile.run)]
        if parts.status_file is not None:
            beside.append(spawn("state", parts.status_file.run))
        if parts.listener is not None:
            beside.append(spawn("http", parts.listener.run))
        if parts.commands is not None:
            beside.append(spawn("commands", parts.commands.run))
        return _Tasks(upstream, core, policy, telling, downstream, beside)

    async def _core(self) -> None:
        await self._parts.keeper.opened.wait()
        if self.phase == "starting":
            self.phase = "running"
        await self._parts.stepper.run()

    async def _supervise(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one component; if it fails, tell it and start it again after a while."""
        failures, shared = 0, self._parts.shared
        while True:
            try:
                await run()
                return
            except Exception as error:  # noqa: BLE001  # our own bug, in one component: the others go on
                failures += 1
                now_ms = shared.clock.now_ms()
                shared.report(shared.reporter.failed(now_ms, name, "crashed", describe(error).message))
            await asyncio.sleep(backoff_s(failures, shared.rng))

    async def _wind_down(self, group: asyncio.TaskGroup, tasks: _Tasks) -> None:
        parts, loop = self._parts, asyncio.get_running_loop()
        deadline = loop.time() + self._shutdown_timeout_s
        flush_until = deadline - self._shutdown_timeout_s * CLOSE_SHARE
        tell_until = flush_until - self._shutdown_timeout_s * RECORD_SHARE
        parts.shared.containment.grace_s = min(parts.shared.containment.grace_s, self._shutdown_timeout_s / 10)

        for task in tasks.upstream:
            task.cancel()
        await self._settle(tasks.upstream, flush_until)
        parts.shared.channel.close()
        await self._settle([tasks.core], flush_until)
        tasks.core.cancel()
        parts.policy.drain()
        await self._settle([tasks.policy], tell_until)
        tasks.policy.cancel()
        for sink in parts.sinks:
            sink.drain()
        telling: list[asyncio.Task[Any]] = [*tasks.telling]
        if parts.commands is not None:
            telling += parts.commands.telling()
        await self._settle(telling, tell_until)
        for task in telling:
            task.cancel()
        await self._settle(telling, flush_until)
        self._record_losses()
        for sink in parts.sinks:
            sink.end()
        await self._settle(tasks.downstream, flush_until)
        for task in (*tasks.downstream, *tasks.beside):
            task.cancel()
        await self._settle(tasks.all(), deadline)

        await self._close_all(group, deadline)
        parts.pool.close()

    def _record_losses(self) -> None:
        """The last word, past the closed channel: what was not delivered, and what was held back, for the record."""
        parts, shared = self._parts, self._parts.shared
        now_ms = shared.clock.now_ms()
        for sink in parts.sinks:
            if left := sink.give_up_messages():
                sink.desk.tell("shutdown", f"{left} messages were not delivered before the stop", count=left)
        shared.report(shared.reporter.due(now_ms, everything=True))
        news: list[tuple[RecordKind, Record]] = [("health", event) for event in shared.reporter.take_late()]
        for sink in parts.sinks:
            sink.offer(news)

    async def _close_all(self, group: asyncio.TaskGroup, deadline: float) -> None:
        parts, loop = self._parts, asyncio.get_running_loop()
        grace_s = parts.shared.containment.grace_s
        close_s = max(deadline - loop.time() - 2 * grace_s, min(CLOSE_S_MIN, self._shutdown_timeout_s))
        closes = [part.close(close_s) for part in parts.sinks] + [part.close(close_s) for part in parts.probes]
        closes.append(parts.keeper.close(close_s))
        if parts.status_file is not None:
            closes.append(parts.status_file.close())
        if parts.listener is not None:
            closes.append(parts.listener.close())
        closing = [group.create_task(close, name="longwatch close") for close in closes]
        until = loop.time() + close_s + grace_s
        while (left := [task for task in closing if not task.done()]) and loop.time() < until:
            self._cancelled += await settle(left, until - loop.time())
        for task in closing:
            task.cancel()
        self.left_running = await parts.shared.containment.close(grace_s)

    async def _settle(self, tasks: Collection[asyncio.Task[Any]], until: float) -> None:
        """Wait for the tasks until a time of the loop's clock; not at all once the stop is hurried."""
        remaining = until - asyncio.get_running_loop().time()
        if self._cancelled < 2 and remaining > 0:
            self._cancelled += await settle(tasks, remaining, through=1 - self._cancelled)


class _Tasks(NamedTuple):
    upstream: list[asyncio.Task[None]]
    core: asyncio.Task[None]
    policy: asyncio.Task[None]
    telling: list[asyncio.Task[None]]
    downstream: list[asyncio.Task[None]]
    beside: list[asyncio.Task[None]]

    def all(self) -> list[asyncio.Task[None]]:
        """Every one of them."""
        return [*self.upstream, self.core, self.policy, *self.telling, *self.downstream, *self.beside]
