"""The life of an alert, as one table.

Laws:

1. An alert is one rule for one label set. It is created by `true` and only by `true`.
2. `pending` lasts until its clock has run for `for`; one `false` in between breaks it without a trace.
3. `firing` lasts until the condition ends; then `keeping` (people still see it firing) runs a clock of
   `keep_firing_for`. A condition that returns meanwhile makes it firing again: it need not serve `for` twice.
4. `unknown` changes no state. It stops whatever clock runs, until something is known again, or until
   it has been unknown for `hold_max`: then the alert ends as lost, which is not a resolve.
5. `missing` and `ended` act as `false` does; they differ in the reason that people are given.
6. Zero durations need no row of their own: a clock of length 0 is due in the same step, and two
   steps at one instant are one transition.
7. A pair that the table does not have is a bug, and raises.

`active_since_ms` never moves: it is what people see. Clocks are (since, paused, paused at), and
elapsed = now - since - paused.
"""

from __future__ import annotations

import enum

import msgspec

from engine.errors import StateError
from engine.events import AlertState

__all__ = ["TABLE", "Action", "Alert", "Clock", "Input", "Phase", "table_as_mermaid"]


class Phase(enum.IntEnum):
    """Where an alert is. `KEEPING` is shown as firing."""

    INACTIVE = 0
    PENDING = 1
    FIRING = 2
    KEEPING = 3

    @property
    def state(self) -> AlertState:
        """The word people see."""
        return _STATES[self]


_STATES: dict[Phase, AlertState] = {
    Phase.INACTIVE: "inactive",
    Phase.PENDING: "pending",
    Phase.FIRING: "firing",
    Phase.KEEPING: "firing",
}


class Input(enum.Enum):
    """What can happen to an alert."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"
    MISSING = "missing"
    ENDED = "ended"
    DUE = "due"
    LOST = "lost"


class Action(enum.Enum):
    """What a step does to the clock."""

    NOTHING = "nothing"
    START = "start the clock"
    RESUME = "resume the clock"
    PAUSE = "pause the clock"
    STOP = "stop the clock"


TABLE: dict[tuple[Phase, Input], tuple[Phase, Action]] = {
    (Phase.INACTIVE, Input.TRUE): (Phase.PENDING, Action.START),
    (Phase.INACTIVE, Input.FALSE): (Phase.INACTIVE, Action.NOTHING),
    (Phase.INACTIVE, Input.UNKNOWN): (Phase.INACTIVE, Action.NOTHING),
    (Phase.INACTIVE, Input.MISSING): (Phase.INACTIVE, Action.NOTHING),
    (Phase.INACTIVE, Input.ENDED): (Phase.INACTIVE, Action.NOTHING),
    (Phase.PENDING, Input.TRUE): (Phase.PENDING, Action.RESUME),
    (Phase.PENDING, Input.FALSE): (Phase.INACTIVE, Action.STOP),
    (Phase.PENDING, Input.UNKNOWN): (Phase.PENDING, Action.PAUSE),
    (Phase.PENDING, Input.MISSING): (Phase.INACTIVE, Action.STOP),
    (Phase.PENDING, Input.ENDED): (Phase.INACTIVE, Action.STOP),
    (Phase.PENDING, Input.DUE): (Phase.FIRING, Action.STOP),
    (Phase.PENDING, Input.LOST): (Phase.INACTIVE, Action.STOP),
    (Phase.FIRING, Input.TRUE): (Phase.FIRING, Action.RESUME),
    (Phase.FIRING, Input.FALSE): (Phase.KEEPING, Action.START),
    (Phase.FIRING, Input.UNKNOWN): (Phase.FIRING, Action.PAUSE),
    (Phase.FIRING, Input.MISSING): (Phase.KEEPING, Action.START),
    (Phase.FIRING, Input.ENDED): (Phase.KEEPING, Action.START),
    (Phase.FIRING, Input.LOST): (Phase.INACTIVE, Action.STOP),
    (Phase.KEEPING, Input.TRUE): (Phase.FIRING, Action.STOP),
    (Phase.KEEPING, Input.FALSE): (Phase.KEEPING, Action.RESUME),
    (Phase.KEEPING, Input.UNKNOWN): (Phase.KEEPING, Action.PAUSE),
    (Phase.KEEPING, Input.MISSING): (Phase.KEEPING, Action.RESUME),
    (Phase.KEEPING, Input.ENDED): (Phase.KEEPING, Action.RESUME),
    (Phase.KEEPING, Input.DUE): (Phase.INACTIVE, Action.STOP),
    (Phase.KEEPING, Input.LOST): (Phase.INACTIVE, Action.STOP),
}


class Clock(msgspec.Struct):
    """A stop-watch in event time. All in milliseconds; `paused_at` is None while it runs."""

    since: int
    paused: int = 0
    paused_at: int | None = None

    def elapsed(self, now_ms: int) -> int:
        """How long it has run, at `now_ms`."""
        return (now_ms if self.paused_at is None else self.paused_at) - self.since - self.paused

    def reaches(self, length_ms: int) -> int | None:
        """When it will have run for `length_ms`, or None while it stands."""
        return None if self.paused_at is not None else self.since + self.paused + length_ms


class Alert(msgspec.Struct):
    """One alert that is not inactive.

    Args:
        labels: Its identity, rule labels and `alertname` included.
        active_since_ms: When the condition turned true.
        fed: Which selectors fed it when it was last true, as bits.
        clock: The clock that runs in this phase; None while firing with nothing unknown.
        fired_ms: When it began to fire; 0 before.
        unknown_since_ms: Since when the condition is unknown, or None.
        stepped_ms: Time of the last step; time never goes back.
        end_reason: Why the condition ended, while keeping.
        version: Counts the changes, so that a timer knows whether it still means this alert.
    """

    labels: dict[str, str]
    active_since_ms: int
    phase: Phase = Phase.INACTIVE
    fed: int = 0
    clock: Clock | None = None
    fired_ms: int = 0
    unknown_since_ms: int | None = None
    stepped_ms: int = 0
    end_reason: str = ""
    version: int = 0

    def step(self, given: Input, now_ms: int) -> bool:
        """Take one step of the table at `now_ms`; return whether anything about the alert changed.

        Raises:
            StateError: The table has no such step.
        """
        try:
            after, action = TABLE[self.phase, given]
        except KeyError:
            raise StateError(f"an alert that is {self.phase.name} can't be given {given.name}") from None
        self.stepped_ms = now_ms
        if after is self.phase and (given is Input.UNKNOWN) == (self.unknown_since_ms is not None):
            return False
        self.phase = after
        self.version += 1
        self._act(action, now_ms)
        if given is Input.UNKNOWN:
            self.unknown_since_ms = now_ms
        else:
            self.unknown_since_ms = None
            if given is Input.DUE and after is Phase.FIRING:
                self.fired_ms = now_ms
        return True

    def _act(self, action: Action, now_ms: int) -> None:
        clock = self.clock
        if action is Action.START:
            self.clock = Clock(now_ms)
        elif action is Action.STOP:
            self.clock = None
        elif clock is not None and action is Action.PAUSE and clock.paused_at is None:
            clock.paused_at = now_ms
        elif clock is not None and action is Action.RESUME and clock.paused_at is not None:
            clock.paused += now_ms - clock.paused_at
            clock.paused_at = None

    def skip(self, from_ms: int, to_ms: int) -> None:
        """Take a span in which nobody could see out of whatever runs: the clock, or the time it has been unknown."""
        clock = self.clock
        if self.unknown_since_ms is not None:
            self.unknown_since_ms += max(0, to_ms - max(from_ms, self.unknown_since_ms))
            if clock is not None and clock.paused_at is not None:  # it may have been unknown only for want of sight
                clock.paused_at = max(clock.since, min(clock.paused_at, from_ms))
        elif clock is not None:
            clock.paused += max(0, to_ms - max(from_ms, clock.since))
        self.version += 1

    def next_input(self, for_ms: int, keep_firing_for_ms: int, hold_max_ms: int) -> tuple[int, Input] | None:
        """What time alone will do to this alert, and when; None if nothing."""
        if self.unknown_since_ms is not None:
            return self.unknown_since_ms + hold_max_ms, Input.LOST
        if self.clock is None:
            return None
        due = self.clock.reaches(for_ms if self.phase is Phase.PENDING else keep_firing_for_ms)
        return None if due is None else (due, Input.DUE)


def table_as_mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation. Steps that change nothing are left out."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, given), (after, _) in TABLE.items():
        if phase is not after:
            arrows.setdefault((phase, after), []).append(given.value)
    lines = ["stateDiagram-v2", "    [*] --> inactive"]
    lines += [
        f"    {before.name.lower()} --> {after.name.lower()}: {', '.join(given)}"
        for (before, after), given in arrows.items()
    ]
    return "\n".join(lines)
