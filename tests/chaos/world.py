"""The world around the engine: what it scrapes, and three receivers. Real sockets on loopback, in the test's loop.

The receivers outlive the engine, and write down what they are sent before they answer.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, TextIO

from aiohttp import web

from tests.chaos.model import Model

__all__ = ["MOODS", "Mood", "World", "now_ms", "opened"]

Mood = Literal["hangs", "refuses", "resets", "busy", "well"]
MOODS: tuple[Mood, ...] = ("hangs", "refuses", "resets", "busy")
SLOW_S = 0.06
DEAD_HOST = "127.0.0.77"
"""Of its own: nobody is given a port of it while it refuses connections."""


def now_ms() -> float:
    """The wall clock, which the engine stamps by."""
    return time.time() * 1000


class World:
    """Everything that the engine talks to.

    Args:
        model: Is told what happens.
        log: Where the receivers' log goes, for whoever looks into a failure.
        rng: For how long the slow one takes, and what the dead one does.
    """

    def __init__(self, model: Model, log: TextIO, rng: random.Random) -> None:
        self.model = model
        self.mood: Mood = "well"
        self.scrapes = 0
        self.happened = asyncio.Event()
        self.ports: dict[str, int] = {}
        self._log = log
        self._rng = rng
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._door: web.SockSite | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the servers."""
        for name in ("scraped", "good", "slow"):
            await self._serve(await self._runner_of(name, stack), name, "127.0.0.1", 0)
        self._runner = await self._runner_of("dead", stack)
        self._door = await self._serve(self._runner, "dead", DEAD_HOST, 0)

    async def feel(self, mood: Mood) -> None:
        """Change how the dead receiver behaves."""
        assert self._runner is not None
        self.mood = mood
        self._changed.set()
        self._changed = asyncio.Event()
        if mood == "refuses" and self._door is not None:
            await self._door.stop()
            self._door = None
        elif mood != "refuses" and self._door is None:
            self._door = await self._serve(self._runner, "dead", DEAD_HOST, self.ports["dead"])

    async def _runner_of(self, name: str, stack: AsyncExitStack) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", getattr(self, name))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=15)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        return runner

    async def _serve(self, runner: web.AppRunner, name: str, host: str, port: int) -> web.SockSite:
        server = socket.create_server((host, port))
        self.ports[name] = server.getsockname()[1]
        site = web.SockSite(runner, server)
        await site.start()
        return site

    # --- what the engine asks -----------------------------------------------------------------------------

    async def scraped(self, request: web.Request) -> web.Response:
        """Show the signals."""
        if request.path == "/grid":
            return web.Response(text=self.model.exposition(now_ms(), grid=True))
        text = self.model.exposition(now_ms())
        self.scrapes += 1
        self.happened.set()
        return web.Response(text=text)

    async def good(self, request: web.Request) -> web.Response:
        """Take it at once."""
        await self._take("good", request)
        return web.Response()

    async def slow(self, request: web.Request) -> web.Response:
        """Take it and answer later; at once while all is well."""
        await self._take("slow", request)
        if self.mood != "well":
            over = asyncio.Event()
            asyncio.get_running_loop().call_later(self._rng.uniform(0, SLOW_S), over.set)
            await over.wait()
        return web.Response(status=204)

    async def dead(self, request: web.Request) -> web.Response:
        """Take nothing; or sometimes take it, and then the answer is lost."""
        if self.mood == "well":
            await self._take("dead", request)
            return web.Response()
        if self.mood == "busy":
            return web.Response(status=self._rng.choice([429, 500, 503]))
        if self._rng.random() < 0.2:
            await self._take("dead", request)
        if self.mood == "hangs":
            await self._changed.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _take(self, receiver: str, request: web.Request) -> None:
        body = await request.read()
        message_id = request.headers["webhook-id"]
        self._log.write(f"{now_ms():.0f} {receiver} {message_id} {body.decode()}\n")
        self._log.flush()
        self.model.receive(receiver, message_id, body, now_ms())
        self.happened.set()


@asynccontextmanager
async def opened(model: Model, log: Path, rng: random.Random) -> AsyncIterator[World]:
    """A world whose servers run."""
    async with AsyncExitStack() as stack:
        world = World(model, stack.enter_context(log.open("a", encoding="utf-8")), rng)
        await world.open(stack)
        yield world
        await world.feel("well")  # what hangs ends
