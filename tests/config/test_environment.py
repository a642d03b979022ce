"""References and secret files (F145: variable missing, file missing)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.environment import SECRET_BYTES_MAX, Expanded, ExpandError, expand, read_secret

ENVIRON = {"A": "one", "B_2": "${A}$$", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", Expanded("plain")),
        ("${A}", Expanded("one", ("A",))),
        ("http://${A}:80/${B_2}", Expanded("http://one:80/${A}$$", ("A", "B_2"))),
        ("${EMPTY}", Expanded("", ("EMPTY",))),
        ("$${A}", Expanded("${A}")),
        ("$$$${A}", Expanded("$${A}")),
        ("$$${A}", Expanded("$one", ("A",))),
        ("{{ $labels.x }} costs 5$", Expanded("{{ $labels.x }} costs 5$")),
        ('up{job=~"a$"}', Expanded('up{job=~"a$"}')),
        ("$A", Expanded("$A")),
    ],
)
def test_references(text: str, expected: Expanded) -> None:
    assert expand(text, ENVIRON) == expected


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A", "${A B}", "${A:-x}", "x ${ A }"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ExpandError, match="not followed by a variable's name") as caught:
        expand(text, ENVIRON)
    assert caught.value.hint == "write ${NAME}, or $${ for a literal ${"


def test_a_missing_variable_is_named_with_the_nearest() -> None:
    with pytest.raises(ExpandError, match="the environment variable B2 is not set") as caught:
        expand("${B2}", ENVIRON)
    assert caught.value.hint == 'did you mean "B_2"?'


@given(st.text())
def test_doubled_dollars_come_back_as_they_were(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == Expanded(text)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b" a\n\n", " a\n"),
        ("é".encode(), "é"),
    ],
)
def test_a_secret_file(tmp_path: Path, content: bytes, secret: str) -> None:
    (tmp_path / "s").write_bytes(content)
    assert read_secret(tmp_path / "s") == secret


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"x" * (SECRET_BYTES_MAX + 1), "it is larger than 64 KiB"),
    ],
)
def test_what_is_no_secret_file(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{why}$"):
        read_secret(tmp_path / "s")


def test_a_secret_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^there is no such file$"):
        read_secret(tmp_path / "s")
    with pytest.raises(ValueError, match=r"^it is a directory$"):
        read_secret(tmp_path)
