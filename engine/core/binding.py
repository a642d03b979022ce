"""Which series feed which label set of a rule.

A label set of a rule's result has a *slot*, a small integer. With one selector a slot is simply the position
of its series among the selected ones. With several, series with equal labels meet in one slot; the text of
a series after its metric name is the key, as canonical texts of equal label sets are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import compress
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.columns import Column, Index, as_index
from engine.core.promql.plan import Plan
from engine.series import SeriesTable, labels_of, series_text, split_series

__all__ = ["Binding", "Compacted", "Named", "Source", "Touched"]

Slots: TypeAlias = NDArray[np.int64]
KEYS_PER_CHUNK = 10_000


class Named(NamedTuple):
    """A series at first sight: its handle, and what its text says."""

    handle: int
    text: str
    metric: str
    labels: dict[str, str]


class Source(NamedTuple):
    """Where in an atom the samples of one selector are, for each of some slots.

    Args:
        at: Their positions; meaningless for a slot that is not `inside`.
        inside: Which slots have one, or None if all do.
    """

    at: Index
    inside: NDArray[np.bool_] | None


class Touched(NamedTuple):
    """What an atom's series touch in one rule.

    Args:
        slots: The label sets it can change, each once.
        at: The same, for columns.
        sources: For every selector, where its samples are; None if the atom holds none.
    """

    slots: Slots
    at: Index
    sources: tuple[Source | None, ...]

    @property
    def complete(self) -> list[Index] | None:
        """For every selector where its samples are, if the atom holds one for each slot; else None."""
        found = [source.at for source in self.sources if source is not None and source.inside is None]
        return found if len(found) == len(self.sources) else None


class Compacted(NamedTuple):
    """Slots without series that are forgotten.

    Args:
        slots: New slots by old ones, -1 for those without any series.
        commit: Makes the change.
    """

    slots: Slots
    commit: Callable[[], None]


class Binding:
    """Slots of one rule. A slot keeps its number until series are forgotten; then all are numbered anew, in order."""

    __slots__ = ("_key_slots", "_keys", "_members", "_metrics", "_slot_handles", "_slots_of", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._metrics = frozenset(leaf.metric for leaf in plan.leaves)
        # By selector: the handles it selects, ascending because handles are given in order of first sight.
        self._members: list[Column[np.int64]] = [Column(np.int64, -1) for _ in plan.leaves]
        # With several selectors, aligned with the members: their slots; and by slot: their handles.
        self._slots_of: list[Column[np.int64]] = [Column(np.int64, -1) for _ in plan.leaves]
        self._slot_handles: list[Column[np.int64]] = [Column(np.int64, -1) for _ in plan.leaves]
        self._key_slots: dict[str, int] = {}
        self._keys: list[str] = []

    @property
    def single(self) -> bool:
        """Whether slots are positions of one selector's series."""
        return len(self._members) == 1

    @property
    def metrics(self) -> frozenset[str]:
        """Names of the metrics its selectors read."""
        return self._metrics

    def __len__(self) -> int:
        return len(self._members[0]) if self.single else len(self._keys)

    def add_series(self, series: Sequence[Named]) -> tuple[Slots, Slots, Slots]:
        """Take note of series at first sight, in ascending order of handles.

        Returns:
            (handles, selectors, slots) of those that are selected, each as often as it is.
        """
        if self.single:
            leaf = self.plan.leaves[0]
            mine = (one for one in series if one.metric == leaf.metric)
            handles = [one.handle for one in mine if not leaf.matchers or leaf.matches(one.labels)]
            first, none = len(self._members[0]), np.broadcast_to(np.int64(0), len(handles))
            self._members[0].extend(np.array(handles, dtype=np.int64))
            return self._members[0].array[first:], none, np.arange(first, first + len(handles))
        found: list[tuple[int, int, int]] = []
        for one in series:
            for leaf in self.plan.leaves:
                if one.metric != leaf.metric or not leaf.matches(one.labels):
                    continue
                key = label_key(one.text, one.metric, one.labels)
                slot = self._key_slots.setdefault(key, len(self._keys))
                if slot == len(self._keys):
                    self._keys.append(key)
                found.append((one.handle, leaf.leaf, slot))
        for column in self._slot_handles:
            column.resize(len(self._keys))
        made = np.array(found, dtype=np.int64).reshape(-1, 3)
        for number in range(len(self._members)):
            here = made[:, 1] == number
            self._members[number].extend(made[here, 0])
            self._slots_of[number].extend(made[here, 2])
            self._slot_handles[number].array[made[here, 2]] = made[here, 0]
        return made[:, 0], made[:, 1], made[:, 2]

    def feeds(self) -> tuple[Slots, Slots, Slots]:
        """(handles, selectors, slots) of all that its series feed."""
        handles = [members.array for members in self._members]
        leaves = np.repeat(np.arange(len(handles)), [len(one) for one in handles])
        slots = [np.arange(len(handles[0]))] if self.single else [column.array for column in self._slots_of]
        return np.concatenate(handles), leaves, np.concatenate(slots)

    def handles(self, leaf: int, slots: Index) -> NDArray[np.int64]:
        """The series of a selector for each slot, -1 where it has none."""
        return (self._members[0] if self.single else self._slot_handles[leaf]).array[slots]

    def labels(self, slot: int, table: SeriesTable) -> dict[str, str]:
        """The labels of a slot's series, without the metric name."""
        for leaf in range(len(self._members)):
            handle = int((self._members[0] if self.single else self._slot_handles[leaf]).array[slot])
            if handle >= 0:
                return labels_of(table.text(handle))
        raise LookupError(f"slot {slot} has no series")  # a slot is made by a series

    def slot_of(self, key: str, table: SeriesTable) -> int:
        """The slot with these labels, or -1."""
        if not self.single:
            return self._key_slots.get(key, -1)
        metric = self.plan.leaves[0].metric
        members = self._members[0].array
        handle = table.find(series_text(metric, split_series("x" + key)[1]))
        place = int(np.searchsorted(members, handle))
        return place if place < len(members) and members[place] == handle else -1

    def saved(self) -> list[bytes]:
        """By selector the series of every slot, as little-endian int64, for a snapshot."""
        columns = self._members if self.single else self._slot_handles
        return [column.array.astype("<i8").tobytes() for column in columns]

    def load(self, saved: Sequence[bytes], texts: Sequence[str]) -> None:
        """Take back what `saved` gave, into an empty binding of the same plan.

        Args:
            texts: Of the series by handle.

        Raises:
            ValueError: It does not fit the plan or the series.
        """
        columns = [np.frombuffer(data, dtype="<i8").astype(np.int64) for data in saved]
        if len(columns) != len(self.plan.leaves) or len({len(column) for column in columns}) > 1:
            raise ValueError("series of slots that don't fit each other")
        if max(int(column.max(initial=-1)) for column in columns) >= len(texts) or (np.max(columns, axis=0) < 0).any():
            raise ValueError("slots of series that there are not")
        order = [np.argsort(column, kind="stable")[np.count_nonzero(column < 0) :] for column in columns]
        members = [column[slots] for column, slots in zip(columns, order, strict=True)]
        if any((np.diff(handles) <= 0).any() for handles in members):
            raise ValueError("a series with two slots")
        self._members = [_column(handles) for handles in members]
        if self.single:
            if len(members[0]) and (members[0] != columns[0]).any():
                raise ValueError("slots out of order")
            return
        self._slots_of = [_column(slots) for slots in order]
        self._slot_handles = [_column(column) for column in columns]
        first = np.zeros(len(columns[0]), dtype=np.int64)
        metrics = np.zeros(len(first), dtype=np.int64)
        for leaf in range(len(columns) - 1, -1, -1):
            there = columns[leaf] >= 0
            first[there], metrics[there] = columns[leaf][there], leaf
        names = [leaf.metric for leaf in self.plan.leaves]
        self._keys = [
            text[len(names[leaf]) :] if not text.startswith("{") else label_key(text, *split_series(text))
            for text, leaf in zip([texts[handle] for handle in first.tolist()], metrics.tolist(), strict=True)
        ]
        self._key_slots = dict(zip(self._keys, range(len(self._keys)), strict=True))
        if len(self._key_slots) < len(self._keys):
            raise ValueError("a label set with two slots")

    def compacting(self, keep: NDArray[np.bool_], numbers: NDArray[np.int64]) -> Generator[None, None, Compacted]:
        """Prepare to forget series, in steps; with the new numbers of slots.

        Args:
            keep: By handle, which series stay.
            numbers: New handles by old ones.
        """
        left = [keep[members.array] for members in self._members]
        members = [_numbered(column.taken(mask), numbers) for column, mask in zip(self._members, left, strict=True)]
        yield
        if self.single:
            slots = np.where(left[0], np.cumsum(left[0]) - 1, -1)

            def commit_single() -> None:
                self._members = members

            return Compacted(slots, commit_single)
        by_slot = [np.where(column.array < 0, -1, numbers[column.array]) for column in self._slot_handles]
        lives = np.any([handles >= 0 for handles in by_slot], axis=0)
        slots = np.where(lives, np.cumsum(lives) - 1, -1)
        slot_handles = [_column(handles[lives]) for handles in by_slot]
        slots_of = [_numbered(column.taken(mask), slots) for column, mask in zip(self._slots_of, left, strict=True)]
        keys = list(compress(self._keys, lives.tolist()))
        yield
        key_slots: dict[str, int] = {}
        for at in range(0, len(keys), KEYS_PER_CHUNK):
            part = keys[at : at + KEYS_PER_CHUNK]
            key_slots.update(zip(part, range(at, at + len(part)), strict=True))
            yield

        def commit() -> None:
            self._members, self._slots_of, self._slot_handles = members, slots_of, slot_handles
            self._keys, self._key_slots = keys, key_slots

        return Compacted(slots, commit)

    def touched(self, handles: NDArray[np.int64]) -> Touched | None:
        """What samples of these series touch; None if nothing. Handles must be distinct."""
        hits = [self._hits(leaf, handles) for leaf in range(len(self._members))]
        found = [hit for hit in hits if hit is not None]
        if not found:
            return None
        slots = found[0][0] if self.single else np.unique(np.concatenate([hit[0] for hit in found]))
        sources: list[Source | None] = []
        for hit in hits:
            if hit is None:
                sources.append(None)
                continue
            positions = np.full(len(slots), -1, dtype=np.int64)
            positions[slice(None) if self.single else np.searchsorted(slots, hit[0])] = hit[1]
            inside = positions >= 0
            sources.append(Source(as_index(np.maximum(positions, 0)), None if inside.all() else inside))
        return Touched(slots, as_index(slots), tuple(sources))

    def placed(self, leaf: int, handles: NDArray[np.int64]) -> tuple[Slots, Slots]:
        """Slots, and positions among `handles`, of what a selector selects. Repeats are kept."""
        none = np.empty(0, np.int64)
        return self._hits(leaf, handles) or (none, none)

    def _hits(self, leaf: int, handles: NDArray[np.int64]) -> tuple[Slots, Slots] | None:
        """Of these series, the slots of those that a selector selects, and where they stand among the handles."""
        members = self._members[leaf].array
        if not len(members):
            return None
        rows = np.minimum(np.searchsorted(members, handles), len(members) - 1)
        found = np.flatnonzero(members[rows] == handles)
        if not len(found):
            return None
        return (rows[found] if self.single else self._slots_of[leaf].array[rows[found]]), found


def _column(values: NDArray[np.int64]) -> Column[np.int64]:
    column: Column[np.int64] = Column(np.int64, -1)
    column.extend(values)
    return column


def _numbered(column: Column[np.int64], numbers: NDArray[np.int64]) -> Column[np.int64]:
    column.array[:] = numbers[column.array]
    return column


def label_key(text: str, metric: str, labels: dict[str, str]) -> str:
    """The part of a canonical text that stands for its labels: equal for equal labels."""
    return text[len(metric) :] if not text.startswith("{") else series_text("x", labels)[1:]
