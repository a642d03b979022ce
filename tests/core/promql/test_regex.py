"""Regular expressions: Python's answers where both agree, RE2's where they differ, and never more than linear time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.regex import PATTERN_CHARS_MAX, Regex, RegexError

ATOMS = [
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    r"\d",
    r"\w",
    r"\S",
    r"\.",
    "(a|b)",
    "(?:ab|a)",
    "(?i:A)",
    "(b|)",
    "é",
    "^",
    "$",
]
REPEATS = ["", "", "", "*", "+", "?", "{1,2}", "{2}", "*?", "{0,1}?"]

patterns = st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(REPEATS)), min_size=0, max_size=5).map(
    lambda parts: "".join(atom + ("" if atom in "^$" else repeat) for atom, repeat in parts)
)
texts = st.text(alphabet="abA1.é", max_size=8)


@given(patterns, patterns, st.booleans(), texts)
def test_it_agrees_with_python(left: str, right: str, either: bool, text: str) -> None:
    pattern = f"{left}|{right}" if either else left
    expected = re.compile(pattern, re.DOTALL | re.ASCII).fullmatch(text) is not None
    assert Regex(pattern).matches(text) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("web", "web-1", False),  # anchored
        ("web.*", "web\n1", True),  # a dot is any character
        ("^web.*$", "web-1", True),
        ("a^b", "ab", False),
        ("a$", "a\n", False),  # the end is the end, not the last line's
        (r"\d+", "\u0663", False),  # digits are ASCII
        (r"\w", "é", False),
        ("", "", True),
        ("", "x", False),
        ("|a", "", True),
        ("(?P<name>a)b", "ab", True),
        ("(?i)ABC", "abc", True),
        ("[0-9a-f]{8}", "deadbeef", True),
        ("a{0}", "", True),
    ],
)
def test_what_promql_means(pattern: str, text: str, matches: bool) -> None:
    assert Regex(pattern).matches(text) is matches


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+b", "(a*)*b", ".*.*.*.*.*.*=.*", "(.*a){20}"])
def test_f76_no_text_makes_it_slow(pattern: str) -> None:
    """Steps are counted, not time: at most one look-up or one new set of states for each character."""
    steps = 0

    class Counted(Regex):
        def _step(self, states: frozenset[int], character: str) -> frozenset[int]:
            nonlocal steps
            steps += 1
            return super()._step(states, character)

    counted = Counted(pattern)
    assert counted.matches("a" * 1_000 + "c") is False
    assert steps <= 1_001


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "not a regular expression"),
        ("a**", "not a regular expression"),
        ("[[:alpha:]]", "read differently"),
        (r"\pL", "read differently"),
        (r"(a)\1", "read differently"),
        ("(?=a)", "read differently"),
        ("a++", "read differently"),
        (r"a\b", "not supported"),
        ("(?m)^a", "not supported"),
        ("a{1001}", "repeats more than"),
        ("(a{1000}){1000}", "too large"),
        ("a" * (PATTERN_CHARS_MAX + 1), "at most"),
        ("(" * 3_000 + ")" * 1_000, "not a regular expression"),
    ],
)
def test_what_is_refused_says_why(pattern: str, says: str) -> None:
    with pytest.raises(RegexError, match=says):
        Regex(pattern)


def test_it_is_a_value() -> None:
    assert Regex("a+") == Regex("a+")
    assert Regex("a+") != Regex("a*")
    assert len({Regex("a"), Regex("a")}) == 1
    assert "a+" in repr(Regex("a+"))
