"""Alerts as columns: one row for each alert that is not inactive, and the arithmetic of its clocks.

Rows are taken and given back; what a row means is the book's business. Clocks are places on the alert's axis of known
time (see `engine.core.alerts`), so a pause moves one number and no clock. A blind span is told when it is over, or
later: each instant of it is taken out once, whatever was taken out of later time before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core import spans
from engine.core.alerts import Phase
from engine.core.spans import Edges
from engine.core.store import NEVER_MS

__all__ = ["FREE", "NOTHING_MEASURED", "OFF", "Ints", "Rows"]

Ints: TypeAlias = NDArray[np.int64]
FREE: Final = -1
OFF: Final = -NEVER_MS
"""The place of a clock that does not run."""
_ROWS_MIN: Final = 64
_ROWS_PER_STEP: Final = 32_768
_NO_PEAK: Final = int(np.float64(-np.inf).view(np.int64))
NOTHING_MEASURED: Final = {"samples": 0, "peak_bits": _NO_PEAK, "total_bits": 0}
_INTS: Final = {
    "place": FREE,
    "rule": 0,
    "keep": OFF,
    "lost": 0,
    "paused": NEVER_MS,
    "unknown": NEVER_MS,
    "dark": 0,
    "opened": 0,
    "active": 0,
    "fired": 0,
    "stepped": 0,
    "due": NEVER_MS,
    "born": 0,
    "since": OFF,
    "held": 0,
    **NOTHING_MEASURED,
}
_FLOATS: Final = {"peak": "peak_bits", "total": "total_bits"}
"""Columns of float64, and the columns of their bits: these are what is kept."""
_BITS: Final = {"code": 0, "set": 0, "kept": 0, "reason": 0}
_SMALL: Final = {"phase": int(Phase.INACTIVE), "level": -1}
"""Columns by type, and what they hold in a row that was just taken."""


class Rows:
    """The columns. All times are in milliseconds; NEVER_MS is no time at all.

    Args:
        levels: How many clocks a row has, one for each level of its rule.
    """

    place: Ints
    """Of the condition; FREE for a row that is not taken."""
    rule: Ints
    phase: NDArray[np.int8]
    level: NDArray[np.int8]
    """The level that is shown; -1 before the first was set."""
    code: NDArray[np.int16]
    """The last known condition."""
    set: NDArray[np.int16]
    """Which levels are set, as bits."""
    kept: NDArray[np.int16]
    """Which levels were set when the last of them was reset."""
    run: Ints
    """By level, since when its `when` holds, in known time."""
    keep: Ints
    """Since when `keep_firing_for` runs, in known time."""
    lost: Ints
    """What pauses have taken."""
    paused: Ints
    """Since when the clocks stand."""
    unknown: Ints
    """Since when nothing is known."""
    dark: Ints
    """For how much of that nobody could see."""
    opened: Ints
    """When the row was taken: no clock began before."""
    active: Ints
    fired: Ints
    """When it began to fire; 0 before."""
    stepped: Ints
    """Its last step; time never goes back."""
    reason: NDArray[np.int16]
    """The code that ended its condition."""
    due: Ints
    """When time alone will change it."""
    born: Ints
    """When it became active, in known time."""
    since: Ints
    """Since when some `when` holds without a break, in known time; not before it was active."""
    held: Ints
    """For how long one held before that, while it was active."""
    samples: Ints
    """How many numbers were measured while one held."""
    peak: NDArray[np.float64]
    """The most extreme of these, with its sign turned where that is the lowest; -inf before the first."""
    total: NDArray[np.float64]
    """Their sum, in the order in which they came."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.blind: Edges = []
        """When nobody could see: what was taken out of every row there was."""
        self.stood: dict[int, Edges] = {}
        """By row, when its own clocks stood otherwise."""
        self.unseen: dict[int, Edges] = {}
        """By row, when nobody could see what it rests on, though others could."""
        # Columns of one type are rows of one array: so a row is blanked at a stroke.
        self._blocks = [(_INTS, _block(np.int64, [*_INTS.values(), *[OFF] * levels])), (_BITS, _block(np.int16, _BITS))]
        self._blocks.append((_SMALL, _block(np.int8, _SMALL)))
        self._blank = [block[:, :1].copy() for _, block in self._blocks]
        self._show()
        self._free: list[int] = []
        self._fresh = 0
        """From here on no row was ever taken."""

    def _show(self) -> None:
        for names, block in self._blocks:
            for number, name in enumerate(names):
                setattr(self, name, block[number])
        for name, bits in _FLOATS.items():
            setattr(self, name, getattr(self, bits).view(np.float64))
        self.run = self._blocks[0][1][len(_INTS) :]

    def __len__(self) -> int:
        return self._fresh - len(self._free)

    def taken(self) -> Ints:
        """The rows in use."""
        return np.flatnonzero(self.place != FREE)

    def take(self, places: Ints, rules: Ints | int, times: Ints | int) -> Ints:
        """Take a row for each place, with no clock running and nothing set."""
        more = len(places) - len(self._free)
        if more > 0:
            while self._fresh + more > len(self.place):
                for _ in self._grow():
                    pass
            self._free[:0] = range(self._fresh + more - 1, self._fresh - 1, -1)
            self._fresh += more
        cut = len(self._free) - len(places)
        rows = np.array(self._free[cut:], dtype=np.int64)
        del self._free[cut:]
        for (_, block), blank in zip(self._blocks, self._blank, strict=True):
            block[:, rows] = blank
        self.place[rows] = places
        self.rule[rows] = rules
        self.active[rows] = self.stepped[rows] = self.opened[rows] = self.born[rows] = times
        return rows

    def give_back(self, rows: Ints) -> None:
        """The alerts of these rows are over."""
        self.place[rows] = FREE
        self.due[rows] = NEVER_MS
        self._free += rows.tolist()
        if self.stood:
            for row in rows.tolist():
                self.stood.pop(row, None)
                self.unseen.pop(row, None)

    def measure_anew(self, rows: Ints) -> None:
        """Nothing was measured of these yet."""
        self.samples[rows] = 0
        self.total[rows] = 0.0
        self.peak[rows] = -np.inf

    def known(self, rows: Ints, times: Ints | int) -> Ints:
        """Known time at an instant."""
        known: Ints = np.minimum(self.paused[rows], times) - self.lost[rows]
        return known

    def resume(self, rows: Ints, times: Ints) -> None:
        """The clocks of these rows run on, if they stood."""
        paused = self.paused[rows]
        stood = np.flatnonzero(paused != NEVER_MS)
        if not len(stood):
            return
        self.lost[rows[stood]] += times[stood] - paused[stood]
        self.paused[rows] = NEVER_MS
        for row, begin, end in zip(*(column[stood].tolist() for column in (rows, paused, times)), strict=True):
            for span in spans.without(self.blind, begin, end):
                spans.add(self.stood.setdefault(row, []), *span)

    def skip(self, rows: Ints, from_ms: int, to_ms: int, *, some: bool) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Take a span in which nobody could see out of every clock, and out of the time that nothing is known.

        Args:
            some: Others could see; else these are all rows, but for those whose clocks run on all the same.

        Yields:
            What is taken out of known time: (rows, where it begins there, its length).
        """
        marked = np.isin(rows, np.fromiter(self.stood, np.int64, len(self.stood)))
        parts = spans.without(self.blind, from_ms, to_ms)
        for begin, end in parts:
            self._darken(rows[~marked], begin, end)
            yield self._take_out(rows[~marked], begin, end)
            for row in rows[marked].tolist():
                one = np.array([row])
                for part in spans.without(self.unseen.get(row, []), begin, end):
                    self._darken(one, *part)
                for part in spans.without(self.stood[row], begin, end):
                    yield self._take_out(one, *part)
        for row in rows.tolist() if some else ():
            for part in parts:
                spans.add(self.stood.setdefault(row, []), *part)
                spans.add(self.unseen.setdefault(row, []), *part)
        if not some:
            spans.add(self.blind, from_ms, to_ms)
            for edges in self.stood.values():
                spans.remove(edges, from_ms, to_ms)
        self.stepped[rows] = np.maximum(self.stepped[rows], to_ms)

    def _darken(self, rows: Ints, from_ms: int, to_ms: int) -> None:
        """Nothing was known of these rows because nobody could see."""
        missing = rows[self.unknown[rows] != NEVER_MS]
        self.dark[missing] += np.maximum(to_ms - np.maximum(self.unknown[missing], from_ms), 0)

    def _take_out(self, rows: Ints, from_ms: int, to_ms: int) -> tuple[Ints, Ints, Ints]:
        """Place clocks that began in or after a span as if its time had not passed, as far as they ran in it."""
        begins = np.maximum(from_ms, self.opened[rows])
        lengths = np.minimum(self.paused[rows], to_ms) - begins
        rows, begins, lengths = rows[lengths > 0], begins[lengths > 0], lengths[lengths > 0]
        lost = self.lost[rows] - spans.after(self.blind, begins)
        if self.stood:
            for at, row in enumerate(rows.tolist()):
                if row in self.stood:
                    lost[at] -= spans.after(self.stood[row], begins[at : at + 1])[0]
        places = begins - lost
        for clocks in (*self.run, self.keep, self.since, self.born):
            since = clocks[rows]
            clocks[rows] = np.where(since == OFF, OFF, since - np.clip(since - places, 0, lengths))
        self.lost[rows] += lengths
        return rows, places, lengths

    def growing(self, more: int) -> Generator[None, None, None]:
        """Make room for so many more rows, in steps, where there are so many already that it takes its time."""
        while len(self.place) > _ROWS_PER_STEP and self._fresh - len(self._free) + more > len(self.place):
            yield from self._grow()

    def _grow(self) -> Generator[None, None, None]:
        size = len(self.place)
        grown = [(names, np.empty((len(block), 2 * size), dtype=block.dtype)) for names, block in self._blocks]
        for (_, wide), (_, block), blank in zip(grown, self._blocks, self._blank, strict=True):
            for new, old, value in zip(wide, block, blank[:, 0], strict=True):
                for start in range(0, size, _ROWS_PER_STEP):
                    here = slice(start, start + _ROWS_PER_STEP)
                    new[:size][here] = old[here]
                    new[size:][here] = value
                    yield
        self._blocks = grown
        self._show()


def _block(kind: type[np.signedinteger[Any]], blank: Iterable[int] | Mapping[str, int]) -> NDArray[Any]:
    values = list(blank.values() if isinstance(blank, Mapping) else blank)
    return np.repeat(np.array(values, dtype=kind)[:, None], _ROWS_MIN, axis=1)
