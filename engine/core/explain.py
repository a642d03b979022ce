"""Why alerts are what they are, as values: clocks, conditions, inputs, and what happens next if nothing changes.

A reader of a core at rest, be it one that replays a history or a running one. It must never change what it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from engine.core.alert_rows import OFF
from engine.core.alerts import STATES, Code, Phase
from engine.core.forecast import Next, forecast
from engine.core.seats import Clocks, Input, Key, Seat
from engine.core.store import NEVER_MS
from engine.events import AlertState, Facts

__all__ = ["AlertView", "LevelView", "Truth", "describe"]

INPUTS_MAX: Final = 20
Truth: TypeAlias = Literal["true", "false", "ended", "unknown"]


class LevelView(msgspec.Struct, frozen=True, kw_only=True):
    """A level of an alert.

    Args:
        when: What must hold of the value; empty where the expression needs no more than a value.
        clear: What resets it; empty for that `when` does not hold.
        holds: Whether `when` held when that was last known.
        is_set: Whether it is reached.
        elapsed_ms: For how long it has held, in known time; under `of`, for how much of the last `for_ms`.
        need_ms: For how much of that it must hold.
    """

    severity: str
    when: str
    clear: str
    for_ms: int
    need_ms: int
    holds: bool
    is_set: bool
    elapsed_ms: int


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """A label set of a rule at an instant. Times are 0 where there is none.

    Args:
        condition: What the rule says of it.
        value: What is measured, without the comparison; NaN where nothing is known.
        keeping: The condition has ended, and `keep_firing_for` runs.
        kept_ms: For how long.
        unknown_ms: Since when nothing is known, blind spans since then left out.
        paused_ms: Since when the clocks stand, likewise.
        lost_ms: How much pauses and blind spans have taken out of the clocks.
        facts: What was measured since `active_since_ms`, of one that fires.
        next: What happens if the condition stays as it is.
        inputs: The series that speak for it.
    """

    labels: dict[str, str]
    state: AlertState
    condition: Truth
    value: float
    levels: tuple[LevelView, ...]
    severity: str = ""
    active_since_ms: int = 0
    fired_ms: int = 0
    keeping: bool = False
    kept_ms: int = 0
    unknown_ms: int = 0
    paused_ms: int = 0
    lost_ms: int = 0
    facts: Facts | None = None
    next: Next | None = None
    inputs: tuple[Input, ...] = ()

    @property
    def key(self) -> Key:
        """Its labels, in their order."""
        return tuple(sorted(self.labels.items()))


def describe(
    seat: Seat, at_ms: int, wanted: Callable[[Key], bool] = lambda _key: True, *, inputs_of: int = 100
) -> list[AlertView]:
    """Every label set of a rule that is wanted: firing ones first, then pending ones, then the others by their labels.

    Args:
        at_ms: Not before the core's last step.
        inputs_of: Of how many of them to look up the inputs.
    """
    clocks, standing = seat.clocks(at_ms), seat.standing(at_ms)
    pairs = zip(standing.values.tolist(), standing.codes.tolist(), strict=True)
    measured = {standing.key(row): pair for row, pair in enumerate(pairs)}
    keys = {row: seat.key_of(row) for row in clocks.rows.tolist()}
    nothing = math.nan, int(Code.UNKNOWN if seat.group is None else Code.FALSE)
    own = {row: measured.pop(key, nothing) for row, key in keys.items()}
    nexts = forecast(seat, {row: code for row, (_, code) in own.items()})
    facts = seat.book.gauge.facts(clocks.rows, np.full(len(clocks.rows), at_ms)) if len(clocks.rows) else []
    made = [
        _alert(seat, clocks, column, keys[row], *own[row], facts[column], nexts.get(row), at_ms)
        for column, row in enumerate(clocks.rows.tolist())
        if wanted(keys[row])
    ]
    made += [_idle(seat, key, value, code) for key, (value, code) in measured.items() if wanted(key)]
    order = {"firing": 0, "pending": 1, "inactive": 2}
    made.sort(key=lambda one: (order[one.state], one.active_since_ms, one.key))
    looked = [
        msgspec.structs.replace(one, inputs=tuple(seat.inputs(one.key, at_ms, INPUTS_MAX))) for one in made[:inputs_of]
    ]
    return looked + made[inputs_of:]


def _alert(
    seat: Seat,
    clocks: Clocks,
    column: int,
    key: Key,
    value: float,
    code: int,
    facts: Facts,
    following: Next | None,
    at_ms: int,
) -> AlertView:
    phase, level = Phase(int(clocks.phase[column])), int(clocks.level[column])
    lost, paused = int(clocks.lost[column]), int(clocks.paused[column])
    known = min(paused, at_ms) - lost
    unknown = int(clocks.unknown[column])
    keep = int(clocks.keep[column])
    truth: Truth = "unknown" if unknown != NEVER_MS else _truth(code)
    return AlertView(
        labels=dict(key),
        state=STATES[phase],
        condition=truth,
        value=value,
        levels=tuple(_levels(seat, clocks, column, known)),
        severity=seat.levels[level].severity if phase >= Phase.FIRING and level >= 0 else "",
        active_since_ms=int(clocks.active[column]) if phase is not Phase.INACTIVE else 0,
        fired_ms=int(clocks.fired[column]),
        keeping=phase is Phase.KEEPING,
        kept_ms=known - keep if phase is Phase.KEEPING and keep != OFF else 0,
        unknown_ms=0 if unknown == NEVER_MS else unknown,
        paused_ms=0 if paused == NEVER_MS else paused,
        lost_ms=lost + (at_ms - min(paused, at_ms)),
        facts=facts if phase >= Phase.FIRING else None,
        next=following,
    )


def _levels(seat: Seat, clocks: Clocks, column: int, known: int) -> Iterable[LevelView]:
    of = seat.book.rules[seat.number].of
    for number in range(len(seat.levels)):
        since = int(clocks.run[number, column])
        elapsed = int(clocks.held[number, column]) if seat.window else 0 if since == OFF else known - since
        yield _level(
            seat,
            number,
            of,
            holds=bool(clocks.on[number, column]),
            is_set=bool(int(clocks.set[column]) >> number & 1),
            elapsed_ms=elapsed,
        )


def _level(seat: Seat, number: int, of: float, *, holds: bool, is_set: bool, elapsed_ms: int) -> LevelView:
    level, when = seat.levels[number], seat.conditions[number]
    return LevelView(
        severity=level.severity,
        when="" if when is None else str(when),
        clear="" if level.clear is None else str(level.clear),
        for_ms=level.for_ms,
        need_ms=max(1, math.ceil(of * level.for_ms)) if of < 1 else level.for_ms,
        holds=holds,
        is_set=is_set,
        elapsed_ms=elapsed_ms,
    )


def _idle(seat: Seat, key: Key, value: float, code: int) -> AlertView:
    of = seat.book.rules[seat.number].of
    levels = [
        _level(seat, number, of, holds=code > 0 and bool(code >> number & 1), is_set=False, elapsed_ms=0)
        for number in range(len(seat.levels))
    ]
    return AlertView(
        labels=dict(key),
        state="inactive",
        condition=_truth(code),
        value=value,
        levels=tuple(levels),
    )


def _truth(code: int) -> Truth:
    if code > 0 and code & Code.WHENS:
        return "true"
    return "ended" if code == Code.ENDED else "unknown" if code in (Code.UNKNOWN, Code.MISSING) else "false"
