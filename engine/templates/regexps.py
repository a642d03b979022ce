"""Regular expressions of templates, with RE2's meaning and in linear time: label values come from outside (F76).

Patterns that Python's backtracking can't get lost in are left to it; all others go to the matcher that `label_replace`
has. What only RE2 itself can read is left to it, if it is installed. A replacement is Go's: `$1`, `${name}`, `$$`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from re import _parser as parser  # type: ignore[attr-defined]  # the parser's own names; no public ones exist

from engine.core.promql.functions.captures import Captures, repeats
from engine.core.promql.re2_itself import Found, RE2Pattern, re2_pattern
from engine.core.promql.re2_syntax import RegexError, python_text
from engine.templates.values import TemplateFailure

__all__ = ["compile_pattern", "matches", "replace_all"]

PATTERN_CHARS_MAX = 1_000
CHARS_MAX = 65_536
MATCHES_MAX = 1_000
SIMPLE_REPEATS_MAX = 2
"""So many `x*` in a row take at most the third power of the text's length."""
SIMPLE_OPTIONS_MAX = 4
"""Each `x?` doubles that."""

_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)


class Pattern:
    """A compiled pattern. Raises `RegexError` or what Python's `re` raises."""

    __slots__ = ("_first", "_later", "_re2", "_simple", "names")

    def __init__(self, pattern: str) -> None:
        self._re2: RE2Pattern | None = None
        self.names: dict[str, int] = {}
        try:
            self._read(pattern, python_text(pattern))
        except RegexError as error:
            self._re2 = re2_pattern(pattern, error, dot_all=False)
            self.names = self._re2.names

    def _read(self, pattern: str, text: str) -> None:
        tree = parser.parse(text, re.ASCII)
        self.names = dict(tree.state.groupdict)
        many, options = repeats(tree)
        simple = many <= SIMPLE_REPEATS_MAX and options <= SIMPLE_OPTIONS_MAX
        self._simple = re.compile(text, re.ASCII) if simple else None
        if self._simple is None:
            # Flags at the front hold for the whole pattern, so they stay at the front.
            flags = re.match(r"\(\?[ims]+\)", pattern)
            head = flags.group() if flags else ""
            rest = f"({pattern[len(head) :]})(?s:.*)"
            self._first = Captures(f"{head}(?s:(.*?)){rest}", dot_all=False)
            self._later = Captures(f"{head}(?s:(.+?)){rest}", dot_all=False)

    def search(self, text: str) -> Found | None:
        """The first match."""
        return next(self.find_all(text), None)

    def find_all(self, text: str) -> Iterator[Found]:
        """Every match that begins where the one before ended, or later; after an empty one, a character later."""
        at = 0
        while at <= len(text):
            match = self._next(text, at)
            if match is None:
                return
            yield match
            at = max(match.end, match.start + 1)

    def _next(self, text: str, at: int) -> Found | None:
        """The first match from `at` on."""
        if self._re2 is not None:
            return self._re2.search(text, at)
        if self._simple is not None:
            found = self._simple.search(text, at)
            return None if found is None else Found(found.start(), found.end(), (found.group(), *found.groups("")))
        # Inside the text one character more is handed in, so that `^` does not match there.
        offset, captures = (at - 1, self._later) if at else (0, self._first)
        groups = captures.fullmatch(text[offset:])
        if groups is None:
            return None
        start = offset + len(groups[1])
        return Found(start, start + len(groups[2]), groups[2:])


@functools.lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern. Raises `TemplateFailure` with what is wrong or read differently."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise TemplateFailure(f"a regular expression has at most {PATTERN_CHARS_MAX} characters")
    try:
        return Pattern(pattern)
    except RegexError as error:
        raise TemplateFailure(f"the regular expression {error}") from None
    except (re.error, RecursionError, OverflowError) as error:
        raise TemplateFailure(f'the regular expression "{pattern}" is not valid: {error}') from None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text."""
    return compile_pattern(pattern).search(text) is not None


def replace_all(pattern: str, replacement: str, text: str) -> str:
    """Replace every match. An empty one right behind another match does not count, as in Go."""
    compiled = compile_pattern(pattern)
    parts: list[str] = []
    size, copied, last_end = 0, 0, -1
    for match in compiled.find_all(text):
        if match.end == match.start == last_end:
            continue
        last_end = match.end
        parts += [text[copied : match.start], _expand(replacement, match, compiled.names)]
        copied = match.end
        size += len(parts[-1]) + len(parts[-2])
        if size > CHARS_MAX or len(parts) > 2 * MATCHES_MAX:
            raise TemplateFailure("the text grows too long")
    return "".join([*parts, text[copied:]])


def _expand(replacement: str, match: Found, names: dict[str, int]) -> str:
    if "$" not in replacement:
        return replacement

    def put(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        number = int(name[:6]) if name.isdecimal() else names.get(name, len(match.groups))
        return match.groups[number] if number < len(match.groups) else ""

    return _REFERENCE.sub(put, replacement)
