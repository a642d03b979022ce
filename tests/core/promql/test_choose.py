"""topk, bottomk, limitk, limit_ratio, count_values."""

import heapq
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.aggregate import grouped
from engine.core.promql.choose import count_values, limit_ratio, limitk, topk
from engine.core.promql.labels import Interner
from engine.core.promql.vector import EvaluationError, Vector
from tests.core.promql import mini

NAN = math.nan


def column(values: Sequence[float | None], **labels: str) -> Vector:
    return mini.vector(Interner(), [({"i": str(i), **labels}, value) for i, value in enumerate(values)])


def chosen(values: Sequence[float | None], k: float, *, least: bool = False, compat: str = "prometheus3") -> list[int]:
    given = column(values)
    found = topk(given, grouped(given.shape, (), without=False), k, least=least, compat=compat)  # type: ignore[arg-type]
    return [int(labels["i"]) for labels, _ in found.items()]


@pytest.mark.parametrize(
    ("values", "k", "greatest", "least"),
    [
        ([1.0, 3.0, 2.0], 2, [1, 2], [0, 2]),
        ([1.0, None, 2.0], 5, [2, 0], [0, 2]),
        ([1.0, 3.0], 0, [], []),
        ([1.0, 3.0], -1, [], []),
        ([1.0, 3.0], 1.9, [1], [0]),
        ([NAN, 1.0, 2.0], 2, [2, 1], [1, 2]),
        ([NAN, 1.0], 2, [1, 0], [1, 0]),
        ([2.0, 2.0, 2.0], 1, [0], [0]),
    ],
)
def test_the_first_k_in_order(values: list[float | None], k: float, greatest: list[int], least: list[int]) -> None:
    assert chosen(values, k) == greatest
    assert chosen(values, k, least=True) == least


def test_which_of_equal_values_stays_is_what_a_heap_decides() -> None:
    # 1, 1 fill the heap, the first on top; 2 takes the top's place.
    assert chosen([1.0, 1.0, 2.0], 2) == [2, 1]
    assert chosen([1.0, 1.0, 2.0], 2, compat="prometheus2") == [2, 1]
    # Prometheus 2 replaces even NaN by NaN.
    assert chosen([NAN, NAN], 1) == [0]
    assert chosen([NAN, NAN], 1, compat="prometheus2") == [1]


def test_groups_are_chosen_from_one_by_one() -> None:
    rows = [({"g": g, "i": str(i)}, float(i)) for i, g in enumerate("aabb")]
    given = mini.vector(Interner(), rows)
    found = topk(given, grouped(given.shape, ("g",), without=False), 1)
    assert [labels["i"] for labels, _ in found.items()] == ["1", "3"]


@pytest.mark.parametrize(("k", "says"), [(NAN, "NaN"), (1e19, "overflows int64")])
def test_k_is_a_number_of_rows(k: float, says: str) -> None:
    given = column([1.0])
    for choose in (topk, limitk):
        with pytest.raises(EvaluationError, match=says):
            choose(given, grouped(given.shape, (), without=False), k)


@given(st.lists(st.integers(0, 4).map(float), max_size=12), st.integers(1, 5), st.booleans())
def test_the_values_are_the_k_greatest(values: list[float], k: int, least: bool) -> None:
    best = heapq.nsmallest(k, values) if least else heapq.nlargest(k, values)
    for compat in ("prometheus3", "prometheus2"):
        assert [values[i] for i in chosen(values, k, least=least, compat=compat)] == best


def test_limitk_takes_the_first_of_each_group() -> None:
    rows = [({"g": g, "i": str(i)}, None if i == 0 else float(i)) for i, g in enumerate("aabba")]
    given = mini.vector(Interner(), rows)
    found = limitk(given, grouped(given.shape, ("g",), without=False), 1)
    assert [labels["i"] for labels, _ in found.items()] == ["1", "2"]
    assert limitk(given, grouped(given.shape, (), without=False), 0).items() == []


def test_a_ratio_and_its_complement_are_all() -> None:
    given = column([float(i) for i in range(200)], job="x")
    for ratio in (0.0, 0.1, 0.5, 0.9):
        some, others = limit_ratio(given, ratio), limit_ratio(given, ratio - 1.0)
        assert (some.present ^ others.present).all()
        assert abs(int(some.present.sum()) - 200 * ratio) < 40
    assert limit_ratio(given, 7.0).present.all()
    with pytest.raises(EvaluationError, match="NaN"):
        limit_ratio(given, NAN)


def test_values_are_counted_under_their_shortest_text() -> None:
    rows = [
        ({"g": "a", "i": str(i)}, v)
        for i, v in enumerate([1.0, 1.0, 0.1, 1e21, 1e-7, 0.0, -0.0, math.inf, -math.inf, NAN, None])
    ]
    found = mini.items(count_values(mini.vector(Interner(), rows), "v", ("g",), without=False))
    texts = {dict(labels)["v"]: count for labels, count in found.items()}
    assert texts == {
        "1": 2,
        "0.1": 1,
        "1" + "0" * 21: 1,
        "0.0000001": 1,
        "0": 1,
        "-0": 1,
        "+Inf": 1,
        "-Inf": 1,
        "NaN": 1,
    }
    assert {dict(labels)["g"] for labels in found} == {"a"}


def test_counted_values_overwrite_a_label_and_can_be_grouped_away() -> None:
    rows = [({"v": "old", "i": str(i)}, 5.0) for i in range(2)]
    given = mini.vector(Interner(), rows)
    assert mini.items(count_values(given, "v", ("i",), without=True)) == {frozenset({("v", "5")}): 2.0}
    assert mini.items(count_values(given, "v", ("i", "v"), without=True)) == {frozenset(): 2.0}
    assert count_values(mini.vector(Interner(), []), "v", (), without=False).items() == []
