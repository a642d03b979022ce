"""What alerts are called: their labels, as people and as sorting see them, at hand for those that change.

To make the labels of an alert costs more than a transition does, and to keep those of all alerts would cost more memory
than the alerts. So what changed lately is at hand, by place; the rest is made again when it changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from engine.core.alert_rows import Ints
from engine.core.columns import Column
from engine.core.flaps import Ring

if TYPE_CHECKING:
    import numpy as np

    from engine.core.book import Labelled
    from engine.core.life import Alerting

__all__ = ["Key", "Named", "Names", "key_of"]

Key: TypeAlias = str
"""A label set as one text, see `key_of`."""
_NO_RING: Final = Ring()
NAMED_MAX: Final = 20_000
NAMED_BEFORE: Final = 5
"""Of how many label sets the labels are kept at hand, and how many times that before."""
NAMES_DROPPED: Final = 2
"""How many that are not at hand any more go for each that comes."""


class Named(msgspec.Struct, gc=False):
    """What an alert is called. There are very many, and none is of interest to the garbage collector.

    Args:
        key: The labels in order.
        rule: The number of its rule in outputs.
        name: Of its rule.
        ring: How often it went back and forth, as far as it may be used without asking: see `Ring`.
    """

    labels: dict[str, str]
    key: Key
    rule: int
    name: str
    ring: Ring


class Names:
    """What the alerts of some rules are called, by place.

    Args:
        rules: By number.
        first: What is added to the number of a rule in outputs.
        sources: By rule, where the labels of its slots are known.
        slot_of: By place, the slot.
    """

    def __init__(
        self, rules: Sequence[Alerting], first: int, sources: Mapping[int, Labelled], slot_of: Column[np.int64]
    ) -> None:
        self._rules = rules
        self._first = first
        self._slot_of = slot_of
        self._sources = sources
        self.at_hand: dict[int, Named] = {}
        """By place, of those that were asked for lately."""
        self._older: deque[dict[int, Named]] = deque({} for _ in range(NAMED_BEFORE))
        """What was at hand before, the newest first: no dictionary is so large that it takes long to grow. What is in
        the last one goes a few at a time."""

    def of(self, rule: int, place: int) -> Named:
        """What an alert is called."""
        known = self.at_hand.get(place)
        if known is None:
            if len(self.at_hand) >= 2 * NAMED_MAX:
                self._begin_anew()
            known = self._find(rule, place)
        return known

    def fetch(self, rules: Ints, places: list[int]) -> None:
        """Have the labels of places at hand."""
        named = self.at_hand
        if all(map(named.__contains__, places)):
            return
        if len(named) + len(places) > NAMED_MAX:
            self._begin_anew()
            named = self.at_hand
        for rule, place in zip(rules.tolist(), places, strict=True):
            if place not in named:
                self._find(rule, place)

    def forget(self, place: int) -> None:
        """A place stands for another label set from now on."""
        for known in (self.at_hand, *self._older):
            known.pop(place, None)

    def _find(self, rule: int, place: int) -> Named:
        """Have what an alert is called at hand, which it is not."""
        for _ in range(min(NAMES_DROPPED, len(self._older[-1]))):
            self._older[-1].popitem()
        known: Named | None = None
        for older in self._older:
            if older and (known := older.pop(place, None)):
                break
        else:
            slot = int(self._slot_of.array[place])
            labels = self._rules[rule].alert_labels(self._sources[rule].labels_of(slot))
            known = Named(labels, key_of(labels), self._first + rule, self._rules[rule].name, _NO_RING)
        self.at_hand[place] = known
        return known

    def _begin_anew(self) -> None:
        self._older.pop()
        self._older.appendleft(self.at_hand)
        self.at_hand = {}


def key_of(labels: Mapping[str, str]) -> Key:
    """A label set as one text: in the order of such texts, label sets are in the order of their sorted pairs. A text is
    compared several times as fast as pairs are, and hashed once."""
    key = "\0".join(chain.from_iterable(sorted(labels.items())))
    if key.count("\0") < 2 * len(labels):  # nearly always: none of the texts has one
        return key
    return "\0".join(text.replace("\0", "\\0") for pair in sorted(labels.items()) for text in pair)
