"""The values that flow through an evaluation: columns over a shape of label sets, and scalars."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.promql.labels import Shape

__all__ = ["Bools", "EvaluationError", "Floats", "Scalar", "Value", "Vector"]

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


class EvaluationError(ValueError):
    """An expression has no value at this instant, for instance many-to-many matching. Prometheus fails there, too."""


class Vector(NamedTuple):
    """An instant vector.

    Args:
        shape: Label sets, `__name__` included where it is kept. All that could be there, present or not.
        values: float64, shape (n,); meaningless where not present.
        present: bool, shape (n,). Two equal label sets are never both present in a result.
        ordered: Rows in the order to show, or None: `sort` and `topk` set it.
    """

    shape: Shape
    values: Floats
    present: Bools
    ordered: NDArray[np.int64] | None = None

    def rows(self) -> NDArray[np.int64]:
        """Rows that are present, in their order."""
        if self.ordered is not None:
            return self.ordered[self.present[self.ordered]]
        return np.flatnonzero(self.present)

    def items(self) -> list[tuple[dict[str, str], float]]:
        """(labels, value) of what is present."""
        return [(self.shape.labels(int(row)), float(self.values[row])) for row in self.rows()]


class Scalar(NamedTuple):
    """A number."""

    value: float


Value: TypeAlias = Vector | Scalar | str
