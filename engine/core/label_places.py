"""Places in a book for label sets that are known by their labels alone; used again when their alert is over."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np

from engine.core.alert_rows import FREE, Ints
from engine.core.alerts import Code
from engine.core.book import AlertBook

__all__ = ["LabelPlaces", "Labels", "SavedPlaces"]

Labels: TypeAlias = tuple[tuple[str, str], ...]


class SavedPlaces(msgspec.Struct):
    """What a snapshot keeps of label sets: how many places there are, which label set has which, and which are free."""

    size: int
    items: list[tuple[Labels, int]]
    free: list[int]


class LabelPlaces:
    """Label sets and their places, in a book of one rule.

    Args:
        book: Its slots are its places.
    """

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._labels: list[Labels] = []
        self._places: dict[Labels, int] = {}
        self._free: list[int] = []
        self._taken: Ints | None = None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._places

    def find(self, labels: Labels) -> int:
        """The place of a label set, or -1."""
        return self._places.get(labels, FREE)

    def take(self, labels: Labels) -> int:
        """The place of a label set, given at first sight."""
        place = self._places.get(labels)
        if place is None:
            if self._free:
                place = self._free.pop()
                self._labels[place] = labels
                self._book.renew(place)
            else:
                place = int(self._book.add_places(len(self._labels), 1)[0])
                self._labels.append(labels)
            self._places[labels] = place
            self._taken = None
        return place

    def forget(self, labels: Labels) -> None:
        """Give the place of a label set back, unless it has an alert."""
        place = self._places.get(labels)
        if place is not None and self._book.row_of.array[place] == FREE:
            del self._places[labels]
            self._free.append(place)
            self._taken = None

    def saved(self) -> SavedPlaces:
        """What a snapshot keeps of it."""
        return SavedPlaces(len(self._labels), list(self._places.items()), self._free)

    def load(self, saved: SavedPlaces) -> None:
        """Take back what `saved` gave, into a book without places.

        Raises:
            ValueError: It does not fit itself.
        """
        numbers = sorted([*(place for _, place in saved.items), *saved.free])
        if saved.size != len(numbers) or numbers != list(range(saved.size)):
            raise ValueError("places of label sets that don't fit each other")
        self._places = dict(saved.items)
        if len(self._places) < len(saved.items):
            raise ValueError("a label set with two places")
        self._labels, self._free, self._taken = [()] * saved.size, list(saved.free), None
        for labels, place in saved.items:
            self._labels[place] = labels
        self._book.add_places(0, saved.size)

    def taken(self) -> Ints:
        """The places that are in use, ascending."""
        if self._taken is None:
            self._taken = np.sort(np.fromiter(self._places.values(), np.int64, len(self._places)))
        return self._taken

    def labels(self, place: int) -> Labels:
        """The label set at a place."""
        return self._labels[place]

    def items(self) -> list[tuple[Labels, int]]:
        """(label set, place) of all."""
        return list(self._places.items())

    def refused(self, labels: Labels) -> bool:
        """Whether its alert was refused."""
        place = self.find(labels)
        return place >= 0 and int(self._book.codes.array[place]) == Code.REFUSED
