"""RE2's regular expressions, rewritten so that Python reads them the same: text to text, nothing is matched here.

What can't be written so (Unicode classes, other letters' case, `(?U)`) is named, and left to who has RE2 itself.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ONLY_RE2", "OnlyRE2", "RegexError", "python_text"]

ONLY_RE2: Final = "needs RE2 itself: pip install 'longwatch[re2]'"

_OCTAL = re.compile(r"[1-7][0-7]{1,2}|0[0-7]{0,2}")
_HEX = re.compile(r"x(?:([0-9a-fA-F]{2})|\{([0-9a-fA-F]{1,6})\})")
_NAMED_CLASS = re.compile(r"\[:(\^?)(\w+):\]")
_FLAGS = re.compile(r"\(\?[imsU-]+[:)]?")
_UNICODE = re.compile(r"\\[pP](?:\w|\{\^?\w+\})")
_GROUP = re.compile(r"\(\?(?:P?<(\w+)>|([ims]*)(-[ims]+)?(?:(:)|\)))", re.ASCII)
_SPACE, _NO_SPACE = r"\t\n\f\r ", r"\x00-\x08\x0b\x0e-\x1f!-\U0010ffff"
_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-\\~",
    "lower": "a-z",
    "print": " -\\~",
    "punct": r"!-/:-@\[-`{-\~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_THIRD_FORMS: Final = {"s": "\\u017f", "k": "\\u212a"}
"""What folds to an ASCII letter beside its other case (Unicode's CaseFolding.txt), and does not with `re.ASCII`."""
_NO_WORD_FOLDED = r"\x00-/:-@\[-\^`{-\u017e\u0180-\u2129\u212b-\U0010ffff"
_SAME_ESCAPES = frozenset("afnrtv")
_EDGES: Final = {"A": r"\A", "z": r"\Z", "b": r"\b", "B": r"\B"}
_OTHERS: Final = {"s": rf"[{_SPACE}]", "S": rf"[^{_SPACE}]"}


class RegexError(ValueError):
    """A pattern is not valid, is too large, or is one that only RE2 itself can read. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class OnlyRE2(RegexError):
    """Python has no such construct, or another meaning for it."""

    def __init__(self, pattern: str, piece: str) -> None:
        super().__init__(f'"{pattern}" uses "{piece}", which {ONLY_RE2}', "or spell the characters out, as in [a-z]")


def python_text(pattern: str) -> str:
    """The same pattern for Python's `re` with `re.ASCII`.

    Raises:
        RegexError: Python can't mean the same, or it is not RE2's, either.
    """
    return _Rewriting(pattern).text()


class _Rewriting:
    """One pass over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._folds = [False]
        """Whether case is folded, in each group that is open."""
        self._lines = re.search(r"\(\?[is]*m", pattern) is not None  # `$` may be the end of a line

    def text(self) -> str:
        parts = []
        while self._at < len(self._pattern):
            parts.append(self._piece())
        return "".join(parts)

    def _piece(self) -> str:
        pattern, at = self._pattern, self._at
        match pattern[at]:
            case "\\" if pattern.startswith("\\Q", at):
                end = pattern.find("\\E", at)
                self._at = len(pattern) if end < 0 else end + 2
                return "".join(map(self._literal, pattern[at + 2 :] if end < 0 else pattern[at + 2 : end]))
            case "\\":
                return self._escape(inside=False)
            case "[":
                return self._class()
            case "(" if pattern.startswith("(?", at):
                return self._group()
            case "(":
                self._folds.append(self._folds[-1])
            case ")":
                del self._folds[max(1, len(self._folds) - 1) :]  # one too many is Python's to refuse
            case "{" if pattern.startswith("{,", at):  # nothing but characters in RE2
                self._at += 1
                return "\\{"
            case "*" | "+" | "?" | "}" if pattern.startswith("+", at + 1):
                raise self._unknown(pattern[at : at + 2])
            case "$" if not self._lines:
                self._at += 1
                return r"\Z"
            case character if character.isalpha() or not character.isascii():
                self._at += 1
                return self._literal(character)
        self._at += 1
        return pattern[at]

    def _literal(self, character: str, *, inside: bool = False) -> str:
        """A character that stands for itself, in a class (`inside`) or not."""
        escaped = re.escape(character)
        if not self._folds[-1]:
            return escaped
        if not character.isascii():
            raise OnlyRE2(self._pattern, "(?i)")
        third = _THIRD_FORMS.get(character.lower())
        return escaped if inside or third is None else f"[{escaped}{third}]"

    def _escape(self, *, inside: bool) -> str:
        """A backslash and what belongs to it, in a class (`inside`) or not."""
        pattern, at = self._pattern, self._at
        letter = pattern[at + 1 : at + 2]
        octal, hexadecimal = _OCTAL.match(pattern, at + 1), _HEX.match(pattern, at + 1)
        if octal is not None:
            self._at = octal.end()
            return self._literal(chr(int(octal[0], 8)), inside=inside)
        if hexadecimal is not None and int(hexadecimal[1] or hexadecimal[2], 16) <= 0x10FFFF:
            self._at = hexadecimal.end()
            return self._literal(chr(int(hexadecimal[1] or hexadecimal[2], 16)), inside=inside)
        self._at += 2
        if letter in ("w", "W") and self._folds[-1] and not inside:
            return f"[{'^' * (letter == 'W')}\\w{''.join(_THIRD_FORMS.values())}]"
        if letter == "W" and self._folds[-1]:
            return _NO_WORD_FOLDED
        if letter in _SAME_ESCAPES or letter in ("d", "D", "w", "W"):
            return f"\\{letter}"
        if inside and letter in ("s", "S"):
            return _SPACE if letter == "s" else _NO_SPACE
        if not inside and letter in _EDGES:
            return _EDGES[letter]
        if not inside and letter in _OTHERS:
            return _OTHERS[letter]
        if letter and letter.isascii() and not letter.isalnum():
            return f"\\{letter}"
        if letter in ("p", "P"):
            named = _UNICODE.match(pattern, at)
            raise OnlyRE2(pattern, pattern[at : at + 2] if named is None else named[0])
        raise self._unknown(f"\\{letter}")

    def _class(self) -> str:
        pattern, start = self._pattern, self._at
        negated = pattern.startswith("[^", start)
        parts = ["[^" if negated else "["]
        first = self._at = start + len(parts[0])
        while self._at == first or not pattern.startswith("]", self._at):
            if self._at >= len(pattern):
                raise RegexError(f'"{pattern}" is not a regular expression: a [ is never closed')
            parts.append(self._member())
        self._at += 1
        if self._folds[-1]:
            parts.append(_third_forms("".join(parts[1:])))
        return "".join([*parts, "]"])

    def _member(self) -> str:
        pattern, at = self._pattern, self._at
        named = _NAMED_CLASS.match(pattern, at)
        if named is not None:
            self._at = named.end()
            if named[1] or named[2] not in _CLASSES or pattern[at - 1] == "-":
                raise OnlyRE2(pattern, named[0])
            return _CLASSES[named[2]]
        if pattern[at] == "\\":
            return self._escape(inside=True)
        if pattern.startswith("--", at):
            raise OnlyRE2(pattern, "--")
        self._at += 1
        return pattern[at] if pattern[at] in "-^" else self._literal(pattern[at], inside=True)

    def _unknown(self, piece: str) -> RegexError:
        return RegexError(f'"{self._pattern}" is not a regular expression: RE2 has no "{piece}"')

    def _group(self) -> str:
        pattern, at = self._pattern, self._at
        group = _GROUP.match(pattern, at)
        if group is None:
            flags = _FLAGS.match(pattern, at)
            raise self._unknown(pattern[at : at + 3]) if flags is None else OnlyRE2(pattern, flags[0])
        self._at = group.end()
        fold = ("i" in (group[2] or "") or self._folds[-1]) and "i" not in (group[3] or "")
        if group[1] is not None:
            self._folds.append(fold)
            if not group[1].isidentifier():
                raise OnlyRE2(pattern, group[0])
            return f"(?P<{group[1]}>"
        whole = group[4] is None
        # Python knows flags for the rest of a pattern at its front alone.
        if (whole and (at or group[3])) or group[0] == "(?)":
            raise OnlyRE2(pattern, group[0])
        if whole:
            self._folds[-1] = fold
        else:
            self._folds.append(fold)
        return group[0]


def _third_forms(members: str) -> str:
    """What belongs to a class, besides, where case is folded."""
    try:
        folded = re.compile(f"[{members}]", re.ASCII | re.IGNORECASE)
    except re.error:  # it is refused where the whole pattern is parsed
        return ""
    return "".join(third for letter, third in _THIRD_FORMS.items() if folded.fullmatch(letter))
