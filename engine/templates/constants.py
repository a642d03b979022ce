"""Constants of a Go template: texts in quotes, characters, numbers. By the rules of Go's strconv."""

from __future__ import annotations

import re

from engine.templates.lexer import TemplateSyntaxError

__all__ = ["number", "quoted", "rune"]

INT64_MAX = 2**63 - 1
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_BASES = {"x": 16, "o": 8, "b": 2}


def quoted(text: str, at: int) -> str:
    """`"a\\n"` or a raw text in backquotes."""
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    return _unescape(text[1:-1], '"', at)


def rune(text: str, at: int) -> int:
    """`'a'`: the number of the character."""
    character = _unescape(text[1:-1], "'", at)
    if len(character) != 1:
        raise TemplateSyntaxError(f"malformed character constant: {text}", at)
    return ord(character)


def number(text: str, at: int) -> int | float:
    """A whole number or a float; which of the two is decided by how it is written."""
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    plain = digits.replace("_", "")
    try:
        if len(plain) > 1 and plain[1].lower() in _BASES:
            whole = int(plain[2:], _BASES[plain[1].lower()])
        elif re.fullmatch(r"[0-9]+", plain):
            whole = int(plain[:400], 8 if plain[0] == "0" and len(plain) > 1 else 10)
        else:
            return sign * float(plain)
    except ValueError:
        raise TemplateSyntaxError(f'bad number syntax: "{text[:40]}"', at) from None
    if sign * whole > INT64_MAX or sign * whole < -INT64_MAX - 1:
        raise TemplateSyntaxError(f'integer overflow: "{text[:40]}"', at)
    return sign * whole


def _unescape(text: str, quote: str, at: int) -> str:
    if "\\" not in text:
        return text
    raw = False

    def put(match: re.Match[str]) -> str:
        nonlocal raw
        simple, byte, short, long, octal, other = match.groups()
        if simple:
            return _SIMPLE[simple]
        if byte or octal:
            value = int(byte, 16) if byte else int(octal, 8)
            raw |= value > 127
            if value > 255:
                raise TemplateSyntaxError(f"invalid escape {match.group()}", at)
            return chr(value) if value < 128 else chr(0xDC00 + value)  # a byte, put together with its neighbours below
        if short or long:
            value = int(short or long, 16)
            if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
                raise TemplateSyntaxError(f"invalid escape {match.group()}", at)
            return chr(value)
        if other != quote:
            raise TemplateSyntaxError(f'invalid escape "{match.group()}" in a text', at)
        return quote

    result = _ESCAPE.sub(put, text)
    return result.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if raw else result
