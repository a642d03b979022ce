"""The arena of ragged samples: columns of cells, of which each series has a run.

What a counter's resets have lost is kept as a running figure from the moment somebody asks; markers take memory from
the first one on. Who owns which places is not known here.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.vector import Floats

__all__ = ["NEVER_MS", "ROOM_MIN", "Arena", "Places", "ragged_places", "room"]

Places: TypeAlias = NDArray[np.int64]

ROOM_MIN: Final = 4
NEVER_MS: Final = np.iinfo(np.int64).max // 2


class Arena:
    """Aligned columns, one place for each sample.

    Args:
        size: How many places.
    """

    def __init__(self, size: int) -> None:
        self.times: Places = np.zeros(size, dtype=np.int64)
        self.values: Floats = np.zeros(size)
        self.ended_ms: Places | None = None
        """When a stale marker ended the series after the sample; None as long as there was no marker."""
        self.lost: Floats | None = None
        """What a counter's resets lost from the beginning up to the sample; None until somebody asks."""

    def __len__(self) -> int:
        return len(self.times)

    def end(self, places: Places, time_ms: Places | int) -> None:
        """Note a stale marker after each of these samples. The first one ends the series."""
        if self.ended_ms is None:
            self.ended_ms = np.full(len(self), NEVER_MS)
        self.ended_ms[places] = np.minimum(self.ended_ms[places], time_ms)

    def write(self, places: Places, first: Places, time_ms: int, values: Floats) -> None:
        """Write a sample at each place; `first` says where the samples of its series begin."""
        self.times[places] = time_ms
        self.values[places] = values
        if self.ended_ms is not None:
            self.ended_ms[places] = NEVER_MS
        if self.lost is not None:
            self._add_lost(self.lost, places, first)

    def losses(self, first: Places, end: Places) -> Floats:
        """`lost` for the samples first..end-1 of each series, worked out when it is first asked for."""
        if self.lost is None:
            self.lost = np.zeros(len(self))
            for step in range(int((end - first).max(initial=0))):
                there = first + step < end
                self._add_lost(self.lost, first[there] + step, first[there])
        return self.lost

    def copy(self, source: Arena, places: Places, to: Places) -> None:
        """Take over cells; source and target may be the same."""
        self.times[to], self.values[to] = source.times[places], source.values[places]
        if source.ended_ms is not None:
            if self.ended_ms is None:
                self.ended_ms = np.full(len(self), NEVER_MS)
            self.ended_ms[to] = source.ended_ms[places]
        if source.lost is not None:
            if self.lost is None:
                self.lost = np.zeros(len(self))
            self.lost[to] = source.lost[places]

    def _add_lost(self, lost: Floats, places: Places, first: Places) -> None:
        before = np.maximum(places - 1, first)  # of a first sample itself, which is not less than itself
        previous = self.values[before]
        with np.errstate(all="ignore"):
            more = np.where(self.values[places] < previous, previous, 0.0)
            lost[places] = np.where(places > first, lost[before] + more, 0.0)


def room(size: Places) -> Places:
    """How much room a series with so many samples gets."""
    return size + size // 4 + ROOM_MIN


def ragged_places(first: Places, size: Places) -> Places:
    """The places first, first + 1, ... of each, one after the other."""
    before = np.cumsum(size) - size
    return np.repeat(first - before, size) + np.arange(int(size.sum()))
