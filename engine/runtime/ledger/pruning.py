"""What the ledger need not keep, and how much it keeps at most: one transaction, as in `transactions`."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from engine.runtime.ledger.values import Limits

__all__ = ["PRUNE_ROWS", "Pruned", "prune"]

PRUNE_ROWS: Final = 500
"""Rows that one transaction deletes at most, so that nobody waits for a long one (F23)."""

# Who was told that an alert fires is to be told its end: what happened to it since is kept, for it says how. Of a lost
# one that it was told, for as long as that is remembered.
_PRUNE: Final = """
DELETE FROM transition WHERE seq IN (
    SELECT seq FROM transition WHERE seq <= :until_seq AND NOT (
        kind IN ('firing', 'resolved', 'lost') AND EXISTS (
            SELECT 1 FROM json_each(:receivers) JOIN delivered AS told
            ON told.receiver = value AND told.alert_key = fingerprint
            WHERE told.kind IN ('firing', 'lost') AND told.seq = transition.seq
            OR :ends AND told.kind = 'firing' AND told.seq < transition.seq))
    ORDER BY seq LIMIT :rows)"""
_SEQS: Final = "SELECT coalesce((SELECT min(seq) FROM cursor), 0), coalesce((SELECT max(seq) FROM transition), 0)"
_PRUNE_ENDED: Final = """
DELETE FROM delivered WHERE (receiver, alert_key) IN (
    SELECT receiver, alert_key FROM delivered
    WHERE time_ms < ? AND (kind <> 'firing' OR receiver NOT IN (SELECT value FROM json_each(?))) LIMIT ?)"""
_NEXT_RECEIVER: Final = "SELECT min(receiver) FROM delivered WHERE receiver > ?"
_COUNT_TOLD: Final = "SELECT count(*) FROM delivered"
_PRUNE_TOLD: Final = """
DELETE FROM delivered WHERE (receiver, alert_key) IN (
    SELECT receiver, alert_key FROM delivered ORDER BY kind = 'firing', time_ms LIMIT ?)"""


class Pruned(NamedTuple):
    """How many rows a pruning has deleted.

    Args:
        rows: All of them.
        transitions: Those of transitions that somebody needed: a cursor has not passed them, or they say how an alert
            ended of which some receiver believes that it fires.
        told: Those of what receivers were told, beyond the limit.
    """

    rows: int = 0
    transitions: int = 0
    told: int = 0


def prune(
    connection: sqlite3.Connection, limits: Limits, now_ms: int, receivers: Collection[str] | None = None
) -> Pruned:
    """Delete what nobody needs any more, and what is over the limits, at most `PRUNE_ROWS` rows of each kind.

    Args:
        receivers: Those that are configured; what others were told is forgotten in time. None: all are.
    """
    told = _receivers(connection)
    names = {"receivers": msgspec.json.encode(told).decode(), "rows": PRUNE_ROWS}
    ((read_seq, last_seq),) = connection.execute(_SEQS).fetchall()
    read = connection.execute(_PRUNE, {**names, "until_seq": read_seq, "ends": True}).rowcount
    until_seq = last_seq - limits.transitions_max
    over = connection.execute(_PRUNE, {**names, "until_seq": until_seq, "ends": False}).rowcount if until_seq > 0 else 0
    kept = msgspec.json.encode(told if receivers is None else sorted(receivers)).decode()
    ended = connection.execute(_PRUNE_ENDED, (now_ms - limits.delivered_keep_ms, kept, PRUNE_ROWS)).rowcount
    ((count,),) = connection.execute(_COUNT_TOLD).fetchall()
    excess = max(0, min(PRUNE_ROWS, count - limits.delivered_rows_max))
    forgotten = connection.execute(_PRUNE_TOLD, (excess,)).rowcount if excess else 0
    return Pruned(read + over + ended + forgotten, over, forgotten)


def _receivers(connection: sqlite3.Connection) -> list[str]:
    """Every receiver that was ever told anything, as far as that is remembered."""
    names, last = [], ""
    while (found := connection.execute(_NEXT_RECEIVER, (last,)).fetchall()) and found[0][0] is not None:
        last = found[0][0]
        names.append(last)
    return names
