"""label_replace and label_join, and the groups of regular expressions they need."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.functions import COMPAT2_VECTOR, VECTOR, FunctionContext
from engine.core.promql.functions.captures import Captures
from engine.core.promql.functions.relabel import expand, read_template
from engine.core.promql.labels import Interner, Shape
from engine.core.promql.regex import RegexError
from engine.core.promql.vector import EvaluationError, Vector

Labels = Mapping[str, str]


def vector_of(labels: Sequence[Labels]) -> Vector:
    return Vector(Shape.of(Interner(), labels), np.arange(float(len(labels))), np.ones(len(labels), dtype=np.bool_))


def relabelled(name: str, labels: Sequence[Labels], *arguments: str, compat2: bool = False) -> list[Labels]:
    given_vector = vector_of(labels)
    table = COMPAT2_VECTOR if compat2 else VECTOR
    result = table[name](FunctionContext(0, given_vector.shape.interner), [given_vector, *arguments])
    assert isinstance(result, Vector)
    assert result.values is given_vector.values
    return [found for found, _ in result.items()]


@pytest.mark.parametrize(
    ("target", "template", "source", "regex", "expected"),
    [
        ("dst", "value-$1", "src", "source-(.*)", {"dst": "value-10"}),
        ("dst", "value-$1", "src", "ource-(.*)", {}),  # anchored at both ends
        ("dst", "$2/$1", "src", "(.*)-(.*)", {"dst": "10/source"}),
        ("dst", "${1}x", "src", "(.*)-.*", {"dst": "sourcex"}),
        ("dst", "$1x", "src", "(.*)-.*", {}),  # the group named 1x, which is not there
        ("dst", "$n", "src", ".*-(?P<n>.*)", {"dst": "10"}),
        ("dst", "$$1 $", "src", ".*", {"dst": "$1 $"}),
        ("dst", "a", "nope", "", {"dst": "a"}),  # an absent label is the empty value
        ("dst", "a", "nope", ".+", {}),
        ("src", "", "src", ".*", {"src": ""}),
        ("__name__", "other", "src", ".*", {"__name__": "other"}),
    ],
)
def test_label_replace(target: str, template: str, source: str, regex: str, expected: Labels) -> None:
    labels = {"__name__": "m", "src": "source-10"}
    wanted = {name: value for name, value in {**labels, **expected}.items() if value}
    assert relabelled("label_replace", [labels], target, template, source, regex) == [wanted]


def test_label_replace_of_each_distinct_value() -> None:
    labels = [{"a": value} for value in ("x1", "y2", "x1", "3")]
    got = relabelled("label_replace", labels, "b", "$1", "a", "([a-z]).")
    assert [one.get("b") for one in got] == ["x", "y", "x", None]
    assert relabelled("label_replace", [], "b", "$1", "a", "(.)") == []


def test_a_dot_matches_a_newline_since_prometheus_3() -> None:
    assert relabelled("label_replace", [{"a": "x\ny"}], "b", "1", "a", ".*") == [{"a": "x\ny", "b": "1"}]
    assert relabelled("label_replace", [{"a": "x\ny"}], "b", "1", "a", ".*", compat2=True) == [{"a": "x\ny"}]


@pytest.mark.parametrize("regex", ["(.*", r"(?=a)", r"\Z", "a**"])
def test_what_is_no_regular_expression_of_re2_is_an_error(regex: str) -> None:
    with pytest.raises(EvaluationError, match="label_replace"):
        relabelled("label_replace", [{"a": "b"}], "b", "", "a", regex)


def test_groups_of_what_only_re2_reads() -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    labels = [{"a": "éa-7"}, {"a": "7"}]
    got = relabelled("label_replace", labels, "b", "$2 ${word}", "a", r"(?P<word>\pL+)-(\d)(x)?")
    assert [one.get("b") for one in got] == ["7 éa", None]


def test_without_re2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(EvaluationError, match=r"label_replace\(\): .*pip install 'longwatch\[re2\]'"):
        relabelled("label_replace", [{"a": "b"}], "b", "", "a", r"\pL")


def test_label_names_are_checked_as_the_version_does() -> None:
    for function, arguments in (("label_replace", ("$1", "a", "(.)")), ("label_join", ("-", "a"))):
        with pytest.raises(EvaluationError, match="label name"):
            relabelled(function, [{"a": "b"}], "", *arguments)
        with pytest.raises(EvaluationError, match="label name"):
            relabelled(function, [{"a": "b"}], "größe", *arguments, compat2=True)
        assert relabelled(function, [{"a": "b"}], "größe", *arguments) == [{"a": "b", "größe": "b"}]


def test_label_join() -> None:
    labels = [{"a": "1", "b": "2"}, {"a": "1"}, {}]
    assert relabelled("label_join", labels, "c", "-", "a", "b", "a") == [
        {"a": "1", "b": "2", "c": "1-2-1"},
        {"a": "1", "c": "1--1"},
        {"c": "--"},
    ]
    assert relabelled("label_join", labels, "a", "-") == [{"b": "2"}, {}, {}]
    assert relabelled("label_join", [], "c", "-", "a") == []


def test_new_shapes_are_made_once() -> None:
    given_vector = vector_of([{"a": "1"}, {"a": "2"}])
    context = FunctionContext(0, given_vector.shape.interner)
    for name, arguments in (("label_replace", ["b", "$1", "a", "(.)"]), ("label_join", ["b", "-", "a"])):
        shapes = [VECTOR[name](context, [given_vector, *arguments]) for _ in range(2)]
        assert isinstance(shapes[0], Vector)
        assert isinstance(shapes[1], Vector)
        assert shapes[0].shape is shapes[1].shape


@pytest.mark.parametrize(
    ("template", "expected"),
    [("", ()), ("a", ("a",)), ("$01", (("01",),)), ("${1", ("${1",)), ("$1$2", (1, 2)), ("$a-$", (("a",), "-$"))],
)
def test_templates_are_read_as_go_reads_them(template: str, expected: tuple[object, ...]) -> None:
    assert read_template(template) == expected


def test_groups_that_are_not_there_are_empty() -> None:
    assert expand((0, 7, ("x",), "."), ("all", "one"), {}) == "all."


# --- groups in linear time (F76) ----------------------------------------------------------------------------------

PATTERNS = [
    "(a+)+(b|a)*",
    "(a|b)*?(b*)",
    "((a)|b)+",
    "(a|ab)(c|bcb)*(b*)",
    "(b?a)*(.*)",
    "(a{1,3}b){2,}(c)?",
    "^(a|b$)*c?$",
    "(?P<q>(ab|a)+)(.*)",
    "(?i:(A|b)+)c*",
    "(a??)(.*)([^b]*)(c?)",
    "(.*)(a*)(.*?)(b*)",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_groups_are_those_that_backtracking_finds(pattern: str) -> None:
    captures, judge = Captures(pattern), re.compile(pattern, re.ASCII | re.DOTALL)
    for size in range(6):
        for text in map("".join, itertools.product("abc", repeat=size)):
            match = judge.fullmatch(text)
            assert captures.fullmatch(text) == (None if match is None else (text, *match.groups("")))


@given(st.text("ab:", max_size=12))
def test_simple_patterns_give_the_same_either_way(text: str) -> None:
    """A fourth repeat turns backtracking off; one that takes nothing changes nothing else."""
    simple, walked = Captures("([^:]*):(.*?)(b*)"), Captures("([^:]*):(.*?)(b*)(?:x*)")
    assert simple.fullmatch(text) == walked.fullmatch(text)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)*x", "(a?){30}a{30}b", "(.*)(.*)(.*)(.*)(.*)x"])
def test_no_text_takes_long(pattern: str) -> None:
    """F76: with backtracking, thirty characters already take minutes; the suite's time limit is the judge."""
    assert Captures(pattern).fullmatch("a" * 300) is None


def test_what_re2_has_not_is_refused() -> None:
    with pytest.raises(RegexError):
        Captures(r"(a)\1")
