"""What is said about failures, and how often: the first at once, then at most one a minute for each reason.

Pure. A component that fails a thousand times a second must not drown the road its own news travels on, and a
sink that fails at writing the news of its own failure must not go round for ever (fault F118).
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

from engine.events import Health, HealthStatus
from engine.text import clean

__all__ = ["REPEAT_MS", "Reporter"]

_Key: TypeAlias = tuple[str, str, HealthStatus]
REPEAT_MS: Final = 60_000
"""The same component and reason is told again after this, with the count since."""
KEYS_MAX: Final = 2_000
"""Components, reasons and statuses it keeps apart; beyond that the oldest is forgotten and may be told early."""
LATE_MAX: Final = 256


class _Told:
    __slots__ = ("at_ms", "message", "untold")

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self.message = ""
        self.untold = 0


class Reporter:
    """Turns failures into `Health` events, few of them, and none uncounted: what was held back is in the count of
    the next event about the same, or of one from `due`.

    Args:
        repeat_ms: The least time between two events about the same component and reason.
    """

    def __init__(self, repeat_ms: int = REPEAT_MS) -> None:
        self.repeat_ms = repeat_ms
        self._told: dict[_Key, _Told] = {}
        self._untold: set[_Key] = set()
        self._bad: set[str] = set()  # components whose failure was told, and not yet their recovery
        self._works: set[str] = set()  # components that recovered since their failure was last noted
        self._late: deque[Health] = deque(maxlen=LATE_MAX)

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
    ) -> tuple[Health, ...]:
        """Note a failure; return the events to send, none if this one is only counted.

        Args:
            count: How many times, or how many samples or messages it cost.
            repeat_ms: Another least time for this reason.
        """
        key = (component, reason, status)  # lost for good is news after a retry for the same reason
        self._works.discard(component)
        told = self._told.pop(key, None)
        fresh = told is None
        if told is None:
            told = _Told(now_ms)
        self._told[key] = told
        told.untold += count
        told.message = clean(message)
        self._untold.add(key)
        forgotten = self._forget(now_ms) if len(self._told) > KEYS_MAX else ()
        if not fresh and now_ms - told.at_ms < (self.repeat_ms if repeat_ms is None else repeat_ms):
            return forgotten
        return (*forgotten, self._tell(now_ms, key))

    def recovered(self, now_ms: int, component: str, message: str = "") -> tuple[Health, ...]:
        """Note that a component works; return the events to send if its failure had been told: what has not been
        counted yet, and the recovery."""
        self._works.add(component)
        if component not in self._bad:
            return ()
        untold = [self._tell(now_ms, key) for key in sorted(self._untold) if key[0] == component]
        self._bad.discard(component)
        return (*untold, Health(now_ms, component, "ok", "recovered", clean(message), 1))

    def due(self, now_ms: int, *, everything: bool = False) -> tuple[Health, ...]:
        """What was held back a minute ago and has not been told since; each followed by a recovery where there was
        one. To be called about once a second.

        Args:
            everything: Also what has not waited for a minute yet: this is the end.
        """
        if not self._untold:
            return ()
        late = [key for key in sorted(self._untold) if everything or now_ms - self._told[key].at_ms >= self.repeat_ms]
        events = [self._tell(now_ms, key) for key in late]
        for component in dict.fromkeys(key[0] for key in late):
            if component in self._works:
                events += self.recovered(now_ms, component)
        return tuple(events)

    def keep_late(self, event: Health) -> None:
        """Keep an event for which the road is closed already; the newest `LATE_MAX` of them."""
        self._late.append(event)

    def take_late(self) -> list[Health]:
        """Return what was kept, and forget it."""
        late = list(self._late)
        self._late.clear()
        return late

    def _tell(self, now_ms: int, key: _Key) -> Health:
        component, reason, status = key
        told = self._told[key]
        event = Health(now_ms, component, status, reason, told.message, told.untold)
        told.at_ms, told.untold = now_ms, 0
        self._untold.discard(key)
        self._bad.add(component)
        return event

    def _forget(self, now_ms: int) -> tuple[Health, ...]:
        oldest = next(iter(self._told))
        events = (self._tell(now_ms, oldest),) if oldest in self._untold else ()
        del self._told[oldest]
        return events
