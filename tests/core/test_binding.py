"""Which series feed which label set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.binding import Binding, Named, label_key
from engine.core.promql.compile import compile_expr
from engine.series import SeriesTable, series_text, split_series


def bound(expr: str, texts: list[str]) -> tuple[Binding, SeriesTable]:
    binding, table = Binding(compile_expr(expr)), SeriesTable(1_000)
    for text in texts:
        binding.add_series([Named(table.intern(text), text, *split_series(text))])
    return binding, table


def key_of(binding: Binding, slot: int, table: SeriesTable) -> str:
    return series_text("x", binding.labels(slot, table))[1:]


def touched(binding: Binding, table: SeriesTable, *texts: str) -> dict[str, list[str | None]]:
    """By key of each touched label set: for each selector, the series of the atom that feeds it."""
    handles = np.array([table.find(text) for text in texts], dtype=np.int64)
    touch = binding.touched(handles)
    if touch is None:
        return {}
    found: dict[str, list[str | None]] = {}
    for row, slot in enumerate(touch.slots.tolist()):
        feeds: list[str | None] = []
        for source in touch.sources:
            if source is None or (source.inside is not None and not source.inside[row]):
                feeds.append(None)
            else:
                feeds.append(texts[int(np.arange(len(texts))[source.at][row])])
        found[key_of(binding, slot, table)] = feeds
    return found


def test_with_one_selector_a_slot_is_a_series() -> None:
    binding, table = bound('a{x!="no"} > 1', ['a{x="1"}', "b", 'a{x="no"}', "a"])
    assert binding.single
    assert len(binding) == 2
    assert binding.metrics == {"a"}
    assert [binding.labels(slot, table) for slot in range(2)] == [{"x": "1"}, {}]
    assert [key_of(binding, slot, table) for slot in range(2)] == ['{x="1"}', ""]
    assert binding.handles(0, np.array([0, 1])).tolist() == [0, 3]


def test_with_several_series_with_equal_labels_meet() -> None:
    binding, table = bound("a / b > 1", ['a{x="1"}', 'b{x="1"}', 'b{x="2"}', 'c{x="1"}', '{"odd.name",x="1"}'])
    assert not binding.single
    assert len(binding) == 2
    assert binding.handles(0, np.array([0, 1])).tolist() == [0, -1]
    assert binding.handles(1, np.array([0, 1])).tolist() == [1, 2]
    assert [binding.labels(slot, table) for slot in range(2)] == [{"x": "1"}, {"x": "2"}]


@pytest.mark.parametrize("expr", ["a > 1", "a + a > 1", "a / b > 1"])
def test_a_key_leads_back_to_its_slot(expr: str) -> None:
    binding, table = bound(expr, ["a", 'a{x="1"}', series_text("a", {"odd.label": 'q"\\\n'})])
    for slot in range(len(binding)):
        assert binding.slot_of(key_of(binding, slot, table), table) == slot
    assert binding.slot_of('{x="never seen"}', table) == -1


def test_a_selector_may_stand_twice() -> None:
    binding, table = bound("a > 0 and a < 2", ["a"])
    assert touched(binding, table, "a") == {"": ["a", "a"]}


def test_what_an_atom_touches() -> None:
    binding, table = bound("a / b > 1", ['a{x="1"}', 'b{x="1"}', 'b{x="2"}', 'a{x="3"}'])
    table.intern("other")
    assert touched(binding, table, "other") == {}
    assert touched(binding, table, 'a{x="1"}') == {'{x="1"}': ['a{x="1"}', None]}
    assert touched(binding, table, 'b{x="2"}', "other", 'b{x="1"}', 'a{x="1"}', 'a{x="3"}') == {
        '{x="1"}': ['a{x="1"}', 'b{x="1"}'],
        '{x="2"}': [None, 'b{x="2"}'],
        '{x="3"}': ['a{x="3"}', None],
    }


METRICS, VALUES = ["a", "b", "c", "odd.name", "{"], ["", "1", "2", 'q"']


@given(
    st.sampled_from(["a > 1", "a / b > 1", "a or b unless c", 'a{x!="1"} and b', '{"odd.name"} and a', '{"{"} or a']),
    st.lists(st.tuples(st.sampled_from(METRICS), st.sampled_from(VALUES)), unique=True),
    st.data(),
)
def test_any_atom_touches_what_a_search_finds(expr: str, shape: list[tuple[str, str]], data: st.DataObject) -> None:
    texts = [series_text(metric, {"x": value}) for metric, value in shape]
    binding, table = bound(expr, texts)
    atom = data.draw(st.permutations(texts))[: data.draw(st.integers(0, len(texts)))]
    expected: dict[str, list[str | None]] = {}
    for text in atom:
        metric, labels = split_series(text)
        for number, leaf in enumerate(binding.plan.leaves):
            if leaf.metric == metric and leaf.matches(labels):
                key = series_text("x", labels)[1:]
                expected.setdefault(key, [None] * len(binding.plan.leaves))[number] = text
    assert touched(binding, table, *atom) == expected


@given(
    st.sampled_from(["a", "job:x", "odd.name", "{", 'q"', "1"]),
    st.dictionaries(st.sampled_from(["x", "odd.label", "{"]), st.sampled_from(["1", 'q"', "{", "\\"]), max_size=3),
)
def test_equal_labels_have_equal_keys_whatever_the_metric(metric: str, labels: dict[str, str]) -> None:
    text = series_text(metric, labels)
    assert label_key(text, *split_series(text)) == series_text("x", labels)[1:]


def test_a_slot_without_a_series_is_our_bug() -> None:
    binding, table = bound("a / b > 1", ["a"])
    binding._slot_handles[0].array[0] = -1
    with pytest.raises(LookupError):
        binding.labels(0, table)
