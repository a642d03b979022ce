"""A core that is played to from a history, with tapes that note what happens to the alerts asked about.

Time goes from one deadline of the core to the next, so that each change is seen by itself, at its own instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from engine.core.evaluator import Core
from engine.core.seats import Key
from engine.events import Blind, Event, Transition
from engine.explain.tape import KINDS, Change, Tape

__all__ = ["Player"]

SILENT_STEPS_MAX: Final = 20_000
_NEWS: Final = frozenset({"unknown", "false", *KINDS})
SILENT_MS_MAX: Final = 8 * 24 * 3_600_000


class Player:
    """Plays.

    Args:
        name: Of the rules that are asked about.
        since_ms: From when on near misses count.
        blind: Spans in the order of their begin.
    """

    def __init__(
        self, core: Core, name: str, wanted: Callable[[Key], bool], since_ms: int, blind: Sequence[Blind]
    ) -> None:
        self.core = core
        self.tapes = [Tape(seat, wanted, since_ms) for seat in core.seats() if seat.name == name]
        self._blind = list(reversed(blind))
        self._blind_to_ms = -1

    def begin(self, start_ms: int) -> None:
        """Time begins."""
        self.core.advance(start_ms)

    def play(self, events: Iterable[Event], end_ms: int) -> None:
        """Take events, none older than those before, and let time pass until just before `end_ms`."""
        for time_ms, atoms in groupby(events, key=lambda event: event.time_ms):
            self._pass(time_ms)
            self._feed(list(atoms), time_ms, ())
        self._pass(end_ms)

    def finish(self, at_ms: int) -> None:
        """Let time pass until an instant, inclusive."""
        self._pass(at_ms + 1)
        self._advance(at_ms)

    def silence(self) -> list[dict[Key, Change]]:
        """By rule, the first thing that happens to each alert if no sample comes any more. The core can't be played to
        after that."""
        now_ms = self.core.watermark_ms
        self.tapes = [tape.go_on() for tape in self.tapes]
        waiting = [tape.seen() for tape in self.tapes]  # of others nothing comes anyway
        for _ in range(SILENT_STEPS_MAX):
            due_ms = self.core.next_deadline()
            done = all(keys <= _outcomes(tape).keys() for tape, keys in zip(self.tapes, waiting, strict=True))
            if due_ms is None or due_ms > now_ms + SILENT_MS_MAX or done:
                break
            self._advance(max(due_ms, self.core.watermark_ms + 1))
        return [_outcomes(tape) for tape in self.tapes]

    # -- steps -------------------------------------------------------------------------------------------------

    def _pass(self, before_ms: int) -> None:
        """Let time pass until just before an instant, and take the blind spans that begin until then."""
        while self._blind and self._blind[-1].from_ms <= before_ms:
            span = self._blind.pop()
            self._step_through(span.from_ms)
            self._feed([span], span.from_ms, (span,))
            if span.scope == "*":
                self._blind_to_ms = max(self._blind_to_ms, span.to_ms)
        self._step_through(before_ms)

    def _step_through(self, before_ms: int) -> None:
        for due_ms in self._deadlines(before_ms):
            self._advance(due_ms)

    def _deadlines(self, before_ms: int) -> Iterator[int]:
        """The instants strictly before a time at which the core has something to do; none of a blind span."""
        while (due_ms := self.core.next_deadline()) is not None and due_ms < before_ms:
            at_ms = max(due_ms, self.core.watermark_ms + 1, self._blind_to_ms)
            if at_ms >= before_ms:
                return
            yield at_ms

    def _advance(self, at_ms: int) -> None:
        self._note(self.core.advance(at_ms), at_ms, ())

    def _feed(self, events: Sequence[Event], at_ms: int, blind: Sequence[Blind]) -> None:
        self._note(self.core.feed(events), at_ms, blind)

    def _note(self, told: list[Transition], at_ms: int, blind: Sequence[Blind]) -> None:
        # What comes in a blind span is judged when that is over.
        seen_ms = max(at_ms, self.core.watermark_ms, 0 if blind else self._blind_to_ms)
        for tape in self.tapes:
            tape.look(seen_ms, told, blind)


def _outcomes(tape: Tape) -> dict[Key, Change]:
    """The first thing of each alert on a tape that is news to people."""
    found: dict[Key, Change] = {}
    for key, changes in tape.changes.items():
        news = next((change for change in changes if change.what in _NEWS), None)
        if news is not None:
            found[key] = news
    return found
