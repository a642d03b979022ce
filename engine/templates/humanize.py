"""The humanize family of Prometheus, and the other functions of numbers and times.

Formulas and words as in Prometheus 3's template/template.go: four significant digits, `k` for 1,000, `ki` for 1,024,
durations with whole seconds from a minute on.
"""

from __future__ import annotations

import math
import re
from typing import Any

from engine.durations import parse_ms
from engine.templates.values import GoDuration, GoTime, TemplateFailure, go_type

__all__ = [
    "humanize",
    "humanize1024",
    "humanize_duration",
    "humanize_percentage",
    "humanize_timestamp",
    "parse_duration",
    "to_duration",
    "to_float",
    "to_time",
]

_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")
_BINARY = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_INT64_MAX = 2**63 - 1
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE | re.ASCII
)
_HEX_FLOAT = re.compile(r"[+-]?0x[0-9a-f]*\.?[0-9a-f]*p[+-]?[0-9]+", re.IGNORECASE | re.ASCII)


def to_float(value: Any) -> float:
    """What is a number, or a text that is one. Raises `TemplateFailure`."""
    match value:
        case bool():
            pass
        case float() | int():
            return float(value)
        case str():
            if _FLOAT.fullmatch(value):
                return float(value)
            if _HEX_FLOAT.fullmatch(value):
                return float.fromhex(value)
            raise TemplateFailure(f'strconv.ParseFloat: parsing "{value[:80]}": invalid syntax')
        case GoDuration(ns=ns):
            return ns / 1e9
    raise TemplateFailure(f"can't convert {go_type(value)} to float")


def _four(value: float) -> str:
    """`%.4g` as Go writes it."""
    if math.isfinite(value):
        return f"{value:.4g}"
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _divided(value: float, base: float, prefixes: tuple[str, ...]) -> tuple[float, str]:
    prefix = ""
    for one in prefixes:
        if abs(value) < base:
            break
        prefix, value = one, value / base
    return value, prefix


def _multiplied(value: float) -> tuple[float, str]:
    prefix = ""
    for one in _SMALL:
        if abs(value) >= 1:
            break
        prefix, value = one, value * 1000
    return value, prefix


def humanize(value: Any) -> str:
    """1234567 -> `1.235M`, 0.0123 -> `12.3m`."""
    number = to_float(value)
    if number == 0 or not math.isfinite(number):
        return _four(number)
    number, prefix = _divided(number, 1000, _LARGE) if abs(number) >= 1 else _multiplied(number)
    return _four(number) + prefix


def humanize1024(value: Any) -> str:
    """1048576 -> `1Mi`."""
    number = to_float(value)
    if abs(number) <= 1 or not math.isfinite(number):
        return _four(number)
    number, prefix = _divided(number, 1024, _BINARY)
    return _four(number) + prefix


def humanize_duration(value: Any) -> str:
    """Seconds: 3661 -> `1h 1m 1s`, 0.0123 -> `12.3ms`."""
    number = to_float(value)
    if not math.isfinite(number):
        return _four(number)
    if number == 0:
        return f"{_four(number)}s"
    if abs(number) < 1:
        number, prefix = _multiplied(number)
        return f"{_four(number)}{prefix}s"
    sign, number = ("-", -number) if number < 0 else ("", number)
    # What is too large for an int64 becomes the smallest one there, on amd64; nobody reads either.
    whole = int(number) if number < 2**63 else -(2**63)
    minutes, seconds = _divided_by(whole, 60)
    hours, minutes = _divided_by(minutes, 60)
    days, hours = _divided_by(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{_four(number)}s"


def humanize_percentage(value: Any) -> str:
    """0.1234567 -> `12.35%`."""
    return f"{_four(to_float(value) * 100)}%"


def humanize_timestamp(value: Any) -> str:
    """Seconds since the epoch -> `2015-06-23 13:19:44.128 +0000 UTC`."""
    number = to_float(value)
    return str(to_time(number)) if math.isfinite(number) else _four(number)


def to_time(value: Any) -> GoTime:
    """Seconds since the epoch as a time, in whole milliseconds."""
    number = to_float(value)
    if not math.isfinite(number):
        raise TemplateFailure("value is NaN or Inf")
    ns = number * 1e9
    if ns > _INT64_MAX or ns < -_INT64_MAX - 1:
        message = "cannot be represented as a nanoseconds timestamp since it overflows int64"
        raise TemplateFailure(f"{number:g} {message}")
    return GoTime(_divided_by(int(ns), 1_000_000)[0])


def _divided_by(value: int, size: int) -> tuple[int, int]:
    """Quotient, towards zero, and remainder, as Go's."""
    quotient = value // size if value >= 0 else -(-value // size)
    return quotient, value - quotient * size


def to_duration(value: Any) -> GoDuration:
    """Seconds as a duration."""
    number = to_float(value)
    if not math.isfinite(number):
        raise TemplateFailure("value is NaN or Inf")
    ns = number * 1e9
    if ns > _INT64_MAX or ns < -_INT64_MAX - 1:
        message = "cannot be represented as a nanoseconds duration since it overflows int64"
        raise TemplateFailure(f"{number:g} {message}")
    return GoDuration(int(ns))


def parse_duration(text: str) -> float:
    """`1h30m` -> 5400 seconds."""
    try:
        return parse_ms(text) / 1000
    except ValueError as error:
        raise TemplateFailure(str(error)) from None
