"""Where each key of a TOML text stands: `tomllib` gives values without lines, this the lines alone.

It runs before `tomllib` and bounds what that would choke on: keys of very many parts (its time grows with
their square) and deep nesting (it recurses). It follows the grammar only as far as finding keys needs it;
where a text is not TOML it stops, and `tomllib` says what is wrong. It must never raise on any text
but `TooDeepError`.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import TypeAlias

__all__ = ["KEY_PARTS_MAX", "NESTING_MAX", "KeyPath", "Lines", "TooDeepError", "split_key"]

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the root to a value; an `int` is an index into an array."""

KEY_PARTS_MAX = 16
NESTING_MAX = 32

_SPACE = re.compile(r"[ \t]*+")
_GAP = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_BARE = re.compile(r"[A-Za-z0-9_-]++")
# Possessive, so that no text makes them backtrack.
_BASIC_STRING = re.compile(r'"(?:[^"\\\n]++|\\.)*+"')
_LITERAL_STRING = re.compile(r"'[^'\n]*+'")
_STRINGS = (  # the long forms first: `"""` also starts with `"`
    re.compile(r'"""(?:[^"\\]++|\\.|"{1,2}+(?!"))*+"{3,5}+', re.DOTALL),
    re.compile(r"'''(?:[^']++|'{1,2}+(?!'))*+'{3,5}+"),
    _BASIC_STRING,
    _LITERAL_STRING,
)
_SCALAR = re.compile(r"[^\s,\[\]{}#=\"'][^,\]}#\n]*+")


class TooDeepError(ValueError):
    """A key has too many parts, or values are nested too deeply. `line` is 1-based."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


class _NotTomlError(Exception):
    """The text leaves the grammar here; what was found so far stands."""


class Lines:
    """The line of every table header, key and array element of a TOML text.

    Args:
        text: The whole text; CRLF counts as one line end.

    Raises:
        TooDeepError: See `KEY_PARTS_MAX` and `NESTING_MAX`.
    """

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._ends = [match.start() for match in re.finditer("\n", self._text)]
        self._lines: dict[KeyPath, int] = {}
        self._elements: dict[KeyPath, int] = {}  # array of tables -> index of its last element
        try:
            self._document()
        except _NotTomlError:
            pass
        self._text = ""

    def find(self, path: KeyPath) -> int:
        """The 1-based line where `path` is written, or 0 if it is not."""
        return self._lines.get(path, 0)

    def _line(self, at: int) -> int:
        return bisect_right(self._ends, at - 1) + 1

    def _expect(self, token: str, at: int) -> int:
        if not self._text.startswith(token, at):
            raise _NotTomlError
        return at + len(token)

    def _document(self) -> None:
        table: KeyPath = ()
        at = _end(_GAP, self._text, 0)
        while at < len(self._text):
            if self._text[at] == "[":
                table, at = self._header(at)
            else:
                at = self._pair(table, at, 0)
            end = _end(_SPACE, self._text, at)
            if end < len(self._text) and self._text[end] not in "\n#":
                raise _NotTomlError
            at = _end(_GAP, self._text, end)

    def _header(self, at: int) -> tuple[KeyPath, int]:
        line, token = self._line(at), "[[" if self._text.startswith("[[", at) else "["
        parts, at = self._key(at + len(token))
        at = self._expect("]" * len(token), _end(_SPACE, self._text, at))
        path: KeyPath = ()
        for part in parts[:-1]:
            path = (*path, part)
            self._lines.setdefault(path, line)
            if path in self._elements:
                path = (*path, self._elements[path])
        path = (*path, parts[-1])
        if token == "[[":
            self._lines.setdefault(path, line)
            self._elements[path] = self._elements.get(path, -1) + 1
            path = (*path, self._elements[path])
        self._lines[path] = line  # a header of its own beats the mention in `[a.b]`
        return path, at

    def _pair(self, table: KeyPath, at: int, depth: int) -> int:
        line = self._line(at)
        parts, at = self._key(at)
        for part in parts:
            table = (*table, part)
            self._lines.setdefault(table, line)
        return self._value(table, _end(_SPACE, self._text, self._expect("=", at)), depth)

    def _key(self, at: int) -> tuple[list[str], int]:
        parts, end = _read_key(self._text, at)
        if len(parts) > KEY_PARTS_MAX:
            raise TooDeepError(self._line(at), f"a key has at most {KEY_PARTS_MAX} parts, not {len(parts)}")
        return parts, end

    def _value(self, path: KeyPath, at: int, depth: int) -> int:
        if depth > NESTING_MAX:
            raise TooDeepError(self._line(at), f"values are nested more than {NESTING_MAX} deep")
        if self._text.startswith("[", at):
            return self._array(path, at + 1, depth)
        if self._text.startswith("{", at):
            return self._inline_table(path, at + 1, depth)
        for pattern in (*_STRINGS, _SCALAR):
            if match := pattern.match(self._text, at):
                return match.end()
        raise _NotTomlError

    def _array(self, path: KeyPath, at: int, depth: int) -> int:
        index = 0
        while True:
            at = _end(_GAP, self._text, at)
            if self._text.startswith("]", at):
                return at + 1
            self._lines.setdefault((*path, index), self._line(at))
            at = _end(_GAP, self._text, self._value((*path, index), at, depth + 1))
            if self._text.startswith("]", at):
                return at + 1
            at = self._expect(",", at)
            index += 1

    def _inline_table(self, path: KeyPath, at: int, depth: int) -> int:
        while True:
            at = _end(_GAP, self._text, at)
            if self._text.startswith("}", at):
                return at + 1
            at = _end(_GAP, self._text, self._pair(path, at, depth + 1))
            if self._text.startswith("}", at):
                return at + 1
            at = self._expect(",", at)


def split_key(text: str) -> list[str]:
    """Split a dotted TOML key: `probe."a b".url` -> `["probe", "a b", "url"]`.

    Raises:
        ValueError: It is not a key, or has more than `KEY_PARTS_MAX` parts.
    """
    try:
        parts, end = _read_key(text, 0)
    except _NotTomlError:
        raise ValueError("not a key") from None
    if end != len(text) or len(parts) > KEY_PARTS_MAX:
        raise ValueError("not a key")
    return parts


def _read_key(text: str, at: int) -> tuple[list[str], int]:
    """The parts of the dotted key at `at`, and where it ends, spaces after it included."""
    parts: list[str] = []
    while True:
        at = _end(_SPACE, text, at)
        if match := _BARE.match(text, at):
            parts.append(match[0])
        elif match := _BASIC_STRING.match(text, at) or _LITERAL_STRING.match(text, at):
            parts.append(_unquote(match[0]))
        else:
            raise _NotTomlError
        at = _end(_SPACE, text, match.end())
        if not text.startswith(".", at):
            return parts, at
        at += 1


def _unquote(quoted: str) -> str:
    if quoted[0] == "'" or "\\" not in quoted:
        return quoted[1:-1]
    try:
        return str(tomllib.loads(f"k = {quoted}")["k"])
    except tomllib.TOMLDecodeError:
        raise _NotTomlError from None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
