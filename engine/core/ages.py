"""Ages of the inputs of alerts: when the next of them goes stale, for pointwise rules that are judged together."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, Ints
from engine.core.book import AlertBook
from engine.core.inputs import Inputs
from engine.core.points import Points
from engine.core.store import NEVER_MS, Store
from engine.core.sweeps import Sweep

__all__ = ["Ages"]

ROWS_PER_STEP: Final = 16_384


class Ages:
    """When an input goes stale that an alert of some rules has.

    Args:
        looks: When they look for that.
        leaves: How many selectors each rule has.
        rules: Which, by number: bool, shape (rules,).
    """

    def __init__(
        self, looks: Sweep, store: Store, book: AlertBook, inputs: Inputs, leaves: int, rules: NDArray[np.bool_]
    ) -> None:
        self._looks = looks
        self._store = store
        self._book = book
        self._inputs = inputs
        self._leaves = leaves
        self._rules = rules
        self._indices = np.flatnonzero(rules)
        self._all = bool(rules.all())
        self._calm_ms = -1  # no input of an alert goes stale before this
        self._following_ms = -1  # what the last sweep found to be the next to go stale

    @property
    def matter(self) -> bool:
        """Whether it matters that an input goes stale."""
        return bool(self._book.counts[self._indices].any())

    def is_calm(self, at_ms: int) -> Generator[None, None, bool]:
        """Whether no input of an alert went stale strictly before `at_ms`, by the store as it is. In steps."""
        if self._looks.at_ms >= at_ms and self._looks.at_ms >= self._looks.judged_ms:
            return True
        until_ms = max(at_ms, self._looks.judged_ms)
        if until_ms > self._calm_ms:
            self._calm_ms = yield from self._first_ms()
        return until_ms <= self._calm_ms

    def landed(self, stale_from_ms: int) -> None:
        """Samples of its series were landed; the first of them goes stale at `stale_from_ms`."""
        self._calm_ms = min(self._calm_ms, stale_from_ms)
        if stale_from_ms < self._looks.at_ms and self.matter:
            self._looks.expect(stale_from_ms)

    def changed(self, points: Points) -> None:
        """Points of its label sets were told: there may be new alerts, whose other inputs must be watched."""
        if self._leaves > 1 and self.matter:
            stale_ms = self._stale_ms(points.places, self._looks.swept_ms)
            self._calm_ms = min(self._calm_ms, stale_ms)
            self._looks.expect(stale_ms)

    def are_calm_before(self, once: Ints, first_ms: Ints, handles: Sequence[Ints]) -> bool:
        """Whether no input of these label sets that has an alert went stale strictly before an instant of its own.

        Args:
            handles: By selector, the inputs.
        """
        if self._looks.at_ms >= int(first_ms.max()):
            return True
        at = np.flatnonzero(self._book.row_of.array[once] != FREE)
        for one in handles:
            instants = self._store.stale_from(one[at])
            if ((instants < first_ms[at]) & (instants > self._looks.swept_ms)).any():
                return False
        return True

    def blinded(self) -> None:
        """Ages have changed by more than landings."""
        self._calm_ms = self._following_ms = -1

    def sweep(self, until_ms: int) -> Generator[None, None, list[tuple[int, Ints]]]:
        """What goes stale until an instant, inclusive, in steps: (rule, its slots), both ascending."""
        found: dict[int, list[Ints]] = {}
        self._calm_ms = self._following_ms = yield from self._first_ms()
        if self._calm_ms > until_ms:
            return []
        self._following_ms = -1
        after_ms, book = self._looks.swept_ms, self._book
        for places in self._watched():
            instants = self._stale_from(places, after_ms)
            places = places[instants <= until_ms]
            rules = self._inputs.rule.array[places]
            order = np.argsort(rules, kind="stable")
            begins = np.flatnonzero(np.append(True, np.diff(rules[order]) != 0)) if len(order) else order
            for part in np.split(order, begins[1:]):
                if len(part):
                    found.setdefault(int(rules[part[0]]), []).append(book.slot_of.array[places[part]])
            yield
        return [(rule, np.sort(np.concatenate(found[rule]))) for rule in sorted(found)]

    def watching(self) -> Generator[None, None, None]:
        """Plan the next sweep, in steps, once the points of the last one were told."""
        if self._following_ms < 0:
            self._following_ms = yield from self._first_ms()
        self._looks.expect(self._following_ms)

    def _watched(self) -> Iterator[Ints]:
        """The places of its alerts, some at a time."""
        own = self._book.rows
        for start in range(0, len(own.place), ROWS_PER_STEP):
            places = own.place[start : start + ROWS_PER_STEP]
            places = places[places != FREE]
            yield places if self._all else places[self._rules[self._inputs.rule.array[places]]]

    def _first_ms(self) -> Generator[None, None, int]:
        """The first instant after the last sweep at which an input of any of its alerts goes stale."""
        first, after_ms = NEVER_MS, self._looks.swept_ms
        for number, places in enumerate(self._watched()):
            if number:
                yield
            first = min(first, self._stale_ms(places, after_ms))
        return first

    def _stale_from(self, places: Ints, after_ms: int) -> Ints:
        """The first instant after `after_ms` at which an input of each of these goes stale."""
        first = np.full(len(places), NEVER_MS)
        for leaf in range(self._leaves):
            instants = self._store.stale_from(self._inputs.handles[leaf].array[places])
            np.minimum(first, np.where(instants > after_ms, instants, NEVER_MS), out=first)
        return first

    def _stale_ms(self, places: Ints, after_ms: int) -> int:
        """The first instant after `after_ms` at which an input of any of these goes stale."""
        first = NEVER_MS
        for leaf in range(self._leaves):
            instants = self._store.stale_from(self._inputs.handles[leaf].array[places])
            first = min(first, int(np.min(instants, initial=NEVER_MS, where=instants > after_ms)))
        return first
