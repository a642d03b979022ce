"""Label sets as columns: what PromQL does to labels, done to whole columns of small integers.

Every label value is interned once into an integer; 0 is the empty value, which in PromQL equals absence. A
`Shape` is n label sets, one integer column for each label name that any of them has. Grouping, matching and
renaming are then operations on columns, and derived shapes are kept by the shape they come from, so
that an evaluation that sees the same series again touches no label at all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAME", "Codes", "Grouping", "Interner", "Shape"]

Codes: TypeAlias = NDArray[np.int64]
T = TypeVar("T")
NAME = "__name__"
DERIVED_MAX = 64
VALUES_PER_CHUNK = 10_000


class Interner:
    """Label values to integers and back; one for everything that is compared. Grows until it is replaced."""

    __slots__ = ("_codes", "_values")

    def __init__(self) -> None:
        self._codes: dict[str, int] = {"": 0}
        self._values: list[str] = [""]

    def code(self, value: str) -> int:
        """The integer of a value, given at first sight."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self._values)
            self._values.append(value)
        return code

    def value(self, code: int) -> str:
        """The value behind an integer."""
        return self._values[code]

    def __len__(self) -> int:
        return len(self._values)

    def compacting(self, used: NDArray[np.bool_]) -> Generator[None, None, Callable[[], None]]:
        """Prepare to forget values, in steps; what is returned does it at once. The others get the codes 0, 1, ... in
        their order, and shapes made before are worth nothing any more.

        Args:
            used: By code, which values stay; the empty one must.
        """
        values = list(compress(self._values, used.tolist()))
        codes: dict[str, int] = {}
        for at in range(0, len(values), VALUES_PER_CHUNK):
            part = values[at : at + VALUES_PER_CHUNK]
            codes.update(zip(part, range(at, at + len(part)), strict=True))
            yield

        def commit() -> None:
            self._values, self._codes = values, codes

        return commit


class Grouping:
    """A partition of a shape's label sets.

    Args:
        ids: For each label set its group: 0..count-1, in order of first appearance.
        shape: The label sets of the groups.
    """

    __slots__ = ("ids", "shape")

    def __init__(self, ids: Codes, shape: Shape) -> None:
        self.ids = ids
        self.shape = shape

    @property
    def count(self) -> int:
        """How many groups."""
        return len(self.shape)


class Shape:
    """n label sets, as columns. Immutable; what is derived from it is kept with it.

    Args:
        size: n.
        columns: By label name, codes of shape (n,). A name that is missing is empty everywhere.
    """

    __slots__ = ("_columns", "_derived", "_labels", "_make", "_size", "interner")

    def __init__(self, interner: Interner, size: int, columns: Mapping[str, Codes]) -> None:
        self.interner = interner
        self._size = size
        self._columns: dict[str, Codes] | None = dict(columns)
        self._make: Callable[[], Mapping[str, Codes]] | None = None
        self._labels: Callable[[int], dict[str, str]] | None = None
        self._derived: dict[Any, Any] = {}

    @classmethod
    def lazy(
        cls,
        interner: Interner,
        size: int,
        labels: Callable[[int], dict[str, str]],
        columns: Callable[[], Mapping[str, Codes]],
    ) -> Shape:
        """A shape whose columns are made when they are first asked for: many are only ever counted and shown.

        Args:
            labels: One label set, as `labels` of a shape gives it.
        """
        shape = cls(interner, size, {})
        shape._columns, shape._make, shape._labels = None, columns, labels
        return shape

    @property
    def columns(self) -> dict[str, Codes]:
        """By label name, codes of shape (n,)."""
        if self._columns is None:
            assert self._make is not None
            self._columns = dict(self._make())
            self._make = None
        return self._columns

    @classmethod
    def of(cls, interner: Interner, label_sets: Sequence[Mapping[str, str]]) -> Shape:
        """A shape of label sets given as mappings (`__name__` included)."""
        names = dict.fromkeys(name for labels in label_sets for name in labels)
        size = len(label_sets)
        return cls(
            interner,
            size,
            {
                n: np.fromiter((interner.code(labels.get(n, "")) for labels in label_sets), np.int64, size)
                for n in names
            },
        )

    def __len__(self) -> int:
        return self._size

    def column(self, name: str) -> Codes:
        """The codes of one label; zeros where no label set has it."""
        found = self.columns.get(name)
        return np.zeros(self._size, dtype=np.int64) if found is None else found

    def labels(self, row: int) -> dict[str, str]:
        """One label set, sorted by name, without empty values; `__name__` included."""
        if self._labels is not None:
            return self._labels(row)
        return {
            name: self.interner.value(int(self.columns[name][row]))
            for name in sorted(self.columns)
            if self.columns[name][row]
        }

    def find(self, labels: Mapping[str, str]) -> Codes:
        """Rows that have exactly these labels, whatever their `__name__`."""
        found = np.ones(self._size, dtype=np.bool_)
        if any(text and name not in self.columns for name, text in labels.items()):
            return np.zeros(0, dtype=np.int64)
        for name, codes in self.columns.items():
            if name != NAME:
                found &= codes == self.interner.code(labels.get(name, ""))
        return np.flatnonzero(found)

    def derive(self, key: Any, make: Callable[[], T]) -> T:
        """What is made of this shape under `key`, made once. The key must say everything that `make` depends on."""
        if key not in self._derived:
            if len(self._derived) >= DERIVED_MAX:
                del self._derived[next(iter(self._derived))]
            self._derived[key] = make()
        found: T = self._derived[key]
        return found

    def take(self, rows: Codes) -> Shape:
        """The label sets at `rows`."""
        return Shape(self.interner, len(rows), {name: codes[rows] for name, codes in self.columns.items()})

    def without(self, names: Iterable[str]) -> Shape:
        """The same label sets without these labels. Equal ones are not merged: see `group`."""
        gone = frozenset(names)
        if not gone & self.columns.keys():
            return self
        kept = {name: codes for name, codes in self.columns.items() if name not in gone}
        return self.derive(("without", gone), lambda: Shape(self.interner, self._size, kept))

    def keep(self, names: Iterable[str]) -> Shape:
        """The same label sets with these labels alone."""
        return self.without(self.columns.keys() - set(names))

    def with_column(self, name: str, codes: Codes) -> Shape:
        """The same label sets with one label set to other values."""
        return Shape(self.interner, self._size, {**self.columns, name: codes})

    def ids(self) -> Codes:
        """For each label set an integer that is equal for equal label sets: 0.. in order of first appearance."""
        return self.derive("ids", self._number)

    def group(self, names: Iterable[str], *, excluding: bool) -> Grouping:
        """Partition by the labels `names`, or by all others (`excluding`). `__name__` is not excluded by itself."""
        given = frozenset(names)

        def make() -> Grouping:
            reduced = self.without(given) if excluding else self.keep(given)
            ids = reduced.ids()
            _, first = np.unique(ids, return_index=True)
            return Grouping(ids, reduced.take(first))

        return self.derive(("group", given, excluding), make)

    def _number(self) -> Codes:
        columns = [codes for _, codes in sorted(self.columns.items()) if codes.any()]
        ids = np.zeros(self._size, dtype=np.int64)
        for codes in columns:  # one column at a time, renumbering after each, so that nothing overflows
            _, dense = np.unique(codes, return_inverse=True)
            _, ids = np.unique(ids * (int(dense.max(initial=0)) + 1) + dense, return_inverse=True)
        _, first, ids = np.unique(ids, return_index=True, return_inverse=True)
        order = np.empty(len(first), dtype=np.int64)
        order[np.argsort(first, kind="stable")] = np.arange(len(first))
        return order[ids]

    @staticmethod
    def concatenate(parts: Sequence[Shape]) -> Shape:
        """The label sets of several shapes, one after the other. They must share an interner."""
        names = dict.fromkeys(name for part in parts for name in part.columns)
        columns = {name: np.concatenate([part.column(name) for part in parts]) for name in names}
        return Shape(parts[0].interner, sum(map(len, parts)), columns)
