"""Groups of rules for grid mode: what they are, which rule is which, and when their instants come."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from engine.core.promql.plan import QueryPlan

__all__ = ["GridGroup", "GridRule", "Instants", "Missed", "SavedInstants", "group_keys", "rule_keys"]


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
        file: The rule file it is from: part of the identity of its rules, so the same wherever the engine is started.
        query_offset_ms: How far back queries look, for samples that come late.
        phase_ms: Instants are at multiples of the interval after this time.
        limit: How many alerts, or series, one rule may make; 0 for no limit of its own.
    """

    name: str
    rules: tuple[GridRule, ...]
    interval_ms: int
    file: str = ""
    query_offset_ms: int = 0
    limit: int = 0
    phase_ms: int = 0


def rule_keys(groups: Sequence[GridGroup]) -> list[str]:
    """The identity of every rule of every group, in their order: what its state is kept by across restarts, and edits
    of anything else.

    It is the file, the group, what kind of rule it is, its name and its labels as they are written, and the ordinal
    among those that have all these in common, as a JSON array: no name and no label can be taken for another.
    """
    seen: dict[bytes, int] = {}
    keys: list[str] = []
    for group in groups:
        for rule in group.rules:
            labels = sorted((name, template.text) for name, template in rule.labels.items())
            identity = [group.file, group.name, rule.kind, rule.name, labels]
            text = msgspec.json.encode(identity)
            seen[text] = ordinal = seen.get(text, -1) + 1
            keys.append(msgspec.json.encode([*identity, ordinal]).decode())
    return keys


def group_keys(groups: Sequence[GridGroup]) -> list[str]:
    """The identity of every group: its file, its name, and the ordinal among those that have both in common."""
    seen: dict[tuple[str, str], int] = {}
    keys: list[str] = []
    for group in groups:
        ordinal = seen[group.file, group.name] = seen.get((group.file, group.name), -1) + 1
        keys.append(msgspec.json.encode([group.file, group.name, ordinal]).decode())
    return keys


class Missed(NamedTuple):
    """A span in which nobody could see, as one group has it, and how many of its instants lay in it."""

    group: int
    from_ms: int
    to_ms: int
    instants: int


class SavedInstants(msgspec.Struct):
    """What a snapshot keeps of the instants of a group.

    Args:
        next_ms: The next one; None before time has begun.
        ahead: Blind spans that instants still come before.
    """

    interval_ms: int
    phase_ms: int
    next_ms: int | None
    ahead: list[tuple[int, int]]


class Instants:
    """The next instant of each group.

    Args:
        groups: In the order in which groups of one instant are evaluated.
    """

    def __init__(self, groups: Sequence[GridGroup]) -> None:
        self._groups = groups
        self._next: list[int] = []
        # By group, the blind spans that instants still come before: no more than are told between two advances.
        self._ahead: list[list[tuple[int, int]]] = [[] for _ in groups]

    def begin(self, time_ms: int) -> None:
        """Begin with the first instants at or after `time_ms`. Later calls do nothing."""
        if not self._next:
            self._next = [
                group.phase_ms + -(-(time_ms - group.phase_ms) // group.interval_ms) * group.interval_ms
                for group in self._groups
            ]

    def saved(self, index: int) -> SavedInstants:
        """What a snapshot keeps of a group."""
        group = self._groups[index]
        next_ms = self._next[index] if self._next else None
        return SavedInstants(group.interval_ms, group.phase_ms, next_ms, self._ahead[index])

    def load(self, saved: Sequence[SavedInstants | None], now_ms: int) -> None:
        """Take back what `saved` gave of each group. One that is new, or has another interval now, begins after
        `now_ms`."""
        self.begin(now_ms + 1)
        for index, (group, one) in enumerate(zip(self._groups, saved, strict=True)):
            if one is None or one.next_ms is None:
                continue
            if (group.interval_ms, group.phase_ms) == (one.interval_ms, one.phase_ms):
                self._next[index], self._ahead[index] = one.next_ms, list(one.ahead)

    def next_ms(self) -> int | None:
        """The earliest instant, or None if there is none or time has not begun."""
        return min(self._next, default=None)

    def first_from(self, index: int, time_ms: int) -> int:
        """The first instant of a group that is still to come and not before a time."""
        next_ms, interval_ms = self._next[index], self._groups[index].interval_ms
        return next_ms + max(0, -(-(time_ms - next_ms) // interval_ms)) * interval_ms

    def take(self, instant_ms: int) -> list[int]:
        """The groups with an instant at `instant_ms`; their next one comes an interval later."""
        taken = [index for index, next_ms in enumerate(self._next) if next_ms == instant_ms]
        for index in taken:
            self._next[index] += self._groups[index].interval_ms
        return taken

    def blind(self, from_ms: int, to_ms: int) -> None:
        """Nobody could see from `from_ms` until just before `to_ms`. Spans do not overlap."""
        for ahead in self._ahead if self._next else ():
            insort(ahead, (from_ms, to_ms))

    def skip(self) -> Iterator[Missed]:
        """Leave out the instants in blind spans, as far as no instant before them is left to be evaluated."""
        for index, ahead in enumerate(self._ahead):
            interval_ms = self._groups[index].interval_ms
            while ahead and ahead[0][0] <= self._next[index]:
                from_ms, to_ms = ahead.pop(0)
                missed = max(0, -(-(to_ms - self._next[index]) // interval_ms))
                self._next[index] += missed * interval_ms
                yield Missed(index, from_ms, to_ms, missed)

    def horizon_ms(self, watermark_ms: int) -> int:
        """No query will ask for an instant before this."""
        asked = [next_ms - group.query_offset_ms for group, next_ms in zip(self._groups, self._next, strict=True)]
        return min([watermark_ms, *asked])
