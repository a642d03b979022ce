"""A recording rule at work in continuous mode: it turns each result into samples of series of its own.

A recorded series is there as long as its label set is in the result. When it no longer is, the series gets a stale
marker that says why: `ended` if there is evidence (its inputs have ended, or say that it is not so), `target_down` if
nobody knows. A recorder never lands anything and never looks at other rules: its chain (`engine.core.chains`) does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from engine.core.alerts import Code
from engine.core.expression import Expression, SavedTimers
from engine.core.known import label_set, label_sets, may_begin
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.vector import EvaluationError, Floats, Scalar, Value, Vector
from engine.core.rules import RecordingRule
from engine.core.store import Mark
from engine.core.tally import Tally, words_of
from engine.events import STALE
from engine.series import series_text, split_series

__all__ = ["Owners", "Recorded", "Recorder", "SavedRecorder"]

Owners: TypeAlias = dict[str, RecordingRule]
"""By series, the rule that records it: one dict for all rules, for no two may record the same."""


class Recorded(NamedTuple):
    """Samples that a rule made of one result.

    Args:
        time_ms: Their time.
        series: Canonical texts, each once; the same tuple again while they do not change.
        values: float64; stale markers among them.
        mark: What the markers mean.
        stale_after_ms: After how long without a sample the series are stale.
        since_ms: When the rule recorded last, -1 if never: a series with a later sample has got it from elsewhere.
    """

    time_ms: int
    series: tuple[str, ...]
    values: Floats
    mark: Mark
    stale_after_ms: int
    since_ms: int


class _Names(NamedTuple):
    """What the rows of a result are called."""

    shape: Shape
    rows: Codes
    series: tuple[str, ...]


class SavedRecorder(msgspec.Struct):
    """What a snapshot keeps of one rule: the series that it recorded last, and when."""

    expr: str
    settled_ms: int
    timers: SavedTimers
    series: list[str]
    recorded_ms: int


class Recorder:
    """The state of one recording rule.

    Args:
        index: Its number among all rules, for the timers.
        owners: Of all recording rules.
    """

    def __init__(self, index: int, rule: RecordingRule, expression: Expression, owners: Owners, tally: Tally) -> None:
        self.index = index
        self.rule = rule
        self.expression = expression
        self._owners = owners
        self._tally = tally
        self._names = _Names(Shape.of(expression.interner, []), np.zeros(0, dtype=np.int64), ())
        self._unnamed = Shape(expression.interner, 1, {})
        self._texts_of = self._unnamed  # the shape whose rows were named last
        self._texts: dict[int, str] = {}
        self._recorded_ms = -1
        self._may_begin = may_begin(rule.plan.root, None, adding=False)
        self._doubted: tuple[str, ...] = ()
        """Series that are not in the last result, and of which nobody knows whether they are gone."""

    def record(self, time_ms: int) -> list[Recorded] | None:
        """Evaluate at an instant, not before the last; return what is to land there.

        None is an error, which was told and changes nothing: there was no value, there were labels that no series can
        have, or series of another rule.
        """
        try:
            result = self._vector(self.expression.value(time_ms))
            unfilled = self.expression.unfilled(time_ms)
            known = None if unfilled else self.expression.known(time_ms)
            if known is not None or (unfilled and not self._may_begin):
                result = self._seen(result, known)
            names = self._named(result)
        except ValueError as error:
            self._tally.breach(f"rule.{self.rule.name}", "evaluation_failed", 1, words_of(error))
            return None
        since_ms, self._recorded_ms = self._recorded_ms, time_ms
        after_ms = self.expression.stale_after_ms(time_ms)
        made = [
            Recorded(time_ms, series, np.full(len(series), STALE), mark, after_ms, since_ms)
            for mark, series in self._gone(names, time_ms, known, unfilled=unfilled)
        ]
        self._names = names
        if names.series:
            values = result.values[names.rows]
            made.append(Recorded(time_ms, names.series, values, Mark.ENDED, after_ms, since_ms))
            # Its inputs are stale by then, and it was evaluated, unless it has a value without any.
            self.expression.refresh(time_ms + after_ms + 1)
        return made

    def saved(self, settled_ms: int) -> SavedRecorder:
        """What a snapshot keeps of this rule.

        Args:
            settled_ms: When its chain was evaluated last.
        """
        timers = self.expression.saved()
        return SavedRecorder(
            self.rule.plan.expr, settled_ms, timers, [*self._names.series, *self._doubted], self._recorded_ms
        )

    def load(self, saved: SavedRecorder) -> None:
        """Take back what `saved` gave. What was recorded under another expression is marked as gone if it is."""
        self._names = self._names._replace(series=tuple(saved.series))
        self._owners.update(dict.fromkeys(saved.series, self.rule))
        self._recorded_ms = saved.recorded_ms
        if saved.expr == self.rule.plan.expr:
            self.expression.load(saved.timers)

    def owns(self, series: str) -> bool:
        """Whether it has recorded a series, and has not said that it has gone."""
        return self._owners.get(series) is self.rule

    def take(self, series: Sequence[str], until_ms: int) -> None:
        """Take back some of the series that it has recorded until an instant."""
        self._names = self._names._replace(series=tuple(series))
        self._owners.update(dict.fromkeys(series, self.rule))
        self._recorded_ms = until_ms

    def _vector(self, value: Value) -> Vector:
        if isinstance(value, Vector):
            return value
        if isinstance(value, Scalar):
            return Vector(self._unnamed, np.array([value.value]), np.ones(1, dtype=np.bool_))
        raise EvaluationError("a rule's expression gives a number or a vector, not a string")

    def _named(self, result: Vector) -> _Names:
        """The series of a result. Raises ValueError."""
        rows, known = result.rows(), self._names
        if result.shape is known.shape and np.array_equal(rows, known.rows):
            return known
        if result.shape is not self._texts_of:
            self._texts_of, self._texts = result.shape, {}
        series = tuple(self._text(result.shape, row) for row in rows.tolist())
        if len(set(series)) < len(series):
            raise EvaluationError("two results have the same labels, once the rule's labels are added")
        for text in series:
            if (owner := self._owners.get(text, self.rule)) is not self.rule:
                raise EvaluationError(f"the rule {owner.name} records {text}, too")
        return _Names(result.shape, rows, known.series if series == known.series else series)

    def _text(self, shape: Shape, row: int) -> str:
        text = self._texts.get(row)
        if text is None:
            text = self._texts[row] = self._made(shape, row)
        return text

    def _made(self, shape: Shape, row: int) -> str:
        return series_text(self.rule.record, {**shape.labels(row), **self.rule.labels, NAME: ""})

    def _seen(self, result: Vector, known: Vector | None) -> Vector:
        """A result without what is new in it only because nobody looked; what is new, if nobody knows."""
        there, before = {} if known is None else label_sets(known), set(self._names.series)
        present = result.present.copy()
        for row in result.rows().tolist():
            if label_set(result.shape.labels(row)) not in there and self._made(result.shape, row) not in before:
                present[row] = False
        return result if bool((present == result.present).all()) else result._replace(present=present)

    def _gone(
        self, names: _Names, time_ms: int, known: Vector | None, *, unfilled: bool
    ) -> Iterator[tuple[Mark, tuple[str, ...]]]:
        """The series that are no longer recorded, by what is known of them; not those that may be gone only because
        nobody looked."""
        if names.series is self._names.series and not self._doubted:
            return
        self._owners.update(dict.fromkeys(names.series, self.rule))
        there = set(names.series)
        gone = [text for text in (*self._names.series, *self._doubted) if text not in there]
        self._doubted = ()
        if gone and (unfilled or known is not None):
            stays = {} if known is None else label_sets(known)
            self._doubted = tuple(text for text in gone if unfilled or label_set(self._inputs_labels(text)) in stays)
            gone = [text for text in gone if text not in self._doubted]
        if not gone:
            return
        absence = self.expression.absence(time_ms)
        causes = {text: absence.of(self._inputs_labels(text)) for text in gone}
        for text in gone:
            del self._owners[text]
        for mark, is_unknown in ((Mark.TARGET_DOWN, True), (Mark.ENDED, False)):
            if series := tuple(text for text, why in causes.items() if (why == Code.UNKNOWN) == is_unknown):
                yield mark, series

    def _inputs_labels(self, text: str) -> dict[str, str]:
        """What a series has of its inputs' labels."""
        labels = split_series(text)[1]
        return {name: value for name, value in labels.items() if name not in self.rule.labels}
