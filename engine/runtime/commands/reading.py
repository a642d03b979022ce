"""What commands read of the ledger, in the shapes of the wire: from the engine's connection, or from one that can only
read, of an engine that does not run."""

from __future__ import annotations

import sqlite3

from engine.runtime.commands.wire import Entry, ListResult, OutboxState
from engine.runtime.ledger.listing import list_messages
from engine.runtime.ledger.operator import summary

__all__ = ["listed", "totals"]


def totals(connection: sqlite3.Connection) -> tuple[OutboxState, ...]:
    """The outbox by receiver and state, in that order."""
    return tuple(OutboxState(*each) for each in sorted(summary(connection)))


def listed(connection: sqlite3.Connection, limit: int, receiver: str) -> ListResult:
    """What `outbox.list` answers."""
    entries = tuple(Entry(**each._asdict()) for each in list_messages(connection, limit, receiver))
    return ListResult(totals(connection), entries)
