"""The engine's side of the command socket: greets, reads one request, runs it, answers, closes.

It must never hold up the watch: connections are few, everything is bounded in length and time, a command that raises
is an answer, and a client that goes away or does not read ends nothing but its own conversation. What a client has
asked for is done to its end, also if nobody waits for it any more: half a drill would leave an alert open somewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from engine.runtime.commands.address import Peer, Socket, peer_of
from engine.runtime.commands.wire import (
    ANSWER_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Answer,
    CommandRefused,
    Done,
    Greeting,
    Refused,
    Request,
    Row,
)
from engine.runtime.contain import describe
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.supervisor import Shared
from engine.text import clean

__all__ = ["Command", "CommandServer", "Emit"]

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 8
REQUEST_S: Final = 5.0
"""From the greeting to the end of the request."""
SEND_S: Final = 5.0
"""For one line to a client that reads."""
ACCEPT_PAUSE_S: Final = 1.0
LISTEN_PAUSE_S: Final = 600.0
_CHUNK_BYTES: Final = 65_536
_DECODER: Final = msgspec.json.Decoder(Request)

Emit: TypeAlias = Callable[[msgspec.Struct], Awaitable[None]]
"""Tells a row of the answer. Never raises: whoever listens may have gone."""


class Command(NamedTuple):
    """Something that can be asked for.

    Args:
        arguments: What it takes.
        run: Does it, given that, and returns the result. Raises `CommandRefused` or `LedgerError`.
        timeout_s: How long it may take.
        tells: It tells people, and comes to its end soon once the sinks are drained: a stop waits for it.
    """

    arguments: type[msgspec.Struct]
    run: Callable[[Any, Emit], Awaitable[msgspec.Struct]]
    timeout_s: float
    tells: bool = False


class CommandServer:
    """Listens in a state folder.

    Args:
        folder: The state folder, whose lock the engine holds.
        greeting: What everybody is told first.
        commands: What can be asked for, by name.
    """

    component: Final = "commands"

    def __init__(self, folder: Path, greeting: Greeting, commands: Mapping[str, Command], shared: Shared) -> None:
        self._folder = folder
        self._greeting = greeting
        self._commands = commands
        self._shared = shared
        self._open = 0
        self._telling: set[asyncio.Task[Any]] = set()
        self.refused = 0
        """Clients that were sent away: too many, or somebody else's."""

    def telling(self) -> list[asyncio.Task[Any]]:
        """The commands under way that tell people."""
        return list(self._telling)

    async def run(self) -> None:
        """Listen, for ever; where that can't be done, say so and try again now and then."""
        while True:
            try:
                end = Socket(self._folder)
            except OSError as error:
                words = error.strerror or type(error).__name__
                self._tell("cant_listen", f"commands can't be taken: {words}")
            else:
                try:
                    self._works()
                    await self._listen(end.listener)
                finally:
                    end.close()
            await asyncio.sleep(LISTEN_PAUSE_S)

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError as error:  # no descriptors left, as a rule
                    self._tell("cant_accept", f"no connection can be taken: {error.strerror or type(error).__name__}")
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                    continue
                self._works()
                if (why := self._why_not(connection)) is not None:
                    _send_away(connection, why)
                    continue
                self._open += 1
                group.create_task(self._serve(connection), name="longwatch command")

    def _why_not(self, connection: socket.socket) -> Refused | None:
        if not may_ask(peer_of(connection), os.geteuid()):  # the file's mode has let them in: a second lock
            self.refused += 1
            return Refused("not_allowed", "this engine belongs to another user")
        if self._open >= CONNECTIONS_MAX:
            self.refused += 1
            return Refused("busy", f"{CONNECTIONS_MAX} others are asking already; try again")
        return None

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.setblocking(False)
                talk = _Conversation(connection)
                await talk.send(self._greeting)
                answer = await self._answer(talk)
                if answer is not None:
                    await talk.send(answer)
        finally:
            self._open -= 1
            self._telling -= {asyncio.current_task()}

    async def _answer(self, talk: _Conversation) -> Answer | None:
        """What came of the request; None if there was none."""
        try:
            line = await talk.read()
            if line is None:
                return None
            command, arguments, name = self._understood(line)
            log.info("command %s by %s", name, talk.who)
            if command.tells and (task := asyncio.current_task()) is not None:
                self._telling.add(task)
            async with asyncio.timeout(command.timeout_s):
                result = await command.run(arguments, talk.row)
            return Done(msgspec.Raw(msgspec.json.encode(result)))
        except CommandRefused as refused:
            return Refused(refused.reason, str(refused))
        except LedgerError as error:
            return Refused(error.reason, str(error))
        except TimeoutError:
            return Refused("timeout", "it takes too long, and may still be done")
        except Exception as error:  # noqa: BLE001  # our own bug, in one command: the others go on
            return Refused("internal", describe(error).message)

    def _understood(self, line: bytes) -> tuple[Command, msgspec.Struct, str]:
        try:
            request = _DECODER.decode(line)
            command = self._commands.get(request.command)
            if command is None:
                known = ", ".join(sorted(self._commands))
                raise CommandRefused("usage", f'there is no command "{clean(request.command, 60)}", only {known}')
            return command, msgspec.json.decode(request.arguments, type=command.arguments), request.command
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandRefused("usage", f"the request is not understood: {clean(str(error), 200)}") from None

    def _works(self) -> None:
        self._shared.report(self._shared.reporter.recovered(self._shared.clock.now_ms(), self.component))

    def _tell(self, reason: str, message: str) -> None:
        shared = self._shared
        now_ms = shared.clock.now_ms()
        shared.report(shared.reporter.failed(now_ms, self.component, reason, message, status="degraded"))


def may_ask(peer: Peer | None, owner_uid: int) -> bool:
    """Whether somebody may command an engine of that user: that user, and root. Where the system does not say who has
    connected, the file's mode has decided."""
    return peer is None or peer.uid in {owner_uid, 0}


class _Conversation:
    """One client, and whether it is still there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._gone = False
        self._sending = asyncio.Lock()
        peer = peer_of(connection)
        self.who = "somebody" if peer is None else f"user {peer.uid} (process {peer.pid})"

    async def read(self) -> bytes | None:
        """The request's line; None if none came. Raises `CommandRefused`: it has no end."""
        loop, received = asyncio.get_running_loop(), bytearray()
        try:
            async with asyncio.timeout(REQUEST_S):
                while (end := received.find(b"\n")) < 0:
                    if len(received) > REQUEST_BYTES_MAX:
                        raise CommandRefused("usage", f"a request has at most {REQUEST_BYTES_MAX} bytes")
                    chunk = await loop.sock_recv(self._connection, _CHUNK_BYTES)
                    if not chunk:
                        return None
                    received += chunk
        except TimeoutError:
            raise CommandRefused("usage", f"no request came within {REQUEST_S:g} s") from None
        except OSError:
            return None
        return bytes(received[:end])

    async def row(self, row: msgspec.Struct) -> None:
        """Tell a row of the answer; does not raise."""
        await self.send(Row(msgspec.Raw(msgspec.json.encode(row))))

    async def send(self, line: msgspec.Struct) -> None:
        """Send one line, if anybody is there who reads; does not raise."""
        data = msgspec.json.encode(line) + b"\n"
        if len(data) > ANSWER_BYTES_MAX:
            data = msgspec.json.encode(Refused("too_large", "the answer is too long to be sent")) + b"\n"
        async with self._sending:
            if self._gone:
                return
            try:
                async with asyncio.timeout(SEND_S):
                    await asyncio.get_running_loop().sock_sendall(self._connection, data)
            except (TimeoutError, OSError):
                self._gone = True


def _send_away(connection: socket.socket, why: Refused) -> None:
    with connection:
        connection.setblocking(False)
        try:
            connection.send(msgspec.json.encode(why) + b"\n")
        except OSError:
            pass  # gone before it was told
