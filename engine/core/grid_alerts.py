"""The alerts of a rule in grid mode: label sets of one result after the other, and what changes between them.

A result comes with the shape of the one before as long as the same series are there. Then only the rows that came
and went are turned into labels and told to the alerts, and only clocks that have come are looked at; what is
active and stays so costs nothing. Texts are rendered when somebody is told them, with the value the alert had then;
those that depend on more than labels and value are rendered at each evaluation, as Prometheus renders all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import STATES, Code, Phase
from engine.core.book import AlertBook
from engine.core.columns import Column
from engine.core.conditions import Level, asks_for_less, split_condition
from engine.core.groups import GridRule
from engine.core.known import LabelSet, label_set, label_sets, may_begin, may_end
from engine.core.label_places import LabelPlaces, Labels, SavedPlaces
from engine.core.notices import Output
from engine.core.points import Points
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.vector import EvaluationError, Floats, Vector
from engine.core.rules import HOLD_MAX_MS
from engine.core.saved import SavedAlerts, load_alerts, save_alerts
from engine.series import series_text

__all__ = ["GridAlerts", "Render", "SavedGridAlerts"]

ALERTS = "ALERTS"
ALERTS_FOR_STATE = "ALERTS_FOR_STATE"
Render: TypeAlias = Callable[[Any, Mapping[str, str], float, int], str]
"""A template's text for a sample's labels and value at an instant."""


class _Texts:
    """What the alert book needs to know of a rule: durations, and the annotations of an alert when it is told."""

    def __init__(self, rule: GridRule, describe: Callable[[Labels, float], dict[str, str]]) -> None:
        self.name = rule.name
        self.levels = (Level(for_ms=rule.for_ms),)
        self.of = 1.0
        self.on_missing = "reset"
        self.missing_for_ms = 0
        self.keep_firing_for_ms = rule.keep_firing_for_ms
        self.hold_max_ms = HOLD_MAX_MS
        self.is_low = asks_for_less(split_condition(rule.plan.root)[1])
        self._describe = describe

    def alert_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return dict(labels)

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        return self._describe(tuple(sorted(labels.items())), value)


class SavedGridAlerts(msgspec.Struct):
    """What a snapshot keeps of one rule.

    Args:
        known: The label sets of its alerts: the first `active` are in its last result, in the order of rows.
        values: Of each: now, or when it was last active.
        sample_labels: Of each, the labels of the sample.
        texts: Of each the rendered annotations, where they depend on more than labels and value.
        refused: Those for which there was no room.
        withheld: Those that may have ended.
    """

    at_ms: int
    known: list[Labels]
    active: int
    values: bytes
    sample_labels: list[dict[str, str]]
    texts: list[dict[str, str]]
    refused: list[Labels]
    withheld: list[Labels]
    places: SavedPlaces
    alerts: SavedAlerts


class GridAlerts:
    """An alerting rule at work.

    Args:
        index: The rule's place in the order of all rules.
        render: Renders its templates.
    """

    def __init__(self, index: int, rule: GridRule, alerts_max: int, render: Render) -> None:
        self.index = index
        self.rule = rule
        # Of its own: time passes at instants only.
        self.book = AlertBook([_Texts(rule, self._describe)], [alerts_max], index)
        self.book.attach(0, self)
        self._render = render
        measured = split_condition(rule.plan.root)
        self._may_begin, self._may_end = may_begin(*measured), may_end(measured[0])
        self._labels_vary = not all(_is_constant(template) for template in rule.labels.values())
        self._texts_vary = any(_depends_on_time(template) for template in rule.annotations.values())
        self._at_ms = 0
        # The last result: its shape, which rows were present, and their values in the order of rows.
        self._shape: Shape | None = None
        self._present = np.zeros(0, dtype=np.bool_)
        self._rows: Codes = np.zeros(0, dtype=np.int64)
        self._values: Floats = np.zeros(0)
        # What is active, by row and by the alert's labels.
        self._active: Column[np.int64] = Column(np.int64, FREE)
        """By place, the row of what is active and was told so."""
        self._labels_of: dict[int, Labels] = {}
        self._row_of: dict[Labels, int] = {}
        # Of every alert, the ones that are no longer active and keep firing included.
        self._places = LabelPlaces(self.book)
        self._sample_labels: dict[Labels, dict[str, str]] = {}
        self._last_values: dict[Labels, float] = {}
        self._texts: dict[Labels, dict[str, str]] = {}
        self._refused: set[Labels] = set()
        self._withheld: dict[Labels, None] = {}
        """Alerts that may have ended while nobody could see; they are told so once that is known."""

    def labels_of(self, slot: int) -> Mapping[str, str]:
        """The labels of an alert."""
        return dict(self._places.labels(slot))

    def values_at(self, slots: Ints, times: Ints) -> Floats:
        """The values of alerts: now, or when they were last active."""
        return np.array([self._value(self._places.labels(slot)) for slot in slots.tolist()], dtype=np.float64)

    def evaluate(
        self,
        result: Vector,
        at_ms: int,
        *,
        warming: bool = False,
        known: Vector | None = None,
        unfilled: bool = False,
    ) -> list[Output]:
        """Tell the alerts whose label sets came or went, and let time pass.

        Args:
            warming: Not all inputs were seen since a restart: that a label set has gone ends no firing alert.
            known: The result if blind spans had not been, where that may be another: what is new or gone only because
                nobody looked begins and ends nothing.
            unfilled: Nobody knows what windows held before a restart: nothing ends for that reason, nor begins if it
                may be so for that reason alone.

        Raises:
            EvaluationError: Two label sets are the same with the rule's labels. Then nothing has changed.
        """
        if known is not None or (unfilled and not self._may_begin):
            result = self._seen(result, known, at_ms)
        stays = None if known is None else label_sets(known)
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
        waiting = (labels for labels in self._withheld if labels in self._last_values and labels not in entered)
        left |= {labels: self._last_values[labels] for labels in waiting}
        self._withheld = dict.fromkeys(
            labels
            for labels in left
            if (warming and self._fires(labels))
            or (unfilled and not self._may_end and self._row(labels) != FREE)
            or self._stays(labels, stays)
        )
        self._measure(result.values)
        made = self._tell(newly, left, at_ms)
        self._note_active(newly)
        made += self.book.pass_time(at_ms, at_ms)
        over = [output[-1].labels for output in made if output[-1].after == "inactive"]
        self._forget([*left, *(tuple(sorted(labels.items())) for labels in over)])
        return made

    def series(self) -> dict[str, float]:
        """`ALERTS` and `ALERTS_FOR_STATE`, as Prometheus writes them: a label whose template gives nothing, which the
        alert does not have, is there as it is written in the rule."""
        written = {name: template.text for name, template in self.rule.labels.items()}
        made: dict[str, float] = {}
        own, rows = self.book.rows, self.book.shown()
        columns = self.book.slot_of.array[own.place[rows]].tolist(), own.phase[rows].tolist(), own.active[rows].tolist()
        for slot, phase, active_ms in zip(*columns, strict=True):
            labels = {**written, **dict(self._places.labels(slot))}
            made[series_text(ALERTS, {**labels, "alertstate": STATES[phase]})] = 1.0
            made[series_text(ALERTS_FOR_STATE, labels)] = active_ms // 1000
        return made

    # -- snapshot ----------------------------------------------------------------------------------------------

    def saved(self) -> SavedGridAlerts:
        """What a snapshot keeps of this rule."""
        places = self._places.saved()
        active = sorted(self._row_of, key=self._row_of.__getitem__)
        known = [*active, *(labels for labels, _ in places.items if labels not in self._row_of)]
        return SavedGridAlerts(
            at_ms=self._at_ms,
            known=known,
            active=len(active),
            values=np.array([self._value(labels) for labels in known], dtype="<f8").tobytes(),
            sample_labels=[self._sample_labels[labels] for labels in known],
            texts=[self._texts[labels] for labels in known] if self._texts_vary else [],
            refused=sorted(self._refused),
            withheld=list(self._withheld),
            places=places,
            alerts=save_alerts(self.book, 0, np.arange(places.size)),
        )

    def kept(self, slot: int) -> tuple[bool, bool, dict[str, str], dict[str, str]]:
        """Of an alert: whether it is in the last result, whether it may have ended, the labels of its sample, and its
        annotations where they depend on more than labels and value."""
        labels = self._places.labels(slot)
        texts = self._texts[labels] if self._texts_vary else {}
        return labels in self._row_of, labels in self._withheld, self._sample_labels[labels], texts

    def load(self, saved: SavedGridAlerts) -> int:
        """Take back what `saved` gave; return how many alerts have no place here.

        Raises:
            ValueError: It does not fit itself.
        """
        values = np.frombuffer(saved.values, dtype="<f8")
        known, active = saved.known, saved.known[: saved.active]
        labelled = set(known)
        if not len(labelled) == len(known) == len(values) == len(saved.sample_labels) >= saved.active >= 0:
            raise ValueError("label sets that don't fit each other")
        if not labelled.issuperset([*(labels for labels, _ in saved.places.items), *saved.refused, *saved.withheld]):
            raise ValueError("alerts of label sets that there are not")
        self._at_ms = saved.at_ms
        # As rows of a result of its own: the next one is compared with it by its labels.
        self._present, self._rows = np.ones(len(active), dtype=np.bool_), np.arange(len(active))
        self._values = values[: len(active)].copy()
        self._labels_of = dict(enumerate(active))
        self._row_of = {labels: row for row, labels in self._labels_of.items()}
        self._sample_labels = dict(zip(known, saved.sample_labels, strict=True))
        self._last_values = dict(zip(known[len(active) :], values[len(active) :].tolist(), strict=True))
        if self._texts_vary:
            texts = saved.texts or [self._rendered(labels, self._value(labels)) for labels in known]
            self._texts = dict(zip(known, texts, strict=True))
        self._refused, self._withheld = set(saved.refused), dict.fromkeys(saved.withheld)
        self._places.load(saved.places)
        self.book.codes.array[:] = np.frombuffer(saved.alerts.codes, dtype="<i2")
        self._note_active(active)
        slots = np.frombuffer(saved.alerts.slots, dtype="<i8").astype(np.int64)
        if not set(slots.tolist()) <= {place for _, place in saved.places.items}:
            raise ValueError("alerts of label sets that there are not")
        return load_alerts(self.book, 0, saved.alerts, slots, edited=False)

    def begin_anew(self) -> int:
        """Drop what is pending: what is still true begins anew. Returns how many."""
        rows = self.book.rows_of(0)
        rows = rows[self.book.rows.phase[rows] == Phase.PENDING]
        labels = {self._places.labels(place) for place in self.book.rows.place[rows].tolist()}
        self.book.drop(rows)
        self._refused |= labels & self._row_of.keys()
        return len(rows)

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
        self._note_left(before)
        for labels, row in entered.items():
            self._labels_of[row], self._row_of[labels] = labels, row
            self._sample_labels[labels] = shape.labels(row)
        self._note_active(labels for labels in entered if labels in before)
        self._refused = {labels for labels in self._refused if labels in self._row_of}
        newly = [labels for labels in entered if labels not in before or labels in self._refused]
        again = self._refused.difference(newly)
        return sorted([*newly, *again], key=self._row_of.__getitem__) if again else newly

    def _alert_labels(self, sample_labels: dict[str, str], value: float, at_ms: int) -> Labels:
        own = {name: self._render(template, sample_labels, value, at_ms) for name, template in self.rule.labels.items()}
        every = {**sample_labels, **own, "alertname": self.rule.name}
        every.pop(NAME, None)
        return tuple(sorted((name, text) for name, text in every.items() if text))

    def labels_for(self, sample_labels: dict[str, str], value: float, at_ms: int) -> Labels:
        """The labels of the alert of a sample, whether there is one or not."""
        return self._alert_labels(sample_labels, value, at_ms)

    # -- steps -------------------------------------------------------------------------------------------------

    def _tell(self, newly: list[Labels], left: dict[Labels, float], at_ms: int) -> list[Output]:
        """Tell the alerts of label sets that are active now, and of those that are no longer."""
        self._last_values.update(left)
        told = [*newly, *(labels for labels in left if labels in self._places)]
        if not told:
            return []
        places = np.array([self._places.take(labels) for labels in told], dtype=np.int64)
        codes = np.full(len(told), Code.FALSE, dtype=np.int16)
        codes[: len(newly)] = Code.TRUE
        if self._withheld:
            codes[[at for at, labels in enumerate(told) if labels in self._withheld]] = Code.UNKNOWN
        values = np.array([self._value(labels) for labels in told], dtype=np.float64)
        zeros = np.zeros(len(told), dtype=np.int64)
        sampled = codes == Code.TRUE
        points = Points(zeros, places, zeros + at_ms, zeros - 1, zeros, codes, values, values, sampled)
        order = np.argsort(places, kind="stable")
        made = self.book.tell(points.pick(order))
        for labels in newly:
            if self._places.refused(labels):
                self._refused.add(labels)
            else:
                self._refused.discard(labels)
        return made

    def _measure(self, values: Floats) -> None:
        """Take the values of alerts that were active before and are so still."""
        own = self.book.rows
        if not len(own):
            return
        taken = own.taken()
        at = self._active.array[own.place[taken]]
        there = at != FREE
        self.book.gauge.take(taken[there], values[at[there]])

    def _note_active(self, active: Iterable[Labels]) -> None:
        self._active.resize(len(self.book.codes))
        for labels in active:
            if (place := self._places.find(labels)) != FREE:
                self._active.array[place] = self._row_of[labels]

    def _note_left(self, left: Iterable[Labels]) -> None:
        for labels in left:
            if (place := self._places.find(labels)) != FREE:
                self._active.array[place] = FREE

    def _seen(self, result: Vector, known: Vector | None, at_ms: int) -> Vector:
        """A result without what is new in it only because nobody looked; without all that is new, if nobody knows."""
        there, present = {} if known is None else label_sets(known), result.present.copy()
        for row in result.rows().tolist():
            own = result.shape.labels(row)
            if label_set(own) not in there:
                present[row] = self._alert_labels(own, float(result.values[row]), at_ms) in self._row_of
        return result._replace(present=present)

    def _stays(self, labels: Labels, known: Mapping[LabelSet, int] | None) -> bool:
        """Whether an alert's label set is there in known time."""
        return known is not None and self._row(labels) != FREE and label_set(self._sample_labels[labels]) in known

    def _fires(self, labels: Labels) -> bool:
        """Whether the alert of a label set is firing."""
        row = self._row(labels)
        return row != FREE and int(self.book.rows.phase[row]) == Phase.FIRING

    def _row(self, labels: Labels) -> int:
        """The row of the alert of a label set in the book; FREE if there is none."""
        place = self._places.find(labels)
        return int(self.book.row_of.array[place]) if place != FREE else FREE

    def _forget(self, over: Iterable[Labels]) -> None:
        """Of these label sets, forget those that have no alert and are not active."""
        for labels in over:
            self._places.forget(labels)
            if labels not in self._places and labels not in self._row_of:
                self._last_values.pop(labels, None)
                self._sample_labels.pop(labels, None)
                self._texts.pop(labels, None)

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
