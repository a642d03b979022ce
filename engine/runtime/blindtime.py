"""The account of blind time: seconds by reason, the spans as they are recorded, and the one alert about it. Pure.

While samples are being dropped, or the network is gone, the core is told of each small piece as it passes. For the
record and for people the pieces are put together again: a night without a network is some hundred rows, and one alert.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

from engine.durations import format_ms
from engine.events import Blind, Event, Transition
from engine.runtime.internal import Episode, SavedOwnAlert
from engine.status import AlertStatus

__all__ = ["ALERT", "QUIET_MS", "REASONS", "BlindAlert", "BlindSeconds", "SpanRecord", "local_text"]

REASONS: Final = ("clock_step", "downtime", "dropped", "loop_lag", "offline", "suspend")
"""What the engine itself finds. A host may name reasons of its own."""
REASONS_MAX: Final = 32
OTHER: Final = "other"
ALERT: Final = "LongwatchBlind"
QUIET_MS: Final = 60_000
"""The alert resolves when nothing was missed for this long."""
IN_PIECES: Final = frozenset({"dropped", "offline"})
PIECE_GAP_MS: Final = 2_000
"""A span that was not continued for this long is over."""
RECORDED_MS_MAX: Final = 60_000
"""A span that goes on is recorded in parts of about this length, so that a crash loses no more."""
OPEN_MAX: Final = 256
_TIME_MAX_MS: Final = 253_402_200_000_000  # before the end of the year 9999 in any time zone


class BlindSeconds:
    """Blind time by reason, in event time: each instant counts once for each reason, whatever the scopes. Spans of one
    reason come in the order of time."""

    def __init__(self) -> None:
        self._ms: dict[str, int] = dict.fromkeys(REASONS, 0)
        self._to_ms: dict[str, int] = {}

    def add(self, span: Blind) -> int:
        """Count a span; return how much of it was not counted before, in milliseconds."""
        reason = span.reason if span.reason in self._ms or len(self._ms) < REASONS_MAX else OTHER
        new_ms = max(0, span.to_ms - max(span.from_ms, self._to_ms.get(reason, span.from_ms)))
        self._ms[reason] = self._ms.get(reason, 0) + new_ms
        self._to_ms[reason] = max(span.to_ms, self._to_ms.get(reason, span.to_ms))
        return new_ms

    def seconds(self) -> dict[str, float]:
        """Since the start, by reason; the engine's own reasons are there from the beginning."""
        return {reason: ms / 1000 for reason, ms in self._ms.items()}


class SpanRecord:
    """Puts the pieces of a span together for those who record."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Blind] = {}  # by scope and reason, the one that grew last at the end

    def take(
        self, events: list[Event], now_ms: int, *, has_spans: bool = True, everything: bool = False
    ) -> list[Event]:
        """What there is to record of a step's events: all but pieces of spans that may go on, and those that are over.

        Args:
            has_spans: Whether there can be a span among the events at all.
            everything: Also of spans that may go on: this is the end.
        """
        if not has_spans and not self._open:
            return events
        pieces = [event for event in events if isinstance(event, Blind) and event.reason in IN_PIECES]
        told = [event for event in events if not (isinstance(event, Blind) and event.reason in IN_PIECES)]
        for piece in pieces:
            key = piece.scope, piece.reason
            before = self._open.pop(key, None)
            if before is not None and _continues(before, piece):
                from_ms = min(before.from_ms, piece.from_ms)
                to_ms, series = max(before.to_ms, piece.to_ms), piece.series or before.series
                piece = Blind(piece.time_ms, from_ms, to_ms, *key, series)
            elif before is not None:
                told.append(before)
            self._open[key] = piece
        for key, span in list(self._open.items()):
            if everything or now_ms - span.time_ms > PIECE_GAP_MS or len(self._open) > OPEN_MAX:
                told.append(self._open.pop(key))
        return told


def _continues(before: Blind, piece: Blind) -> bool:
    return (
        before.from_ms <= piece.to_ms
        and piece.from_ms <= before.to_ms
        and piece.to_ms - min(before.from_ms, piece.from_ms) <= RECORDED_MS_MAX
    )


class BlindAlert:
    """The alert `LongwatchBlind`: fires with the first blind span, resolves when nothing was missed for `QUIET_MS`.

    It is not a rule: over a blind span no rule fires. One episode, of however many spans and reasons, is one alert.

    Args:
        zone: Of the times in its text.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._ms: dict[str, int] = {}  # of this episode, by reason
        self._from_ms = 0
        self._to_ms = 0
        self._noted_ms = 0
        self._fired_ms = 0
        self._asks = False
        self._blind = False
        self.transitions = 0
        """How many there were since the start."""

    def note(self, span: Blind, new_ms: int, now_ms: int) -> None:
        """Take note of a span, of any length, of which so much was not counted before."""
        if not self._ms:
            self._from_ms, self._to_ms, self._asks = span.from_ms, span.to_ms, True
        self._from_ms, self._to_ms = min(self._from_ms, span.from_ms), max(self._to_ms, span.to_ms)
        reason = span.reason if span.reason in self._ms or len(self._ms) < REASONS_MAX else OTHER
        self._ms[reason] = self._ms.get(reason, 0) + new_ms
        self._noted_ms = now_ms

    def advance(self, now_ms: int, *, blind: bool = False, end: bool = False) -> list[Transition]:
        """What there is to tell at `now_ms`.

        Args:
            blind: Whether it is known that something is still not seen now.
            end: Whether the watch ends here: then nothing is left firing.
        """
        made, self._blind = [], blind
        if self._asks:
            self._asks, self._fired_ms = False, now_ms
            made.append(self._episode.transition(now_ms, "condition"))
        if self._fired_ms and (end or (not blind and now_ms - self._noted_ms >= QUIET_MS)):
            made.append(self._episode.transition(now_ms, "ended" if blind else "recovered", over=True))
            self._fired_ms = 0
            self._ms = {}
        self.transitions += len(made)
        return made

    def status(self, now_ms: int) -> AlertStatus | None:
        """The alert as people see it, while it fires."""
        return self._episode.status(now_ms) if self._fired_ms else None

    def saved(self) -> SavedOwnAlert | None:
        """What is to be kept, while it fires."""
        return SavedOwnAlert(self._from_ms, self._to_ms, self._fired_ms, self._ms) if self._fired_ms else None

    def take_back(self, saved: SavedOwnAlert, now_ms: int) -> None:
        """It fired in the run before: it does until nothing was missed for a while."""
        if not self._fired_ms:
            self._from_ms, self._to_ms = min(saved.from_ms, now_ms), min(saved.to_ms, now_ms)
            self._fired_ms, self._noted_ms = min(saved.fired_ms, now_ms), now_ms
            self._ms, self._asks = dict(saved.reasons), False

    @property
    def _episode(self) -> Episode:
        seconds = sum(self._ms.values()) / 1000
        return Episode(ALERT, "warning", self._from_ms, self._fired_ms, seconds, self._summary())

    def _summary(self) -> str:
        reasons = ", ".join(f"{why} {format_ms(ms)}" if ms else why for why, ms in sorted(self._ms.items()))
        begun, ended = local_text(self._from_ms, self._zone), local_text(self._to_ms, self._zone)
        if self._ms == {"clock_step": 0}:
            return f"the wall clock was set back at {begun}; nothing was missed, but times run ahead of it"
        if self._blind:
            return f"not everything is seen since {begun} ({reasons})"
        length = format_ms(sum(self._ms.values()))
        return f"not everything was seen for {length}, from {begun} to {ended} ({reasons})"


def local_text(time_ms: int, zone: tzinfo) -> str:
    """An instant as people read it."""
    moment = datetime.fromtimestamp(min(max(time_ms, 0), _TIME_MAX_MS) / 1000, UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"
