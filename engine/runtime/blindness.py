"""The blindness watch: when the engine could not see, it says so to the core, before anything seen later.

What was dropped is blind, not good; and so is what happened while the loop was held, the machine slept or the wall
clock jumped. Each such span becomes a `Blind` over everything (scope `*`), over which every clock stands still, and a
health event.

Drops that follow each other within `DROPS_OVER_AFTER_MS` are one span, from the first stamp to the last: while the
channel is losing samples nobody knows what was in those that would have come between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.events import Blind, Event
from engine.ports import WatchedClock
from engine.runtime.supervisor import Shared

__all__ = ["DROPS_OVER_AFTER_MS", "LAG_S_MAX", "Blindness"]

DROPS_TOLD_EVERY_MS: Final = 1_000
DROPS_OVER_AFTER_MS: Final = 10_000
"""After this long without a dropped sample the channel counts as recovered."""
LAG_S_MAX: Final = 1.0
"""A loop turn later than this is told as a health event, and is a blind span."""
_LOOKS_EVERY_S: Final = 0.1


class Blindness:
    """Watches the clock, the loop and the channel of one engine. The stepper alone calls it.

    Args:
        shared: The engine's clock, channel and so on.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._clock = shared.clock if isinstance(shared.clock, WatchedClock) else None
        self._clock_ahead = False
        self._look_s = shared.clock.monotonic()
        self._held: list[Blind] = []
        self._dropped_to_ms = -DROPS_OVER_AFTER_MS - 1
        self._drops = 0
        self._drops_at_ms: int | None = None
        self._told_ms = 0
        self.lag_s = 0.0
        self.lag_s_max = 0.0

    def note_turn(self, late_s: float) -> None:
        """Take note of how late a turn of the loop came that ends now."""
        self.lag_s = late_s
        self.lag_s_max = max(self.lag_s_max, late_s)
        now_ms = self._shared.clock.now_ms()
        reporter = self._shared.reporter
        if late_s > LAG_S_MAX:
            message = f"the event loop was held for {late_s:.1f} s"
            self._shared.report(reporter.failed(now_ms, "loop", "lag", message, status="degraded"))
            self._held.append(Blind(now_ms, now_ms - round(late_s * 1000), now_ms, "*", "loop_lag"))
        else:
            self._shared.report(reporter.recovered(now_ms, "loop"))

    def complete(self, batch: Sequence[Event]) -> list[Event]:
        """Return what was taken from the channel with the blind spans in their places, by the stamps around them."""
        now_ms = self._shared.clock.now_ms()
        events = list(batch)
        spans, self._held = self._held, []
        if (dropped := self._shared.channel.take_dropped()) is not None:
            spans.append(self._of_drops(now_ms, *dropped))
        for span in spans:
            later = (place for place, event in enumerate(events) if event.time_ms >= span.from_ms)
            events.insert(next(later, len(events)), span)
        self._look_at_clock(events)  # last: everything in the batch was stamped before a jump
        self._look_at_drops(now_ms)
        return events

    def _of_drops(self, now_ms: int, first_ms: int, last_ms: int) -> Blind:
        if first_ms - self._dropped_to_ms <= DROPS_OVER_AFTER_MS:
            first_ms = min(first_ms, self._dropped_to_ms)
        self._dropped_to_ms = last_ms = max(last_ms, self._dropped_to_ms)
        return Blind(now_ms, first_ms, last_ms, "*", "dropped")

    def _look_at_clock(self, events: list[Event]) -> None:
        shared = self._shared
        now_s = shared.clock.monotonic()
        if self._clock is None or now_s < self._look_s:
            return
        self._look_s = now_s + _LOOKS_EVERY_S
        jump = self._clock.look()
        now_ms = shared.clock.now_ms()
        if jump is None:
            if not self._clock_ahead:
                shared.report(shared.reporter.recovered(now_ms, "clock"))
            return
        self._clock_ahead = jump.ahead_ms > 0
        if jump.to_ms > jump.from_ms:
            events.append(Blind(jump.to_ms, jump.from_ms, jump.to_ms, "*", jump.reason))
        elif not self._clock_ahead:
            return  # the wall clock has caught up: recovered, at the next look
        reason = "suspended" if jump.reason == "suspend" else "stepped"
        shared.report(shared.reporter.failed(now_ms, "clock", reason, _words(*jump), status="degraded"))

    def _look_at_drops(self, now_ms: int) -> None:
        """Tell of dropped samples, at most once a second."""
        if now_ms - self._told_ms < DROPS_TOLD_EVERY_MS:
            return
        self._told_ms = now_ms
        dropped = self._shared.channel.statistics().dropped
        total = sum(dropped.values())
        new, self._drops = total - self._drops, total
        reporter = self._shared.reporter
        if new > 0:
            self._drops_at_ms = now_ms
            message = "samples were dropped: " + ", ".join(f"{n} {why}" for why, n in sorted(dropped.items()))
            self._shared.report(
                reporter.failed(
                    now_ms, "channel", "full", message, status="degraded", count=new, repeat_ms=DROPS_TOLD_EVERY_MS
                )
            )
        elif self._drops_at_ms is not None and now_ms - self._drops_at_ms >= DROPS_OVER_AFTER_MS:
            self._drops_at_ms = None
            self._shared.report(reporter.recovered(now_ms, "channel"))


def _words(from_ms: int, to_ms: int, ahead_ms: int, reason: str) -> str:
    what = "the machine slept" if reason == "suspend" else "the wall clock was set"
    parts = [f"{what}: "]
    parts.append(f"time jumped {(to_ms - from_ms) / 1000:.1f} s ahead" if to_ms > from_ms else "time runs on")
    if ahead_ms:
        parts.append(f", {ahead_ms / 1000:.1f} s ahead of the wall clock")
    return "".join(parts)
