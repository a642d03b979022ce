"""Bugs to plant into the engine of a simulation, each of which it must find, and that undo themselves.

Transactions that are torn apart are not among them: the reconcile mends at the start what those lose, which is its
purpose. Real kills look for them (`plants`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import engine.runtime.ledger.transactions as transactions
import engine.runtime.outbox as outbox
from engine.core.blindness import Blindness
from engine.runtime.ledger.sending import Look, look, settle
from engine.runtime.ledger.values import Settlement
from engine.runtime.retry import Verdict
from engine.runtime.retry import decide as what_follows
from tests.chaos.sim_receivers import Receiver

__all__ = ["PLANTS"]


def _mark_before_send() -> AbstractContextManager[Any]:
    """A message counts as sent as soon as it is read from the outbox."""

    def marking(connection: sqlite3.Connection, *args: Any, **more: Any) -> Look:
        found = look(connection, *args, **more)
        settle(connection, [Settlement(message.id, "done") for message in found.messages], 0)
        return found

    return patch.object(outbox, "look", marking)


def _drop_on_5xx() -> AbstractContextManager[Any]:
    """A server's error ends a message."""

    def dropping(answer: Any, **more: Any) -> Verdict:
        return Verdict("done") if answer.status >= 500 else what_follows(answer, **more)

    return patch.object(outbox, "decide", dropping)


def _new_id() -> AbstractContextManager[Any]:
    """Each attempt has an id of its own."""
    honest, tries = Receiver.deliver, iter(range(1_000_000))

    async def deliver(self: Receiver, message_id: str, body: bytes) -> None:
        await honest(self, f"{message_id}.{next(tries)}", body)

    return patch.object(Receiver, "deliver", deliver)


def _no_order() -> AbstractContextManager[Any]:
    """Each message has an order of its own: nothing is kept back by what comes before it."""
    honest = transactions._add_message

    def add(connection: sqlite3.Connection, number: int, message: Any, limits: Any) -> int:
        return honest(connection, number, message._replace(order_key=f"{message.order_key}{number}"), limits)

    return patch.object(transactions, "_add_message", add)


def _wall_clock_for() -> AbstractContextManager[Any]:
    """The time in which nobody looked counts for `for`."""

    def take(self: Blindness, *args: Any, **more: Any) -> None:
        """Nothing was blind."""

    return patch.object(Blindness, "take", take)


PLANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "mark_before_send": _mark_before_send,
    "drop_on_5xx": _drop_on_5xx,
    "new_id": _new_id,
    "no_order": _no_order,
    "wall_clock_for": _wall_clock_for,
}
