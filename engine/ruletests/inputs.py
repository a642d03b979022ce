"""The input series of a test as batches of samples for each time that has any, made as time goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.notation import parse_labels
from engine.events import SampleBatch, StaleCause
from engine.ruletests.shape import InputSeries
from engine.ruletests.values import Values, read_values
from engine.series import metric_of, series_text

__all__ = ["SAMPLES_MAX", "Hidden", "InputError", "Inputs"]

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


class Hidden(NamedTuple):
    """A time, from the start of the test, in which nobody sees the series of a scope.

    Args:
        to_ms: Exclusive.
        scope: `*` for everything, else a metric or the canonical text of a series.
    """

    from_ms: int
    to_ms: int
    scope: str = "*"

    def covers(self, series: str) -> bool:
        """Whether a series is in its scope."""
        return self.scope in ("*", series, metric_of(series))


class Inputs:
    """Hands out batches in order of time.

    Args:
        series: Of two with the same labels the later one counts, as in promtool.
        interval_ms: Between two values.
        start_ms: Time of the first value.
        end_ms: Nothing is made beyond; so a series may be said to go on for ever.
        hidden: What of the series is left out.

    Raises:
        InputError: A series has no name, or they have more than `SAMPLES_MAX` values.
    """

    def __init__(
        self,
        series: Sequence[InputSeries],
        *,
        interval_ms: int,
        start_ms: int,
        end_ms: int,
        hidden: Sequence[Hidden] = (),
    ) -> None:
        self._interval_ms = interval_ms
        self._start_ms = start_ms
        self._values: dict[str, Values] = {}
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
            values = self._values[text] = read_values(one.values, wanted)
            for span in hidden:
                if span.covers(text):
                    first, last = (-(-at_ms // interval_ms) for at_ms in span[:2])
                    values.held[first:last] = False
            left -= len(values.numbers)
            if left <= 0:
                raise InputError(one.line, f"the series of a test have at most {SAMPLES_MAX:,} values up to its end")
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
        names = list(self._values)
        tuples: dict[bytes, tuple[str, ...]] = {}  # the same object for the same series, which the core recognises
        length = max((len(column.numbers) for column in self._values.values()), default=0)
        step = max(1, _CELLS_PER_CHUNK // max(1, len(names)))
        for first in range(0, length, step):
            size = min(step, length - first)
            values = np.zeros((size, len(names)))
            held, down = (np.zeros((size, len(names)), dtype=np.bool_) for _ in range(2))
            for place, name in enumerate(names):
                for into, column in zip((values, held, down), self._values[name], strict=True):
                    part = column[first : first + size]
                    into[: len(part), place] = part
            for row in np.flatnonzero(held.any(axis=1)).tolist():
                time_ms = self._start_ms + (first + row) * self._interval_ms
                causes: tuple[tuple[StaleCause, NDArray[np.bool_]], ...] = (
                    ("ended", held[row] & ~down[row]),
                    ("target_down", held[row] & down[row]),
                )
                for cause, mask in causes:
                    if not mask.any():
                        continue
                    key = mask.tobytes()
                    if key not in tuples:
                        tuples[key] = tuple(name for name, there in zip(names, mask.tolist(), strict=True) if there)
                    yield SampleBatch(time_ms, tuples[key], values[row][mask], self._interval_ms, cause)
