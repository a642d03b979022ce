"""How near the value of each label set came to its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from engine.core.conditions import Condition
from engine.core.seats import Floats, Key, Standing

__all__ = ["Extreme", "Nearest"]

_WORDS: Final = {">": "highest", ">=": "highest", "<": "lowest", "<=": "lowest", "==": "nearest"}


class Extreme(msgspec.Struct, frozen=True, kw_only=True):
    """The value that came nearest to a threshold, or went furthest beyond it.

    Args:
        word: `highest`, `lowest` or, to a threshold of `==`, `nearest`.
    """

    time_ms: int
    value: float
    word: str


class Nearest:
    """Keeps the extreme value of each label set.

    Args:
        condition: What must hold of it; without one, or with `!=`, nothing is near.
    """

    def __init__(self, condition: Condition | None) -> None:
        self._condition = condition
        self._word = _WORDS.get(condition.op, "") if condition is not None else ""
        self._token: object = None
        self._keys: Sequence[Key] = ()
        self._scores: Floats = np.zeros(0)
        self._values: Floats = np.zeros(0)
        self._times = np.zeros(0, dtype=np.int64)
        self._kept: dict[Key, tuple[float, float, int]] = {}

    def note(self, standing: Standing, at_ms: int) -> None:
        """Take note of what is measured."""
        if not self._word or self._condition is None:
            return
        if standing.token is not self._token and standing.token != self._token:
            self._turn_to(standing)
        values = standing.values
        if self._word == "highest":
            scores = values
        else:
            scores = -values if self._word == "lowest" else -np.abs(values - self._condition.threshold)
        better = np.flatnonzero(scores > self._scores)  # never where either is NaN
        self._scores[better], self._values[better], self._times[better] = scores[better], values[better], at_ms

    def _turn_to(self, standing: Standing) -> None:
        self._keep()
        size = len(standing.values)
        self._token = standing.token
        self._keys = [standing.key(row) for row in range(size)]
        known = [self._kept.get(key, (-np.inf, np.nan, 0)) for key in self._keys]
        self._scores, self._values = np.array([one[0] for one in known]), np.array([one[1] for one in known])
        self._times = np.array([one[2] for one in known], dtype=np.int64)

    def _keep(self) -> None:
        columns = self._scores.tolist(), self._values.tolist(), self._times.tolist()
        for key, score, value, time_ms in zip(self._keys, *columns, strict=True):
            if time_ms:
                self._kept[key] = score, value, time_ms

    def of(self, key: Key) -> Extreme | None:
        """The extreme value of a label set; None if nothing was measured."""
        self._keep()
        found = self._kept.get(key)
        return None if found is None else Extreme(time_ms=found[2], value=found[1], word=self._word)
