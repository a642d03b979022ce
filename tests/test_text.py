"""Foreign text: made safe once (faults F75, F117, F139, F140)."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text import clean

ANY = st.text(st.characters(codec=None, exclude_categories=()))
HOSTILE = st.text(
    st.sampled_from("a é\x00\x1b\n\r\t\x7f\x9b\u2028\u202e\ud800\udcffe\u0301\u1100\u1161\u11a8\ufffe😀\\")
)
REORDERS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.one_of(ANY, HOSTILE), st.integers(2, 40))
def test_what_comes_out_is_safe(text: str, cap: int) -> None:
    safe = clean(text, cap)
    assert len(safe) <= cap
    assert safe.encode("utf-8").decode("utf-8") == safe  # no lone surrogate
    assert not {unicodedata.category(char) for char in safe} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(safe) & REORDERS
    assert len(safe.splitlines()) <= 1  # one record is one line
    assert unicodedata.is_normalized("NFC", safe)
    json.dumps(safe).encode()


@given(st.one_of(ANY, HOSTILE), st.integers(2, 40))
def test_cleaning_twice_is_cleaning_once(text: str, cap: int) -> None:
    assert clean(clean(text, cap), cap) == clean(text, cap)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=512))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(text) is text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("ev\udcff\x1b[31m\nil", "ev\\udcff\\x1b[31m\\nil"),  # a process name on Linux (M23)
        ("a\x00b", "a\\x00b"),
        ("one\u2028two", "one\\u2028two"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("disk [/dev/sda1]", "disk [/dev/sda1]"),
        ("", ""),
    ],
)
def test_examples(text: str, safe: str) -> None:
    assert clean(text) == safe


def test_a_cut_is_marked_and_counts() -> None:
    assert clean("abcdef", 4) == "abc…"
    assert clean("abcd", 4) == "abcd"
    assert clean("\n" * 10, 4) == "\\n\\…"
    assert clean("é" * 600) == "é" * 511 + "…"


def test_ten_megabytes_cost_no_more_than_the_cap() -> None:
    assert len(clean("é\x1b" * 5_000_000, 100)) == 100


def test_a_text_that_shrinks_by_normalising_is_still_marked_when_cut() -> None:
    four_to_one = "\u03b1\u0313\u0300\u0345"  # ᾂ, written as a letter and three marks
    assert clean(four_to_one * 30, 10) == "\u1f82" * 9 + "…"
