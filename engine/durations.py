"""Durations as people write them: `5m`, `1h30m`, `250ms`. The unit inside is integer milliseconds."""

from __future__ import annotations

import re

__all__ = ["Duration", "format_ms", "parse_ms"]

# Prometheus' units and order; `y` and `w` are fixed lengths there, too.
_UNITS_MS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_SHAPE = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit in _UNITS_MS))
_MAX_MS = 100 * _UNITS_MS["y"]


def parse_ms(text: str) -> int:
    """Read a duration into milliseconds.

    Raises:
        ValueError: With a message that says what a duration looks like.
    """
    match = _SHAPE.fullmatch(text)
    if text == "0":
        return 0
    if match is None or not text:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            raise ValueError(f'"{text}" has no unit; write "{text}s", "{text}m" or "{text}h"')
        raise ValueError(f'"{text[:40]}" is not a duration; write one like "15s", "5m" or "1h30m"')
    total = sum(int(n[:15]) * ms for n, ms in zip(match.groups(), _UNITS_MS.values(), strict=True) if n)
    if total > _MAX_MS:
        raise ValueError(f'"{text[:40]}" is longer than 100 years')
    return total


def format_ms(ms: int) -> str:
    """Write milliseconds the way `parse_ms` reads them: 90_000 -> `1m30s`."""
    if ms == 0:
        return "0s"
    sign, rest, parts = ("-" if ms < 0 else ""), abs(ms), []
    for unit, size in _UNITS_MS.items():
        if unit in ("y", "w"):
            continue
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


class Duration(int):
    """A length of time in milliseconds; a config field of this type is written like `"5m"`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read a duration. Raises `ValueError` as `parse_ms` does."""
        return cls(parse_ms(text))

    @property
    def seconds(self) -> float:
        """The same length in seconds, for timers."""
        return self / 1000

    def __str__(self) -> str:
        return format_ms(self)

    def __repr__(self) -> str:
        return f"Duration({format_ms(self)!r})"
