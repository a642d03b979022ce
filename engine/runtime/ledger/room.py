"""Room in a receiver's part of the outbox: what goes when there is too much. Not a transaction of its own."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.values import Limits

__all__ = ["make_room"]

SPARE: Final = 100
"""A hundredth of the room more than must be is made: it takes a look at many messages to find those that can go."""
_TALLY: Final = "SELECT messages, bytes FROM tally WHERE receiver = ?"
# Only of an order with several messages can one be superseded: most have one, and no message is read for that.
_NEWEST_FIRST: Final = """
SELECT id, covers, status FROM outbox WHERE receiver = :receiver AND order_key IN (
    SELECT order_key FROM outbox WHERE receiver = :receiver GROUP BY order_key HAVING count(*) > 1)
ORDER BY id DESC"""
_DROP: Final = "DELETE FROM outbox WHERE id = ?"
# The oldest that nobody waits for, else the oldest of all.
_OLDEST: Final = "SELECT id FROM outbox WHERE receiver = ? ORDER BY status = 'waiting', id LIMIT 256"
_COVERS: Final = msgspec.msgpack.Decoder(list[tuple[str, str, int]])


def make_room(connection: sqlite3.Connection, receiver: str, limits: Limits) -> int:
    """Delete messages of a receiver until the rest is within the limits; returns how many.

    Those go first of whose every alert something newer of the same order waits (F47): who was told neither needs the
    last word only. Then dead and parked ones, then the oldest. One that is just being sent may be among them.
    """
    if _fits(connection, receiver, limits):
        return 0
    rows_max, bytes_max = limits.outbox_rows_max, limits.outbox_bytes_max
    some = limits._replace(
        outbox_rows_max=rows_max - rows_max // SPARE, outbox_bytes_max=bytes_max - bytes_max // SPARE
    )
    dropped = 0
    for number in _superseded(connection, receiver):
        if _fits(connection, receiver, some):
            return dropped
        dropped += connection.execute(_DROP, (number,)).rowcount
    while not _fits(connection, receiver, some):
        oldest = connection.execute(_OLDEST, (receiver,)).fetchall()
        if not oldest:
            raise LedgerError("corrupt", f"the outbox of {receiver} does not add up")
        for (number,) in oldest:
            if _fits(connection, receiver, some):
                break
            dropped += connection.execute(_DROP, (number,)).rowcount
    return dropped


def _fits(connection: sqlite3.Connection, receiver: str, limits: Limits) -> bool:
    ((messages, size_bytes),) = connection.execute(_TALLY, (receiver,)).fetchall()
    return bool(messages <= limits.outbox_rows_max and (size_bytes <= limits.outbox_bytes_max or messages <= 1))


def _superseded(connection: sqlite3.Connection, receiver: str) -> list[int]:
    """Those of whose every alert something newer waits, the oldest first."""
    newest: dict[str, int] = {}
    found = []
    for number, data, status in connection.execute(_NEWEST_FIRST, {"receiver": receiver}).fetchall():
        covers = _COVERS.decode(data)
        if covers and all(newest.get(key, seq) > seq for key, _, seq in covers):
            found.append(number)
        elif status == "waiting":
            for key, _, seq in covers:
                newest[key] = max(seq, newest.get(key, seq))
    return found[::-1]
