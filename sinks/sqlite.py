"""`sqlite`: keeps samples, roll-ups, transitions, health, events and runs in history.db, and reads them.

A write is one transaction, all or nothing, and it runs to its end even when its caller is cancelled: an
abandoned transaction would lock the file (M7). The database is large and disposable; what must survive
a power cut is not kept here. This sink never deletes a file, and never blocks the event loop.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Coroutine, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from engine.durations import Duration
from engine.errors import SinkError
from engine.events import Blind, DomainEvent, Health, Record, SampleBatch, Transition
from engine.ports import Options, RecordKind, RunInfo, SeriesSamples, SinkContext
from sinks import _sqlite_schema as sql
from sinks._sqlite_db import Database
from sinks._sqlite_history import QUERY_ROWS_MAX, SqliteHistory, open_history
from sinks._sqlite_retention import Retention
from sinks._sqlite_store import Store, names

__all__ = ["SqliteOptions", "SqliteSink", "open_history"]

WRITE_TIMEOUT_S: Final = 25.0
"""Of opening and writing; a transaction that takes longer goes on, and the next write waits for it."""
CLOSE_TIMEOUT_S: Final = 4.0
UPKEEP_INTERVAL_S: Final = 60.0
CHECKPOINT_SAMPLES: Final = 20_000
"""Samples after which the log is emptied without waiting for the minute."""
NOTICES_MAX: Final = 100


class SqliteOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "sqlite"`; described in docs/sinks.md.

    Args:
        path: The file; by default history.db in the state folder.
        keep_raw: How long samples are kept as they came, from 1 m.
        keep_rollups: How long their 1-minute roll-ups are kept, at least as long as `keep_raw`.
        size_max_mb: How large the file may grow, in MiB; then the oldest goes first.
        query_rows_max: How many rows one query of the history may return.
    """

    path: Path | None = None
    keep_raw: Duration = msgspec.field(default_factory=lambda: Duration.parse("7d"))
    keep_rollups: Duration = msgspec.field(default_factory=lambda: Duration.parse("400d"))
    size_max_mb: int = 2048
    query_rows_max: int = QUERY_ROWS_MAX

    def __post_init__(self) -> None:
        if self.keep_raw < sql.MINUTE_MS:
            raise ValueError('`keep_raw` is at least "1m"')
        if self.keep_rollups < self.keep_raw:
            default = self.keep_rollups == Duration.parse("400d")  # then it is the other one that was written
            raise ValueError(
                f"{'keep_raw' if default else 'keep_rollups'}: samples are kept for {self.keep_raw} (keep_raw) and "
                f"their roll-ups only for {self.keep_rollups} (keep_rollups); lower keep_raw or raise keep_rollups"
            )
        if not 1 <= self.size_max_mb <= 2**20:
            raise ValueError("`size_max_mb` is between 1 and 1048576")
        if not 1 <= self.query_rows_max <= 100_000_000:
            raise ValueError("`query_rows_max` is between 1 and 100000000")


class _Attempt(msgspec.Struct, frozen=True, eq=False):
    """A write whose caller does not know yet that it is stored. `token` is in the database if it is."""

    token: str
    records: tuple[Record, ...]
    refused: list[Record] = msgspec.field(default_factory=list)
    """Those that never can be stored, until that has been told."""


class SqliteSink:
    """Recorder and History over one SQLite file.

    Attributes:
        dropped: Records that were left out of a write because no SQLite file could ever take them.
    """

    Options: ClassVar[type[SqliteOptions]] = SqliteOptions
    FILE_NAME: ClassVar[str] = "history.db"
    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"samples", "transitions", "health", "events"})
    open_history = staticmethod(open_history)
    """To read a file without writing it: what `query` uses."""

    def __init__(self, options: SqliteOptions, context: SinkContext) -> None:
        self._options = options
        self._context = context
        self._path = options.path or (context.state_dir / self.FILE_NAME if context.state_dir else None)
        self._database = Database(self._path, context.call, context.clock.now_ms, self._notice) if self._path else None
        self._retention = Retention(
            options.keep_raw, options.keep_rollups, options.size_max_mb * 2**20, context.clock.monotonic
        )
        self._notices: deque[tuple[str, str]] = deque(maxlen=NOTICES_MAX)
        self._unit: asyncio.Task[None] | None = None
        self._attempt: _Attempt | None = None
        self._tokens = (f"{os.urandom(8).hex()}:{number}" for number in count(1))
        self._tables = Store(context.clock.now_ms)
        self._started_ms = 0
        self._upkeep_at = 0.0
        self._since_checkpoint = 0
        self.dropped = 0

    # --- Sink ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open or create the file and note the run.

        Raises:
            SinkError: `no_path`, `newer` and `foreign` need a person; all else may heal.
        """
        if self._started_ms == 0:
            self._started_ms = self._context.clock.now_ms()
        await self._idle(WRITE_TIMEOUT_S)
        if not self._file.is_open:
            await self._run(self._reopen(), WRITE_TIMEOUT_S)

    async def close(self) -> None:
        """Let a write in flight finish, end the run, empty the log, close. Bounded by `CLOSE_TIMEOUT_S`: if
        the disk hangs, the thread in it is left behind, which does not hold up the end of the process."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + CLOSE_TIMEOUT_S
        try:
            await self._idle(CLOSE_TIMEOUT_S)
            if self._database is not None and self._database.is_open:
                await self._run(self._finish(self._database), max(0.0, ends - loop.time()))
            self._started_ms = 0
        except SinkError as error:
            self._notice("not_closed", f"not closed in time: {error}")

    def take_notices(self) -> list[tuple[str, str]]:
        """What a person should know and what was no failure, as (reason, message), once."""
        taken = list(self._notices)
        self._notices.clear()
        return taken

    def _notice(self, reason: str, message: str) -> None:
        self._notices.append((reason, message))

    @property
    def _file(self) -> Database:
        if self._database is None:
            table = f"[sink.{self._context.name}]"
            text = f"there is no folder for history.db: set `path` in {table}, or `state_dir` in [engine]"
            raise SinkError("no_path", text, retryable=False)
        return self._database

    # --- units: what nobody may cancel half way -------------------------------------------------------

    async def _run(self, work: Coroutine[Any, Any, None], timeout_s: float) -> None:
        """Run one unit of work to its end in a task of its own: cancelling the caller leaves it alone."""
        unit = self._unit = asyncio.get_running_loop().create_task(work, name=f"sink.{self._context.name}")
        await asyncio.wait({unit}, timeout=timeout_s)
        if not unit.done():
            raise SinkError("timeout", f"{self._file.path.name}: no answer in {timeout_s:.0f} s", retryable=True)
        self._unit = None
        unit.result()

    async def _idle(self, timeout_s: float) -> None:
        """Wait for a unit that outlived its caller."""
        if self._unit is None:
            return
        await asyncio.wait({self._unit}, timeout=timeout_s)
        if not self._unit.done():
            raise SinkError("busy", f"{self._file.path.name}: an earlier write still hangs", retryable=True)
        self._forget_unit()

    def _forget_unit(self) -> None:
        unit, self._unit = self._unit, None
        if unit is not None and not unit.cancelled():
            unit.exception()  # looked at; its caller is gone, and `_attempt` knows what is still to be done

    async def _reopen(self) -> None:
        """Open the file and note this run in it, if it is not there: the file may be a new one."""
        database = self._file
        self._tables.forget()
        await database.open()
        run = (self._context.engine_name, self._started_ms)
        try:
            async with database.transaction():
                if not await database.fetch(sql.FIND_RUN, run):
                    await database.fetch(sql.ADD_RUN, run)
        except SinkError:
            await database.drop()
            raise

    async def _finish(self, database: Database) -> None:
        try:
            end = (self._context.clock.now_ms(), "stopped", self._context.engine_name, self._started_ms)
            await database.change(sql.END_RUN, end)
        except SinkError as error:
            self._notice("run_end", f"the end of this run is not noted: {error}")
        finally:
            await database.close()

    # --- Recorder -------------------------------------------------------------------------------------

    async def write(self, records: Sequence[Record]) -> None:
        """Store records in one transaction. Offered again after an error, they are not stored twice. One
        that can never be stored is left out, counted in `dropped` and told by a notice `bad_record`.

        Raises:
            SinkError: Nothing was stored: `disk_full`, `io_error`, `locked`, `read_only`, `corrupt`,
                `timeout`, `busy` and others. They are retryable and heal without a restart.
        """
        await self._idle(WRITE_TIMEOUT_S)
        await self._run(self._write(tuple(records)), WRITE_TIMEOUT_S)
        self._attempt = None

    async def _write(self, records: tuple[Record, ...]) -> None:
        database = self._file
        upkeep = self._context.clock.monotonic() >= self._upkeep_at
        if upkeep and database.is_open and await database.was_replaced():
            self._notice("replaced", f"{database.path.name} was deleted or replaced while it was open")
            await database.drop()
        if not database.is_open:
            await self._reopen()
        if self._attempt is not None and await self._is_stored(self._attempt):
            self._settle(self._attempt)
            stored = {id(record) for record in self._attempt.records}
            records = tuple(record for record in records if id(record) not in stored)
        if records:
            self._attempt = _Attempt(next(self._tokens), records)
            await self._store_or_tell(database, self._attempt)
        if upkeep or self._since_checkpoint >= CHECKPOINT_SAMPLES:
            await self._keep_up(database, upkeep)

    async def _is_stored(self, attempt: _Attempt) -> bool:
        return await self._file.fetch(sql.GET_META, ("last_write",)) == [(attempt.token,)]

    async def _store_or_tell(self, database: Database, attempt: _Attempt) -> None:
        """Store. If the connection was lost over it, only a new one can tell what reached the disk (F13)."""
        try:
            await self._store(database, attempt)
        except SinkError as error:
            if database.is_open:
                self._attempt = None
                raise
            failure = error
        else:
            self._settle(attempt)
            return
        try:
            await self._reopen()
        except SinkError:
            raise failure from None  # the next write asks again
        if not await self._is_stored(attempt):
            self._attempt = None
            raise failure
        self._settle(attempt)

    async def _store(self, database: Database, attempt: _Attempt) -> None:
        await self._tables.add(database, attempt.records, attempt.token, attempt.refused)
        self._since_checkpoint += sum(len(r.series) if isinstance(r, SampleBatch) else 1 for r in attempt.records)

    def _settle(self, attempt: _Attempt) -> None:
        """The attempt is stored: count and tell, once, what was left out of it."""
        if attempt.refused:
            self.dropped += len(attempt.refused)
            message = f"{self._file.path.name}: left out, since it can't be stored: {names(attempt.refused)}"
            self._notice("bad_record", message)
            attempt.refused.clear()

    async def _keep_up(self, database: Database, minute_is_over: bool) -> None:
        """Empty the log; once a minute, and on until it is done, forget what is too old. Never fails a
        write that is stored already: what goes wrong here goes wrong again at the next write."""
        self._since_checkpoint = 0
        await database.checkpoint()
        if not minute_is_over or not database.is_open:
            return
        done = True
        try:
            done = await self._retention.turn(database, self._context.clock.now_ms())
        except SinkError as error:
            self._notice("retention", f"nothing could be forgotten: {error}")
        if done:
            self._upkeep_at = self._context.clock.monotonic() + UPKEEP_INTERVAL_S

    # --- History ----------------------------------------------------------------------------------------

    def _history(self) -> SqliteHistory:
        return SqliteHistory(self._file.path, self._options.query_rows_max)

    async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """As `SqliteHistory.samples`."""
        return await self._history().samples(metric, start_ms, end_ms)

    async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """As `SqliteHistory.raw_samples`."""
        return await self._history().raw_samples(metrics, start_ms, end_ms)

    async def metrics(self) -> list[str]:
        """Names of the metrics, in their order."""
        return await self._history().metrics()

    async def transitions(self, start_ms: int, end_ms: int) -> list[Transition]:
        """Transitions, oldest first."""
        return await self._history().transitions(start_ms, end_ms)

    async def health(self, start_ms: int, end_ms: int) -> list[Health]:
        """Health events, oldest first."""
        return await self._history().health(start_ms, end_ms)

    async def runs(self) -> list[RunInfo]:
        """Runs, newest first."""
        return await self._history().runs()

    async def events(self, start_ms: int, end_ms: int) -> list[DomainEvent]:
        """As `SqliteHistory.events`."""
        return await self._history().events(start_ms, end_ms)

    async def blind(self, start_ms: int, end_ms: int) -> list[Blind]:
        """Blind spans that have a part between the two times."""
        return await self._history().blind(start_ms, end_ms)
