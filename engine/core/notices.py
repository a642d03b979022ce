"""Transitions: changes of alerts' states, with the labels and texts that people see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import Ints
from engine.core.alerts import STATES, Code
from engine.core.flaps import Flaps
from engine.core.names import Key, Named, Names
from engine.core.statuses import status_of, with_severity
from engine.events import AlertState, Facts, Transition
from engine.status import AlertStatus

if TYPE_CHECKING:
    from engine.core.book import AlertBook, Labelled
    from engine.core.life import Alerting

__all__ = ["Measuring", "Notices", "Output", "Told"]

Levels: TypeAlias = NDArray[Any]
_SHOWN: Final = np.array([0, 1, 2, 2], dtype=np.int8)
"""By phase, the number of the state that people see."""
_WORDS: Final = ("recovered", "", "missing", "ended", "lost", "condition", "held", "level")
"""Reasons: those of codes that end a condition are at minus the code."""
_LOST, _CONDITION = 4, 5
BEGINS, FIRES_AT_ONCE, FIRES, CLEARS, RESOLVES = range(5)
KINDS: Final[tuple[tuple[AlertState, AlertState, str], ...]] = (
    ("inactive", "pending", "condition"),
    ("inactive", "firing", "condition"),
    ("pending", "firing", "held"),
    ("pending", "inactive", "recovered"),
    ("firing", "inactive", "recovered"),
)
"""What can happen to the alert of a plain rule: the state before, the state after, the reason."""
_NOTHING: Final[dict[str, str]] = {}
Row: TypeAlias = tuple[int, int, int, int, float, int, int, int, Any]
"""Of `Told`, with its number: (order, time, place, kind, value, active, fired, number, facts)."""
Output: TypeAlias = tuple[int, int, int, Key, int, Transition]
"""A transition after what it is ordered by: place of its atom, time, rule, labels, and a number of its own."""


class Told(NamedTuple):
    """What becomes of alerts of plain rules: aligned columns, one row for each transition.

    Args:
        orders: Place of its atom in the order of output.
        kinds: What happens, as in `KINDS`.
        values: What the expression measured then.
        facts: Of those that end a firing alert; None of others.
    """

    orders: Ints
    times: Ints
    rules: Ints
    places: Ints
    kinds: Ints
    values: NDArray[np.float64]
    active: Ints
    fired: Ints
    facts: NDArray[np.object_]

    def pick(self, at: Ints) -> Told:
        """Some of them."""
        return Told._make(column[at] for column in self)


class Measuring(Protocol):
    """Who knows what rules measure."""

    def values_of(self, places: Ints, times: Ints) -> NDArray[np.float64]:
        """What they measure at places at instants; NaN where nothing is known."""


class Notices:
    """Makes transitions.

    Args:
        rules: By number.
        first: What is added to the number of a rule in outputs.
        names: What alerts are called.
        sources: By rule, who knows what it measures.
        flaps: Marks those of alerts that go back and forth.
    """

    def __init__(
        self, rules: Sequence[Alerting], first: int, names: Names, sources: Mapping[int, Labelled], flaps: Flaps
    ) -> None:
        self._rules = rules
        self._first = first
        self._flaps = flaps
        self._names = names
        self._sources = sources
        self._severities = [[*(level.severity for level in rule.levels), ""] for rule in rules]  # -1 is none
        self._silent = [not getattr(rule, "annotations", True) for rule in rules]
        self._bare = False  # no plain rule has annotations or a severity
        self._plain = False
        self._unit_of = np.full(len(rules), -1, dtype=np.int64)
        self._units: list[Measuring] = []
        self._made = 0

    def measure_by(self, rules: Ints, unit: Measuring, *, plain: bool) -> None:
        """Say who knows what these rules measure, by place, and whether they are plain."""
        bare = all(self._silent[rule] and not self._severities[rule][0] for rule in rules.tolist())
        self._bare = (bare and (self._bare or not self._plain)) if plain else self._bare
        self._plain |= plain
        self._unit_of[rules] = len(self._units)
        self._units.append(unit)

    def changes(
        self,
        book: AlertBook,
        rows: Ints,
        times: Ints,
        before: tuple[NDArray[np.int8], NDArray[np.int8]],
        orders: Ints | None,
        values: NDArray[np.float64] | None,
        lost: NDArray[np.bool_] | None,
    ) -> list[Output]:
        """The transitions of alerts that were stepped.

        Args:
            before: Phase and level of each, before the step.
        """
        own = book.rows
        was, now = _SHOWN[before[0]], _SHOWN[own.phase[rows]]
        changed = was != now
        if book.levels > 1:
            changed |= (now == 2) & (before[1] != own.level[rows])
        at = np.flatnonzero(changed)
        if not len(at):
            return []
        here, was, now = rows[at], was[at], now[at]
        rules, places, stamps = own.rule[here], own.place[here], times[at]
        measured = self.measured(book, rules, places, stamps) if values is None else values[at]
        columns = zip(
            [0] * len(at) if orders is None else orders[at].tolist(),
            stamps.tolist(),
            rules.tolist(),
            places.tolist(),
            was.tolist(),
            now.tolist(),
            measured.tolist(),
            own.active[here].tolist(),
            own.fired[here].tolist(),
            self._reasons(book, here, was, now, None if lost is None else lost[at]).tolist(),
            own.level[here].tolist(),
            np.where(was == 2, before[1][at], -1).tolist(),
            self._facts(book, here, stamps, was == 2),
            strict=True,
        )
        made: list[Output] = []
        for order, time_ms, rule, place, old, new, value, active, fired, reason, level, last, facts in columns:
            said = STATES[old], STATES[new], _WORDS[reason]
            made.append(self._output(book, order, time_ms, rule, place, said, value, active, fired, level, last, facts))
        return made

    @staticmethod
    def _facts(book: AlertBook, rows: Ints, times: Ints, fired: NDArray[np.bool_]) -> list[Facts | None]:
        """Of alerts that fired before, what was measured."""
        found: list[Facts | None] = [None] * len(rows)
        at = np.flatnonzero(fired)
        for number, facts in zip(at.tolist(), book.gauge.facts(rows[at], times[at]) if len(at) else (), strict=True):
            found[number] = facts
        return found

    def _output(
        self,
        book: AlertBook,
        order: int,
        time_ms: int,
        which: int,
        place: int,
        said: tuple[AlertState, AlertState, str],
        value: float,
        active: int,
        fired: int,
        level: int,
        last: int,
        facts: Facts | None,
    ) -> Output:
        named = self._names.at_hand.get(place) or self._names.of(which, place)
        labels, key, number, name = named.labels, named.key, named.rule, named.name
        severity, texts = self._severities[which][level], _NOTHING
        if "firing" in said and not self._silent[which]:
            texts = self._rules[which].describe(with_severity(labels, severity), value)
        mark = self._flaps.is_on if said[:2] == ("pending", "firing") else self._flaps.change
        flaps = mark(which, key, time_ms)
        was = self._severities[which][last]
        transition = Transition(time_ms, name, labels, *said, value, active, texts, fired, severity, was, flaps, facts)
        self._made += 1
        return order, time_ms, number, key, self._made, transition

    def outputs(self, book: AlertBook, told: Told) -> list[Output]:
        """Transitions of plain rules, one for each row. This is most of what a change costs."""
        places, first = told.places.tolist(), self._made + 1
        self._made += len(places)
        self._names.fetch(told.rules, places)
        columns = zip(
            told.orders.tolist(),
            told.times.tolist(),
            places,
            told.kinds.tolist(),
            told.values.tolist(),
            told.active.tolist(),
            told.fired.tolist(),
            range(first, self._made + 1),
            told.facts.tolist(),
            strict=True,
        )
        if self._bare:
            return self._bare_outputs(columns)
        made: list[Output] = []
        rules = told.rules.tolist()
        for which, (order, time_ms, place, kind, value, active, fired, _, facts) in zip(rules, columns, strict=True):
            level, last = (0 if kind in (FIRES, FIRES_AT_ONCE, RESOLVES) else -1), (0 if kind == RESOLVES else -1)
            made.append(
                self._output(book, order, time_ms, which, place, KINDS[kind], value, active, fired, level, last, facts)
            )
        return made

    def _bare_outputs(self, columns: Iterable[Row]) -> list[Output]:
        """Those of rules without annotations and severity: nothing but the name differs, and no call is made for it."""
        named, changed, is_on = self._names.at_hand, self._changed, self._is_on
        return [
            (
                order,
                time_ms,
                one.rule,
                one.key,
                number,
                Transition(
                    time_ms,
                    one.name,
                    one.labels,
                    before,
                    after,
                    why,
                    value,
                    active,
                    _NOTHING,
                    fired,
                    "",
                    "",
                    one.ring.on if time_ms < one.ring.until_ms else (is_on if kind == FIRES else changed)(one, time_ms),
                    facts,
                ),
            )
            for order, time_ms, place, kind, value, active, fired, number, facts in columns
            for one in (named[place],)
            for before, after, why in (KINDS[kind],)
        ]

    def _changed(self, named: Named, time_ms: int) -> bool:
        """Take note that an alert changed; whether it is marked now."""
        if named.ring.until_ms >= 0:
            return self._flaps.again(named.rule - self._first, named.key, named.ring, time_ms)
        named.ring = self._flaps.renew(named.rule - self._first, named.key, time_ms)
        return named.ring.on

    def _is_on(self, named: Named, time_ms: int) -> bool:
        """Whether an alert is marked at an instant."""
        return self._flaps.is_on(named.rule - self._first, named.key, time_ms)

    @staticmethod
    def _reasons(
        book: AlertBook, rows: Ints, was: NDArray[np.int8], now: NDArray[np.int8], lost: NDArray[np.bool_] | None
    ) -> Ints:
        """Why each alert changed, as places in `_WORDS`."""
        ended = -book.rows.reason[rows]
        reasons = np.where(now == 0, np.where(ended > 0, ended, 0), np.where(now == 1, _CONDITION, _CONDITION + was))
        if lost is not None:
            reasons = np.where((now == 0) & lost, _LOST, reasons)
        fires = book.fires_missing(rows)
        if fires is not None:
            reasons = np.where((was != 2) & (now == 2) & fires, -Code.MISSING, reasons)
        chosen: Ints = reasons
        return chosen

    def measured(self, book: AlertBook, rules: Ints, places: Ints, times: Ints) -> NDArray[np.float64]:
        """What the expressions measure at these instants, asked of those who judge them."""
        units = self._unit_of[rules]
        if len(units) and units[0] >= 0 and bool((units == units[0]).all()):
            return self._units[int(units[0])].values_of(places, times)
        values: NDArray[np.float64] = np.empty(len(rules))
        for rule in np.unique(rules).tolist():
            at = np.flatnonzero(rules == rule)
            values[at] = self._sources[rule].values_at(book.slot_of.array[places[at]], times[at])
        return values

    def statuses(self, book: AlertBook, rows: Ints, now_ms: int) -> list[AlertStatus]:
        """Alerts as people see them at `now_ms`."""
        own = book.rows
        rules, places = own.rule[rows].tolist(), own.place[rows].tolist()
        times = np.full(len(rows), now_ms)
        values = self.measured(book, own.rule[rows], own.place[rows], times).tolist()
        facts = self._facts(book, rows, times, own.fired[rows] > 0)
        return [
            status_of(book, self._flaps, number, row, named.labels, named.key, value, known, now_ms)
            for row, number, place, value, known in zip(rows.tolist(), rules, places, values, facts, strict=True)
            for named in (self._names.of(number, place),)
        ]
