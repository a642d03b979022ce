"""The input series of a test as batches of samples, one for each time that has any, made as time goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.notation import parse_labels, parse_values
from engine.events import SampleBatch
from engine.ruletests.shape import InputSeries
from engine.series import series_text

__all__ = ["SAMPLES_MAX", "InputError", "Inputs"]

SAMPLES_MAX = 10_000_000
"""Values of all series of one test, up to its end."""
_CELLS_PER_CHUNK = 1_000_000


class InputError(ValueError):
    """A series can't be loaded.

    Args:
        line: Where it stands.
    """

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


class Inputs:
    """Hands out batches in order of time.

    Args:
        series: Of two with the same labels the later one counts, as in promtool.
        interval_ms: Between two values.
        start_ms: Time of the first value.
        end_ms: Nothing is made beyond; so a series may be said to go on for ever.

    Raises:
        InputError: A series has no name, or they have more than `SAMPLES_MAX` values.
    """

    def __init__(self, series: Sequence[InputSeries], *, interval_ms: int, start_ms: int, end_ms: int) -> None:
        self._interval_ms = interval_ms
        self._start_ms = start_ms
        columns: dict[str, NDArray[np.float64]] = {}
        self._held: dict[str, NDArray[np.bool_]] = {}
        wanted = max(0, (end_ms - start_ms) // interval_ms + 1)
        left = SAMPLES_MAX
        for one in series:
            if wanted > left:  # only then is it worth knowing that the series is shorter
                wanted = left
            labels = parse_labels(one.series)
            try:
                text = series_text(labels.pop("__name__", ""), labels)
            except ValueError as error:
                raise InputError(one.line, f"a series can't be loaded: {error}") from error
            values = parse_values(one.values, wanted)
            columns[text] = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
            self._held[text] = np.array([value is not None for value in values], dtype=np.bool_)
            left -= len(values)
            if left <= 0:
                raise InputError(one.line, f"the series of a test have at most {SAMPLES_MAX:,} values up to its end")
        self._columns = columns
        self._waiting = self._batches()
        self._next = next(self._waiting, None)

    def until(self, time_ms: int) -> list[SampleBatch]:
        """The batches up to a time that were not handed out yet."""
        found = []
        while self._next is not None and self._next.time_ms <= time_ms:
            found.append(self._next)
            self._next = next(self._waiting, None)
        return found

    def _batches(self) -> Iterator[SampleBatch]:
        names = list(self._columns)
        tuples: dict[bytes, tuple[str, ...]] = {}  # the same object for the same series, which the core recognises
        length = max((len(column) for column in self._columns.values()), default=0)
        step = max(1, _CELLS_PER_CHUNK // max(1, len(names)))
        for first in range(0, length, step):
            size = min(step, length - first)
            values, held = np.zeros((size, len(names))), np.zeros((size, len(names)), dtype=np.bool_)
            for place, name in enumerate(names):
                part = self._columns[name][first : first + size]
                values[: len(part), place] = part
                held[: len(part), place] = self._held[name][first : first + size]
            for row in np.flatnonzero(held.any(axis=1)).tolist():
                key = held[row].tobytes()
                if key not in tuples:
                    tuples[key] = tuple(name for name, there in zip(names, held[row].tolist(), strict=True) if there)
                time_ms = self._start_ms + (first + row) * self._interval_ms
                yield SampleBatch(time_ms, tuples[key], values[row][held[row]], self._interval_ms)
