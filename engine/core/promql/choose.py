"""Aggregations that keep some rows of each group, or count equal values.

Which of several equal values `topk` keeps follows from the heap that Prometheus uses; where it matters, the heap is
run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from engine.core.promql.labels import NAME, Codes, Grouping, Shape
from engine.core.promql.plan import Compat
from engine.core.promql.vector import EvaluationError, Floats, Vector
from engine.core.promql.xxhash import xxhash64

__all__ = ["count_values", "limit_ratio", "limitk", "topk"]

MASK = 2**64 - 1


def topk(
    vector: Vector, grouping: Grouping, k: float, *, least: bool = False, compat: Compat = "prometheus3"
) -> Vector:
    """The k greatest (least) values of each group, in order; NaN comes last in both.

    Raises:
        EvaluationError: k is no number of rows.
    """
    limit = _limit(k)
    rows = np.flatnonzero(vector.present)
    if limit < 1 or not len(rows):
        return _kept(vector, rows[:0])
    order = _in_order(vector.values[rows], grouping.ids[rows], least=least)  # stable: ties in the order of rows
    values, ids = vector.values[rows][order], grouping.ids[rows][order]
    place = _places(ids)
    tied = _groups_at_a_tie(ids, values, place, limit)
    run_heap = _heap if compat == "prometheus3" else _heap_2
    kept = [rows[order[(place < limit) & ~np.isin(ids, tied)]]]
    for group in tied:
        members = rows[grouping.ids[rows] == group]
        kept.append(members[run_heap(vector.values[members].tolist(), limit, least)])
    found = np.concatenate(kept)
    return _kept(vector, found[_in_order(vector.values[found], grouping.ids[found], least=least)])


def _in_order(values: Floats, ids: Codes, *, least: bool) -> Codes:
    return np.lexsort((values if least else -values, np.isnan(values), ids))


def _places(ids: Codes) -> Codes:
    """For sorted ids, each row's place in its group."""
    index = np.arange(len(ids))
    starts = np.concatenate(([True], ids[1:] != ids[:-1]))
    first: Codes = np.maximum.accumulate(np.where(starts, index, 0))
    return index - first


def _groups_at_a_tie(ids: Codes, values: Floats, place: Codes, limit: int) -> Codes:
    """For sorted rows, the groups where the first row left out equals the last one kept."""
    at = np.flatnonzero(place == limit)
    same = (values[at] == values[at - 1]) | (np.isnan(values[at]) & np.isnan(values[at - 1]))
    tied: Codes = ids[at[same]]
    return tied


def _heap(values: list[float], limit: int, least: bool) -> list[int]:
    """Which indexes a bounded heap holds at the end: a better value replaces the worst one, which is on top."""
    heap = _Heap(values, least)
    for new, value in enumerate(values):
        if len(heap.indexes) < limit:
            heap.push(new)
            continue
        top = values[heap.indexes[0]]
        if heap.is_worse(top, value) and not (math.isnan(top) and math.isnan(value)):
            heap.indexes[0] = new
            heap.sift_down()
    return heap.indexes


def _heap_2(values: list[float], limit: int, least: bool) -> list[int]:
    """The same in Prometheus 2: it takes the top off before it adds, and replaces NaN by NaN."""
    heap = _Heap(values, least)
    for new, value in enumerate(values):
        if len(heap.indexes) == limit:
            if not heap.is_worse(values[heap.indexes[0]], value):
                continue
            heap.pop()
        heap.push(new)
    return heap.indexes


class _Heap:
    """Indexes of values, the worst on top, sifted as Go's container/heap does."""

    def __init__(self, values: list[float], least: bool) -> None:
        self.indexes: list[int] = []
        self._values = values
        self._least = least

    def is_worse(self, a: float, b: float) -> bool:
        """Whether one value is worse than another; NaN is worse than all, itself included."""
        return math.isnan(a) or (a > b if self._least else a < b)

    def push(self, index: int) -> None:
        heap = self.indexes
        heap.append(index)
        child = len(heap) - 1
        while child and self._less(child, (child - 1) // 2):
            parent = (child - 1) // 2
            heap[child], heap[parent] = heap[parent], heap[child]
            child = parent

    def pop(self) -> None:
        """Take the top off."""
        heap = self.indexes
        heap[0], heap[-1] = heap[-1], heap[0]
        heap.pop()
        self.sift_down()

    def sift_down(self) -> None:
        """Put the top where it belongs."""
        heap, parent = self.indexes, 0
        while (child := 2 * parent + 1) < len(heap):
            if child + 1 < len(heap) and self._less(child + 1, child):
                child += 1
            if not self._less(child, parent):
                break
            heap[child], heap[parent] = heap[parent], heap[child]
            parent = child

    def _less(self, i: int, j: int) -> bool:
        return self.is_worse(self._values[self.indexes[i]], self._values[self.indexes[j]])


def limitk(vector: Vector, grouping: Grouping, k: float) -> Vector:
    """The first k rows of each group.

    Raises:
        EvaluationError: k is no number of rows.
    """
    limit = _limit(k)
    rows = np.flatnonzero(vector.present)
    if limit < 1 or not len(rows):
        return _kept(vector, rows[:0])
    order = np.argsort(grouping.ids[rows], kind="stable")
    return _kept(vector, np.sort(rows[order[_places(grouping.ids[rows][order]) < limit]]))


def limit_ratio(vector: Vector, ratio: float) -> Vector:
    """The rows whose hash falls into the first share `ratio` of all hashes, or for a negative ratio the others.

    Raises:
        EvaluationError: The ratio is NaN.
    """
    if math.isnan(ratio):
        raise EvaluationError("Ratio value is NaN")
    shares = vector.shape.derive("hash shares", lambda: _shares(vector.shape))
    limit = max(-1.0, min(1.0, ratio))
    chosen = shares < limit if limit >= 0 else shares >= 1.0 + limit
    return Vector(vector.shape, vector.values, vector.present & chosen)


def _shares(shape: Shape) -> Floats:
    hashes = (xxhash64(_encoded(shape.labels(row).items())) for row in range(len(shape)))
    return np.fromiter((float(value) / float(MASK) for value in hashes), np.float64, len(shape))


def _encoded(labels: Iterable[tuple[str, str]]) -> bytes:
    """A label set as Prometheus keeps it in memory: each text with its length before it."""
    data = bytearray()
    for text in (text for pair in labels for text in pair):
        raw = text.encode()
        data += bytes([len(raw)]) if len(raw) < 255 else b"\xff" + len(raw).to_bytes(3, "little")
        data += raw
    return bytes(data)


def count_values(vector: Vector, label: str, labels: tuple[str, ...], *, without: bool) -> Vector:
    """How often each value occurs in each group; the value is the label."""
    rows = np.flatnonzero(vector.present)
    shape, interner = vector.shape.take(rows), vector.shape.interner
    # By their bits: 0 and -0 are equal, and yet two texts.
    bits, inverse = np.unique(vector.values[rows].view(np.int64), return_inverse=True)
    codes = np.array([interner.code(_fixed(value)) for value in bits.view(np.float64).tolist()], dtype=np.int64)
    shape = shape.with_column(label, codes[inverse] if len(rows) else codes)
    if without:
        grouping = shape.group((*labels, NAME), excluding=True)
    else:
        grouping = shape.group((*labels, label), excluding=False)
    counts = np.bincount(grouping.ids, minlength=grouping.count).astype(np.float64)
    return Vector(grouping.shape, counts, np.ones(grouping.count, dtype=np.bool_))


def _fixed(value: float) -> str:
    """A number as text without an exponent: the shortest digits that read back as the same number."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-")


def _kept(vector: Vector, rows: Codes) -> Vector:
    present = np.zeros(len(vector.shape), dtype=np.bool_)
    present[rows] = True
    return Vector(vector.shape, vector.values, present, rows)


def _limit(k: float) -> int:
    if math.isnan(k):
        raise EvaluationError("Parameter value is NaN")
    if not -(2.0**63) < k < 2.0**63:
        raise EvaluationError(f"Scalar value {k} overflows int64")
    return int(k)
