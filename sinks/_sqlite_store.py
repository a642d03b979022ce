"""Records into the tables of history.db: one transaction for all of them, transitions first.

A record that SQLite has no room for (an integer beyond 64 bits, an event without a wire form) can never be
stored and must not take the others with it: it is found, left out and reported. It knows neither tasks nor
retries, and never decides what an error of the disk means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from engine.errors import SinkError
from engine.events import Record, Sample, SampleBatch
from sinks import _sqlite_schema as sql
from sinks._sqlite_db import Database
from sinks._sqlite_retention import DAY_MS
from sinks._sqlite_rows import EventWriter, health_row, part, sample_rows, series_row, storable, transition_row

__all__ = ["Store", "names"]

SERIES_CACHE_MAX: Final = 200_000


class Store:
    """Writes records, and knows the ids of the series it has met.

    Args:
        now_ms: Wall time, for the day a series was last seen.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._events = EventWriter()
        self._ids: dict[str, int] = {}
        self._ids_day = 0
        self._learned: list[str] = []  # by what is under way

    def forget(self) -> None:
        """Look every series up anew: what was known may be of another file, or was undone."""
        self._ids.clear()

    async def add(self, database: Database, records: Sequence[Record], token: str, refused: list[Record]) -> None:
        """Store records and the token of this write, all or nothing.

        Args:
            refused: Is given those that never can be stored and are left out.

        Raises:
            SinkError: Nothing is stored, or nobody knows; it is retryable.
        """
        try:
            async with database.transaction():
                await self._add_all(database, records)
                await database.fetch(sql.SET_META, ("last_write", token))
        except SinkError as error:
            if error.reason != "bad_record":
                self.forget()
                raise
            self._unlearn()
        else:
            return
        try:
            async with database.transaction():
                await self._add_good(database, _transitions_first(records), refused)
                await database.fetch(sql.SET_META, ("last_write", token))
        except SinkError:
            self.forget()
            raise

    async def _add_good(self, database: Database, records: Sequence[Record], refused: list[Record]) -> None:
        """By halves: few steps if few are bad, and never more than about twice as many as there are records."""
        waiting = [records]
        while waiting:
            some = waiting.pop()
            try:
                async with database.savepoint():
                    await self._add_all(database, some)
            except SinkError as error:
                if error.reason != "bad_record":
                    raise
                self._unlearn()
                if len(some) == 1:
                    refused += some
                else:
                    middle = len(some) // 2
                    waiting += [some[middle:], some[:middle]]

    def _unlearn(self) -> None:
        """The ids given in what was undone are nobody's."""
        for text in self._learned:
            self._ids.pop(text, None)

    async def _add_all(self, database: Database, records: Sequence[Record]) -> None:
        self._learned = []
        parted = part(records)
        if parted.transitions:
            await database.run_many(sql.ADD_TRANSITION, map(transition_row, parted.transitions))
        if parted.health:
            await database.run_many(sql.ADD_HEALTH, map(health_row, parted.health))
        if parted.events:
            await database.run_many(sql.ADD_EVENT, self._events.rows(parted.events))
        if parted.samples:
            await self._learn_series(database, parted.samples)
            await database.run_many(sql.ADD_SAMPLE, sample_rows(parted.samples, self._ids))

    async def _learn_series(self, database: Database, samples: Sequence[Sample | SampleBatch]) -> None:
        """Make `_ids` know every series of these samples. It starts afresh each day, which keeps `seen_ms`
        of living series a day old at most, and when it is too large."""
        day = self._now_ms() // DAY_MS
        if day != self._ids_day or len(self._ids) > SERIES_CACHE_MAX:
            self._ids.clear()
            self._ids_day = day
        unseen: dict[str, str] = {}
        intervals: dict[str, int] = {}
        for record in samples:
            for text in record.series if isinstance(record, SampleBatch) else (record.series,):
                if text not in self._ids:
                    unseen[text] = storable(text)
                    intervals[unseen[text]] = record.interval_ms
        if not unseen:
            return
        await database.run_many(
            sql.ADD_SERIES, (series_row(text, day * DAY_MS, interval_ms) for text, interval_ms in intervals.items())
        )
        wanted = msgspec.json.encode(list(unseen.values())).decode()
        found: dict[Any, Any] = dict(await database.fetch(sql.FIND_SERIES, (wanted,)))
        self._ids.update((text, found[stored]) for text, stored in unseen.items())
        self._learned = list(unseen)


def names(records: Sequence[Record]) -> str:
    """What these records are, for a person: `2 Health, 1 Blind`."""
    counted = Counter(type(record).__name__ for record in records)
    return ", ".join(f"{count} {name}" for name, count in counted.most_common())


def _transitions_first(records: Sequence[Record]) -> list[Record]:
    parted = part(records)
    return [*parted.transitions, *parted.health, *parted.events, *parted.samples]
