"""What the stepper needs of a core, and what others see of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol

from engine.events import Event, Health, Transition
from engine.status import AlertStatus

__all__ = ["CoreLike", "Published"]


class CoreLike(Protocol):
    """What the stepper needs of the core (`engine.core.evaluator.Core`)."""

    def feeding(
        self, events: Sequence[Event], on_error: Callable[[Exception], None]
    ) -> Generator[None, None, list[Transition]]: ...
    def advancing(self, now_ms: int) -> Generator[None, None, list[Transition]]: ...
    def next_deadline(self) -> int | None: ...
    def alerts(self, limit: int | None = None) -> list[AlertStatus]: ...
    def alert_counts(self) -> dict[str, int]: ...
    def latest(self, metric: str, limit: int | None = None) -> dict[str, float]: ...
    def counters(self) -> dict[str, int]: ...
    def take_health(self) -> list[Health]: ...
    @property
    def series_count(self) -> int: ...


class Published(NamedTuple):
    """The core as readers see it; of its alerts the foremost: firing before pending, the oldest first."""

    alerts: Sequence[AlertStatus] = ()
    alerts_by_state: dict[str, int] = {}  # never written to
    counters: dict[str, int] = {}  # never written to
    series: int = 0
    gauges: dict[str, float] = {}  # never written to
