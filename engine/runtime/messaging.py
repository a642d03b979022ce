"""The telling half of a sink: messages rendered once, sent in order, tried three times.

A message is rendered when its turn comes and keeps its id and its bytes through every attempt. One that can't be
delivered is counted and told as a health event; the next one is not held up for longer than its three attempts, and
the pauses between them that the receiver asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from typing import Final, NamedTuple

from engine.errors import SinkError
from engine.events import Transition
from engine.ports import Notification, Periodic, Receiver
from engine.runtime.contain import Failure, describe
from engine.runtime.desk import Desk
from engine.runtime.notifications import grouped, message_id

__all__ = ["MessageWorker"]

MESSAGES_MAX: Final = 1_000
ATTEMPTS_MAX: Final = 3
DELIVER_TIMEOUT_S: Final = 30.0


class _Message(NamedTuple):
    id: str
    notification: Notification


class MessageWorker:
    """Sends messages to one receiver.

    Args:
        receiver: Where to.
        desk: The sink's bookkeeping.
        name: The sink's name, told to it as its receiver name.
        run_token: Random, of this run, for message ids.
        external_labels: Labels that identify this engine.
    """

    queue_max: Final = MESSAGES_MAX

    def __init__(
        self, receiver: Receiver, desk: Desk, name: str, run_token: str, external_labels: Mapping[str, str]
    ) -> None:
        self._receiver = receiver
        self._desk = desk
        self._name = name
        self._run_token = run_token
        self._external_labels = external_labels
        self._sequence = 0
        self._ticks = isinstance(receiver, Periodic)
        self._send_resolved = bool(getattr(receiver, "send_resolved", True))
        self._queue: deque[_Message] = deque()
        self._sending = 0
        self._work = asyncio.Event()

    @property
    def queued(self) -> int:
        """Messages that wait or are being sent."""
        return len(self._queue) + self._sending

    def offering(self, transitions: Sequence[Transition]) -> Generator[None, None, None]:
        """Queue what these transitions ask to be told; a generator that yields after each part of the work."""
        parts = grouped(transitions, self._name, self._external_labels, send_resolved=self._send_resolved)
        for notification in parts:
            if notification is not None:
                self._put(notification)
            yield

    def _put(self, notification: Notification) -> None:
        self._sequence += 1
        self._queue.append(_Message(message_id(self._run_token, self._name, self._sequence), notification))
        if len(self._queue) > MESSAGES_MAX:
            self._queue.popleft()
            self._desk.lose("queue_full", 1)
            self._desk.tell("message_lost", "too many messages wait; the oldest was dropped")
        self._work.set()

    def wake(self) -> None:
        """Look again whether to go on: the drain has begun."""
        self._work.set()

    def abandon(self) -> int:
        """Forget what waits; return how many messages that were."""
        left = self.queued
        self._queue.clear()
        self._sending = 0
        return left

    async def run(self) -> None:
        """Send, until the drain has begun and nothing is left."""
        if not await self._desk.opened():
            return
        while await self._wait():
            message = self._queue.popleft()
            self._sending = 1
            await self._send(message)
            self._sending = 0

    async def _wait(self) -> bool:
        while not self._queue:
            if self._desk.draining:
                return False
            self._work.clear()
            await self._work.wait()
        return True

    async def _send(self, message: _Message) -> None:
        desk, body = self._desk, self._render(message.notification)
        if body is None:
            return
        for attempt in range(1, ATTEMPTS_MAX + 1):
            outcome = await desk.call(lambda: self._receiver.deliver(message.id, body), DELIVER_TIMEOUT_S)
            failure = outcome.failure
            if failure is None:
                desk.written += 1
                if not self._ticks:  # else its next tick says whether all is well, of all that it keeps told
                    desk.works()
                desk.take_notices(self._receiver)
                return
            if attempt == ATTEMPTS_MAX or not _worth_another(failure):
                desk.lose(failure.reason, 1)
                desk.tell(failure.reason, f"a message was not delivered: {failure.message}")
                return
            desk.retries += 1
            desk.tell(failure.reason, failure.message, status="degraded")
            await desk.pause(desk.retry_pause_s(failure, attempt))

    def _render(self, notification: Notification) -> bytes | None:
        try:
            body: object = self._receiver.render(notification)  # foreign: its type is a promise
        except BaseException as error:  # noqa: BLE001  # foreign code, called from our own task
            failure = describe(error)
        else:
            if isinstance(body, bytes):
                return body
            failure = Failure("bad_output", f"render returned {type(body).__name__}, not bytes")
        self._desk.lose("render", 1)
        self._desk.tell("render", f"a message could not be rendered: {failure.message}")
        return None


def _worth_another(failure: Failure) -> bool:
    return failure.error.retryable if isinstance(failure.error, SinkError) else True
