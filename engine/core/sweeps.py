"""Times that pointwise rules which are judged together have in common: when to look for inputs that went stale."""

from __future__ import annotations

from engine.core.store import NEVER_MS
from engine.core.timers import Deadline, Timers

__all__ = ["SWEEP", "Sweep"]

SWEEP = -1
"""In a deadline: an input goes stale."""


class Sweep:
    """The next look, the last one, and the last judgement.

    Args:
        timers: Where the instants go.
        index: Whose deadline it is.
    """

    __slots__ = ("_index", "_timers", "at_ms", "judged_ms", "swept_ms")

    def __init__(self, timers: Timers, index: int) -> None:
        self._timers = timers
        self._index = index
        self.at_ms = NEVER_MS
        """No input whose age matters goes stale earlier than this, but for those until `swept_ms`."""
        self.swept_ms = -1
        """What went stale until then, inclusive, was seen."""
        self.judged_ms = -1
        """No label set was judged later than this, where the times of judgement are kept."""

    def expect(self, instant_ms: int) -> None:
        """Look at `instant_ms`, unless an earlier look is planned: that one plans the next."""
        if instant_ms < self.at_ms:
            self.at_ms = instant_ms
            self._timers.add(instant_ms, Deadline(self._index, SWEEP))

    def rearm(self) -> None:
        """Set the timer anew: all of them were cleared."""
        at_ms, self.at_ms = self.at_ms, NEVER_MS
        if at_ms < NEVER_MS:
            self.expect(at_ms)
