"""Windows of several blocks as one: whatever is asked of it is asked of each, and joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.vector import Floats
from engine.core.promql.window import Dense, Ends, Window

__all__ = ["JoinedWindow", "joined"]

S = TypeVar("S", bound=np.generic)


class JoinedWindow:
    """Windows of several blocks, one after the other."""

    def __init__(self, start_ms: int, end_ms: int, parts: Sequence[Window]) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._parts = parts

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""
        return joined([part.counts() for part in self._parts], np.int64)

    def ends(self) -> Ends:
        """First and last samples."""
        ends = [part.ends() for part in self._parts]
        return Ends(
            joined([end.first_ms for end in ends], np.int64),
            joined([end.first for end in ends], np.float64),
            joined([end.last_ms for end in ends], np.int64),
            joined([end.last for end in ends], np.float64),
        )

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        return joined([part.resets_added() for part in self._parts], np.float64)

    def sums(self) -> Floats:
        """Sum."""
        return joined([part.sums() for part in self._parts], np.float64)

    def minima(self) -> Floats:
        """Least value."""
        return joined([part.minima() for part in self._parts], np.float64)

    def maxima(self) -> Floats:
        """Greatest value."""
        return joined([part.maxima() for part in self._parts], np.float64)

    def dense(self) -> Dense:
        """All samples."""
        parts = [part.dense() for part in self._parts]
        width = max((part.values.shape[1] for part in parts), default=0)
        rows = sum(len(part.counts) for part in parts)
        times, values, row = np.zeros((rows, width), dtype=np.int64), np.full((rows, width), np.nan), 0
        for part in parts:
            here = slice(row, row + len(part.counts))
            times[here, : part.times.shape[1]] = part.times
            values[here, : part.values.shape[1]] = part.values
            row += len(part.counts)
        return Dense(times, values, joined([part.counts for part in parts], np.int64))


def joined(parts: Sequence[NDArray[S]], kind: type[S]) -> NDArray[S]:
    """The parts one after the other; a single one is not copied."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)
