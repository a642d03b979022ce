"""Series that land one by one against a plain list of samples for each, and what they cost."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ragged import Ragged
from engine.events import STALE
from tests.core.test_blocks import WIDTH, Model, calm, check, finished, is_stale, landings, values


def ragged(width: int) -> Ragged:
    made = Ragged()
    made.add(width)
    return made


@given(st.one_of(landings(values), landings(calm)), st.data())
def test_windows_and_instants_show_what_landed(
    rows: list[tuple[int, list[int], list[float]]], data: st.DataObject
) -> None:
    kept, model, horizon = ragged(WIDTH), Model(), -1
    for time_ms, columns, cells in rows:
        kept.append(time_ms, None if len(columns) == WIDTH else np.array(columns), np.array(cells))
        model.append(time_ms, columns, cells)
        action = data.draw(st.sampled_from(["nothing", "nothing", "expire", "window", "instant", "taking"]))
        chosen = data.draw(st.sampled_from([[0, 1, 2], [0], [1, 2]]))
        if action == "expire":
            horizon = max(horizon, time_ms - data.draw(st.integers(0, 100)))
            kept.expire(horizon)
        elif action == "taking":
            kept = finished(kept.taking(np.arange(WIDTH)))
        elif action == "window":
            end = time_ms + data.draw(st.integers(-20, 5))
            start = max(horizon, end - data.draw(st.integers(1, 200)))
            check(kept.window(np.array(chosen), start, end), model, chosen, start, end)
        elif action == "instant":
            at = max(horizon, time_ms - data.draw(st.integers(0, 30)))
            shown, times = kept.instant(np.array(chosen), at)
            for place, column in enumerate(chosen):
                seen = [(t, v) for t, v in model.rows[column] if t <= at]
                if not seen or is_stale(seen[-1][1]):
                    assert is_stale(shown[place])
                else:
                    assert repr((int(times[place]), float(shown[place]))) == repr(seen[-1])
    check(kept.window(slice(0, WIDTH), horizon, 10_000), model, [0, 1, 2], horizon, 10_000)


def test_a_closed_window_holds_the_sample_at_its_start() -> None:
    kept = ragged(1)
    for second in range(5):
        kept.append(second, slice(0, 1), np.array([float(second)]))
    assert kept.window(slice(0, 1), 1, 3).counts().tolist() == [2]
    assert kept.window(slice(0, 1), 1, 3, closed=True).counts().tolist() == [3]


def test_a_sample_of_the_same_time_takes_the_place_of_the_one_before() -> None:
    kept = ragged(1)
    for time_ms, value in ((1, 5.0), (2, 7.0), (2, 3.0)):
        kept.append(time_ms, None, np.array([value]))
    window = kept.window(slice(0, 1), 0, 2)
    assert (window.sums().tolist(), window.resets_added().tolist()) == ([8.0], [5.0])
    kept.append(2, None, np.array([STALE]))
    assert kept.window(slice(0, 1), 0, 2).sums().tolist() == [5.0]
    assert is_stale(kept.instant(slice(0, 1), 2)[0][0])


def test_each_series_costs_the_memory_of_its_own_samples() -> None:
    """One series that lands a thousand times as often as the others does not make theirs dear."""
    kept = ragged(1_000)
    for second in range(20_000):
        kept.append(second, np.array([second % 1_000 if second % 50 == 0 else 0]), np.array([1.0]))
        kept.expire(second - 1_000)
    assert kept.capacity <= 2 * (1_250 + 1_000 * 6)
    assert kept.window(np.array([0]), 18_999, 19_999).counts().tolist() == [981]  # 1,000 seconds but 19


def test_losses_begin_when_they_are_first_asked_for_and_stay_true() -> None:
    kept, model = ragged(2), []
    for second in range(400):
        model.append(float(second % 7))
        kept.append(second, None, np.array([model[-1], 1.0]))
        kept.expire(second - 20)
        if second in (30, 31, 399):
            lost = kept.window(slice(0, 2), second - 20, second).resets_added().tolist()
            assert lost == [sum(a for a, b in pairwise(model[-20:]) if b < a), 0.0], second


def test_columns_are_taken_in_chunks() -> None:
    kept = ragged(10_000)
    kept.append(1, None, np.arange(10_000.0))
    steps: Generator[None, None, Ragged] = kept.taking(np.arange(0, 10_000, 2))
    assert sum(1 for _ in steps) == 2
    taken = finished(kept.taking(np.arange(0, 10_000, 2)))
    assert taken.instant(np.array([1, 4_999]), 1)[0].tolist() == [2.0, 9_998.0]
