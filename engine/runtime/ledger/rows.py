"""Every table whose rows carry a checksum, as a reader of whole tables needs it: verify, salvage, copy. No transactions
of the running engine are here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.sending import PUT_DELIVERED
from engine.runtime.ledger.transactions import PUT_ALERT, PUT_CURSOR
from engine.runtime.ledger.values import checksum

__all__ = ["ALERT", "CURSOR", "DELIVERED", "OUTBOX", "TRANSITION", "Row", "Table", "scan", "verify"]

Row: TypeAlias = tuple[Any, ...]
_CHUNK: Final = 500


class Table(NamedTuple):
    """One table.

    Args:
        name: Its name, for messages.
        keys: How many of the first columns are its key.
        summed: Which columns the checksum, the last column, is over.
        first, after: Selects rows in the order of the key, from the first on or after a key; the last parameter is
            how many.
        last, before: The same backwards.
        put: Writes a row, and does no harm to a newer one.
    """

    name: str
    keys: int
    summed: slice
    first: str
    after: str
    last: str
    before: str
    put: str

    def sound(self, row: Row) -> bool:
        """Whether a row is what was stored."""
        try:
            return bool(row[-1] == checksum(*row[self.summed]))
        except (TypeError, ValueError, OverflowError):  # a value of a type that no row has
            return False


ALERT: Final = Table(
    "alert",
    2,
    slice(0, 3),
    "SELECT * FROM alert ORDER BY rule_key, labels LIMIT ?",
    "SELECT * FROM alert WHERE (rule_key, labels) > (?, ?) ORDER BY rule_key, labels LIMIT ?",
    "SELECT * FROM alert ORDER BY rule_key DESC, labels DESC LIMIT ?",
    "SELECT * FROM alert WHERE (rule_key, labels) < (?, ?) ORDER BY rule_key DESC, labels DESC LIMIT ?",
    PUT_ALERT,
)
TRANSITION: Final = Table(
    "transition",
    1,
    slice(0, 6),
    "SELECT * FROM transition ORDER BY seq LIMIT ?",
    "SELECT * FROM transition WHERE seq > ? ORDER BY seq LIMIT ?",
    "SELECT * FROM transition ORDER BY seq DESC LIMIT ?",
    "SELECT * FROM transition WHERE seq < ? ORDER BY seq DESC LIMIT ?",
    "INSERT INTO transition VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (seq) DO NOTHING",
)
CURSOR: Final = Table(
    "cursor",
    1,
    slice(0, 2),
    "SELECT * FROM cursor ORDER BY name LIMIT ?",
    "SELECT * FROM cursor WHERE name > ? ORDER BY name LIMIT ?",
    "SELECT * FROM cursor ORDER BY name DESC LIMIT ?",
    "SELECT * FROM cursor WHERE name < ? ORDER BY name DESC LIMIT ?",
    PUT_CURSOR,
)
OUTBOX: Final = Table(
    "outbox",
    1,
    slice(0, 7),
    "SELECT * FROM outbox ORDER BY id LIMIT ?",
    "SELECT * FROM outbox WHERE id > ? ORDER BY id LIMIT ?",
    "SELECT * FROM outbox ORDER BY id DESC LIMIT ?",
    "SELECT * FROM outbox WHERE id < ? ORDER BY id DESC LIMIT ?",
    """
    INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        attempts = excluded.attempts, next_try_ms = excluded.next_try_ms, next_try_boot = excluded.next_try_boot,
        next_try_up_ms = excluded.next_try_up_ms, status = excluded.status, reason = excluded.reason
    ON CONFLICT (message_id) DO NOTHING""",
)
DELIVERED: Final = Table(
    "delivered",
    2,
    slice(0, 5),
    "SELECT * FROM delivered ORDER BY receiver, alert_key LIMIT ?",
    "SELECT * FROM delivered WHERE (receiver, alert_key) > (?, ?) ORDER BY receiver, alert_key LIMIT ?",
    "SELECT * FROM delivered ORDER BY receiver DESC, alert_key DESC LIMIT ?",
    "SELECT * FROM delivered WHERE (receiver, alert_key) < (?, ?) ORDER BY receiver DESC, alert_key DESC LIMIT ?",
    PUT_DELIVERED,
)
_TABLES: Final = (ALERT, TRANSITION, CURSOR, OUTBOX, DELIVERED)
_BAD_TALLY: Final = """
WITH sums AS (SELECT receiver, count(*), sum(length(body)) FROM outbox GROUP BY receiver)
SELECT (SELECT count(*) FROM (SELECT * FROM sums EXCEPT SELECT * FROM tally))
     + (SELECT count(*) FROM (SELECT * FROM tally WHERE messages <> 0 OR bytes <> 0 EXCEPT SELECT * FROM sums))"""
_SEQUENCES: Final = """
SELECT (SELECT max(seq) FROM sqlite_sequence WHERE name = 'transition'),
       max((SELECT coalesce(max(seq), 0) FROM transition), (SELECT coalesce(max(seq), 0) FROM cursor))"""


def scan(connection: sqlite3.Connection, table: Table) -> Iterator[Row]:
    """Every row, in the order of its key, read in chunks."""
    rows = connection.execute(table.first, (_CHUNK,)).fetchall()
    while rows:
        yield from rows
        rows = connection.execute(table.after, (*rows[-1][: table.keys], _CHUNK)).fetchall()


def verify(connection: sqlite3.Connection) -> None:
    """Look at every row's checksum, and whether sums and numbers fit the rows.

    Raises:
        LedgerError: `corrupt`, or why the file could not be read.
    """
    try:
        for table in _TABLES:
            if not all(table.sound(row) for row in scan(connection, table)):
                raise LedgerError("corrupt", f"a row of the table {table.name} is not what was stored")
        ((bad,),) = connection.execute(_BAD_TALLY).fetchall()
        ((given, used),) = connection.execute(_SEQUENCES).fetchall()
    except sqlite3.Error as error:
        raise ledger_error(error, "the ledger") from None
    if bad or (given or 0) < used:
        raise LedgerError("corrupt", "the tables do not fit each other")
