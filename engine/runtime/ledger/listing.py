"""The outbox as a person reads it: messages without their bodies, from the engine's connection or from one that can
only read."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection
from typing import Any, Final, NamedTuple

import msgspec

from engine.runtime.ledger.values import OutboxStatus

__all__ = ["ListedMessage", "known_ids", "list_messages", "receivers_of"]

# `length` of a blob reads no more than the row's header: a body is never fetched.
_LIST: Final = """
SELECT id, receiver, status, message_id, covers, length(body), created_ms, attempts, reason, next_try_ms
FROM outbox WHERE receiver = :receiver OR :receiver = '' ORDER BY status = 'waiting', id LIMIT :limit"""
_RECEIVERS: Final = "SELECT DISTINCT receiver FROM outbox WHERE id IN (SELECT value FROM json_each(?))"
_KNOWN: Final = "SELECT id FROM outbox WHERE id IN (SELECT value FROM json_each(?))"
_COVERS: Final = msgspec.msgpack.Decoder(list[tuple[Any, str, Any]])


class ListedMessage(NamedTuple):
    """A message in the outbox.

    Args:
        about: How many alerts it says what of, by the kind of a cover.
        bytes: Of its body.
        next_try_ms: Wall time of the next attempt; 0 if it was not tried yet.
    """

    id: int
    receiver: str
    status: OutboxStatus
    message_id: str
    about: dict[str, int]
    bytes: int
    created_ms: int
    attempts: int
    reason: str
    next_try_ms: int


def list_messages(connection: sqlite3.Connection, limit: int, receiver: str = "") -> list[ListedMessage]:
    """Dead and parked messages first, then those that wait; each in the order in which they were made.

    Args:
        receiver: Of this one alone; empty for all.
    """
    rows = connection.execute(_LIST, {"receiver": receiver, "limit": limit}).fetchall()
    return [_listed(*row) for row in rows]


def receivers_of(connection: sqlite3.Connection, ids: Collection[int]) -> frozenset[str]:
    """Whose messages these are."""
    numbers = msgspec.json.encode(list(ids)).decode()
    return frozenset(name for (name,) in connection.execute(_RECEIVERS, (numbers,)).fetchall())


def known_ids(connection: sqlite3.Connection, ids: Collection[int]) -> frozenset[int]:
    """Those of the numbers that are of a message."""
    numbers = msgspec.json.encode(list(ids)).decode()
    return frozenset(number for (number,) in connection.execute(_KNOWN, (numbers,)).fetchall())


def _listed(number: int, name: str, status: OutboxStatus, message_id: str, covers: bytes, *rest: Any) -> ListedMessage:
    size, created_ms, attempts, reason, next_try_ms = rest
    about = _about(covers)
    return ListedMessage(number, name, status, message_id, about, size, created_ms, attempts, reason, next_try_ms)


def _about(covers: bytes) -> dict[str, int]:
    """Damage is no reason to show nothing: the checksum is looked at where the message is sent."""
    try:
        return dict(Counter(kind for _, kind, _ in _COVERS.decode(covers)))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
