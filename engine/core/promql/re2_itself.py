"""Patterns that only RE2 can read, matched by it: the extra `re2`, the package google-re2.

Loaded when such a pattern is first compiled. It never decides what a pattern means that is read without it: with the
extra more patterns are read, and none otherwise. It takes linear time, as Prometheus' own does.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Protocol

from engine.core.promql.re2_syntax import OnlyRE2, RegexError

__all__ = ["Found", "RE2Pattern", "re2_pattern"]

MEMORY_MAX = 8 << 20  # of one pattern, in bytes: RE2's own default
_SINGLE_BYTE = re.compile(r"(?:^|[^\\])(?:\\\\)*\\C")


class Found(NamedTuple):
    """Where a match is, in characters, and its groups, the whole first; one that took no part is empty."""

    start: int
    end: int
    groups: tuple[str, ...]


class RE2Pattern(Protocol):
    """A pattern compiled by RE2."""

    names: dict[str, int]

    def fullmatch(self, text: str) -> tuple[str, ...] | None:
        """The groups, the whole text first, if it matches as a whole."""

    def search(self, text: str, at: int) -> Found | None:
        """The first match from a position on, at which no text begins unless it is 0."""


class _Compiled:
    def __init__(self, compiled: Any) -> None:
        self.names: dict[str, int] = compiled.groupindex
        self._compiled = compiled

    def fullmatch(self, text: str) -> tuple[str, ...] | None:
        match = self._compiled.fullmatch(_encodable(text))
        return None if match is None else (text, *match.groups(""))

    def search(self, text: str, at: int) -> Found | None:
        match = self._compiled.search(_encodable(text), at)
        return None if match is None else Found(match.start(), match.end(), (match.group(), *match.groups("")))


def re2_pattern(pattern: str, error: RegexError, *, dot_all: bool) -> RE2Pattern:
    """A pattern that can't be read without RE2.

    Args:
        error: Why it can't be; raised if RE2 is not installed.
        dot_all: Whether `.` matches a newline.

    Raises:
        RegexError: RE2 is not installed, or does not read it, either.
    """
    try:
        import re2
    except ImportError:
        raise error from None
    if _SINGLE_BYTE.search(pattern):  # in Go, which is what Prometheus has
        raise RegexError(f'"{pattern}" is not a regular expression: RE2 has no "\\C"')
    options = re2.Options()
    options.dot_nl, options.log_errors, options.max_mem = dot_all, False, MEMORY_MAX
    try:
        return _Compiled(re2.compile(pattern, options))
    except (re2.error, UnicodeEncodeError) as refusal:
        why = refusal.args[0].decode(errors="replace") if isinstance(refusal.args[0], bytes) else refusal
        what = str(error) if not isinstance(error, OnlyRE2) else f'"{pattern}" is not a regular expression: {why}'
        raise RegexError(what) from refusal


def _encodable(text: str) -> str:
    """The text of as many characters without halves of a surrogate pair, which are none."""
    return text if text.isascii() else text.encode(errors="replace").decode()
