"""A command server with a real ledger and real sinks behind it, in a loop on a thread of its own."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.clock import SystemClock
from engine.events import Event, Health
from engine.ports import Sink
from engine.runtime.commands.server import Command, CommandServer
from engine.runtime.commands.table import Reach, commands
from engine.runtime.commands.wire import PROTOCOL, Greeting
from engine.runtime.delivery import SinkRunner, SinkSpec
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.operator import list_outbox
from engine.runtime.ledger.sending import settle
from engine.runtime.ledger.transactions import decide
from engine.runtime.ledger.values import Decision, Limits, Message, NewMessage, Settlement
from engine.runtime.supervisor import Shared
from engine.status import EngineStatus, ProbeStatus
from tests.runtime.rig import keeper_of, shared, taken

NOW_MS = 1_767_225_600_000


class Host:
    """What a test sees of the engine's side."""

    def __init__(self, folder: Path, sinks: Mapping[str, Sink], table: Mapping[str, Command], *, on_disk: bool) -> None:
        self.folder = folder
        self.sinks = sinks
        self.more = table
        self.clock = SystemClock()
        self.woken: list[set[str]] = []
        self.doubted: list[set[str]] = []
        self.on_disk = on_disk
        self.ledger: Ledger
        self.parts: Shared
        self.server: CommandServer
        self.loop: asyncio.AbstractEventLoop
        self.ready = threading.Event()
        self.stop: asyncio.Event
        self.health: list[Event] = []
        self.served: EngineStatus | None = None

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a coroutine function in the server's loop."""
        return asyncio.run_coroutine_threadsafe(function(), self.loop).result(20)

    def queue(self, *messages: NewMessage) -> None:
        decision = Decision("", 0, messages)
        self.call(lambda: self.ledger.call(lambda db: decide(db, decision, Limits())))

    def settle(self, *settlements: Settlement) -> None:
        self.call(lambda: self.ledger.call(lambda db: settle(db, settlements, NOW_MS)))

    def outbox(self) -> list[Message]:
        found: list[Message] = self.call(lambda: self.ledger.call(lambda db: list_outbox(db, 0, 1_000), writes=False))
        return found

    def status(self) -> EngineStatus:
        if self.served is not None:
            return self.served
        probes = (ProbeStatus("host", "host", 5_000),)
        now_ms = self.clock.now_ms()
        return EngineStatus("trade-1", os.getpid(), "running", now_ms - 60_000, now_ms, probes=probes)

    async def run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.parts = parts = shared(self.clock)
        keeper = keeper_of(parts, list(self.sinks), self.folder / "state.db" if self.on_disk else None)
        runners = [
            SinkRunner(
                SinkSpec(name, type(sink).__name__, sink),
                parts,
                queue_records_max=10,
                keeper=keeper,
            )
            for name, sink in self.sinks.items()
        ]
        self.ledger = keeper.ledger
        await self.ledger.open()
        reach = Reach(self.status, self.ledger, runners, parts, self._wake, self._doubt, "trade-1", {"env": "test"})
        greeting = Greeting("9.9", PROTOCOL, os.getpid(), "trade-1")
        self.server = CommandServer(self.folder, greeting, {**commands(reach), **self.more}, parts)
        openings = [asyncio.create_task(runner.jobs()[0].run()) for runner in runners]
        task = asyncio.create_task(self.server.run())
        await asyncio.sleep(0)  # it listens
        self.ready.set()
        try:
            await self.stop.wait()
        finally:
            for each in (*openings, task):
                each.cancel()
            await asyncio.wait([*openings, task])
            await self.ledger.close()
            self.health = [event for event in await taken(parts) if isinstance(event, Health)]

    def _wake(self, receivers: Collection[str]) -> None:
        self.woken.append(set(receivers))

    def _doubt(self, receivers: Collection[str]) -> None:
        self.doubted.append(set(receivers))


@contextlib.contextmanager
def serving(
    folder: Path,
    sinks: Mapping[str, Sink] | None = None,
    table: Mapping[str, Command] | None = None,
    *,
    on_disk: bool = True,
) -> Iterator[Host]:
    """A server that listens in a folder, until the end of the block."""
    host = Host(folder, sinks or {}, table or {}, on_disk=on_disk)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(host.run())
        except BaseException as error:  # noqa: BLE001  # raised again below
            failures.append(error)
            host.ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert host.ready.wait(20)
    try:
        yield host
    finally:
        if not failures:
            host.loop.call_soon_threadsafe(host.stop.set)
        thread.join(20)
        for error in failures:
            raise error
