"""Grid mode: groups of rules evaluated at the multiples of their interval, as Prometheus does it.

At each instant a group's rules are evaluated in order, so that a rule sees what the recording rules before it made at
that instant. Conditions are looked at there and only there: `for` and `keep_firing_for` come true at the first
instant at which they have passed. What is absent is false, for whatever reason but one: that nobody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.core.grid_alerts import ALERTS, ALERTS_FOR_STATE, GridAlerts, SavedGridAlerts
from engine.core.groups import GridGroup, GridRule, SavedInstants
from engine.core.known import may_begin
from engine.core.notices import Output
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.plan import QueryPlan
from engine.core.promql.query import Constants, evaluate_instant
from engine.core.promql.source import Source
from engine.core.promql.vector import Bools, EvaluationError, Scalar, Value, Vector
from engine.core.tally import Tally, words_of
from engine.events import STALE, SampleBatch
from engine.series import series_text

__all__ = ["GridAlerts", "GroupRunner", "SavedGroup"]

Query = Callable[[str], list[tuple[dict[str, str], float]]]


class _Names(NamedTuple):
    """What a recording rule called its last result, for the next one of the same label sets.

    Args:
        rows: Of the result, in the order of `names`.
    """

    shape: Shape
    present: Bools
    rows: Codes
    names: tuple[str, ...]

    def are_of(self, result: Vector) -> bool:
        """Whether a result has the same label sets in the same order."""
        return result.shape is self.shape and result.ordered is None and bool((result.present == self.present).all())


class SavedGridRule(msgspec.Struct):
    """What a snapshot keeps of one rule: the series that it wrote last, and its alerts."""

    written: list[str]
    alerts: SavedGridAlerts | None


class SavedGroup(msgspec.Struct):
    """What a snapshot keeps of one group; its rules by key."""

    instants: SavedInstants
    rules: dict[str, SavedGridRule]


class GroupRunner:
    """A group at work.

    Args:
        first_index: The place of its first rule in the order of all rules.
        source: Where its queries read.
        keeps: Whether somebody reads a metric, so that `ALERTS` is written only if it matters.
        alerts_max: How many alerts one rule may have, if the group says nothing. Series that are recorded are then
            bounded by the store alone.
        unseen: Whether some input of a rule was not seen since a restart, though a sample is still to be expected at an
            instant.
        known: What an expression would be worth if blind spans had not been; None where that is no other question.
        unfilled: Whether nobody knows what windows that an expression looks at would hold, after a restart.
        query: Answers `query` in templates, given the text and the instant.
        subquery_step_ms: The step of subqueries that have none.
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
        unseen: Callable[[QueryPlan, int], bool] = lambda _plan, _at_ms: False,
        known: Callable[[QueryPlan, int], Vector | None] = lambda _plan, _at_ms: None,
        unfilled: Callable[[QueryPlan, int], bool] = lambda _plan, _at_ms: False,
        query: Callable[[str, int], list[tuple[dict[str, str], float]]],
        subquery_step_ms: int = 60_000,
    ) -> None:
        self.group = group
        self._source = source
        self._tally = tally
        self._keeps = keeps
        self._external_labels = external_labels
        self._external_url = external_url
        self._query = query
        self._unseen = unseen
        self._known = known
        self._unfilled = unfilled
        self._subquery_step_ms = subquery_step_ms
        self._constants: Constants = {}
        self._written: list[tuple[str, ...]] = [() for _ in group.rules]
        self._names: dict[int, _Names] = {}
        self._looked_up: dict[int, tuple[tuple[str, ...], frozenset[str]]] = {}
        self._unnamed = Shape(source.interner, 1, {})
        self.alerting: dict[int, GridAlerts] = {
            index: GridAlerts(first_index + index, rule, group.limit or alerts_max, self._render)
            for index, rule in enumerate(group.rules)
            if rule.kind == "alert"
        }

    def evaluate(self, at_ms: int) -> Iterator[tuple[list[Output], SampleBatch | None]]:
        """Evaluate the rules in order at an instant: for each its transitions, and what is to land before the next."""
        for index, rule in enumerate(self.group.rules):
            query_ms = at_ms - self.group.query_offset_ms
            try:
                value = self._value(rule, query_ms)
                result, unfilled = self._vector(value), self._unfilled(rule.plan, query_ms)
                known = None if unfilled else self._known(rule.plan, query_ms)
                if rule.kind == "record":
                    yield [], self._recorded(index, rule, result, query_ms, known, unfilled=unfilled)
                    continue
                warming = self._unseen(rule.plan, query_ms)
                made = self.alerting[index].evaluate(result, at_ms, warming=warming, known=known, unfilled=unfilled)
            except ValueError as error:  # no value, or labels that no series can have: nothing changes
                self._tally.breach(f"rule.{rule.name}", "evaluation_failed", 1, words_of(error))
                continue
            yield made, self._alert_series(index, query_ms)

    def blind(self, from_ms: int, to_ms: int) -> None:
        """Take a span in which nobody could see out of every clock."""
        for alerts in self.alerting.values():
            alerts.book.blind(from_ms, to_ms)

    def saved(self, instants: SavedInstants, keys: Sequence[str]) -> SavedGroup:
        """What a snapshot keeps of the group.

        Args:
            keys: Of its rules.
        """
        rules = {
            key: SavedGridRule(list(self._written[index]), alerts.saved() if alerts is not None else None)
            for index, key in enumerate(keys)
            for alerts in [self.alerting.get(index)]
        }
        return SavedGroup(instants, rules)

    def load(self, saved: SavedGroup, keys: Sequence[str]) -> int:
        """Take back what `saved` gave; return how many alerts have no place here.

        Raises:
            ValueError: It does not fit itself.
        """
        unplaced = 0
        for index, key in enumerate(keys):
            rule = saved.rules.pop(key, None)
            if rule is not None:
                self._written[index] = tuple(rule.written)
                if rule.alerts is not None and index in self.alerting:
                    unplaced += self.alerting[index].load(rule.alerts)
        return unplaced

    def wrote(self, index: int, series: str) -> bool:
        """Whether a rule wrote a series the last time."""
        written, names = self._looked_up.get(index, ((), frozenset()))
        if written is not self._written[index]:
            written = self._written[index]
            _, names = self._looked_up[index] = written, frozenset(written)
        return series in names

    def take(self, index: int, series: Sequence[str]) -> None:
        """Take back some of the series that a rule wrote the last time."""
        self._written[index] = tuple(series)

    def take_alert_series(self) -> None:
        """Its alerts were taken back: it has written their series, if anybody reads them."""
        for index, alerts in self.alerting.items():
            if self._keeps(ALERTS) or self._keeps(ALERTS_FOR_STATE):
                self._written[index] = tuple(alerts.series())

    def forget_shapes(self) -> None:
        """Label sets have got other codes: what was made of the old ones means nothing any more."""
        self._constants.clear()
        self._names.clear()

    def _value(self, rule: GridRule, query_ms: int) -> Value:
        step_ms = self._subquery_step_ms
        return evaluate_instant(rule.plan, self._source, query_ms, default_step_ms=step_ms, constants=self._constants)

    def _vector(self, value: Value) -> Vector:
        if isinstance(value, Vector):
            return value
        if isinstance(value, Scalar):
            return Vector(self._unnamed, np.array([value.value]), np.ones(1, dtype=np.bool_))
        raise EvaluationError("a rule's expression gives a number or a vector, not a string")

    def _render(self, template: Any, labels: Mapping[str, str], value: float, at_ms: int) -> str:
        text: str = template.render(
            labels,
            value,
            self._external_labels,
            external_url=self._external_url,
            query=lambda expr: self._query(expr, at_ms),
            at_ms=at_ms,
        )
        return text

    def _recorded(
        self, index: int, rule: GridRule, result: Vector, at_ms: int, known: Vector | None, *, unfilled: bool
    ) -> SampleBatch | None:
        named = self._names.get(index)
        if named is not None and named.are_of(result):
            values = result.values[named.rows]
            return SampleBatch(at_ms, named.names, values, self.group.interval_ms)
        made: dict[str, float] = {}
        stays: Collection[str] = ()
        for sample_labels, number in result.items():
            text = _series(rule, sample_labels)
            if text in made:
                raise EvaluationError("vector contains metrics with the same labelset after applying rule labels")
            made[text] = number
        # Neither new nor gone only because nobody looked.
        if unfilled:
            stays = self._written[index]
        elif known is not None:
            stays = {_series(rule, sample_labels) for sample_labels, _ in known.items()}
        if known is not None or (unfilled and not may_begin(rule.plan.root, None, adding=False)):
            made = {text: number for text, number in made.items() if text in stays or self.wrote(index, text)}
        self._names.pop(index, None)
        limit = self.group.limit
        if 0 < limit < len(made):
            self._tally.breach(f"rule.{rule.name}", "series_over_limit", len(made) - limit)
            self._tally.count("samples_dropped_total_series_over_limit", len(made) - limit)
            made = dict(list(made.items())[:limit])
        elif (
            known is None
            and not unfilled
            and result.ordered is None
            and set(made).issuperset(self._written[index])
            and made
        ):
            batch = self._batch(index, made, at_ms)
            self._names[index] = _Names(result.shape, result.present.copy(), result.rows(), self._written[index])
            return batch
        return self._batch(index, made, at_ms, stays)

    def _alert_series(self, index: int, at_ms: int) -> SampleBatch | None:
        if not self._keeps(ALERTS) and not self._keeps(ALERTS_FOR_STATE):
            return None
        return self._batch(index, self.alerting[index].series(), at_ms)

    def _batch(self, index: int, made: dict[str, float], at_ms: int, stays: Collection[str] = ()) -> SampleBatch | None:
        """Samples, and a stale marker for each series that was there last time.

        Args:
            stays: Of these nobody knows whether they are gone.
        """
        gone = [text for text in self._written[index] if text not in made]
        kept = [text for text in gone if text in stays]
        if gone and self._unseen(self.group.rules[index].plan, at_ms):
            kept = gone  # after a restart nobody knows yet whether they are gone
        if kept:
            gone = [text for text in gone if text not in kept]
        names = (*made, *gone)
        if self._written[index] == names:
            names = self._written[index]  # the same tuple again, which is recognised
        self._written[index] = (*made, *kept) if gone or kept else names
        if not names:
            return None
        values = np.array([*made.values(), *[STALE] * len(gone)], dtype=np.float64)
        return SampleBatch(at_ms, names, values, self.group.interval_ms)


def _series(rule: GridRule, sample_labels: Mapping[str, str]) -> str:
    """The series that a recording rule makes of a label set."""
    labels = {**sample_labels, **{name: template.text for name, template in rule.labels.items()}}
    labels.pop(NAME, None)
    return series_text(rule.name, labels)
