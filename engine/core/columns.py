"""A column: a NumPy array that grows at its end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.ma  # `numpy.unique` imports it when it is first called, which would hold up whoever does
from numpy.typing import NDArray

__all__ = ["Column", "Index", "as_index", "distinct"]

S = TypeVar("S", bound=np.generic)
POSITIONS_PER_STEP: Final = 65_536
Index: TypeAlias = slice | NDArray[np.int64]
"""Positions in a column: a slice where they are consecutive, which is several times as fast."""


def as_index(positions: NDArray[np.int64]) -> Index:
    """The same positions as a slice, if they are consecutive and ascending."""
    if not len(positions):
        return positions
    first = int(positions[0])
    consecutive = int(positions[-1]) - first == len(positions) - 1 and bool((np.diff(positions) == 1).all())
    return slice(first, first + len(positions)) if consecutive else positions


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once, ascending. `numpy.unique` takes several times as long for few."""
    ordered = np.sort(numbers)
    first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


class Column(Generic[S]):
    """Values by position, in one array that is doubled when it is full.

    Args:
        dtype: The array's type.
        fill: What a new position holds.
    """

    __slots__ = ("_data", "_fill", "_ready", "_size")

    def __init__(self, dtype: type[S], fill: float) -> None:
        self._data: NDArray[S] = np.full(16, fill, dtype=dtype)
        self._fill = fill
        self._size = 0
        self._ready = 0  # up to there memory was written once

    def __len__(self) -> int:
        return self._size

    @property
    def array(self) -> NDArray[S]:
        """The values, shape (len(self),): a view, valid until the column grows."""
        return self._data[: self._size]

    def append(self, value: float) -> None:
        """Add one position that holds `value`."""
        if self._size == len(self._data):
            self.resize(self._size + 1)
            self._size -= 1
        self._data[self._size] = value
        self._size += 1

    def extend(self, values: NDArray[S]) -> None:
        """Add a position for each value."""
        size = self._size
        self.resize(size + len(values))
        self._data[size : self._size] = values

    def taken(self, mask: NDArray[np.bool_]) -> Column[S]:
        """A copy of these positions alone, in their order."""
        made: Column[S] = Column(self._data.dtype.type, self._fill)
        made.extend(self.array[mask])
        return made

    def resize(self, size: int) -> None:
        """Grow to `size` positions; new ones hold the fill. Never shrinks."""
        if size > len(self._data):
            grown = np.empty(max(size, 2 * len(self._data), 16), dtype=self._data.dtype)
            grown[: self._size] = self.array
            self._data, self._ready = grown, self._size
        self._data[self._size : size] = self._fill
        self._size = max(self._size, size)

    def growing(self, size: int) -> Generator[None, None, None]:
        """Make room for `size` positions, in steps in which nobody may write. It stays as long as it is.

        Memory is written ahead: the system gives a page when it is first written, which can cost a step as much as all
        else, and columns that grow together would get theirs together.
        """
        if size > len(self._data):
            yield from self._copying(size)
        while self._ready < size:
            stop = min(max(self._ready, self._size) + POSITIONS_PER_STEP, len(self._data))
            self._data[max(self._ready, self._size) : stop] = self._fill
            self._ready = stop
            yield

    def _copying(self, size: int) -> Generator[None, None, None]:
        grown = np.empty(max(size, 2 * len(self._data)), dtype=self._data.dtype)
        for start in range(0, self._size, POSITIONS_PER_STEP):
            here = slice(start, min(start + POSITIONS_PER_STEP, self._size))
            grown[here] = self._data[here]
            yield
        self._data, self._ready = grown, self._size

    def lengthening(self, size: int) -> Generator[None, None, None]:
        """`resize` in steps, in which nobody may write."""
        yield from self.growing(size)
        for start in range(self._size, size, POSITIONS_PER_STEP):
            self.resize(min(start + POSITIONS_PER_STEP, size))
            yield


def spread(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All numbers of some ranges, one range after the other: (of which range each is, the numbers)."""
    lengths = ends - begins
    owners = np.repeat(np.arange(len(begins)), lengths)
    return owners, np.arange(len(owners)) + (begins - (np.cumsum(lengths) - lengths))[owners]
