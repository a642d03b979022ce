"""Recognising series: texts to handles, and what the series of an atom touch in which rule.

A scrape comes again and again with the same series, so what is known of its tuple of texts is kept by the
tuple's identity. Only at first sight is a text read, and are the rules that select its metric told.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.binding import Named, Touched
from engine.core.chains import Chain
from engine.core.chains import Touched as Rules
from engine.core.columns import Column, Index, as_index
from engine.core.inputs import Entries, Inputs
from engine.core.judge import Judge
from engine.core.kin import Kin
from engine.core.rounds import Rounds
from engine.core.store import Compacting, Store
from engine.core.touching import Parts, parts_of, touched_by
from engine.series import metric_of, split_series

__all__ = ["PAIRS_PER_RUN", "Layout", "Layouts", "Readers"]

LAYOUT_SERIES_MAX = 2_000_000  # of all layouts that are kept, together
LAYOUTS_MAX = 16_384  # one takes 2 KB and more, however few its series: whoever makes each batch anew must cost no more
SERIES_PER_CHUNK = 100
PAIRS_PER_RUN = 16_384
Readers: TypeAlias = tuple[tuple[tuple[Judge, Touched], ...], Parts]
"""What series touch in rules that are judged alone, and in those that are judged together."""


class Layout(NamedTuple):
    """What is known of a tuple of series that was seen before.

    Args:
        series: The tuple itself; it is held so that its identity stays its own.
        handles: Of the series that are accepted, each once.
        at: The same, for columns.
        positions: Where these stand in the tuple, or None if all do.
        touched: For each pointwise rule that is judged alone and reads any of them, what they touch.
        kins: The same for rules that are judged together.
        chains: The chains with rules that read any of them, and which rules those are.
        together: Whether several batches of them can be landed at once: nobody but plain rules reads them, and these
            read nothing else.
    """

    series: tuple[str, ...]
    handles: NDArray[np.int64]
    at: Index
    positions: NDArray[np.int64] | None
    touched: tuple[tuple[Judge, Touched], ...]
    kins: Parts
    chains: tuple[tuple[Chain, Rules], ...]
    together: bool


class Metric(NamedTuple):
    """What is known of a metric.

    Args:
        handles: Its series.
        readers: The pointwise rules that read it.
        alone: Those that are judged alone.
        kins: Those of the others that are judged together, by the numbers of their kins.
        runs: Whether all of them can judge single samples together, and no query reads it.
    """

    handles: Column[np.int64]
    readers: tuple[Judge, ...]
    alone: tuple[Judge, ...]
    kins: frozenset[int]
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
        kins: Sequence[Kin],
        inputs: Inputs,
        batch_samples_max: int,
        drop: Callable[[str, int], None],
        chains: Sequence[Chain],
        keeps: Callable[[str], bool],
    ) -> None:
        self._chains = chains
        self._keeps = keeps
        self._store = store
        self._kins = tuple(kins)
        self._kin_of = {judge.index: number for number, kin in enumerate(kins) for judge in kin.judges}
        self._kin_of_rule = np.full(max((judge.index for judge in judges), default=-1) + 1, -1, dtype=np.int64)
        for index, number in self._kin_of.items():
            self._kin_of_rule[index] = number
        self._inputs = inputs
        self._runs = np.zeros((0, 2), dtype=np.bool_)  # by metric
        self._alone = len(self._kin_of) < len(judges)
        self._told = 0  # of how many series the rules know
        self._batch_samples_max = batch_samples_max
        self._drop = drop
        self._readers: dict[str, list[Judge]] = {}
        for judge in judges:
            for metric in judge.binding.metrics:
                self._readers.setdefault(metric, []).append(judge)
        self._read: dict[int, tuple[str, dict[str, str]]] = {}  # what new series are called, until the rules know
        self._rounds = Rounds()
        self._metric_numbers: dict[str, int] = {}
        self._metrics: list[Metric] = []
        self._metric_of: Column[np.int64] = Column(np.int64, -1)
        self._layouts: dict[int, Layout] = {}
        self._held = 0

    def _intern(self, text: str) -> int:
        """Return the handle of a series, -1 if it is refused. The rules are still to be told of a new one."""
        handle = self._store.table.find(text)
        if handle >= 0:
            return handle
        try:
            read = split_series(text)
        except ValueError:
            self._drop("malformed", 1)
            return -1
        handle = self._store.table.intern(text)
        if handle < 0:
            self._drop("series_limit", 1)
        else:
            self._read[handle] = read
        return handle

    def _tell_new(self) -> Generator[None, None, None]:
        """Tell the rules of the series that have come since the last time, a rule or some series at a time."""
        series: dict[str, list[Named]] = {}
        size = len(self._store)
        if size == self._told:
            return
        self._store.fit()
        for handle in range(self._told, size):
            text = self._store.table.text(handle)
            metric, labels = self._read.pop(handle) if handle in self._read else split_series(text)
            series.setdefault(metric, []).append(Named(handle, text, metric, labels))
            number = self._metric_numbers.setdefault(metric, len(self._metrics))
            if number == len(self._metrics):
                self._metrics.append(self._metric(metric))
            self._metrics[number].handles.append(handle)
            self._metric_of.append(number)
            if len(self._metrics[number].handles) == 1 or handle % SERIES_PER_CHUNK == SERIES_PER_CHUNK - 1:
                yield  # who reads a metric is found out with its first series
        self._told = size
        yield
        judges = {judge.index: judge for metric in series for judge in self._readers.get(metric, ())}
        found = []
        read: dict[frozenset[str], list[Named]] = {}
        for index in sorted(judges):
            judge = judges[index]
            metrics = judge.binding.metrics
            if metrics not in read:
                read[metrics] = sorted(one for metric in metrics for one in series.get(metric, ()))
                yield
            yield from judge.book.making_room(len(read[metrics]))
            yield from self._inputs.making_room(len(read[metrics]))
            parts = judge.add_series(read[metrics])
            if index in self._kin_of:
                found.append(parts)
            yield
        yield from self._inputs.adding(size, found)

    def renew_inputs(self) -> None:
        """Find out anew what the series feed, when rules were told of them one by one."""
        judges = [judge for kin in self._kins for judge in kin.judges]
        self._inputs.renew(len(self._store), [judge.feeds() for judge in judges])
        self._told = len(self._store)

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
        handles = np.sort(np.concatenate([self.of_metric(metric) for metric in judge.binding.metrics])).tolist()
        texts = ((handle, self._store.table.text(handle)) for handle in handles)
        judge.add_series([Named(handle, text, *split_series(text)) for handle, text in texts])

    def known(self, scopes: Sequence[str]) -> NDArray[np.int64]:
        """The series of scopes, ascending: a series by its text, or all of a metric by its name."""
        found = [self.of_metric(scope) for scope in scopes]
        single = [self._store.table.find(scope) for scope in scopes]
        return np.unique(np.concatenate([*found, [handle for handle in single if handle >= 0]]).astype(np.int64))

    def handles(self, texts: Sequence[str]) -> Generator[None, None, tuple[NDArray[np.int64], int]]:
        """The handles of series, -1 for those that are refused, and how many there are in a round if they are known to
        come in rounds, else 0. Yields where there are new ones."""
        if (found := self._rounds.find(texts)) is not None:
            return found
        known = self._store.table.find_all(texts)
        if known is None:
            known = np.empty(len(texts), dtype=np.int64)
            for start in range(0, len(texts), SERIES_PER_CHUNK):
                here = texts[start : start + SERIES_PER_CHUNK]
                known[start : start + len(here)] = [self._intern(text) for text in here]
                yield
            yield from self._tell_new()
        self._rounds.note(texts, known)
        return known, 0

    def _metric(self, name: str) -> Metric:
        readers = tuple(self._readers.get(name, ()))
        alone = tuple(judge for judge in readers if judge.index not in self._kin_of)
        kins = frozenset(self._kin_of[judge.index] for judge in readers if judge.index in self._kin_of)
        runs = not self._keeps(name) and all(judge.runs for judge in readers)
        return Metric(Column(np.int64, -1), readers, alone, kins, runs)

    def runs(self, handles: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of which series single samples can be judged together; and of which stale markers can, too."""
        if len(self._runs) < len(self._metrics):
            found = [(metric.runs, metric.runs and not metric.alone) for metric in self._metrics]
            self._runs = np.array(found, dtype=np.bool_).reshape(-1, 2)
        runs = self._runs
        if self._store.restarted_ms >= 0:  # where it matters which inputs were seen, each is judged by itself
            single = [[all(judge.binding.single for judge in metric.readers), False] for metric in self._metrics]
            runs = runs & np.array(single, dtype=np.bool_)
        elif runs.all():
            every = np.ones(len(handles), dtype=np.bool_)
            return every, every
        found_ = runs[self._metric_of.array[handles]]
        return found_[:, 0], found_[:, 1]

    def run_slices(self, handles: NDArray[np.int64]) -> Iterator[slice]:
        """How single samples of these series are cut, so that what they touch together is not too much."""
        return self._inputs.slices(handles, PAIRS_PER_RUN)

    def any_alone(self, handles: NDArray[np.int64]) -> bool:
        """Whether a rule that is judged alone may read any of these series."""
        if not self._alone:
            return False
        return any(self._metrics[number].alone for number in self._numbers(handles))

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
            self._runs = self._runs[:0]
            self._rounds.forget()
            self._layouts, self._held = layouts, held
            self._told = len(metric_of)

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
            handle = self._intern(text)
            if handle >= 0 and handles.setdefault(handle, position) != position:
                self._drop("duplicate", 1)
            if position % SERIES_PER_CHUNK == SERIES_PER_CHUNK - 1:
                yield
        if len(series) > self._batch_samples_max:
            self._drop("batch_limit", len(series) - self._batch_samples_max)
        yield from self._tell_new()
        array = np.fromiter(handles, np.int64, len(handles))
        positions = None if len(handles) == len(series) else np.fromiter(handles.values(), np.int64, len(handles))
        touched, kins = yield from self.readers(array)
        chains = self.chains(array)
        together = positions is None and not touched and not chains and self._together(array, kins)
        layout = Layout(series, array, as_index(array), positions, touched, kins, chains, together)
        # A layout with refused series is not kept: its drops are counted each time, and a place may come free.
        if positions is None:
            while self._layouts and (self._held + len(series) > LAYOUT_SERIES_MAX or len(self._layouts) >= LAYOUTS_MAX):
                self._held -= len(self._layouts.pop(next(iter(self._layouts))).series)
            self._layouts[id(series)] = layout
            self._held += len(series)
        return layout

    def _together(self, handles: NDArray[np.int64], kins: Parts) -> bool:
        if not all(kin.plain and part.is_whole for kin, parts in kins for part in parts):
            return False
        return all(self._metrics[number].runs for number in self._numbers(handles))

    def readers(self, handles: NDArray[np.int64]) -> Generator[None, None, Readers]:
        """What series touch in pointwise rules, in steps."""
        metrics = [self._metrics[number] for number in self._numbers(handles)]
        alone = {judge.index: judge for metric in metrics for judge in metric.alone}
        touched = yield from touched_by([alone[index] for index in sorted(alone)], handles)
        numbers = sorted({number for metric in metrics for number in metric.kins})
        kins = yield from parts_of(
            handles, [(number, self._kins[number]) for number in numbers], self._kin_of_rule, self._inputs
        )
        return touched, kins

    def kins(self, handles: NDArray[np.int64]) -> list[tuple[Kin, Entries]]:
        """What these series feed of rules that are judged together."""
        numbers = frozenset(number for at in self._numbers(handles) for number in self._metrics[at].kins)
        if not numbers:
            return []
        entries = self._inputs.of(handles)
        if not len(entries.places):
            return []
        if len(numbers) == 1:
            return [(self._kins[next(iter(numbers))], entries)]
        found = self._kin_of_rule[self._inputs.rule.array[entries.places]]
        parts = [(number, np.flatnonzero(found == number)) for number in sorted(numbers)]
        return [(self._kins[number], entries.pick(at)) for number, at in parts if len(at)]

    def _numbers(self, handles: NDArray[np.int64]) -> list[int]:
        """Of the metrics of these series."""
        return np.flatnonzero(np.bincount(self._metric_of.array[handles])).tolist() if len(handles) else []

    def chains(self, handles: NDArray[np.int64]) -> tuple[tuple[Chain, Rules], ...]:
        """The chains with rules of any expression that read any of these series, and which rules those are."""
        if not self._chains:
            return ()
        metrics = {metric_of(self._store.table.text(handle)) for handle in handles.tolist()}
        found = [(chain, chain.readers(metrics)) for chain in self._chains]
        return tuple((chain, rules) for chain, rules in found if rules)

    def judges(self, handles: NDArray[np.int64]) -> list[Judge]:
        """The rules that read the metrics of these series, in their order."""
        found = {judge.index: judge for number in self._numbers(handles) for judge in self._metrics[number].readers}
        return [found[index] for index in sorted(found)]


def _renumbered(layout: Layout, handles: NDArray[np.int64], slots: Mapping[int, NDArray[np.int64]]) -> Layout:
    touched = []
    for judge, touch in layout.touched:
        numbers = slots[judge.index][touch.slots]
        touched.append((judge, touch._replace(slots=numbers, at=as_index(numbers))))
    return layout._replace(handles=handles, at=as_index(handles), touched=tuple(touched))
