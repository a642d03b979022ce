"""Grid mode: groups of rules evaluated at the multiples of their interval, as Prometheus does it.

At each instant a group's rules are evaluated in order, so that a rule sees what the recording rules before it made at
that instant. Conditions are looked at there and only there: `for` and `keep_firing_for` come true at the first
instant at which they have passed. What is absent is false, for whatever reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from engine.core.alerts import Input
from engine.core.book import AlertBook, Output
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.labels import NAME
from engine.core.promql.query import Constants, evaluate_instant
from engine.core.promql.source import Source
from engine.core.promql.vector import EvaluationError, Scalar, Value, Vector
from engine.core.rules import HOLD_MAX_MS
from engine.core.tally import Tally
from engine.core.timers import Timers
from engine.events import STALE, SampleBatch
from engine.series import series_text

__all__ = ["GroupRunner"]

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"
Labels = tuple[tuple[str, str], ...]
Query = Callable[[str], list[tuple[dict[str, str], float]]]


class _AlertRule:
    """What the alert book needs to know of a rule: durations, and the texts of its last evaluation."""

    def __init__(self, rule: GridRule) -> None:
        self.name = rule.name
        self.for_ms = rule.for_ms
        self.keep_firing_for_ms = rule.keep_firing_for_ms
        self.hold_max_ms = HOLD_MAX_MS
        self.annotations: dict[Labels, dict[str, str]] = {}

    def alert_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return dict(labels)

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        return self.annotations.get(tuple(sorted(labels.items())), {})


class _Alerting:
    """An alerting rule at work."""

    def __init__(self, index: int, rule: GridRule, alerts_max: int) -> None:
        self.rule = rule
        self._texts = _AlertRule(rule)
        # Its timers are never asked: time passes at instants only.
        self._timers = Timers()
        self.book = AlertBook(index, self._texts, self._timers, alerts_max)
        self._slots: dict[Labels, int] = {}
        self._next_slot = 0
        self._values: dict[int, float] = {}

    def evaluate(self, at_ms: int, active: dict[Labels, tuple[float, dict[str, str]]]) -> list[Output]:
        """Tell every alert whether its label set is active, and let time pass."""
        made: list[Output] = []
        told: set[int] = set()
        for labels, (value, texts) in active.items():
            slot = self._slots.get(labels)
            if slot is None:
                slot = self._next_slot
                if self.book.open(slot, dict(labels), at_ms) is None:
                    continue
                self._slots[labels] = slot
                self._next_slot += 1
            self._texts.annotations[labels] = texts
            self._values[slot] = value
            told.add(slot)
            made += self.book.tell(slot, Input.TRUE, at_ms, value)
            made += self.book.pass_time(slot, at_ms, value)
        for slot in [slot for slot in self.book.alerts if slot not in told]:
            value = self._values[slot]
            made += self.book.tell(slot, Input.FALSE, at_ms, value)
            if slot in self.book.alerts:
                made += self.book.pass_time(slot, at_ms, value)
        for labels, slot in list(self._slots.items()):
            if slot not in self.book.alerts:
                del self._slots[labels], self._values[slot]
                self._texts.annotations.pop(labels, None)
        self._timers.clear()
        return made

    def series(self) -> dict[str, float]:
        """`ALERTS` and `ALERTS_FOR_STATE`, as Prometheus writes them."""
        made: dict[str, float] = {}
        for alert in self.book.alerts.values():
            made[series_text(ALERTS, {**alert.labels, "alertstate": alert.phase.state})] = 1.0
            made[series_text(ALERTS_FOR_STATE, alert.labels)] = alert.active_since_ms // 1000
        return made


class GroupRunner:
    """A group at work.

    Args:
        first_index: The place of its first rule in the order of all rules.
        source: Where its queries read.
        keeps: Whether somebody reads a metric, so that `ALERTS` is written only if it matters.
        alerts_max: How many alerts one rule may have, if the group says nothing.
        query: Answers `query` in templates, given the text and the instant.
    """

    def __init__(
        self,
        group: GridGroup,
        first_index: int,
        source: Source,
        tally: Tally,
        *,
        keeps: Callable[[str], bool],
        alerts_max: int,
        external_labels: Mapping[str, str],
        external_url: str = "",
        query: Callable[[str, int], list[tuple[dict[str, str], float]]],
    ) -> None:
        self.group = group
        self._source = source
        self._tally = tally
        self._keeps = keeps
        self._external_labels = external_labels
        self._external_url = external_url
        self._query = query
        self._limit = group.limit or alerts_max
        self._constants: Constants = {}
        self._written: list[tuple[str, ...]] = [() for _ in group.rules]
        self.alerting: dict[int, _Alerting] = {
            index: _Alerting(first_index + index, rule, self._limit)
            for index, rule in enumerate(group.rules)
            if rule.kind == "alert"
        }

    def evaluate(self, at_ms: int) -> Iterator[tuple[list[Output], SampleBatch | None]]:
        """Evaluate the rules in order at an instant: for each its transitions, and what is to land before the next."""
        for index, rule in enumerate(self.group.rules):
            query_ms = at_ms - self.group.query_offset_ms
            try:
                value = evaluate_instant(rule.plan, self._source, query_ms, constants=self._constants)
                if rule.kind == "record":
                    yield [], self._recorded(index, rule, value, query_ms)
                    continue
                made = self.alerting[index].evaluate(at_ms, self._active(rule, value, at_ms))
            except EvaluationError as error:
                self._tally.breach(f"rule.{rule.name}", "evaluation_failed", 1, str(error))
                continue
            yield made, self._alert_series(index, query_ms)

    def _active(self, rule: GridRule, value: Value, at_ms: int) -> dict[Labels, tuple[float, dict[str, str]]]:
        """The label sets of a result, with their rendered texts."""
        active: dict[Labels, tuple[float, dict[str, str]]] = {}
        for sample_labels, number in _rows(value):

            def render(template: Any, labels: dict[str, str] = sample_labels, number: float = number) -> str:
                text: str = template.render(
                    labels,
                    number,
                    self._external_labels,
                    external_url=self._external_url,
                    query=lambda expr: self._query(expr, at_ms),
                    at_ms=at_ms,
                )
                return text

            own = {name: render(template) for name, template in rule.labels.items()}
            every = {**sample_labels, **own, "alertname": rule.name}
            every.pop(NAME, None)
            labels = tuple(sorted((name, text) for name, text in every.items() if text))
            if labels in active:
                raise EvaluationError("vector contains metrics with the same labelset after applying alert labels")
            active[labels] = number, {name: render(template) for name, template in rule.annotations.items()}
        return active

    def _recorded(self, index: int, rule: GridRule, value: Value, at_ms: int) -> SampleBatch | None:
        made: dict[str, float] = {}
        for sample_labels, number in _rows(value):
            labels = {**sample_labels, **{name: template.text for name, template in rule.labels.items()}}
            labels.pop(NAME, None)
            text = series_text(rule.name, labels)
            if text in made:
                raise EvaluationError("vector contains metrics with the same labelset after applying rule labels")
            made[text] = number
        if len(made) > self._limit:
            self._tally.breach(f"rule.{rule.name}", "series_over_limit", len(made) - self._limit)
            made = dict(list(made.items())[: self._limit])
        return self._batch(index, made, at_ms)

    def _alert_series(self, index: int, at_ms: int) -> SampleBatch | None:
        if not self._keeps(ALERTS) and not self._keeps(ALERTS_FOR_STATE):
            return None
        return self._batch(index, self.alerting[index].series(), at_ms)

    def _batch(self, index: int, made: dict[str, float], at_ms: int) -> SampleBatch | None:
        """Samples, and a stale marker for each series that was there last time."""
        gone = [text for text in self._written[index] if text not in made]
        names = (*made, *gone)
        if self._written[index] == names:
            names = self._written[index]  # the same tuple again, which is recognised
        self._written[index] = tuple(made) if gone else names
        if not names:
            return None
        values = np.array([*made.values(), *[STALE] * len(gone)], dtype=np.float64)
        return SampleBatch(at_ms, names, values, self.group.interval_ms)


def _rows(value: Value) -> list[tuple[dict[str, str], float]]:
    if isinstance(value, Scalar):
        return [({}, value.value)]
    if isinstance(value, Vector):
        return value.items()
    raise EvaluationError("a rule's expression gives a number or a vector, not a string")
