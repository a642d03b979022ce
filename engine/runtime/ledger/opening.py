"""A connection to state.db that can be trusted: made, checked, migrated, or a new file in the place of a damaged one.

A file that is newer than this program is left alone. A damaged one is set aside, never deleted, and what can be read of
it is carried into the new one before that is put into place. A new file is made beside its place and renamed when it
is whole, so that a kill during the first start leaves nothing that looks damaged.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.file import (
    companions,
    discard,
    fault_of,
    is_full,
    make_private,
    new_path,
    put_in_place,
    set_aside,
    sync,
)
from engine.runtime.ledger.rows import verify
from engine.runtime.ledger.salvage import salvage
from engine.runtime.ledger.values import Notice

__all__ = ["Connect", "Opened", "checkpoint", "connect", "migrate", "open_file", "reading", "roll_back", "transaction"]

_QUICK_CHECK_BYTES: Final = 64 * 1024 * 1024
"""A larger file gets the quick check, which does not compare indexes with their tables."""
Connect: TypeAlias = type[sqlite3.Connection]


class Opened(NamedTuple):
    """A connection, and what to tell people. `reset`: the file is a new one in place of a damaged one."""

    connection: sqlite3.Connection
    notices: list[Notice]
    reset: bool = False


def open_file(path: Path, now_ms: int, factory: Connect = sqlite3.Connection) -> Opened:
    """Open the ledger, blocking, for as long as its checks take.

    Args:
        now_ms: Wall time, for the name of a file that is set aside.
        factory: What connections are made by.

    Raises:
        LedgerError: `newer`: the file is of a later version, and was not touched. `no_wal`: SQLite can't keep its log
            here. Otherwise the disk's reason.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            return _begin(path, now_ms, factory)
        discard(new_path(path))  # what a kill has left of a new one
        why = fault_of(path)
        if not why:
            try:
                return Opened(_connect_checked(path, factory), [])
            except LedgerError as error:
                if error.reason != "corrupt":
                    raise
                why = str(error)
        return _begin_anew(path, now_ms, factory, why)
    except (sqlite3.Error, OSError) as error:
        raise _error(error, path) from None


def _begin(path: Path, now_ms: int, factory: Connect) -> Opened:
    """Make a new file, or take the one that a kill has kept from being put into place."""
    fresh, notices = new_path(path), []
    if left := companions(path):
        set_aside(path, now_ms)
        notices.append(Notice("degraded", "set_aside", f"{left[0].name} without its database was set aside"))
    if not _is_whole(fresh, factory):
        discard(fresh)
        _make(fresh, None)
    put_in_place(path)
    return Opened(_connect_checked(path, factory), notices)


def _error(error: BaseException, path: Path) -> LedgerError:
    """That the index of the log can't grow is the same to SQLite on a full disk and on a broken one."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE and is_full(path):
        return LedgerError("disk_full", f"{path.name}: the disk is full (SQLITE_IOERR_SHMSIZE)")
    return ledger_error(error, path.name)


def _begin_anew(path: Path, now_ms: int, factory: Connect, why: str) -> Opened:
    fresh = new_path(path)
    recovered = _make(fresh, path)
    sync(fresh)  # what was recovered is on disk before the other one loses its name
    kept = set_aside(path, now_ms)
    put_in_place(path)
    text = f"{path.name} was damaged ({why}) and kept as {kept.name}; {recovered}"
    return Opened(_connect_checked(path, factory), [Notice("failed", "state_reset", text)], reset=True)


def _make(fresh: Path, damaged: Path | None) -> str:
    """Make a whole new file, with what can be read of a damaged one in it; says how much that was. Nothing of it is
    synced: whoever puts it into place does that once."""
    make_private(fresh)
    connection = connect(fresh)
    try:
        for pragma in sql.PRAGMAS_OF_MAKING:
            connection.execute(pragma).fetchall()
        connection.execute(sql.SET_APPLICATION_ID)
        with transaction(connection):
            for statement in sql.SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('install_id', ?)", (secrets.token_hex(16),))
            recovered = "" if damaged is None else str(salvage(damaged, connection))
        _set_wal(connection, fresh.name)
    finally:
        connection.close()
    return recovered


def _is_whole(fresh: Path, factory: Connect) -> bool:
    if not fresh.exists() or companions(fresh) or fault_of(fresh):
        return False
    try:
        _connect_checked(fresh, factory).close()
    except (LedgerError, sqlite3.Error):
        return False
    return not companions(fresh)


def connect(path: Path, factory: Connect = sqlite3.Connection) -> sqlite3.Connection:
    """A writing connection without a transaction of its own making, set up; the file must be there. Raises
    `sqlite3.Error`."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, factory=factory)
    try:
        for pragma in sql.PRAGMAS:
            connection.execute(pragma).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def reading(path: Path, *, timeout_s: float = 5.0, unshared: bool = False) -> sqlite3.Connection:
    """A connection for a short look from another process, or for a copy; it can't write. Raises `LedgerError`.

    Args:
        timeout_s: How long a lock is waited for.
        unshared: Nobody writes, and there is no log: locks are not asked for, and nothing is made beside the file.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if unshared else ''}"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout_s)
    except sqlite3.Error as error:
        raise ledger_error(error, path.name) from None
    try:
        _check_owner(connection, path.name)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise ledger_error(error, path.name) from None
        raise
    return connection


def _connect_checked(path: Path, factory: Connect) -> sqlite3.Connection:
    """Connect and make sure that the file is whole and ours. Raises `LedgerError`, with the connection closed."""
    connection = None
    try:
        connection = connect(path, factory)
        _check(connection, path)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error | OSError | UnicodeDecodeError):
            raise
        failure = _error(error, path)
        if failure.reason == "sqlite_error":  # our statements are right, so what they are run on is wrong
            failure = LedgerError("corrupt", "SQLite does not understand it")
        raise failure from None
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    version = _check_owner(connection, path.name)
    large = path.stat().st_size > _QUICK_CHECK_BYTES
    if connection.execute(sql.CHECK_QUICKLY if large else sql.CHECK).fetchall() != [("ok",)]:
        raise LedgerError("corrupt", "it failed its check")
    if connection.execute(sql.GET_SYNCHRONOUS).fetchall() != [(2,)]:
        raise LedgerError("no_wal", f"{path.name}: SQLite does not sync its commits")
    _set_wal(connection, path.name)
    migrate(connection, version, sql.MIGRATIONS)
    if _schema_of(connection) != _own_schema():
        raise LedgerError("corrupt", "its tables are not ours")
    verify(connection)
    checkpoint(connection, path.name, truncate=True)


def _check_owner(connection: sqlite3.Connection, name: str) -> int:
    """The version of a file of ours. Raises `LedgerError`: `newer`, `corrupt`."""
    owner, version = (
        connection.execute(query).fetchall()[0][0] for query in (sql.GET_APPLICATION_ID, sql.GET_USER_VERSION)
    )
    if owner != sql.APPLICATION_ID:
        raise LedgerError("corrupt", "it is not a ledger")
    if version > sql.USER_VERSION:
        text = f"{name} has schema {version}, but this Longwatch knows {sql.USER_VERSION}: update it"
        raise LedgerError("newer", text)
    if version < 1:
        raise LedgerError("corrupt", "it has no version")
    return int(version)


def _set_wal(connection: sqlite3.Connection, name: str) -> None:
    """It says so only in its answer when it could not switch, for instance on an I/O error (M5, F14)."""
    mode = connection.execute(sql.SET_WAL).fetchall()[0][0]
    if mode != "wal":
        raise LedgerError("no_wal", f"{name}: SQLite stays in {mode} mode")


def migrate(connection: sqlite3.Connection, version: int, migrations: Mapping[int, Sequence[str]]) -> None:
    """Bring a file to this version, each step of a version in one transaction (F05). Raises `sqlite3.Error`."""
    while version in migrations:
        with transaction(connection):
            for statement in migrations[version]:
                connection.execute(statement)
        version += 1


def checkpoint(connection: sqlite3.Connection, name: str, *, truncate: bool = False) -> bool:
    """Move the log into the database and look at the answer; False if a reader held it up.

    Raises:
        LedgerError: `no_wal`: the file is not in WAL mode any more.
        sqlite3.Error: The disk's; with automatic checkpoints it would be swallowed (M5).
    """
    connection.execute(sql.SHORT_BUSY_TIMEOUT).fetchall()
    try:
        statement = sql.CHECKPOINT_TRUNCATE if truncate else sql.CHECKPOINT
        ((busy, log_pages, done_pages),) = connection.execute(statement).fetchall()
    finally:
        connection.execute(sql.BUSY_TIMEOUT).fetchall()
    if log_pages < 0:
        raise LedgerError("no_wal", f"{name} is not in WAL mode any more")
    return not busy and log_pages == done_pages


def _schema_of(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return connection.execute(sql.GET_SCHEMA).fetchall()


@cache
def _own_schema() -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for statement in sql.SCHEMA:
            connection.execute(statement)
        return _schema_of(connection)
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT; an error rolls back, if that is still possible, and goes on."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        roll_back(connection)
        raise
    connection.execute("COMMIT")


def roll_back(connection: sqlite3.Connection) -> bool:
    """End a transaction without its effects; False if that failed, too, and the connection is of no use."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True
