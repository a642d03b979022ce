"""The blindness watch: when the engine could not see, it says so to the core, before anything seen later.

What was dropped is blind, not good; and so is what happened while the loop was held, the machine slept, the wall clock
jumped, the network was gone, or the engine itself was not running. Each such span becomes a `Blind`, over which clocks
stand still, with the scope that it concerns, and a health event. All of them together are one alert
(`engine.runtime.blindtime`).

Drops of one scope that follow each other within `DROPS_OVER_AFTER_MS` are one span, from the first stamp to the last:
while the channel is losing samples nobody knows what was in those that would have come between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from typing import Final

from engine.dropped import DROPPED_SCOPES_MAX, DroppedSpan
from engine.events import Blind, Event, Transition
from engine.ports import ClockJump, WatchedClock
from engine.runtime.blindtime import ALERT, BlindAlert, BlindSeconds, SpanRecord
from engine.runtime.downtime import Downtime
from engine.runtime.internal import SavedOwnAlert
from engine.runtime.sentinel import Sentinel
from engine.runtime.supervisor import Shared
from engine.runtime.watchdog import Watchdog
from engine.status import AlertStatus

__all__ = ["DROPS_OVER_AFTER_MS", "LAG_S_MIN", "TURNS_EVERY_S", "Blindness"]

DROPS_TOLD_EVERY_MS: Final = 1_000
DROPS_OVER_AFTER_MS: Final = 10_000
"""After this long without a dropped sample the channel counts as recovered."""
TURNS_EVERY_S: Final = 0.25
"""How often it is looked whether the loop turns."""
LAG_S_MIN: Final = 1.0
"""A loop that was not seen turning for so long was held: it is told as a health event, and is a blind span. What holds
it for this long is always noticed, and what holds it for `TURNS_EVERY_S` less never."""
_LOOKS_EVERY_S: Final = 0.1


class Blindness:
    """Watches the clock, the loop, the channel and the network of one engine. The stepper alone calls it.

    Args:
        shared: The engine's clock, channel and so on.
        zone: Of the times in the text of the alert.
        with_thread: Whether a thread watches the loop, too, and sees who holds it. It lives in real time.
        sentinel: Watches the network.
        downtime: How long the engine was away before this start.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        zone: tzinfo = UTC,
        with_thread: bool = False,
        sentinel: Sentinel | None = None,
        downtime: Downtime | None = None,
    ) -> None:
        self._shared = shared
        self._with_thread = with_thread
        self._watchdog: Watchdog | None = None
        self._sentinel = sentinel
        self._clock = shared.clock if isinstance(shared.clock, WatchedClock) else None
        self._clock_ahead = False
        self._look_s = shared.clock.monotonic()
        self._turned_s: float | None = None  # when the loop was last seen turning
        self._downtime = downtime
        self._away = downtime.blind() if downtime is not None else None
        self._away_untold = downtime is not None and downtime.asked_for
        self._held: list[Blind] = [] if self._away is None else [self._away]
        self._dropped_to_ms: dict[str, int] = {}  # by scope
        self._drops = 0
        self._drops_at_ms: int | None = None
        self._told_ms = 0
        self._seconds = BlindSeconds()
        self._alert = BlindAlert(zone)
        self._record = SpanRecord()
        self._has_spans = False
        self._reserved_taken = 0
        self.lag_s = 0.0
        self.lag_s_max = 0.0

    def watched_until(self, until_ms: int) -> None:
        """The run before still watched at an instant, which its last sign of life may not say; -1 if there was none.
        Before anything else."""
        if until_ms < 0:
            return
        if self._downtime is None:
            now_ms = self._shared.clock.now_ms()
            self._downtime = Downtime(min(until_ms, now_ms), now_ms, max(0, now_ms - until_ms), False, False)
        self._held = [span for span in self._held if span is not self._away]
        self._away = self._downtime.watched_until(until_ms).blind()
        self._held += [self._away] if self._away is not None else []

    @property
    def seconds(self) -> Mapping[str, float]:
        """Blind time since the start, in seconds by reason."""
        return self._seconds.seconds()

    @property
    def name(self) -> str:
        """Of the alert about blindness."""
        return ALERT

    @property
    def transitions_total(self) -> int:
        """Changes of the alert about blindness."""
        return self._alert.transitions

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the running loop, for as long as the context is open."""
        loop, clock = asyncio.get_running_loop(), self._shared.clock
        self._turned_s = clock.monotonic()
        timer: asyncio.TimerHandle | None = None

        def turn(due_s: float) -> None:
            nonlocal timer
            now_s = clock.monotonic()
            self._note_turn(now_s)
            self.lag_s = max(0.0, now_s - due_s)
            self.lag_s_max = max(self.lag_s_max, self.lag_s)
            if self.lag_s < TURNS_EVERY_S:
                self._shared.report(self._shared.reporter.recovered(clock.now_ms(), "loop"))
            timer = loop.call_later(TURNS_EVERY_S, turn, now_s + TURNS_EVERY_S)

        timer = loop.call_later(TURNS_EVERY_S, turn, self._turned_s + TURNS_EVERY_S)
        if self._with_thread:
            self._watchdog = Watchdog(lambda: self._turned_s or 0.0, clock.monotonic)
            self._watchdog.start()
        try:
            yield
        finally:
            timer.cancel()
            self._turned_s = None
            if self._watchdog is not None:
                self._watchdog.stop()
                self._watchdog = None

    def complete(self, batch: Sequence[Event], *, due: bool = True) -> list[Event]:
        """Return what was taken from the channel with the blind spans in their places, by the stamps around them.

        Args:
            due: Whether the core has something due now.
        """
        shared = self._shared
        self._note_turn(shared.clock.monotonic())
        now_ms = shared.clock.now_ms()
        spans, self._held = self._held, []
        if dropped := shared.channel.take_dropped():
            spans += self._of_drops(now_ms, dropped)
        if self._sentinel is not None:
            spans += self._sentinel.take(now_ms, due=due)
        events = _in_places(batch, spans) if spans else list(batch)
        self._look_at_clock(events)  # last: everything in the batch was stamped before a jump
        self._look_at_drops(now_ms)
        taken, self._reserved_taken = self._reserved_taken, shared.channel.reserved_taken
        self._has_spans = taken != self._reserved_taken or len(events) > len(batch)
        if self._has_spans:  # else there is none: the events, which may be many, are not looked at one by one
            for event in events:
                if isinstance(event, Blind):
                    self._account(event)
        return events

    def record(self, events: list[Event], now_ms: int, *, end: bool = False) -> list[Event]:
        """What sinks are to record of the events of a step, which `complete` returned before it. `end` says that there
        will be no more."""
        has_spans, self._has_spans = self._has_spans, False
        return self._record.take(events, now_ms, has_spans=has_spans, everything=end)

    def transitions(self, now_ms: int, *, end: bool = False) -> list[Transition]:
        """What there is to tell people about blindness."""
        return self._alert.advance(now_ms, blind=self._sentinel is not None and self._sentinel.offline, end=end)

    def status(self, now_ms: int) -> AlertStatus | None:
        """The alert about blindness, while it fires."""
        return self._alert.status(now_ms)

    def saved(self) -> SavedOwnAlert | None:
        """The alert as it is to be kept, while it fires."""
        return self._alert.saved()

    def take_back(self, saved: SavedOwnAlert, now_ms: int) -> None:
        """The alert of the run before goes on."""
        self._alert.take_back(saved, now_ms)

    def _account(self, span: Blind) -> None:
        new_ms = self._seconds.add(span)
        if span is self._away and self._away_untold:
            return  # whoever stopped it knows
        if span.to_ms > span.from_ms:
            self._alert.note(span, new_ms, self._shared.clock.now_ms())

    def _note_turn(self, now_s: float) -> None:
        """The loop turns now."""
        turned_s = self._turned_s
        if turned_s is None:
            return
        self._turned_s = max(now_s, turned_s)
        held_s = now_s - turned_s
        if held_s < LAG_S_MIN:
            return
        shared, now_ms = self._shared, self._shared.clock.now_ms()
        message = f"the event loop was held for {held_s:.1f} s"
        if self._watchdog is not None and (account := self._watchdog.account(turned_s)):
            message += f"{'' if account.startswith('by ') else ':'} {account}"
        shared.report(shared.reporter.failed(now_ms, "loop", "lag", message, status="degraded"))
        self._held.append(Blind(now_ms, now_ms - round(held_s * 1000), now_ms, "*", "loop_lag"))

    def _of_drops(self, now_ms: int, dropped: Sequence[DroppedSpan]) -> list[Blind]:
        first_ms = min(span.from_ms for span in dropped)
        recent = {at: to_ms for at, to_ms in self._dropped_to_ms.items() if first_ms - to_ms <= DROPS_OVER_AFTER_MS}
        if len(recent.keys() | {span.scope for span in dropped}) > DROPPED_SCOPES_MAX:
            dropped = [DroppedSpan("*", first_ms, max(span.to_ms for span in dropped))]
        spans = []
        for scope, from_ms, to_ms in dropped:
            before = recent.values() if scope == "*" else (recent[at] for at in (scope, "*") if at in recent)
            last_ms = max(before, default=None)
            if last_ms is not None and from_ms - last_ms <= DROPS_OVER_AFTER_MS:
                from_ms, to_ms = min(from_ms, last_ms), max(to_ms, last_ms)
            spans.append(Blind(now_ms, from_ms, to_ms, scope, "dropped"))
            self._dropped_to_ms[scope] = to_ms
        self._dropped_to_ms = recent | {span.scope: span.to_ms for span in spans}
        return spans

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
            shared.waking.wake()
        elif not self._clock_ahead:
            return  # the wall clock has caught up: recovered, at the next look
        else:  # nothing was missed, but people should know why times do not agree
            self._alert.note(Blind(now_ms, now_ms, now_ms, "*", jump.reason), 0, now_ms)
        reason = "suspended" if jump.reason == "suspend" else "stepped"
        shared.report(shared.reporter.failed(now_ms, "clock", reason, _words(jump), status="degraded"))

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


def _in_places(batch: Sequence[Event], spans: list[Blind]) -> list[Event]:
    """The events with each span before the first one that is not older than its begin."""
    events: list[Event] = []
    waiting = sorted(spans, key=lambda span: -span.from_ms)
    for place, event in enumerate(batch):
        while waiting and event.time_ms >= waiting[-1].from_ms:
            events.append(waiting.pop())
        if not waiting:
            return [*events, *batch[place:]]
        events.append(event)
    return [*events, *reversed(waiting)]


def _words(jump: ClockJump) -> str:
    what = "the machine slept" if jump.reason == "suspend" else "the wall clock was set"
    jumped_ms = jump.to_ms - jump.from_ms
    text = f"{what}: " + (f"time jumped {jumped_ms / 1000:.1f} s ahead" if jumped_ms > 0 else "time runs on")
    return text + (f", {jump.ahead_ms / 1000:.1f} s ahead of the wall clock" if jump.ahead_ms else "")
