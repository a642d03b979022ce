"""What is said about failures, and how often: the first at once, then at most one a minute for each reason.

Pure. A component that fails a thousand times a second must not drown the road its own news travels on, and a
sink that fails at writing the news of its own failure must not go round for ever (fault F118).
"""

from __future__ import annotations

from typing import Final

from engine.events import Health, HealthStatus
from engine.text import clean

__all__ = ["REPEAT_MS", "Reporter"]

REPEAT_MS: Final = 60_000
"""The same component and reason is told again after this, with the count since."""
KEYS_MAX: Final = 2_000
"""Components, reasons and statuses it keeps apart; beyond that the oldest is forgotten and may be told early."""


class _Told:
    __slots__ = ("at_ms", "untold")

    def __init__(self) -> None:
        self.at_ms: int | None = None
        self.untold = 0


class Reporter:
    """Turns failures into `Health` events, few of them.

    Args:
        repeat_ms: The least time between two events about the same component and reason.
    """

    def __init__(self, repeat_ms: int = REPEAT_MS) -> None:
        self.repeat_ms = repeat_ms
        self._told: dict[tuple[str, str, HealthStatus], _Told] = {}
        self._bad: set[str] = set()  # components whose failure was told, and not yet their recovery

    def failed(
        self,
        now_ms: int,
        component: str,
        reason: str,
        message: str = "",
        *,
        status: HealthStatus = "failed",
        count: int = 1,
        repeat_ms: int | None = None,
    ) -> Health | None:
        """Note a failure; return the event to send, or None if this one is only counted.

        Args:
            count: How many times, or how many samples or messages it cost.
            repeat_ms: Another least time for this reason.
        """
        key = (component, reason, status)  # lost for good is news after a retry for the same reason
        told = self._told.pop(key, None) or _Told()
        self._told[key] = told
        if len(self._told) > KEYS_MAX:
            del self._told[next(iter(self._told))]
        told.untold += count
        if told.at_ms is not None and now_ms - told.at_ms < (self.repeat_ms if repeat_ms is None else repeat_ms):
            return None
        event = Health(now_ms, component, status, reason, clean(message), told.untold)
        told.at_ms, told.untold = now_ms, 0
        self._bad.add(component)
        return event

    def recovered(self, now_ms: int, component: str, message: str = "") -> Health | None:
        """Note that a component works; return the event to send if its failure had been told."""
        if component not in self._bad:
            return None
        self._bad.discard(component)
        return Health(now_ms, component, "ok", "recovered", clean(message), 1)
