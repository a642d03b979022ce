"""Points of pointwise rules on their way to the book of alerts, told together."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from engine.core.book import AlertBook
from engine.core.judge import Judge
from engine.core.kin import Kin
from engine.core.notices import Output
from engine.core.points import Points

__all__ = ["POINTS_PER_CHUNK", "Telling"]

POINTS_PER_CHUNK: Final = 256
"""All of which are changes."""
CHANGES_PER_STEP: Final = 32


class Telling:
    """Points of several rules on their way to the book, told together: one step costs little more than that of one."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._waiting: list[Points] = []
        self._size = 0
        self._told: list[tuple[Judge | Kin, Points]] = []

    def add(self, judge: Judge | Kin, points: Points, at_most: int = POINTS_PER_CHUNK) -> Iterator[list[Output]]:
        """Take points of a rule; give what comes of those that are told, if so many have come together."""
        self._waiting.append(points)
        self._told.append((judge, points))
        self._size += points.size
        if self._size >= at_most:
            yield from self.rest()

    @property
    def waits(self) -> bool:
        """Whether anything waits to be told."""
        return bool(self._waiting)

    def rest(self) -> Iterator[list[Output]]:
        """Tell what waits."""
        if self._waiting:
            points, self._waiting, self._size = Points.join(self._waiting), [], 0
            for _ in self._book.rows.growing(points.size):
                yield []
            yield from self._book.telling(points)

    def note(self, judge: Judge | Kin, points: Points) -> None:
        """Points that somebody else has told."""
        self._told.append((judge, points))

    def done(self) -> Generator[None, None, None]:
        """All was told, and landed: the rules watch the inputs of new alerts."""
        self._told.reverse()  # each is let go of once it is through
        while self._told:
            judge, points = self._told.pop()
            judge.changed(points)
            if len(self._told) % CHANGES_PER_STEP == 0:
                yield
