"""One TOML file, read once: bytes, text, tree, and where each key stands. Nothing here knows a key's meaning.

The file is read in one go and parsed from that, so that an edit meanwhile can't mix two versions (F146).
Everything that can be wrong with a file is one clear `Problem`; no exception of the operating system
or of the parser gets out.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.locate import KeyPath, Lines, TooDeepError, split_key
from engine.errors import ConfigError, Problem
from engine.text import clean

__all__ = [
    "CONFIG_BYTES_MAX",
    "Document",
    "Override",
    "Places",
    "parse_document",
    "parse_override",
    "read_bytes",
    "read_document",
]

CONFIG_BYTES_MAX = 1024 * 1024
OVERRIDE_SOURCE = "--set"

_WHY = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "it may not be read by this user",
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "there is no such file",
    errno.ELOOP: "its symbolic links go in a circle",
    errno.ENAMETOOLONG: "its name is too long",
}
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
# What tomllib says, in its words -> what it means, and what to do. The first that fits.
_SYNTAX = (
    (r"Cannot overwrite a value", "the key is written twice", "remove one"),
    (r"Cannot (declare|mutate|redefine)", "the table is written twice", "put its keys under one header"),
    (r"Expected newline|Invalid value", "not a TOML value", 'text and durations are quoted: "5s"'),
    (
        r"Unterminated string|(Illegal|Found invalid) character '\\n'|Expected \"'\"",
        "the text has no closing quote",
        "",
    ),
    (r"Illegal character|Found invalid character", "a control character", "write it as \\uXXXX in double quotes"),
    (r"Unclosed array", "the list has no closing ]", ""),
    (r"Unclosed inline table", "the inline table has no closing } on its line", ""),
    (r"Expected '\]'", "the header has no closing ]", ""),
    (r"Invalid initial character for a key", "a key is expected", "an inline table stands on one line"),
    (r"Expected '=' after a key", "a key is followed by = and a value", ""),
    (r"Invalid statement", "neither a [table] nor key = value", ""),
    (r"Unescaped '\\'", "not an escape sequence", r"write \\ or put the text in single quotes"),
)


class Document(NamedTuple):
    """A parsed file.

    Args:
        name: As the operator gave it; the first field of every problem.
        folder: Relative paths in it start here.
        world_readable: Every user of the machine may read the file.
    """

    name: str
    tree: dict[str, Any]
    lines: Lines
    folder: Path
    world_readable: bool = False


class Override(NamedTuple):
    """One `--set table.name.key=value`."""

    path: tuple[str, ...]
    value: Any


class Places:
    """Where a key was written, over several documents and `--set`; the most specific place wins.

    Args:
        documents: The operator's file first, packs after it.
        overrides: What was set beside them.
    """

    def __init__(self, documents: Sequence[Document], overrides: Sequence[Override]) -> None:
        self._documents = documents
        self._set = {override.path for override in overrides}
        self._below_set = {path[:length] for path in self._set for length in range(1, len(path))}

    def find(self, path: KeyPath) -> tuple[int, str, int]:
        """Return (rank, file, line) of `path`, or of the nearest table around it; ranks order the files."""
        for length in range(len(path), 0, -1):
            prefix = path[:length]
            if prefix in self._set:
                return len(self._documents), OVERRIDE_SOURCE, 0
            for rank, document in enumerate(self._documents):
                if line := document.lines.find(prefix):
                    return rank, document.name, line
            if prefix in self._below_set:
                return len(self._documents), OVERRIDE_SOURCE, 0
        return 0, self._documents[0].name, 0


def read_bytes(path: Path, bytes_max: int) -> tuple[bytes, bool]:
    """Return a file's bytes, and whether every user of the machine may read it.

    Raises:
        ValueError: It can't be read or is larger than `bytes_max`; the message says why, without its content.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(bytes_max + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = _WHY.get(getattr(error, "errno", None) or 0, "")
        raise ValueError(why or "it can't be read") from None
    if len(data) > bytes_max:
        size = f"{bytes_max // 1024} KiB" if bytes_max >= 1024 else f"{bytes_max} bytes"
        raise ValueError(f"it is larger than {size}")
    return data, stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def read_document(path: Path) -> Document:
    """Read and parse a file. Raises `ConfigError` with one problem."""
    name = clean(str(path))
    try:
        data, world_readable = read_bytes(path, CONFIG_BYTES_MAX)
    except ValueError as error:
        missing = str(error) == _WHY[errno.ENOENT]
        message = "there is no such file" if missing else f"can't read the configuration: {error}"
        raise ConfigError([Problem(name, 0, "", message)]) from None
    return parse_document(_decode(data, name), name, path.parent, world_readable)


def parse_document(text: str, name: str, folder: Path, world_readable: bool = False) -> Document:
    """Parse a text. Raises `ConfigError` with one problem."""
    if len(text) > CONFIG_BYTES_MAX:
        raise ConfigError([Problem(name, 0, "", f"it is larger than {CONFIG_BYTES_MAX // 1024} KiB")])
    text = text.replace("\r\n", "\n") + "\n"  # so that a fault at the very end has a line
    try:
        lines = Lines(text)
        tree = tomllib.loads(text)
    except TooDeepError as error:
        raise ConfigError([Problem(name, error.line, "", str(error))]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(str(error), name, text)]) from None
    except ValueError:  # Python reads no decimal integer of more than 4300 digits
        digits = re.search("[0-9_]{4300}", text)
        line = text.count("\n", 0, digits.start()) + 1 if digits else 0
        raise ConfigError([Problem(name, line, "", "a number has too many digits")]) from None
    return Document(name, tree, lines, folder, world_readable)


def _decode(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError([Problem(name, 1, "", "the file is UTF-16", "save it as UTF-8")])
    try:
        return data.decode("utf-8-sig")  # editors on Windows put a byte-order mark first
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise ConfigError([Problem(name, line, "", message, "save the file as UTF-8")]) from None


def _syntax_problem(message: str, name: str, text: str) -> Problem:
    place = _PLACE.search(message)
    words = message[: place.start()] if place else message
    column = f", column {place[2]}" if place and place[2] else ""
    line = int(place[1]) if place and place[1] else text.count("\n")
    for pattern, meaning, hint in _SYNTAX:
        if re.match(pattern, words):
            return Problem(name, line, "", f"{meaning}{column}", hint)
    return Problem(name, line, "", f"not TOML: {clean(words, 200)}{column}")


def parse_override(text: str) -> Override:
    """Read one `table.name.key=value`. The value is TOML if it parses, else it is the text itself.

    Raises:
        ConfigError: There is no `=`, or what stands before it is no key in a table.
    """
    example = "write --set table.name.key=value, such as --set probe.host.interval=1s"
    key, equals, value = text.partition("=")
    try:
        path = tuple(split_key(key)) if equals else ()
    except ValueError:
        path = ()
    if len(path) < 2:
        raise ConfigError([Problem(OVERRIDE_SOURCE, 0, clean(key, 80), "not the address of a key", example)])
    if not _is_unicode(text):
        raise ConfigError([Problem(OVERRIDE_SOURCE, 0, clean(key, 80), "the value is not valid UTF-8")])
    return Override(path, _override_value(value))


def _override_value(text: str) -> Any:
    try:
        Lines(f"v = {text}")
        tree = tomllib.loads(f"v = {text}")
    except ValueError:
        return text
    value = tree["v"]
    # `1\nx = 2` is more than a value; a date is no type of any key, so it was meant as text.
    return value if len(tree) == 1 and isinstance(value, bool | int | float | str | list | dict) else text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
