"""The values of a series in a test: promtool's notation, and two words that say why a series has no value.

`ended` is evidence: the target answered and does not have the series any more, which is what `stale` means, too.
`target_down` is ignorance: nobody could ask. It never decides what a rule makes of that.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.notation import VALUES_MAX, NotationError, parse_values

__all__ = ["Values", "count_values", "read_values"]

_MARKER = re.compile(r"(ended|target_down)(x[0-9]+)?")


_TIMES = re.compile(r"(.*)x([0-9]+)")


class Values(NamedTuple):
    """The values of a series: aligned columns, one place for each interval.

    Args:
        numbers: float64; a stale marker where there is one.
        held: Where there is a sample at all.
        down: Which stale markers mean that the target is down.
    """

    numbers: NDArray[np.float64]
    held: NDArray[np.bool_]
    down: NDArray[np.bool_]


def read_values(text: str, first: int | None = None) -> Values:
    """Read `1+1x5 _x3 stale ended target_down`.

    Args:
        first: Only so many are wanted, and made; None is all of them.

    Raises:
        NotationError: It can't be read, is a native histogram, or is too long.
    """
    words = text.split()
    markers = {place: match for place, word in enumerate(words) if (match := _MARKER.fullmatch(word))}
    if not markers:  # promtool's own
        words = [text]
    values: list[float | None] = []
    down: list[bool] = []
    for place, word in enumerate(words):
        room = None if first is None else first - len(values)
        marker = markers.get(place)
        try:
            made = parse_values(word if marker is None else f"stale{marker[2] or ''}", room)
        except NotationError as error:
            raise NotationError(str(error).replace(" or stale", ", stale, ended or target_down")) from None
        if room is None and len(values) + len(made) > VALUES_MAX:
            raise NotationError(f"a series has at most {VALUES_MAX:,} values")
        values += made
        down += [marker is not None and marker[1] == "target_down"] * len(made)
    return _columns(values, down)


def count_values(text: str) -> int:
    """How many intervals a text in this notation spans, without making them."""
    count = 0
    for word in text.split():
        times = _TIMES.fullmatch(word)  # 0x10 is ten repetitions of 0, as in promtool
        count += 1 if times is None else int(times[2][:12]) + (times[1] != "_")
    return count


def _columns(values: list[float | None], down: list[bool]) -> Values:
    return Values(
        np.array([0.0 if value is None else value for value in values], dtype=np.float64),
        np.array([value is not None for value in values], dtype=np.bool_),
        np.array(down, dtype=np.bool_),
    )
