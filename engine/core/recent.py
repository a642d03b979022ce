"""Recent samples of the metrics that queries read: the live source of evaluations.

Series that land together share a block. Only metrics that some query reads are kept, for as long as the query that
looks back furthest needs; the last cell of a series stays. What a selector selects is found out once for each
series, when it first lands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.core.blocks import Block
from engine.core.columns import Column, Index, as_index
from engine.core.promql.labels import NAME, Codes, Interner, Shape
from engine.core.promql.plan import Matcher, Selector
from engine.core.promql.vector import Bools, Floats, Vector
from engine.core.promql.window import Dense, Ends, Window
from engine.events import STALE_BITS
from engine.series import SeriesTable, metric_of, split_series

__all__ = ["Cells", "JoinedWindow", "Recent"]

Key: TypeAlias = tuple[str, tuple[Matcher, ...]]
S = TypeVar("S", bound=np.generic)
ROUTES_MAX = 1_024
_NONE = -1


class _Route(NamedTuple):
    """Where a part of a landing goes: which of its samples, into which columns of a block."""

    block: Block
    metric: str
    columns: Index | None
    positions: Index


class Cells(NamedTuple):
    """The last cell of each of some series: aligned columns. A stale marker is a value."""

    shape: Shape
    handles: NDArray[np.int64]
    values: Floats
    times: NDArray[np.int64]

    def vectors(self, young: Bools) -> tuple[Vector, Vector]:
        """Values, and times in seconds, of what is young enough and not ended."""
        present: Bools = young & (self.values.view(np.int64) != STALE_BITS)
        return Vector(self.shape, self.values, present), Vector(self.shape, self.times / 1000.0, present)


class _Selected:
    """What a selector selects: columns of blocks, and the label sets they have, in the same order.

    Args:
        labels: The label set of a series, by its handle.
    """

    def __init__(self, selector: Selector, interner: Interner, labels: Callable[[int], dict[str, str]]) -> None:
        self.parts: list[tuple[Block, Index]] = []
        self.handles = np.zeros(0, dtype=np.int64)
        self.shape = Shape.of(interner, [])
        self._selector = selector
        self._labels = labels
        self._shapes: list[Shape] = []

    def add(self, metric: str, block: Block, handles: NDArray[np.int64]) -> None:
        """Take note of a new block."""
        if self._selector.metric and self._selector.metric != metric:
            return
        columns = np.arange(len(handles))
        if self._selector.matchers:
            matches, labels = self._selector.matches, self._labels
            columns = np.array([at for at, handle in enumerate(handles.tolist()) if matches(labels(handle))], np.int64)
        if not len(columns):
            return
        self.parts.append((block, as_index(columns)))
        chosen = handles if len(columns) == len(handles) else handles[columns]
        self.handles = np.append(self.handles, chosen)
        # Label sets become columns only for who groups or matches them; of a threshold a few are ever shown.
        self._shapes = [*self._shapes, self._shape(chosen)]
        self.shape = self._shapes[0] if len(self._shapes) == 1 else self._shape(self.handles, self._shapes)

    def _shape(self, handles: NDArray[np.int64], parts: Sequence[Shape] = ()) -> Shape:
        labels, interner = self._labels, self.shape.interner

        def columns() -> dict[str, Codes]:
            if parts:
                return Shape.concatenate(parts).columns
            return Shape.of(interner, [labels(handle) for handle in handles.tolist()]).columns

        return Shape.lazy(interner, len(handles), lambda row: labels(int(handles[row])), columns)


class Recent:
    """A source over what has landed lately.

    Args:
        table: Texts of the series by handle.
        lookback_ms: How old the sample of an instant selector may be.
        left_open: A sample at the very start of a lookback or range does not count, as since Prometheus 3.
    """

    def __init__(self, table: SeriesTable, lookback_ms: int = 300_000, *, left_open: bool = True) -> None:
        self.lookback_ms = lookback_ms
        self._table = table
        self._left_open = left_open
        self._interner = Interner()
        self._selected: dict[Key, _Selected] = {}
        self._spans: dict[str, int] = {}  # by metric, how far back some query looks; "" is every metric
        self._blocks: list[tuple[str, Block, NDArray[np.int64]]] = []
        self._block_of: Column[np.int64] = Column(np.int64, _NONE)
        self._column_of: Column[np.int64] = Column(np.int64, _NONE)
        self._routes: dict[int, tuple[NDArray[np.int64], list[_Route]]] = {}
        self.horizon_ms = -1
        """No query will ask for an instant before this."""

    @property
    def interner(self) -> Interner:
        """Of every shape it gives."""
        return self._interner

    def want(self, selector: Selector, span_ms: int) -> None:
        """Keep what a selector selects, for `span_ms` before the horizon. To be called before anything has landed."""
        self._selected.setdefault((selector.metric, selector.matchers), self._empty(selector))
        self._spans[selector.metric] = max(span_ms, self._spans.get(selector.metric, 0))

    def keeps(self, metric: str) -> bool:
        """Whether some query reads the metric."""
        return "" in self._spans or metric in self._spans

    def land(self, handles: NDArray[np.int64], time_ms: int, values: Floats) -> None:
        """Take a landing. Stale markers are values.

        Args:
            handles: Each once. The same array object may come again and again; it is then recognised.
        """
        if not self._spans:
            return
        known = self._routes.get(id(handles))
        if known is None:
            known = handles, list(self._route(handles))
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            self._routes[id(handles)] = known
        for route in known[1]:
            span_ms = max(self._spans.get(route.metric, 0), self._spans.get("", 0))
            route.block.expire(self.horizon_ms - span_ms - (not self._left_open))
            route.block.append(time_ms, route.columns, values[route.positions])

    def instant(self, selector: Selector, at_ms: int) -> tuple[Vector, Vector]:
        """The newest sample of each selected series at `at_ms`: (values, times in seconds)."""
        cells = self.cells(selector, at_ms)
        oldest_ms = at_ms - self.lookback_ms
        return cells.vectors((cells.times > oldest_ms) if self._left_open else (cells.times >= oldest_ms))

    def handles(self, selector: Selector) -> NDArray[np.int64]:
        """The series that a selector selects."""
        return self._select(selector).handles

    def cells(self, selector: Selector, at_ms: int) -> Cells:
        """The last cell of each selected series at or before `at_ms`, however old."""
        selected = self._select(selector)
        found = [block.instant(columns, at_ms) for block, columns in selected.parts]
        values = _joined([part[0] for part in found], np.float64)
        return Cells(selected.shape, selected.handles, values, _joined([part[1] for part in found], np.int64))

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, Window]:
        """The samples of each selected series in a window."""
        selected = self._select(selector)
        closed = not self._left_open
        windows = [block.window(columns, start_ms, end_ms, closed=closed) for block, columns in selected.parts]
        if len(windows) == 1:
            return selected.shape, windows[0]
        return selected.shape, JoinedWindow(start_ms, end_ms, windows)

    def _select(self, selector: Selector) -> _Selected:
        """What a selector selects; one that nobody announced, as in a template's query, finds what others keep."""
        selected = self._selected.get((selector.metric, selector.matchers))
        if selected is None:
            selected = self._empty(selector)
            for metric, block, handles in self._blocks:
                selected.add(metric, block, handles)
            self._selected[selector.metric, selector.matchers] = selected
        return selected

    def _route(self, handles: NDArray[np.int64]) -> Iterator[_Route]:
        """Where these series go, with new blocks for those that have none."""
        size = len(self._table)
        self._block_of.resize(size)
        self._column_of.resize(size)
        new: dict[str, list[int]] = {}
        for handle in handles[self._block_of.array[handles] == _NONE].tolist():
            metric = metric_of(self._table.text(handle))
            if self.keeps(metric):
                new.setdefault(metric, []).append(handle)
        for metric, members in new.items():
            self._new_block(metric, members)
        block_of = self._block_of.array[handles]
        for number in np.unique(block_of[block_of != _NONE]).tolist():
            metric, block, _ = self._blocks[number]
            positions = np.flatnonzero(block_of == number)
            columns = self._column_of.array[handles[positions]]
            whole = len(columns) == block.width and bool((columns == np.arange(block.width)).all())
            yield _Route(block, metric, None if whole else as_index(columns), as_index(positions))

    def _new_block(self, metric: str, members: list[int]) -> None:
        block = Block(len(members))
        self._block_of.array[members] = len(self._blocks)
        self._column_of.array[members] = np.arange(len(members))
        handles = np.array(members, dtype=np.int64)
        self._blocks.append((metric, block, handles))
        for selected in self._selected.values():
            selected.add(metric, block, handles)

    def _empty(self, selector: Selector) -> _Selected:
        return _Selected(selector, self._interner, self._labels)

    def _labels(self, handle: int) -> dict[str, str]:
        metric, labels = split_series(self._table.text(handle))
        return dict(sorted({NAME: metric, **labels}.items()))


class JoinedWindow:
    """Windows of several blocks, one after the other."""

    def __init__(self, start_ms: int, end_ms: int, parts: Sequence[Window]) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self._parts = parts

    def counts(self) -> NDArray[np.int64]:
        """How many samples."""
        return _joined([part.counts() for part in self._parts], np.int64)

    def ends(self) -> Ends:
        """First and last samples."""
        ends = [part.ends() for part in self._parts]
        return Ends(
            _joined([end.first_ms for end in ends], np.int64),
            _joined([end.first for end in ends], np.float64),
            _joined([end.last_ms for end in ends], np.int64),
            _joined([end.last for end in ends], np.float64),
        )

    def resets_added(self) -> Floats:
        """What a counter's resets lost."""
        return _joined([part.resets_added() for part in self._parts], np.float64)

    def sums(self) -> Floats:
        """Sum."""
        return _joined([part.sums() for part in self._parts], np.float64)

    def minima(self) -> Floats:
        """Least value."""
        return _joined([part.minima() for part in self._parts], np.float64)

    def maxima(self) -> Floats:
        """Greatest value."""
        return _joined([part.maxima() for part in self._parts], np.float64)

    def dense(self) -> Dense:
        """All samples."""
        parts = [part.dense() for part in self._parts]
        width = max((part.values.shape[1] for part in parts), default=0)
        rows = sum(len(part.counts) for part in parts)
        times, values, row = np.zeros((rows, width), dtype=np.int64), np.full((rows, width), np.nan), 0
        for part in parts:
            here = slice(row, row + len(part.counts))
            times[here, : part.times.shape[1]] = part.times
            values[here, : part.values.shape[1]] = part.values
            row += len(part.counts)
        return Dense(times, values, _joined([part.counts for part in parts], np.int64))


def _joined(parts: list[NDArray[S]], kind: type[S]) -> NDArray[S]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)
