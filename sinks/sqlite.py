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
from engine.events import Health, Record, Sample, SampleBatch, Transition
from engine.ports import Options, RecordKind, RunInfo, SeriesSamples, SinkContext
from sinks import _sqlite_schema as sql
from sinks._sqlite_db import Database
from sinks._sqlite_history import SqliteHistory, open_history
from sinks._sqlite_retention import DAY_MS, Retention
from sinks._sqlite_rows import (
    EventWriter,
    health_row,
    part,
    sample_rows,
    series_row,
    storable,
    transition_row,
)

__all__ = ["SqliteOptions", "SqliteSink", "open_history"]

WRITE_TIMEOUT_S: Final = 25.0
"""Of opening and writing; a transaction that takes longer goes on, and the next write waits for it."""
CLOSE_TIMEOUT_S: Final = 4.0
UPKEEP_INTERVAL_S: Final = 60.0
CHECKPOINT_SAMPLES: Final = 20_000
"""Samples after which the log is emptied without waiting for the minute."""
SERIES_CACHE_MAX: Final = 200_000
NOTICES_MAX: Final = 100


class SqliteOptions(Options, frozen=True, kw_only=True):
    """`[sink.NAME]` with `type = "sqlite"`; described in docs/sinks.md."""

    path: Path | None = None
    keep_raw: Duration = msgspec.field(default_factory=lambda: Duration.parse("7d"))
    keep_rollups: Duration = msgspec.field(default_factory=lambda: Duration.parse("400d"))
    size_max_mb: int = 2048

    def __post_init__(self) -> None:
        if self.keep_raw < sql.MINUTE_MS:
            raise ValueError('`keep_raw` is at least "1m"')
        if self.keep_rollups < self.keep_raw:
            raise ValueError("`keep_rollups` is not shorter than `keep_raw`: roll-ups outlive the samples")
        if not 1 <= self.size_max_mb <= 2**20:
            raise ValueError("`size_max_mb` is between 1 and 1048576")


class _Attempt(msgspec.Struct, frozen=True, eq=False):
    """A write whose caller does not know yet that it is stored. `token` is in the database if it is."""

    token: str
    records: tuple[Record, ...]


class SqliteSink:
    """Recorder and History over one SQLite file."""

    Options: ClassVar[type[SqliteOptions]] = SqliteOptions
    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"samples", "transitions", "health", "events"})

    def __init__(self, options: SqliteOptions, context: SinkContext) -> None:
        self._options = options
        self._context = context
        self._path = options.path or (context.state_dir / "history.db" if context.state_dir else None)
        self._database = Database(self._path, context.call, context.clock.now_ms, self._notice) if self._path else None
        self._retention = Retention(
            options.keep_raw, options.keep_rollups, options.size_max_mb * 2**20, context.clock.monotonic
        )
        self._notices: deque[tuple[str, str]] = deque(maxlen=NOTICES_MAX)
        self._unit: asyncio.Task[None] | None = None
        self._attempt: _Attempt | None = None
        self._tokens = (f"{os.urandom(8).hex()}:{number}" for number in count(1))
        self._events = EventWriter()
        self._ids: dict[str, int] = {}
        self._ids_day = 0
        self._started_ms = 0
        self._upkeep_at = 0.0
        self._since_checkpoint = 0

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
            self._notice(error.reason, f"not closed in time: {error}")

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
        self._ids.clear()
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
            self._notice(error.reason, f"the end of this run is not noted: {error}")
        finally:
            await database.close()

    # --- Recorder -------------------------------------------------------------------------------------

    async def write(self, records: Sequence[Record]) -> None:
        """Store records in one transaction. Offered again after an error, they are not stored twice.

        Raises:
            SinkError: `disk_full`, `io_error`, `locked`, `read_only`, `corrupt`, `timeout`, `busy` and others
                are retryable and heal without a restart; `bad_record` is not, and nothing was stored.
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
            self._ids.clear()  # some of them may have been given in what was undone
            if database.is_open:
                self._attempt = None
                raise
            failure = error
        else:
            return
        try:
            await self._reopen()
        except SinkError:
            raise failure from None  # the next write asks again
        if not await self._is_stored(attempt):
            self._attempt = None
            raise failure

    async def _store(self, database: Database, attempt: _Attempt) -> None:
        parted = part(attempt.records)
        async with database.transaction():
            if parted.samples:
                await self._learn_series(database, parted.samples)
                await database.run_many(sql.ADD_SAMPLE, sample_rows(parted.samples, self._ids))
            if parted.transitions:
                await database.run_many(sql.ADD_TRANSITION, map(transition_row, parted.transitions))
            if parted.health:
                await database.run_many(sql.ADD_HEALTH, map(health_row, parted.health))
            if parted.events:
                await database.run_many(sql.ADD_EVENT, self._events.rows(parted.events))
            await database.fetch(sql.SET_META, ("last_write", attempt.token))
        self._since_checkpoint += sum(len(r.series) if isinstance(r, SampleBatch) else 1 for r in attempt.records)

    async def _learn_series(self, database: Database, samples: Sequence[Sample | SampleBatch]) -> None:
        """Make `_ids` know every series of these samples. It starts afresh each day, which keeps `seen_ms`
        of living series a day old at most, and when it is too large."""
        day = self._context.clock.now_ms() // DAY_MS
        if day != self._ids_day or len(self._ids) > SERIES_CACHE_MAX:
            self._ids.clear()
            self._ids_day = day
        unseen: dict[str, str] = {}
        for record in samples:
            for text in record.series if isinstance(record, SampleBatch) else (record.series,):
                if text not in self._ids:
                    unseen[text] = storable(text)
        if not unseen:
            return
        await database.run_many(sql.ADD_SERIES, (series_row(text, day * DAY_MS) for text in unseen.values()))
        wanted = msgspec.json.encode(list(unseen.values())).decode()
        found: dict[Any, Any] = dict(await database.fetch(sql.FIND_SERIES, (wanted,)))
        self._ids.update((text, found[stored]) for text, stored in unseen.items())

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
            self._notice(error.reason, f"nothing could be forgotten: {error}")
        if done:
            self._upkeep_at = self._context.clock.monotonic() + UPKEEP_INTERVAL_S

    # --- History ----------------------------------------------------------------------------------------

    async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """As `SqliteHistory.samples`."""
        return await SqliteHistory(self._file.path).samples(metric, start_ms, end_ms)

    async def transitions(self, start_ms: int, end_ms: int) -> list[Transition]:
        """Transitions, oldest first."""
        return await SqliteHistory(self._file.path).transitions(start_ms, end_ms)

    async def health(self, start_ms: int, end_ms: int) -> list[Health]:
        """Health events, oldest first."""
        return await SqliteHistory(self._file.path).health(start_ms, end_ms)

    async def runs(self) -> list[RunInfo]:
        """Runs, newest first."""
        return await SqliteHistory(self._file.path).runs()
