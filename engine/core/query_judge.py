"""An alerting rule of any expression, in continuous mode: judged whole at every input that can change it.

Its chain (`engine.core.chains`) says when: at samples of what it reads, when inputs go stale, and where time alone
changes the expression. The judge turns each result into what the alerts are told, and knows their clocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.core.absence import Absence
from engine.core.alerts import Alert, Input
from engine.core.book import AlertBook, Output
from engine.core.expression import Expression
from engine.core.promql.labels import NAME
from engine.core.promql.vector import EvaluationError, Vector
from engine.core.rules import Rule
from engine.core.store import NEVER_MS
from engine.core.tally import Tally
from engine.core.timers import Deadline, Timers
from engine.status import AlertStatus

__all__ = ["QueryJudge"]

Labels = tuple[tuple[str, str], ...]


class QueryJudge:
    """The state of one rule of any expression.

    Args:
        index: The rule's place in the order of rules.
        expression: The rule's, at work.
        alerts_max: How many alerts it may have.
    """

    def __init__(
        self, index: int, rule: Rule, expression: Expression, timers: Timers, tally: Tally, *, alerts_max: int
    ) -> None:
        self.index = index
        self.rule = rule
        self.expression = expression
        self.book = AlertBook(index, rule, timers, alerts_max)
        self._tally = tally
        self._slots: dict[Labels, int] = {}
        self._series_labels: dict[int, dict[str, str]] = {}
        self._values: dict[int, float] = {}
        self._next_slot = 0

    @property
    def alerts(self) -> dict[int, Alert]:
        """Its alerts by slot, to be read."""
        return self.book.alerts

    def statuses(self, slots: Sequence[int], now_ms: int) -> list[AlertStatus]:
        """The alerts of these slots, as people see them at `now_ms`."""
        return [self.book.status(slot, self._values[slot], now_ms) for slot in slots]

    def witnesses(self, gone: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Of the series that are to go, those that its alerts need."""
        return self.expression.witnesses([self._series_labels[slot] for slot in self.alerts], gone)

    # -- clocks ------------------------------------------------------------------------------------------------

    def next_clock_ms(self) -> int:
        """When the next clock of an alert comes."""
        return min((at[0] for slot in self.alerts if (at := self.book.next_input(slot))), default=NEVER_MS)

    def pass_clocks(self, time_ms: int) -> Iterator[list[Output]]:
        """Step the alerts whose clock has come."""
        due = [slot for slot in self.alerts if (at := self.book.next_input(slot)) and at[0] <= time_ms]
        if due:
            yield [made for slot in due for made in self._pass_time(slot, time_ms)]

    def due(self, deadlines: list[Deadline], time_ms: int) -> Iterator[list[Output]]:
        """Step the alerts whose deadline this is."""
        for slot in self.book.still_due(deadlines):
            yield self._pass_time(slot, time_ms)

    def arm_clocks(self) -> None:
        """Set the timer of every alert anew."""
        for slot in self.alerts:
            self.book.arm(slot)

    # -- steps -------------------------------------------------------------------------------------------------

    def judge(self, time_ms: int) -> list[Output]:
        """Evaluate the expression at an instant, not before the last, and tell every alert what that means for it."""
        try:
            active = self._active(time_ms)
        except EvaluationError as error:  # the rule's own fault: nothing changes
            self._tally.breach(f"rule.{self.rule.name}", "evaluation_failed", 1, str(error))
            return []
        made: list[Output] = []
        told: set[int] = set()
        for labels, value in active.items():
            slot = self._slots.get(labels)
            if slot is None:
                slot = self._next_slot
                if self.book.open(slot, dict(labels), time_ms) is None:
                    continue
                self._slots[labels] = slot
                self._series_labels[slot] = dict(labels)
                self._next_slot += 1
            told.add(slot)
            self._values[slot] = value
            made += self.book.tell(slot, Input.TRUE, time_ms, value)
        absent = [slot for slot in self.alerts if slot not in told]
        if absent:
            absence = self.expression.absence(time_ms)
            for slot in absent:
                made += self.book.tell(slot, self._why_absent(slot, absence), time_ms, self._values[slot])
        self._tidy()
        return made

    def _active(self, time_ms: int) -> dict[Labels, float]:
        """The label sets of the result, without the metric name."""
        value = self.expression.value(time_ms)
        if not isinstance(value, Vector):
            raise EvaluationError("a rule's expression gives a vector")
        active: dict[Labels, float] = {}
        for sample_labels, number in value.items():
            labels = tuple((name, text) for name, text in sample_labels.items() if name != NAME)
            if labels in active:
                raise EvaluationError("two results have the same labels")
            active[labels] = number
        return active

    def _why_absent(self, slot: int, absence: Absence) -> Input:
        why = absence.of(self._series_labels[slot])
        return Input.MISSING if why is Input.UNKNOWN and self.rule.on_missing == "reset" else why

    def _pass_time(self, slot: int, time_ms: int) -> list[Output]:
        made = self.book.pass_time(slot, time_ms, self._values[slot])
        self._tidy()
        return made

    def _tidy(self) -> None:
        """Forget label sets without an alert."""
        if len(self._slots) == len(self.alerts):
            return
        for labels, slot in list(self._slots.items()):
            if slot not in self.alerts:
                del self._slots[labels], self._series_labels[slot], self._values[slot]
