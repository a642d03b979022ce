"""Groups of rules for grid mode: what they are, and when their instants come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from engine.core.promql.plan import QueryPlan

__all__ = ["GridGroup", "GridRule", "Instants"]


class GridRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a group.

    Args:
        name: The alert's name, or the metric that is recorded.
        labels, annotations: Compiled templates; labels of a recording rule are plain text all the same.
    """

    kind: Literal["alert", "record"]
    name: str
    plan: QueryPlan
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: dict[str, Any] = {}  # str -> Template; a Protocol is no msgspec type
    annotations: dict[str, Any] = {}


class GridGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group of rules.

    Args:
        query_offset_ms: How far back queries look, for samples that come late.
        phase_ms: Instants are at multiples of the interval after this time.
        limit: How many alerts, or series, one rule may make; 0 for no limit of its own.
    """

    name: str
    rules: tuple[GridRule, ...]
    interval_ms: int
    query_offset_ms: int = 0
    limit: int = 0
    phase_ms: int = 0


class Instants:
    """The next instant of each group.

    Args:
        groups: In the order in which groups of one instant are evaluated.
    """

    def __init__(self, groups: Sequence[GridGroup]) -> None:
        self._groups = groups
        self._next: list[int] = []

    def begin(self, time_ms: int) -> None:
        """Begin with the first instants at or after `time_ms`. Later calls do nothing."""
        if not self._next:
            self._next = [
                group.phase_ms + -(-(time_ms - group.phase_ms) // group.interval_ms) * group.interval_ms
                for group in self._groups
            ]

    def next_ms(self) -> int | None:
        """The earliest instant, or None if there is none or time has not begun."""
        return min(self._next, default=None)

    def take(self, instant_ms: int) -> list[int]:
        """The groups with an instant at `instant_ms`; their next one comes an interval later."""
        taken = [index for index, next_ms in enumerate(self._next) if next_ms == instant_ms]
        for index in taken:
            self._next[index] += self._groups[index].interval_ms
        return taken

    def skip(self, from_ms: int, to_ms: int) -> int:
        """Leave out the instants of a span in which nobody could see; return how many."""
        left_out = 0
        for index, group in enumerate(self._groups if self._next else ()):
            if from_ms <= self._next[index] < to_ms:
                missed = -(-(to_ms - self._next[index]) // group.interval_ms)
                self._next[index] += missed * group.interval_ms
                left_out += missed
        return left_out

    def horizon_ms(self, watermark_ms: int) -> int:
        """No query will ask for an instant before this."""
        asked = [next_ms - group.query_offset_ms for group, next_ms in zip(self._groups, self._next, strict=True)]
        return min([watermark_ms, *asked])
