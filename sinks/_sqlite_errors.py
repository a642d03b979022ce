"""SQLite's errors and the file system's as `SinkError`: who is at fault, and whether it may heal. Pure.

Never is there text in it that came with the error: it may have values of a record in it.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from engine.errors import SinkError

__all__ = ["sink_error"]

_REASONS: Final = {
    sqlite3.SQLITE_FULL: ("disk_full", "the disk is full"),
    sqlite3.SQLITE_IOERR: ("io_error", "the disk reports an error"),
    sqlite3.SQLITE_BUSY: ("locked", "another process holds its lock"),
    sqlite3.SQLITE_LOCKED: ("locked", "another connection holds its lock"),
    sqlite3.SQLITE_READONLY: ("read_only", "it can't be written"),
    sqlite3.SQLITE_PERM: ("read_only", "it can't be written"),
    sqlite3.SQLITE_CANTOPEN: ("cant_open", "it can't be opened"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "it is damaged"),
    sqlite3.SQLITE_NOTADB: ("corrupt", "it is not a database"),
    sqlite3.SQLITE_NOMEM: ("no_memory", "there is no memory left"),
    sqlite3.SQLITE_INTERRUPT: ("interrupted", "the reader gave up"),
}
# The row is at fault and not the file: a text in a column of integers, more bytes than a row may have.
_BAD_RECORD: Final = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}


def sink_error(error: Exception, name: str) -> SinkError:
    """Translate an error of SQLite or of the file system; `name` is the file's name."""
    if isinstance(error, SinkError):
        return error
    if isinstance(error, OSError):
        reason = "disk_full" if error.errno == 28 else "cant_open"
        return SinkError(reason, f"{name}: {error.strerror or error}", retryable=True)
    if isinstance(error, MemoryError):
        return SinkError("no_memory", f"{name}: there is no memory left", retryable=True)
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    if code is not None and code & 0xFF not in _BAD_RECORD:
        reason, text = _REASONS.get(code & 0xFF, ("sqlite_error", "SQLite refused"))
        detail = getattr(error, "sqlite_errorname", "")
        return SinkError(reason, f"{name}: {text} ({detail})", retryable=True)
    # Or a value SQLite has no type for: an integer beyond 64 bits, text that is not Unicode.
    return SinkError("bad_record", f"{name}: a record can't be stored ({type(error).__name__})", retryable=False)
