"""A listener on a loopback socket, under virtual time, and a client that says exactly what it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from engine.config.http_tables import HeartbeatConfig, HeartbeatTable, HttpTable
from engine.durations import Duration
from engine.events import SampleBatch
from engine.http.health import Vitals
from engine.http.heartbeats import HeartbeatDesk
from engine.http.server import HttpServer
from engine.http.site import Sources, application
from engine.http.tally import Tally
from engine.ports import Progress
from engine.secrets import Secret
from engine.testing import VirtualClock, VirtualLoop

TOKEN = "canary-0123456789abcdef"
WELL = Vitals("trade-1", "running", 5, {"core": Progress(0.0, 1e9)}, 0.0)


class Reply(NamedTuple):
    """An answer; `status` is 0 where the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    closed: bool


def heartbeat(name: str = "backup", every: str = "1h", **more: Any) -> HeartbeatConfig:
    return HeartbeatConfig(name=name, table=HeartbeatTable(every=Duration.parse(every), **more))


def table(**more: Any) -> HttpTable:
    return HttpTable(port=0, **more)


def loop() -> VirtualLoop:
    found = asyncio.get_running_loop()
    assert isinstance(found, VirtualLoop)
    return found


class Rig:
    """A listener that serves, and what it was told of."""

    def __init__(
        self, clock: VirtualClock, http: HttpTable, figures: Callable[[], Mapping[str, float]], **more: Any
    ) -> None:
        self.batches: list[SampleBatch] = []
        self.errors: list[Exception | None] = []
        self.vitals = WELL
        self.room = True
        self.tally = Tally()
        self.desk = HeartbeatDesk([heartbeat(**more)], http.token, clock, self._put)
        sources = Sources(clock, lambda whole: self.vitals, figures, self.errors.append)
        self.server = HttpServer(http, application(http, sources, self.desk, self.tally), self.tally, "run.toml")

    def _put(self, batch: SampleBatch) -> bool:
        self.batches += [batch] * self.room
        return self.room

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        return await ask(self.server.port, path, method, b"", **headers)


@asynccontextmanager
async def serving(
    clock: VirtualClock,
    http: HttpTable | None = None,
    figures: Callable[[], Mapping[str, float]] = lambda: {"longwatch_rules": 3.0},
    **more: Any,
) -> AsyncIterator[Rig]:
    rig = Rig(clock, http or table(), figures, **more)
    task = asyncio.get_running_loop().create_task(rig.server.run())
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.wait({task})
        await rig.server.close()
        assert task.cancelled(), task.exception()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, "tasks left behind"
        assert rig.tally.connections == 0


async def ask(port: int, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
    """One request in a connection of its own; a header's underscores are hyphens."""
    told = {"Host": f"127.0.0.1:{port}", "Connection": "close", **headers}
    if body:
        told["Content-Length"] = str(len(body))
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items() if value)
    return await say(port, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)


async def say(port: int, data: bytes) -> Reply:
    """Send bytes, and read until the other side closes."""
    reader, writer = await connect(port)
    with loop().hold():
        writer.write(data)
        reply = await read(reader)
    writer.close()
    return reply


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with loop().hold():
        return await asyncio.open_connection("127.0.0.1", port)


async def read(reader: asyncio.StreamReader) -> Reply:
    """Everything up to the end of the connection."""
    try:
        data = await reader.read()
    except ConnectionResetError:
        data = b""
    return parsed(data)


def parsed(data: bytes) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    if not lines[0]:
        return Reply(0, {}, b"", True)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Reply(int(lines[0].split(" ")[1]), headers, body, True)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def secret(text: str = TOKEN) -> Secret:
    return Secret(text)
