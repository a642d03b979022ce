"""Messages on their way: which can be sent now, what came of it, and what a receiver knows. As in `transactions`, one
function for each transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.values import Cover, Instant, Limits, Message, Settlement, checksum, fallback_id

__all__ = [
    "Counts",
    "Hasten",
    "Look",
    "count",
    "covers_of",
    "due",
    "look",
    "message_of",
    "next_due_ms",
    "note_told",
    "settle",
    "standing",
]

# Of each order key the first that waits. A time to try again counts in the boot it was made in by the boot clock;
# in another by the wall clock, unless that puts it further ahead than anybody waits.
_DUE: Final = """
WITH head AS (SELECT min(id) AS id FROM outbox WHERE receiver = :receiver AND status = 'waiting' GROUP BY order_key)
SELECT id, receiver, order_key, message_id, body, covers, created_ms, attempts, status, reason, crc
FROM head JOIN outbox USING (id)
WHERE iif(next_try_boot <> '' AND next_try_boot = :boot_id, next_try_up_ms - :up_ms, next_try_ms - :wall_ms)
      NOT BETWEEN 1 AND :retry_ms_max
      AND id NOT IN (SELECT value FROM json_each(:busy))
ORDER BY id LIMIT :limit"""
_NEXT_DUE: Final = """
WITH head AS (SELECT min(id) AS id FROM outbox WHERE receiver = :receiver AND status = 'waiting' GROUP BY order_key)
SELECT min(iif(ahead_ms BETWEEN 1 AND :retry_ms_max, ahead_ms, 0)) FROM (
    SELECT iif(next_try_boot <> '' AND next_try_boot = :boot_id, next_try_up_ms - :up_ms, next_try_ms - :wall_ms)
           AS ahead_ms
    FROM head JOIN outbox USING (id) WHERE id NOT IN (SELECT value FROM json_each(:busy)))"""


def due(
    connection: sqlite3.Connection,
    receiver: str,
    now: Instant,
    limit: int,
    limits: Limits,
    busy: Collection[int] = (),
) -> list[Message]:
    """Messages that can be sent now: of each order key at most the first one that waits, oldest first.

    Args:
        busy: Ids of messages that are being sent: nothing else of their order keys can be.

    Raises:
        LedgerError: `corrupt`: a message is not what was stored.
    """
    rows = connection.execute(_DUE, {**_question(receiver, now, limits, busy), "limit": limit}).fetchall()
    return [message_of(row) for row in rows]


def next_due_ms(
    connection: sqlite3.Connection, receiver: str, now: Instant, limits: Limits, busy: Collection[int] = ()
) -> int | None:
    """In how many milliseconds the next message can be sent; None if none waits. `busy` as in `due`."""
    ((ahead_ms,),) = connection.execute(_NEXT_DUE, _question(receiver, now, limits, busy)).fetchall()
    return None if ahead_ms is None else int(ahead_ms)


def _question(receiver: str, now: Instant, limits: Limits, busy: Collection[int]) -> dict[str, Any]:
    return {
        "busy": msgspec.json.encode(list(busy)).decode(),
        "receiver": receiver,
        "wall_ms": now.wall_ms,
        "boot_id": now.boot_id,
        "up_ms": now.up_ms,
        "retry_ms_max": limits.retry_ms_max,
    }


def message_of(row: tuple[Any, ...]) -> Message:
    """A message from its columns, in the order of `Message`, and its checksum. Raises `LedgerError`: `corrupt`."""
    number, receiver, order_key, message_id, body, covers, created_ms, attempts, status, reason, crc = row
    if crc != checksum(number, receiver, order_key, message_id, body, covers, created_ms):
        raise LedgerError("corrupt", f"message {number} is not what was stored")
    said = covers_of(covers)
    return Message(number, receiver, order_key, message_id, body, said, created_ms, attempts, status, reason)


def covers_of(data: bytes) -> tuple[Cover, ...]:
    """What a message says, from its column."""
    return tuple(Cover(*cover) for cover in _COVERS.decode(data))


# --- what came of it ----------------------------------------------------------------------------------

_COVERS: Final = msgspec.msgpack.Decoder(tuple[tuple[str, str, int], ...])
_FIND: Final = "SELECT receiver, covers, message_id FROM outbox WHERE id = ?"
_FIND_FALLBACK: Final = "SELECT receiver, covers, attempts FROM outbox WHERE message_id = ? AND status = 'waiting'"
_TOLD_KIND: Final = "SELECT kind FROM delivered WHERE receiver = ? AND alert_key = ?"
_DROP_FALLBACK: Final = "DELETE FROM outbox WHERE message_id = ? AND status = 'waiting'"
_NEED_FALLBACK: Final = """
UPDATE outbox SET next_try_ms = 0, next_try_boot = '', next_try_up_ms = 0 WHERE message_id = ? AND attempts = 0"""
_DROP: Final = "DELETE FROM outbox WHERE id = ?"
PUT_DELIVERED: Final = """
INSERT INTO delivered VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (receiver, alert_key) DO UPDATE SET
    kind = excluded.kind, seq = excluded.seq, time_ms = excluded.time_ms, crc = excluded.crc
WHERE excluded.seq >= seq"""
_RETRY: Final = """
UPDATE outbox SET attempts = attempts + 1, next_try_ms = ?, next_try_boot = ?, next_try_up_ms = ?, reason = ?
WHERE id = ? AND status = 'waiting'"""
_END: Final = """
UPDATE outbox SET attempts = attempts + 1, status = ?, reason = ? WHERE id = ? AND status = 'waiting'"""


def settle(connection: sqlite3.Connection, settlements: Sequence[Settlement], now_ms: int) -> int:
    """What came of attempts to send; returns how many messages that changed. Of one that is gone meanwhile it is kept
    what its receiver was told.

    Args:
        now_ms: Event time.
    """
    changed = 0
    for settlement in settlements:
        match settlement.outcome:
            case "done":
                changed += _done(connection, settlement, now_ms)
            case "retry":
                parameters = (*settlement.next_try, settlement.reason, settlement.id)
                changed += connection.execute(_RETRY, parameters).rowcount
            case outcome:
                changed += connection.execute(_END, (outcome, settlement.reason, settlement.id)).rowcount
                _need_fallback(connection, connection.execute(_FIND, (settlement.id,)).fetchall())
    return changed


def _need_fallback(connection: sqlite3.Connection, given_up: Sequence[tuple[str, bytes, str]]) -> None:
    """What another receiver is to be told in place of these is due now."""
    connection.executemany(_NEED_FALLBACK, [(fallback_id(message_id),) for _, _, message_id in given_up])


def _spare_fallback(connection: sqlite3.Connection, message_id: str, now_ms: int) -> None:
    """What another receiver would have been told in place of a message that is taken goes, unless it is the end of what
    it was told to be firing: that is due now. One that was tried may have been taken, and counts as told."""
    for receiver, covers, attempts in connection.execute(_FIND_FALLBACK, (message_id,)).fetchall():
        ends = covers_of(covers)
        if all(cover.kind != "firing" and _believes(connection, receiver, cover.alert_key) for cover in ends):
            connection.execute(_NEED_FALLBACK, (message_id,))
        else:
            connection.execute(_DROP_FALLBACK, (message_id,))
            note_told(connection, receiver, ends if attempts else (), now_ms)


def _believes(connection: sqlite3.Connection, receiver: str, key: str) -> bool:
    return connection.execute(_TOLD_KIND, (receiver, key)).fetchall() == [("firing",)]


def _done(connection: sqlite3.Connection, settlement: Settlement, now_ms: int) -> int:
    number = settlement.id
    found = connection.execute(_FIND, (number,)).fetchall()
    if not found:  # there was no room for it any more while it was sent: the receiver knows it all the same
        note_told(connection, settlement.receiver, settlement.covers, now_ms)
    for receiver, covers, message_id in found:
        _spare_fallback(connection, fallback_id(message_id), now_ms)
        note_told(connection, receiver, covers_of(covers), now_ms)
        connection.execute(_DROP, (number,))
    return len(found)


def note_told(connection: sqlite3.Connection, receiver: str, covers: Iterable[Cover], now_ms: int) -> None:
    """A receiver counts as having been told this; what is older than what it knows changes nothing.

    Args:
        now_ms: Event time.
    """
    rows = ((receiver, *cover, now_ms) for cover in covers)
    connection.executemany(PUT_DELIVERED, ((*row, checksum(*row)) for row in rows))


# --- a worker's turn ------------------------------------------------------------------

_HASTEN: Final = """
UPDATE outbox SET next_try_ms = 0, next_try_boot = '', next_try_up_ms = 0
WHERE receiver = ? AND status = 'waiting' AND attempts > 0"""
_HASTEN_UNANSWERED: Final = _HASTEN + " AND reason NOT LIKE 'http%'"
_WAITS: Final = "SELECT receiver, covers, message_id FROM outbox WHERE receiver = ? AND status = 'waiting'"
_PARK: Final = "UPDATE outbox SET status = 'parked', reason = ? WHERE receiver = ? AND status = 'waiting'"
_COUNT: Final = """
WITH part AS (SELECT status, count(*) AS messages, min(id) AS id FROM outbox WHERE receiver = ? GROUP BY status)
SELECT part.status, messages, created_ms FROM part JOIN outbox USING (id)"""


Hasten: TypeAlias = Literal["no", "unanswered", "all"]


class Counts(NamedTuple):
    """What the outbox has for one receiver.

    Args:
        held: Dead and parked ones: they wait for a person.
        oldest_ms: When the first of those that wait was made, event time; 0 if none waits.
    """

    waiting: int = 0
    held: int = 0
    oldest_ms: int = 0


class Look(NamedTuple):
    """What a worker finds when it looks after its receiver's messages.

    Args:
        messages: What can be sent now.
        ahead_ms: In how many milliseconds the next one beside them can be sent; None if none waits.
    """

    messages: list[Message]
    ahead_ms: int | None
    counts: Counts


def look(
    connection: sqlite3.Connection,
    receiver: str,
    settlements: Sequence[Settlement],
    now: Instant,
    now_ms: int,
    limits: Limits,
    *,
    limit: int,
    busy: Collection[int] = (),
    hasten: Hasten = "no",
    park: str = "",
) -> Look:
    """Settle what came of the last attempts, and find what can be sent now.

    Args:
        now_ms: Event time.
        hasten: What was tried is due now, for the receiver works again: all of it, or what got no answer. An answer
            may have asked for time.
        park: Why nothing can be sent to this receiver until somebody acts; what waits is parked.
    """
    settle(connection, settlements, now_ms)
    if hasten != "no":
        connection.execute(_HASTEN if hasten == "all" else _HASTEN_UNANSWERED, (receiver,))
    if park:
        _need_fallback(connection, connection.execute(_WAITS, (receiver,)).fetchall())
        connection.execute(_PARK, (park, receiver))
    found = due(connection, receiver, now, limit, limits, busy) if limit > 0 else []
    busy = [*busy, *(message.id for message in found)]
    return Look(found, next_due_ms(connection, receiver, now, limits, busy), count(connection, receiver))


def count(connection: sqlite3.Connection, receiver: str) -> Counts:
    """How many messages wait for a receiver, how many are held, and since when the oldest waits."""
    waiting, held, oldest_ms = 0, 0, 0
    for status, messages, created_ms in connection.execute(_COUNT, (receiver,)).fetchall():
        if status == "waiting":
            waiting, oldest_ms = messages, created_ms
        else:
            held += messages
    return Counts(waiting, held, oldest_ms)


# --- the reconcile's question -----------------------------------------------------------

_DELIVERED: Final = "SELECT alert_key, kind, seq FROM delivered WHERE receiver = ?"
_WAITING: Final = "SELECT covers FROM outbox WHERE receiver = ? AND status = 'waiting' ORDER BY id"
_ALL: Final = "SELECT covers FROM outbox WHERE receiver = ? AND reason <> 'superseded' ORDER BY id"


def standing(connection: sqlite3.Connection, receiver: str, *, held: bool = False) -> dict[str, Cover]:
    """What a receiver will have been told last of each alert, once its waiting messages are through; for the
    reconcile. Dead and parked messages do not count: nobody was told of those.

    Args:
        held: They count all the same, since it is a person's turn to do something about them; but for those that were
            overtaken in part, which nobody sends again.
    """
    told = {key: Cover(key, kind, seq) for key, kind, seq in connection.execute(_DELIVERED, (receiver,)).fetchall()}
    for (covers,) in connection.execute(_ALL if held else _WAITING, (receiver,)).fetchall():
        for cover in _COVERS.decode(covers):
            known = told.get(cover[0])
            if known is None or cover[2] >= known.seq:
                told[cover[0]] = Cover(*cover)
    return told
