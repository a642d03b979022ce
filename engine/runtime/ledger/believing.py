"""What receivers believe to fire, and what is known of how that ended. As in `transactions`, one function for each
transaction.

A transition is kept for as long as some receiver was told that its alert fires and not that it does not any more: only
it says what the end is to say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from engine.runtime.ledger.sending import covers_of
from engine.runtime.ledger.values import Cover, StoredTransition, checksum

__all__ = ["Believed", "believed", "forget_belief", "last_said"]

_DELIVERED: Final = "SELECT alert_key, kind, seq FROM delivered WHERE receiver = ?"
_OUTBOX: Final = "SELECT covers, status FROM outbox WHERE receiver = ? AND reason <> 'superseded' ORDER BY id"
_LAST: Final = """
SELECT seq, time_ms, rule_key, fingerprint, kind, body, crc FROM transition
WHERE kind IN ('firing', 'resolved', 'lost') AND fingerprint IN (SELECT value FROM json_each(?)) ORDER BY seq"""
_FORGET: Final = """
UPDATE delivered SET kind = ?, time_ms = ?, crc = ?
WHERE receiver = ? AND alert_key = ? AND kind = 'firing' AND seq <= ?"""
_SEQ: Final = "SELECT seq FROM delivered WHERE receiver = ? AND alert_key = ? AND kind = 'firing'"


class Believed(NamedTuple):
    """What a receiver believes.

    Args:
        firing: The alerts that it believes to fire.
        waiting: Those of which it depends on what waits: by `believed(..., delivered=True)`.
    """

    firing: dict[str, Cover]
    waiting: frozenset[str] = frozenset()


def believed(connection: sqlite3.Connection, receiver: str, *, delivered: bool = False) -> Believed:
    """The alerts that a receiver believes to fire, or will once its waiting messages are through. Not those of which a
    dead or parked message says something newer: a person decides about that.

    Args:
        delivered: Only what it was told counts, since what waits may be dropped untold.
    """
    told = {key: Cover(key, kind, seq) for key, kind, seq in connection.execute(_DELIVERED, (receiver,)).fetchall()}
    held, waiting = set[str](), set[str]()
    for data, status in connection.execute(_OUTBOX, (receiver,)).fetchall():
        for cover in covers_of(data):
            known = told.get(cover.alert_key)
            if known is not None and cover.seq < known.seq:
                continue
            if status != "waiting":
                held |= {cover.alert_key} if cover.kind != "firing" else set()
            elif delivered:
                waiting.add(cover.alert_key)
            else:
                told[cover.alert_key] = cover
                held.discard(cover.alert_key)
    firing = {key: cover for key, cover in told.items() if cover.kind == "firing" and key not in held}
    return Believed({key: firing[key] for key in firing.keys() - waiting}, frozenset(firing.keys() & waiting))


def last_said(connection: sqlite3.Connection, keys: Collection[str]) -> dict[str, StoredTransition]:
    """Of each alert the last transition that people are told of, as far as it is kept and sound."""
    rows = connection.execute(_LAST, (msgspec.json.encode(list(keys)).decode(),)).fetchall()
    return {row[3]: StoredTransition(*row[:-1]) for row in rows if row[-1] == checksum(*row[:-1])}


def forget_belief(connection: sqlite3.Connection, receiver: str, ends: Collection[Cover], now_ms: int) -> int:
    """A receiver is not told that these have ended, and that is right, or can't be helped; returns how many of them it
    believed to fire.

    Args:
        ends: Key, a word for how it ended, and a number that is not older than what was told.
        now_ms: Event time.
    """
    changed = 0
    for key, kind, until_seq in ends:
        for (seq,) in connection.execute(_SEQ, (receiver, key)).fetchall():
            crc = checksum(receiver, key, kind, seq, now_ms)
            changed += connection.execute(_FORGET, (kind, now_ms, crc, receiver, key, until_seq)).rowcount
    return changed
