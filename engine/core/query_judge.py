"""An alerting rule of any expression, in continuous mode: judged whole at every input that can change it.

Its chain (`engine.core.chains`) says when: at samples of what it reads, when inputs go stale, and where time alone
changes the expression. The judge turns each result into what the book is told: a label set that has begun to hold
gets a place there, and keeps it until its alert is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code
from engine.core.book import AlertBook
from engine.core.columns import Column
from engine.core.conditions import Verdict
from engine.core.doubt import Doubt
from engine.core.expression import Expression, SavedTimers
from engine.core.known import may_begin, may_end
from engine.core.label_places import LabelPlaces, Labels, SavedPlaces
from engine.core.notices import Output
from engine.core.points import Points
from engine.core.promql.labels import NAME, Shape
from engine.core.promql.vector import EvaluationError, Vector
from engine.core.rules import Rule
from engine.core.saved import SavedAlerts, load_alerts, save_alerts
from engine.core.store import NEVER_MS
from engine.core.tally import Tally
from engine.core.timers import Deadline, Timers

__all__ = ["QueryJudge", "SavedWhole"]

POINTS_PER_CHUNK = 256
CLOCK = -3
"""In a deadline: the clock of an alert comes."""


class SavedWhole(msgspec.Struct, tag="whole"):
    """What a snapshot keeps of one rule.

    Args:
        settled_ms: When its chain was evaluated last.
        values: By place what was measured last.
    """

    expr: str
    settled_ms: int
    timers: SavedTimers
    places: SavedPlaces
    values: bytes
    alerts: SavedAlerts

    def alert_places(self) -> Ints:
        """The places of its alerts. Raises ValueError if there is none."""
        places = np.frombuffer(self.alerts.slots, dtype="<i8").astype(np.int64)
        if not set(places.tolist()) <= {place for _, place in self.places.items}:
            raise ValueError("alerts of label sets that there are not")
        return places

    def label_sets(self, texts: Sequence[str]) -> list[Labels]:
        """The label sets of its alerts."""
        labels = {place: labels for labels, place in self.places.items}
        return [labels[place] for place in self.alert_places().tolist()]


class QueryJudge:
    """The conditions of one rule of any expression.

    Args:
        index: The rule's place in the order of rules.
        expression: What the rule measures, at work.
        alerts_max: How many alerts it may have.
    """

    def __init__(
        self, index: int, rule: Rule, expression: Expression, timers: Timers, tally: Tally, *, alerts_max: int
    ) -> None:
        self.index = index
        self.rule = rule
        self.expression = expression
        # Of its own: what is due here happens in the order of its chain.
        self.book = AlertBook([rule], [alerts_max], index)
        self.book.attach(0, self)
        self._timers = timers
        self._planned_ms = NEVER_MS
        self._tally = tally
        self._verdict = Verdict(rule.levels)
        self._missing = Code.MISSING if rule.on_missing == "reset" else Code.UNKNOWN
        # Under `fire` it matters that a label set goes missing even where there is no alert.
        self._remembers = rule.on_missing == "fire"
        self._remembered_max = alerts_max
        measured = expression.plan.root, rule.levels[0].when
        self._may_begin, self._may_end = may_begin(*measured), may_end(measured[0])
        self._places = LabelPlaces(self.book)
        self._values: Column[np.float64] = Column(np.float64, np.nan)
        # For the shape of the last result: the place of each row, and the row of each place.
        self._shape = Shape.of(expression.interner, [])
        self._place_of: Ints = np.zeros(0, dtype=np.int64)
        self._row_of: Column[np.int64] = Column(np.int64, FREE)

    def labels_of(self, slot: int) -> Mapping[str, str]:
        """The label set of the result, without the metric name."""
        return dict(self._places.labels(slot))

    def values_at(self, slots: Ints, times: Ints) -> NDArray[np.float64]:
        """What was measured last."""
        return self._values.array[slots]

    def witnesses(self, gone: NDArray[np.bool_]) -> Ints:
        """Of the series that are to go, those that its alerts need."""
        return self.expression.witnesses([dict(labels) for labels, _ in self._places.items()], gone)

    def blind(self, handles: Ints, from_ms: int, to_ms: int, watermark_ms: int) -> None:
        """Nobody could see these series in a span: take it out of the clocks of alerts that have no other inputs."""
        places = self._places.taken()
        rows = self.book.row_of.array[places]
        label_sets = [dict(self._places.labels(place)) for place in places.tolist()]
        covered = self.expression.rests_on(label_sets, handles, to_ms)
        self.book.blind(from_ms, to_ms, rows[covered & (rows != FREE)], some=True, judged_ms=watermark_ms)
        self._plan()

    # -- snapshot ----------------------------------------------------------------------------------------------

    def saved(self, settled_ms: int) -> SavedWhole:
        """What a snapshot keeps of this rule.

        Args:
            settled_ms: When its chain was evaluated last.
        """
        places = self._places.saved()
        return SavedWhole(
            expr=self.rule.plan.expr,
            settled_ms=settled_ms,
            timers=self.expression.saved(),
            places=places,
            values=self._values.array.astype("<f8").tobytes(),
            alerts=save_alerts(self.book, 0, np.arange(places.size)),
        )

    def load(self, saved: SavedWhole) -> int:
        """Take back what `saved` gave of the same expression; return how many alerts the rule's levels have no place
        for.

        Raises:
            ValueError: It does not fit itself.
        """
        self._places.load(saved.places)
        for column in (self._row_of, self._values):
            column.resize(saved.places.size)
        self._values.array[:] = np.frombuffer(saved.values, dtype="<f8")
        self.book.codes.array[:] = np.frombuffer(saved.alerts.codes, dtype="<i2")
        unplaced = load_alerts(self.book, 0, saved.alerts, saved.alert_places(), edited=False)
        self._plan()
        self.expression.load(saved.timers)
        return unplaced

    def places_for(self, label_sets: Sequence[Labels]) -> Ints:
        """Places for label sets that are to be taken back."""
        places = np.array([self._places.take(labels) for labels in label_sets], dtype=np.int64)
        for column in (self._row_of, self._values):
            column.resize(len(self.book.codes))
        return places

    def remembered(self) -> Ints | None:
        """The places of label sets that matter also without an alert; None if none ever does."""
        return self._places.taken() if self._remembers else None

    def note_value(self, place: int, value: float) -> None:
        """What was measured last at a place."""
        self._values.array[place] = value

    def adopt(self, alerts: SavedAlerts, label_sets: Sequence[Labels]) -> int:
        """Take alerts of another expression; return how many have no place here."""
        unplaced = load_alerts(self.book, 0, alerts, self.places_for(label_sets), edited=True)
        self._plan()
        return unplaced

    # -- clocks ------------------------------------------------------------------------------------------------

    def next_clock_ms(self) -> int:
        """The clock of no alert comes earlier."""
        return self.book.due_ms

    def pass_clocks(self, time_ms: int) -> Iterator[list[Output]]:
        """Step the alerts whose clock has come."""
        for made in self.book.passing(time_ms):
            self._forget()
            yield made
        if self._planned_ms <= time_ms:
            self._planned_ms = NEVER_MS
        self._plan()

    def arm_clocks(self) -> None:
        """Set the timer anew."""
        self._planned_ms = NEVER_MS
        self._plan()

    def _plan(self) -> None:
        if self.book.due_ms < self._planned_ms:
            self._planned_ms = self.book.due_ms
            self._timers.add(self._planned_ms, Deadline(self.index, CLOCK))

    # -- steps -------------------------------------------------------------------------------------------------

    def judge(self, time_ms: int, behind: Sequence[Expression], *, sampled: bool) -> Iterator[list[Output]]:
        """Evaluate the expression at an instant, not before the last, and tell the alerts what that means, some at a
        time.

        Args:
            behind: The expression, and those of the recording rules that it hangs on.
            sampled: There is a sample, and not only that time has passed.
        """
        try:
            result = self.expression.value(time_ms)
            if not isinstance(result, Vector):
                raise EvaluationError("a rule's expression gives a vector")
            codes = self._judged(result)
            unfilled = self.expression.unfilled(time_ms)
            known = None if unfilled else self.expression.known(time_ms)
            doubt = Doubt(
                result,
                codes,
                known,
                self._judged,
                unfilled=unfilled,
                may_begin=self._may_begin,
                may_end=self._may_end,
            )
            holds = np.flatnonzero(((codes & Code.WHENS) != 0) & ~doubt.rows)
            self._place(result, np.flatnonzero(result.present) if self._remembers else holds)
        except EvaluationError as error:  # the rule's own fault: nothing changes
            self._tally.breach(f"rule.{self.rule.name}", "evaluation_failed", 1, str(error))
            return
        places = self._places.taken()
        if not len(places):
            return
        yield []
        seen = self._values.array[places]
        told, stays = self._codes(result, codes, places, time_ms, doubt)
        later = ~stays & self._later(told, places, time_ms, behind)
        if later.any():
            self._values.array[places[later]] = seen[later]
        tells = ~stays & ~later
        if not tells.all():
            places, told, seen = places[tells], told[tells], seen[tells]
        zeros = np.zeros(len(places), dtype=np.int64)
        values = self._values.array[places]
        points = Points(zeros, places, zeros + time_ms, zeros - 1, zeros, told, values, seen, zeros < sampled)
        for part in points.chunks(POINTS_PER_CHUNK) if len(places) else ():
            yield from self.book.telling(part)
        self._forget()
        self._plan()

    def _judged(self, result: Vector) -> NDArray[np.int16]:
        return self._verdict.codes(result.values, result.present)

    def _later(
        self, told: NDArray[np.int16], places: Ints, time_ms: int, behind: Sequence[Expression]
    ) -> NDArray[np.bool_]:
        """Which label sets have gone silent at the very instant of samples of others: time tells them, after the other
        samples of that instant and after what is due at it."""
        later: NDArray[np.bool_] = ((told == Code.UNKNOWN) | (told == Code.MISSING)) & (
            told != self.book.codes.array[places]
        )
        if not (
            later.any() and any(expression.is_due(time_ms) for expression in behind)
        ):  # nothing is left to tell them
            later[:] = False
            return later
        for at in np.flatnonzero(later).tolist():
            later[at] = not self.expression.was_fed_at(dict(self._places.labels(int(places[at]))), time_ms)
        return later

    def _codes(
        self, result: Vector, codes: NDArray[np.int16], places: Ints, time_ms: int, doubt: Doubt
    ) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """What each known label set is, and which of them stay what they were, whatever that is; the values that are
        measured are noted."""
        rows = self._row_of.array[places]
        there = rows != FREE
        there[there] = result.present[rows[there]]
        told = np.full(len(places), Code.FALSE, dtype=np.int16)
        told[there] = codes[rows[there]]
        stays = np.zeros(len(places), dtype=np.bool_)
        stays[there] = doubt.rows[rows[there]]
        if doubt.unfilled:  # what holds may go on to more, not to less
            last = self.book.codes.array[places]
            stays |= there & (not self._may_end) & (last >= 0) & ((last & ~told & Code.WHENS) != 0)
        noted = there & ~stays
        self._values.array[places[noted]] = result.values[rows[noted]]
        doubtful = (told & Code.WHENS) == 0
        if self._remembers:
            doubtful &= ~there | (self.book.row_of.array[places] != FREE)
        if doubtful.any():
            absence = self.expression.absence(time_ms)
            for at in np.flatnonzero(doubtful).tolist():
                labels = dict(self._places.labels(int(places[at])))
                why, known = absence.of(labels), doubt.known(labels)
                if not there[at] and doubt.unfilled and not self._may_end:
                    stays[at] = True
                elif not there[at] and known is not None and why != Code.ENDED:
                    stays[at] = bool(known & Code.WHENS) or not self.expression.is_known(labels, time_ms)
                    told[at] = known
                    continue
                stays[at] &= why != Code.ENDED
                if why != Code.FALSE:
                    told[at] = self._missing if why == Code.UNKNOWN else why
                    if not there[at] and not stays[at]:
                        self._values.array[places[at]] = np.nan  # nothing is known
        if self.expression.warming:
            self._withhold(told, places, time_ms)
        return told, stays

    def _withhold(self, told: NDArray[np.int16], places: Ints, time_ms: int) -> None:
        """After a restart, what would end a firing alert is not known as long as one of its inputs was not seen."""
        rows = self.book.row_of.array[places]
        at = np.flatnonzero((rows != FREE) & (told >= 0))
        at = at[self.book.ends(rows[at], told[at])]
        if not len(at):
            return
        absence = self.expression.absence(time_ms)
        for number in at.tolist():
            if absence.waits(dict(self._places.labels(int(places[number])))):
                told[number] = Code.UNKNOWN

    def _place(self, result: Vector, rows: Ints) -> None:
        """Give places to the label sets of these rows. Raises `EvaluationError` if two are the same."""
        if result.shape is not self._shape:
            self._take_shape(result.shape)
        new = rows[self._place_of[rows] == FREE]
        for row in new.tolist():
            labels = _labels(result.shape, row)
            place = self._places.take(labels)
            # What else has the same labels is the same label set, even if it has never held.
            self._place_of[result.shape.find(dict(labels)) if _repeats(result.shape) else row] = place
            self._row_of.resize(place + 1)
            self._values.resize(place + 1)
        # Rows that are one label set differ in their metric name alone, or are there in turn, as with `or`.
        shown = np.flatnonzero(result.present & (self._place_of != FREE))
        self._row_of.array[self._place_of[shown]] = shown
        self._row_of.array[self._place_of[rows]] = rows
        if len(np.unique(self._place_of[rows])) < len(rows):
            raise EvaluationError("two results have the same labels")

    def _take_shape(self, shape: Shape) -> None:
        """Find the rows of known label sets in a new shape."""
        self._shape = shape
        self._place_of = np.full(len(shape), FREE, dtype=np.int64)
        self._row_of.array[:] = FREE
        for labels, place in self._places.items():
            for row in shape.find(dict(labels)).tolist():
                self._row_of.array[place], self._place_of[row] = row, place

    def _forget(self) -> None:
        """Forget label sets without an alert, but for those whose going missing matters."""
        if len(self._places) == len(self.book.rows):
            return
        places = self._places.taken()
        idle = self.book.row_of.array[places] == FREE
        if self._remembers:  # but for those that have ended, and those for which there is no room
            crowd = max(0, int(np.count_nonzero(idle)) - self._remembered_max)
            idle &= (self.book.codes.array[places] == Code.ENDED) | (np.cumsum(idle) <= crowd)
        for place in places[idle].tolist():
            self._places.forget(self._places.labels(place))
            self._place_of[self._place_of == place] = FREE
            self._row_of.array[place] = FREE


def _repeats(shape: Shape) -> bool:
    """Whether rows may have the same label set, metric names apart."""
    return shape.derive("repeats", lambda: shape.group([NAME], excluding=True).count < len(shape))


def _labels(shape: Shape, row: int) -> Labels:
    return tuple(sorted((name, text) for name, text in shape.labels(row).items() if name != NAME))
