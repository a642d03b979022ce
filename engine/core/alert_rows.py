"""Alerts as columns: one row for each alert that is not inactive, and the arithmetic of its clocks.

Rows are taken and given back; what a row means is the book's business. Clocks are places on the alert's axis of known
time (see `engine.core.alerts`), so a pause or a blind span moves one number and no clock.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.alerts import Phase
from engine.core.store import NEVER_MS

__all__ = ["FREE", "OFF", "Ints", "Rows"]

Ints: TypeAlias = NDArray[np.int64]
FREE: Final = -1
OFF: Final = -NEVER_MS
"""The place of a clock that does not run."""
_ROWS_MIN: Final = 64


class Rows:
    """The columns. All times are in milliseconds; NEVER_MS is no time at all.

    Args:
        levels: How many clocks a row has, one for each level of its rule.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.place: Ints = np.full(_ROWS_MIN, FREE, dtype=np.int64)
        """Of the condition; FREE for a row that is not taken."""
        self.rule: Ints = np.zeros(_ROWS_MIN, dtype=np.int64)
        self.phase: NDArray[np.int8] = np.zeros(_ROWS_MIN, dtype=np.int8)
        self.level: NDArray[np.int8] = np.full(_ROWS_MIN, -1, dtype=np.int8)
        """The level that is shown; -1 before the first was set."""
        self.code: NDArray[np.int16] = np.zeros(_ROWS_MIN, dtype=np.int16)
        """The last known condition."""
        self.set: NDArray[np.int16] = np.zeros(_ROWS_MIN, dtype=np.int16)
        """Which levels are set, as bits."""
        self.kept: NDArray[np.int16] = np.zeros(_ROWS_MIN, dtype=np.int16)
        """Which levels were set when the last of them was reset."""
        self.run: Ints = np.full((levels, _ROWS_MIN), OFF, dtype=np.int64)
        """By level, since when its `when` holds, in known time."""
        self.keep: Ints = np.full(_ROWS_MIN, OFF, dtype=np.int64)
        """Since when `keep_firing_for` runs, in known time."""
        self.lost: Ints = np.zeros(_ROWS_MIN, dtype=np.int64)
        """What pauses have taken."""
        self.paused: Ints = np.full(_ROWS_MIN, NEVER_MS, dtype=np.int64)
        """Since when the clocks stand."""
        self.unknown: Ints = np.full(_ROWS_MIN, NEVER_MS, dtype=np.int64)
        """Since when nothing is known."""
        self.blind: Ints = np.full(_ROWS_MIN, -1, dtype=np.int64)
        """Until when blind spans have been taken out of it."""
        self.active: Ints = np.zeros(_ROWS_MIN, dtype=np.int64)
        self.fired: Ints = np.zeros(_ROWS_MIN, dtype=np.int64)
        """When it began to fire; 0 before."""
        self.stepped: Ints = np.zeros(_ROWS_MIN, dtype=np.int64)
        """Its last step; time never goes back."""
        self.fed: Ints = np.zeros(_ROWS_MIN, dtype=np.int64)
        """Which selectors fed it when it was last true, as bits."""
        self.reason: NDArray[np.int16] = np.zeros(_ROWS_MIN, dtype=np.int16)
        """The code that ended its condition."""
        self.due: Ints = np.full(_ROWS_MIN, NEVER_MS, dtype=np.int64)
        """When time alone will change it."""
        self._free: list[int] = list(range(_ROWS_MIN - 1, -1, -1))

    def __len__(self) -> int:
        return len(self.place) - len(self._free)

    def taken(self) -> Ints:
        """The rows in use."""
        return np.flatnonzero(self.place != FREE)

    def take(self, places: Ints, rules: Ints | int, times: Ints | int) -> Ints:
        """Take a row for each place, with no clock running and nothing set."""
        while len(self._free) < len(places):
            self._grow()
        cut = len(self._free) - len(places)
        rows = np.array(self._free[cut:], dtype=np.int64)
        del self._free[cut:]
        self.place[rows] = places
        self.rule[rows] = rules
        self.phase[rows] = Phase.INACTIVE
        self.level[rows] = -1
        self.set[rows] = self.kept[rows] = self.reason[rows] = 0
        self.run[:, rows] = OFF
        self.keep[rows] = OFF
        self.lost[rows] = self.fired[rows] = self.fed[rows] = 0
        self.paused[rows] = self.unknown[rows] = self.due[rows] = NEVER_MS
        self.blind[rows] = -1
        self.active[rows] = self.stepped[rows] = times
        return rows

    def give_back(self, rows: Ints) -> None:
        """The alerts of these rows are over."""
        self.place[rows] = FREE
        self.due[rows] = NEVER_MS
        self._free += rows.tolist()

    def known(self, rows: Ints, times: Ints | int) -> Ints:
        """Known time at an instant."""
        known: Ints = np.minimum(self.paused[rows], times) - self.lost[rows]
        return known

    def skip(self, rows: Ints, begins: Ints, to_ms: int) -> None:
        """Take spans in which nobody could see out of every clock, and out of the time that nothing is known.

        Args:
            begins: Of each row, when its span begins.
        """
        unknown, paused = self.unknown[rows], self.paused[rows]
        stands = paused != NEVER_MS
        # What was taken for a pause may have been want of sight from the beginning of the span on.
        here = stands & (paused > begins)
        early, since = rows[here], begins[here]
        ends = np.minimum(paused[here], to_ms)
        self._move(early, since, np.maximum(ends - since, 0))
        late = paused[here] > to_ms
        self.paused[early] = np.where(late, paused[here], since)
        self.lost[early[late]] += to_ms - since[late]
        runs = ~stands
        self._move(rows[runs], begins[runs], to_ms - begins[runs])
        self.lost[rows[runs]] += to_ms - begins[runs]
        missing = unknown != NEVER_MS
        shifted = np.maximum(to_ms - np.maximum(unknown[missing], begins[missing]), 0)
        self.unknown[rows[missing]] += shifted
        self.blind[rows] = to_ms

    def _move(self, rows: Ints, begins: Ints, length: Ints) -> None:
        """Place clocks that began in or after a span as if its known time had not passed."""
        begin = begins - self.lost[rows]
        for clocks in (*self.run, self.keep):
            since = clocks[rows]
            clocks[rows] = np.where(since == OFF, OFF, since - np.clip(since - begin, 0, length))

    def _grow(self) -> None:
        size = len(self.place)
        for name, array in vars(self).items():
            if isinstance(array, np.ndarray):
                grown = np.zeros((*array.shape[:-1], 2 * size), dtype=array.dtype)
                grown[..., :size] = array
                setattr(self, name, grown)
        self.place[size:] = FREE
        self.due[size:] = NEVER_MS
        self._free[:0] = range(2 * size - 1, size - 1, -1)
