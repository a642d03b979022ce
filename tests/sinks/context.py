"""What a sink is given, for tests: a clock that stands still until it is moved, calls made at once, transitions."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engine.events import Facts, SampleBatch, Transition
from engine.ports import SinkContext

T = TypeVar("T")

NOW_MS = 1_800_000_000_000  # a whole minute: 2027-01-15T08:00:00Z


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.wall_ms = NOW_MS
        self.monotonic_s = 100.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.monotonic_s

    def pass_s(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)
        self.monotonic_s += seconds


async def call_here(function: Callable[[], T]) -> T:
    """Stands in for the engine's thread pool."""
    return function()


def context(
    state_dir: Path | None = None, *, clock: Any = None, name: str = "it", timezone: str = "UTC"
) -> SinkContext:
    return SinkContext(
        name=name,
        engine_name="watch",
        clock=clock or StillClock(),
        state_dir=state_dir,
        timezone=timezone,
        external_labels={},
        call=call_here,
    )


def batch(time_ms: int, values: dict[str, float], **more: Any) -> SampleBatch:
    return SampleBatch(time_ms, tuple(values), np.array(list(values.values()), dtype=np.float64), **more)


_STEPS = {
    "pending": ("inactive", "pending", "condition"),
    "firing": ("pending", "firing", "held"),
    "resolved": ("firing", "inactive", "recovered"),
    "lost": ("firing", "inactive", "lost"),
    "level": ("firing", "firing", "level"),
    "cleared": ("pending", "inactive", "recovered"),
}


def transition(
    kind: str = "firing",
    time_ms: int = NOW_MS,
    labels: dict[str, str] | None = None,
    *,
    rule: str = "HighCpu",
    reason: str = "",
    value: float = math.nan,
    since_ms: int = NOW_MS - 300_000,
    annotations: dict[str, str] | None = None,
    fired_ms: int = 0,
    severity: str = "",
    severity_before: str = "",
    flapping: bool = False,
    facts: Facts | None = None,
) -> Transition:
    before, after, usual = _STEPS[kind]
    every = {"alertname": rule, "instance": "a", "severity": "critical"} if labels is None else labels
    return Transition(
        time_ms,
        rule,
        every,
        before,  # type: ignore[arg-type]
        after,  # type: ignore[arg-type]
        reason or usual,
        value,
        since_ms,
        annotations or {},
        fired_ms,
        severity,
        severity_before,
        flapping,
        facts,
    )
