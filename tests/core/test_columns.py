"""Arrays that grow at their end."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.columns import Column, as_index


@given(
    st.lists(
        st.one_of(st.tuples(st.just("append"), st.integers(-9, 9)), st.tuples(st.just("resize"), st.integers(0, 90)))
    )
)
def test_a_column_is_a_list_that_never_shrinks(steps: list[tuple[str, int]]) -> None:
    column, expected = Column(np.int64, -1), []
    for step, number in steps:
        if step == "append":
            column.append(number)
            expected.append(number)
        else:
            column.resize(number)
            expected += [-1] * (number - len(expected))
        assert column.array.tolist() == expected
        assert len(column) == len(expected)


def test_the_array_is_a_view_that_can_be_written() -> None:
    column: Column[np.float64] = Column(np.float64, np.nan)
    column.resize(3)
    column.array[1] = 5.0
    assert column.array.tolist()[1] == 5.0
    assert np.isnan(column.array[[0, 2]]).all()
    assert column.array.dtype == np.float64


def test_growing_costs_a_few_copies() -> None:
    column = Column(np.int64, 0)
    copies, data = 0, column._data
    for number in range(10_000):
        column.append(number)
        copies += column._data is not data
        data = column._data
    assert copies <= 10


@given(st.lists(st.integers(0, 12), unique=True, max_size=8))
def test_an_index_selects_what_the_positions_select(positions: list[int]) -> None:
    array = np.arange(100, 120)
    at = as_index(np.array(positions, dtype=np.int64))
    assert array[at].tolist() == [100 + position for position in positions]
    consecutive = bool(positions) and positions == list(range(positions[0], positions[0] + len(positions)))
    assert isinstance(at, slice) == consecutive
