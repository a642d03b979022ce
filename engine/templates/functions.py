"""The functions of a Go template, as Prometheus rules use them: a table of name, argument types, function.

All are pure. `query`, `externalURL` and what else needs the rendering's surroundings are the interpreter's.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from engine.templates import humanize, regexps
from engine.templates.printing import sprint, sprintf, sprintln, text_of
from engine.templates.values import Arguments, Sample, TemplateFailure, go_type

__all__ = ["FUNCTIONS", "REFUSED", "Signature", "check_arguments", "truth"]

REFUSED = frozenset({"call", "js", "tmpl"})
"""Go or Prometheus' console templates have them, rules have no use for them."""


class Signature(NamedTuple):
    """A function and what it takes.

    Args:
        kinds: One letter an argument: `s` text, `v` a query's result, `p` one sample of it, `a` anything; `*` at the
            end: any number more of anything.
    """

    kinds: str
    call: Callable[..., Any]


_KINDS: dict[str, tuple[type, str]] = {
    "s": (str, "string"),
    "v": (list, "template.queryResult"),
    "p": (Sample, "*template.sample"),
}


def check_arguments(name: str, kinds: str, values: list[Any]) -> None:
    """Raise `TemplateFailure` as Go does when a function is called with the wrong arguments."""
    many = kinds.endswith("*")
    wanted = kinds.rstrip("*")
    if len(values) < len(wanted) or (len(values) > len(wanted) and not many):
        least = "at least " if many else ""
        raise TemplateFailure(f"wrong number of args for {name}: want {least}{len(wanted)} got {len(values)}")
    for kind, value in zip(wanted, values, strict=False):
        if kind in _KINDS and not isinstance(value, _KINDS[kind][0]):
            raise TemplateFailure(
                f"wrong type of argument for {name}: expected {_KINDS[kind][1]}, got {go_type(value)}"
            )


def truth(value: Any) -> bool:
    """What `if` and `with` take as true: what is not empty and not zero. NaN is not zero."""
    return isinstance(value, Sample) or bool(value)


# --- comparison -------------------------------------------------------------------------------------


def _kind(value: Any) -> type:
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind
    raise TemplateFailure("invalid type for comparison")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise TemplateFailure("missing argument for comparison")
    for other in others:
        if _kind(first) is not _kind(other):
            raise TemplateFailure(_incompatible(first, other))
        if first == other:
            return True
    return False


def _incompatible(first: Any, other: Any) -> str:
    hint = ""
    if {_kind(first), _kind(other)} == {int, float}:
        whole = first if isinstance(first, int) else other
        hint = f": a float and a whole number; write {whole}.0"
    return f"incompatible types for comparison{hint}"


def _less(first: Any, other: Any) -> bool:
    if _kind(first) is not _kind(other):
        raise TemplateFailure(_incompatible(first, other))
    if isinstance(first, bool):
        raise TemplateFailure("invalid type for comparison")
    return bool(first < other)


def _less_or_equal(first: Any, other: Any) -> bool:
    return _less(first, other) or _eq(first, other)


# --- collections ------------------------------------------------------------------------------------


def _first(result: list[Sample]) -> Sample:
    if not result:
        raise TemplateFailure("first() called on vector with no elements")
    return result[0]


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping | list):
        return len(value)
    raise TemplateFailure(f"len of type {go_type(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = _at(value, key)
    return value


def _at(value: Any, key: Any) -> Any:
    match value:
        case Arguments() | dict():
            if not isinstance(key, str):
                raise TemplateFailure(f"value has type {go_type(key)}; should be string")
            return value.get(key, None if isinstance(value, Arguments) else "")
        case list() | str():
            if type(key) is not int:
                raise TemplateFailure(f"cannot index slice/array with type {go_type(key)}")
            items: Any = value.encode() if isinstance(value, str) else value
            if not 0 <= key < len(items):
                raise TemplateFailure(f"index out of range: {key}")
            return items[key]
    raise TemplateFailure(f"can't index item of type {go_type(value)}")


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, str | list) or len(bounds) > 2:
        raise TemplateFailure(f"can't slice item of type {go_type(value)}")
    items: Any = value.encode() if isinstance(value, str) else value
    start, end = (list(bounds) + [0, len(items)][len(bounds) :])[:2] if bounds else (0, len(items))
    if type(start) is not int or type(end) is not int:
        raise TemplateFailure("cannot slice with anything but whole numbers")
    if not 0 <= start <= end <= len(items):
        raise TemplateFailure(f"invalid slice index: {start} > {end}" if start > end else "index out of range")
    return items[start:end].decode(errors="replace") if isinstance(value, str) else items[start:end]


def _args(*values: Any) -> Arguments:
    return Arguments({f"arg{number}": value for number, value in enumerate(values)})


def _sort_by_label(label: str, result: list[Sample]) -> list[Sample]:
    return sorted(result, key=lambda sample: sample.Labels.get(label, "").encode())


# --- texts ------------------------------------------------------------------------------------------


def _upper(text: str) -> str:
    return "".join(up if len(up := character.upper()) == 1 else character for character in text)


def _lower(text: str) -> str:
    return "".join(low if len(low := character.lower()) == 1 else character for character in text)


def _title(text: str) -> str:
    """The first letter of each word large; an apostrophe, a dot or a colon between letters ends no word."""
    parts: list[str] = []
    inside = False
    for index, character in enumerate(text):
        if character.isalpha() and not inside:
            large = character.title()
            parts.append(large if len(large) == 1 else character)
            inside = True
            continue
        parts.append(character)
        joins = character in "'.:’·" and index + 1 < len(text) and text[index + 1].isalpha()
        part_of_word = character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")
        inside = inside and (part_of_word or joins)
    return "".join(parts)


def _split_host_port(text: str) -> tuple[str, str] | None:
    """Host and port of `a:1` or `[::1]:1`; None if there is no port, or it is not clear which colon it follows."""
    colon = text.rfind(":")
    if colon < 0:
        return None
    if text.startswith("["):
        close = text.find("]")
        if close < 0 or close + 1 != colon:
            return None
        host, after_open, after_close = text[1:close], text[1:], text[close + 1 :]
    else:
        host = after_open = after_close = text[:colon]
        after_open = after_close = text
        if ":" in host:
            return None
    if "[" in after_open or "]" in after_close:
        return None
    return host, text[colon + 1 :]


def _strip_port(text: str) -> str:
    parts = _split_host_port(text)
    return parts[0] if parts else text


def _strip_domain(text: str) -> str:
    host, port = _split_host_port(text) or (text, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return text
    host = host.split(".", 1)[0]
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host or "%" in host else f"{host}:{port}"


_HTML = str.maketrans({'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "�"})


def _joined(values: tuple[Any, ...]) -> str:
    """What the escapers escape: one value as it is printed, more as by `print`."""
    return text_of(values[0]) if len(values) == 1 else sprint(values)


def _link(tab: int) -> Callable[[str], str]:
    return lambda expr: f"/graph?g0.expr={quote_plus(expr)}&g0.tab={tab}"


FUNCTIONS: dict[str, Signature] = {
    # numbers and times
    "humanize": Signature("a", humanize.humanize),
    "humanize1024": Signature("a", humanize.humanize1024),
    "humanizeDuration": Signature("a", humanize.humanize_duration),
    "humanizePercentage": Signature("a", humanize.humanize_percentage),
    "humanizeTimestamp": Signature("a", humanize.humanize_timestamp),
    "parseDuration": Signature("s", humanize.parse_duration),
    "toDuration": Signature("a", humanize.to_duration),
    "toTime": Signature("a", humanize.to_time),
    # texts
    "title": Signature("s", _title),
    "toUpper": Signature("s", _upper),
    "toLower": Signature("s", _lower),
    "stripPort": Signature("s", _strip_port),
    "stripDomain": Signature("s", _strip_domain),
    "match": Signature("ss", regexps.matches),
    "reReplaceAll": Signature("sss", regexps.replace_all),
    "safeHtml": Signature("s", lambda text: text),
    "urlQueryEscape": Signature("s", quote_plus),
    "urlquery": Signature("*", lambda *values: quote_plus(_joined(values))),
    "html": Signature("*", lambda *values: _joined(values).translate(_HTML)),
    "graphLink": Signature("s", _link(0)),
    "tableLink": Signature("s", _link(1)),
    "print": Signature("*", lambda *values: sprint(values)),
    "println": Signature("*", lambda *values: sprintln(values)),
    "printf": Signature("s*", lambda pattern, *values: sprintf(pattern, values)),
    # results of queries, maps
    "first": Signature("v", _first),
    "value": Signature("p", lambda sample: sample.Value),
    "label": Signature("sp", lambda name, sample: sample.Labels.get(name, "")),
    "strvalue": Signature("p", lambda sample: sample.Labels.get("__value__", "")),
    "sortByLabel": Signature("sv", _sort_by_label),
    "args": Signature("*", _args),
    "len": Signature("a", _len),
    "index": Signature("a*", _index),
    "slice": Signature("a*", _slice),
    # logic
    "not": Signature("a", lambda value: not truth(value)),
    "eq": Signature("a*", _eq),
    "ne": Signature("aa", lambda first, other: not _eq(first, other)),
    "lt": Signature("aa", _less),
    "le": Signature("aa", _less_or_equal),
    "gt": Signature("aa", lambda first, other: not _less_or_equal(first, other)),
    "ge": Signature("aa", lambda first, other: not _less(first, other)),
}
