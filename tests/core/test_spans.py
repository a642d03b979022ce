"""Spans against sets of milliseconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.spans import SPANS_MAX, Edges, add, after, remove, without

pairs = st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda pair: (pair[0], sum(pair)))


def covered(edges: Edges) -> set[int]:
    return {ms for begin, end in zip(edges[::2], edges[1::2], strict=True) for ms in range(begin, end)}


@given(st.lists(st.tuples(st.booleans(), pairs), max_size=8), pairs)
def test_spans_are_sets_of_milliseconds(steps: list[tuple[bool, tuple[int, int]]], other: tuple[int, int]) -> None:
    edges, expected = Edges(), set[int]()
    for adds, span in steps:
        (add if adds else remove)(edges, *span)
        expected = expected | set(range(*span)) if adds else expected - set(range(*span))
        assert edges == sorted(set(edges))  # no span is empty, and none touches the next
        assert covered(edges) == expected
    parts = without(edges, *other)
    assert [ms for part in parts for ms in range(*part)] == sorted(set(range(*other)) - expected)
    times = np.arange(60)
    assert after(edges, times).tolist() == [sum(ms >= at for ms in expected) for at in range(60)]


def test_spans_are_bounded() -> None:
    edges = Edges()
    for at in range(2 * SPANS_MAX):
        add(edges, 10 * at, 10 * at + 1)
    assert len(edges) == 2 * SPANS_MAX
    assert edges[-1] == 10 * (2 * SPANS_MAX - 1) + 1
