"""The words of messages: what a type is called, how a value is shown, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as mi

from engine.config.environment import Expanded
from engine.config.kinds import INT64_MAX, is_secret, unwrap
from engine.config.report import quote
from engine.durations import Duration
from engine.errors import nearest
from engine.text import clean

__all__ = [
    "alternatives",
    "but_not",
    "example",
    "known_words",
    "nearest_word",
    "shown",
    "sort_of",
    "suggestion",
    "words_for",
]

KNOWN_SHOWN_MAX = 12

_WORDS: dict[type[mi.Type], str] = {
    mi.BoolType: "true or false",
    mi.IntType: "a whole number",
    mi.FloatType: "a number",
    mi.DictType: "a table",
    mi.StructType: "a table",
}


def alternatives(words: Iterable[Any]) -> str:
    """`"a", "b" or "c"`."""
    quoted = [f'"{word}"' if isinstance(word, str) else str(word) for word in words]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def words_for(kind: mi.Type) -> str:
    """A type in a person's words."""
    node = unwrap(kind)
    match node.type:
        case mi.UnionType(types=types):
            return " or ".join(words_for(one) for one in types if not isinstance(one, mi.NoneType))
        case mi.LiteralType(values=words):
            return alternatives(words)
        case mi.CustomType(cls=cls):
            return {Duration: 'a duration such as "5m"', Path: "a path"}.get(cls, "text")
        case mi.ListType() | mi.VarTupleType() | mi.SetType() | mi.FrozenSetType():
            return "a list"
        case _:
            return _WORDS.get(type(node.type), "text")


def sort_of(value: Any) -> str:
    """What sort of TOML value this is."""
    match value:
        case Expanded() | str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "a table"
    return "a date or time"


def shown(value: Any) -> str:
    """A value for a message; one from the environment only by its variable's name."""
    match value:
        case Expanded(text=text, names=names):
            return f"the value of ${{{names[0]}}}" if names else quote(text)
        case str():
            return quote(value)
        case bool():
            return str(value).lower()
        case int() if abs(value) > INT64_MAX:  # Python refuses to print very long ones
            return "a number beyond 64 bits"
        case int() | float():
            return str(value)
    return sort_of(value)


def but_not(value: Expanded) -> str:
    """`, not 5m`, unless the value came from the environment."""
    return "" if value.names else f", not {clean(value.text, 40)}"


def suggestion(kind: mi.Type, value: Any) -> str:
    """How to write what was probably meant."""
    if isinstance(value, bool) or not isinstance(value, int | float | Expanded | str):
        return ""
    number = isinstance(value, int | float) and abs(value) <= INT64_MAX  # false of NaN, too
    if isinstance(kind, mi.CustomType) and kind.cls is Duration:
        positive = isinstance(value, int) and number and value >= 0
        return f'write "{value}s", "{value}m" or "{value}h"' if positive else ""
    if isinstance(kind, mi.StrType):
        return f'write "{value}"' if number else ""
    if isinstance(value, str) and isinstance(kind, mi.IntType | mi.FloatType | mi.BoolType):
        return "write it without quotes" if _bare_fits(kind, value) else ""
    return ""


def known_words(words: Iterable[str]) -> str:
    """`known: a, b, c`, cut where nobody would read on."""
    known = list(words)
    more = ", ..." if len(known) > KNOWN_SHOWN_MAX else ""
    return f"known: {', '.join(known[:KNOWN_SHOWN_MAX])}{more}"


def nearest_word(text: str, words: Iterable[Any]) -> str:
    """Which of the words was probably meant; one in the wrong case is the nearest of all."""
    known = [word for word in words if isinstance(word, str)]
    same = [word for word in known if word.casefold() == text.casefold()]
    return f'did you mean "{same[0]}"?' if same else nearest(text, known)


def example(field: mi.Field) -> str:
    """How to write a missing key, where that is not obvious."""
    key = field.encode_name
    if is_secret(field):
        return f'write {key} = "${{NAME}}" or {key}_file = "path"'
    kind = field.type
    schema = (kind.extra_json_schema or {}) if isinstance(kind, mi.Metadata) else {}
    texts = schema.get("examples", ())
    return f'write {key} = "{texts[0]}"' if texts else ""


def _bare_fits(kind: mi.Type, text: str) -> bool:
    target = {mi.IntType: int, mi.FloatType: float, mi.BoolType: bool}[type(kind)]
    try:
        msgspec.convert(text, target, strict=False)
    except msgspec.ValidationError:
        return False
    return True
