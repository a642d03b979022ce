"""The true time of a simulation, and a clock that is set."""

from __future__ import annotations

from functools import partial

from engine.ports import ClockJump
from engine.testing.loop import START_MS, VirtualClock, VirtualLoop

__all__ = ["SetClock", "true_ms"]


def true_ms(loop: VirtualLoop) -> int:
    """What a clock that nobody has set shows."""
    return START_MS + round(loop.time() * 1000)


class SetClock(VirtualClock):
    """A clock that is set. What event time made of that is written down.

    Args:
        ahead_ms: Of the true time, at the start.
    """

    def __init__(self, loop: VirtualLoop, ahead_ms: int, spans: list[tuple[int, int]]) -> None:
        super().__init__(loop, START_MS + ahead_ms)
        self.ahead_ms = ahead_ms
        self._at_ms = partial(true_ms, loop)
        self._spans = spans
        self._note()

    def step(self, by_ms: int) -> None:
        """Set it."""
        super().step(by_ms)
        self.ahead_ms += by_ms

    def look(self) -> ClockJump | None:
        """Compare with event time."""
        jump = super().look()
        self._note()
        return jump

    def _note(self) -> None:
        event_ahead_ms = self.now_ms() - self._at_ms()
        if not self._spans or self._spans[-1][1] != event_ahead_ms:
            self._spans.append((self._at_ms(), event_ahead_ms))
