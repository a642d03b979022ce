"""Vectors of several instants side by side: what a subquery hands to range functions, and what a range query gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.core.promql.labels import Codes, Interner, Shape
from engine.core.promql.vector import Bools, Floats, Vector
from engine.core.promql.window import Dense

__all__ = ["Matrix", "dense", "stack"]


class Matrix(NamedTuple):
    """Values of n label sets at k instants.

    Args:
        shape: The label sets, each once.
        values: float64, shape (n, k); meaningless where not present.
        present: bool, shape (n, k).
    """

    shape: Shape
    values: Floats
    present: Bools

    def items(self) -> list[tuple[dict[str, str], Codes, Floats]]:
        """(labels, indexes of instants, values) of what is ever present."""
        rows = np.flatnonzero(self.present.any(axis=1))
        found = ((int(row), np.flatnonzero(self.present[row])) for row in rows)
        return [(self.shape.labels(row), at, self.values[row, at]) for row, at in found]


def stack(vectors: Sequence[Vector], interner: Interner) -> Matrix:
    """Vectors of successive instants as one matrix; rows of equal labels become one."""
    shapes = list(dict.fromkeys(vector.shape for vector in vectors))
    if not shapes:
        return Matrix(Shape.of(interner, []), np.zeros((0, 0)), np.zeros((0, 0), dtype=np.bool_))
    merged = shapes[0].derive(("stack", *shapes[1:]), lambda: _merged(shapes))
    if merged is None:
        values = np.stack([vector.values for vector in vectors], axis=1)
        return Matrix(shapes[0], values, np.stack([vector.present for vector in vectors], axis=1))
    shape, places = merged
    values = np.zeros((len(shape), len(vectors)))
    present = np.zeros((len(shape), len(vectors)), dtype=np.bool_)
    for column, vector in enumerate(vectors):
        rows = np.flatnonzero(vector.present)
        at = places[vector.shape][rows]
        values[at, column] = vector.values[rows]
        present[at, column] = True
    return Matrix(shape, values, present)


def _merged(shapes: list[Shape]) -> tuple[Shape, dict[Shape, Codes]] | None:
    """(all label sets once, where each shape's rows are among them); None if one shape has them all once."""
    together = Shape.concatenate(shapes)
    ids = together.ids()
    _, first = np.unique(ids, return_index=True)
    if len(shapes) == 1 and len(first) == len(ids):
        return None
    places, start = {}, 0
    for shape in shapes:
        places[shape] = ids[start : start + len(shape)]
        start += len(shape)
    return together.take(first), places


def dense(matrix: Matrix, times_ms: Codes) -> Dense:
    """The matrix as samples of a window, left aligned."""
    values, present = matrix.values, matrix.present
    times = np.broadcast_to(times_ms, values.shape)
    counts = present.sum(axis=1)
    if not present.all():
        order = np.argsort(~present, axis=1, kind="stable")
        inside = np.arange(values.shape[1]) < counts[:, None]
        values = np.where(inside, np.take_along_axis(values, order, axis=1), np.nan)
        times = np.where(inside, np.take_along_axis(times, order, axis=1), 0)
    return Dense(times, values, counts)
