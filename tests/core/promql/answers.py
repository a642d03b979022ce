"""What tests of whole queries share: samples from promtool's notation, and how answers are compared."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from engine.core.promql.matrix import Matrix
from engine.core.promql.memory import MemorySource
from engine.core.promql.notation import parse_labels, parse_values
from engine.core.promql.vector import Scalar, Value
from engine.durations import parse_ms

Row = tuple[tuple[tuple[str, str], ...], float]

# Answers of real servers to public rules, kept beside the checkout; a fresh clone does not have them.
DATA = Path(__file__).parents[3].parent / "shared" / "data"


def ms(text: str) -> int:
    """`50m`, `1111111s` or bare seconds."""
    return int(text) * 1000 if text.isdigit() else parse_ms(text)


def loaded(loads: Iterable[tuple[int, Sequence[tuple[str, str]]]], *, compat2: bool = False) -> MemorySource:
    """A source of series in promtool's notation, each load with its step in milliseconds, all from time 0."""
    found: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for step_ms, series in loads:
        for text, values in series:
            labels = tuple(parse_labels(text).items())
            samples = found.setdefault(tuple(sorted(labels)), {})
            samples |= {i * step_ms: value for i, value in enumerate(parse_values(values)) if value is not None}
    rows = ((dict(labels), sorted(samples), [samples[t] for t in sorted(samples)]) for labels, samples in found.items())
    return MemorySource(rows, left_open=not compat2)


def rows_of(value: Value) -> list[Row]:
    """An instant's answer; a scalar has no labels."""
    if isinstance(value, Scalar):
        return [((), value.value)]
    assert not isinstance(value, str)
    return [(tuple(sorted(labels.items())), number) for labels, number in value.items()]


def same_number(got: float, expected: float, tolerance: float) -> bool:
    if math.isnan(expected) or math.isnan(got):
        return math.isnan(expected) and math.isnan(got)
    if math.isinf(expected) or math.isinf(got) or expected == got:
        return expected == got
    return abs(got - expected) <= tolerance * max(abs(got), abs(expected))


def same_rows(got: Sequence[Row], expected: Sequence[Row], *, tolerance: float, ordered: bool = False) -> bool:
    if not ordered:
        got, expected = (sorted(rows, key=lambda row: row[0]) for rows in (got, expected))
    return [labels for labels, _ in got] == [labels for labels, _ in expected] and all(
        same_number(a, b, tolerance) for (_, a), (_, b) in zip(got, expected, strict=True)
    )


def same_matrix(got: Matrix, expected: Sequence[tuple[str, str]], *, tolerance: float) -> bool:
    """Against rows in promtool's notation, one value for each instant."""
    wanted = {}
    for text, values in expected:
        numbers = parse_values(values)
        wanted[tuple(sorted(parse_labels(text).items()))] = {i: v for i, v in enumerate(numbers) if v is not None}
    found = {
        tuple(sorted(labels.items())): dict(zip(at.tolist(), numbers.tolist(), strict=True))
        for labels, at, numbers in got.items()
    }
    return found.keys() == wanted.keys() and all(
        found[key].keys() == wanted[key].keys()
        and all(same_number(found[key][i], wanted[key][i], tolerance) for i in wanted[key])
        for key in wanted
    )


def shown(value: object) -> str:
    return np.array2string(value) if isinstance(value, np.ndarray) else str(value)[:500]
