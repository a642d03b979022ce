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
        # RE2's ways of writing, none of them Python's.
        (r"\Qa.b\E+", "a.bb", True),
        (r"\Qa.b\E", "axb", False),
        (r"\Q[", "[", True),
        ("(?<n>a)b", "ab", True),
        (r"\Aab\z", "ab", True),
        (r"a\zb", "ab", False),
        ("[[:alpha:]_]+", "aZ_", True),
        ("[^[:alpha:]]+", "1-", True),
        ("[[:punct:]]+", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", True),
        ("[[:print:]]+", " ~", True),
        ("[[:space:]]+", "\t\n\v\f\r ", True),
        (r"\s", "\v", False),
        (r"[\s]", "\v", False),
        (r"[^\s]", "\v", True),
        (r"[\s\S]{3}", "\v é", True),
        (r"\S", "é", True),
        ("a{,3}", "a{,3}", True),
        ("[[a]]", "[]", True),
        ("[a&&b]", "&", True),
        ("[a||b~~]+", "|~a", True),
        (r"\x{1F600}\x41", "\U0001f600A", True),
        (r"[\x{e0}-\x{ff}]", "é", True),
        (r"\101\07", "A\a", True),
        (r"[^]a]", "]", False),
        (r"a$\n", "a\n", False),
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
        (r"(a)\1", "RE2 has no"),
        ("(?=a)", "RE2 has no"),
        ("a++", "RE2 has no"),
        ("[[:letter:]]", "longwatch.re2|invalid character class"),
        ("[a", "a .? ?is never closed"),
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


ONLY_RE2 = [
    (r"\pL+", "éß", True),
    (r"\p{Greek}", "λ", True),
    (r"\PL", "λ", False),
    (r".*\bb\b.*", "a b c", True),
    (r".*\bb\b.*", "abc", False),
    ("(?i)É", "é", True),
    ("(?i)k", "k", True),
    ("a(?i)b", "aB", True),
    ("(?U)a+", "aa", True),
    ("(?m)a$\n^b", "a\nb", True),
    (r"[\d-z]", "-", True),
    ("[[:^alpha:]]", "1", True),
    (r"\pL.\pL", "a\nb", True),
    (r"\pL", "\ud800", False),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), ONLY_RE2)
def test_what_only_re2_reads_is_left_to_it(pattern: str, text: str, matches: bool) -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    assert Regex(pattern).matches(text) is matches


def test_before_prometheus_3_a_dot_was_no_newline_there_either() -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    assert not Regex(r"\pL.\pL", dot_all=False).matches("a\nb")


@pytest.mark.parametrize("pattern", [r"\pL\C", r"\pQ", r"\pL(?=a)", r"\pL**", r"\pL\1"])
def test_what_go_does_not_read_is_refused_with_re2_too(pattern: str) -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    with pytest.raises(RegexError, match="is not a regular expression"):
        Regex(pattern)


@given(patterns, texts)
def test_re2_agrees_with_what_is_matched_here(pattern: str, text: str) -> None:
    """What is matched without the extra means the same to RE2 itself."""
    re2 = pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    options = re2.Options()
    options.dot_nl = True
    assert Regex(pattern).matches(text) == (re2.compile(pattern, options).fullmatch(text) is not None)


def test_every_class_is_re2s() -> None:
    """Each character of the first 384 in each class that has a name, and outside of it."""
    re2 = pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    names = [
        "alnum",
        "alpha",
        "ascii",
        "blank",
        "cntrl",
        "digit",
        "graph",
        "lower",
        "print",
        "punct",
        "space",
        "upper",
        "word",
        "xdigit",
    ]
    written = [
        *(f"[[:{name}:]]" for name in names),
        *(f"[^[:{name}:]]" for name in names),
        r"[\s]",
        r"\S",
        r"[^\S]",
        r"\w",
    ]
    for pattern in written:
        ours, theirs = Regex(pattern), re2.compile(pattern)
        different = [chr(at) for at in range(384) if ours.matches(chr(at)) != (theirs.fullmatch(chr(at)) is not None)]
        assert different == [], pattern
