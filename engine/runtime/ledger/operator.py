"""What a person and a start do to the ledger: one function for each transaction, as in `transactions`."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from engine.runtime.ledger.pruning import PRUNE_ROWS
from engine.runtime.ledger.sending import covers_of, message_of, note_told
from engine.runtime.ledger.values import AlertRow, Message, OutboxStatus, StoredTransition

__all__ = [
    "Outbox",
    "Replayed",
    "Restored",
    "align",
    "drop",
    "list_outbox",
    "misaligned",
    "put_meta",
    "replay",
    "restore",
    "summary",
    "supersede",
]

NO_RECEIVER: Final = "no_receiver"
SUPERSEDED: Final = "superseded"


class Outbox(NamedTuple):
    """How many messages of one receiver are in which state, and when the oldest of them was made."""

    receiver: str
    status: OutboxStatus
    messages: int
    bytes: int
    oldest_ms: int


class Replayed(NamedTuple):
    """What came of a replay: messages that wait again, those that newer news has overtaken at least in part, those that
    are not there or wait already."""

    waiting: tuple[int, ...]
    superseded: tuple[int, ...]
    missing: tuple[int, ...]


class Restored(NamedTuple):
    """What a start needs to know.

    Args:
        alerts: Every alert.
        cursors: How far each reader of the transitions has come.
        counters: Totals.
        meta: What the run before has left, `clean` among it.
        last_seq: The highest number of a transition ever given.
        lost: Receivers, and what they were told last of an alert: that nothing is known of it any more.
    """

    alerts: list[AlertRow]
    cursors: dict[str, int]
    counters: dict[str, int]
    meta: dict[str, str]
    last_seq: int
    lost: Sequence[tuple[str, StoredTransition]] = ()


# --- start and end -------------------------------------------------------------------------------------

_ALERTS: Final = "SELECT rule_key, labels, row FROM alert ORDER BY rule_key, labels"
_CURSORS: Final = "SELECT name, seq FROM cursor"
_COUNTERS: Final = "SELECT name, value FROM counter"
_META: Final = "SELECT key, value FROM meta"
_LAST_SEQ: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'transition'"
_LOST: Final = """
SELECT receiver, transition.seq, transition.time_ms, rule_key, fingerprint, transition.kind, body
FROM delivered AS told JOIN transition ON transition.seq = told.seq AND fingerprint = alert_key
WHERE told.kind = 'lost' ORDER BY transition.seq"""
_PUT_META: Final = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_PARK: Final = """
UPDATE outbox SET status = 'parked', reason = 'no_receiver'
WHERE status = 'waiting' AND receiver NOT IN (SELECT value FROM json_each(?))"""
_UNPARK: Final = """
UPDATE outbox SET status = 'waiting', reason = '', next_try_ms = 0, next_try_boot = '', next_try_up_ms = 0
WHERE status = 'parked' AND reason = 'no_receiver' AND receiver IN (SELECT value FROM json_each(?))"""


_MISALIGNED: Final = """
SELECT EXISTS (
    SELECT 1 FROM outbox WHERE iif(receiver IN (SELECT value FROM json_each(?)),
        status = 'parked' AND reason = 'no_receiver', status = 'waiting'))"""


def restore(connection: sqlite3.Connection) -> Restored:
    """Everything a start needs but the outbox, which is read as it is sent. Checksums were looked at when the file
    was opened."""
    return Restored(
        [AlertRow(*row) for row in connection.execute(_ALERTS).fetchall()],
        dict(connection.execute(_CURSORS).fetchall()),
        dict(connection.execute(_COUNTERS).fetchall()),
        dict(connection.execute(_META).fetchall()),
        sum(seq for (seq,) in connection.execute(_LAST_SEQ).fetchall()),
        [(receiver, StoredTransition(*row)) for receiver, *row in connection.execute(_LOST).fetchall()],
    )


def put_meta(connection: sqlite3.Connection, values: Mapping[str, str]) -> None:
    """Facts about the run: boot, last sign of life, whether it was stopped."""
    connection.executemany(_PUT_META, values.items())


def misaligned(connection: sqlite3.Connection, receivers: Collection[str]) -> bool:
    """Whether `align` would change anything."""
    names = msgspec.json.encode(sorted(receivers)).decode()
    return connection.execute(_MISALIGNED, (names,)).fetchall() == [(1,)]


def align(connection: sqlite3.Connection, receivers: Collection[str]) -> tuple[int, int]:
    """Park what waits for receivers that are not configured any more, and let what was parked for that wait again when
    they are; returns how many of each."""
    names = msgspec.json.encode(sorted(receivers)).decode()
    return connection.execute(_PARK, (names,)).rowcount, connection.execute(_UNPARK, (names,)).rowcount


# --- a person's ------------------------------------------------------------------------------------------

_LIST: Final = """
SELECT id, receiver, order_key, message_id, body, covers, created_ms, attempts, status, reason, crc
FROM outbox WHERE id > ? ORDER BY id LIMIT ?"""
_GET: Final = """
SELECT id, receiver, order_key, message_id, body, covers, created_ms, attempts, status, reason, crc
FROM outbox WHERE id = ?"""
_TOLD: Final = "SELECT seq FROM delivered WHERE receiver = ? AND alert_key = ?"
_FIRST: Final = """
SELECT id, covers FROM outbox WHERE receiver = ? AND order_key = ? AND status = 'waiting' ORDER BY id LIMIT 1"""
_REPLAY: Final = """
UPDATE outbox
SET status = 'waiting', reason = '', attempts = 0, next_try_ms = 0, next_try_boot = '', next_try_up_ms = 0
WHERE id = ?"""
_SUPERSEDE: Final = "UPDATE outbox SET status = 'dead', reason = 'superseded' WHERE id = ?"
_SAID: Final = "SELECT receiver, covers, reason FROM outbox WHERE id = ?"
_DROP: Final = "DELETE FROM outbox WHERE id = ?"
_SUMMARY: Final = """
SELECT receiver, status, count(*), sum(length(body)), min(created_ms) FROM outbox GROUP BY receiver, status"""


def list_outbox(connection: sqlite3.Connection, after_id: int, limit: int) -> list[Message]:
    """Messages with a higher id, in their order. Raises `LedgerError`: `corrupt`."""
    return [message_of(row) for row in connection.execute(_LIST, (after_id, limit)).fetchall()]


def summary(connection: sqlite3.Connection) -> list[Outbox]:
    """The outbox by receiver and state."""
    return [Outbox(*row) for row in connection.execute(_SUMMARY).fetchall()]


def replay(connection: sqlite3.Connection, ids: Sequence[int]) -> Replayed:
    """Let dead and parked messages wait again, as if never tried, in their old place.

    One is left dead, as superseded, if its receiver has been told something newer of any of its alerts, or may be in
    this moment: an old "firing" must not come after the "resolved". What else it said is the reconcile's to tell.
    """
    waiting, superseded, missing = [], [], []
    for number in ids:
        found = connection.execute(_GET, (number,)).fetchall()
        message = message_of(found[0]) if found else None
        if message is None or message.status == "waiting":
            missing.append(number)
        elif _is_overtaken(connection, message) or _stands_before_newer(connection, message):
            connection.execute(_SUPERSEDE, (number,))
            superseded.append(number)
        else:
            connection.execute(_REPLAY, (number,))
            waiting.append(number)
    return Replayed(tuple(waiting), tuple(superseded), tuple(missing))


def _is_overtaken(connection: sqlite3.Connection, message: Message) -> bool:
    for cover in message.covers:
        told = connection.execute(_TOLD, (message.receiver, cover.alert_key)).fetchall()
        if told and told[0][0] > cover.seq:
            return True
    return False


def _stands_before_newer(connection: sqlite3.Connection, message: Message) -> bool:
    """Whether it would wait before newer news that may be under way: of an order the first that waits."""
    first = connection.execute(_FIRST, (message.receiver, message.order_key)).fetchall()
    if not first or first[0][0] < message.id:
        return False
    newer = {cover.alert_key: cover.seq for cover in covers_of(first[0][1])}
    return any(newer.get(cover.alert_key, cover.seq) > cover.seq for cover in message.covers)


def supersede(connection: sqlite3.Connection) -> int:
    """Give up what waits and has been overtaken, if only in part: while the file could not be read, newer news was sent
    from memory. Returns how many messages that were; they are dead, so a person can see them."""
    overtaken, after_id = [], 0
    while found := list_outbox(connection, after_id, PRUNE_ROWS):
        overtaken += [each.id for each in found if each.status == "waiting" and _is_overtaken(connection, each)]
        after_id = found[-1].id
    connection.executemany(_SUPERSEDE, ((number,) for number in overtaken))
    return len(overtaken)


def drop(connection: sqlite3.Connection, ids: Sequence[int], now_ms: int) -> int:
    """Delete messages, whatever their state; returns how many there were. What they said counts as told, so that the
    reconcile does not bring it back; but not what was superseded, which it may be about to tell.

    Args:
        now_ms: Event time.
    """
    dropped = 0
    for number in ids:
        for receiver, covers, reason in connection.execute(_SAID, (number,)).fetchall():
            try:
                said = covers_of(covers) if reason != SUPERSEDED else ()
            except ValueError:  # damaged: a reason more to be rid of it
                said = ()
            note_told(connection, receiver, said, now_ms)
        dropped += connection.execute(_DROP, (number,)).rowcount
    return dropped
