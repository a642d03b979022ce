"""The alerts of one rule, by slot: what they are told, what time does to them, and what comes out of it.

The book knows nothing of expressions or series. Whoever judges the rule tells it what a condition is; it takes the
steps of the table, sets the timers, and turns changes of state into transitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.core.alerts import Alert, Input, Phase
from engine.core.store import NEVER_MS
from engine.core.timers import Deadline, Timers
from engine.events import Transition
from engine.status import AlertStatus

__all__ = ["AlertBook", "Alerting", "Output"]

_END_REASONS = {Input.FALSE: "recovered", Input.MISSING: "missing", Input.ENDED: "ended"}


class Alerting(Protocol):
    """What the book needs to know of a rule."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def for_ms(self) -> int:
        """How long a condition must hold before it fires."""

    @property
    def keep_firing_for_ms(self) -> int:
        """How long it goes on firing afterwards."""

    @property
    def hold_max_ms(self) -> int:
        """How long an unknown condition is held."""

    def alert_labels(self, series_labels: Mapping[str, str]) -> dict[str, str]:
        """The labels of the alert for one label set of the result."""

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        """The annotations for one alert."""


class Output(NamedTuple):
    """A transition with what it is ordered by: time, place of the rule, labels."""

    time_ms: int
    rule: int
    labels: tuple[tuple[str, str], ...]
    transition: Transition

    @property
    def order(self) -> tuple[int, int, tuple[tuple[str, str], ...]]:
        """The sort key."""
        return self[:3]


class AlertBook:
    """The alerts of one rule.

    Args:
        index: The rule's place in the order of rules.
        alerts_max: How many alerts it may have; more are counted in `refused` and never made.
    """

    def __init__(self, index: int, rule: Alerting, timers: Timers, alerts_max: int) -> None:
        self.index = index
        self.rule = rule
        self.alerts: dict[int, Alert] = {}
        self.alerts_max = alerts_max
        self.refused = 0
        self.due_ms = NEVER_MS
        """No clock of an alert comes earlier than this."""
        self._timers = timers
        self._lengths = rule.for_ms, rule.keep_firing_for_ms, rule.hold_max_ms

    @property
    def full(self) -> bool:
        """Whether a further alert would be refused."""
        return len(self.alerts) >= self.alerts_max

    def open(self, slot: int, series_labels: Mapping[str, str], time_ms: int) -> Alert | None:
        """Make the alert of a slot whose condition has turned true; None, and a count, if there are too many."""
        if self.full:
            self.refused += 1
            return None
        alert = self.alerts[slot] = Alert(self.rule.alert_labels(series_labels), time_ms)
        return alert

    def tell(self, slot: int, given: Input, time_ms: int, value: float) -> list[Output]:
        """Tell the alert of a slot what its condition is, not before it was told last."""
        alert = self.alerts[slot]
        if given in _END_REASONS and alert.phase is not Phase.KEEPING:
            alert.end_reason = _END_REASONS[given]
        return self._apply(slot, alert, given, max(time_ms, alert.stepped_ms), value)

    def pass_time(self, slot: int, time_ms: int, value: float) -> list[Output]:
        """Give an alert the input that time has for it at `time_ms`, if any."""
        due = self.next_input(slot)
        if due is None or due[0] > time_ms:
            return []
        return self._apply(slot, self.alerts[slot], due[1], time_ms, value)

    def next_input(self, slot: int) -> tuple[int, Input] | None:
        """What time alone will do to the alert of a slot, and when; None if nothing, or if there is no alert."""
        alert = self.alerts.get(slot)
        return alert.next_input(*self._lengths) if alert else None

    def still_due(self, deadlines: Iterable[Deadline]) -> list[int]:
        """Slots whose deadline still means their alert."""
        return [d.slot for d in deadlines if (alert := self.alerts.get(d.slot)) and alert.version == d.version]

    def due_before(self, time_ms: int) -> list[int]:
        """Slots with an alert whose clock comes strictly before `time_ms`."""
        due = {slot: at[0] for slot in self.alerts if (at := self.next_input(slot))}
        self.due_ms = min(due.values(), default=NEVER_MS)
        return [slot for slot, at_ms in due.items() if at_ms < time_ms]

    def blind(self, from_ms: int, to_ms: int) -> None:
        """Take a blind span out of every running clock, unless the clock had come before the span began."""
        for slot, alert in self.alerts.items():
            due = self.next_input(slot)
            if due is not None and due[0] > from_ms:
                alert.skip(from_ms, to_ms)
                self.arm(slot)

    def renumber(self, slots: NDArray[np.int64]) -> None:
        """Give the alerts other slots: new ones by old ones. Timers are not touched."""
        self.alerts = {int(slots[slot]): alert for slot, alert in self.alerts.items()}

    def arm(self, slot: int) -> None:
        """Set the timer of an alert."""
        due = self.next_input(slot)
        if due is not None:
            self._timers.add(due[0], Deadline(self.index, slot, self.alerts[slot].version))
            self.due_ms = min(self.due_ms, due[0])

    def status(self, slot: int, value: float, now_ms: int) -> AlertStatus:
        """An alert as people see it at `now_ms`."""
        alert = self.alerts[slot]
        due = self.next_input(slot)
        return AlertStatus(
            rule=self.rule.name,
            labels=alert.labels,
            state=alert.phase.state,
            active_since_ms=alert.active_since_ms,
            elapsed_ms=alert.clock.elapsed(now_ms) if alert.clock else now_ms - alert.fired_ms,
            for_ms=self.rule.for_ms,
            value=value,
            paused=alert.unknown_since_ms is not None,
            keeping=alert.phase is Phase.KEEPING,
            due_ms=due[0] if due and due[1] is Input.DUE else 0,
            annotations=self.rule.describe(alert.labels, value),
        )

    def _apply(self, slot: int, alert: Alert, given: Input, time_ms: int, value: float) -> list[Output]:
        """Step an alert, and on while its clock is due at once; return the one transition this makes, if any."""
        before, lost = alert.phase, given is Input.LOST
        if not alert.step(given, time_ms):
            return []
        while (due := alert.next_input(*self._lengths)) is not None and due[0] <= time_ms:
            lost = due[1] is Input.LOST
            alert.step(due[1], time_ms)
        self.arm(slot)
        if alert.phase is Phase.INACTIVE:
            del self.alerts[slot]
        if before.state == alert.phase.state:
            return []
        if alert.phase is Phase.INACTIVE:
            reason = "lost" if lost else alert.end_reason
        else:
            reason = "condition" if before is Phase.INACTIVE else "held"
        told = alert.phase is Phase.FIRING or before in (Phase.FIRING, Phase.KEEPING)
        transition = Transition(
            time_ms,
            self.rule.name,
            alert.labels,
            before.state,
            alert.phase.state,
            reason,
            value,
            alert.active_since_ms,
            self.rule.describe(alert.labels, value) if told else {},
            alert.fired_ms,
        )
        return [Output(time_ms, self.index, tuple(sorted(alert.labels.items())), transition)]
