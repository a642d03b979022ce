"""`(?i)` means what RE2 means by it: `s` is also U+017F, `k` is also U+212A, and other letters' case is RE2's own."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.functions.captures import Captures
from engine.core.promql.regex import Regex, RegexError
from engine.templates.regexps import Pattern

LONG_S, KELVIN = "\u017f", "\u212a"

PIECES = [
    "s",
    "K",
    ".",
    "a",
    "[ks]",
    "[^s]",
    "[a-z]",
    "[^j-l]",
    r"\w",
    r"\W",
    r"[\W_]",
    r"[^\W]",
    r"[\S]",
    r"\S",
    r"\d",
    "[[:lower:]]",
    "[^[:alpha:]]",
    "[[:punct:]]",
    r"\x53",
    r"\163",
    r"[\x4b-\x{4c}]",
    r"\Qs.k\E",
    "(s|_)",
    "(?-i:s)",
    "(?i:K)",
    "(?s:s)",
    "(?P<s>k)",
]
REPEATS = ["", "", "", "*", "+?", "{1,2}", "?"]
texts = st.text(alphabet=f"sSkK{LONG_S}{KELVIN}aZ_. é", max_size=5)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A pattern that has `(?i)` somewhere: for all of it, or for a part."""
    parts = draw(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(REPEATS)), min_size=1, max_size=4))
    named = False
    written = []
    for piece, repeat in parts:
        if "?P<" in piece:
            piece = "(k)" if named else piece
            named = True
        written.append(piece + repeat)
    front, back = draw(st.sampled_from([("(?i)", ""), ("(?is)", ""), ("(?i:", ")"), ("(?i:", ")s"), ("", "(?i:s)")]))
    return front + "".join(written) + back


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("(?i)s", LONG_S, True),
        ("(?i)S+", f"sS{LONG_S}", True),
        ("(?i)k", KELVIN, True),
        ("(?i)a", "ª", False),
        ("s", LONG_S, False),
        ("(?i)[a-z]{2}", LONG_S + KELVIN, True),
        ("(?i)[^s]", LONG_S, False),
        ("(?i)[^a]", LONG_S, True),
        (r"(?i)\w\w", LONG_S + KELVIN, True),
        (r"(?i)\W", KELVIN, False),
        (r"(?i)[\W]", KELVIN, False),
        (r"(?i)[^\W]", KELVIN, True),
        (r"\W", KELVIN, True),
        (r"(?i)\x53\113", LONG_S + KELVIN, True),
        (r"(?i)\Qsk\E", LONG_S + KELVIN, True),
        ("(?i:s)s", LONG_S + "s", True),
        ("(?i:s)s", "s" + LONG_S, False),
        ("(?i)(?-i:s)s", LONG_S + "s", False),
        ("(?i)(?-i:s)s", "s" + LONG_S, True),
        ("(?i)(?s:s)", LONG_S, True),
        ("(?i:a)é", "Aé", True),
        ("(?i:a)é", "AÉ", False),
        (r"(?i:a)\x{e9}", "Aé", True),
    ],
)
def test_s_and_k_have_a_third_form(monkeypatch: pytest.MonkeyPatch, pattern: str, text: str, matches: bool) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert Regex(pattern).matches(text) is matches
    assert (Captures(pattern).fullmatch(text) is not None) is matches
    found = Pattern(pattern).search(text)
    assert (found is not None and found.groups[0] == text) is matches


BEYOND = [
    (r"(?i)\x{e9}", "É", True),
    (r"(?i)\xe9", "É", True),
    (r"(?i)\351", "É", True),
    (r"(?i)[\x{e0}-\x{ff}]", "É", True),
    (r"(?i)[^\x{e9}]", "É", False),
    (r"(?i)\x{17f}", "S", True),
    (r"(?i)\x{3c3}", "\u03c2", True),
    ("(?i:\\Qé\\E)", "É", True),
    ("(?i:[é])", "É", True),
    ("a(?i:b(c|é))", "aBÉ", True),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), BEYOND)
def test_other_letters_case_is_left_to_re2(pattern: str, text: str, matches: bool) -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    assert Regex(pattern).matches(text) is matches
    assert (Captures(pattern).fullmatch(text) is not None) is matches
    assert (Pattern(pattern).search(text) is not None) is matches


@pytest.mark.parametrize("pattern", [pattern for pattern, _, _ in BEYOND])
def test_other_letters_case_is_refused_without_re2(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    for read in (Regex, Captures, Pattern):
        with pytest.raises(RegexError, match=r'uses "\(\?i\)", which needs RE2 itself'):
            read(pattern)


@given(patterns(), texts)
def test_re2_agrees(pattern: str, text: str) -> None:
    re2 = pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    options = re2.Options()
    options.dot_nl = True
    whole = re2.compile(pattern, options).fullmatch(text)
    ours = Regex(pattern)
    assert ours.re2 is None, "it is read here"
    assert ours.matches(text) == (whole is not None)
    assert Captures(pattern).fullmatch(text) == (None if whole is None else (text, *whole.groups("")))
    anywhere, found = re2.compile(pattern).search(text), Pattern(pattern).search(text)
    assert (None if found is None else (found.start, found.end)) == (None if anywhere is None else anywhere.span())


@pytest.mark.parametrize("piece", [piece for piece in PIECES if not piece.startswith(("(", r"\Q"))])
def test_every_class_folds_as_re2s(piece: str) -> None:
    """Each character up to the last one that folds to ASCII."""
    re2 = pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    ours, theirs = Regex(f"(?i){piece}"), re2.compile(f"(?is){piece}")
    characters = [*map(chr, range(0x180)), *map(chr, range(0x2128, 0x212D)), "\U0010ffff"]
    assert [c for c in characters if ours.matches(c) != (theirs.fullmatch(c) is not None)] == []
