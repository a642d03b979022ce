"""A webhook on loopback for tests: keeps what it is sent, and answers with 200."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

__all__ = ["Hook", "Request", "hooked"]


class Request(NamedTuple):
    """One that was answered."""

    headers: Mapping[str, str]
    body: bytes


class Hook:
    """What came in Alertmanager's webhook format, in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._news = asyncio.Condition()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Each body, decoded."""
        return [msgspec.json.decode(request.body) for request in self.requests]

    async def handle(self, request: web.Request) -> web.Response:
        """For a router."""
        async with self._news:
            self.requests.append(Request(dict(request.headers), await request.read()))
            self._news.notify_all()
        return web.Response()

    async def wait(self, met: Callable[[], bool]) -> None:
        """Wait until what came meets a condition; at most 30 s."""
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(met)

    def of(self, name: str) -> list[str]:
        """The statuses that were told of an alert, in order."""
        return [body["status"] for body in self.bodies if body["groupLabels"] == {"alertname": name}]


@asynccontextmanager
async def hooked() -> AsyncIterator[tuple[Hook, str]]:
    """A hook and its URL, until the end of the block."""
    hook, app = Hook(), web.Application()
    app.router.add_post("/", hook.handle)
    async with TestServer(app) as server:
        yield hook, str(server.make_url("/"))
