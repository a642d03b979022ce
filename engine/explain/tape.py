"""What happened to the alerts of one rule, written down: which samples started, broke, paused or ended a clock.

It looks at the core between two steps and notes what is different; it knows nothing of how that came about.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import OFF
from engine.core.alerts import Phase
from engine.core.seats import Clocks, Key, Seat, Standing
from engine.core.store import NEVER_MS
from engine.events import Blind, Transition
from engine.explain.nearest import Nearest

__all__ = ["KINDS", "Change", "Miss", "Tape"]

CHANGES_MAX: Final = 200
"""Of one alert; older ones are forgotten and counted."""
ALERTS_MAX: Final = 2_000
STALE_MAX: Final = 3
KINDS: Final = ("pending", "firing", "resolved", "cleared", "lost")
"""Of transitions."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to an alert.

    Args:
        what: `true` and `false`: its condition, or that of a level, turned so. `unknown`, `known`: its data went
            missing, came back. `blind`: nobody could see. `reached`, `left`: a level. `keeping`: `keep_firing_for`
            runs. Or the kind of a transition: `pending`, `firing`, `resolved`, `cleared`, `lost`.
        severity: Of the level.
        value: What was measured.
        elapsed_ms: How long a clock had run that ends here, or how long was not seen.
        series: Those whose data went missing.
        reason: Of a transition, or of a blind span.
    """

    time_ms: int
    what: str
    severity: str = ""
    value: float = math.nan
    elapsed_ms: int = 0
    series: tuple[str, ...] = ()
    reason: str = ""


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a level was true, but not for long enough.

    Args:
        elapsed_ms: How long, in known time; under `of`, for how much of its window.
        need_ms: How long it would have had to be.
        value: What was measured when it ended.
    """

    from_ms: int
    to_ms: int
    elapsed_ms: int
    need_ms: int
    severity: str = ""
    value: float = math.nan


class _State(NamedTuple):
    """One alert at one look."""

    phase: int
    set: int
    run: tuple[int, ...]
    on: tuple[bool, ...]
    held: tuple[int, ...]
    lost: int
    paused: int
    unknown: int

    def elapsed(self, level: int, at_ms: int, window: bool) -> int:
        if window:
            return self.held[level]
        return min(self.paused, at_ms) - self.lost - self.run[level] if self.run[level] != OFF else 0


_ABSENT = _State(Phase.INACTIVE, 0, (), (), (), 0, NEVER_MS, NEVER_MS)


class Tape:
    """Notes what happens to the alerts of one rule.

    Args:
        wanted: Of which alerts.
        since_ms: From when on near misses count.
    """

    def __init__(self, seat: Seat, wanted: Callable[[Key], bool], since_ms: int) -> None:
        self.seat = seat
        self.changes: dict[Key, deque[Change]] = {}
        self.forgotten: dict[Key, int] = {}
        self.misses: dict[Key, Miss] = {}
        self.nearest = Nearest(seat.conditions[0])
        self.alerts_left_out = 0
        self.wanted = wanted
        self._since_ms = since_ms
        self._began: dict[tuple[Key, int], int] = {}
        self._unknown_ms: dict[Key, int] = {}
        self._states: dict[Key, _State] = {}
        self._signature: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
        of = seat.book.rules[seat.number].of
        self._needs = [max(1, math.ceil(of * level.for_ms)) if of < 1 else level.for_ms for level in seat.levels]

    def go_on(self) -> Tape:
        """A tape that begins where this one ends, with nothing on it."""
        other = Tape(self.seat, self.wanted, self._since_ms)
        other._states, other._signature = dict(self._states), self._signature
        return other

    def seen(self) -> set[Key]:
        """The alerts whose data is there."""
        return {key for key, state in self._states.items() if state.unknown == NEVER_MS}

    def look(self, at_ms: int, told: Sequence[Transition] = (), blind: Sequence[Blind] = ()) -> None:
        """Look at the core after a step.

        Args:
            told: The transitions that the step made.
            blind: The spans that it was told of.
        """
        seat = self.seat
        group = seat.group
        judged = group is None or (at_ms - group.phase_ms) % group.interval_ms == 0
        standing: Standing | None = None
        if judged and at_ms >= self._since_ms:
            standing = seat.standing(at_ms)
            self.nearest.note(standing, at_ms)
        clocks = seat.clocks(at_ms)
        signature = _signature(clocks)
        mine = [one for one in told if one.rule == seat.name]
        if not mine and signature.shape == self._signature.shape and np.array_equal(signature, self._signature):
            return
        self._signature = signature
        values = _values(standing if standing is not None else seat.standing(at_ms))
        states = {
            key: _state(clocks, column)
            for column, row in enumerate(clocks.rows.tolist())
            if self.wanted(key := seat.key_of(row))
        }
        tellings: dict[Key, list[Transition]] = {}
        for one in mine:
            tellings.setdefault(tuple(sorted(one.labels.items())), []).append(one)
        for key in {**self._states, **states, **tellings}:
            before, after = self._states.get(key, _ABSENT), states.get(key, _ABSENT)
            transitions = tellings.get(key, [])
            if self.wanted(key) and (before != after or transitions):
                value = values.get(key, math.nan)
                self._add(key, self._changes(key, before, after, at_ms, value, blind))
                self._add(key, map(_told, transitions))
        self._states = states

    # -- differences -------------------------------------------------------------------------------------------

    def _changes(
        self, key: Key, before: _State, after: _State, at_ms: int, value: float, blind: Sequence[Blind]
    ) -> Iterator[Change]:
        if blind and (took := after.lost - before.lost) > 0 and before is not _ABSENT and after is not _ABSENT:
            reasons = ", ".join(sorted({span.reason or "blind" for span in blind}))
            yield Change(time_ms=at_ms, what="blind", elapsed_ms=took, reason=reasons)
        if before.unknown != NEVER_MS and after.unknown == NEVER_MS and after is not _ABSENT:
            since_ms = self._unknown_ms.get(key, at_ms)
            yield Change(time_ms=at_ms, what="known", value=value, elapsed_ms=at_ms - since_ms)
        for number, level in enumerate(self.seat.levels):
            was, now = _at(before.on, number), _at(after.on, number)
            if now and not was:
                self._began[key, number] = at_ms
                yield Change(time_ms=at_ms, what="true", severity=level.severity, value=value)
            was_set, is_set = bool(before.set >> number & 1), bool(after.set >> number & 1)
            if is_set and not was_set:
                yield Change(time_ms=at_ms, what="reached", severity=level.severity, value=value)
            if was and not now:
                source = after if self.seat.window and after.held else before
                elapsed = source.elapsed(number, at_ms, self.seat.window)
                yield Change(
                    time_ms=at_ms, what="false", severity=level.severity, value=value, elapsed_ms=max(0, elapsed)
                )
                if not was_set:
                    self._miss(key, number, at_ms, elapsed, value)
            if was_set and not is_set:
                yield Change(time_ms=at_ms, what="left", severity=level.severity, value=value)
        if after.unknown != NEVER_MS and before.unknown == NEVER_MS:
            inputs = self.seat.inputs(key, at_ms, STALE_MAX)
            series = tuple(one.series for one in inputs if one.state != "fresh")
            self._unknown_ms[key] = at_ms
            yield Change(time_ms=at_ms, what="unknown", series=series)
        if after.phase == Phase.KEEPING and before.phase != Phase.KEEPING:
            yield Change(time_ms=at_ms, what="keeping")

    def _miss(self, key: Key, number: int, at_ms: int, elapsed: int, value: float) -> None:
        need, from_ms = self._needs[number], self._began.pop((key, number), at_ms)
        known = self.misses.get(key)
        if at_ms < self._since_ms or elapsed > need or elapsed <= 0:
            return
        if known is None or elapsed * known.need_ms > known.elapsed_ms * need:
            self.misses[key] = Miss(
                from_ms=from_ms,
                to_ms=at_ms,
                elapsed_ms=elapsed,
                need_ms=need,
                severity=self.seat.levels[number].severity,
                value=value,
            )

    def _add(self, key: Key, changes: Iterator[Change] | map[Change]) -> None:
        for change in changes:
            if key not in self.changes and len(self.changes) >= ALERTS_MAX:
                self.alerts_left_out += 1
                return
            mine = self.changes.setdefault(key, deque(maxlen=CHANGES_MAX))
            if len(mine) == CHANGES_MAX:
                self.forgotten[key] = self.forgotten.get(key, 0) + 1
            mine.append(change)


def _told(transition: Transition) -> Change:
    return Change(
        time_ms=transition.time_ms,
        what=transition.kind,
        severity=transition.severity,
        value=transition.value,
        reason=transition.reason,
    )


def _at(flags: Sequence[bool], number: int) -> bool:
    return number < len(flags) and flags[number]


def _state(clocks: Clocks, column: int) -> _State:
    return _State(
        int(clocks.phase[column]),
        int(clocks.set[column]),
        tuple(clocks.run[:, column].tolist()),
        tuple(clocks.on[:, column].tolist()),
        tuple(clocks.held[:, column].tolist()),
        int(clocks.lost[column]),
        int(clocks.paused[column]),
        int(clocks.unknown[column]),
    )


def _signature(clocks: Clocks) -> NDArray[np.int64]:
    rows = (
        clocks.rows,
        clocks.phase,
        clocks.level,
        clocks.set,
        clocks.lost,
        clocks.paused,
        clocks.unknown,
        clocks.active,
    )
    return np.vstack([*rows, clocks.run, clocks.on])


def _values(standing: Standing) -> dict[Key, float]:
    return {standing.key(row): value for row, value in enumerate(standing.values.tolist())}
