"""Where an evaluation gets its samples: a protocol, so that one evaluator serves the live store, tests and history."""

from __future__ import annotations

from typing import Protocol

from engine.core.promql.labels import Interner, Shape
from engine.core.promql.plan import Selector
from engine.core.promql.steps import Basis, Steps
from engine.core.promql.vector import Vector
from engine.core.promql.window import Window

__all__ = ["Source"]


class Source(Protocol):
    """Samples by selector. Shapes hold `__name__`, and stay the same object while the set of series does."""

    @property
    def interner(self) -> Interner:
        """Of every shape it gives."""

    @property
    def steps(self) -> Steps:
        """What subqueries found at their steps. The source tells it of every sample that lands."""

    def basis(self, selector: Selector) -> Basis:
        """What the answer to an instant selector depends on beside samples; that to a range only on the shape."""

    def instant(self, selector: Selector, at_ms: int) -> tuple[Vector, Vector]:
        """The newest sample of each selected series at `at_ms`: (values, times in seconds), of one shape.

        A series is present if that sample is younger than the lookback and is no stale marker.
        """

    def window(self, selector: Selector, start_ms: int, end_ms: int) -> tuple[Shape, Window]:
        """The samples of each selected series in a window. Stale markers are left out."""
