"""Shares: for how much of a window of known time a condition held, under `of`.

All times are places on an alert's axis of known time, in whole milliseconds, so pauses are no part of any window. The
truth of a condition is a list of spans; the last may still be going on. A window is as long as it is however little of
it is known: what was before is not true.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["LATE_MS", "SPANS_MAX", "Share"]

LATE_MS: Final = 60_000
"""What left a window so long ago is still known: a blind span that is told late brings it back."""

SPANS_MAX: Final = 1_024
"""Beyond this the oldest span is forgotten, or, as long as the window holds any of it, becomes one with the next: what
lies between them counts as true."""


class Share(msgspec.Struct):
    """The truth of one condition over the last `window` of known time.

    Args:
        window: Its length.
        need: For how much of it the condition must hold.
        spans: Begin and end of each span, ascending, the last without an end while it goes on.
    """

    window: int
    need: int
    spans: list[int] = []

    @property
    def on(self) -> bool:
        """Whether the condition holds now."""
        return len(self.spans) % 2 == 1

    def turn(self, on: bool, now: int) -> None:
        """Say whether the condition holds from now on."""
        if on == self.on:
            return
        if self.spans and self.spans[-1] == now:
            self.spans.pop()  # it went on, or lasted no time at all
            return
        self.spans.append(now)
        if len(self.spans) > 2 * SPANS_MAX:
            del self.spans[slice(0, 2) if self.spans[1] <= now - self.window else slice(1, 3)]

    def restart(self) -> None:
        """Forget everything."""
        self.spans = []

    def forget(self, now: int) -> None:
        """Drop what has left the window for long."""
        left = now - self.window - LATE_MS
        while len(self.spans) > 1 and self.spans[1] <= left:
            del self.spans[:2]

    def true_for(self, now: int) -> int:
        """For how much of the window that ends now it held."""
        begin, held = now - self.window, 0
        for start, end in self._closed(now):
            held += max(0, min(end, now) - max(start, begin))
        return held

    def holds_on(self, now: int) -> bool:
        """Whether anything true is in the window."""
        return self.on or (bool(self.spans) and self.spans[-1] > now - self.window)

    def reached(self, now: int) -> bool:
        """Whether it held for long enough."""
        return self.true_for(now) >= self.need if self.window else self.on

    def next_change(self, now: int) -> int | None:
        """The first instant after now at which `reached` changes, or at which nothing true is left in the window.

        The condition is taken to stay as it is. None if there is no such instant."""
        if not self.window or not self.holds_on(now):
            return None
        was, held, at = self.reached(now), self.true_for(now), now
        # Between these instants what enters and what leaves the window does not change.
        edges = sorted({edge + self.window for edge in self.spans if edge + self.window > now})
        for edge in [*edges, None]:
            leaves = any(start <= at - self.window < end for start, end in self._closed(at))
            slope = int(self.on) - int(leaves)
            goal = self.need - 1 if was else self.need
            if slope and (goal - held) * slope > 0:
                change = at + (goal - held) * slope
                if edge is None or change <= edge:
                    return change
            if slope < 0 and not was and edge is None:
                return at + held
            if edge is None:
                return None
            held += slope * (edge - at)
            at = edge
            if not held and not self.on:
                return at
        return None

    def _closed(self, now: int) -> list[tuple[int, int]]:
        ends = [*self.spans, max(now, self.spans[-1])] if self.on else self.spans
        return list(zip(ends[::2], ends[1::2], strict=True))

    def keep(self, length: int) -> None:
        """Take `length` of known time that was counted out of the axis, and count it all the same."""
        self.spans = [edge - length for edge in self.spans]

    def skip(self, begin: int, length: int) -> None:
        """Take `length` of known time from `begin` on out of the past, as if it had not been."""
        edges: list[int] = []
        for edge in self.spans:
            place = edge - min(max(edge - begin, 0), length)
            if edges and edges[-1] == place:
                edges.pop()  # nothing is left of a span, or of what was between two
            else:
                edges.append(place)
        self.spans = edges
