"""The pattern: series that breach a threshold for a while, again and again, each with phase and period of its own."""

import random
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["HIGH", "LIMIT", "LOW", "Breach", "Pattern"]

LIMIT = 80.0
LOW, HIGH = 10.0, 90.0


class Breach(NamedTuple):
    """One breach of one series, in seconds from the start of the pattern."""

    begins_s: float
    ends_s: float


class Pattern:
    """Breaches of each series.

    Args:
        series: How many series.
        for_s: How long a breach must last for an alert; each lasts half as long again at least.
        seed: Of phases and periods.
    """

    def __init__(self, series: int, for_s: float, seed: int = 7) -> None:
        rng = random.Random(seed)
        self._lasts_s = [for_s * rng.uniform(1.5, 2.0) for _ in range(series)]
        self._periods_s = [lasts + for_s * rng.uniform(0.5, 1.5) for lasts in self._lasts_s]
        self._phases_s = [rng.uniform(0.0, period) for period in self._periods_s]

    def values(self, at_s: float, numbers: Sequence[int]) -> list[float]:
        """What some of the series are worth."""
        return [HIGH if self.breach(number, at_s) is not None else LOW for number in numbers]

    def breach(self, number: int, at_s: float) -> Breach | None:
        """The breach of a series that an instant lies in."""
        since_s = at_s - self._phases_s[number]
        if since_s < 0:
            return None
        begins_s = at_s - since_s % self._periods_s[number]
        ends_s = begins_s + self._lasts_s[number]
        return Breach(begins_s, ends_s) if at_s < ends_s else None
