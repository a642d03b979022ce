"""The ledger without its thread: runs groups of transactions, on the file, or in memory while that can't be written.

Everything here blocks and is called by one thread at a time. Failures of the disk do not come out of `run`: the store
mends what can be mended, and goes on in memory if it can't (fail open). It must never say that something is durable
which is not: a commit whose outcome is unknown is looked up in the file, after a checkpoint has written it anew.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.copying import back_up, put_back
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.file import burn_ballast, identity, load_ballast
from engine.runtime.ledger.group import KEEP_CONNECTION, Group, Job, Ran
from engine.runtime.ledger.logwatch import LogWatch
from engine.runtime.ledger.memory import MADE_MS, make_memory, write_through
from engine.runtime.ledger.opening import Connect, checkpoint, open_file, transaction
from engine.runtime.ledger.operator import Restored, restore, supersede
from engine.runtime.ledger.recall import Found, merge, recall, take_along
from engine.runtime.ledger.values import Notice

__all__ = ["Store"]

_NOTICES_MAX: Final = 100


class Store:
    """The ledger's tables.

    Args:
        path: The file; None keeps everything in memory, for an engine that must write no file.
        now_ms: Wall time, for the name of a file that is set aside.
        factory: What connections are made by.
    """

    def __init__(self, path: Path | None, now_ms: Callable[[], int], factory: Connect = sqlite3.Connection) -> None:
        self.path = path
        self.name = "the ledger" if path is None else path.name
        self._now_ms = now_ms
        self._factory = factory
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._sequences: Mapping[str, int] = {}
        self._notices: list[Notice] = []
        self._run_token = secrets.token_hex(8)
        self._left_behind = self._unread = False
        self._log = LogWatch(self.name)
        self._found: Found | None = None
        self.in_memory = path is None
        self.trouble = ""
        """Why it is kept in memory; empty while it is where it should be."""
        self.waits = False
        """Whether the disk does not answer somebody else: it is left alone meanwhile."""
        self.has_ballast = False
        self.groups = 0
        self.degraded_total = 0
        self.resets_total = 0

    @property
    def log_bytes(self) -> int:
        """Of its write-ahead log, at the last look."""
        return self._log.size_bytes

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
            self.drop()
            raise ledger_error(error, self.name) from None

    def open_degraded(self, error: LedgerError) -> Restored:
        """Begin in memory after `open` has failed, with what the file says if it can be read; `heal` goes to it as soon
        as it can be written.

        If it can't be read numbers begin at the time, which no file has reached, and `take_found` has what was in it.
        """
        assert self.path is not None
        try:
            if self.waits:
                raise error
            memory, restored, messages = recall(self.path)
        except (sqlite3.Error, LedgerError, ValueError):
            self._unread = True
            self._sequences = dict.fromkeys(("transition", "outbox"), max(self._now_ms(), MADE_MS))
            return restore(self._degrade(error))
        self._sequences = dict(memory.execute(sql.GET_SEQUENCES).fetchall())
        self._go_on_in(memory, error, messages)
        return restored

    def close(self, last: Sequence[Job[Any]] = ()) -> bool:
        """Run the last jobs, empty the log and close; returns whether everything is on disk. Does not raise."""
        if self._connection is None:
            return False
        self.heal()
        ran = self.run(last) if last else Ran([], not self.in_memory)
        good = ran.durable and not any(isinstance(result, LedgerError) for result in ran.results)
        with contextlib.suppress(sqlite3.Error, LedgerError):  # what is in the log is read at the next start
            if not self.in_memory:
                checkpoint(self._connection, self.name, truncate=True)
        self.drop()
        return good

    def successor(self) -> Store:
        """One for the same file that has not touched it, and does not while it `waits`, for this one."""
        made = Store(self.path, self._now_ms, self._factory)
        made.waits = True
        return made

    def drop(self) -> None:
        """Close without a last word, whatever came of the opening. Does not raise."""
        connection, self._connection = self._connection, None
        with contextlib.suppress(sqlite3.Error):  # nothing depends on it any more
            if connection is not None:
                connection.close()

    def take_notices(self) -> list[Notice]:
        """What there is to tell, once."""
        taken, self._notices = self._notices, []
        return taken

    def take_found(self) -> Found | None:
        """What was in a file that could not be read at the start, once; it stays in the file."""
        found, self._found = self._found, None
        return found

    # --- groups ---------------------------------------------------------------------------------------

    def run(self, jobs: Sequence[Job[Any]]) -> Ran:
        """Run jobs in one transaction and commit it. A job that fails for its own values is undone alone, and its
        result is the `LedgerError`. Does not raise."""
        if self._connection is None:
            return Ran([LedgerError("closed", "the ledger is closed")] * len(jobs), durable=False)
        group = Group(jobs, f"{self._run_token}:{self.groups}", self.name)
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
            self._tell("degraded", "ballast_used", f"{self.name}: the disk is full; the reserve is in use")
            return self._connection
        if error.reason in KEEP_CONNECTION:
            raise error
        self.drop()
        return self._open_file(strict=True)

    def _degrade(self, error: LedgerError) -> sqlite3.Connection:
        """Go on in memory, with what can still be read of the file."""
        assert self.path is not None
        memory = make_memory(self._sequences)
        messages = take_along(self._connection, None if self.waits else self.path, memory)
        self.drop()
        self._go_on_in(memory, error, messages)
        return memory

    def _go_on_in(self, memory: sqlite3.Connection, error: LedgerError, messages: int) -> None:
        self._left_behind = messages < 0
        copied = f"with {messages} messages of it" if messages >= 0 else "what waits in the file is sent when it can be"
        self._connection, self.in_memory, self.trouble = memory, True, error.reason
        self.degraded_total += 1
        self._tell("failed", error.reason, f"{error}: everything is kept in memory until it can be; {copied}")

    def heal(self) -> bool:
        """Try to go back to the file; returns whether the ledger is where it should be. Does not raise."""
        memory = self._connection
        if not self.in_memory or self.path is None or memory is None:
            return not self.in_memory or self.path is None
        if self.waits:
            return False
        found = None
        try:
            connection = self._open_file(strict=True)
            with transaction(connection):
                if self._unread:
                    found = merge(memory, connection)
                else:
                    write_through(memory, connection)
                if self._left_behind:
                    supersede(connection)
            self._sequences = dict(connection.execute(sql.GET_SEQUENCES).fetchall())
        except (LedgerError, sqlite3.Error) as error:
            if self._connection is not memory:
                self.drop()
            self._connection, self.trouble = memory, ledger_error(error, self.name).reason
            return False
        memory.close()
        self.in_memory, self.trouble, self._unread, self._found = False, "", False, found
        self.has_ballast = load_ballast(self.path)
        self._tell("ok", "recovered", f"{self.name} is written again, with what was in memory")
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
            if strict and not checkpoint(opened.connection, self.name, truncate=True):
                raise LedgerError("locked", f"{self.name}: a reader keeps its log from being written")
            found = identity(self.path)
            sequences = dict(opened.connection.execute(sql.GET_SEQUENCES).fetchall())
        except (LedgerError, sqlite3.Error, OSError) as error:
            opened.connection.close()
            raise ledger_error(error, self.name) from None
        self._connection, self._identity, self._sequences = opened.connection, found, sequences
        return opened.connection

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
            self._notices += self._log.look(self._connection, self.path)
        except (LedgerError, sqlite3.Error, OSError) as error:
            try:
                self._mend(ledger_error(error, self.name))
            except LedgerError as failure:
                self._degrade(failure)
                return
        self.has_ballast = load_ballast(self.path)

    def _rescue(self, connection: sqlite3.Connection) -> None:
        """Somebody has removed our file or put another one in its place (F21). Raises as `put_back`, and
        `LedgerError`."""
        assert self.path is not None
        notice = put_back(connection, self.path, self._now_ms())
        self.drop()  # removes the log there, by its name
        self._open_file()
        self._notices.append(notice)

    def backup(self, target: Path) -> None:
        """Write a copy of the ledger as it is now to a new file. Raises `LedgerError`."""
        if self._connection is None or self.in_memory:
            raise LedgerError("closed", f"{self.name} is not on disk now, so there is nothing to copy")
        back_up(self._connection, target)
