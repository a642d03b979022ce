"""One connection to history.db: opened carefully, used in whole transactions, always closed.

Raises `SinkError` where SQLite raises errors of its own. It knows nothing of records.

Every method must be run as a unit of its own task (`SqliteSink` does): a transaction that is cancelled
half way would leave its lock behind (M7).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiosqlite

from engine.errors import SinkError
from sinks import _sqlite_schema as sql
from sinks._sqlite_errors import sink_error
from sinks._sqlite_file import Identity, identity, prepare, set_aside

__all__ = ["Database", "connect"]

QUICK_CHECK_BYTES_MAX: Final = 64 * 1024 * 1024
"""Larger files are not checked when they are opened: it would take seconds."""
WAL_BYTES_WARN: Final = 64 * 1024 * 1024
"""A log this long that can't be emptied means that a reader holds an old snapshot (F22)."""
THREAD_END_POLL_S: Final = 0.001
THREAD_END_POLLS: Final = 1_000
# After these the connection is as good as before, once the transaction is rolled back (M11, M13).
_KEEP_CONNECTION: Final = {"disk_full", "locked", "bad_record", "no_memory"}


async def connect(target: str | Path, *, uri: bool = False) -> aiosqlite.Connection:
    """Open a connection in autocommit mode. Raises `sqlite3.Error`.

    aiosqlite's thread is not a daemon: left open, it keeps the process alive for ever (M10). Every
    connection is closed here, but a disk that hangs must not hold up the exit of a host either.
    """
    connection = aiosqlite.connect(target, uri=uri, isolation_level=None, timeout=5.0)
    thread = getattr(connection, "_thread", None)
    if thread is not None:
        thread.daemon = True
    try:
        return await connection
    except BaseException:
        # aiosqlite told its thread to end and does not wait for it. It reports to the loop once more, and
        # would find it closed if this error ends the program.
        for _ in range(THREAD_END_POLLS):
            if thread is None or not thread.is_alive():
                break
            await asyncio.sleep(THREAD_END_POLL_S)
        raise


class Database:
    """The writing connection, which is also the only one that checkpoints (F24).

    Args:
        path: The file.
        call: Runs a blocking function on the engine's pool.
        now_ms: Wall time, for the names of files that are set aside.
        notice: Is told (reason, message) of what a person should know and what is no failure.
    """

    def __init__(
        self,
        path: Path,
        call: Callable[[Callable[[], Any]], Awaitable[Any]],
        now_ms: Callable[[], int],
        notice: Callable[[str, str], None],
    ) -> None:
        self.path = path
        self._call = call
        self._now_ms = now_ms
        self._notice = notice
        self._connection: aiosqlite.Connection | None = None
        self._identity: Identity | None = None
        self._damaged = False
        self._wal_warned = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    async def open(self) -> None:
        """Open the file, or a new one in its place if it is damaged.

        Raises:
            SinkError: `newer` and `foreign` are not retryable: the file is somebody's, and not ours to touch.
        """
        try:
            if self._damaged:
                await self._set_aside("it is damaged")
            if not await self._open_once():
                await self._set_aside("it failed its check")
                if not await self._open_once():
                    raise SinkError("corrupt", f"{self.path.name}: a new file fails its check", retryable=True)
        except (sqlite3.Error, OSError) as error:
            raise sink_error(error, self.path.name) from None
        self._damaged = False

    async def _set_aside(self, why: str) -> None:
        kept = await self._call(partial(set_aside, self.path, self._now_ms()))
        self._damaged = False
        self._notice("set_aside", f"{self.path.name}: {why}; kept as {kept.name}, a new file was begun")

    async def _open_once(self) -> bool:
        """Connect and check; False, with the connection closed, if the file is damaged."""
        prepared = await self._call(partial(prepare, self.path, self._now_ms()))
        for reason, message in prepared.notices:
            self._notice(reason, message)
        connection = await connect(self.path)
        self._connection = connection
        try:
            intact = await self._check(prepared.identity.size_bytes)
            if intact:
                self._identity = prepared.identity
                return True
        except sqlite3.DatabaseError as error:
            if sink_error(error, "").reason != "corrupt":
                await self.drop()
                raise
        except BaseException:
            await self.drop()
            raise
        await self.drop()
        return False

    async def _check(self, size_bytes: int) -> bool:
        """Set the connection up and make sure that the file is whole and ours; False if it is damaged."""
        for pragma in sql.PRAGMAS:
            await self._fetch(pragma)
        tables, owner, version = [
            (await self._fetch(query))[0][0]
            for query in (sql.COUNT_TABLES, sql.GET_APPLICATION_ID, sql.GET_USER_VERSION)
        ]
        if tables and owner != sql.APPLICATION_ID:
            text = f"{self.path.name} belongs to another application; name another file with `path`"
            raise SinkError("foreign", text, retryable=False)
        if version > sql.USER_VERSION:
            text = f"{self.path.name} has schema {version}, but this Longwatch knows {sql.USER_VERSION}: update it"
            raise SinkError("newer", text, retryable=False)
        if tables and size_bytes <= QUICK_CHECK_BYTES_MAX and await self._fetch(sql.QUICK_CHECK) != [("ok",)]:
            return False
        # It says so only in its answer when it could not switch, for instance on an I/O error (M5, F14).
        if (mode := (await self._fetch(sql.SET_WAL))[0][0]) != "wal":
            raise SinkError("no_wal", f"{self.path.name}: SQLite stays in {mode} mode", retryable=True)
        if statements := sql.statements_for(version if tables else None):
            async with self.transaction():
                for statement in statements:
                    await self._fetch(statement)
        return await self._fetch(sql.GET_META, ("sentinel",)) == [("longwatch history",)]

    async def fetch(self, statement: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and take all its rows, so that no cursor stays open (M15).

        Raises:
            SinkError: A transaction under way is undone.
        """
        try:
            return await self._fetch(statement, parameters)
        except sqlite3.Error as error:
            failure = sink_error(error, self.path.name)
        await self._recover(failure)
        raise failure

    async def _fetch(self, statement: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        return [tuple(row) for row in await self._connection.execute_fetchall(statement, parameters)]

    async def run_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run one statement for each row. A generator is consumed on the connection's thread."""
        assert self._connection is not None
        cursor = await self._connection.executemany(statement, rows)
        await cursor.close()

    async def change(self, statement: str, parameters: Iterable[Any]) -> int:
        """Run one statement in a transaction of its own and return how many rows it changed."""
        assert self._connection is not None
        async with self.transaction():
            cursor = await self._connection.execute(statement, parameters)
            changed = cursor.rowcount
            await cursor.close()
        return changed

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN IMMEDIATE ... COMMIT. On an error everything is undone, or the connection given up.

        Raises:
            SinkError: With the outcome `not done`, except that a failed COMMIT may have reached the disk.
        """
        assert self._connection is not None
        try:
            await self._connection.execute_fetchall("BEGIN IMMEDIATE")
            yield
            await self._connection.execute_fetchall("COMMIT")
        except Exception as error:
            failure = sink_error(error, self.path.name)
            await self._recover(failure)
            if isinstance(error, SinkError):
                raise
        except BaseException:
            await self.drop()
            raise
        else:
            return
        raise failure

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Inside of a transaction: what fails for its records is undone alone, and the transaction goes on.

        Raises:
            SinkError: `bad_record`. Any other error is for the transaction.
        """
        await self._fetch("SAVEPOINT some_records")
        try:
            yield
        except Exception as error:
            failure = sink_error(error, self.path.name)
            if failure.reason != "bad_record":
                raise
            try:
                await self._fetch("ROLLBACK TO some_records")
                await self._fetch("RELEASE some_records")
            except (sqlite3.Error, ValueError):
                raise SinkError("sqlite_error", f"{self.path.name}: can't undo a part", retryable=True) from None
        else:
            await self._fetch("RELEASE some_records")
            return
        raise failure

    async def _recover(self, failure: SinkError) -> None:
        """Come back to a connection without a transaction, or to none at all (F13)."""
        self._damaged = self._damaged or failure.reason == "corrupt"
        if self._connection is not None and failure.reason in _KEEP_CONNECTION:
            try:
                if self._connection.in_transaction:
                    await self._connection.execute_fetchall("ROLLBACK")
                return
            except sqlite3.Error:
                pass  # then it is of no use any more
        await self.drop()

    async def checkpoint(self) -> None:
        """Move the log into the database, as far as readers allow, and look at the result (M5)."""
        try:
            _, log_pages, done_pages = (await self._fetch(sql.CHECKPOINT))[0]
            page_bytes = (await self._fetch(sql.GET_PAGE_SIZE))[0][0]
        except sqlite3.Error as error:
            failure = sink_error(error, self.path.name)
            if failure.reason != "locked":
                self._notice("checkpoint_failed", str(failure))
                await self._recover(failure)
            return
        if log_pages < 0:
            self._notice("checkpoint_failed", f"{self.path.name} is not in WAL mode any more")
            await self.drop()
            return
        pinned = (log_pages - done_pages) * page_bytes > WAL_BYTES_WARN
        if pinned and not self._wal_warned:
            mib = log_pages * page_bytes // 2**20
            self._notice("wal_pinned", f"{self.path.name}-wal has {mib} MiB: some reader keeps a query open")
        self._wal_warned = pinned

    async def was_replaced(self) -> bool:
        """Whether another file, or none, stands at the path by now (F21); False where that can't be told."""
        found: Identity | None
        try:
            found = await self._call(partial(identity, self.path))
        except (OSError, SinkError):
            return False
        return self._identity is not None and not self._identity.same_file(found)

    async def close(self) -> None:
        """Empty the log and close. Raises nothing: whatever is left in the log is read at the next start."""
        if self._connection is not None:
            try:
                await self._fetch(sql.SHORT_BUSY_TIMEOUT)
                await self._fetch(sql.CHECKPOINT_TRUNCATE)
            except (sqlite3.Error, ValueError):
                pass  # the log stays, which costs nothing
        await self.drop()

    async def drop(self) -> None:
        """Close the connection as it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except (sqlite3.Error, ValueError):
                pass  # aiosqlite ends its thread all the same
