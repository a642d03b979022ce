"""The two clocks: monotonic to schedule by, wall to stamp with.

This is the only module that reads the machine's clocks. A stamp never goes backwards within one
engine: when the wall clock is set back, stamps stand still until it has caught up.
"""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._last_ms = 0

    def now_ms(self) -> int:
        """Wall time in milliseconds since the epoch, never less than the last answer."""
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        return self._last_ms

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; unaffected by the wall clock."""
        return time.monotonic()
