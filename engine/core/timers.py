"""When rules are to be woken, in event time. The clocks of alerts are in the book of alerts."""

from __future__ import annotations

import heapq
from typing import NamedTuple

__all__ = ["Deadline", "Timers"]


class Deadline(NamedTuple):
    """Something of one rule is due; `kind` is the rule's own."""

    rule: int
    kind: int


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

    def clear(self) -> None:
        """Forget everything, to be filled again from what is still true."""
        self._at.clear()
        self._times.clear()
        self._size = 0

    def __len__(self) -> int:
        return self._size
