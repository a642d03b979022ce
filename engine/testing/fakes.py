"""Probes and sinks for tests: real implementations of the protocols, without a world behind them.

They work under virtual time. Each can be told to fail or to hang, because what an engine does then is what
most tests are about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import msgspec

from engine.events import Event, Record, Transition
from engine.ports import Notification, Options, RecordKind

__all__ = ["FailingProbe", "FunctionProbe", "HangingProbe", "ListProbe", "RecordingSink"]


class _FakeProbe:
    """What the fakes have in common: options, defaults, and counts of what was called."""

    Options: ClassVar[type[Options]] = Options
    DEFAULT_INTERVAL: ClassVar[str] = "1s"
    DEFAULT_TIMEOUT: ClassVar[str] = "1s"

    def __init__(self) -> None:
        self.opened = 0
        self.collected = 0
        self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1


class ListProbe(_FakeProbe):
    """Returns what it was given, one item for each `collect`, and nothing after the last.

    Args:
        items: Events, or lists of events, stamped by whoever made them. An exception is raised instead.
    """

    def __init__(self, items: Iterable[Event | Sequence[Event] | BaseException]) -> None:
        super().__init__()
        self._items = deque(items)

    async def collect(self) -> Sequence[Event]:
        self.collected += 1
        if not self._items:
            return []
        item = self._items.popleft()
        if isinstance(item, BaseException):
            raise item
        return item if isinstance(item, Sequence) else [item]


class FunctionProbe(_FakeProbe):
    """Returns what a function returns, called anew for each `collect`: for values that depend on the time.

    Args:
        function: Plain and quick; what it raises, the probe raises.
    """

    def __init__(self, function: Callable[[], Event | Sequence[Event]]) -> None:
        super().__init__()
        self._function = function

    async def collect(self) -> Sequence[Event]:
        self.collected += 1
        events = self._function()
        return events if isinstance(events, Sequence) else [events]


class FailingProbe(_FakeProbe):
    """Raises, each time or for the first so many times; after that it returns `events`.

    Args:
        error: What to raise.
        times: How often; None means for ever.
    """

    def __init__(self, error: BaseException, times: int | None = None, events: Sequence[Event] = ()) -> None:
        super().__init__()
        self._error = error
        self._times = times
        self._events = events

    async def collect(self) -> Sequence[Event]:
        self.collected += 1
        if self._times is None or self.collected <= self._times:
            raise self._error
        return self._events


class HangingProbe(_FakeProbe):
    """Never returns from `collect` until `release` is called.

    Args:
        stubborn: It swallows its cancellation, too, and goes on hanging.
    """

    def __init__(self, *, stubborn: bool = False) -> None:
        super().__init__()
        self.stubborn = stubborn
        self.hanging = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let every call return, now and from now on."""
        self._released.set()

    async def collect(self) -> Sequence[Event]:
        self.collected += 1
        self.hanging += 1
        try:
            while not self._released.is_set():
                try:
                    await self._released.wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
        finally:
            self.hanging -= 1
        return []


class RecordingSink:
    """Keeps everything it is given: a `Recorder` and a `Receiver`.

    Args:
        failures: What the next calls of `write` and `deliver` raise, in order; None stands for a call that succeeds.
        hang: Calls of `write` and `deliver` never return; `hang` can be set at any time.

    Attributes:
        records: What `write` took, in order.
        batches: How many records each `write` took.
        notifications: What was rendered, in order.
        delivered: (message id, body) of each `deliver` that succeeded.
        attempts: (message id, body) of each `deliver`, failed ones included.
    """

    Options: ClassVar[type[Options]] = Options
    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"samples", "transitions", "health", "events"})

    def __init__(self, failures: Iterable[BaseException | None] = (), *, hang: bool = False) -> None:
        self.failures = deque(failures)
        self.hang = hang
        self.open_failures: deque[BaseException] = deque()
        self.opened = 0
        self.closed = 0
        self.records: list[Record] = []
        self.batches: list[int] = []
        self.notifications: list[Notification] = []
        self.delivered: list[tuple[str, bytes]] = []
        self.attempts: list[tuple[str, bytes]] = []

    @property
    def transitions(self) -> list[Transition]:
        """The transitions among the records."""
        return [record for record in self.records if isinstance(record, Transition)]

    async def open(self) -> None:
        self.opened += 1
        if self.open_failures:
            raise self.open_failures.popleft()

    async def close(self) -> None:
        self.closed += 1

    async def write(self, records: Sequence[Record]) -> None:
        await self._follow_script()
        self.records.extend(records)
        self.batches.append(len(records))

    def render(self, notification: Notification) -> bytes:
        """The notification as JSON; a value that JSON has no number for is null."""
        self.notifications.append(notification)
        return msgspec.json.encode(notification)

    async def deliver(self, message_id: str, body: bytes) -> None:
        self.attempts.append((message_id, body))
        await self._follow_script()
        self.delivered.append((message_id, body))

    async def _follow_script(self) -> None:
        failure = self.failures.popleft() if self.failures else None
        if self.hang:
            await asyncio.Event().wait()
        if failure is not None:
            raise failure
