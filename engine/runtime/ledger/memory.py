"""The ledger in memory: where it is kept while the file can't be written, and what becomes of it afterwards.

It has the same tables and runs the same transactions, so nothing above it is different. It is bounded by its pages.
What is deleted in it is remembered, so that the file can be told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.rows import ALERT, CURSOR, DELIVERED, OUTBOX, TRANSITION, scan
from engine.runtime.ledger.salvage import raise_sequence
from engine.runtime.ledger.transactions import DROP_ALERT, PUT_COUNTER

__all__ = ["MADE_MS", "MEMORY_BYTES_MAX", "carry_over", "make_memory", "write_through"]

MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
MADE_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z. A clock that shows less is wrong, and no source of numbers that no file has (F25)."""
_PAGES_MAX: Final = "PRAGMA max_page_count = 16384"  # MEMORY_BYTES_MAX, in pages of 4 KiB
_REMEMBER: Final = (
    "CREATE TABLE gone_alert (rule_key TEXT, labels TEXT, PRIMARY KEY (rule_key, labels)) WITHOUT ROWID",
    "CREATE TABLE gone_message (id INTEGER PRIMARY KEY)",
    """
    CREATE TRIGGER alert_gone AFTER DELETE ON alert
    BEGIN INSERT OR IGNORE INTO gone_alert VALUES (old.rule_key, old.labels); END""",
    """
    CREATE TRIGGER message_gone AFTER DELETE ON outbox
    BEGIN INSERT OR IGNORE INTO gone_message VALUES (old.id); END""",
)
_GONE_ALERTS: Final = "SELECT rule_key, labels FROM gone_alert"
_GONE_MESSAGES: Final = "SELECT id FROM gone_message"
_DROP_MESSAGE: Final = "DELETE FROM outbox WHERE id = ?"
_COUNTERS: Final = "SELECT name, value FROM counter"
_META: Final = "SELECT key, value FROM meta WHERE key NOT IN ('commit', 'install_id')"
_PUT_META: Final = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


def make_memory(sequences: Mapping[str, int]) -> sqlite3.Connection:
    """An empty ledger in memory, whose numbers go on after those given."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (_PAGES_MAX, *sql.SCHEMA, *_REMEMBER):
        connection.execute(statement).fetchall()
    for table, seq in sequences.items():
        raise_sequence(connection, table, seq)
    return connection


def carry_over(source: sqlite3.Connection, memory: sqlite3.Connection) -> int:
    """Copy what is needed to go on sending: messages, what receivers were told, cursors. Returns how many messages.

    Alerts are not copied: the core has them, and writes those that change.

    Raises:
        sqlite3.Error: The file can't be read, or memory is full; what was copied until then stays.
    """
    copied = 0
    for table in (CURSOR, OUTBOX, DELIVERED):
        for row in scan(source, table):
            if table.sound(row):
                memory.execute(table.put, row)
                copied += table is OUTBOX
    return copied


def write_through(memory: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Bring the file up to what memory has; the caller commits. Doing it twice does no harm. Raises `sqlite3.Error` for
    the target's errors."""
    target.executemany(_DROP_MESSAGE, memory.execute(_GONE_MESSAGES).fetchall())
    target.executemany(DROP_ALERT, memory.execute(_GONE_ALERTS).fetchall())
    for table in (ALERT, TRANSITION, CURSOR, DELIVERED, OUTBOX):
        target.executemany(table.put, scan(memory, table))
    target.executemany(PUT_COUNTER, memory.execute(_COUNTERS).fetchall())
    target.executemany(_PUT_META, memory.execute(_META).fetchall())
    for name, seq in memory.execute(sql.GET_SEQUENCES).fetchall():
        raise_sequence(target, name, seq)
