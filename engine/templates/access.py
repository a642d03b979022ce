"""How a Go template gets into a value: fields, keys, the methods of a time, and what `range` goes over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from engine.templates.printing import text_of
from engine.templates.values import Arguments, GoTime, Root, Sample, TemplateFailure, go_type

__all__ = ["field_of", "items_of", "method_of_time"]

ITEMS_MAX = 20_000
_TIMES = {
    "Year": "%Y",
    "Month": "%B",
    "Day": "%d",
    "Hour": "%H",
    "Minute": "%M",
    "Second": "%S",
    "Weekday": "%A",
    "YearDay": "%j",
}


def items_of(value: Any) -> Iterator[tuple[Any, Any]]:
    match value:
        case None:
            pass
        case list():
            yield from enumerate(value)
        case dict():
            for name in sorted(value):
                yield name, value[name]
        case int() if not isinstance(value, bool):
            for number in range(min(value, ITEMS_MAX + 1)):
                yield number, number
        case _:
            raise TemplateFailure(f"range can't iterate over {text_of(value)[:80]}")


def field_of(value: Any, name: str) -> Any:
    match value:
        case Arguments():
            return value.get(name)
        case dict():
            return value.get(name, "")  # Prometheus: missingkey=zero
        case Sample() | Root():
            if name in value._fields:
                return getattr(value, name)
        case None:
            raise TemplateFailure(f"nil data; no entry for key {name!r}")
    raise TemplateFailure(f"can't evaluate field {name} in type {go_type(value)}")


def method_of_time(value: GoTime, name: str, arguments: list[Any] | None) -> Any:
    """The methods of a time, in UTC."""
    moment: datetime = value.utc
    if name == "UTC":
        return value
    if name == "Unix":
        return value.ms // 1000
    if name == "UnixMilli":
        return value.ms
    if name in _TIMES:
        text = moment.strftime(_TIMES[name])
        return int(text) if text.isdecimal() else text
    if name == "Format" and arguments and isinstance(arguments[0], str):
        return _format_time(moment, arguments[0])
    raise TemplateFailure(f"can't evaluate field {name} in type *time.Time")


_LAYOUT = {
    "January": "%B",
    "Jan": "%b",
    "Monday": "%A",
    "Mon": "%a",
    "MST": "UTC",
    "-0700": "+0000",
    "-07:00": "+00:00",
    "Z07:00": "Z",
    "2006": "%Y",
    "01": "%m",
    "02": "%d",
    "15": "%H",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "06": "%y",
    "PM": "%p",
}


def _format_time(moment: datetime, layout: str) -> str:
    """Go's layout: how the second of January 2006, 15:04:05, would be written."""
    parts: list[str] = []
    at = 0
    while at < len(layout):
        for pattern, directive in _LAYOUT.items():
            if layout.startswith(pattern, at):
                parts.append(moment.strftime(directive))
                at += len(pattern)
                break
        else:
            parts.append(layout[at])
            at += 1
    return "".join(parts)
