"""The values a Go template computes with, and their Go types by name.

Text, whole numbers, floats and booleans are Python's own; a map of texts is a dict. Whatever has fields is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

__all__ = ["Arguments", "GoDuration", "GoTime", "Query", "Root", "Sample", "TemplateFailure", "go_type"]

Query = Callable[[str], Sequence[tuple[Mapping[str, str], float]]]
"""Evaluates an expression at the rule's instant; an error is a `ValueError`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TemplateFailure(ValueError):
    """A template can't be rendered with these values. Never leaves the package: it becomes the text."""


class Sample(NamedTuple):
    """One element of a query's result."""

    Labels: dict[str, str]
    Value: float


class Root(NamedTuple):
    """What the dot is at first."""

    Labels: dict[str, str]
    ExternalLabels: dict[str, str]
    ExternalURL: str
    Value: float


class Arguments(dict[str, Any]):
    """What `args` returns: a map whose missing keys are no value, while those of a map of texts are empty."""


class GoTime(NamedTuple):
    """An instant, in milliseconds since the epoch."""

    ms: int

    @property
    def utc(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.ms)

    def __str__(self) -> str:
        """As Go prints a time in UTC: fractions without trailing zeros."""
        moment = self.utc
        fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
        return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


class GoDuration(NamedTuple):
    """A length of time in nanoseconds."""

    ns: int

    def __str__(self) -> str:
        """As Go prints a duration: `1h30m0s`, `1.5s`, `100ms`."""
        ns, sign = abs(self.ns), "-" if self.ns < 0 else ""
        if ns == 0:
            return "0s"
        if ns < 1_000_000_000:
            for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
                if ns >= size:
                    return f"{sign}{_decimal(ns, size)}{unit}"
        minutes, rest = divmod(ns, 60 * 1_000_000_000)
        hours, minutes = divmod(minutes, 60)
        text = f"{_decimal(rest, 1_000_000_000)}s"
        if hours or minutes:
            text = f"{minutes}m{text}"
        return sign + (f"{hours}h{text}" if hours else text)


def _decimal(count: int, size: int) -> str:
    whole, rest = divmod(count, size)
    digits = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


_TYPES: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    dict: "map[string]string",
    list: "template.queryResult",
    type(None): "<nil>",
    Sample: "*template.sample",
    Root: "struct",
    Arguments: "map[string]interface {}",
    GoTime: "*time.Time",
    GoDuration: "time.Duration",
}


def go_type(value: Any) -> str:
    """What Go calls the type of a value."""
    return _TYPES.get(type(value), type(value).__name__)
