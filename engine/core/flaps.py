"""The mark of alerts that go back and forth: whether one changed in too many of the last spans of time.

A mark is no state: it holds no transition back and makes none, and what somebody does about it is policy. Nagios and
Kapacitor look at the last 21 *checks* and weigh the changes among them, the newest most. Here there are no checks, and
a mark must not depend on how often a probe measures, so the ring is one of time: 21 spans, each with one bit that
says whether the alert changed in it. However often that was, it counts once.

A span is as long as the alert needs to fire and to resolve again, `for` and `keep_firing_for` together, and a minute at
least: in shorter ones an alert that fires whenever it can would have mostly empty spans and never be marked. Time in
which nobody could see anything is no part of any span.

What counts is a change for better or worse: that an alert begins, ends, or changes its severity. A pending alert that
is cleared has changed twice; that what is pending fires is no change. Time alone can only take the mark away, so it is
worked out when somebody asks, and an alert that does not change costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

__all__ = ["SPAN_MS_MIN", "Flaps", "Ring", "SavedFlaps", "SavedRing"]

Key: TypeAlias = str
"""A label set as one text, see `engine.core.notices`."""
SPANS: Final = 21
SPAN_MS_MIN: Final = 60_000
_WEIGHT_NEWEST: Final = 60
"""Weights fall by one from span to span, down to 40: as 1.2 and 0.8, in fiftieths."""
_WHOLE: Final = sum(range(_WEIGHT_NEWEST - SPANS + 1, _WEIGHT_NEWEST + 1))
_ON_ABOVE: Final = _WHOLE / 2
_OFF_BELOW: Final = _WHOLE / 4
_MASK: Final = (1 << SPANS) - 1
_KEPT_MIN: Final = 64


class SavedRing(msgspec.Struct, array_like=True, gc=False):
    """The last spans of one alert, as a snapshot keeps them.

    Args:
        span: The number of the span in which it changed last.
        bits: In which spans it changed: bit 0 is that one, bit 1 the one before.
        on: Whether it was marked then.
    """

    span: int
    bits: int = 1
    on: bool = False


class Ring(msgspec.Struct, gc=False):
    """The same, at work. Whoever holds one may use it for what is earlier than `until_ms`: that is in a span that has
    its bit already, and the mark is `on`. Most changes are, and cost no look-up.

    Args:
        until_ms: No change before this makes a difference. -1 where that is not known, as of a ring that was forgotten;
            `on` is true then, so that nobody relies on it.
    """

    span: int = 0
    bits: int = 1
    on: bool = True
    until_ms: int = -1

    def bits_at(self, span: int) -> int:
        """The bits of the spans that end with `span`."""
        passed = span - self.span
        return self.bits if passed <= 0 else (self.bits << min(passed, SPANS)) & _MASK


class SavedFlaps(msgspec.Struct):
    """What a snapshot keeps of one rule."""

    span_ms: int
    skipped_ms: int
    forgotten: int
    rings: list[tuple[Key, SavedRing]]


class Flaps:
    """The marks of the alerts of some rules.

    Args:
        spans_ms: Of each rule how long an alert needs to fire and to resolve again.
        label_sets_max: Of each rule how many label sets are remembered; beyond that those remembered longest are
            forgotten, and counted in `forgotten`.
    """

    def __init__(self, spans_ms: Sequence[int], label_sets_max: Sequence[int]) -> None:
        self._span_ms = [max(SPAN_MS_MIN, span_ms) for span_ms in spans_ms]
        self._max = label_sets_max
        self._rings: list[dict[Key, Ring]] = [{} for _ in spans_ms]
        self._tidy_at = [min(_KEPT_MIN, most) for most in label_sets_max]
        self._skipped_ms = 0
        self.forgotten = [0] * len(spans_ms)
        self.changed: dict[tuple[int, Key], None] | None = None
        """Where is noted, by rule, which rings change, if anybody wants to know."""

    def change(self, rule: int, labels: Key, time_ms: int) -> bool:
        """Take note of a change; return whether the alert is marked now."""
        return self.renew(rule, labels, time_ms).on

    def renew(self, rule: int, labels: Key, time_ms: int) -> Ring:
        """Take note of a change; return the ring of the alert, which says whether it is marked now."""
        ring = self._rings[rule].get(labels)
        if ring is None:
            ring = self._add(rule, labels, (time_ms - self._skipped_ms) // self._span_ms[rule])
        self.again(rule, labels, ring, time_ms)
        return ring

    def again(self, rule: int, labels: Key, ring: Ring, time_ms: int) -> bool:
        """Take note of a change of the alert that a ring is of, which was not forgotten; whether it is marked now."""
        span = (time_ms - self._skipped_ms) // self._span_ms[rule]
        passed = span - ring.span
        if passed > 0:
            if self.changed is not None:
                self.changed[rule, labels] = None
            bits = (ring.bits << passed) & _MASK if passed < SPANS else 0
            share = _share(bits)
            ring.on = (ring.on and share >= _OFF_BELOW) or share + _WEIGHT_NEWEST > _ON_ABOVE
            ring.span, ring.bits = span, bits | 1
        # Blind time that is told later makes spans longer: this is never too late.
        ring.until_ms = (ring.span + 1) * self._span_ms[rule] + self._skipped_ms
        return ring.on

    def is_on(self, rule: int, labels: Key, time_ms: int) -> bool:
        """Whether an alert is marked at an instant not before its last change."""
        ring = self._rings[rule].get(labels)
        if ring is None or not ring.on:
            return False
        return _share(ring.bits_at((time_ms - self._skipped_ms) // self._span_ms[rule])) >= _OFF_BELOW

    def skip(self, length_ms: int) -> None:
        """Nobody could see anything for so long, up to now."""
        self._skipped_ms += length_ms

    def keys(self, rule: int) -> list[Key]:
        """The label sets of which it has a ring."""
        return list(self._rings[rule])

    def ring(self, rule: int, labels: Key) -> SavedRing | None:
        """The last spans of one alert, if any are remembered."""
        ring = self._rings[rule].get(labels)
        return None if ring is None else SavedRing(ring.span, ring.bits, ring.on)

    def span_ms(self, rule: int) -> int:
        """How long a span of a rule is."""
        return self._span_ms[rule]

    @property
    def skipped_ms(self) -> int:
        """For how long nobody could see anything, in all."""
        return self._skipped_ms

    def saved(self, rule: int) -> SavedFlaps | None:
        """What a snapshot keeps of a rule; None if that is nothing."""
        if not self._rings[rule] and not self.forgotten[rule] and not self._skipped_ms:
            return None
        rings = [(key, SavedRing(ring.span, ring.bits, ring.on)) for key, ring in self._rings[rule].items()]
        return SavedFlaps(self._span_ms[rule], self._skipped_ms, self.forgotten[rule], rings)

    def load(self, rule: int, saved: SavedFlaps | None) -> None:
        """Take back what `saved` gave. Of a rule whose spans are others now, what was is forgotten."""
        if saved is None:
            return
        self._skipped_ms = max(self._skipped_ms, saved.skipped_ms)
        self.forgotten[rule] = saved.forgotten
        if saved.span_ms == self._span_ms[rule]:
            self._rings[rule] = {key: Ring(ring.span, ring.bits, ring.on) for key, ring in saved.rings}
            self._tidy_at[rule] = min(self._max[rule], max(_KEPT_MIN, len(saved.rings)))

    def _add(self, rule: int, labels: Key, span: int) -> Ring:
        rings = self._rings[rule]
        if len(rings) >= self._tidy_at[rule]:
            kept = {key: ring for key, ring in rings.items() if span - ring.span < SPANS}
            over = len(kept) - self._max[rule] + 1
            if over > 0:  # and some more, so that not every new one has to look for room
                over = min(len(kept), over + self._max[rule] // 8)
                for key in list(kept)[:over]:
                    del kept[key]
                self.forgotten[rule] += over
            for key in rings.keys() - kept.keys():  # who holds one must not go by it
                rings[key].on, rings[key].until_ms = True, -1
            if self.changed is not None:
                self.changed.update(((rule, key), None) for key in rings if key not in kept)
            rings = self._rings[rule] = kept
            self._tidy_at[rule] = min(self._max[rule], max(_KEPT_MIN, 2 * len(rings)))
        if self.changed is not None:
            self.changed[rule, labels] = None
        ring = rings[labels] = Ring(span, on=False)
        return ring


_PART: Final = 11
_LOW: Final = (1 << _PART) - 1


def _weights(first: int) -> list[int]:
    """By the bits of `_PART` spans, the newest of which is `first` before the newest of all: their weight."""
    weights = [0] * (1 << _PART)
    for bits in range(1, 1 << _PART):
        lowest = bits & -bits
        weights[bits] = weights[bits ^ lowest] + _WEIGHT_NEWEST - first - lowest.bit_length() + 1
    return weights


_NEW, _OLD = _weights(0), _weights(_PART)


def _share(bits: int) -> int:
    """The weight of the spans that have a change. Looked up in two parts: bit by bit takes ten times as long."""
    return _NEW[bits & _LOW] + _OLD[bits >> _PART]
