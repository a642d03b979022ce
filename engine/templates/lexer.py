"""The words of a Go template: text between actions, and the tokens in them. Knows nothing of their meaning.

The rules are those of Go's text/template/parse: blanks count only between operands (`$a.b` is a field, `$a .b` are two
operands), `{{- ` and ` -}}` take the white space around an action with them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["TemplateSyntaxError", "Token", "tokens_of"]

TOKENS_MAX = 20_000
BLANKS = " \t\r\n"

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<string>"(?:[^"\\\n]|\\[^\n])*")
  | (?P<raw>`[^`]*`)
  | (?P<rune>'(?:[^'\\\n]|\\[^\n])+')
  | (?P<declare>:=)
  | (?P<assign>=)
  | (?P<pipe>\|)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<comma>,)
  | (?P<variable>\$\w*)
  | (?P<field>\.[^\W\d]\w*)
  | (?P<number>[+-]?(?:0[xXoObB][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?))
  | (?P<dot>\.)
  | (?P<word>[^\W\d]\w*)
    """,
    re.VERBOSE,
)
_NAMES = ("variable", "field", "word", "number")
_AFTER_NAME = re.compile(r"[ \t\r\n.,|:()]|\}\}|$")
_TRIM = re.compile(r"\{\{-[ \t\r\n]")
_COMMENT_END = re.compile(r"\*/(?:[ \t\r\n]-)?\}\}")
_END = re.compile(r"[ \t\r\n]-\}\}|\}\}")


class TemplateSyntaxError(ValueError):
    """A template does not parse. `at` is the offset."""

    def __init__(self, message: str, at: int) -> None:
        self.at = at
        super().__init__(message)


class Token(NamedTuple):
    """A token; `kind` is a group of `_TOKEN`, or `text`, `left`, `right`, `end`.

    Args:
        spaced: There is white space before it.
    """

    kind: str
    text: str
    at: int
    spaced: bool = False


def tokens_of(text: str) -> list[Token]:
    """Split a template.

    Raises:
        TemplateSyntaxError: A character, text or comment that is not complete, or too many tokens.
    """
    found: list[Token] = []
    at, trims = 0, False
    while True:
        start = text.find("{{", at)
        piece = text[at:] if start < 0 else text[at:start]
        shift = len(piece) - len(piece.lstrip(BLANKS)) if trims else 0
        piece = piece[shift:]
        trim_here = start >= 0 and _TRIM.match(text, start) is not None
        piece = piece.rstrip(BLANKS) if trim_here else piece
        if piece:
            found.append(Token("text", piece, at + shift))
        if start < 0:
            found.append(Token("end", "", len(text)))
            return found
        at, trims = _action(text, start, start + (3 if trim_here else 2), found)


def _action(text: str, start: int, at: int, found: list[Token]) -> tuple[int, bool]:
    """Read from `{{` to `}}`. Returns where the text goes on, and whether it loses its leading white space."""
    inner = at
    while text[inner : inner + 1] in (" ", "\t", "\r", "\n") and at - start == 3:
        inner += 1
    if text.startswith("/*", inner):
        close = text.find("*/", inner)
        if close < 0:
            raise TemplateSyntaxError("unclosed comment", start)
        end = _COMMENT_END.match(text, close)
        if end is None:
            raise TemplateSyntaxError("comment ends before closing delimiter", start)
        return end.end(), end.group() != "*/}}"
    found.append(Token("left", "{{", start))
    spaced = False
    while True:
        end = _END.match(text, at)
        if end is not None:
            found.append(Token("right", "}}", end.end() - 2, spaced))
            return end.end(), end.group() != "}}"
        match = _TOKEN.match(text, at)
        if match is None:
            raise TemplateSyntaxError(_odd(text, at), start if at >= len(text) else at)
        kind = str(match.lastgroup)
        at = match.end()
        if kind == "space":
            if text[at:].startswith("-}}"):
                at -= 1  # the blank belongs to the delimiter
            spaced = True
            continue
        if kind in _NAMES and not _AFTER_NAME.match(text, at):
            raise TemplateSyntaxError(_bad(kind, match.group() + text[at : at + 1], text[at]), at)
        if len(found) >= TOKENS_MAX:
            raise TemplateSyntaxError(f"the template has more than {TOKENS_MAX:,} words", at)
        found.append(Token(kind, match.group(), match.start(), spaced))
        spaced = False


def _bad(kind: str, text: str, character: str) -> str:
    if kind == "number":
        return f'bad number syntax: "{text}"'
    return f"bad character U+{ord(character):04X} '{character}'"


def _odd(text: str, at: int) -> str:
    character = text[at : at + 1]
    match character:
        case "":
            return "unclosed action"
        case '"':
            return "unterminated quoted string"
        case "`":
            return "unterminated raw quoted string"
        case "'":
            return "unterminated character constant"
        case ":":
            return "expected :="
    return f"unexpected {character!r} in an action" if character.isprintable() else f"unexpected U+{ord(character):04X}"
