"""Deadlines in event time. Alerts that turned pending in one scrape share a deadline, so they share an entry."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Deadline", "Timers"]

BUCKETS_PER_CHUNK = 500


class Deadline(NamedTuple):
    """Something of one rule is due: the clock of the alert in `slot`, if its version is still `version`;
    with slot -1, the rule's look for inputs that went stale."""

    rule: int
    slot: int
    version: int


class Timers:
    """Deadlines by time. Nothing is taken out before its time: whoever is woken checks whether it still holds."""

    __slots__ = ("_at", "_size", "_times")

    def __init__(self) -> None:
        self._size = 0
        self._at: dict[int, list[Deadline]] = {}
        self._times: list[int] = []

    def add(self, time_ms: int, deadline: Deadline) -> None:
        """Wake for `deadline` at `time_ms`."""
        bucket = self._at.get(time_ms)
        if bucket is None:
            self._at[time_ms] = bucket = []
            heapq.heappush(self._times, time_ms)
        bucket.append(deadline)
        self._size += 1

    def next_ms(self) -> int | None:
        """The earliest deadline, or None."""
        return self._times[0] if self._times else None

    def pop(self, now_ms: int) -> tuple[int, list[Deadline]] | None:
        """Take the earliest time <= `now_ms` with all its deadlines, or None."""
        if not self._times or self._times[0] > now_ms:
            return None
        time_ms = heapq.heappop(self._times)
        due = self._at.pop(time_ms)
        self._size -= len(due)
        return time_ms, due

    def renumbering(self, slots: Mapping[int, NDArray[np.int64]]) -> Generator[None, None, Callable[[], None]]:
        """Prepare new slots for the deadlines of some rules, in steps; what is returned makes the change at once.

        Args:
            slots: By rule, new slots by old ones, -1 for those that are gone.
        """
        lists = {rule: numbers.tolist() for rule, numbers in slots.items()}
        made: dict[int, list[Deadline]] = {}
        for count, (time_ms, deadlines) in enumerate(self._at.items()):
            made[time_ms] = [
                deadline._replace(slot=lists[deadline.rule][deadline.slot])
                if deadline.slot >= 0 and deadline.rule in lists
                else deadline
                for deadline in deadlines
            ]
            if count % BUCKETS_PER_CHUNK == 0 or len(deadlines) > BUCKETS_PER_CHUNK:
                yield

        def commit() -> None:
            self._at = made

        return commit

    def clear(self) -> None:
        """Forget everything, to be filled again from what is still true."""
        self._at.clear()
        self._times.clear()
        self._size = 0

    def __len__(self) -> int:
        return self._size
