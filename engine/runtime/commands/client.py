"""The other side of the command socket, for the command line: blocking, one command for each connection."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import LongwatchError
from engine.runtime.commands.address import connect
from engine.runtime.commands.wire import (
    ANSWER_BYTES_MAX,
    PROTOCOL,
    Answer,
    CommandRefused,
    Done,
    Greeting,
    Refused,
    Request,
    Row,
)
from engine.text import clean

__all__ = ["NoAnswer", "NotRunning", "ask"]

GREETING_S: Final = 5.0
"""An engine whose loop turns greets in milliseconds."""
_CHUNK_BYTES: Final = 65_536


class NotRunning(LongwatchError):
    """Nobody listens in the state folder."""


class NoAnswer(LongwatchError):
    """Somebody listens, but what came is no answer. The message says what did."""


def ask(
    folder: Path,
    command: str,
    arguments: msgspec.Struct,
    *,
    timeout_s: float,
    on_row: Callable[[msgspec.Raw], None] = lambda _: None,
) -> msgspec.Raw:
    """Have the engine of a state folder do something, and return the result.

    Args:
        timeout_s: For the whole answer, after the greeting.
        on_row: Called with each row as it comes.

    Raises:
        NotRunning, NoAnswer, CommandRefused
    """
    try:
        connection = connect(folder, GREETING_S)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise NotRunning(f"no engine is running for state folder {folder}") from None
    except TimeoutError:
        raise NoAnswer(f"the engine of {folder} takes no connection: too many wait for it already") from None
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise NoAnswer(f"can't connect to the engine of {folder}: {words}") from None
    with connection:
        lines = _Lines(connection)
        _greet(lines, folder)
        encoded = msgspec.Raw(msgspec.json.encode(arguments))
        with contextlib.suppress(BrokenPipeError):  # it has refused already, and says so in its answer
            connection.sendall(msgspec.json.encode(Request(command, encoded)) + b"\n")
        return _result(lines, timeout_s, on_row)


def _greet(lines: _Lines, folder: Path) -> None:
    line = lines.read(
        GREETING_S, f"the engine of {folder} does not answer: its event loop may be held, or its process stopped"
    )
    try:
        greeting = msgspec.json.decode(line, type=Greeting)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _raise_if_refused(line)
        raise NoAnswer(f"who listens in {folder} is no engine of this kind") from None
    if greeting.protocol != PROTOCOL:
        version = clean(greeting.longwatch, 40)
        words = f"the engine of {folder} is longwatch {version}, whose commands are of another kind"
        raise NoAnswer(f"{words}: use the command line of the same version")


def _raise_if_refused(line: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        refused = msgspec.json.decode(line, type=Refused)
        raise CommandRefused(refused.reason, refused.message)


def _result(lines: _Lines, timeout_s: float, on_row: Callable[[msgspec.Raw], None]) -> msgspec.Raw:
    until_s = time.monotonic() + timeout_s
    decoder = msgspec.json.Decoder(Answer)
    while True:
        line = lines.read(until_s - time.monotonic(), f"the engine did not answer within {timeout_s:g} s")
        try:
            answer = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoAnswer("the engine's answer is cut off or not understood") from None
        match answer:
            case Row(row):
                on_row(row)
            case Done(result):
                return result
            case Refused(reason, message):
                raise CommandRefused(reason, message)


class _Lines:
    """Lines from a socket, each with a bound in bytes and in time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def read(self, timeout_s: float, too_late: str) -> bytes:
        """The next line, without its end. Raises `NoAnswer`."""
        until_s = time.monotonic() + timeout_s
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > ANSWER_BYTES_MAX:
                raise NoAnswer("the engine's answer is longer than any engine's")
            try:
                self._connection.settimeout(max(until_s - time.monotonic(), 0.001))
                received = self._connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise NoAnswer(too_late) from None
            except OSError:
                raise NoAnswer("the engine has closed the connection") from None
            if not received:
                raise NoAnswer("the engine has closed the connection; it may be stopping")
            self._buffer += received
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line
