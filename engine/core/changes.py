"""Which alerts of a book changed since somebody asked, as marks; `engine.core.alert_bytes` makes rows of them.

Nothing is noted before somebody asks for the first time, and then a change costs one mark at its place, whatever the
alert does. It must never keep more than one mark for an alert, nor say that an alert is over that is still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.core.alert_rows import FREE, Ints
from engine.core.columns import Column
from engine.core.remembered import Remembered

if TYPE_CHECKING:
    from engine.core.book import AlertBook
    from engine.core.names import Key

__all__ = ["Changes"]

_NO_PLACES: Final = np.zeros(0, dtype=np.int64)


class Changes:
    """The marks of one book."""

    def __init__(self) -> None:
        self.on = False
        """Whether anybody wants to know."""
        self._rules: tuple[int, ...] = ()
        self._marks: Column[np.bool_] = Column(np.bool_, False)
        self._any = False
        self.over: dict[tuple[int, Key], None] = {}
        """By rule, label sets whose alert ended, or whose ring changed, and that are to be told so."""
        self.known: dict[tuple[int, Key], int] = {}
        """By rule and label set, the place of each alert that somebody was told of."""
        self.remembered: dict[int, Remembered] = {}
        """Of rules that remember label sets without an alert, those that somebody was told of."""
        self.of_rule: dict[int, None] = {}
        """Rules of which something changed that is no alert's own."""

    def begin(self, book: AlertBook, rules: Iterable[int]) -> None:
        """From now on somebody wants to know of these rules, which are all that have alerts here; what there is now is
        news."""
        self.on, self._rules = True, tuple(rules)
        book.flaps.changed = self.over
        self.touch(book.rows.place[book.rows.taken()])
        for rule in self._rules:
            self.of_rule[rule] = None
            self.over.update(((rule, key), None) for key in book.flaps.keys(rule))

    def touch(self, places: Ints) -> None:
        """The alerts at these places changed."""
        if self.on and len(places):
            self._marks.resize(int(places.max()) + 1)
            self._marks.array[places] = True
            self._any = True

    def touch_rules(self) -> None:
        """Something changed that all alerts have in common."""
        if self.on:
            self.of_rule = dict.fromkeys(self._rules)

    def touch_rule(self, rule: int) -> None:
        """Something of a rule changed that is no alert's own."""
        if self.on:
            self.of_rule[rule] = None

    def end(self, book: AlertBook, rows: Ints) -> None:
        """The alerts of these rows are about to be over."""
        if not self.on:
            return
        places = book.rows.place[rows]
        self._marks.resize(int(places.max(initial=-1)) + 1)
        self._marks.array[places] = False
        for rule, place in zip(book.rows.rule[rows].tolist(), places.tolist(), strict=True):
            key = rule, book.text_at(rule, place)
            self.known.pop(key, None)
            self.over[key] = None

    def remember(self, book: AlertBook, rule: int, places: Ints) -> None:
        """A rule remembers the label sets at these places, and no others."""
        remembered = self.remembered.setdefault(rule, Remembered())
        self.over.update(((rule, text), None) for text in remembered.renew(places, lambda at: book.text_at(rule, at)))

    def forget(self, places: Ints) -> None:
        """These places stand for other label sets from now on, or for none."""
        for rule, remembered in self.remembered.items():
            self.over.update(((rule, text), None) for text in remembered.forget(places.tolist()))

    def take(self, book: AlertBook, limit: int) -> Ints:
        """Rows of alerts that changed, at most so many; the others are kept for the next time."""
        if not self._any or limit <= 0:
            return _NO_PLACES
        places = np.flatnonzero(self._marks.array)
        self._any = len(places) > limit
        self._marks.array[places[:limit]] = False
        return book.row_of.array[places[:limit]]

    def take_over(self, book: AlertBook, limit: int) -> Iterator[tuple[int, Key]]:
        """Label sets without an alert of which something changed, at most so many; none while alerts are marked."""
        for key in list(self.over)[: 0 if self._any else limit]:
            del self.over[key]
            place = self.known.get(key, FREE)
            if place == FREE:
                yield key
