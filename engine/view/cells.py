"""Text for a grid of terminal cells: made safe, cut to a width, numbers and times as people read them.

Everything here is pure. Nothing from outside reaches the terminal without passing `literal`: a label may hold
markup, escape sequences, emoji codes, wide or invisible characters, and none of them may move a column.
"""

from __future__ import annotations

import math
import unicodedata
from typing import Literal

from rich.cells import cell_len, set_cell_size

from engine.text import clean

__all__ = ["bar", "fit", "literal", "number", "short_ms"]

TEXT_CHARS_MAX = 300
"""No field of the view is wider; what is longer is cut before its width is measured."""

# Characters a terminal draws with no width of their own, or that it and rich may measure differently.
_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Me", "Zl", "Zp"})


def literal(text: str) -> str:
    """Return `text` with nothing in it that a terminal acts on; invisible characters become `\\u200d`."""
    safe = clean(text, TEXT_CHARS_MAX)
    if safe.isascii():
        return safe
    return "".join(_visible(char) for char in safe)


def _visible(char: str) -> str:
    if unicodedata.category(char) in _INVISIBLE or "\ufe00" <= char <= "\ufe0f":
        return char.encode("unicode_escape").decode("ascii")
    return char


def fit(text: str, width: int, align: Literal["left", "right"] = "left") -> str:
    """Return `text` in exactly `width` cells, padded or cut; a cut is marked with `…`."""
    if width <= 0:
        return ""
    cells = len(text) if text.isascii() else cell_len(text)
    if cells <= width:
        space = " " * (width - cells)
        return space + text if align == "right" else text + space
    return set_cell_size(text, width - 1) + "…"


def bar(share: float, width: int) -> str:
    """Return a bar of `width` cells, filled from the left by `share` of 0 to 1; NaN is empty."""
    full = 0 if math.isnan(share) else round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)


_TIME_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def short_ms(ms: float) -> str:
    """Return a length of time in at most two units: `850ms`, `12s`, `3m12s`, `2h03m`, `5d`."""
    whole = int(max(ms, 0))
    if whole < 1_000:
        return f"{whole}ms" if whole else "0s"
    for at, (unit, size) in enumerate(_TIME_UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            if at + 1 == len(_TIME_UNITS):
                return f"{count}{unit}"
            smaller, small_size = _TIME_UNITS[at + 1]
            second = rest // small_size
            return f"{count}{unit}{second:02}{smaller}" if second else f"{count}{unit}"
    return "0s"


def number(value: float, metric: str = "") -> str:
    """Return a value with the unit that the metric's name promises.

    Args:
        value: Any float.
        metric: Metric name; its ending after `_total` is taken off (`_percent`, `_ratio`, `_bytes`,
            `_seconds`) chooses the unit.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    base = metric.removesuffix("_total")
    if base.endswith("_percent"):
        return f"{value:.1f}%"
    if base.endswith("_ratio"):
        return f"{value * 100:.1f}%"
    if base.endswith("_bytes"):
        return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    if base.endswith("_seconds") and 0 <= value < 10 * 365 * 86_400:  # more is a point in time, not a length
        return f"{value * 1000:.3g}ms" if 0 < value < 1 else short_ms(value * 1000)
    return _scaled(value, 1000.0, ("", "k", "M", "G", "T", "P"))


def _scaled(value: float, step: float, units: tuple[str, ...]) -> str:
    at = 0
    while abs(value) >= step and at + 1 < len(units):
        value /= step
        at += 1
    if abs(value) >= 10_000:
        return f"{value:.2e}{units[at]}"
    digits = (
        f"{value:.0f}" if value == int(value) and at == 0 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    )
    return digits + units[at]
