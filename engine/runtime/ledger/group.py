"""A group of jobs run in one transaction: a job that fails for its own values is undone alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError, ledger_error
from engine.runtime.ledger.opening import roll_back

__all__ = ["KEEP_CONNECTION", "Group", "Job", "Ran"]

T = TypeVar("T")
_OF_THE_JOB: Final = {"bad_record", "raised"}
KEEP_CONNECTION: Final = {"disk_full", "no_memory", "locked"}
"""After these a connection is as good as before, once its transaction is rolled back (M11, M13)."""


class Job(NamedTuple, Generic[T]):
    """One transaction's function; `writes` is false for one that only reads."""

    function: Callable[[sqlite3.Connection], T]
    writes: bool = True


class Ran(NamedTuple):
    """What came of a group: for each job its value, or the `LedgerError` why it has none; whether that is on disk."""

    results: list[Any]
    durable: bool


class Group:
    """Jobs that are committed together.

    Args:
        jobs: In their order.
        token: Written with them, so that a commit of unknown outcome can be looked up; not used twice.
        name: The file's name, for messages.
    """

    def __init__(self, jobs: Sequence[Job[Any]], token: str, name: str) -> None:
        self._jobs = jobs
        self._token = token
        self._name = name
        self.writes = any(job.writes for job in jobs)
        self.results: list[Any] = []
        """Of each job its value, or the `LedgerError` that is its own; to be trusted once they are committed."""
        self.sequences: Mapping[str, int] = {}
        """The highest numbers given, after them."""
        self._tried = False

    def commit(self, connection: sqlite3.Connection) -> None:
        """Run the jobs in one transaction.

        Raises:
            LedgerError: Of the file, not of a job. It is not known whether the transaction is done.
        """
        try:
            connection.execute("BEGIN IMMEDIATE" if self.writes else "BEGIN")
            self.results = [self._run(connection, job) for job in self._jobs]
            if self.writes:
                self.sequences = dict(connection.execute(sql.GET_SEQUENCES).fetchall())
                connection.execute(sql.SET_COMMIT, (self._token,))
                self._tried = True
            connection.execute("COMMIT")
        except (sqlite3.Error, LedgerError, MemoryError) as error:
            failure = ledger_error(error, self._name)
            if not roll_back(connection) and failure.reason in KEEP_CONNECTION:
                failure = LedgerError("io_error", str(failure))
            raise failure from None

    def is_in(self, connection: sqlite3.Connection) -> bool:
        """Whether an attempt that failed is in the file after all. Raises `LedgerError`."""
        if not self._tried:
            return False
        try:
            ((token,),) = connection.execute(sql.GET_COMMIT).fetchall()
        except (sqlite3.Error, ValueError) as error:
            raise ledger_error(error, self._name) from None
        return bool(token == self._token)

    def _run(self, connection: sqlite3.Connection, job: Job[Any]) -> Any:
        """The job's value, or its error if that is its own. Raises errors that concern the file."""
        connection.execute("SAVEPOINT job")
        try:
            value = job.function(connection)
        except Exception as error:  # noqa: BLE001  # a bug in one job must not take the others with it
            failure = ledger_error(error, self._name)
            if failure.reason not in _OF_THE_JOB:
                raise failure from None
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return failure
        connection.execute("RELEASE job")
        return value
