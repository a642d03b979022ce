"""The notation of promtool's unit tests: a series' text and its values, as in `up{job="a"} 1+0x6 _x3 stale`.

Native histograms (`{{...}}`) are refused by name.
"""

from __future__ import annotations

import re

from engine.events import STALE

__all__ = ["NotationError", "parse_labels", "parse_values"]

VALUES_MAX = 1_000_000

_NUMBER = r"[-+]?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[iI][nN][fF]|[nN][aA][nN])"
_DECIMAL = r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[iI][nN][fF]|[nN][aA][nN])"
_RUN = re.compile(rf"(?P<start>{_DECIMAL})(?P<step>{_DECIMAL})?x(?P<times>[0-9]+)")
_BLANK = re.compile(r"_(?:x(?P<times>[0-9]+))?")
_STALE = re.compile(r"stale(?:x(?P<times>[0-9]+))?")
_ONE = re.compile(_NUMBER)

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_STRING = r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`'
_METRIC = re.compile(rf"\s*({_NAME})?\s*")
_LABEL = re.compile(rf"\s*({_NAME}|{_STRING})\s*(?:=\s*({_STRING})\s*)?(,|(?=\}}))")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class NotationError(ValueError):
    """A text is not in promtool's notation."""


def parse_values(text: str, first: int | None = None) -> list[float | None]:
    """The values of a series, one for each interval; None where there is no sample.

    Args:
        first: Only so many are wanted, and made; None is all of them.

    Raises:
        NotationError: It can't be read, is a native histogram, or is too long.
    """
    if "{{" in text:
        raise NotationError(f'"{text[:40]}" is a native histogram, which is not supported')
    values: list[float | None] = []
    for word in text.split():
        room = (VALUES_MAX if first is None else first) - len(values)
        values += _expand(word, room, cut=first is not None)
    return values


def _expand(word: str, room: int, *, cut: bool) -> list[float | None]:
    """The values of a word; at most `room`, or with `cut` the first of them."""
    if match := _BLANK.fullmatch(word):
        return [None] * _count(int((match["times"] or "1")[:12]), room, cut)
    if match := _STALE.fullmatch(word):
        return [STALE] * _count(int((match["times"] or "0")[:12]) + 1, room, cut)
    if match := _RUN.fullmatch(word):
        value, step = _float(match["start"]), _float(match["step"] or "0")
        run: list[float | None] = []
        for _ in range(_count(int(match["times"][:12]) + 1, room, cut)):
            run.append(value)
            value += step  # added up one by one, as promtool does
        return run
    if _ONE.fullmatch(word):
        return [_float(word)] * _count(1, room, cut)
    raise NotationError(f'"{word[:40]}" is not a value; write 1, 1+2x3, 1x3, _, _x3 or stale')


def _count(count: int, room: int, cut: bool) -> int:
    if count > room and not cut:
        raise NotationError(f"a series has at most {VALUES_MAX:,} values")
    return min(count, room)


def _float(text: str) -> float:
    if "x" in text.lower():
        return float(int(text, 16))
    return float(text)


def parse_labels(text: str) -> dict[str, str]:
    """The label set of a series, `__name__` included; empty values are left out, as they equal absence.

    Raises:
        NotationError: It can't be read, or a label comes twice.
    """
    match = _METRIC.match(text)
    name = match[1] if match else None
    end = match.end() if match else 0
    labels = {"__name__": name} if name else {}
    if end < len(text):
        end = _braces(text, end, labels)
    if text[end:].strip() or not text.strip():
        raise NotationError(f'"{text[:80]}" is not a series; write name{{label="value"}}')
    return {label: value for label, value in labels.items() if value}


def _braces(text: str, end: int, labels: dict[str, str]) -> int:
    """Read `{...}` into `labels`; where it ends."""
    if text[end] != "{":
        raise NotationError(f'"{text[:80]}" is not a series; "{text[end:][:20]}" is in the way')
    end += 1
    while not (closing := re.compile(r"\s*\}").match(text, end)):
        match = _LABEL.match(text, end)
        if match is None:
            raise NotationError(f'"{text[:80]}" is not a series; can\'t read "{text[end:][:40]}"')
        label, value = _word(match[1]), match[2]
        if value is None:
            if match[1][0] not in "\"'`":
                raise NotationError(f'"{text[:80]}" is not a series; label {label} has no value')
            label, value = "__name__", match[1]
        if label in labels:
            raise NotationError(f'"{text[:80]}" is not a series; label {label} comes twice')
        labels[label] = _word(value)
        end = match.end()
    return closing.end()


def _word(text: str) -> str:
    """A name as it is, a string without its quotes and escapes."""
    if text[0] == "`":
        return text[1:-1]
    if text[0] not in "\"'":
        return text
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(match: re.Match[str]) -> str:
    escape = match[1]
    if escape[0] in "xuU":
        return chr(int(escape[1:], 16)) if len(escape) > 1 else escape
    if escape[0] in "01234567":
        return chr(int(escape, 8)) if len(escape) == 3 else escape
    return _ESCAPES.get(escape, escape)
