"""The listener's life: the socket, the limits on connections, the end. It knows no path.

The socket is bound when the engine is built, so that a port that is taken is an error of the start, and listens from
then on; connections are served while `run` does. A slow client costs its own connection only: one that
does not get its request out in `IDLE_S` is cut off.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from engine.config.http_tables import HttpTable
from engine.errors import ConfigError, Problem
from engine.http.guard import BODY_BYTES_MAX, plain
from engine.http.tally import Tally

__all__ = ["IDLE_S", "HttpServer"]

IDLE_S: Final = 15.0
"""How long a connection may go without a whole request: from its begin, and from the last answer on."""
LINE_BYTES_MAX: Final = 4_096
HEADERS_MAX: Final = 64
BACKLOG: Final = 64
LINGER_S: Final = 1.0
"""How long what was refused is read on, so that the client can read why."""
STOP_S: Final = 1.0
_WHY: Final = {
    errno.EADDRINUSE: ("another program listens there", "stop that one, or set http.port to another"),
    errno.EACCES: ("this user may not listen there", "set http.port to one from 1024 on"),
    errno.EADDRNOTAVAIL: ("this machine has no such address", "set http.address to one of its own, or 127.0.0.1"),
    errno.EAFNOSUPPORT: ("this machine has no such kind of address", "set http.address to 127.0.0.1"),
}


class HttpServer:
    """Serves an application until it is cancelled.

    Args:
        table: Where to listen and for how many.
        app: What to serve.
        tally: Counts connections.
        source: The configuration's file, for errors.

    Raises:
        ConfigError: Nothing can listen there.
    """

    def __init__(self, table: HttpTable, app: web.Application, tally: Tally, source: str) -> None:
        self._table = table
        self._app = app
        self.tally = tally
        self._socket: socket.socket | None = _listening(table, source)
        self._source = source
        self.port = int(self._socket.getsockname()[1])
        """Where it listens; the one that was found if any would do."""

    async def run(self) -> None:
        """Serve, for ever."""
        bound = self._socket if self._socket is not None else _listening(self._table, self._source)  # a second start
        self._socket = None
        loop = asyncio.get_running_loop()
        runner = web.AppRunner(self._app, handle_signals=False, access_log=None, shutdown_timeout=STOP_S)
        try:
            await runner.setup()
            assert runner.server is not None
            doors = _Doors(runner.server, self._table, self.tally)
            server = await loop.create_server(doors.open, sock=bound)
        except BaseException:
            bound.close()
            raise
        try:
            await loop.create_future()
        finally:
            server.close()
            await doors.shut()

    async def close(self) -> None:
        """Let go of the socket, if `run` never came to take it; does not raise."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Doors:
    """Makes a protocol for each connection."""

    def __init__(self, server: web.Server, table: HttpTable, tally: Tally) -> None:
        self._server = server
        self._table = table
        self.tally = tally
        self._loop = asyncio.get_running_loop()
        self._turned_away: set[_TurnedAway] = set()

    def open(self) -> asyncio.Protocol:
        """For one that has just been accepted; several may be before the first of them is made."""
        return _Connection(self._server, self._loop, self)

    def lets_in(self) -> bool:
        """Whether there is room for one more; it is counted either way."""
        if self.tally.connections < self._table.connections_max:
            self.tally.connections += 1
            return True
        self.tally.connections_refused += 1
        return False

    async def shut(self) -> None:
        """Answer what is under way, shortly, and cut the rest off; at once if cancelled meanwhile."""
        connections = self._server.connections
        tasks = [task for one in connections if (task := _task_of(one)) is not None]
        for refusal in list(self._turned_away):
            refusal.abort()
        self._server.pre_shutdown()
        try:
            await self._server.shutdown(STOP_S)
        finally:
            for one in connections:
                one.force_close()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)

    def turn_away(self, transport: asyncio.Transport) -> None:
        """Give a connection to one that says that there are too many."""
        has_room = len(self._turned_away) < self._table.connections_max
        transport.set_protocol(_TurnedAway(self._turned_away, transport))
        if not has_room:
            transport.abort()


class _Connection(RequestHandler):
    """One connection: counted, and silent about what it is made with."""

    __slots__ = ("_doors",)

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, doors: _Doors) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=IDLE_S,
            tcp_keepalive=False,
            access_log=None,  # type: ignore[arg-type]  # how aiohttp is told to keep none
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGER_S,
            read_bufsize=BODY_BYTES_MAX,
            auto_decompress=False,
        )
        self._doors = doors

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it, if there is room."""
        if self._doors.lets_in():
            super().connection_made(transport)
            return
        assert isinstance(transport, asyncio.Transport)
        self._doors.turn_away(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone."""
        self._doors.tally.connections -= 1
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request at all: without quoting it, and without a line in the host's log."""
        self._doors.tally.answered("other", status)
        response = plain(status)
        response.force_close()
        return response


class _TurnedAway(asyncio.Protocol):
    """Says that there are too many connections, and closes."""

    def __init__(self, others: set[_TurnedAway], transport: asyncio.Transport) -> None:
        self._others = others
        self._transport = transport
        self._until = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)
        others.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer when the request comes: one that was not read would take the answer with it."""
        if not self._transport.is_closing():
            self._transport.write(_TOO_MANY)
            self._transport.close()

    def abort(self) -> None:
        """Close without a word."""
        self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone."""
        self._others.discard(self)
        self._until.cancel()


_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nCache-Control: no-store\r\nContent-Length: 0\r\n"
    b"Server: longwatch\r\nConnection: close\r\n\r\n"
)


def _task_of(connection: RequestHandler) -> asyncio.Task[None] | None:
    """The task that aiohttp serves a connection with; it has no public name, so it may be gone one day."""
    task: asyncio.Task[None] | None = getattr(connection, "_task_handler", None)
    return task


def _listening(table: HttpTable, source: str) -> socket.socket:
    """A socket that listens. Raises `ConfigError`."""
    family = socket.AF_INET6 if ipaddress.ip_address(table.address).version == 6 else socket.AF_INET
    bound: socket.socket | None = None
    try:
        bound = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((table.address, table.port))
        bound.listen(BACKLOG)  # only now is a port that is taken found
    except OSError as error:
        if bound is not None:
            bound.close()
        reason, hint = _WHY.get(error.errno or 0, (os.strerror(error.errno or 0), ""))
        key = "http.port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "http.address"
        host = f"[{table.address}]" if family == socket.AF_INET6 else table.address
        problem = Problem(source, 0, key, f"can't listen at {host}:{table.port}: {reason}", hint)
        raise ConfigError([problem]) from None
    return bound
