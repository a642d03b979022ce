"""What the ledger writes and reads while the engine runs: one function for each transaction.

Each takes the connection and values and returns a value; it is run inside of a transaction that its caller begins and
commits, together with others. It must not keep a cursor open, must not commit, and must do no harm if it is run twice
with the same values: a commit whose outcome is not known is run again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.room import make_room
from engine.runtime.ledger.values import Decision, Limits, NewMessage, Step, StoredTransition, checksum

__all__ = ["Decided", "Recorded", "decide", "record", "transitions_after"]


class Decided(NamedTuple):
    """What came of T2.

    Args:
        queued: Messages that are in the outbox now by this decision.
        overflowed: Older messages that had to go for it, by receiver.
        void: The cursor was that far already, so nothing was done.
    """

    queued: int = 0
    overflowed: dict[str, int] = {}  # never written to
    void: bool = False


# --- T1 ---------------------------------------------------------------------------------------------

_ADD_TRANSITION: Final = """
INSERT INTO transition (seq, time_ms, rule_key, fingerprint, kind, body, crc) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?"
PUT_ALERT: Final = """
INSERT INTO alert VALUES (?, ?, ?, ?)
ON CONFLICT (rule_key, labels) DO UPDATE SET row = excluded.row, crc = excluded.crc"""
# It is there before it is deleted: the ledger in memory must see that it was, also if the file alone had it.
_MEET_ALERT: Final = "INSERT INTO alert VALUES (?, ?, x'', 0) ON CONFLICT DO NOTHING"
DROP_ALERT: Final = "DELETE FROM alert WHERE rule_key = ? AND labels = ?"
PUT_COUNTER: Final = """
INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


class Recorded(NamedTuple):
    """What came of T1.

    Args:
        seqs: The number of each transition, in their order; 0 for one that can't be stored.
        refused: How many rows can't be stored, alerts included: a bug above, not a fault of the file.
    """

    seqs: Sequence[int]
    refused: int = 0


def record(connection: sqlite3.Connection, step: Step) -> Recorded:
    """T1: the transitions of a step, the alerts as they are after it, and the counters.

    Numbers are given here and not by SQLite, from where it has come to: they are under the rows' checksums.
    """
    connection.execute("SAVEPOINT step")
    try:
        recorded = _record_all(connection, step)
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
        if ledger_error(error, "").reason not in {"bad_record", "raised"}:
            raise
        connection.execute("ROLLBACK TO step")
        recorded = _record_each(connection, step)
    connection.execute("RELEASE step")
    return recorded


def _record_all(connection: sqlite3.Connection, step: Step) -> Recorded:
    first = 1 + _last(connection, "transition")
    rows = ((seq, *transition) for seq, transition in enumerate(step.transitions, first))
    connection.executemany(_ADD_TRANSITION, ((*row, checksum(*row)) for row in rows))
    gone = [alert[:2] for alert in step.alerts if alert.row is None]
    connection.executemany(_MEET_ALERT, gone)
    connection.executemany(DROP_ALERT, gone)
    kept = ((key, labels, row, checksum(key, labels, row)) for key, labels, row in step.alerts if row is not None)
    connection.executemany(PUT_ALERT, kept)
    connection.executemany(PUT_COUNTER, step.counters.items())
    return Recorded(range(first, first + len(step.transitions)))


def _last(connection: sqlite3.Connection, table: str) -> int:
    """The highest number ever given to a row of a table."""
    ((last,),) = connection.execute(_LAST, (table,)).fetchall()
    return int(last)


def _record_each(connection: sqlite3.Connection, step: Step) -> Recorded:
    """One row that can't be stored must not take the others with it."""
    parts = [Step(transitions=[transition]) for transition in step.transitions]
    parts += [Step(alerts=[alert]) for alert in step.alerts]
    parts += [Step(counters={name: value}) for name, value in step.counters.items()]
    seqs, refused = [], 0
    for part in parts:
        connection.execute("SAVEPOINT row")
        try:
            found = list(_record_all(connection, part).seqs)
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            if ledger_error(error, "").reason not in {"bad_record", "raised"}:
                raise
            connection.execute("ROLLBACK TO row")
            found, refused = [0] * len(part.transitions), refused + 1
        connection.execute("RELEASE row")
        seqs += found
    return Recorded(seqs, refused)


# --- T2 ---------------------------------------------------------------------------------------------

_GET_CURSOR: Final = "SELECT seq FROM cursor WHERE name = ?"
PUT_CURSOR: Final = """
INSERT INTO cursor VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, crc = excluded.crc WHERE excluded.seq > seq"""
_ADD_MESSAGE: Final = """
INSERT INTO outbox
    (id, receiver, order_key, message_id, body, covers, created_ms, crc, next_try_ms, next_try_boot, next_try_up_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (message_id) DO NOTHING"""


def decide(connection: sqlite3.Connection, decision: Decision, limits: Limits) -> Decided:
    """T2: messages into the outbox, and how far policy has come.

    Raises:
        LedgerError: `bad_record`: a body is larger than the limit; nothing is queued.
    """
    if decision.cursor:
        reached = connection.execute(_GET_CURSOR, (decision.cursor,)).fetchall()
        if reached and reached[0][0] >= decision.seq:
            return Decided(void=True)
        connection.execute(PUT_CURSOR, (decision.cursor, decision.seq, checksum(decision.cursor, decision.seq)))
    first = 1 + _last(connection, "outbox")
    numbered = enumerate(decision.messages, first)
    queued = sum(_add_message(connection, number, message, limits) for number, message in numbered)
    overflowed = {}
    for receiver in {message.receiver: None for message in decision.messages}:
        if dropped := make_room(connection, receiver, limits):
            overflowed[receiver] = dropped
    return Decided(queued, overflowed)


def _add_message(connection: sqlite3.Connection, number: int, message: NewMessage, limits: Limits) -> int:
    if len(message.body) > limits.body_bytes_max:
        raise LedgerError("bad_record", f"a message of {len(message.body)} bytes is over {limits.body_bytes_max}")
    covers = msgspec.msgpack.encode(message.covers)
    row = (number, message.receiver, message.order_key, message.message_id, message.body, covers, message.created_ms)
    cursor = connection.execute(_ADD_MESSAGE, (*row, checksum(*row), *message.not_before))
    return cursor.rowcount


# --- what policy has to look at

_AFTER: Final = """
SELECT seq, time_ms, rule_key, fingerprint, kind, body, crc FROM transition WHERE seq > ? ORDER BY seq LIMIT ?"""


def transitions_after(connection: sqlite3.Connection, seq: int, limit: int) -> list[StoredTransition]:
    """Transitions with a higher number, in their order. Raises `LedgerError`: `corrupt`."""
    rows = connection.execute(_AFTER, (seq, limit)).fetchall()
    for row in rows:
        if row[-1] != checksum(*row[:-1]):
            raise LedgerError("corrupt", f"transition {row[0]} is not what was stored")
    return [StoredTransition(*row[:-1]) for row in rows]
