"""Blocks against a plain list of samples for each series."""

from __future__ import annotations

import math
from collections.abc import Generator
from itertools import pairwise
from typing import TypeVar

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.blocks import Block, BlockWindow
from engine.core.promql.window import Window
from engine.events import STALE, STALE_BITS

WIDTH = 3
values = st.sampled_from([0.0, 1.0, 2.5, 3.0, -1.0, 7.0, math.nan, math.inf, STALE])
calm = st.floats(0, 100, width=32)
T = TypeVar("T")


def finished(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def is_stale(value: float) -> bool:
    return int(np.float64(value).view(np.int64)) == STALE_BITS


class Model:
    """What a block is: a list of (time, value) for each series."""

    def __init__(self) -> None:
        self.rows: list[list[tuple[int, float]]] = [[] for _ in range(WIDTH)]

    def append(self, time_ms: int, columns: list[int], cells: list[float]) -> None:
        for column, value in zip(columns, cells, strict=True):
            self.rows[column].append((time_ms, value))

    def window(self, column: int, start: int, end: int) -> list[tuple[int, float]]:
        return [(t, v) for t, v in self.rows[column] if start < t <= end and not is_stale(v)]


def reset_losses(samples: list[tuple[int, float]]) -> float:
    return sum(a for (_, a), (_, b) in pairwise(samples) if b < a)


def check(window: Window, model: Model, columns: list[int], start: int, end: int) -> None:
    expected = [model.window(column, start, end) for column in columns]
    assert window.counts().tolist() == [len(samples) for samples in expected]
    dense = window.dense()
    ends, lost, sums, low, high = window.ends(), window.resets_added(), window.sums(), window.minima(), window.maxima()
    for row, samples in enumerate(expected):
        size = len(samples)
        assert dense.times[row, :size].tolist() == [t for t, _ in samples]
        assert repr(dense.values[row, :size].tolist()) == repr([v for _, v in samples])
        if not samples:
            continue
        cells = [v for _, v in samples]
        numbers = [v for v in cells if not math.isnan(v)]
        assert (ends.first_ms[row], ends.last_ms[row]) == (samples[0][0], samples[-1][0])
        assert repr((float(ends.first[row]), float(ends.last[row]))) == repr((cells[0], cells[-1]))
        assert repr(float(low[row])) == repr(min(numbers) if numbers else math.nan)
        assert repr(float(high[row])) == repr(max(numbers) if numbers else math.nan)
        if math.inf not in cells:
            assert math.isclose(lost[row], reset_losses(samples), abs_tol=1e-9)
        if all(map(math.isfinite, cells)):
            assert math.isclose(sums[row], math.fsum(cells), rel_tol=1e-9, abs_tol=1e-12)
        elif len(numbers) < len(cells):
            assert math.isnan(sums[row])


@st.composite
def landings(draw: st.DrawFn, cell: st.SearchStrategy[float]) -> list[tuple[int, list[int], list[float]]]:
    made, now = [], 0
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([1, 5, 10]))
        whole = draw(st.integers(0, 5)) > 0
        columns = (
            list(range(WIDTH)) if whole else draw(st.lists(st.integers(0, 2), min_size=1, unique=True).map(sorted))
        )
        made.append((now, columns, [draw(cell) for _ in columns]))
    return made


@given(st.one_of(landings(values), landings(calm)), st.data())
def test_windows_and_instants_show_what_landed(
    rows: list[tuple[int, list[int], list[float]]], data: st.DataObject
) -> None:
    block, model, horizon = Block(WIDTH), Model(), -1
    for time_ms, columns, cells in rows:
        block.append(time_ms, None if len(columns) == WIDTH else np.array(columns), np.array(cells))
        model.append(time_ms, columns, cells)
        action = data.draw(st.sampled_from(["nothing", "nothing", "expire", "window", "instant", "taking"]))
        chosen = data.draw(st.sampled_from([[0, 1, 2], [0], [1, 2]]))
        if action == "expire":
            horizon = max(horizon, time_ms - data.draw(st.integers(0, 100)))
            block.expire(horizon)
        elif action == "taking":
            block = finished(block.taking(np.arange(WIDTH)))
        elif action == "window":
            end = time_ms + data.draw(st.integers(-20, 5))
            start = max(horizon, end - data.draw(st.integers(1, 200)))
            check(block.window(np.array(chosen), start, end), model, chosen, start, end)
        elif action == "instant":
            at = max(horizon, time_ms - data.draw(st.integers(0, 30)))
            shown, times = block.instant(np.array(chosen), at)
            for place, column in enumerate(chosen):
                seen = [(t, v) for t, v in model.rows[column] if t <= at]
                if not seen:
                    assert is_stale(shown[place])
                else:
                    assert repr((int(times[place]), float(shown[place]))) == repr(seen[-1])
    check(block.window(slice(0, WIDTH), horizon, 10_000), model, [0, 1, 2], horizon, 10_000)


def test_a_long_window_is_folded_from_few_parts() -> None:
    block = Block(2)
    for second in range(5_000):
        block.append(second, None, np.array([1.0, float(second)]))
        block.expire(second - 3_600)
    window = block.window(slice(0, 2), 4_999 - 3_600, 4_999)
    assert isinstance(window, BlockWindow)
    assert window.sums().tolist() == [3_600.0, float(sum(range(1_400, 5_000)))]
    assert window.minima().tolist() == [1.0, 1_400.0]


def test_a_spike_leaves_no_trace_when_it_has_left_the_window() -> None:
    """1e16 and then tenths: a running sum would have lost them for ever."""
    block = Block(1)
    for second in range(200):
        block.append(second, None, np.array([1e16 if second == 70 else 0.1]))
        window = block.window(slice(0, 1), second - 60, second)
        expected = math.fsum(1e16 if at == 70 else 0.1 for at in range(max(0, second - 59), second + 1))
        assert math.isclose(window.sums()[0], expected, rel_tol=1e-12), second


def test_values_that_cancel_are_summed_with_compensation() -> None:
    block = Block(2)
    for second, value in enumerate([1e100, 1.0, -1e100, 1.0]):
        block.append(second, None, np.array([value, value]))
    assert block.window(slice(0, 2), -1, 3).sums().tolist() == [2.0, 2.0]
    assert block.window(np.array([1]), -1, 3).sums().tolist() == [2.0]


def test_more_cells_for_a_time_that_was_there() -> None:
    block = Block(2)
    block.append(1, None, np.array([1.0, 1.0]))
    block.append(2, np.array([0]), np.array([2.0]))
    assert block.window(slice(0, 2), 0, 2).sums().tolist() == [3.0, 1.0]
    block.append(2, np.array([1]), np.array([5.0]))
    assert block.window(slice(0, 2), 0, 2).sums().tolist() == [3.0, 6.0]


def test_the_buffer_does_not_grow_with_time() -> None:
    block = Block(1)
    for second in range(20_000):
        block.append(second, None, np.array([1.0]))
        block.expire(second - 60)
        if second % 10 == 0:
            block.window(slice(0, 1), second - 60, second).sums()
    assert block.capacity <= 1_024


def test_a_late_sample_behind_the_horizon_is_still_the_last_of_its_series() -> None:
    block = Block(2)
    for second in range(10):
        block.append(second, np.array([0]), np.array([float(second)]))
        block.expire(second - 1)
    block.append(5, np.array([1]), np.array([50.0]))
    values, times = block.instant(np.arange(2), 9)
    assert (values.tolist(), times.tolist()) == ([9.0, 50.0], [9, 5])


def test_instants_alone_keep_a_few_rows_however_long_it_runs() -> None:
    block = Block(1)
    for second in range(1_000):
        block.append(second, None, np.array([float(second)]))
        block.expire(second - 1)
    assert block.capacity <= 8
    assert block.instant(np.arange(1), 999)[0].tolist() == [999.0]


def test_a_correction_that_nobody_asked_for_long_begins_anew() -> None:
    block, model = Block(1), []
    for second in range(400):
        model.append(float(second % 7))
        block.append(second, None, np.array([model[-1]]))
        block.expire(second - 20)
        if second in (30, 399):
            lost = block.window(np.arange(1), second - 20, second).resets_added().tolist()
            assert lost == [sum(a for a, b in pairwise(model[-20:]) if b < a)], second


def test_what_is_left_of_a_block_answers_as_before() -> None:
    """A column that was often empty goes, and the rows of the others are whole; sums and corrections are taken over."""
    block = Block(3)
    for second in range(300):
        columns = np.array([0, 2]) if second % 3 else np.arange(3)
        block.append(second, columns, np.array([float(second % 7), 9.0, float(second)])[columns])
    before = block.window(np.array([0, 2]), 50, 299)
    after = finished(block.taking(np.array([0, 2]))).window(slice(0, 2), 50, 299)
    assert not isinstance(before, BlockWindow)
    assert isinstance(after, BlockWindow)
    for name in ("counts", "sums", "minima", "maxima", "resets_added"):
        assert getattr(after, name)().tolist() == getattr(before, name)().tolist(), name
    assert block.instant(np.array([2]), 400)[0].tolist() == [299.0]


def test_results_over_rows_are_taken_over_and_not_worked_out_again() -> None:
    block = Block(4)
    for second in range(600):
        block.append(second, None, np.array([0.1, 1e16 if second == 300 else 0.3, float(second % 5), 2.0]))
    block.window(slice(0, 4), 0, 599).sums()
    block.window(slice(0, 4), 0, 599).resets_added()
    taken = finished(block.taking(np.array([1, 2])))
    for second in range(600, 640):
        block.append(second, None, np.array([0.1, 0.3, float(second % 5), 2.0]))
        taken.append(second, None, np.array([0.3, float(second % 5)]))
    for name in ("sums", "resets_added"):
        mine = getattr(taken.window(slice(0, 2), 5, 639), name)()
        assert mine.tolist() == getattr(block.window(np.array([1, 2]), 5, 639), name)().tolist()
