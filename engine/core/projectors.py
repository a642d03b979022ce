"""Built-in projectors: the engine's own health, and counts of domain events, as series rules can read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from engine.errors import StateError
from engine.events import DomainEvent, Health, SampleBatch
from engine.series import series_text

__all__ = ["EventCounter", "HealthProjector"]

SERIES_MAX = 1_000
EVENT_TYPES_MAX = 1_000


class HealthProjector:
    """`longwatch_component_up{component="probe.health"}`: 1 if the last health event said `ok`, else 0."""

    def __init__(self) -> None:
        self._series: dict[str, tuple[str, ...]] = {}

    def apply(self, event: DomainEvent | Health) -> SampleBatch | None:
        """Take a health event; others are not its business."""
        if not isinstance(event, Health):
            return None
        series = _kept(self._series, "longwatch_component_up", "component", event.component)
        return SampleBatch(event.time_ms, series, np.array([float(event.status == "ok")]))

    def initial(self, time_ms: int) -> Iterable[SampleBatch]:
        """Nothing: a component that never failed has no sample."""
        return ()

    def snapshot(self) -> bytes:
        """It keeps nothing."""
        return b""

    def restore(self, data: bytes) -> None:
        """It keeps nothing."""
        if data:
            raise StateError("the health projector keeps nothing, but a snapshot of it was given")


class EventCounter:
    """`longwatch_events_total{type="trade_closed"}`: how many domain events of a type were seen.

    Args:
        types: Tags whose counters exist at 0 from the start.
    """

    def __init__(self, types: Iterable[str] = ()) -> None:
        self._counts: dict[str, int] = dict.fromkeys(types, 0)
        self._series: dict[str, tuple[str, ...]] = {}

    def apply(self, event: DomainEvent | Health) -> SampleBatch | None:
        """Count a domain event. Types beyond `EVENT_TYPES_MAX` are counted as `other`."""
        if isinstance(event, Health):
            return None
        tag = str(event.__struct_config__.tag)
        if tag not in self._counts and len(self._counts) >= EVENT_TYPES_MAX:
            tag = "other"
        self._counts[tag] = self._counts.get(tag, 0) + 1
        return self._batch(event.time_ms, tag)

    def initial(self, time_ms: int) -> Iterable[SampleBatch]:
        """Every configured counter at 0."""
        return [self._batch(time_ms, tag) for tag in self._counts]

    def snapshot(self) -> bytes:
        """The counts."""
        return msgspec.msgpack.encode(self._counts)

    def restore(self, data: bytes) -> None:
        """Take the counts back."""
        try:
            self._counts = msgspec.msgpack.decode(data, type=dict[str, int])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateError(f"not a snapshot of event counts: {error}") from error

    def _batch(self, time_ms: int, tag: str) -> SampleBatch:
        series = _kept(self._series, "longwatch_events_total", "type", tag)
        return SampleBatch(time_ms, series, np.array([float(self._counts[tag])]))


def _kept(made: dict[str, tuple[str, ...]], metric: str, label: str, value: str) -> tuple[str, ...]:
    """The series of one label: the same object each time, by which the store knows a batch again."""
    if (series := made.get(value)) is None:
        series = (series_text(metric, {label: value}),)
        if len(made) < SERIES_MAX:
            made[value] = series
    return series
