"""Series: one canonical text for one label set, and back (fault F75)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.series import (
    LABEL_NAME_CHARS_MAX,
    LABEL_VALUE_CHARS_MAX,
    LABELS_MAX,
    SeriesTable,
    fingerprint,
    labels_of,
    metric_of,
    series_text,
    split_series,
)
from engine.text import clean

ANY = st.characters(codec=None, exclude_categories=())
TRICKY = st.sampled_from('ab_:1{}",=\\ né\n\x00\x1b\u2028\ud800e\u0301\u202e')
NAMES = st.text(st.one_of(ANY, TRICKY), min_size=1, max_size=12)
VALUES = st.text(st.one_of(ANY, TRICKY), max_size=20)
LABELS = st.dictionaries(NAMES.filter(lambda name: name != "__name__"), VALUES, max_size=5)


@given(NAMES, LABELS)
def test_any_name_and_labels_come_back_clean(name: str, labels: dict[str, str]) -> None:
    expected = {clean(label): clean(value) for label, value in labels.items() if value}
    assert split_series(series_text(name, labels)) == (clean(name), expected)


@given(NAMES, LABELS)
def test_the_text_is_canonical(name: str, labels: dict[str, str]) -> None:
    text = series_text(name, labels)
    assert series_text(*split_series(text)) == text
    assert labels_of(text) == split_series(text)[1]
    assert series_text(name, reversed(list(labels.items()))) == text or len({clean(n) for n in labels}) < len(labels)


@given(NAMES, LABELS, NAMES, LABELS)
def test_equal_texts_are_equal_series(name: str, labels: dict[str, str], other: str, others: dict[str, str]) -> None:
    same_series = (clean(name), {clean(n): clean(v) for n, v in labels.items() if v}) == (
        clean(other),
        {clean(n): clean(v) for n, v in others.items() if v},
    )
    assert (series_text(name, labels) == series_text(other, others)) == same_series


@given(st.text(TRICKY, max_size=14), st.text(TRICKY, max_size=14))
def test_any_text_is_split_or_refused(left: str, right: str) -> None:
    for text in (left, left + "{" + right + "}", left + '{a="' + right + '"}'):
        name, problem = "", ""
        try:
            name, _ = split_series(text)
        except ValueError as error:
            problem = str(error)
        assert problem.startswith("not a series: ") if problem else name
        assert len(problem) <= 100


@pytest.mark.parametrize(
    ("name", "labels", "text"),
    [
        ("up", {}, "up"),
        ("up", {"job": "node", "instance": "a"}, 'up{instance="a",job="node"}'),
        ("up", {"a": ""}, "up"),
        ("job:rate:5m", {}, "job:rate:5m"),
        ("http.requests", {}, '{"http.requests"}'),
        ("http.requests", {"a": "b"}, '{"http.requests",a="b"}'),
        ("up", {"a.b": "c"}, 'up{"a.b"="c"}'),
        ("up", {"a": 'q"b\\s\nn'}, 'up{a="q\\"b\\\\s\\\\nn"}'),
        ("{", {"a": "b"}, '{"{",a="b"}'),
    ],
)
def test_examples(name: str, labels: dict[str, str], text: str) -> None:
    assert series_text(name, labels) == text
    assert split_series(text)[0] == name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1up",
            "up up",
            "up{",
            "up{}",
            "{}",
            "up{a}",
            'up{a="b"',
            'up{a="b",}',
            'up{a="b",',
            '{"x",',
            '{"x"',
            "{x}",
        ),
        *('up{a="b"}x', 'up{a="b"}\n', "up\n", 'up{a="b\\"}', "up{a='b'}", 'up{a="b" ,c="d"}', '1{a="b"}', 'é{a="b"}'),
    ],
)
def test_what_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a series"):
        split_series(text)


def test_limits() -> None:
    """F75: name, value and number of labels."""
    assert series_text("m" * LABEL_NAME_CHARS_MAX)
    assert split_series(series_text("m", {"a": "v" * 10_000}))[1]["a"] == "v" * (LABEL_VALUE_CHARS_MAX - 1) + "…"
    assert len(split_series(series_text("m", {f"l{i}": "v" for i in range(LABELS_MAX)}))[1]) == LABELS_MAX
    refusals: list[Callable[[], str]] = [
        lambda: series_text(""),
        lambda: series_text("m" * (LABEL_NAME_CHARS_MAX + 1)),
        lambda: series_text("\x00" * LABEL_NAME_CHARS_MAX),  # too long once it can be seen
        lambda: series_text("m", {"": "v"}),
        lambda: series_text("m", {"l" * (LABEL_NAME_CHARS_MAX + 1): "v"}),
        lambda: series_text("m", {"__name__": "v"}),
        lambda: series_text("m", {f"l{i}": "v" for i in range(LABELS_MAX + 1)}),
    ]
    for refused in refusals:
        with pytest.raises(ValueError, match=r"characters|labels|metric name"):
            refused()


def test_a_label_without_a_value_counts_for_nothing() -> None:
    assert series_text("m", {f"l{i}": "" for i in range(LABELS_MAX + 1)}) == "m"


@pytest.mark.parametrize(
    ("labels", "digest"),
    [
        ({}, "cbf29ce484222325"),
        ({"name": "garland, briggs", "fear": "love is not enough"}, f"{5799056148416392346:016x}"),
    ],
)
def test_the_fingerprint_is_alertmanagers(labels: dict[str, str], digest: str) -> None:
    """The vectors of prometheus/common, model/signature_test.go."""
    assert fingerprint(labels) == digest


@given(LABELS)
def test_the_fingerprint_depends_on_labels_not_on_order(labels: dict[str, str]) -> None:
    labels = {clean(name): clean(value) for name, value in labels.items()}
    assert fingerprint(dict(reversed(list(labels.items())))) == fingerprint(labels)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 20))
def test_a_table_gives_each_text_one_handle_up_to_its_limit(order: list[int], limit: int) -> None:
    table = SeriesTable(limit)
    given_out: dict[str, int] = {}
    for number in order:
        text = f"m{number}"
        handle = table.intern(text)
        if text in given_out:
            assert handle == given_out[text]
        elif len(given_out) < limit:
            assert handle == len(given_out)
            given_out[text] = handle
        else:
            assert handle == -1
            assert table.find(text) == -1
    assert len(table) == len(given_out)
    assert table.texts() == list(given_out)
    assert all(table.text(handle) == text and table.find(text) == handle for text, handle in given_out.items())


def test_the_copy_of_the_texts_is_a_copy() -> None:
    table = SeriesTable(5)
    table.intern("a")
    table.texts().append("b")
    assert len(table) == 1
    assert table.texts() == ["a"]


@pytest.mark.parametrize("text", ["up", 'up{job="a"}', '{"a metric",job="{x"}', '{"plain.not"}'])
def test_the_metric_of_a_text_is_what_splitting_it_gives(text: str) -> None:
    assert metric_of(text) == split_series(text)[0]
    assert labels_of(text) == split_series(text)[1]
