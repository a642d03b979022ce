"""What windows ask of a block, from little: corrections for counter resets, and sums that nothing cancels in.

Kept are a running correction, and sums of 8, 64, 512, ... rows that are added and never subtracted, so that a value
that has left a window leaves no trace in it. All of it is computed when it is first asked for; who changes the rows
must say so.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.columns import Index
from engine.core.promql.vector import Floats
from engine.core.rows import Rows, is_empty, moved, taken

__all__ = ["Folds", "SavedFolds", "added"]

FAN_OUT: Final = 8
LEVELS_MAX: Final = 4
COVERS_MAX: Final = 16
Fold: TypeAlias = Callable[[Sequence[Floats]], Floats]


class SavedFolds(msgspec.Struct):
    """What a snapshot keeps of results over rows.

    Args:
        grouped: Whether groups of rows were summed, which must stay groups.
        corrections: What was lost by resets up to each row, from the first one that is wanted.
        previous: The last value of each series before.
    """

    grouped: bool
    corrections: bytes = b""
    previous: bytes = b""


class Folds:
    """Results over rows, kept for the next window.

    Args:
        rows: What they are computed from.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._corrections: Floats | None = None
        self._corrected_from = 0
        self._corrected = 0
        self._previous: Floats = np.zeros(0)  # of the last row that `_corrections` knows
        self._partials: dict[tuple[str, int], tuple[Floats, int]] = {}
        self._covers: dict[tuple[str, int, int, int, int], tuple[Index, Floats]] = {}

    def correction(self, row: int, columns: Index) -> Floats:
        """What was lost by resets from the beginning up to a row, for each series."""
        rows = self._rows
        if self._corrections is None:
            self._corrections = np.zeros_like(rows.values)
            self._previous = np.full(rows.width, np.nan)
            self._corrected_from = self._corrected = rows.start
        elif self._corrected < rows.start:  # nobody has asked for so long that rows are gone: begin anew
            self._previous = np.full(rows.width, np.nan)
            self._corrected_from = self._corrected = rows.start
        with np.errstate(all="ignore"):
            for number in range(self._corrected, rows.size):
                cells = rows.values[number]
                there = ~is_empty(cells)
                lost = np.where(there & (cells < self._previous), self._previous, 0.0)
                before = self._corrections[number - 1] if number > self._corrected_from else 0.0
                self._corrections[number] = lost + before
                self._previous = np.where(there, cells, self._previous)
        self._corrected = rows.size
        found: Floats = self._corrections[row, columns]
        return found

    def fold(self, name: str, ufunc: np.ufunc, first: int, last: int, columns: Index) -> Floats:
        """`ufunc` over the rows first..last-1, through the results of whole groups of rows."""

        def fold(parts: Sequence[Floats]) -> Floats:
            folded = parts[0].copy()
            for part in parts[1:]:
                ufunc(folded, part, out=folded)
            return folded

        with np.errstate(all="ignore"):  # infinities and NaN are values here
            return self._cover(name, fold, first, last, 0, columns)

    def total(self, first: int, last: int, columns: Index) -> Floats:
        """The sum of the rows first..last-1, with what rounding lost carried beside it, so that nothing cancels."""
        with np.errstate(all="ignore"):
            high, low = self._cover("sum", added, first, last, 0, columns)
            # Where the sum has left the finite, what it lost means nothing.
            total: Floats = np.where(np.isfinite(high), high + low, high)
            return total

    # -- changes of the rows -----------------------------------------------------------------------------------

    def group(self) -> int:
        """By groups of how many rows they may be moved, so that the groups here stay groups."""
        whole = FAN_OUT**LEVELS_MAX if self._partials else 1
        while whole > FAN_OUT and whole > len(self._rows):
            whole //= FAN_OUT
        return whole

    def move(self, dropped: int, whole: int) -> None:
        """The rows were moved to the front by `dropped` rows, in groups of `whole`."""
        if self._corrections is not None:
            kept = slice(dropped, self._rows.size + dropped)
            self._corrections = moved(self._corrections, kept, len(self._rows.times))
            self._corrected -= dropped
            self._corrected_from = max(self._corrected_from - dropped, 0)
        for (name, level), (groups, done) in list(self._partials.items()):
            size = FAN_OUT**level
            if size > whole:
                del self._partials[name, level]  # its groups would no longer begin where they did
            else:
                self._partials[name, level] = groups[dropped // size :].copy(), done - dropped // size
        self._covers.clear()

    def forget_from(self, row: int) -> None:
        """A row that was there has more cells: what was computed from it is not true any more."""
        if self._corrections is not None and self._corrected > row:
            self._corrections = None
        self._covers.clear()
        self._partials = {
            (name, level): (groups, min(done, row // FAN_OUT**level))
            for (name, level), (groups, done) in self._partials.items()
        }

    def taking(self, rows: Rows, columns: NDArray[np.int64]) -> Generator[None, None, Folds]:
        """A copy for `rows`, which are these rows with these series alone."""
        made = Folds(rows)
        if self._corrections is not None:
            made._corrections = yield from taken(self._corrections, columns)
            made._corrected_from, made._corrected = self._corrected_from, self._corrected
            made._previous = self._previous[columns]
        for key, (groups, done) in self._partials.items():
            made._partials[key] = (yield from taken(groups, columns)), done
        return made

    def saved(self) -> SavedFolds:
        """What a snapshot keeps of it: what was lost by resets, if anything was. Sums are made again, over the same
        groups."""
        made = SavedFolds(bool(self._partials))
        if self._corrections is not None and self._corrected > self._rows.start:
            known = self._corrections[self._rows.start : self._corrected]
            if known.any():
                made.corrections = known.astype("<f8").tobytes()
                made.previous = self._previous.astype("<f8").tobytes()
        return made

    def load(self, saved: SavedFolds) -> None:
        """Take back what `saved` gave, for the same rows.

        Raises:
            ValueError: It does not fit them.
        """
        rows = self._rows
        if saved.grouped:
            self._partials["sum", 1] = np.empty((0, 2, rows.width)), 0
        if saved.corrections:
            known = np.frombuffer(saved.corrections, dtype="<f8").reshape(-1, rows.width)
            self._corrections = np.zeros_like(rows.values)
            self._corrected_from, self._corrected = rows.start, rows.start + len(known)
            self._corrections[self._corrected_from : self._corrected] = known
            self._previous = np.frombuffer(saved.previous, dtype="<f8").astype(np.float64)
            if self._corrected > rows.size or len(self._previous) != rows.width:
                raise ValueError("resets of rows that there are not")

    # -- groups of rows ----------------------------------------------------------------------------------------

    def _cover(self, name: str, fold: Fold, first: int, last: int, level: int, columns: Index) -> Floats:
        """The result over first..last-1, counted in groups of FAN_OUT**level rows.

        A window that moves on by a row has the same inner groups as before most of the time, so the result over these
        is kept.
        """
        key = name, level, id(columns), first, last
        if level and key in self._covers:
            return self._covers[key][1]
        left, right = -(-first // FAN_OUT), last // FAN_OUT
        if level == LEVELS_MAX or left >= right:
            left = right = last
            parts = []
        else:
            parts = [self._cover(name, fold, left, right, level + 1, columns)]
            left, right = left * FAN_OUT, right * FAN_OUT
        before = [self._part(name, fold, level, at, columns) for at in range(first, left)]
        after = [self._part(name, fold, level, at, columns) for at in range(right, last)]
        folded = fold([*before, *parts, *after])
        if level:
            if len(self._covers) >= COVERS_MAX:
                del self._covers[next(iter(self._covers))]
            self._covers[key] = columns, folded  # the columns, so that their identity stays their own
        return folded

    def _part(self, name: str, fold: Fold, level: int, at: int, columns: Index) -> Floats:
        """A row, or the result over a group of rows: for sums two rows, the sum and what it lost."""
        rows = self._rows
        if level == 0:
            cells: Floats = rows.values[at, columns]
            return cells
        depth = (2,) if name == "sum" else ()
        groups, done = self._partials.get((name, level), (np.empty((0, *depth, rows.width)), 0))
        if at >= done:
            if at >= len(groups):
                grown = np.empty((max(at + 1, 2 * len(groups)), *depth, rows.width))
                grown[: len(groups)] = groups
                groups = grown
            for number in range(max(done, -(-rows.start // FAN_OUT**level)), at + 1):
                below = range(number * FAN_OUT, (number + 1) * FAN_OUT)
                groups[number] = fold([self._part(name, fold, level - 1, group, slice(None)) for group in below])
            self._partials[name, level] = groups, at + 1
        found: Floats = groups[at][..., columns]
        return found


def added(parts: Sequence[Floats]) -> Floats:
    """The sum of parts and what rounding lost: shape (2, n). A part is a row of values or such a pair of rows."""
    first = parts[0]
    high, low = (first.copy(), np.zeros_like(first)) if first.ndim == 1 else first.copy()
    summed, shown, missed = np.empty((3, len(high)))
    for part in parts[1:]:
        more = part if part.ndim == 1 else part[0]
        np.add(high, more, out=summed)
        np.subtract(summed, high, out=shown)  # what of `more` is in the sum
        np.subtract(more, shown, out=missed)
        low += missed
        np.subtract(summed, shown, out=shown)  # what of `high` is
        np.subtract(high, shown, out=missed)
        low += missed
        if part.ndim == 2:
            low += part[1]
        high, summed = summed, high
    return np.stack([high, low])
