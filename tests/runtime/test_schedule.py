"""The grid does not drift, never queues, and counts what it missed (F69, F97); back-off stays in its bounds."""

import random
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtime.schedule import BACKOFF_MAX_S, BACKOFF_MIN_S, WOKEN_WITHIN_S, Grid, backoff_s, offset_s

INTERVALS = st.sampled_from([0.1, 0.25, 1.0, 5.0, 7.3, 15.0, 60.0, 3600.0])


def test_the_offset_is_the_same_in_every_process() -> None:
    code = "from engine.runtime.schedule import offset_s; print(repr(offset_s('host', 15.0)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert float(out.stdout) == offset_s("host", 15.0)


@given(name=st.text(max_size=40), interval=INTERVALS)
def test_the_offset_lies_within_the_interval(name: str, interval: float) -> None:
    assert 0 <= offset_s(name, interval) < interval


def test_offsets_spread() -> None:
    offsets = sorted(offset_s(f"probe-{i}", 1.0) for i in range(1_000))
    assert max(b - a for a, b in pairwise(offsets)) < 0.02


@given(name=st.text(max_size=10), interval=INTERVALS, start=st.floats(0, 1e6))
def test_the_first_tick_is_at_once_and_the_second_not_right_after(name: str, interval: float, start: float) -> None:
    grid = Grid(name, interval, start)
    first, second = grid.next(start), grid.next(start)
    assert first == (start, 0)
    assert second.missed == 0
    assert interval / 2 - 1e-6 <= second.due_s - start <= 1.5 * interval + 1e-6


@given(
    name=st.text(max_size=10),
    interval=INTERVALS,
    start=st.floats(0, 1e6),
    durations=st.lists(st.floats(0, 10), max_size=30),
)
def test_ticks_lie_on_the_grid_and_every_grid_point_is_kept_or_missed(
    name: str, interval: float, start: float, durations: list[float]
) -> None:
    grid = Grid(name, interval, start)
    grid.next(start)
    first = grid.next(start)
    now, points = first.due_s, 0
    for factor in durations:
        now += factor * interval  # how long the measurement took
        tick = grid.next(now)
        assert tick.due_s > now - 1e-9, "never a tick that has passed"
        points += 1 + tick.missed
        assert tick.due_s == pytest.approx(first.due_s + points * interval, abs=1e-6)
        assert tick.due_s - now <= interval + 1e-6, "and never one further than needed"
        now = max(now, tick.due_s)


def test_no_drift_over_a_day_f97() -> None:
    grid = Grid("x", 0.1, 12345.6789)
    grid.next(12345.6789)
    first = tick = grid.next(12345.6789)
    for _ in range(864_000):
        tick = grid.next(tick.due_s)
        assert tick.missed == 0
    assert tick.due_s == pytest.approx(first.due_s + 86_400, abs=1e-6)


def test_a_timer_that_wakes_early_does_not_repeat_a_tick_f94() -> None:
    grid = Grid("x", 1.0, 0.0)
    grid.next(0.0)
    first = grid.next(0.0)
    second = grid.next(first.due_s - 1e-6)
    assert second.due_s == pytest.approx(first.due_s + 1)
    assert second.missed == 0


def test_skipped_ticks_are_not_missed_ones() -> None:
    grid = Grid("x", 1.0, 0.0)
    grid.next(0.0)
    first = grid.next(0.0)
    grid.skip_to(first.due_s + 4.5)
    tick = grid.next(first.due_s + 0.1)
    assert tick.due_s == pytest.approx(first.due_s + 5)
    assert tick.missed == 0


@given(name=st.text(max_size=10), interval=INTERVALS, slept_at=st.floats(0, 1))
def test_after_a_sleep_of_the_machine_the_next_tick_comes_at_once_and_the_grid_stays_f92(
    name: str, interval: float, slept_at: float
) -> None:
    grid = Grid(name, interval, 0.0)
    grid.next(0.0)
    first = grid.next(0.0).due_s
    second = grid.next(first).due_s
    now = first + slept_at * interval
    early = grid.hurry(now)
    assert early <= now + WOKEN_WITHIN_S
    assert early <= second
    following = grid.next(max(now, early))
    assert following.missed == 0
    assert interval / 2 - 1e-6 <= following.due_s - early <= 1.5 * interval + 1e-6
    assert (following.due_s - second) / interval == pytest.approx(
        round((following.due_s - second) / interval), abs=1e-6
    )


def test_probes_do_not_all_measure_at_one_moment_after_a_sleep() -> None:
    early = set()
    for number in range(20):
        grid = Grid(f"probe-{number}", 60.0, 0.0)
        grid.next(0.0)
        grid.next(0.0)
        early.add(round(grid.hurry(5.0), 3))
    assert len(early) > 15


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
def test_an_interval_is_positive(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        Grid("x", interval, 0.0)


@given(failures=st.integers(0, 10_000), seed=st.integers(0, 1_000))
def test_backoff_stays_in_its_bounds(failures: int, seed: int) -> None:
    assert BACKOFF_MIN_S <= backoff_s(failures, random.Random(seed)) <= BACKOFF_MAX_S


def test_backoff_grows_and_is_spread() -> None:
    rng = random.Random(1)
    means = [sum(backoff_s(n, rng) for _ in range(200)) / 200 for n in range(1, 7)]
    assert means == sorted(means)
    assert len({backoff_s(4, rng) for _ in range(20)}) == 20
