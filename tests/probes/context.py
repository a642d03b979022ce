"""What a probe is given, for tests: a clock that stands still until it is moved, and calls made at once."""

from collections.abc import Callable
from typing import Any, TypeVar

from engine.events import SampleBatch
from engine.ports import ProbeContext

T = TypeVar("T")


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.wall_ms = 1_800_000_000_000
        self.monotonic_s = 100.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.monotonic_s


async def call_here(function: Callable[[], T]) -> T:
    """Stands in for the engine's thread pool."""
    return function()


def context(
    name: str = "it",
    *,
    timeout_ms: int = 5_000,
    call: Any = call_here,
    clock: Any = None,
    **labels: str,
) -> ProbeContext:
    return ProbeContext(
        name=name,
        interval_ms=5_000,
        timeout_ms=timeout_ms,
        labels=labels,
        clock=clock or StillClock(),
        call=call,
    )


def by_series(batch: SampleBatch) -> dict[str, float]:
    return dict(zip(batch.series, batch.values.tolist(), strict=True))
