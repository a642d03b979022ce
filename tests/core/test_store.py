"""The store: last samples, and what is fresh to the millisecond."""

import math

import numpy as np
import pytest

from engine.core.store import (
    NEVER_MS,
    STALE_AFTER_MS,
    Landing,
    Mark,
    Store,
    stale_after_ms,
    stale_mask,
)
from engine.events import STALE


def filled(texts: list[str], series_max: int = 100) -> Store:
    store = Store(series_max)
    for text in texts:
        store.intern(text)
    return store


def land(store: Store, handle: int, time_ms: int, value: float, after: int = 3_000, mark: Mark = Mark.ENDED) -> None:
    handles, values = np.array([handle]), np.array([value])
    store.land(
        Landing(handles, handles, np.array([time_ms]), values, stale_mask(values), mark, after, time_ms + after + 1)
    )


def shown(store: Store, handle: int, at_ms: int) -> float | None:
    values, present = store.show(np.array([handle]), at_ms)
    return float(values[0]) if present[0] else None


def test_a_series_gets_one_handle_and_the_limit_refuses_new_ones_only() -> None:
    store = filled(["a", "b"], series_max=2)
    assert (store.intern("a"), store.intern("b"), store.intern("c"), len(store)) == (0, 1, -1, 2)


@pytest.mark.parametrize("text", ["", "1up", "a{", 'a{b="c"', "a b"])
def test_what_is_no_series_is_refused_and_takes_no_place(text: str) -> None:
    store = filled(["a"], series_max=2)
    with pytest.raises(ValueError, match="not a series"):
        store.intern(text)
    assert (len(store), store.intern("b")) == (1, 1)


def test_a_sample_is_fresh_to_the_exact_millisecond() -> None:
    store = filled(["a"])
    assert shown(store, 0, 0) is None
    land(store, 0, 10_000, 7.0)
    assert shown(store, 0, 13_000) == 7.0
    assert shown(store, 0, 13_001) is None
    assert store.stale_from(np.array([0])).tolist() == [13_001]
    assert store.last_ms(np.array([0])).tolist() == [10_000]


def test_a_series_without_a_sample_was_last_seen_before_all_time() -> None:
    store = filled(["a"])
    assert store.last_ms(np.array([0]))[0] < -(10**15)
    assert store.stale_from(np.array([0])).tolist() == [NEVER_MS]


@pytest.mark.parametrize("mark", [Mark.ENDED, Mark.TARGET_DOWN])
def test_a_marker_hides_the_series_at_once_until_its_next_sample(mark: Mark) -> None:
    store = filled(["a"])
    land(store, 0, 10_000, 7.0)
    land(store, 0, 10_001, STALE, mark=mark)
    assert shown(store, 0, 10_001) is None
    assert store.marks(np.array([0])).tolist() == [mark]
    assert store.stale_from(np.array([0])).tolist() == [NEVER_MS]  # it can't go stale any more
    land(store, 0, 10_002, 8.0)
    assert (shown(store, 0, 10_002), store.marks(np.array([0])).tolist()) == (8.0, [Mark.LIVE])


def test_a_handle_of_minus_one_is_no_series() -> None:
    for store in (Store(5), filled(["a"])):
        values, present = store.show(np.array([-1, -1]), 0)
        assert (len(values), present.tolist()) == (2, [False, False])
        assert store.stale_from(np.array([-1])).tolist() == [NEVER_MS]


def test_each_label_set_is_shown_at_its_own_time() -> None:
    store = filled(["a", "b"])
    land(store, 0, 10_000, 1.0)
    land(store, 1, 10_000, 2.0, after=5_000)
    _, present = store.show(np.array([0, 1, 0]), np.array([13_000, 15_000, 15_000]))
    assert present.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("interval", "after"), [(0, STALE_AFTER_MS), (-5, STALE_AFTER_MS), (1, 3), (15_000, 45_000), (600_000, 1_800_000)]
)
def test_three_intervals_or_five_minutes(interval: int, after: int) -> None:
    assert stale_after_ms(interval) == after
    assert STALE_AFTER_MS == 300_000


def test_only_the_exact_bits_are_a_marker() -> None:
    """F70: NaN is a value."""
    assert stale_mask(np.array([1.0, math.inf, -0.0])) is None
    assert stale_mask(np.array([math.nan, 1.0])) is None
    mask = stale_mask(np.array([math.nan, STALE, 1.0]))
    assert mask is not None
    assert mask.tolist() == [False, True, False]
    assert stale_mask(np.empty(0)) is None


def test_a_marker_is_seen_in_a_strided_column() -> None:
    column = np.array([STALE, 0.0, 1.0, 0.0])[::2]
    mask = stale_mask(column)
    assert mask is not None
    assert mask.tolist() == [True, False]


def test_columns_come_back() -> None:
    store = filled(["a", 'b{x="1"}', "c"])
    land(store, 0, 10_000, math.nan)
    land(store, 1, 2**45, math.inf, after=1)
    land(store, 1, 2**45 + 1, STALE, mark=Mark.TARGET_DOWN)
    again = Store(100)
    again.refill(store.table.texts(), store.columns())
    assert again.columns() == store.columns()
    assert again.table.texts() == store.table.texts()
    seen = shown(again, 0, 10_000)
    assert seen is not None
    assert math.isnan(seen)
    assert again.marks(np.array([1])).tolist() == [Mark.TARGET_DOWN]


@pytest.mark.parametrize("name", ["last_ms", "values", "stale_after", "marks"])
@pytest.mark.parametrize("damage", ["short", "long", "odd", "gone"])
def test_damaged_columns_are_refused(name: str, damage: str) -> None:
    store = filled(["a", "b"])
    columns = store.columns()
    data = columns.pop(name)
    if damage != "gone":
        width = len(data) // 2
        columns[name] = {"short": data[:-width], "long": data + data[:width], "odd": data + b"x" * (width // 2 or 2)}[
            damage
        ]
    with pytest.raises(ValueError, match=rf"column {name} has|buffer size"):
        Store(100).refill(["a", "b"], columns)


def test_a_snapshot_with_a_series_twice_is_refused() -> None:
    columns = filled(["a", "b"]).columns()
    with pytest.raises(ValueError, match="there twice"):
        Store(100).refill(["a", "a"], columns)


def test_many_series_grow_all_columns_together() -> None:
    store = filled([f"m{number}" for number in range(1_000)], series_max=1_000)
    land(store, 999, 5, 1.0)
    assert shown(store, 999, 5) == 1.0
    assert {len(data) for data in store.columns().values()} == {8_000, 1_000}


def test_nothing_ages_in_a_blind_span() -> None:
    store = filled(["fresh", "stale", "within", "after", "ended", "empty", "edge"])
    land(store, 6, 9_000, 1.0)
    for handle, time_ms in enumerate([10_000, 5_000, 13_000, 30_000]):
        land(store, handle, time_ms, 1.0)
    land(store, 4, 10_000, STALE)
    before = store.columns()["stale_after"]
    store.skip(12_000, 20_000)
    assert store.stale_from(np.arange(7)).tolist() == [21_001, 8_001, 23_001, 33_001, NEVER_MS, NEVER_MS, 20_001]
    assert store.columns()["stale_after"] != before
    land(store, 0, 20_500, 1.0)
    assert store.stale_from(np.array([0])).tolist() == [23_501]  # its next sample is as any other
