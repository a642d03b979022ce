"""A history in memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.events import STALE_BITS, Blind, DomainEvent, Event, Health, Sample, SampleBatch, Transition
from engine.ports import History, RunInfo, SeriesSamples
from engine.series import split_series


class MemoryHistory(History):
    """What an engine would have written of some events."""

    def __init__(
        self, events: Iterable[Event], transitions: Iterable[Transition] = (), runs: Iterable[RunInfo] = ()
    ) -> None:
        self._rows: dict[str, list[tuple[int, float, int, str]]] = {}
        self._others: list[Event] = []
        self._transitions, self._runs = list(transitions), list(runs)
        for event in events:
            if isinstance(event, Sample):
                self._add(event.series, event.time_ms, event.value, event.interval_ms, event.stale)
            elif isinstance(event, SampleBatch):
                for series, value in zip(event.series, event.values.tolist(), strict=True):
                    self._add(series, event.time_ms, value, event.interval_ms, event.stale)
            else:
                self._others.append(event)

    def _add(self, series: str, *row: object) -> None:
        self._rows.setdefault(series, []).append(row)  # type: ignore[arg-type]

    async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        found = []
        for series, rows in sorted(self._rows.items()):
            mine = [row for row in rows if start_ms <= row[0] < end_ms]
            if split_series(series)[0] != metric or not mine:
                continue
            values = np.array([row[1] for row in mine])
            stale = values.view(np.int64) == STALE_BITS
            down = {row[0] for row, is_stale in zip(mine, stale, strict=True) if is_stale and row[3] == "target_down"}
            times = np.array([row[0] for row in mine], dtype=np.int64)
            found.append(SeriesSamples(series, times, values, rows[-1][2], frozenset(down)))
        return found

    async def metrics(self) -> list[str]:
        return sorted({split_series(series)[0] for series in self._rows})

    async def transitions(self, start_ms: int, end_ms: int) -> list[Transition]:
        return [one for one in self._transitions if start_ms <= one.time_ms < end_ms]

    async def health(self, start_ms: int, end_ms: int) -> list[Health]:
        return [one for one in self._others if isinstance(one, Health) and start_ms <= one.time_ms < end_ms]

    async def runs(self) -> list[RunInfo]:
        return self._runs

    async def events(self, start_ms: int, end_ms: int) -> list[DomainEvent]:
        return [one for one in self._others if isinstance(one, DomainEvent) and start_ms <= one.time_ms < end_ms]

    async def blind(self, start_ms: int, end_ms: int) -> list[Blind]:
        spans = [one for one in self._others if isinstance(one, Blind)]
        return [one for one in spans if one.to_ms > start_ms and one.from_ms < end_ms]
