"""Reading history.db: short connections that can't write, so that any number of people may look.

Every query takes all its rows at once: an open cursor would pin the write-ahead log (M15, F22).
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import anyio
import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import SinkError
from engine.events import STALE, Blind, DomainEvent, Facts, Health, Transition
from engine.ports import History, RunInfo, SeriesSamples
from sinks import _sqlite_schema as sql
from sinks._sqlite_db import connect
from sinks._sqlite_errors import sink_error
from sinks._sqlite_rows import EventReader

__all__ = ["QUERY_ROWS_MAX", "SqliteHistory", "open_history"]

QUERY_ROWS_MAX: Final = 1_000_000
"""Rows that one query may return: some hundred MB of memory for a moment."""
CANCEL_TIMEOUT_S: Final = 5.0
"""How long a cancelled query may take to end. It looks up every few milliseconds, unless the disk hangs."""
_STEPS_PER_LOOK: Final = 10_000
ROWS_PER_TURN: Final = 5_000
"""Rows turned into objects before others may run."""
_Name = TypeVar("_Name", int, str)
_TIME_MIN: Final = -(2**63)


def open_history(path: str | Path, *, rows_max: int = QUERY_ROWS_MAX) -> History:
    """Return a reader of a history file. The file is opened by each query, not here.

    Args:
        rows_max: Rows that one query may return; one that has more raises `SinkError("too_many_rows")`.
    """
    return SqliteHistory(Path(path), rows_max)


class SqliteHistory:
    """The `History` port over a file that somebody else may be writing.

    Args:
        path: The file. Every method raises `SinkError` if it is missing or not a history.
        rows_max: As of `open_history`.
    """

    def __init__(self, path: Path, rows_max: int = QUERY_ROWS_MAX) -> None:
        self._path = path
        self._rows_max = rows_max

    async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Samples of each series of a metric: 1-minute means, stamped with the minute's start, for what
        is older than the raw samples kept; then raw ones. A stale marker is `engine.events.STALE`."""
        raw_from = await self._raw_from()
        (rollups, raw) = await self._query(
            (sql.READ_ROLLUPS, (metric, start_ms, min(end_ms, raw_from))),
            (sql.READ_SAMPLES, (metric, max(start_ms, raw_from), end_ms)),
        )
        intervals = await self._intervals(metric)
        found = []
        for series, column in sorted((await _columns([*rollups, *raw])).items()):
            means = int(np.searchsorted(column.times_ms, raw_from)) if rollups else 0
            found.append(
                SeriesSamples(series, column.times_ms, column.values, intervals.get(series), column.down_ms, means)
            )
        return found

    async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Samples of each series of some metrics as they came, roll-ups left out, with the causes of stale markers. One
        pass over the time, however many metrics there are."""
        wanted = msgspec.json.encode(list(metrics)).decode()
        known = sql.READ_SERIES if await self._version() >= sql.VERSION_WITH_INTERVALS else sql.READ_OLDER_SERIES
        names, rows = await self._query((known, (wanted,)), (sql.READ_RAW_SAMPLES, (start_ms, end_ms, wanted)))
        columns = await _columns(rows)
        found = []
        for series, text, interval_ms in sorted(names, key=lambda name: str(name[1])):
            if (column := columns.get(series)) is not None:
                found.append(SeriesSamples(text, column.times_ms, column.values, interval_ms, column.down_ms))
        return found

    async def metrics(self) -> list[str]:
        """Names of the metrics, in their order. Samples of some may be gone already: a series outlives them."""
        (rows,) = await self._query((sql.READ_METRICS, ()))
        return [name for (name,) in rows]

    async def transitions(self, start_ms: int, end_ms: int) -> list[Transition]:
        """Transitions, oldest first."""
        statement = sql.READ_OLDER_TRANSITIONS.get(await self._version(), sql.READ_TRANSITIONS)
        (rows,) = await self._query((statement, (start_ms, end_ms)))
        found = []
        for number, row in enumerate(rows):
            time_ms, rule, labels, before, after, reason, value, active_since_ms, annotations, fired_ms = row[:10]
            found.append(
                Transition(
                    time_ms,
                    rule,
                    msgspec.json.decode(labels, type=dict[str, str]),
                    before,
                    after,
                    reason,
                    math.nan if value is None else value,
                    active_since_ms,
                    msgspec.json.decode(annotations, type=dict[str, str]),
                    fired_ms,
                    severity=row[10],
                    severity_before=row[11],
                    flapping=bool(row[12]),
                    facts=_facts(*row[13:]),
                )
            )
            if number % ROWS_PER_TURN == ROWS_PER_TURN - 1:
                await asyncio.sleep(0)
        return found

    async def health(self, start_ms: int, end_ms: int) -> list[Health]:
        """Health events, oldest first."""
        (rows,) = await self._query((sql.READ_HEALTH, (start_ms, end_ms)))
        return [Health(*row) for row in rows]

    async def runs(self) -> list[RunInfo]:
        """Runs, newest first."""
        (rows,) = await self._query((sql.READ_RUNS, ()))
        return [RunInfo(*row) for row in rows]

    async def events(self, start_ms: int, end_ms: int) -> list[DomainEvent]:
        """Domain events, oldest first. Of a type that is not built in there is the tag and the time."""
        (rows,) = await self._query((sql.READ_EVENTS, (start_ms, end_ms)))
        return [event for event in await self._decoded(rows) if isinstance(event, DomainEvent)]

    async def blind(self, start_ms: int, end_ms: int) -> list[Blind]:
        """Blind spans that have a part between the two times, in the order in which they were noticed."""
        (rows,) = await self._query((sql.READ_BLIND, (start_ms, end_ms)))
        spans = [event for event in await self._decoded(rows) if isinstance(event, Blind)]
        return [span for span in spans if span.to_ms > start_ms]

    async def _decoded(self, rows: list[Any]) -> list[DomainEvent | Blind]:
        reader = EventReader()
        found: list[DomainEvent | Blind] = []
        for number, (body,) in enumerate(rows):
            found.append(reader.event(body))
            if number % ROWS_PER_TURN == ROWS_PER_TURN - 1:
                await asyncio.sleep(0)
        return found

    async def _intervals(self, metric: str) -> dict[str, int]:
        """Of each series of a metric the interval, where it is stored."""
        if await self._version() < sql.VERSION_WITH_INTERVALS:
            return {}
        (rows,) = await self._query((sql.READ_INTERVALS, (metric,)))
        return dict(rows)

    async def _version(self) -> int:
        ((version,),) = (await self._query((sql.READ_VERSION, ())))[0]
        return int(version)

    async def _raw_from(self) -> int:
        (rows,) = await self._query((sql.READ_RAW_FROM, ()))
        return int(rows[0][0]) if rows else _TIME_MIN

    async def _query(self, *queries: tuple[str, Iterable[Any]]) -> list[list[Any]]:
        """Run queries on one short connection. A cancelled reader gives them up, and sees it closed."""
        given_up = threading.Event()
        task = asyncio.get_running_loop().create_task(self._read(queries, given_up), name=f"read {self._path.name}")
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            given_up.set()
            await _see_end(task)
            raise
        return task.result()

    async def _read(self, queries: tuple[tuple[str, Iterable[Any]], ...], given_up: threading.Event) -> list[list[Any]]:
        """Never cancelled itself: half a connection can't be closed."""
        left = self._rows_max
        found: list[list[Any]] = []
        try:
            connection = await connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
            try:
                await connection.set_progress_handler(given_up.is_set, _STEPS_PER_LOOK)
                for text, values in queries:
                    found.append(list(await connection.execute_fetchall(text, (*values, left + 1))))
                    left -= len(found[-1])
                    if left < 0:
                        raise self._too_many()
            finally:
                await connection.close()
        except sqlite3.Error as error:
            failure = sink_error(error, self._path.name)
        else:
            return found
        raise SinkError(failure.reason, str(failure), retryable=failure.retryable)

    def _too_many(self) -> SinkError:
        text = f"{self._path.name}: more than {self._rows_max} rows; ask for a shorter time, or raise the limit"
        return SinkError("too_many_rows", f"{text} (`query_rows_max`, or `rows_max` of open_history)", retryable=False)


class _Column(NamedTuple):
    """What there is of one series. `down_ms` are the times of its stale markers of a target that was down."""

    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    down_ms: frozenset[int]


async def _columns(rows: Iterable[tuple[_Name, int, float | None, str | None]]) -> dict[_Name, _Column]:
    """Rows of (series, time, value, special) by series, in their order."""
    found: dict[_Name, tuple[list[int], list[float], list[int]]] = {}
    for number, (series, time_ms, value, special) in enumerate(rows):
        times, values, down = found.setdefault(series, ([], [], []))
        times.append(time_ms)
        values.append(_value(value, special))
        if special == "target_down":
            down.append(time_ms)
        if number % ROWS_PER_TURN == ROWS_PER_TURN - 1:
            await asyncio.sleep(0)
    return {
        series: _Column(np.array(times, dtype=np.int64), np.array(values, dtype=np.float64), frozenset(down))
        for series, (times, values, down) in found.items()
    }


async def _see_end(task: asyncio.Task[list[list[Any]]]) -> None:
    """Wait for a query that was given up, whatever cancels the wait meanwhile: nobody else knows of it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + CANCEL_TIMEOUT_S
    with anyio.CancelScope(shield=True):  # a cancelled scope would cancel again in each turn of the loop
        while not task.done() and loop.time() < until:
            try:
                await asyncio.wait({task}, timeout=until - loop.time())
            except asyncio.CancelledError:
                continue  # the caller raises the first one
    task.add_done_callback(_look_at)


def _look_at(task: asyncio.Task[list[list[Any]]]) -> None:
    if not task.cancelled():
        task.exception()  # nobody is left who wants it


def _value(value: float | None, special: str | None) -> float:
    if value is not None:
        return value
    return math.nan if special in (None, "NaN") else STALE


def _facts(samples: int | None, peak: float | None = None, mean: float | None = None, *times_ms: int) -> Facts | None:
    """What was measured, as columns have it: NULL is no number, and no facts at all where there is no count."""
    if samples is None:
        return None
    return Facts(math.nan if peak is None else peak, math.nan if mean is None else mean, samples, *times_ms)
