"""Label sets without an alert that a rule remembers under `on_missing = "fire"`, as far as somebody was told of them.

Which those are knows who judges the rule; here is what has changed of them since somebody asked. It must never hold on
to a place that stands for another label set by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from engine.core.alert_rows import Ints
from engine.core.columns import Column

__all__ = ["Remembered"]


class Remembered:
    """The label sets of one rule that somebody was told of, by place."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._places: dict[str, int] = {}
        self._told: Column[np.bool_] = Column(np.bool_, False)

    def place_of(self, text: str) -> int | None:
        """Where a label set is remembered."""
        return self._places.get(text)

    def renew(self, places: Ints, text_at: Callable[[int], str]) -> list[str]:
        """These are what the rule remembers now; return what is new and what is no more."""
        self._told.resize(int(places.max(initial=-1)) + 1)
        news = places[~self._told.array[places]].tolist()
        changed: list[str] = []
        if len(self._texts) + len(news) > len(places):
            gone = self._told.array.copy()
            gone[places] = False
            changed += self.forget(np.flatnonzero(gone).tolist())
        for place in news:
            text = self._texts[place] = text_at(place)
            self._places[text] = place
            self._told.array[place] = True
            changed.append(text)
        return changed

    def forget(self, places: Iterable[int]) -> list[str]:
        """These places stand for nothing any more; return what they stood for, as far as somebody was told."""
        gone: list[str] = []
        for place in places if self._texts else ():
            text = self._texts.pop(place, None)
            if text is not None:
                self._told.array[place] = False
                if self._places.get(text) == place:
                    del self._places[text]
                gone.append(text)
        return gone
