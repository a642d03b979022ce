"""Files as they come: missing, huge, in the wrong encoding; and `--set` (F145, F146)."""

import os
from pathlib import Path
from typing import Any

import pytest

from engine.config.document import (
    CONFIG_BYTES_MAX,
    Override,
    Places,
    parse_document,
    parse_override,
    read_bytes,
    read_document,
)
from engine.errors import ConfigError


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    (problem,) = caught.value.problems
    return str(problem)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = 1\n# caf\xe9\n", "c.toml:2: not UTF-8: byte 0xe9 (save the file as UTF-8)"),
        ("a = 1".encode("utf-16"), "c.toml:1: the file is UTF-16 (save it as UTF-8)"),
        (
            b"# x\n" * (CONFIG_BYTES_MAX // 4) + b"\n",
            "c.toml: can't read the configuration: it is larger than 1024 KiB",
        ),
        (b"x" * 10_000_000, "c.toml: can't read the configuration: it is larger than 1024 KiB"),
        (b"\x89PNG\r\n\x1a\n", "c.toml:1: not UTF-8: byte 0x89 (save the file as UTF-8)"),
    ],
)
def test_what_is_no_toml_file(folder: Path, content: bytes, expected: str) -> None:
    (folder / "c.toml").write_bytes(content)
    assert refusal(Path("c.toml")) == expected


def test_the_largest_file_is_read(folder: Path) -> None:
    (folder / "c.toml").write_bytes(b"#" * (CONFIG_BYTES_MAX - 1) + b"\n")
    assert read_document(Path("c.toml")).tree == {}


def test_missing_file_directory_and_odd_names(folder: Path) -> None:
    can_not = "can't read the configuration"
    assert refusal(Path("no.toml")) == "no.toml: there is no such file"
    assert refusal(Path()) == f".: {can_not}: it is a directory"
    assert refusal(Path("a\0b")) == f"a\\x00b: {can_not}: it can't be read"
    assert refusal(Path("x" * 300)).endswith("x: can't read the configuration: its name is too long")
    (folder / "file").touch()
    assert refusal(Path("file/c.toml")) == "file/c.toml: there is no such file"
    (folder / "loop").symlink_to("loop")
    assert refusal(Path("loop")) == f"loop: {can_not}: its symbolic links go in a circle"


def test_a_name_can_not_forge_a_line(folder: Path) -> None:
    assert "\n" not in refusal(Path("a\nb\x1b[31m"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(folder: Path) -> None:
    (folder / "c.toml").touch(mode=0o000)
    assert refusal(Path("c.toml")) == "c.toml: can't read the configuration: it may not be read by this user"


def test_unreadable_file_as_the_system_reports_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for root, who may read everything."""

    def refuse(*arguments: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(Path("c.toml")) == "c.toml: can't read the configuration: it may not be read by this user"


def test_byte_order_mark_and_crlf_are_fine(folder: Path) -> None:
    (folder / "c.toml").write_bytes(b'\xef\xbb\xbf[engine]\r\nname = """a\r\nb"""\r\n[sink.x]\r\n')
    document = read_document(Path("c.toml"))
    assert document.tree == {"engine": {"name": "a\nb"}, "sink": {"x": {}}}
    assert document.lines.find(("sink", "x")) == 4


def test_one_read_is_one_version(folder: Path) -> None:
    """F146: tree and lines come from the same bytes; the file may change meanwhile."""
    file = folder / "c.toml"
    file.write_text("[engine]\nname = 'a'\n")
    document = read_document(file)
    file.write_text("\n\n\n[engine]\nname = ")
    assert (document.tree, document.lines.find(("engine", "name"))) == ({"engine": {"name": "a"}}, 2)


def test_who_may_read_it(folder: Path) -> None:
    file = folder / "c.toml"
    file.touch()
    file.chmod(0o644)
    assert read_bytes(file, 10) == (b"", True)
    file.chmod(0o640)
    assert read_bytes(file, 10) == (b"", False)


def test_a_long_text_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="larger than 1024 KiB"):
        parse_document("#" * (CONFIG_BYTES_MAX + 1), "text", Path())


# --- --set ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("probe.host.interval=1s", ("probe", "host", "interval"), "1s"),
        ("engine.series_max=100", ("engine", "series_max"), 100),
        ("a.b=1.5", ("a", "b"), 1.5),
        ("a.b=true", ("a", "b"), True),
        ("a.b=[1, 2]", ("a", "b"), [1, 2]),
        ("a.b={c = 1}", ("a", "b"), {"c": 1}),
        ('a.b="1"', ("a", "b"), "1"),
        ("a.b=", ("a", "b"), ""),
        ("a.b= x", ("a", "b"), " x"),
        ("a.b=x=y", ("a", "b"), "x=y"),
        ("rule.A.expr=up == 0", ("rule", "A", "expr"), "up == 0"),
        ("a.b=2026-01-01", ("a", "b"), "2026-01-01"),
        ("a.b=1\nc = 2", ("a", "b"), "1\nc = 2"),
        ("a.b=" + "[" * 5000, ("a", "b"), "[" * 5000),
        ("a.b=" + "9" * 5000, ("a", "b"), "9" * 5000),
        ('probe."a b".x=1', ("probe", "a b", "x"), 1),
    ],
)
def test_override(text: str, path: tuple[str, ...], value: Any) -> None:
    assert parse_override(text) == Override(path, value)


@pytest.mark.parametrize("text", ["", "=", "a", "a.b", "a=1", "a b.c=1", ".=1", "a.=1", "[a.b]=1"])
def test_what_is_no_override(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set: .*not the address of a key \(write --set table.name.key=value"):
        parse_override(text)


def test_an_override_that_is_not_unicode() -> None:
    with pytest.raises(ConfigError, match="not valid UTF-8"):
        parse_override("a.b=\udcff")


# --- places ---------------------------------------------------------------------------------------


def test_the_most_specific_place_wins() -> None:
    own = parse_document("[rule.A]\nfor = 1\n[probe.x]\n", "run.toml", Path())
    pack = parse_document("#\n#\n[rule.A]\nexpr = 1\n[rule.B]\n", "pack", Path())
    places = Places([own, pack], [Override(("probe", "x", "url"), 1), Override(("sink", "s", "url", "x"), 1)])
    assert places.find(("rule", "A", "for")) == (0, "run.toml", 2)
    assert places.find(("rule", "A", "expr")) == (1, "pack", 4)
    assert places.find(("rule", "A", "labels")) == (0, "run.toml", 1)
    assert places.find(("rule", "B", "for")) == (1, "pack", 5)
    assert places.find(("probe", "x", "url")) == (2, "--set", 0)
    assert places.find(("probe", "x", "url", 3)) == (2, "--set", 0)
    assert places.find(("probe", "x", "interval")) == (0, "run.toml", 3)
    assert places.find(("sink", "s", "missing")) == (2, "--set", 0)
    assert places.find(("nothing",)) == (0, "run.toml", 0)
    assert places.find(()) == (0, "run.toml", 0)
