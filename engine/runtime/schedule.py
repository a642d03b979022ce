"""When to measure next, and how long to wait after a failure. Pure: time and chance are arguments.

A probe's ticks lie on a fixed grid, start + offset + k * interval by the monotonic clock, computed by one
multiplication, so that nothing drifts however long the engine runs. The offset comes from the name: two probes
do not measure at the same moment, and the same probe does so at the same phase after every restart. Ticks that
could not be kept are counted and skipped, never made up for.
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import NamedTuple

__all__ = ["BACKOFF_MAX_S", "BACKOFF_MIN_S", "WOKEN_WITHIN_S", "Grid", "Tick", "backoff_s", "offset_s"]

BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 60.0
WOKEN_WITHIN_S = 1.0
"""So soon after the machine has woken up every probe measures, or within half its interval: not all at one moment."""
_JITTER = 0.25  # a delay is spread by a quarter to either side, so that what failed together does not return together


class Tick(NamedTuple):
    """The next tick: when it is due (seconds, monotonic) and how many before it were missed."""

    due_s: float
    missed: int


def offset_s(name: str, interval_s: float) -> float:
    """The phase of a name within its interval: 0 <= offset < interval, the same in every process."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * interval_s


class Grid:
    """The ticks of one probe.

    The first tick is due at once, so that a person sees values within the first second; after it those of the
    grid, except one that would follow within half an interval.

    Args:
        name: Decides the offset.
        interval_s: Seconds between two ticks, more than 0.
        start_s: Now, monotonic.
    """

    def __init__(self, name: str, interval_s: float, start_s: float) -> None:
        if not interval_s > 0:
            raise ValueError(f"an interval is longer than {interval_s} s")
        self.interval_s = interval_s
        self._start_s = start_s
        self._offset_s = offset_s(name, interval_s)
        self._origin_s = start_s + self._offset_s
        self._last: int | None = None  # index of the last tick given out

    def next(self, now_s: float) -> Tick:
        """Return the next tick after the one given out last; never one that has passed."""
        if self._last is None:
            self._last = math.ceil((self._start_s + self.interval_s / 2 - self._origin_s) / self.interval_s) - 1
            return Tick(max(now_s, self._start_s), 0)
        index = max(self._last + 1, math.floor((now_s - self._origin_s) / self.interval_s) + 1)
        missed = index - self._last - 1
        self._last = index
        return Tick(self._origin_s + index * self.interval_s, missed)

    def hurry(self, now_s: float) -> float:
        """Nothing was measured for longer than the clock says: return when the tick given out last comes instead.

        The one on the grid comes all the same if it is at least half an interval later.
        """
        early_s = now_s + self._offset_s / self.interval_s * min(WOKEN_WITHIN_S, self.interval_s / 2)
        due_s = now_s if self._last is None else self._origin_s + self._last * self.interval_s
        if self._last is not None and due_s - early_s >= self.interval_s / 2:
            self._last -= 1
        return min(early_s, due_s)

    def skip_to(self, time_s: float) -> None:
        """Leave out the ticks before `time_s` on purpose: they do not count as missed."""
        if self._last is not None:
            self._last = max(self._last, math.ceil((time_s - self._origin_s) / self.interval_s) - 1)


def backoff_s(failures: int, rng: random.Random, max_s: float = BACKOFF_MAX_S) -> float:
    """How long to wait after `failures` failures in a row: doubling from 1 s to `max_s`, with jitter.

    Always within [BACKOFF_MIN_S, max_s].
    """
    doubled = BACKOFF_MIN_S * 2.0 ** min(max(failures, 1) - 1, 32)
    spread = min(doubled, max_s) * rng.uniform(1 - _JITTER, 1 + _JITTER)
    return min(max(spread, BACKOFF_MIN_S), max_s)
