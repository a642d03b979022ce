"""The life of an alert, as one table.

Laws:

1. An alert is one rule for one label set. It begins when the condition of one of its levels turns true, or when data
   has been missing for `missing_for` under `on_missing = "fire"`; nothing else begins one.
2. A level runs while its `when` is true, and is set once it has run for its `for`; one `false` in between ends the
   run. A set level is a latch: `clear` resets it, and without `clear` a `when` that is false. `clear` never touches a
   run. While a higher level is set, each lower one whose `clear` is not true counts as set.
3. An alert is `pending` while some level runs and none is set, `firing` while one is set. When the last one is reset
   it is `keeping`: people still see it firing while a clock of `keep_firing_for` runs. A condition that returns
   meanwhile makes it firing again: it need not serve `for` twice.
4. `unknown` changes no state. Under `hold` it stops every clock until something is known again; under `count` the
   clocks run on. When it has lasted for `hold_max`, the alert ends as lost, which is not a resolve.
5. `missing` (unknown under `reset`) and `ended` act as `false` does; they differ in the reason that people are given.
6. Zero durations need no row of their own: a clock of length 0 has come in the same step, and two steps at one
   instant are one transition.
7. A pair that the table does not have is a bug, and raises.

`active_since_ms` never moves: it is what people see. Clocks of one alert stand and run together, so it has one axis of
known time: what has passed less what was lost in pauses. A clock is the place on that axis where it began.
"""

from __future__ import annotations

import enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import StateError
from engine.events import AlertState

__all__ = ["LEVELS_MAX", "TABLE", "Code", "Given", "Phase", "next_phases", "table_as_mermaid"]

LEVELS_MAX: Final = 7


class Phase(enum.IntEnum):
    """Where an alert is. `KEEPING` is shown as firing; an `INACTIVE` one exists only while its data is missing."""

    INACTIVE = 0
    PENDING = 1
    FIRING = 2
    KEEPING = 3

    @property
    def state(self) -> AlertState:
        """The word people see."""
        return STATES[self]


STATES: Final[tuple[AlertState, ...]] = ("inactive", "pending", "firing", "firing")
"""By phase, the word people see."""


class Given(enum.IntEnum):
    """What can happen to an alert."""

    IDLE = 0
    """No level runs or is set: the condition is false, or has ended."""
    RUNNING = 1
    """A level runs, none is set."""
    HELD = 2
    """A level is set."""
    UNKNOWN = 3
    KEPT = 4
    """`keep_firing_for` is over."""
    LOST = 5


class Code:
    """What a condition is at an instant, as one int16.

    Of a known condition: for level i the bit `1 << i` if its `when` is true, and `CLEAR << i` if its `clear` is. A
    level that a rule does not have is clear. Negative codes say why nothing is known.
    """

    CLEAR: Final = 1 << 8
    WHENS: Final = (1 << LEVELS_MAX) - 1
    FALSE: Final = WHENS << 8
    TRUE: Final = FALSE - CLEAR + 1
    """The one level of a rule without levels holds."""
    UNKNOWN: Final = -1
    MISSING: Final = -2
    ENDED: Final = -3
    REFUSED: Final = -4
    """True, but there were too many alerts: whatever comes next is a change."""


_UNDEFINED: Final = -1
TABLE: Final[dict[tuple[Phase, Given], Phase]] = {
    (Phase.INACTIVE, Given.IDLE): Phase.INACTIVE,
    (Phase.INACTIVE, Given.RUNNING): Phase.PENDING,
    (Phase.INACTIVE, Given.HELD): Phase.FIRING,
    (Phase.INACTIVE, Given.UNKNOWN): Phase.INACTIVE,
    (Phase.INACTIVE, Given.LOST): Phase.INACTIVE,
    (Phase.PENDING, Given.IDLE): Phase.INACTIVE,
    (Phase.PENDING, Given.RUNNING): Phase.PENDING,
    (Phase.PENDING, Given.HELD): Phase.FIRING,
    (Phase.PENDING, Given.UNKNOWN): Phase.PENDING,
    (Phase.PENDING, Given.LOST): Phase.INACTIVE,
    (Phase.FIRING, Given.IDLE): Phase.KEEPING,
    (Phase.FIRING, Given.HELD): Phase.FIRING,
    (Phase.FIRING, Given.UNKNOWN): Phase.FIRING,
    (Phase.FIRING, Given.LOST): Phase.INACTIVE,
    (Phase.KEEPING, Given.IDLE): Phase.KEEPING,
    (Phase.KEEPING, Given.HELD): Phase.FIRING,
    (Phase.KEEPING, Given.UNKNOWN): Phase.KEEPING,
    (Phase.KEEPING, Given.KEPT): Phase.INACTIVE,
    (Phase.KEEPING, Given.LOST): Phase.INACTIVE,
}
_AFTER: Final = np.full((len(Phase), len(Given)), _UNDEFINED, dtype=np.int8)
for (_phase, _given), _after in TABLE.items():
    _AFTER[_phase, _given] = _after


def next_phases(phases: NDArray[np.int8], given: NDArray[np.int8]) -> NDArray[np.int8]:
    """One step of the table for each alert.

    Raises:
        StateError: The table has no such step.
    """
    after: NDArray[np.int8] = _AFTER[phases, given]
    if len(after) and after.min() < 0:
        bad = int(np.argmin(after))
        phase, what = Phase(int(phases[bad])), Given(int(given[bad]))
        raise StateError(f"an alert that is {phase.name} can't be given {what.name}")
    return after


def table_as_mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation. Steps that change nothing are left out."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for (phase, given), after in TABLE.items():
        if phase is not after:
            arrows.setdefault((phase, after), []).append(given.name.lower())
    lines = ["stateDiagram-v2", "    [*] --> inactive"]
    lines += [
        f"    {before.name.lower()} --> {after.name.lower()}: {', '.join(given)}"
        for (before, after), given in arrows.items()
    ]
    return "\n".join(lines)
