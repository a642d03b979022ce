"""The ledger without its thread: runs groups of transactions, on the file, or in memory while that can't be written.

Everything here blocks and is called by one thread at a time. Failures of the disk do not come out of `run`: the store
mends what can be mended, and goes on in memory if it can't (fail open). It must never say that something is durable
which is not: a commit whose outcome is unknown is looked up in the file, after a checkpoint has written it anew.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.copying import copy_to
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.file import burn_ballast, identity, load_ballast, log_bytes, set_aside
from engine.runtime.ledger.group import KEEP_CONNECTION, Group, Job
from engine.runtime.ledger.memory import MADE_MS, carry_over, make_memory, write_through
from engine.runtime.ledger.opening import Connect, checkpoint, open_file, reading, transaction
from engine.runtime.ledger.operator import Restored, restore, supersede
from engine.runtime.ledger.values import Notice

__all__ = ["Ran", "Store"]

LOG_BYTES_TRUNCATE: Final = 16 * 1024 * 1024
LOG_BYTES_WARN: Final = 64 * 1024 * 1024
_NOTICES_MAX: Final = 100


class Ran(NamedTuple):
    """What came of a group: for each job its value, or the `LedgerError` why it has none; whether that is on disk."""

    results: list[Any]
    durable: bool


class Store:
    """The ledger's tables.

    Args:
        path: The file; None keeps everything in memory, for an engine that must write no file.
        now_ms: Wall time, for the name of a file that is set aside.
        factory: What connections are made by.
    """

    def __init__(self, path: Path | None, now_ms: Callable[[], int], factory: Connect = sqlite3.Connection) -> None:
        self.path = path
        self._name = "the ledger" if path is None else path.name
        self._now_ms = now_ms
        self._factory = factory
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._sequences: Mapping[str, int] = {}
        self._notices: list[Notice] = []
        self._run_token = secrets.token_hex(8)
        self._pinned = self._left_behind = self._unread = False
        self.in_memory = path is None
        self.trouble = ""
        """Why it is kept in memory; empty while it is where it should be."""
        self.has_ballast = False
        self.log_bytes = 0
        self.groups = 0
        self.degraded_total = 0
        self.resets_total = 0

    # --- life -----------------------------------------------------------------------------------------

    def open(self) -> Restored:
        """Open the file, with its checks.

        Raises:
            LedgerError: It can't be used; nothing was lost or changed. The engine may go on with `Store(None, ...)`.
        """
        if self.path is None:
            self._connection = make_memory({})
            return restore(self._connection)
        try:
            connection = self._open_file()
        except LedgerError as error:
            if error.reason != "disk_full" or not burn_ballast(self.path):
                raise
            connection = self._open_file()
        self.has_ballast = load_ballast(self.path)
        try:
            return restore(connection)
        except sqlite3.Error as error:
            self._drop()
            raise ledger_error(error, self._name) from None

    def open_degraded(self, error: LedgerError) -> Restored:
        """Begin in memory after `open` has failed; `heal` goes to the file as soon as that can be had.

        What the file has is not known: numbers begin at the time, which no file has reached, and its alerts go.
        """
        self._unread = True
        self._sequences = dict.fromkeys(("transition", "outbox"), max(self._now_ms(), MADE_MS))
        return restore(self._degrade(error))

    def close(self, last: Sequence[Job[Any]] = ()) -> bool:
        """Run the last jobs, empty the log and close; returns whether everything is on disk. Does not raise."""
        if self._connection is None:
            return False
        self.heal()
        ran = self.run(last) if last else Ran([], not self.in_memory)
        good = ran.durable and not any(isinstance(result, LedgerError) for result in ran.results)
        self._empty_log()
        self._drop()
        return good

    def _empty_log(self) -> None:
        if self._connection is not None and not self.in_memory:
            try:
                checkpoint(self._connection, self._name, truncate=True)
            except (sqlite3.Error, LedgerError):
                pass  # it is read at the next start

    def take_notices(self) -> list[Notice]:
        """What there is to tell, once."""
        taken, self._notices = self._notices, []
        return taken

    # --- groups ---------------------------------------------------------------------------------------

    def run(self, jobs: Sequence[Job[Any]]) -> Ran:
        """Run jobs in one transaction and commit it. A job that fails for its own values is undone alone, and its
        result is the `LedgerError`. Does not raise."""
        if self._connection is None:
            return Ran([LedgerError("closed", "the ledger is closed")] * len(jobs), durable=False)
        group = Group(jobs, f"{self._run_token}:{self.groups}", self._name)
        try:
            if self.in_memory:
                group.commit(self._connection)
            else:
                self._commit_to_disk(group)
        except LedgerError as error:  # nothing else is left
            return Ran([error] * len(jobs), durable=False)
        if group.writes:
            self._sequences = group.sequences
            self.groups += 1
        return Ran(group.results, durable=not self.in_memory)

    def _commit_to_disk(self, group: Group) -> None:
        assert self._connection is not None
        try:
            group.commit(self._connection)
            return
        except LedgerError as error:
            failure = error
        try:
            connection = self._mend(failure)
            if not group.is_in(connection):
                group.commit(connection)
        except LedgerError as error:
            group.commit(self._degrade(error))

    # --- trouble --------------------------------------------------------------------------------------

    def _mend(self, error: LedgerError) -> sqlite3.Connection:
        """Make a second attempt worth while. Raises `LedgerError` if it is not."""
        assert self.path is not None
        if error.reason == "disk_full" and self._connection is not None and burn_ballast(self.path):
            self.has_ballast = False
            self._tell("degraded", "ballast_used", f"{self._name}: the disk is full; the reserve is in use")
            return self._connection
        if error.reason in KEEP_CONNECTION:
            raise error
        self._drop()
        return self._open_file(strict=True)

    def _degrade(self, error: LedgerError) -> sqlite3.Connection:
        """Go on in memory, with what can still be read of the file."""
        assert self.path is not None
        memory, source = make_memory(self._sequences), self._connection
        try:
            source = source or reading(self.path)
            copied = f"with {carry_over(source, memory)} messages of it"
            self._left_behind = False
        except (sqlite3.Error, LedgerError):
            copied = "what waits in the file is sent when that can be read"
            self._left_behind = True
        if source is not None and source is not self._connection:
            source.close()
        self._drop()
        self._connection, self.in_memory, self.trouble = memory, True, error.reason
        self.degraded_total += 1
        self._tell("failed", error.reason, f"{error}: everything is kept in memory until it can be; {copied}")
        return memory

    def heal(self) -> bool:
        """Try to go back to the file; returns whether the ledger is where it should be. Does not raise."""
        memory = self._connection
        if not self.in_memory or self.path is None or memory is None:
            return not self.in_memory or self.path is None
        try:
            connection = self._open_file(strict=True)
            with transaction(connection):
                write_through(memory, connection, unread=self._unread)
                if self._left_behind:
                    supersede(connection)
            self._sequences = dict(connection.execute(sql.GET_SEQUENCES).fetchall())
        except (LedgerError, sqlite3.Error) as error:
            if self._connection is not memory:
                self._drop()
            self._connection, self.trouble = memory, ledger_error(error, self._name).reason
            return False
        memory.close()
        self.in_memory, self.trouble, self._unread = False, "", False
        self.has_ballast = load_ballast(self.path)
        self._tell("ok", "recovered", f"{self._name} is written again, with what was in memory")
        return True

    def _open_file(self, *, strict: bool = False) -> sqlite3.Connection:
        """Raises `LedgerError`.

        Args:
            strict: The log must have been written into the database: what a failed sync has left of it may be in the
                page cache alone, and only what is written anew can be trusted.
        """
        assert self.path is not None
        opened = open_file(self.path, self._now_ms(), self._factory)
        self._notices += opened.notices
        self.resets_total += opened.reset
        try:
            if strict and not checkpoint(opened.connection, self._name, truncate=True):
                raise LedgerError("locked", f"{self._name}: a reader keeps its log from being written")
            found = identity(self.path)
            sequences = dict(opened.connection.execute(sql.GET_SEQUENCES).fetchall())
        except (LedgerError, sqlite3.Error, OSError) as error:
            opened.connection.close()
            raise ledger_error(error, self._name) from None
        self._connection, self._identity, self._sequences = opened.connection, found, sequences
        return opened.connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                pass  # nothing depends on it any more

    def _tell(self, status: Literal["ok", "degraded", "failed"], reason: str, message: str) -> None:
        if len(self._notices) < _NOTICES_MAX:
            self._notices.append(Notice(status, reason, message))

    # --- upkeep ---------------------------------------------------------------------------------------

    def upkeep(self) -> None:
        """Once a minute: is the file still there, checkpoint, ballast. Does not raise."""
        if self.in_memory or self.path is None or self._connection is None:
            return
        try:
            if identity(self.path) != self._identity:
                self._rescue(self._connection)
            self._checkpoint(self._connection)
        except (LedgerError, sqlite3.Error, OSError) as error:
            try:
                self._mend(ledger_error(error, self._name))
            except LedgerError as failure:
                self._degrade(failure)
                return
        self.has_ballast = load_ballast(self.path)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        assert self.path is not None
        size_bytes = log_bytes(self.path)
        done = checkpoint(connection, self._name, truncate=size_bytes > LOG_BYTES_TRUNCATE)
        pinned = not done and size_bytes > LOG_BYTES_WARN
        if pinned and not self._pinned:
            text = f"{self._name}-wal has {size_bytes // 2**20} MiB: some reader keeps a query open"
            self._tell("degraded", "wal_pinned", text)
        self._pinned = pinned
        self.log_bytes = log_bytes(self.path)

    def _rescue(self, connection: sqlite3.Connection) -> None:
        """Somebody has removed our file or put another one in its place (F21): what we have open is whole still.

        Raises:
            LedgerError, sqlite3.Error, OSError
        """
        assert self.path is not None
        kept = set_aside(self.path, self._now_ms(), alone=True)  # the log there is ours
        copy_to(connection, self.path)
        self._drop()  # removes that log, by its name
        self._open_file()
        found = f"; what stood there is kept as {kept.name}" if kept.exists() else ""
        self._tell("degraded", "replaced", f"{self._name} was removed or replaced, and was put back{found}")

    def backup(self, target: Path) -> None:
        """Write a copy of the ledger as it is now to a new file. Raises `LedgerError`."""
        if self._connection is None or self.in_memory:
            raise LedgerError("closed", f"{self._name} is not on disk now, so there is nothing to copy")
        try:
            copy_to(self._connection, target)
        except (sqlite3.Error, OSError) as error:
            raise ledger_error(error, target.name) from None
