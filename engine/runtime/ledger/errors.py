"""Why the ledger could not do something: SQLite's errors and the file system's, as reasons. Pure.

A message never has text in it that came with the foreign error: that may have values of a row in it.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from engine.errors import LongwatchError

__all__ = ["LedgerError", "ledger_error"]

_REASONS: Final = {
    sqlite3.SQLITE_FULL: ("disk_full", "the disk is full"),
    sqlite3.SQLITE_IOERR: ("io_error", "the disk reports an error"),
    sqlite3.SQLITE_BUSY: ("locked", "another process holds its lock"),
    sqlite3.SQLITE_LOCKED: ("locked", "another connection holds its lock"),
    sqlite3.SQLITE_PROTOCOL: ("locked", "its lock can't be had"),
    sqlite3.SQLITE_READONLY: ("read_only", "it can't be written"),
    sqlite3.SQLITE_PERM: ("read_only", "it can't be written"),
    sqlite3.SQLITE_AUTH: ("read_only", "it can't be written"),
    sqlite3.SQLITE_CANTOPEN: ("cant_open", "it can't be opened"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "it is damaged"),
    sqlite3.SQLITE_NOTADB: ("corrupt", "it is not a database"),
    sqlite3.SQLITE_FORMAT: ("corrupt", "it is damaged"),
    sqlite3.SQLITE_NOMEM: ("no_memory", "there is no memory left"),
}
# What SQLite says when a row is at fault and not the file: a text where a number belongs, a key that is there.
_BAD_RECORD: Final = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE}
_BY_ERRNO: Final = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EIO: "io_error",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.EROFS: "read_only",
}


class LedgerError(LongwatchError):
    """The ledger could not do what it was asked for.

    Args:
        reason: A short stable code: `disk_full`, `io_error`, `locked`, `read_only`, `cant_open`, `corrupt`,
            `no_memory`, `no_wal`, `newer`, `bad_record`, `overflow`, `closed`, `raised`, `sqlite_error`.
        message: For a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def ledger_error(error: BaseException, name: str) -> LedgerError:
    """Translate an error of SQLite, of the file system or of a transaction's own code.

    Args:
        name: The file's name, for the message.
    """
    if isinstance(error, LedgerError):
        return error
    if isinstance(error, OSError):
        reason = _BY_ERRNO.get(error.errno or 0, "cant_open")
        return LedgerError(reason, f"{name}: {error.strerror or type(error).__name__}")
    if isinstance(error, MemoryError):
        return LedgerError("no_memory", f"{name}: there is no memory left")
    if isinstance(error, UnicodeDecodeError):
        return LedgerError("corrupt", f"{name}: it has text in it that is not Unicode")
    code = getattr(error, "sqlite_errorcode", None) if isinstance(error, sqlite3.Error) else None
    if code is None and isinstance(error, sqlite3.OperationalError):  # Python's own, of a column it can't decode
        return LedgerError("corrupt", f"{name}: it has text in it that is not Unicode")
    if code is None:
        reason = "bad_record" if isinstance(error, sqlite3.Error | ValueError | OverflowError) else "raised"
        return LedgerError(reason, f"{name}: it can't be stored ({type(error).__name__})")
    if code & 0xFF in _BAD_RECORD:
        return LedgerError("bad_record", f"{name}: it can't be stored ({type(error).__name__})")
    reason, text = _REASONS.get(code & 0xFF, ("sqlite_error", "SQLite refused"))
    return LedgerError(reason, f"{name}: {text} ({getattr(error, 'sqlite_errorname', '')})")
