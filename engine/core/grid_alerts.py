"""The alerts of a rule in grid mode: label sets of one result after the other, and what changes between them.

A result comes with the shape of the one before as long as the same series are there. Then only the rows that came
and went are turned into labels and told to the alerts, and only clocks that have come are looked at; what is
active and stays so costs nothing. Texts are rendered when somebody is told them, with the value the alert had then;
those that depend on more than labels and value are rendered at each evaluation, as Prometheus renders all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from engine.core.alerts import Alert, Input
from engine.core.book import AlertBook, Output
from engine.core.groups import GridRule
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.vector import EvaluationError, Floats, Vector
from engine.core.rules import HOLD_MAX_MS
from engine.core.timers import Timers
from engine.series import series_text
from engine.status import AlertStatus

__all__ = ["GridAlerts", "Render"]

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"
TIMERS_PER_ALERT_MAX = 4
TIMERS_SLACK = 1_000
Labels: TypeAlias = tuple[tuple[str, str], ...]
Render: TypeAlias = Callable[[Any, Mapping[str, str], float, int], str]
"""A template's text for a sample's labels and value at an instant."""


class _Texts:
    """What the alert book needs to know of a rule: durations, and the annotations of an alert when it is told."""

    def __init__(self, rule: GridRule, describe: Callable[[Labels, float], dict[str, str]]) -> None:
        self.name = rule.name
        self.for_ms = rule.for_ms
        self.keep_firing_for_ms = rule.keep_firing_for_ms
        self.hold_max_ms = HOLD_MAX_MS
        self._describe = describe

    def alert_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return dict(labels)

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        return self._describe(tuple(sorted(labels.items())), value)


class GridAlerts:
    """An alerting rule at work.

    Args:
        index: The rule's place in the order of all rules.
        render: Renders its templates.
    """

    def __init__(self, index: int, rule: GridRule, alerts_max: int, render: Render) -> None:
        self.index = index
        self.rule = rule
        # Of its own: time passes at instants only, so nobody else is to be woken.
        self._timers = Timers()
        self.book = AlertBook(index, _Texts(rule, self._describe), self._timers, alerts_max)
        self._render = render
        self._labels_vary = not all(_is_constant(template) for template in rule.labels.values())
        self._texts_vary = any(_depends_on_time(template) for template in rule.annotations.values())
        self._at_ms = 0
        # The last result: its shape, which rows were present, and their values in the order of rows.
        self._shape: Shape | None = None
        self._present = np.zeros(0, dtype=np.bool_)
        self._rows: Codes = np.zeros(0, dtype=np.int64)
        self._values: Floats = np.zeros(0)
        # What is active, by row and by the alert's labels.
        self._labels_of: dict[int, Labels] = {}
        self._row_of: dict[Labels, int] = {}
        # Of every alert, the ones that are no longer active and keep firing included.
        self._slots: dict[Labels, int] = {}
        self._next_slot = 0
        self._sample_labels: dict[Labels, dict[str, str]] = {}
        self._last_values: dict[Labels, float] = {}
        self._texts: dict[Labels, dict[str, str]] = {}
        self._refused: set[Labels] = set()

    @property
    def alerts(self) -> dict[int, Alert]:
        """Its alerts by slot, to be read."""
        return self.book.alerts

    def statuses(self, slots: Sequence[int], now_ms: int) -> list[AlertStatus]:
        """The alerts of these slots, as people see them at `now_ms`."""
        return [self.book.status(slot, self._value(self._labels(slot)), now_ms) for slot in slots]

    def evaluate(self, result: Vector, at_ms: int) -> list[Output]:
        """Tell the alerts whose label sets came or went, and let time pass.

        Raises:
            EvaluationError: Two label sets are the same with the rule's labels. Then nothing has changed.
        """
        rows = np.flatnonzero(result.present)
        if result.shape is self._shape and not self._labels_vary:
            came = np.flatnonzero(result.present & ~self._present).tolist()
            went = np.flatnonzero(self._present & ~result.present).tolist()
        else:
            came, went = rows.tolist(), list(self._labels_of)
        entered = {labels: row for row, labels in self._placed(result, came, went, at_ms)}
        left = {
            labels: self._value(labels) for labels in map(self._labels_of.__getitem__, went) if labels not in entered
        }

        self._at_ms = at_ms
        self._shape, self._present, self._rows, self._values = (
            result.shape,
            result.present.copy(),
            rows,
            result.values[rows],
        )
        newly = self._replace(result.shape, entered, went)
        if self._texts_vary:
            self._texts.update((labels, self._rendered(labels, self._value(labels))) for labels in self._row_of)
        made: list[Output] = []
        for labels in newly:
            made += self._turn_true(labels, at_ms)
        for labels, value in left.items():
            made += self._turn_false(labels, at_ms, value)
        made += self._pass_time(at_ms)
        return made

    def series(self) -> dict[str, float]:
        """`ALERTS` and `ALERTS_FOR_STATE`, as Prometheus writes them: a label whose template gives nothing, which the
        alert does not have, is there as it is written in the rule."""
        written = {name: template.text for name, template in self.rule.labels.items()}
        made: dict[str, float] = {}
        for alert in self.book.alerts.values():
            labels = {**written, **alert.labels}
            made[series_text(ALERTS, {**labels, "alertstate": alert.phase.state})] = 1.0
            made[series_text(ALERTS_FOR_STATE, labels)] = alert.active_since_ms // 1000
        return made

    # -- which label sets are active ---------------------------------------------------------------------------

    def _placed(self, result: Vector, came: Iterable[int], went: Iterable[int], at_ms: int) -> list[tuple[int, Labels]]:
        """The alert labels of the rows that came."""
        gone, placed, seen = set(went), [], set()
        for row in came:
            labels = self._alert_labels(result.shape.labels(row), float(result.values[row]), at_ms)
            stays = self._row_of.get(labels)
            if labels in seen or (stays is not None and stays not in gone):
                raise EvaluationError("vector contains metrics with the same labelset after applying alert labels")
            seen.add(labels)
            placed.append((row, labels))
        return placed

    def _replace(self, shape: Shape, entered: dict[Labels, int], went: list[int]) -> list[Labels]:
        """Note what is active now; return the label sets that must be told so, in the order of rows."""
        before = {self._labels_of.pop(row) for row in went}
        for labels in before:
            del self._row_of[labels]
        for labels, row in entered.items():
            self._labels_of[row], self._row_of[labels] = labels, row
            self._sample_labels[labels] = shape.labels(row)
        self._refused = {labels for labels in self._refused if labels in self._row_of}
        newly = [labels for labels in entered if labels not in before or labels in self._refused]
        again = self._refused.difference(newly)
        return sorted([*newly, *again], key=self._row_of.__getitem__) if again else newly

    def _alert_labels(self, sample_labels: dict[str, str], value: float, at_ms: int) -> Labels:
        own = {name: self._render(template, sample_labels, value, at_ms) for name, template in self.rule.labels.items()}
        every = {**sample_labels, **own, "alertname": self.rule.name}
        every.pop(NAME, None)
        return tuple(sorted((name, text) for name, text in every.items() if text))

    # -- steps -------------------------------------------------------------------------------------------------

    def _turn_true(self, labels: Labels, at_ms: int) -> list[Output]:
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._next_slot
            if self.book.open(slot, dict(labels), at_ms) is None:
                self._refused.add(labels)
                return []
            self._refused.discard(labels)
            self._slots[labels] = slot
            self._next_slot += 1
        value = self._value(labels)
        return self.book.tell(slot, Input.TRUE, at_ms, value) + self.book.pass_time(slot, at_ms, value)

    def _turn_false(self, labels: Labels, at_ms: int, value: float) -> list[Output]:
        slot = self._slots.get(labels)
        if slot is None:  # it was refused
            self._forget(labels)
            return []
        self._last_values[labels] = value
        made = self.book.tell(slot, Input.FALSE, at_ms, value)
        if slot not in self.book.alerts:
            self._forget(labels)
        return made

    def _pass_time(self, at_ms: int) -> list[Output]:
        """Step the alerts whose clock has come."""
        made: list[Output] = []
        while (woken := self._timers.pop(at_ms)) is not None:
            for slot in self.book.still_due(woken[1]):
                labels = self._labels(slot)
                made += self.book.pass_time(slot, at_ms, self._value(labels))
                if slot not in self.book.alerts:
                    self._forget(labels)
        if len(self._timers) > TIMERS_PER_ALERT_MAX * len(self.book.alerts) + TIMERS_SLACK:
            self._timers.clear()
            for slot in self.book.alerts:
                self.book.arm(slot)
        return made

    def _forget(self, labels: Labels) -> None:
        """There is no alert of these labels any more, and it is not active."""
        self._slots.pop(labels, None)
        self._last_values.pop(labels, None)
        self._sample_labels.pop(labels, None)
        self._texts.pop(labels, None)

    def _labels(self, slot: int) -> Labels:
        return tuple(sorted(self.book.alerts[slot].labels.items()))

    # -- texts -------------------------------------------------------------------------------------------------

    def _value(self, labels: Labels) -> float:
        """The value of an alert: now, or when it was last active."""
        row = self._row_of.get(labels)
        if row is None:
            return self._last_values[labels]
        return float(self._values[np.searchsorted(self._rows, row)])

    def _describe(self, labels: Labels, value: float) -> dict[str, str]:
        return self._texts[labels] if self._texts_vary else self._rendered(labels, value)

    def _rendered(self, labels: Labels, value: float) -> dict[str, str]:
        sample_labels = self._sample_labels[labels]
        return {
            name: self._render(template, sample_labels, value, self._at_ms)
            for name, template in self.rule.annotations.items()
        }


def _is_constant(template: Any) -> bool:
    return "{{" not in template.text


def _depends_on_time(template: Any) -> bool:
    return bool(template.queries) or ("{{" in template.text and "now" in template.text)
