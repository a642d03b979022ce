"""Servers on loopback for tests of what asks them: raw bytes, or a small web site."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, address: str = "127.0.0.1", **options: Any) -> AsyncIterator[str]:
    """A server of raw bytes on loopback; yields `host:port`. A handler ends with its connection."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, EOFError, ssl.SSLError):
            pass  # the probe hung up, which is what many of these tests are about
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, address, 0, **options)
    try:
        host = f"[{address}]" if ":" in address else address
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def saying(answer: bytes) -> Handler:
    """Read the request's head, say this, hang up."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handler


def dripping(head: bytes, crumb: bytes) -> Handler:
    """Read the request's head, say this, and then a crumb 50 times a second until the other side hangs up."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while not reader.at_eof():
            writer.write(crumb)
            await writer.drain()
            try:
                async with asyncio.timeout(0.02):
                    await reader.read()
            except TimeoutError:
                pass

    return handler


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the other side has had enough."""
    await reader.read()


@asynccontextmanager
async def site(**routes: Any) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A web site: path -> status, response or handler. Yields its URL and the requests it got."""
    requests: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        answer = routes[request.path.strip("/") or "root"]
        return web.Response(status=answer) if isinstance(answer, int) else answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/")), requests


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
