"""Recognising series: texts to handles, and what the series of an atom touch in which rule.

A scrape comes again and again with the same series, so what is known of its tuple of texts is kept by the
tuple's identity. Only at first sight is a text read, and are the rules that select its metric told.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.binding import Touched
from engine.core.chains import Chain
from engine.core.chains import Touched as Rules
from engine.core.columns import Column, Index, as_index
from engine.core.judge import Judge
from engine.core.store import Compacting, Store
from engine.series import metric_of

__all__ = ["Layout", "Layouts"]

LAYOUT_SERIES_MAX = 2_000_000  # of all layouts that are kept, together
SERIES_PER_CHUNK = 500


class Layout(NamedTuple):
    """What is known of a tuple of series that was seen before.

    Args:
        series: The tuple itself; it is held so that its identity stays its own.
        handles: Of the series that are accepted, each once.
        at: The same, for columns.
        positions: Where these stand in the tuple, or None if all do.
        touched: For each pointwise rule that reads any of them, what they touch.
        chains: The chains with rules that read any of them, and which rules those are.
    """

    series: tuple[str, ...]
    handles: NDArray[np.int64]
    at: Index
    positions: NDArray[np.int64] | None
    touched: tuple[tuple[Judge, Touched], ...]
    chains: tuple[tuple[Chain, Rules], ...]


class Metric(NamedTuple):
    """What is known of a metric.

    Args:
        handles: Its series.
        readers: The pointwise rules that read it.
        runs: Whether all of them can judge single samples together, and no query reads it.
    """

    handles: Column[np.int64]
    readers: tuple[Judge, ...]
    runs: bool


class Layouts:
    """Series by text and by metric, and layouts by tuple.

    Args:
        drop: Called with a reason and a number for what is not accepted.
        chains: The rules of any expression.
        keeps: Whether some query reads a metric, and must see each of its samples.
    """

    def __init__(
        self,
        store: Store,
        judges: Sequence[Judge],
        batch_samples_max: int,
        drop: Callable[[str, int], None],
        chains: Sequence[Chain],
        keeps: Callable[[str], bool],
    ) -> None:
        self._chains = chains
        self._keeps = keeps
        self._store = store
        self._judges = judges
        self._batch_samples_max = batch_samples_max
        self._drop = drop
        self._readers: dict[str, list[Judge]] = {}
        for judge in judges:
            for metric in judge.binding.metrics:
                self._readers.setdefault(metric, []).append(judge)
        self._metric_numbers: dict[str, int] = {}
        self._metrics: list[Metric] = []
        self._metric_of: Column[np.int64] = Column(np.int64, -1)
        self._layouts: dict[int, Layout] = {}
        self._held = 0

    def handle(self, text: str) -> int:
        """Return the handle of a series, telling the rules of it at first sight; -1 if it is refused."""
        known = len(self._store)
        try:
            handle = self._store.intern(text)
        except ValueError:
            self._drop("malformed", 1)
            return -1
        if handle < 0:
            self._drop("series_limit", 1)
        elif handle == known:
            metric = metric_of(text)
            for judge in self._readers.get(metric, ()):
                judge.add_series(handle, text)
            number = self._metric_numbers.setdefault(metric, len(self._metrics))
            if number == len(self._metrics):
                self._metrics.append(self._metric(metric))
            self._metrics[number].handles.append(handle)
            self._metric_of.append(number)
        return handle

    def refill(self) -> None:
        """Find the metrics of series that the store has taken from a snapshot. No rule is told of them."""
        texts = self._store.table.texts()
        names = [text.partition("{")[0] or metric_of(text) for text in texts]
        self._metric_numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        numbers = np.fromiter(map(self._metric_numbers.__getitem__, names), np.int64, len(names))
        self._metric_of.extend(numbers)
        order = np.argsort(numbers, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(numbers, minlength=len(self._metric_numbers)))[:-1])
        self._metrics = [self._metric(name) for name in self._metric_numbers]
        for metric, handles in zip(self._metrics, parts, strict=False):
            metric.handles.extend(handles)

    def read_by_queries(self) -> NDArray[np.int64]:
        """The series of metrics that some query reads."""
        found = [self.of_metric(metric) for metric in self._metric_numbers if self._keeps(metric)]
        return np.concatenate([np.empty(0, np.int64), *found])

    def tell(self, judge: Judge) -> None:
        """Tell a rule of all series of its metrics, as if they were seen now."""
        for handle in np.sort(np.concatenate([self.of_metric(metric) for metric in judge.binding.metrics])).tolist():
            judge.add_series(handle, self._store.table.text(handle))

    def known(self, scopes: Sequence[str]) -> NDArray[np.int64]:
        """The series of scopes, ascending: a series by its text, or all of a metric by its name."""
        found = [self.of_metric(scope) for scope in scopes]
        single = [self._store.table.find(scope) for scope in scopes]
        return np.unique(np.concatenate([*found, [handle for handle in single if handle >= 0]]).astype(np.int64))

    def handles(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The handles of series, as `handle` gives them."""
        known = self._store.table.find_all(texts)
        return np.array([self.handle(text) for text in texts], dtype=np.int64) if known is None else known

    def _metric(self, name: str) -> Metric:
        readers = tuple(self._readers.get(name, ()))
        return Metric(Column(np.int64, -1), readers, not self._keeps(name) and all(judge.runs for judge in readers))

    def runs(self, handles: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of which series single samples can be judged together."""
        runs = np.array([metric.runs for metric in self._metrics], dtype=np.bool_)
        if self._store.restarted_ms >= 0:  # where it matters which inputs were seen, each is judged by itself
            runs &= [all(judge.binding.single for judge in metric.readers) for metric in self._metrics]
        found: NDArray[np.bool_] = runs[self._metric_of.array[handles]]
        return found

    def by_metric(self, handles: NDArray[np.int64]) -> list[tuple[Metric, NDArray[np.int64]]]:
        """The positions of the series of each metric among handles, in their order."""
        numbers = self._metric_of.array[handles]
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        parts = np.split(order, begins[1:])
        return [(self._metrics[number], part) for number, part in zip(ordered[begins].tolist(), parts, strict=True)]

    def compacting(
        self, keep: NDArray[np.bool_], numbers: NDArray[np.int64], slots: Mapping[int, NDArray[np.int64]]
    ) -> Compacting:
        """Prepare to forget series, in steps; what is returned does it at once.

        Args:
            keep: By handle, which series stay.
            numbers: New handles by old ones.
            slots: By pointwise rule, new slots by old ones.
        """
        metrics: list[Metric] = []
        names: dict[str, int] = {}
        metric_of = self._metric_of.taken(keep)
        for name, number in self._metric_numbers.items():
            metric = self._metrics[number]
            left = keep[metric.handles.array]
            if left.any():
                handles = metric.handles.taken(left)
                handles.array[:] = numbers[handles.array]
                metric_of.array[handles.array] = names[name] = len(metrics)
                metrics.append(metric._replace(handles=handles))
            yield
        layouts: dict[int, Layout] = {}
        for key, layout in self._layouts.items():
            if keep[layout.handles].all():  # one with a series that is gone is made anew if it comes again
                layouts[key] = _renumbered(layout, numbers[layout.handles], slots)
            yield
        held = sum(len(layout.series) for layout in layouts.values())

        def commit() -> None:
            self._metric_numbers, self._metrics, self._metric_of = names, metrics, metric_of
            self._layouts, self._held = layouts, held

        return commit

    def of_metric(self, metric: str) -> NDArray[np.int64]:
        """Handles of every series of a metric."""
        number = self._metric_numbers.get(metric)
        return np.empty(0, np.int64) if number is None else self._metrics[number].handles.array

    def layout(self, series: tuple[str, ...]) -> Generator[None, None, Layout]:
        """What is known of the series of a batch. Yields between chunks of texts that must be read."""
        known = self._layouts.get(id(series))
        if known is not None:
            return known
        handles: dict[int, int] = {}
        for position, text in enumerate(series[: self._batch_samples_max]):
            handle = self.handle(text)
            if handle >= 0 and handles.setdefault(handle, position) != position:
                self._drop("duplicate", 1)
            if position % SERIES_PER_CHUNK == SERIES_PER_CHUNK - 1:
                yield
        if len(series) > self._batch_samples_max:
            self._drop("batch_limit", len(series) - self._batch_samples_max)
        array = np.fromiter(handles, np.int64, len(handles))
        positions = None if len(handles) == len(series) else np.fromiter(handles.values(), np.int64, len(handles))
        layout = Layout(series, array, as_index(array), positions, self.touched(array), self.chains(array))
        # A layout with refused series is not kept: its drops are counted each time, and a place may come free.
        if positions is None:
            while self._layouts and self._held + len(series) > LAYOUT_SERIES_MAX:
                self._held -= len(self._layouts.pop(next(iter(self._layouts))).series)
            self._layouts[id(series)] = layout
            self._held += len(series)
        return layout

    def touched(self, handles: NDArray[np.int64]) -> tuple[tuple[Judge, Touched], ...]:
        """For each rule that reads any of these series, what they touch; in the order of rules."""
        found = [(judge, judge.binding.touched(handles)) for judge in self.readers(handles)]
        return tuple((judge, touch) for judge, touch in found if touch is not None)

    def chains(self, handles: NDArray[np.int64]) -> tuple[tuple[Chain, Rules], ...]:
        """The chains with rules of any expression that read any of these series, and which rules those are."""
        if not self._chains:
            return ()
        metrics = {metric_of(self._store.table.text(handle)) for handle in handles.tolist()}
        found = [(chain, chain.readers(metrics)) for chain in self._chains]
        return tuple((chain, rules) for chain, rules in found if rules)

    def readers(self, handles: NDArray[np.int64]) -> list[Judge]:
        """The rules that read the metrics of these series, in their order."""
        numbers = np.flatnonzero(np.bincount(self._metric_of.array[handles])).tolist() if len(handles) else []
        found = {judge.index: judge for number in numbers for judge in self._metrics[number].readers}
        return [found[index] for index in sorted(found)]


def _renumbered(layout: Layout, handles: NDArray[np.int64], slots: Mapping[int, NDArray[np.int64]]) -> Layout:
    touched = []
    for judge, touch in layout.touched:
        numbers = slots[judge.index][touch.slots]
        touched.append((judge, touch._replace(slots=numbers, at=as_index(numbers))))
    return layout._replace(handles=handles, at=as_index(handles), touched=tuple(touched))
