"""The latest things that happened, for the view: transitions, health events and log lines.

While the view has the terminal, nothing else may print to it. `RecentSink` stands in for the console sink,
and the log's lines come here, too. When the view ends, what was kept is read back and printed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import ClassVar

import msgspec

from engine.events import Health, Record, Transition
from engine.ports import Notification, Options, RecordKind, SinkContext
from engine.telling import local, transition_words
from engine.view.cells import literal

__all__ = ["RecentLines", "RecentSink", "recent_factory"]

LINES_MAX = 200

_KIND_STYLE = {"firing": "bad", "pending": "warn", "lost": "warn", "resolved": "ok", "cleared": "dim"}
_HEALTH_STYLE = {"ok": "ok", "degraded": "warn", "failed": "bad"}


class RecentLines:
    """A bounded list of lines, each with its style; `add` may be called from any thread.

    Args:
        zone: Of the times in the lines.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._lines: deque[tuple[str, str]] = deque(maxlen=LINES_MAX)
        self._follow: Callable[[str], None] | None = None

    def add(self, text: str, style: str = "") -> None:
        """Keep a line; the oldest one beyond `LINES_MAX` is forgotten."""
        self._lines.append((text, style))
        if self._follow is not None:
            self._follow(text)

    def add_record(self, record: Record) -> None:
        """Keep a transition or a health event as a line; other records are not for people."""
        if isinstance(record, Transition):
            told = f"{record.kind.upper()} {record.rule} {transition_words(record, self._zone)}"
            self.add(f"{local(record.time_ms, self._zone)[1]} {literal(told)}", _KIND_STYLE[record.kind])
        elif isinstance(record, Health):
            message = f": {record.message}" if record.message else ""
            told = f"{record.status} {record.component} {record.reason}{message}"
            self.add(f"{local(record.time_ms, self._zone)[1]} {literal(told)}", _HEALTH_STYLE[record.status])

    def follow(self, write: Callable[[str], None]) -> None:
        """From now on hand each new line to `write`, too: the view is gone, and nobody shows them."""
        self._follow = write

    def latest(self, count: int) -> list[tuple[str, str]]:
        """The newest lines, oldest of them first."""
        return list(self._lines)[-count:] if count > 0 else []


class RecentSink:
    """Keeps lines in memory. Never fails, never waits.

    Args:
        receives: Whether it takes messages, as the console sink does in whose place it is.
    """

    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"transitions", "health"})

    def __init__(self, lines: RecentLines, *, receives: bool = False) -> None:
        self._lines = lines
        self.receives = receives

    async def open(self) -> None:
        """Nothing to acquire."""

    async def close(self) -> None:
        """Nothing to release."""

    async def write(self, records: Sequence[Record]) -> None:
        """Keep what a person would want to see."""
        for record in records:
            self._lines.add_record(record)

    def render(self, notification: Notification) -> bytes:
        """Nothing: the record has it already."""
        return b"[]"

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Keep what a run before could not print, as the console sink has rendered it."""
        try:
            lines = msgspec.json.decode(body, type=list[list[str]])
        except msgspec.DecodeError:
            return  # of a sink of another type, which had this name
        for line in lines:
            self._lines.add(literal(" ".join(line)))


def recent_factory(lines: RecentLines) -> Callable[[Options, SinkContext], RecentSink]:
    """Return a factory to put in the place of a console sink's."""
    return lambda options, context: RecentSink(lines, receives=bool(getattr(options, "messages", False)))
