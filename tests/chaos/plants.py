"""Bugs to plant into an engine, each of which the harness must find. Only ever called in a process of its own.

Each is one that an alerter has had: a message marked before it is sent, an alert and its transition committed apart,
one queue for all receivers, a `for` that counts the time in which nobody looked, no ledger at all.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from typing import Any

import engine.runtime.outbox as outbox
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.sending import Look, look, settle
from engine.runtime.ledger.values import Instant, Settlement, Step
from sinks.webhook import WebhookSink

__all__ = ["PLANTS", "hurry", "plant"]

HOUR_MS = 3_600_000


def hurry() -> None:
    """No bug: whatever waits for its next attempt is due. How long that is has tests of its own."""

    def look_ahead(connection: sqlite3.Connection, *args: Any, now: Instant, **more: Any) -> Look:
        later = now._replace(wall_ms=now.wall_ms + HOUR_MS, up_ms=now.up_ms + HOUR_MS)
        return look(connection, *args, now=later, **more)

    outbox.look = look_ahead


def plant(name: str) -> list[str]:
    """Make this process have a bug, none for an empty name; returns arguments to start the engine with."""
    return PLANTS[name]() or [] if name else []


def _mark_before_send() -> None:
    """A message counts as sent as soon as it is read from the outbox."""

    def look_and_mark(connection: sqlite3.Connection, *args: Any, **more: Any) -> Look:
        found = look(connection, *args, **more)
        settle(connection, [Settlement(message.id, "done") for message in found.messages], 0)
        return found

    outbox.look = look_and_mark


def _two_transactions() -> None:
    """The alert as it is now, and that it has changed, are committed one after the other."""
    whole = Ledger.record

    def record(self: Ledger, step: Step, then: Any = None, *, urgent: bool = True) -> bool:
        if not (step.alerts and step.transitions):
            return whole(self, step, then, urgent=urgent)
        rest = Step(step.transitions)
        return whole(self, step._replace(transitions=()), lambda _: whole(self, rest, then) and None, urgent=True)

    Ledger.record = record


def _shared_queue() -> None:
    """One message at a time, whoever it is for."""
    alone, turn = WebhookSink.deliver, asyncio.Lock()

    async def deliver(self: WebhookSink, message_id: str, body: bytes) -> None:
        async with turn:
            await alone(self, message_id, body)

    WebhookSink.deliver = deliver


def _wall_clock_for() -> None:
    """The time in which nobody looked counts for `for`."""
    import engine.core.restart as module
    from engine.core.blindness import Blindness

    def take(self: Blindness, *args: Any, **more: Any) -> None:
        """Nothing was blind."""

    Blindness.take = take
    assert module.restart


def _no_ledger() -> list[str]:
    """Everything is in memory."""
    return ["--memory"]


def _new_id() -> None:
    """Each process has ids of its own."""
    honest = WebhookSink.deliver

    async def deliver(self: WebhookSink, message_id: str, body: bytes) -> None:
        await honest(self, f"{message_id}{os.getpid()}", body)

    WebhookSink.deliver = deliver


PLANTS: dict[str, Callable[[], list[str] | None]] = {
    "mark_before_send": _mark_before_send,
    "two_transactions": _two_transactions,
    "shared_queue": _shared_queue,
    "wall_clock_for": _wall_clock_for,
    "no_ledger": _no_ledger,
    "new_id": _new_id,
}
