"""The alerts of rules, as columns: what they are told, what time does to them, and what comes out of it.

The book knows nothing of expressions or series. Whoever judges a rule says what the condition of a label set is, as
*points*; the book takes the steps of the table, lets happen what was due before each, and turns changes of state into
transitions. Label sets of all rules have one numbering, their *place*, so that one step is a few vector operations
over the alerts of all rules together. The book says who has an alert, who may have one more, and whose turn it is; a
step itself is taken in `engine.core.alert_steps` or, of plain rules, in `engine.core.spells`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints, Rows
from engine.core.alert_steps import AlertSteps
from engine.core.alerts import Code, Phase
from engine.core.changes import Changes
from engine.core.columns import Column
from engine.core.flaps import Flaps
from engine.core.gauge import Gauge
from engine.core.life import Alerting, Life, terms_of
from engine.core.names import Key, Names
from engine.core.notices import Measuring, Notices, Output, Told
from engine.core.points import Points
from engine.core.share_book import ShareBook
from engine.core.spells import Spells
from engine.core.store import NEVER_MS
from engine.status import AlertStatus

__all__ = ["AlertBook", "Labelled", "Output", "Points"]

ROWS_PER_CHUNK = 256
Codes = NDArray[np.int16]
Floats = NDArray[np.float64]
# A look-up of an enum's member costs as much as a small array to compare with.
_FIRING = int(Phase.FIRING)
_INACTIVE = int(Phase.INACTIVE)


class Labelled(Protocol):
    """Where the label sets of a rule are known."""

    def labels_of(self, slot: int) -> Mapping[str, str]:
        """The label set of one of its slots, without the metric name."""

    def values_at(self, slots: Ints, times: Ints) -> Floats:
        """What the expression measures for slots at instants; NaN where nothing is known."""


class AlertBook:
    """The alerts of some rules.

    Args:
        rules: By the number that points and outputs carry.
        alerts_max: How many alerts each may have; more are counted in `refused` and never made.
        first: Place of the first rule in the order of all rules: what outputs are ordered by.
    """

    def __init__(self, rules: Sequence[Alerting], alerts_max: Sequence[int], first: int = 0) -> None:
        self.rules = rules
        self.first = first
        self.levels = max((len(rule.levels) for rule in rules), default=1)
        self.rows = Rows(self.levels)
        self.refused = np.zeros(len(rules), dtype=np.int64)
        self._refusals_told = np.zeros(len(rules), dtype=np.int64)
        self._refused_places: list[int] = []
        self.counts = np.zeros(len(rules), dtype=np.int64)
        """Of each rule, how many alerts it has."""
        self.due_ms = NEVER_MS
        """Nothing is due earlier than this."""
        self.row_of: Column[np.int64] = Column(np.int64, FREE)
        """By place."""
        self.codes: Column[np.int16] = Column(np.int16, Code.FALSE)
        """By place, what was told last."""
        self.slot_of: Column[np.int64] = Column(np.int64, 0)
        self._free: list[int] = []
        self.terms = terms_of(rules, self.levels, alerts_max)
        self._alerts_max = int(self.terms.alerts_max.min()) if len(rules) else 0
        self.plain = np.zeros(len(rules), dtype=np.bool_)
        """Of which rules an alert has nothing but a start, a deadline and an end: see `engine.core.spells`."""
        self.shares = ShareBook(rules)
        self._life = Life(self.rows, self.terms, self.shares)
        self.gauge = Gauge(self.rows, self.terms.signs)
        self._spells = Spells(self)
        self._any_fires = any(rule.on_missing == "fire" for rule in rules)
        spans_ms = [min(level.for_ms for level in rule.levels) + rule.keep_firing_for_ms for rule in rules]
        self.flaps = Flaps(spans_ms, alerts_max)
        self._sources: dict[int, Labelled] = {}
        self._names = Names(rules, first, self._sources, self.slot_of)
        self._notices = Notices(rules, first, self._names, self._sources, self.flaps)
        self.changes = Changes()
        self._steps = AlertSteps(self, self._life, self._notices)

    # -- label sets --------------------------------------------------------------------------------------------

    def attach(self, rule: int, source: Labelled) -> None:
        """Say where the labels of a rule's slots are known."""
        self._sources[rule] = source

    def measure_by(self, rules: Ints, unit: Measuring, *, plain: bool) -> None:
        """Say who knows what these rules measure, by place, and whether they are plain."""
        self._notices.measure_by(rules, unit, plain=plain)
        self.plain[rules] = plain

    def add_places(self, first_slot: int, number: int) -> Ints:
        """Number the conditions of new slots of a rule."""
        again = np.array([self._free.pop() for _ in range(min(number, len(self._free)))], dtype=np.int64)
        first, more = len(self.codes), number - len(again)
        for column in (self.row_of, self.codes, self.slot_of):
            column.resize(first + more)
        places = np.concatenate([again, np.arange(first, first + more)])
        self.slot_of.array[places] = np.arange(first_slot, first_slot + number)
        self.codes.array[places] = Code.FALSE
        return places

    def making_room(self, number: int) -> Generator[None, None, None]:
        """Make room for so many more places, in steps."""
        for column in (self.row_of, self.codes, self.slot_of):
            yield from column.growing(len(column) + number)

    def give_places_back(self, places: Ints) -> None:
        """The conditions of these places, which have no alert, are forgotten."""
        self.changes.forget(places)
        for place in places.tolist():
            self._names.forget(place)
        self._free += places.tolist()

    def renew(self, place: int) -> None:
        """A place without an alert stands for another label set from now on."""
        self.changes.forget(np.array([place], dtype=np.int64))
        self.codes.array[place] = Code.FALSE
        self._names.forget(place)

    @property
    def spells(self) -> Spells:
        """The steps of plain rules."""
        return self._spells

    def told(self, told: Told) -> list[Output]:
        """The transitions of plain rules."""
        return self._notices.outputs(self, told)

    # -- what happens ------------------------------------------------------------------------------------------

    def tell(self, points: Points) -> list[Output]:
        """Tell alerts what their conditions are, and before each point what was due until then."""
        return [output for chunk in self.telling(points) for output in chunk]

    def telling(self, points: Points) -> Iterator[list[Output]]:
        """The same, some at a time."""
        begins = self._steps.opens(points.codes, points.rules)
        begins &= self.row_of.array[points.places] == FREE
        if not begins.any() or self.has_room(points.rules[begins]):
            yield self._steps.tell(points)
            return
        # Who comes first gets the room that is left: atom by atom.
        for order in np.unique(points.orders).tolist():
            yield self._steps.tell(points.pick(points.orders == order))

    def note(self, places: Ints, codes: Codes, values: Floats, same: NDArray[np.bool_]) -> None:
        """Samples of a landing that are not told.

        Args:
            codes, values: What the condition of each place is, and what was measured.
            same: Which say what was said before.
        """
        self.gauge.note(self.row_of.array, places, codes, values, same)

    def pass_time(self, until_ms: int, stamp_ms: int | None = None) -> list[Output]:
        """Let happen what is due until an instant, inclusive.

        Args:
            stamp_ms: When it happens, if that is not when it is due: in grid mode, the instant.
        """
        return [output for chunk in self.passing(until_ms, stamp_ms) for output in chunk]

    def passing(self, until_ms: int, stamp_ms: int | None = None) -> Iterator[list[Output]]:
        """The same, some alerts at a time."""
        if self.due_ms > until_ms:
            return
        rows = np.flatnonzero(self.rows.due <= until_ms)
        for start in range(0, len(rows), ROWS_PER_CHUNK):
            chunk = rows[start : start + ROWS_PER_CHUNK]
            if stamp_ms is None and (fires := self._spells.may_fire(chunk)).any():
                fire, chunk = chunk[fires], chunk[~fires]
                seen = self._notices.measured(self, self.rows.rule[fire], self.rows.place[fire], self.rows.due[fire])
                yield self._spells.fire(fire, None, seen)
            if len(chunk):
                yield self._steps.pass_time(chunk, np.full(len(chunk), until_ms), None, None, stamp_ms)
        self.due_ms = int(self.rows.due.min())

    def pass_places(self, places: Ints, untils: Ints, seen: Floats) -> Iterator[list[Output]]:
        """The same for some label sets that have an alert, each until an instant of its own.

        Args:
            seen: What the expression measures for each.
        """
        for start in range(0, len(places), ROWS_PER_CHUNK):
            part = slice(start, start + ROWS_PER_CHUNK)
            rows, until, values = self.row_of.array[places[part]], untils[part], seen[part]
            if (fires := self._spells.may_fire(rows)).any():
                yield self._spells.fire(rows[fires], None, values[fires])
                rows, until, values = rows[~fires], until[~fires], values[~fires]
            if len(rows):
                yield self._steps.pass_time(rows, until, None, values)

    def rules_due(self, before_ms: int) -> set[int]:
        """The rules with an alert whose clock comes strictly before an instant."""
        if self.due_ms >= before_ms:
            return set()
        return set(self.rows.rule[self.rows.due < before_ms].tolist())

    def blind(
        self, from_ms: int, to_ms: int, rows: Ints | None = None, *, some: bool = False, judged_ms: int = -1
    ) -> None:
        """Take a blind span out of the clocks of alerts, but for those whose clock had come before it began.

        Args:
            rows: Whose; all if that is not said.
            some: Others could see.
            judged_ms: Until then time has passed, so what there is of the span before it is told late.
        """
        own = self.rows
        rows = own.taken() if rows is None else rows
        rows = rows[own.due[rows] > from_ms]
        self.changes.touch(own.place[rows])
        for taken, begins, lengths in own.skip(rows, from_ms, to_ms, some=some):
            for at in self.shares.among(own, taken) if self.shares.any else ():
                judged = own.known(taken[at : at + 1], max(judged_ms, int(own.stepped[taken[at]]))) + lengths[at]
                self.shares.skip(own, int(taken[at]), int(begins[at]), int(lengths[at]), int(judged[0]))
        self.due_ms = min(self.due_ms, self._life.arm(rows, judged_ms))

    def arm(self, rows: Ints) -> None:
        """Compute anew when time alone will change these alerts."""
        self.changes.touch(self.rows.place[rows])
        self.due_ms = min(self.due_ms, self._life.arm(rows))

    # -- room --------------------------------------------------------------------------------------------------

    def may_add(self, number: int) -> bool:
        """Whether there is room for so many more alerts, whatever their rules."""
        return len(self.rows) + number <= self._alerts_max

    def has_room(self, rules: Ints) -> bool:
        """Whether each rule may have that many more alerts."""
        new = np.bincount(rules, minlength=len(self.rules))
        return not (self.counts + new > self.terms.alerts_max).any()

    def admit(self, rules: Ints, places: Ints) -> Ints:
        """Of the alerts that are about to begin, those for which there is room."""
        if self.has_room(rules):
            self.counts += np.bincount(rules, minlength=len(self.rules))
            return np.arange(len(rules))
        admitted = []
        for number, (rule, place) in enumerate(zip(rules.tolist(), places.tolist(), strict=True)):
            if self.counts[rule] < self.terms.alerts_max[rule]:
                self.counts[rule] += 1
                admitted.append(number)
            else:
                self.refused[rule] += 1
                self.changes.touch_rule(rule)
                self._refused_places.append(place)
        return np.array(admitted, dtype=np.int64)

    def note_refused(self) -> None:
        """What the label sets are told next for which there was no room is a change."""
        if self._refused_places:
            self.codes.array[self._refused_places] = Code.REFUSED
            self._refused_places = []

    def adopt(self, rule: int, places: Ints) -> Ints:
        """Rows for alerts that are taken back from a snapshot; the limit does not count for them."""
        rows = self.rows.take(places, rule, 0)
        self.row_of.array[places] = rows
        self.counts[rule] += len(rows)
        return rows

    def release(self, rows: Ints) -> None:
        """Give rows back."""
        own = self.rows
        self.changes.end(self, rows)
        self.row_of.array[own.place[rows]] = FREE
        self.counts -= np.bincount(own.rule[rows], minlength=len(self.rules))
        own.give_back(rows)
        if self.shares.any:
            self.shares.drop(rows.tolist())

    def drop(self, rows: Ints) -> None:
        """These alerts have never been: what their label sets are told next is a change."""
        self.codes.array[self.rows.place[rows]] = Code.REFUSED
        self.release(rows)

    def take_refused(self) -> list[tuple[str, int]]:
        """How many alerts of which rule were refused since the last call."""
        new = self.refused - self._refusals_told
        self._refusals_told = self.refused.copy()
        return [(self.rules[rule].name, int(new[rule])) for rule in np.flatnonzero(new).tolist()]

    def refusals(self, rule: int) -> tuple[int, int]:
        """How many alerts of a rule were refused, and of how many of these somebody was told."""
        return int(self.refused[rule]), int(self._refusals_told[rule])

    def note_refusals(self, rule: int, refusals: tuple[int, int]) -> None:
        """Go on counting from what `refusals` gave."""
        self.refused[rule], self._refusals_told[rule] = refusals

    # -- reading -----------------------------------------------------------------------------------------------

    def fires_missing(self, rows: Ints) -> NDArray[np.bool_] | None:
        """Which alerts fire because their data is missing; None if none can."""
        if not self._any_fires:
            return None
        can = self.terms.missing[self.rows.rule[rows]] != NEVER_MS
        fires: NDArray[np.bool_] = can & (self.rows.unknown[rows] != NEVER_MS)
        return fires

    def ends(self, rows: Ints, codes: Codes) -> NDArray[np.bool_]:
        """Which of these alerts are firing and would not be any more, were they told these known conditions."""
        left = self.rows.set[rows] & ~(codes >> 8)
        ends: NDArray[np.bool_] = (self.rows.phase[rows] == _FIRING) & ((codes & Code.WHENS) == 0) & (left == 0)
        return ends

    def text_at(self, rule: int, place: int) -> Key:
        """The labels of the alert at a place, as one text."""
        return self._names.of(rule, place).key

    def key_of(self, row: int) -> tuple[tuple[str, str], ...]:
        """The labels of an alert, in their order."""
        labels = self._names.of(int(self.rows.rule[row]), int(self.rows.place[row])).labels
        return tuple(sorted(labels.items()))

    def rows_of(self, rule: int) -> Ints:
        """The rows of one rule's alerts."""
        return np.flatnonzero((self.rows.place != FREE) & (self.rows.rule == rule))

    def shown(self) -> Ints:
        """The rows of alerts that people see: pending and firing ones."""
        return np.flatnonzero((self.rows.place != FREE) & (self.rows.phase != _INACTIVE))

    def statuses(self, rows: Ints, now_ms: int) -> list[AlertStatus]:
        """Alerts as people see them at `now_ms`."""
        return [] if not len(rows) else self._notices.statuses(self, rows, now_ms)
