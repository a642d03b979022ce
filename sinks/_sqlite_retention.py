"""What history.db forgets, and when: by age, and by bytes when age is not enough.

Rows go in small transactions, oldest first, for a fraction of a second at a time, so that neither
writers nor readers wait. Freed pages are used again; the file itself does not shrink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sinks import _sqlite_schema as sql
from sinks._sqlite_db import Database

__all__ = ["DAY_MS", "Retention"]

DAY_MS: Final = 86_400_000
ROWS_PER_TRANSACTION_MAX: Final = 500
BUDGET_S: Final = 0.2
SIZE_SLICE_MS: Final = 10 * sql.MINUTE_MS
"""How much of the oldest time is given up at once when there are too many bytes."""
_FOREVER: Final = 2**62
_RAW_FROM: Final = "raw_from_ms"


class Retention:
    """Keeps the file within its age and its size.

    Args:
        keep_raw_ms: Raw samples older than this go; whole minutes at a time.
        keep_rollups_ms: Everything else older than this goes.
        size_bytes_max: Pages in use. Over it the oldest raw samples go, then the oldest roll-ups, then
            the oldest events and health events; transitions only ever go by age.
        monotonic: Seconds, for the time spent here.
    """

    def __init__(
        self, keep_raw_ms: int, keep_rollups_ms: int, size_bytes_max: int, monotonic: Callable[[], float]
    ) -> None:
        self._keep_raw_ms = keep_raw_ms
        self._keep_rollups_ms = keep_rollups_ms
        self._size_bytes_max = size_bytes_max
        self._monotonic = monotonic

    async def turn(self, database: Database, now_ms: int) -> bool:
        """Forget for at most `BUDGET_S`. False if there is more to forget.

        Raises:
            SinkError: The database failed; nothing is half done.
        """
        self._ends = self._monotonic() + BUDGET_S
        raw_from = await self._advance_raw_from(database, _minute(now_ms - self._keep_raw_ms))
        kept_from = _minute(now_ms - self._keep_rollups_ms)
        if not await self._drop(database, sql.DROP_SAMPLES, raw_from):
            return False
        for statement in (
            sql.DROP_ROLLUPS,
            sql.DROP_TRANSITIONS,
            sql.DROP_HEALTH,
            sql.DROP_EVENTS,
            sql.DROP_RUNS,
        ):
            if not await self._drop(database, statement, kept_from):
                return False
        # `seen_ms` is a day old at most while a series lives, and roll-ups cover the minutes since.
        if not await self._drop(database, sql.DROP_SERIES, kept_from - 2 * DAY_MS):
            return False
        return await self._shrink(database, now_ms)

    async def _shrink(self, database: Database, now_ms: int) -> bool:
        while (await database.fetch(sql.GET_PAGES_USED))[0][0] > self._size_bytes_max:
            if self._monotonic() >= self._ends:
                return False
            if (oldest := (await database.fetch(sql.OLDEST_SAMPLE))[0][0]) is not None:
                raw_from = await self._advance_raw_from(database, _minute(oldest) + SIZE_SLICE_MS)
                whole = await self._drop(database, sql.DROP_SAMPLES, raw_from)
            elif (oldest := (await database.fetch(sql.OLDEST_ROLLUP))[0][0]) is not None:
                whole = await self._drop(database, sql.DROP_ROLLUPS, oldest + SIZE_SLICE_MS)
            elif not await self._drop_one_chunk_of_events(database):
                return True  # transitions, runs and the names of series alone are larger than the limit
            else:
                whole = True
            if not whole:
                return False
        return True

    async def _drop_one_chunk_of_events(self, database: Database) -> bool:
        changed = await database.change(sql.DROP_EVENTS, (_FOREVER, ROWS_PER_TRANSACTION_MAX))
        return changed + await database.change(sql.DROP_HEALTH, (_FOREVER, ROWS_PER_TRANSACTION_MAX)) > 0

    async def _advance_raw_from(self, database: Database, to_ms: int) -> int:
        """Say that raw samples before `to_ms` don't count any more, before the first of them goes."""
        known = int((await database.fetch(sql.GET_META, (_RAW_FROM,)))[0][0])
        if to_ms > known:
            await database.change(sql.SET_META, (_RAW_FROM, str(to_ms)))
        return max(known, to_ms)

    async def _drop(self, database: Database, statement: str, before_ms: int) -> bool:
        """Delete in chunks until nothing is left (True) or time is up (False)."""
        while True:
            changed = await database.change(statement, (before_ms, ROWS_PER_TRANSACTION_MAX))
            if changed < ROWS_PER_TRANSACTION_MAX:
                return True
            if self._monotonic() >= self._ends:
                return False


def _minute(time_ms: int) -> int:
    return time_ms - time_ms % sql.MINUTE_MS
