"""The shares of alerts whose rules have `of`: which levels were true for a large enough part of their window.

Such rules are few and their alerts fewer, so these are plain objects beside the columns of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import OFF, Ints, Rows
from engine.core.alerts import Code
from engine.core.shares import Share
from engine.core.store import NEVER_MS

__all__ = ["ShareBook"]


class _Level(Protocol):
    @property
    def for_ms(self) -> int: ...

    @property
    def clear(self) -> object | None: ...


class _Rule(Protocol):
    @property
    def of(self) -> float: ...

    @property
    def levels(self) -> Sequence[_Level]: ...


class ShareBook:
    """The shares of alerts, by row.

    Args:
        rules: By number.
    """

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._rules = rules
        self.of_rule = np.array([rule.of < 1 for rule in rules], dtype=np.bool_)
        self.any = bool(self.of_rule.any())
        # What a level without `clear` is reset by: its share that is gone, and nothing else.
        self._cleared = np.array([self._resets(rule) for rule in rules], dtype=np.int16)
        self._shares: dict[int, list[Share]] = {}

    def among(self, own: Rows, rows: Ints) -> Iterator[int]:
        """Positions of rows whose rules have `of`."""
        yield from np.flatnonzero(self.of_rule[own.rule[rows]]).tolist()

    def clears(self, own: Rows, rows: Ints, codes: NDArray[np.int16]) -> NDArray[np.int16]:
        """By row the levels that being false or cleared may reset at once, as bits."""
        every = (codes < 0) | ~self.of_rule[own.rule[rows]]
        cleared: NDArray[np.int16] = np.where(every, np.int16(Code.WHENS), self._cleared[own.rule[rows]])
        return cleared

    def rests(self, own: Rows, rows: Ints) -> NDArray[np.int16]:
        """By row the levels that rest on their shares alone, as bits."""
        rules = own.rule[rows]
        bits: NDArray[np.int16] = np.where(self.of_rule[rules], ~self._cleared[rules], np.int16(0))
        return bits

    def see(self, own: Rows, row: int, code: int, now: int) -> None:
        """The condition is known at a place in known time; what ran before goes on while its window holds it.

        What has ended or is missing has no past. Nor has a level that was set and is cleared: it must be reached anew.
        """
        levels, was = self._rules[int(own.rule[row])].levels, int(own.set[row])
        for number, (level, share) in enumerate(zip(levels, self._of(own, row), strict=True)):
            own.run[number, row] = OFF
            if code < 0 or (level.clear is not None and code >> 8 >> number & 1 and was >> number & 1):
                share.restart()
            if code >= 0:
                share.turn(bool(code >> number & 1), now)

    def settle(self, own: Rows, row: int, now: int, *, ripe: bool) -> tuple[int, bool]:
        """(which levels are set, whether any of them runs) at a place in known time.

        Args:
            ripe: Whether a share that is reached counts: what is due at the very instant of a point happens when time
                has passed it.
        """
        rule, bits, runs = int(own.rule[row]), int(own.set[row]), False
        cleared = int(own.code[row]) >> 8
        for number, share in enumerate(self._of(own, row)):
            share.forget(now)
            runs |= share.holds_on(now)
            resets = int(self._cleared[rule]) >> number & 1
            if not share.reached(now):
                bits &= ~(1 << number) | (resets << number)
            elif (ripe or not share.window) and not cleared >> number & resets:
                bits |= 1 << number
        return bits, runs

    def held(self, row: int, now: int) -> Iterator[tuple[bool, int]]:
        """Of each level of a row whether it holds, and for how much of its window it held, in known time."""
        for share in self._shares.get(row, ()):
            yield share.on, share.true_for(now)

    def nearest(self, row: int, now: int) -> tuple[int, int]:
        """Of the level of a row that lacks least: (for how much of its window it held, how much it needs)."""
        shares = [(share.true_for(now), share.need) for share in self._shares.get(row, ())]
        return min(shares, key=lambda share: share[1] - share[0], default=(0, 0))

    def is_on(self, row: int) -> bool:
        """Whether a condition of the row holds now."""
        return any(share.on for share in self._shares.get(row, ()))

    def holds_on(self, row: int, now: int) -> bool:
        """Whether the row is still needed: something true is in a window."""
        return any(share.holds_on(now) for share in self._shares.get(row, ()))

    def due(self, own: Rows, row: int, now: int) -> int:
        """When, in known time, a share changes; NEVER_MS if none does."""
        shares, bits, resets = self._of(own, row), int(own.set[row]), int(self._cleared[own.rule[row]])
        held = int(own.code[row]) >> 8 & resets
        if any(share.reached(now) and not (bits | held) >> number & 1 for number, share in enumerate(shares)):
            return now
        changes = [change for share in shares if (change := share.next_change(now)) is not None]
        top = bits.bit_length() - 1  # what is below it does not rest on its share
        if top >= 0 and not resets >> top & 1 and not shares[top].reached(now):
            return now
        return min(changes, default=NEVER_MS)

    def skip(self, own: Rows, row: int, begin: int, length: int, judged: int) -> None:
        """Take known time out of the past of a row.

        What has fired, fired by what was known: for a level that is set, what was counted stays counted.

        Args:
            judged: Until there, in known time as it was, it was counted.
        """
        counted = min(max(judged - begin, 0), length)
        for level, share in enumerate(self._shares.get(row, ())):
            if int(own.set[row]) >> level & 1:
                share.keep(counted)
            else:
                share.skip(begin, length)

    def drop(self, rows: Iterable[int]) -> None:
        """The alerts of these rows are over."""
        for row in rows:
            self._shares.pop(row, None)

    def saved(self, rows: Iterable[int]) -> list[list[list[int]]]:
        """When the levels of rows were true, for a snapshot."""
        return [[share.spans for share in self._shares.get(row, ())] for row in rows]

    def load(self, rows: Iterable[int], saved: Iterable[list[list[int]]], rule: int) -> None:
        """Take back what `saved` gave, of rows of a rule."""
        for row, spans in zip(rows, saved, strict=True):
            shares = self._shares[row] = self._new(rule)
            for share, edges in zip(shares, spans, strict=True):
                share.spans = list(edges)

    def restart(self, row: int, keep: int) -> None:
        """Forget when levels of a row were true, but for those whose bit is in `keep`."""
        for level, share in enumerate(self._shares.get(row, ())):
            if not keep >> level & 1:
                share.restart()

    @staticmethod
    def _resets(rule: _Rule) -> int:
        """The levels that a condition can reset at once, as bits: those with `clear`, and those without a window."""
        return sum(1 << at for at, level in enumerate(rule.levels) if level.clear is not None or not level.for_ms)

    def _of(self, own: Rows, row: int) -> list[Share]:
        shares = self._shares.get(row)
        if shares is None:
            shares = self._shares[row] = self._new(int(own.rule[row]))
        return shares

    def _new(self, number: int) -> list[Share]:
        rule = self._rules[number]
        return [Share(level.for_ms, max(1, math.ceil(rule.of * level.for_ms))) for level in rule.levels]
