"""Transitions: changes of alerts' states, with the labels and texts that people see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import OFF, Ints
from engine.core.alerts import STATES, Code, Phase
from engine.core.flaps import Flaps
from engine.core.store import NEVER_MS
from engine.events import Transition
from engine.status import AlertStatus

if TYPE_CHECKING:
    from engine.core.book import AlertBook, Labelled
    from engine.core.life import Alerting

__all__ = ["Notices", "Output"]

Key: TypeAlias = tuple[tuple[str, str], ...]
_SHOWN: Final = np.array([0, 1, 2, 2], dtype=np.int8)
"""By phase, the number of the state that people see."""
_WORDS: Final = ("recovered", "", "missing", "ended", "lost", "condition", "held", "level")
"""Reasons: those of codes that end a condition are at minus the code."""
_LOST, _CONDITION = 4, 5
_NOTHING: Final[dict[str, str]] = {}
NAMED_MAX: Final = 100_000
"""Of how many label sets without an alert the labels are kept at hand."""


Output: TypeAlias = tuple[int, int, int, Key, int, Transition]
"""A transition after what it is ordered by: place of its atom, time, rule, labels, and a number of its own."""


class Notices:
    """Makes transitions.

    Args:
        rules: By number.
        first: What is added to the number of a rule in outputs.
        flaps: Marks those of alerts that go back and forth.
    """

    def __init__(self, rules: Sequence[Alerting], first: int, flaps: Flaps) -> None:
        self._rules = rules
        self._first = first
        self._flaps = flaps
        self._sources: dict[int, Labelled] = {}
        self._severities = [[*(level.severity for level in rule.levels), ""] for rule in rules]  # -1 is none
        self._made = 0
        self._named: dict[int, tuple[dict[str, str], Key]] = {}
        self._refused: list[int] = []

    def attach(self, rule: int, source: Labelled) -> None:
        """Say where the labels of a rule's slots are known."""
        self._sources[rule] = source

    def refuse(self, place: int) -> None:
        """Note that the alert of a label set was refused."""
        self._refused.append(place)

    def take_refused(self) -> list[int]:
        """The label sets that were refused since the last call."""
        refused, self._refused = self._refused, []
        return refused

    def named(self, rule: int, place: int, slot: int) -> tuple[dict[str, str], Key]:
        """The labels of an alert, and the same in order."""
        known = self._named.get(place)
        if known is None:
            if len(self._named) >= NAMED_MAX:
                self._named.clear()
            labels = self._rules[rule].alert_labels(self._sources[rule].labels_of(slot))
            known = self._named[place] = labels, tuple(sorted(labels.items()))
        return known

    def forget(self, place: int) -> None:
        """A place stands for another label set from now on."""
        self._named.pop(place, None)

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
        rules, places = own.rule[here].tolist(), own.place[here]
        slots, stamps = book.slot_of.array[places].tolist(), times[at].tolist()
        measured = self._measured(book, rules, slots, stamps) if values is None else values[at].tolist()
        reasons = self._reasons(book, here, was, now, None if lost is None else lost[at])
        levels, levels_before = own.level[here].tolist(), np.where(was == 2, before[1][at], -1).tolist()
        columns = zip(
            [0] * len(at) if orders is None else orders[at].tolist(),
            stamps,
            rules,
            places.tolist(),
            slots,
            was.tolist(),
            now.tolist(),
            measured,
            own.active[here].tolist(),
            own.fired[here].tolist(),
            reasons,
            levels,
            levels_before,
            strict=True,
        )
        all_rules, named, severities, first = self._rules, self._named, self._severities, self._first
        number, made = self._made, []
        for order, time_ms, which, place, slot, old, new, value, active, fired, reason, level, last in columns:
            rule = all_rules[which]
            labels, key = named.get(place) or self.named(which, place, slot)
            number += 1
            mark = self._flaps.is_on if old == 1 and new == 2 else self._flaps.change
            transition = Transition(
                time_ms,
                rule.name,
                labels,
                STATES[old],
                STATES[new + (new == 2)],
                _WORDS[reason],
                value,
                active,
                rule.describe(_with(labels, severities[which][level]), value) if old == 2 or new == 2 else _NOTHING,
                fired,
                severities[which][level],
                severities[which][last],
                mark(which, key, time_ms),
            )
            made.append((order, time_ms, first + which, key, number, transition))
        self._made = number
        return made

    @staticmethod
    def _reasons(
        book: AlertBook, rows: Ints, was: NDArray[np.int8], now: NDArray[np.int8], lost: NDArray[np.bool_] | None
    ) -> list[int]:
        """Why each alert changed, as places in `_WORDS`."""
        ended = -book.rows.reason[rows]
        reasons = np.where(now == 0, np.where(ended > 0, ended, 0), np.where(now == 1, _CONDITION, _CONDITION + was))
        if lost is not None:
            reasons = np.where((now == 0) & lost, _LOST, reasons)
        fires = book.fires_missing(rows)
        if fires is not None:
            reasons = np.where((was != 2) & (now == 2) & fires, -Code.MISSING, reasons)
        chosen: list[int] = reasons.tolist()
        return chosen

    def _measured(self, book: AlertBook, rules: list[int], slots: list[int], times: list[int]) -> list[float]:
        """What the expressions measure at these instants, asked of those who judge them."""
        if len(set(rules)) == 1:
            same: list[float] = self._sources[rules[0]].values_at(np.array(slots), np.array(times)).tolist()
            return same
        values: NDArray[np.float64] = np.empty(len(rules))
        numbers = np.array(rules)
        for rule in set(rules):
            at = np.flatnonzero(numbers == rule)
            values[at] = self._sources[rule].values_at(np.array(slots)[at], np.array(times)[at])
        measured: list[float] = values.tolist()
        return measured

    def statuses(self, book: AlertBook, rows: Ints, now_ms: int) -> list[AlertStatus]:
        """Alerts as people see them at `now_ms`."""
        own = book.rows
        rules, places = own.rule[rows].tolist(), own.place[rows].tolist()
        slots = book.slot_of.array[own.place[rows]].tolist()
        values = self._measured(book, rules, slots, [now_ms] * len(rules))
        return [
            self._status(book, *one, now_ms) for one in zip(rows.tolist(), rules, places, slots, values, strict=True)
        ]

    def _status(
        self, book: AlertBook, row: int, number: int, place: int, slot: int, value: float, now_ms: int
    ) -> AlertStatus:
        own, rule = book.rows, self._rules[number]
        labels, key = self.named(number, place, slot)
        phase, level = Phase(int(own.phase[row])), int(own.level[row])
        known_ms = int(own.known(np.array([row]), now_ms)[0])
        runs = own.run[:, row]
        unset = [i for i, since in enumerate(runs.tolist()) if since != OFF and not int(own.set[row]) >> i & 1]
        lengths = {i: rule.levels[i].for_ms for i in unset}
        following = min(unset, key=lambda i: int(runs[i]) + lengths[i], default=0)
        if phase is Phase.KEEPING:
            elapsed_ms = known_ms - int(own.keep[row])
        elif phase is Phase.PENDING and unset:
            elapsed_ms = known_ms - int(runs[following])
        elif phase is Phase.PENDING:  # under `of` a condition that is false by now
            elapsed_ms = now_ms - int(own.active[row])
        else:
            elapsed_ms = now_ms - int(own.fired[row])
        due_ms, stands = int(own.due[row]), int(own.paused[row]) != NEVER_MS
        return AlertStatus(
            rule=rule.name,
            labels=labels,
            state=phase.state,
            active_since_ms=int(own.active[row]),
            elapsed_ms=elapsed_ms,
            for_ms=rule.levels[following].for_ms,
            value=value,
            paused=int(own.unknown[row]) != NEVER_MS,
            keeping=phase is Phase.KEEPING,
            due_ms=0 if stands or due_ms == NEVER_MS else due_ms,
            annotations=rule.describe(_with(labels, self._severities[number][level]), value),
            severity=self._severities[number][level],
            flapping=self._flaps.is_on(number, key, now_ms),
            fading=phase is Phase.PENDING and rule.of < 1 and not book.shares.is_on(row),
        )


def _with(labels: dict[str, str], severity: str) -> dict[str, str]:
    """The labels as people see them: with the severity that is reached."""
    return {**labels, "severity": severity} if severity else labels
