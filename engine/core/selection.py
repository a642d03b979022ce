"""What a selector selects of the blocks that are kept: columns of each, and their label sets.

A selection grows while series are first seen. Its shape stays the same object while its series do; label sets become
columns of codes only for who groups or matches them, and then each series once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.blocks import Block
from engine.core.columns import Column, Index, as_index
from engine.core.promql.labels import Codes, Interner, Shape
from engine.core.promql.plan import Selector
from engine.core.ragged import Ragged

__all__ = ["LabelsOf", "Part", "Selected"]

LabelsOf: TypeAlias = Callable[[int], dict[str, str]]
"""The label set of a series, by its handle."""


class Part:
    """What is selected of one block: aligned columns, which only grow.

    Args:
        block: Where the samples are.
    """

    def __init__(self, block: Block | Ragged) -> None:
        self.block = block
        self.columns: Column[np.int64] = Column(np.int64, -1)
        self.handles: Column[np.int64] = Column(np.int64, -1)
        self._codes: dict[str, Column[np.int64]] = {}
        self._coded = 0
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """Its columns; the same object as long as they are the same."""
        if self._index is None:
            self._index = as_index(self.columns.array)
        return self._index

    def add(self, columns: NDArray[np.int64], handles: NDArray[np.int64]) -> None:
        """Take note of further columns of the block."""
        self.columns.extend(columns)
        self.handles.extend(handles)
        self._index = None

    def shape(self, size: int, interner: Interner, labels: LabelsOf) -> Shape:
        """The label sets of the first `size`."""
        handles = self.handles.array[:size]
        return Shape.lazy(
            interner, size, lambda row: labels(int(handles[row])), lambda: self._columns_of(size, interner, labels)
        )

    def taken(self, block: Block | Ragged, kept: NDArray[np.bool_], numbers: NDArray[np.int64]) -> Part:
        """A copy for what is left of the block.

        Args:
            kept: Which columns of the block are.
            numbers: New handles by old ones, -1 for those that are gone.
        """
        places = (np.cumsum(kept) - 1)[self.columns.array]
        chosen = kept[self.columns.array]
        made = Part(block)
        made.add(places[chosen], numbers[self.handles.array[chosen]])
        made._coded = int(np.count_nonzero(chosen[: self._coded]))
        for name, column in self._codes.items():
            made._codes[name] = Column(np.int64, 0)
            made._codes[name].extend(column.array[chosen[: self._coded]])
        return made

    def mark_codes(self, used: NDArray[np.bool_]) -> None:
        """Note which codes it uses."""
        for column in self._codes.values():
            used[column.array] = True

    def recode(self, codes: Codes) -> None:
        """Use other codes: new ones by old ones."""
        for column in self._codes.values():
            column.array[:] = codes[column.array]

    def _columns_of(self, size: int, interner: Interner, labels: LabelsOf) -> dict[str, Codes]:
        if self._coded < size:
            new = Shape.of(interner, [labels(handle) for handle in self.handles.array[self._coded : size].tolist()])
            for name, codes in new.columns.items():
                column = self._codes.setdefault(name, Column(np.int64, 0))
                column.resize(self._coded)
                column.extend(codes)
            self._coded = size
            for column in self._codes.values():
                column.resize(size)
        return {name: column.array[:size] for name, column in self._codes.items()}


class Selected:
    """What a selector selects.

    Args:
        labels: Label sets of series.
    """

    def __init__(self, selector: Selector, interner: Interner, labels: LabelsOf) -> None:
        self.parts: dict[int, Part] = {}
        """By the number of the block."""
        self._selector = selector
        self._interner = interner
        self._labels = labels
        self._shape: Shape | None = None
        self._handles = np.zeros(0, dtype=np.int64)

    @property
    def shape(self) -> Shape:
        """The label sets, in the order of parts."""
        self._join()
        assert self._shape is not None
        return self._shape

    @property
    def handles(self) -> NDArray[np.int64]:
        """The series, in the same order."""
        self._join()
        return self._handles

    def add(self, metric: str, number: int, block: Block | Ragged, first: int, handles: NDArray[np.int64]) -> None:
        """Take note of new columns of a block.

        Args:
            number: The block's.
            first: The first of the new columns.
            handles: Their series.
        """
        if self._selector.metric and self._selector.metric != metric:
            return
        columns = np.arange(first, first + len(handles))
        if self._selector.matchers:
            matches, labels = self._selector.matches, self._labels
            chosen = np.array([matches(labels(handle)) for handle in handles.tolist()], dtype=np.bool_)
            columns, handles = columns[chosen], handles[chosen]
        if not len(columns):
            return
        if number not in self.parts:
            self.parts[number] = Part(block)
        self.parts[number].add(columns, handles)
        self._shape = None

    def reorder(self, numbers: Sequence[int]) -> None:
        """Put the parts of these blocks first, in this order."""
        first = {number: self.parts[number] for number in numbers if number in self.parts}
        self.parts = {**first, **self.parts}
        self._shape = None

    def taken(
        self,
        blocks: dict[int, tuple[int, Block | Ragged]],
        kept: dict[int, NDArray[np.bool_]],
        numbers: NDArray[np.int64],
    ) -> Selected:
        """A copy for what is left.

        Args:
            blocks: New numbers and blocks by old numbers.
            kept: Which columns of each old block are left.
            numbers: New handles by old ones.
        """
        made = Selected(self._selector, self._interner, self._labels)
        for old, part in self.parts.items():
            if old in blocks:
                new, block = blocks[old]
                left = part.taken(block, kept[old], numbers)
                if len(left.handles):
                    made.parts[new] = left
        return made

    def _join(self) -> None:
        """Make the shape of what is there now."""
        if self._shape is not None:
            return
        parts, sizes = list(self.parts.values()), [len(part.handles) for part in self.parts.values()]
        interner, labels = self._interner, self._labels
        if len(parts) == 1:
            self._handles = parts[0].handles.array
            self._shape = parts[0].shape(sizes[0], interner, labels)
            return
        handles = self._handles = np.concatenate([part.handles.array for part in parts] or [self._handles[:0]])

        def columns() -> dict[str, Codes]:
            shapes = [part.shape(size, interner, labels) for part, size in zip(parts, sizes, strict=True)]
            return Shape.concatenate(shapes).columns if shapes else {}

        self._shape = Shape.lazy(interner, len(handles), lambda row: labels(int(handles[row])), columns)
