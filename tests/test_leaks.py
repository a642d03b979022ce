"""Twenty engines, one after the other, in one process: none leaves a thread, a descriptor or a task behind (F110).

Every part that has any of these is there: the pool of the host probe, the sessions of the http probe and the
webhook, SQLite's thread, the console's, the lock and the sign of life in the state folder.
"""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import psutil
import pytest

from engine import Engine
from engine.config import load_text

ENGINES = 20
DEADLINE_S = 20.0
CONFIG = """
[engine]
name = "leaks"
state_dir = "{folder}"
[probe.host]
interval = "500ms"
timeout = "500ms"
[probe.health]
type = "http"
url = "http://127.0.0.1:{port}/health"
interval = "500ms"
timeout = "500ms"
[rule.Always{number}]
expr = "host_memory_percent >= 0"
[sink.console]
pending = true
[sink.history]
type = "sqlite"
[sink.ops]
type = "webhook"
url = "http://127.0.0.1:{port}/hook"
"""


class Loopback:
    """Answers every request with 200, and knows what it was asked."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self._changed = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.asked.add(head.split(b" ", 1)[0].decode())
        self._changed.set()
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def loopback() -> AsyncIterator[tuple[Loopback, int]]:
    served = Loopback()
    listening = await asyncio.start_server(served.answer, "127.0.0.1", 0)
    async with listening:
        yield served, listening.sockets[0].getsockname()[1]


async def levels(at_most: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
    """Threads, descriptors and tasks. What is ending at this moment is given time to, down to `at_most`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 5
    while True:
        gc.collect()
        found = (threading.active_count(), psutil.Process().num_fds(), len(asyncio.all_tasks()))
        if at_most is None or loop.time() > until or all(a <= b for a, b in zip(found, at_most, strict=True)):
            return found
        await asyncio.sleep(0)


@pytest.mark.slow
@pytest.mark.process
async def test_twenty_engines_leave_nothing_behind(tmp_path: Path) -> None:
    async with loopback() as (served, port):
        before = await levels()
        first: tuple[int, int, int] | None = None
        for number in range(ENGINES):
            # A rule of its own: what fires since the engine before is not told again.
            config = load_text(CONFIG.format(folder=tmp_path / "state", port=port, number=number))
            served.asked.clear()
            async with Engine(config):
                await served.until(lambda: served.asked >= {"GET", "POST"})
                running = (threading.active_count(), psutil.Process().num_fds(), len(asyncio.all_tasks()))
            left = await levels(first or before)
            first = first or left
            for what, then, now, limit in zip(("threads", "descriptors", "tasks"), running, left, first, strict=True):
                assert then > now, f"{what}: it had something to leave behind"
                assert now <= limit, f"{what}: {[thread.name for thread in threading.enumerate()]}"
        assert first is not None
        assert first[0] <= before[0], f"threads: {[thread.name for thread in threading.enumerate()]}"
        assert first[2] == before[2], f"tasks: {asyncio.all_tasks()}"
    with closing(sqlite3.connect(tmp_path / "state" / "history.db")) as found:
        assert found.execute("SELECT count(*), count(nullif(ended_ms, 0)) FROM runs").fetchone() == (ENGINES, ENGINES)
