"""What the channel had to drop: how many samples by reason, and of what, from when to when.

What was dropped is blind, not good: whoever judges must know of what. The bookkeeping is bounded: of too many scopes,
everything is blind. It must never hold an event itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from engine.events import Blind, Event, Health, Sample, SampleBatch
from engine.series import metric_of

__all__ = ["DROPPED_SCOPES_MAX", "DroppedSpan", "Drops"]

DROPPED_SCOPES_MAX: Final = 16
"""Series and metrics that dropped samples are told apart by; of more, everything is blind."""
BATCH_SERIES_READ_MAX: Final = 1_000
"""A dropped batch of more series is not looked through for its metrics: that would hold the loop."""
_EVERYTHING: Final = "*"


class DroppedSpan(NamedTuple):
    """From the first stamp to the last, exclusive, of what was dropped of a series, of a metric or (`*`) of all."""

    scope: str
    from_ms: int
    to_ms: int


class Drops:
    """Dropped samples since the start, and their spans since somebody asked."""

    __slots__ = ("_spans", "reasons")

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}
        """Samples by reason."""
        self._spans: dict[str, tuple[int, int]] = {}  # by scope; `*` alone once there were too many

    def count(self, event: Event, samples: int, reason: str) -> None:
        """Note that an event was dropped."""
        self.reasons[reason] = self.reasons.get(reason, 0) + samples
        if reason == "closed" or isinstance(event, Health):
            return  # after the end nobody judges; and health is not what rules are blind without
        first, last = (event.from_ms, event.to_ms) if isinstance(event, Blind) else (event.time_ms, event.time_ms + 1)
        spans = self._spans
        for scope in (_EVERYTHING,) if _EVERYTHING in spans else _scopes(event):
            known = spans.get(scope)
            spans[scope] = (first, last) if known is None else (min(first, known[0]), max(last, known[1]))
        if len(spans) > DROPPED_SCOPES_MAX or (_EVERYTHING in spans and len(spans) > 1):
            whole = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
            self._spans = {_EVERYTHING: whole}

    def take_spans(self) -> list[DroppedSpan]:
        """The spans since the last call, at most one for each of `DROPPED_SCOPES_MAX` scopes."""
        spans, self._spans = self._spans, {}
        return [DroppedSpan(scope, *span) for scope, span in spans.items()]


def _scopes(event: Event) -> Iterable[str]:
    """What is blind without this event. A domain event may become any series: nobody but its projector knows."""
    if isinstance(event, Sample):
        return (event.series,)
    if isinstance(event, Blind):
        return (event.scope,)
    if not isinstance(event, SampleBatch) or len(event.series) > BATCH_SERIES_READ_MAX:
        return (_EVERYTHING,)
    if len(event.series) <= DROPPED_SCOPES_MAX:
        return event.series
    metrics = {metric_of(series) for series in event.series}
    return metrics if len(metrics) <= DROPPED_SCOPES_MAX else (_EVERYTHING,)
