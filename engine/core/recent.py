"""Recent samples of the metrics that queries read: the live source of evaluations.

Series that land together share a block. Those that come alone, when a metric has a few blocks already, share one whose
series have times of their own. Only metrics that some query reads are kept, for as long as the query that looks back
furthest needs; the last cell of a series stays. What a selector selects is found out once for each series, when it
first lands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.core.blocks import Block, SavedBlock
from engine.core.columns import Column, Index, as_index
from engine.core.joined import JoinedWindow, joined
from engine.core.promql.labels import NAME, Interner, Shape
from engine.core.promql.plan import Matcher, QueryPlan, Selector
from engine.core.promql.steps import Basis, Steps
from engine.core.promql.vector import Bools, Floats, Vector
from engine.core.promql.window import Window
from engine.core.ragged import Ragged, SavedRagged
from engine.core.selection import Selected
from engine.core.spans import Edges, add, back
from engine.core.store import BEFORE_ALL_MS
from engine.events import STALE_BITS
from engine.series import SeriesTable, metric_of, split_series

__all__ = ["Cells", "Recent", "SavedRecent"]

Key: TypeAlias = tuple[str, tuple[Matcher, ...]]
ROUTES_MAX = 1_024
NARROW_SERIES_MAX = 31
"""So many series that are first seen together do not get a block of their own ..."""
NARROW_BLOCKS_MAX = 8
"""... when their metric has so many blocks."""
_NEW, _UNREAD = -1, -2


class _Route(NamedTuple):
    """Where a part of a landing goes: which of its samples, into which columns of a block."""

    number: int
    block: Block | Ragged
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


class SavedKept(msgspec.Struct):
    """What a snapshot keeps of a block: of which metric it is, and the series of its columns."""

    metric: str
    handles: bytes
    block: SavedBlock | SavedRagged
    idle: list[int] = []


class SavedRecent(msgspec.Struct):
    """What a snapshot keeps of recent samples.

    Args:
        orders: Of selectors, in which order the blocks came that they select of, where that is not the order in which
            the blocks were made.
    """

    horizon_ms: int
    blocks: list[SavedKept]
    orders: dict[str, list[int]]
    since_ms: int = BEFORE_ALL_MS
    since_of: dict[str, int] = {}


class _Kept(NamedTuple):
    """A block, of which metric it is, and the series of its columns."""

    metric: str
    block: Block | Ragged
    handles: Column[np.int64]


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
        self._selected: dict[Key, Selected] = {}
        self._spans: dict[str, int] = {}  # by metric, how far back some query looks; "" is every metric
        self._wanted: set[Key] = set()
        self._blocks: list[_Kept] = []
        self._blocks_of: Counter[str] = Counter()  # by metric
        self._ragged_of: dict[str, int] = {}  # by metric, the number of the block of those that came alone
        self._block_of: Column[np.int64] = Column(np.int64, _NEW)
        self._column_of: Column[np.int64] = Column(np.int64, -1)
        self._routes: dict[int, tuple[NDArray[np.int64], list[_Route]]] = {}
        self.steps = Steps()
        """What subqueries found, as long as it is true."""
        self.horizon_ms = -1
        """No query will ask for an instant before this."""
        self.since_ms = BEFORE_ALL_MS
        """Windows hold nothing of before this, whatever there was: alerts were taken back, and nothing else."""
        self.since_of: dict[str, int] = {}
        """The same of metrics of which it is something else."""
        # By number of a block, blind spans in which nothing came in: what was there before takes no more room.
        self._idle: dict[int, Edges] = {}

    @property
    def interner(self) -> Interner:
        """Of every shape it gives."""
        return self._interner

    @property
    def left_open(self) -> bool:
        """Whether a sample at the very start of a lookback or range does not count."""
        return self._left_open

    def want(self, selector: Selector, span_ms: int) -> None:
        """Keep what a selector selects, for `span_ms` before the horizon. To be called before anything has landed."""
        self._selected.setdefault((selector.metric, selector.matchers), self._empty(selector))
        self._wanted.add((selector.metric, selector.matchers))
        self._spans[selector.metric] = max(span_ms, self._spans.get(selector.metric, 0))

    @property
    def spans(self) -> Mapping[str, int]:
        """By metric, how far before an instant some query looks, the lookback apart; "" is every metric."""
        return self._spans

    def known_from(self, plan: QueryPlan) -> int:
        """Since when windows of what a query reads hold all that there was."""
        return max((self.since_of.get(leaf.metric, self.since_ms) for leaf in plan.leaves), default=BEFORE_ALL_MS)

    def holds(self, metric: str) -> bool:
        """Whether anything is kept of a metric; of "" whether anything is kept at all."""
        return bool(self._blocks_of[metric] or metric in self._ragged_of) if metric else bool(self._blocks)

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
        if len(handles) == 1:  # single samples bring a new array each time
            routes = self._route_one(int(handles[0])) or list(self._route(handles))
        else:
            known = self._routes.get(id(handles))
            if known is None:
                known = handles, list(self._route(handles))
                if len(self._routes) >= ROUTES_MAX:
                    self._routes.clear()
                self._routes[id(handles)] = known
            routes = known[1]
        for route in routes:
            first_ms = self.horizon_ms - self._span_ms(route.metric) - (not self._left_open)
            idle = self._idle.get(route.number)
            route.block.expire(first_ms if idle is None else back(idle, first_ms))
            route.block.append(time_ms, route.columns, values[route.positions])
            self.steps.landed(route.metric, time_ms)

    def rest(self, blind: Bools, last_ms: NDArray[np.int64], from_ms: int, to_ms: int) -> None:
        """Keep for longer what came before a blind span in which nothing came.

        Args:
            blind: By handle, what nobody could see.
            last_ms: By handle, the time of the last sample.
        """
        for number, kept in enumerate(self._blocks):
            handles = kept.handles.array
            if blind[handles].all() and int(last_ms[handles].max(initial=from_ms)) <= from_ms:
                add(self._idle.setdefault(number, []), from_ms, to_ms)

    def basis(self, selector: Selector) -> Basis:
        """What the answer to a selector depends on beside samples."""
        return Basis(self._select(selector).shape)

    def reaches_ms(self) -> NDArray[np.int64]:
        """By handle, how long before the horizon a query may ask for the series, its lookback included; 0 where none
        does."""
        reaches = np.array([0, 0, *[self._span_ms(kept.metric) + self.lookback_ms for kept in self._blocks]])
        block_of = self._block_of.array
        found = np.zeros(len(self._table), dtype=np.int64)
        found[: len(block_of)] = reaches[block_of + 2]
        return found

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
        found = [part.block.instant(part.index, at_ms) for part in selected.parts.values()]
        values = joined([part[0] for part in found], np.float64)
        return Cells(selected.shape, selected.handles, values, joined([part[1] for part in found], np.int64))

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, Window]:
        """The samples of each selected series in a window."""
        selected = self._select(selector)
        closed = not self._left_open
        windows = [part.block.window(part.index, start_ms, end_ms, closed=closed) for part in selected.parts.values()]
        if len(windows) == 1:
            return selected.shape, windows[0]
        return selected.shape, JoinedWindow(start_ms, end_ms, windows)

    def compacting(self, keep: Bools, numbers: NDArray[np.int64]) -> Generator[None, None, Callable[[], None]]:
        """Prepare to forget series; what is returned does it.

        Args:
            keep: By handle, which series stay.
            numbers: New handles by old ones.
        """
        made = Recent(self._table, self.lookback_ms, left_open=self._left_open)
        made._block_of.extend(np.where(self._block_of.array == _UNREAD, _UNREAD, _NEW)[keep[: len(self._block_of)]])
        made._column_of.resize(len(made._block_of))
        blocks: dict[int, tuple[int, Block | Ragged]] = {}
        kept: dict[int, Bools] = {}
        for old, (metric, block, handles) in enumerate(self._blocks):
            left = kept[old] = keep[handles.array]
            if not left.any():
                continue
            if not left.all():
                block = yield from block.taking(np.flatnonzero(left))
            blocks[old] = len(made._blocks), block
            if old in self._idle:
                made._idle[len(made._blocks)] = self._idle[old]
            made._put(metric, block, numbers[handles.array[left]])
            yield
        for key, selected in self._selected.items():
            if key in self._wanted:  # the others are found again when somebody asks
                made._selected[key] = selected.taken(blocks, kept, numbers)
                yield
        used = np.zeros(len(self._interner), dtype=np.bool_)
        used[0] = True
        parts = [part for selected in made._selected.values() for part in selected.parts.values()]
        for part in parts:
            part.mark_codes(used)
        for part in parts:
            part.recode(np.cumsum(used) - 1)
            yield
        forget_values = yield from self._interner.compacting(used)

        def commit() -> None:
            forget_values()
            self._blocks, self._blocks_of, self._ragged_of = made._blocks, made._blocks_of, made._ragged_of
            self._block_of, self._column_of, self._selected = made._block_of, made._column_of, made._selected
            self._idle = made._idle
            self._routes.clear()
            self.steps.clear()

        return commit

    # -- snapshot ----------------------------------------------------------------------------------------------

    def saved(self) -> SavedRecent:
        """What a snapshot keeps of it."""
        orders = {_text(key): list(self._selected[key].parts) for key in sorted(self._wanted, key=_text)}
        return SavedRecent(
            horizon_ms=self.horizon_ms,
            blocks=[
                SavedKept(
                    kept.metric,
                    kept.handles.array.astype("<i8").tobytes(),
                    kept.block.saved(),
                    self._idle.get(number, []),
                )
                for number, kept in enumerate(self._blocks)
            ],
            orders={text: order for text, order in orders.items() if order != sorted(order)},
            since_ms=self.since_ms,
            since_of=self.since_of,
        )

    def load(self, saved: SavedRecent) -> None:
        """Take back what `saved` gave, as far as some query still reads it, once the table is filled again.

        Raises:
            ValueError: It does not fit itself.
        """
        self.horizon_ms, self.since_ms, self.since_of = saved.horizon_ms, saved.since_ms, dict(saved.since_of)
        self._block_of.resize(len(self._table))
        self._column_of.resize(len(self._table))
        numbers: dict[int, int] = {}
        for old, kept in enumerate(saved.blocks):
            handles = np.frombuffer(kept.handles, dtype="<i8").astype(np.int64)
            if len(handles) and not 0 <= int(handles.min()) <= int(handles.max()) < len(self._table):
                raise ValueError("samples of series that there are not")
            if not self.keeps(kept.metric):
                continue
            if (self._block_of.array[handles] != _NEW).any() or len(np.unique(handles)) < len(handles):
                raise ValueError("a series in two blocks")
            numbers[old] = self._put(kept.metric, _block(kept.block, len(handles)), handles)
            if kept.idle:
                self._idle[numbers[old]] = list(kept.idle)
            for selected in self._selected.values():
                selected.add(kept.metric, numbers[old], self._blocks[numbers[old]].block, 0, handles)
        for key, selected in self._selected.items():
            order = [numbers[old] for old in saved.orders.get(_text(key), ()) if old in numbers]
            selected.reorder(order)

    def lacks(self, handles: NDArray[np.int64]) -> Bools:
        """Which of these series nothing is kept of, in a table that was filled from a snapshot."""
        lacks: Bools = self._block_of.array[handles] == _NEW
        return lacks

    def _span_ms(self, metric: str) -> int:
        return max(self._spans.get(metric, 0), self._spans.get("", 0))

    def _select(self, selector: Selector) -> Selected:
        """What a selector selects; one that nobody announced, as in a template's query, finds what others keep."""
        selected = self._selected.get((selector.metric, selector.matchers))
        if selected is None:
            selected = self._empty(selector)
            for number, (metric, block, handles) in enumerate(self._blocks):
                selected.add(metric, number, block, 0, handles.array)
            self._selected[selector.metric, selector.matchers] = selected
        return selected

    def _route_one(self, handle: int) -> list[_Route]:
        """Where a single sample goes; nothing if its series is new."""
        number = int(self._block_of.array[handle]) if handle < len(self._block_of) else _NEW
        if number < 0:
            return []
        metric, block, _ = self._blocks[number]
        column = int(self._column_of.array[handle])
        columns = None if block.width == 1 else slice(column, column + 1)
        return [_Route(number, block, metric, columns, slice(0, 1))]

    def _route(self, handles: NDArray[np.int64]) -> Iterator[_Route]:
        """Where these series go, with places for those that are new."""
        size = len(self._table)
        self._block_of.resize(size)
        self._column_of.resize(size)
        new: dict[str, list[int]] = {}
        for handle in handles[self._block_of.array[handles] == _NEW].tolist():
            metric = metric_of(self._table.text(handle))
            if self.keeps(metric):
                new.setdefault(metric, []).append(handle)
            else:
                self._block_of.array[handle] = _UNREAD
        for metric, members in new.items():
            self._place(metric, np.array(members, dtype=np.int64))
        block_of = self._block_of.array[handles]
        for number in np.unique(block_of[block_of >= 0]).tolist():
            metric, block, _ = self._blocks[number]
            positions = np.flatnonzero(block_of == number)
            columns = self._column_of.array[handles[positions]]
            whole = len(columns) == block.width and bool((columns == np.arange(block.width)).all())
            # The block of those that came alone may become wider.
            whole = whole and not isinstance(block, Ragged)
            yield _Route(number, block, metric, None if whole else as_index(columns), as_index(positions))

    def _place(self, metric: str, handles: NDArray[np.int64]) -> None:
        """Give new series a block, or columns of the one for those that come alone."""
        if len(handles) > NARROW_SERIES_MAX or self._blocks_of[metric] < NARROW_BLOCKS_MAX:
            number, first = self._put(metric, Block(len(handles)), handles), 0
        elif metric not in self._ragged_of:
            block = Ragged()
            block.add(len(handles))
            number, first = self._put(metric, block, handles), 0
        else:
            number = self._ragged_of[metric]
            kept = self._blocks[number]
            assert isinstance(kept.block, Ragged)
            first = kept.block.width
            kept.block.add(len(handles))
            kept.handles.extend(handles)
            self._block_of.array[handles] = number
            self._column_of.array[handles] = first + np.arange(len(handles))
        for selected in self._selected.values():
            selected.add(metric, number, self._blocks[number].block, first, handles)

    def _put(self, metric: str, block: Block | Ragged, handles: NDArray[np.int64]) -> int:
        """Keep a block; return its number."""
        number = len(self._blocks)
        self._block_of.array[handles] = number
        self._column_of.array[handles] = np.arange(len(handles))
        column: Column[np.int64] = Column(np.int64, -1)
        column.extend(handles)
        self._blocks.append(_Kept(metric, block, column))
        if isinstance(block, Ragged):
            self._ragged_of[metric] = number
        else:
            self._blocks_of[metric] += 1
        return number

    def _empty(self, selector: Selector) -> Selected:
        return Selected(selector, self._interner, self._labels)

    def _labels(self, handle: int) -> dict[str, str]:
        metric, labels = split_series(self._table.text(handle))
        return dict(sorted({NAME: metric, **labels}.items()))


def _text(key: Key) -> str:
    """A selector as text, the same wherever it stands."""
    metric, matchers = key
    parts = [metric, *([matcher.label, matcher.op, matcher.value] for matcher in matchers)]
    return msgspec.json.encode(parts).decode()


def _block(saved: SavedBlock | SavedRagged, width: int) -> Block | Ragged:
    return Block.of(saved, width) if isinstance(saved, SavedBlock) else Ragged.of(saved, width)
