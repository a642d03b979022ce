"""Whole copies of the ledger, made while it is in use, through SQLite's backup (never by copying files)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.file import discard, make_private, new_path, put_in_place, set_aside
from engine.runtime.ledger.values import Notice

__all__ = ["back_up", "copy_to", "put_back"]


def copy_to(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the ledger into a new file, which is put into place when it is whole and on disk.

    Raises:
        LedgerError: `corrupt`: the copy fails its check.
        sqlite3.Error, OSError: Also if there is a file of that name.
    """
    if target.exists():
        raise FileExistsError(17, "there is a file of that name")
    fresh = new_path(target)
    discard(fresh)
    make_private(fresh)
    copy = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.backup(copy)
        sound = copy.execute(sql.CHECK).fetchall() == [("ok",)]
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, and nothing beside it
    finally:
        copy.close()
    if not sound:
        discard(fresh)
        raise LedgerError("corrupt", f"{target.name}: the copy fails its check")
    put_in_place(target)


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """`copy_to`, with `LedgerError` for whatever goes wrong."""
    try:
        copy_to(connection, target)
    except (sqlite3.Error, OSError) as error:
        raise ledger_error(error, target.name) from None


def put_back(connection: sqlite3.Connection, path: Path, now_ms: int) -> Notice:
    """The file of this connection was removed or replaced, and is whole still: put a copy into its place, and say what
    became of what stood there. Raises as `copy_to`."""
    kept = set_aside(path, now_ms, alone=True)  # the log there is ours
    copy_to(connection, path)
    found = f"; what stood there is kept as {kept.name}" if kept.exists() else ""
    return Notice("degraded", "replaced", f"{path.name} was removed or replaced, and was put back{found}")
