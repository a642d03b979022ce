"""Spans of time as ascending edges: begin, end, begin, end, without any overlap. `[from, to)` is one span.

What was taken out of clocks is kept like this, so that each instant is taken out once, in whatever order spans are
told. Nothing here knows what a span is of.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["SPANS_MAX", "Edges", "add", "after", "back", "remove", "without"]

Edges: TypeAlias = list[int]
Ints: TypeAlias = NDArray[np.int64]
SPANS_MAX: Final = 256
"""What was before the newest so many is forgotten: a span that is told so late is taken out again."""


def add(edges: Edges, from_ms: int, to_ms: int) -> None:
    """Take in a span; those that it overlaps or touches become one with it."""
    low, high = bisect_left(edges, from_ms), bisect_right(edges, to_ms)
    edges[low:high] = [from_ms] * (low % 2 == 0) + [to_ms] * (high % 2 == 0)
    del edges[: -2 * SPANS_MAX]


def remove(edges: Edges, from_ms: int, to_ms: int) -> None:
    """Leave out what is in a span."""
    low, high = bisect_left(edges, from_ms), bisect_right(edges, to_ms)
    edges[low:high] = [from_ms] * (low % 2) + [to_ms] * (high % 2)


def without(edges: Edges, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
    """The parts of a span that are not in any of these, ascending."""
    parts: list[tuple[int, int]] = []
    first = bisect_right(edges, from_ms)
    begin = from_ms if first % 2 == 0 else edges[first]
    for at in range(first + first % 2, len(edges), 2):
        if edges[at] >= to_ms:
            break
        if edges[at] > begin:
            parts.append((begin, edges[at]))
        begin = edges[at + 1]
    return [*parts, (begin, to_ms)] if begin < to_ms else parts


def back(edges: Edges, at_ms: int) -> int:
    """The last instant of which the time until the end of the spans, without them, is that of `at_ms` with them: so
    much earlier as there are spans between the two."""
    for at in range(len(edges) - 2, -1, -2):
        if edges[at + 1] <= at_ms:
            break
        at_ms -= edges[at + 1] - edges[at]
    return at_ms


def after(edges: Edges, times: Ints) -> Ints:
    """How much of the spans is at or after each time."""
    begins, ends = np.array(edges[::2], dtype=np.int64), np.array(edges[1::2], dtype=np.int64)
    left = np.append(np.cumsum((ends - begins)[::-1])[::-1], 0)
    at = np.searchsorted(ends, times, side="right")
    begun = times - np.append(begins, np.iinfo(np.int64).max // 2)[at]
    found: Ints = left[at] - np.maximum(begun, 0)
    return found
