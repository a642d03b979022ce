"""Whole copies of the ledger, made while it is in use, through SQLite's backup (never by copying files)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.file import discard, make_private, new_path, put_in_place

__all__ = ["copy_to"]


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
