"""What can be read of a damaged ledger, carried into a new one.

Rows are taken one by one, forwards until SQLite gives up and backwards from the end until it does, and each must have
its checksum. The install id is not taken along, and numbers go on after the highest that is known.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from engine.runtime.ledger.rows import ALERT, CURSOR, DELIVERED, OUTBOX, TRANSITION, Row, Table

__all__ = ["Salvaged", "raise_sequence", "salvage"]

_SEQUENCE_MAX: Final = 2**62
_UNTRIED: Final = (0, 0, "", 0, "waiting", "")
"""What is not under the checksum of a message: whether and when to send it."""
_SEQUENCES: Final = "SELECT name, seq FROM sqlite_sequence"
_RAISE_SEQUENCE: Final = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
_NEW_SEQUENCE: Final = "INSERT INTO sqlite_sequence VALUES (?, ?)"


class Salvaged(NamedTuple):
    """How many rows of each table came through, and whether a part of one is known to be missing."""

    alerts: int = 0
    transitions: int = 0
    messages: int = 0
    damaged: bool = True

    def __str__(self) -> str:
        return f"{self.alerts} alerts, {self.transitions} transitions and {self.messages} messages were recovered"


def salvage(path: Path, target: sqlite3.Connection) -> Salvaged:
    """Carry over what can be read of the file at `path`; the caller commits. Raises `sqlite3.Error` for the target's
    errors alone."""
    try:
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1.0)
    except sqlite3.Error:
        return Salvaged()
    source.text_factory = _text
    try:
        found = {table.name: _read(source, table) for table in (ALERT, TRANSITION, CURSOR, OUTBOX, DELIVERED)}
        sequences = _sequences(source)
    finally:
        source.close()
    rows = {name: rows for name, (rows, _) in found.items()}
    if not rows["cursor"]:
        rows["transition"] = []  # nobody could tell any more which of them were handled
    for table in (ALERT, TRANSITION, CURSOR, OUTBOX, DELIVERED):
        rows[table.name] = [row for row in rows[table.name] if _put(target, table, row)]
    highest = max((row[1] for row in rows["cursor"]), default=0)
    highest = max(highest, max((row[3] for row in rows["delivered"]), default=0))
    raise_sequence(target, "transition", max(highest, sequences.get("transition", 0)))
    raise_sequence(target, "outbox", sequences.get("outbox", 0))
    damaged = any(hurt for _, hurt in found.values())
    return Salvaged(len(rows["alert"]), len(rows["transition"]), len(rows["outbox"]), damaged)


def raise_sequence(connection: sqlite3.Connection, table: str, seq: int) -> None:
    """Have the next number of a table be higher than `seq`."""
    if not connection.execute(_RAISE_SEQUENCE, (seq, table)).rowcount:
        connection.execute(_NEW_SEQUENCE, (table, seq))


def _put(target: sqlite3.Connection, table: Table, row: Row) -> bool:
    """Store a row; False if its checksum is right and what is not under it makes no sense."""
    try:
        target.execute(table.put, row)
    except (sqlite3.IntegrityError, OverflowError):
        if table is not OUTBOX or row[7:-1] == _UNTRIED:
            return False
        return _put(target, table, (*row[:7], *_UNTRIED, row[-1]))
    return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")  # its checksum will not fit


def _read(source: sqlite3.Connection, table: Table) -> tuple[list[Row], bool]:
    """The sound rows, and whether the table is damaged."""
    forwards, complete = _walk(source, table, table.first, table.after)
    backwards = [] if complete else _walk(source, table, table.last, table.before)[0]
    by_key = {row[: table.keys]: row for row in [*forwards, *reversed(backwards)]}
    sound = [row for row in by_key.values() if table.sound(row)]
    return sound, not complete or len(sound) < len(by_key)


def _walk(source: sqlite3.Connection, table: Table, first: str, then: str) -> tuple[list[Row], bool]:
    """Rows in one direction, and whether its end was reached."""
    rows: list[Row] = []
    seen: set[Row] = set()
    statement, key = first, ()
    while True:
        try:
            found: list[Row] = source.execute(statement, (*key, 1)).fetchall()
        except (sqlite3.Error, ValueError, OverflowError):
            return rows, False
        if not found:
            return rows, True
        statement, key = then, found[0][: table.keys]
        if key in seen:  # a damaged page may lead round in a circle
            return rows, False
        seen.add(key)
        rows.append(found[0])


def _sequences(source: sqlite3.Connection) -> dict[str, int]:
    try:
        found = source.execute(_SEQUENCES).fetchall()
    except (sqlite3.Error, ValueError):
        return {}
    return {str(name): seq for name, seq in found if isinstance(seq, int) and 0 < seq < _SEQUENCE_MAX}
