"""`console`: one line for each transition and health event, for a person or a pipe.

It prints the record as it happens; or, with `messages`, what it is sent as a receiver: then a line is printed at least
once, whatever comes between.

Text from outside is printed literally: no markup, no control characters (M19, F139, F140). Printing
never blocks the event loop, and a terminal that went away ends the printing, not the engine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import ClassVar, Final, TextIO
from zoneinfo import ZoneInfo

import msgspec

from engine.errors import SinkError
from engine.events import Health, Record, Transition
from engine.ports import Notification, Options, RecordKind, SinkContext
from sinks._console_lines import Line, health_line, plain, styled, transition_line
from sinks._console_printer import Printer

__all__ = ["ConsoleOptions", "ConsoleSink"]

LINES_PER_BLOCK: Final = 100
STALL_S: Final = 2.0
"""How long a write waits for the terminal before it leaves its lines in the queue."""
CLOSE_TIMEOUT_S: Final = 1.0
NOTICES_MAX: Final = 100


class ConsoleOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "console"`; described in docs/sinks.md.

    Args:
        pending: Whether to print alerts that do not fire yet, too.
        health: Whether to print what the engine says about itself.
        messages: Whether to print, of alerts that fire and end, what it is sent as a receiver, and not the record.
    """

    pending: bool = False
    health: bool = True
    messages: bool = False


_TOLD: Final = frozenset({"firing", "resolved", "lost"})
_BODY: Final = msgspec.json.Decoder(list[Line])


class ConsoleSink:
    """Prints transitions and health events.

    Args:
        options: What to print.
        context: `timezone` is that of every time printed.
        stream: Where to; None means the standard output. A stream with a file descriptor is written
            through it, past Python's own buffer, and must not be closed before the sink is.

    Attributes:
        receives: Whether it takes messages.
        dropped: Lines that were not printed because nobody read them, or because the stream was gone.
    """

    Options: ClassVar[type[ConsoleOptions]] = ConsoleOptions
    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"transitions", "health"})

    def __init__(self, options: ConsoleOptions, context: SinkContext, stream: TextIO | None = None) -> None:
        self._options = options
        self.receives = options.messages
        self._zone = ZoneInfo(context.timezone)
        self._stream = stream
        self._printer: Printer | None = None
        self._rich = False
        self._day = ""
        self._missing = 0
        self._notices: deque[tuple[str, str]] = deque(maxlen=NOTICES_MAX)
        self.dropped = 0

    async def open(self) -> None:
        """Start the printing thread.

        Raises:
            SinkError: `closed`, not retryable: there is no standard output.
        """
        if self._printer is not None:
            return
        stream = self._stream or sys.stdout
        if stream is None or stream.closed:
            raise SinkError("closed", "there is no standard output", retryable=False)
        self._rich = _is_rich(stream, os.environ)
        self._printer = Printer(stream)

    async def close(self) -> None:
        """Print what waits, for at most `CLOSE_TIMEOUT_S`. A thread that hangs in a write is left behind,
        which does no harm: it is a daemon and holds no lock of Python's."""
        printer, self._printer = self._printer, None
        if printer is not None and (ended := printer.end()) is not None:
            await asyncio.wait({ended}, timeout=CLOSE_TIMEOUT_S)

    def take_notices(self) -> list[tuple[str, str]]:
        """What a person should know and what was no failure, as (reason, message), once."""
        taken = list(self._notices)
        self._notices.clear()
        return taken

    async def write(self, records: Sequence[Record]) -> None:
        """Print records, in order.

        Raises:
            SinkError: `closed`, not retryable, from then on at every call: nobody reads any more.
        """
        lines = [line for record in records if (line := self._line(record)) is not None]
        printer = self._printer
        if printer is None or _is_broken(printer):
            self.dropped += len(lines)
            raise SinkError("closed", "nobody reads the standard output any more", retryable=False)
        for start in range(0, len(lines), LINES_PER_BLOCK):
            await self._print(printer, lines[start : start + LINES_PER_BLOCK])
            if _is_broken(printer):
                self.dropped += len(lines) - start
                raise SinkError("closed", f"the standard output is gone ({printer.failure})", retryable=False)

    def render(self, notification: Notification) -> bytes:
        """Return a line for each transition, in parts: how they are put together is the terminal's to say. Pure."""
        return msgspec.json.encode([transition_line(one, self._zone) for one in notification.transitions])

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Print the lines of a message, and return when they are written.

        Raises:
            SinkError: `full`: nobody reads, and many lines wait. `closed`: nobody reads any more, in this run.
                `bad_message`, not retryable: a sink of another type, which had this name, has rendered it.
        """
        printer = self._printer
        if printer is None or _is_broken(printer):
            raise SinkError("closed", "nobody reads the standard output any more", retryable=True)
        missing = self._missing
        try:
            lines = _BODY.decode(body)
        except msgspec.DecodeError:
            raise SinkError("bad_message", "it is not a console sink's message", retryable=False) from None
        done = printer.put(lambda: _gap(missing) + self._render(lines, printer.width))
        if done is None:
            raise SinkError("full", "nobody reads the standard output: lines wait", retryable=True)
        self._missing = 0
        await done
        if _is_broken(printer):
            raise SinkError("closed", f"the standard output is gone ({printer.failure})", retryable=True)

    async def _print(self, printer: Printer, lines: list[Line]) -> None:
        """Hand over a block and wait for it, unless the terminal does not keep up."""
        keeps_up = printer.is_idle
        missing = self._missing
        done = printer.put(lambda: _gap(missing) + self._render(lines, printer.width))
        if done is None:
            if not self._missing:
                self._notices.append(("full", "nobody reads the standard output: lines are dropped"))
            self._missing += len(lines)
            self.dropped += len(lines)
            return
        self._missing = 0
        if keeps_up:
            await asyncio.wait({done}, timeout=STALL_S)

    def _render(self, lines: list[Line], width: int) -> str:
        """On the printer's thread, one block after the other."""
        if not self._rich:
            return "".join(plain(line) for line in lines)
        parts = []
        for day, group in groupby(lines, key=lambda line: line.day):
            if day != self._day:
                self._day = day
                parts.append(f"── {day} {self._zone.key} ──\n")
            parts.append(styled(group, width))
        return "".join(parts)

    def _line(self, record: Record) -> Line | None:
        match record:
            case Transition() if record.kind in _TOLD and self.receives:
                return None  # it comes as a message
            case Transition() if self._options.pending or record.kind in _TOLD:
                return transition_line(record, self._zone)
            case Health() if self._options.health:
                return health_line(record, self._zone)
        return None


def _gap(missing: int) -> str:
    """A line about lines dropped since the last one printed."""
    return f"({missing} lines were dropped: nobody read them)\n" if missing else ""


def _is_rich(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to use colour: on a terminal that can, unless NO_COLOR asks for none (no-color.org)."""
    if environment.get("NO_COLOR") or environment.get("TERM", "") in ("", "dumb", "unknown"):
        return False
    try:
        return stream.isatty()
    except (OSError, ValueError, AttributeError):
        return False


def _is_broken(printer: Printer) -> bool:
    """Asked anew each time: the printer's thread finds it out."""
    return bool(printer.failure)
