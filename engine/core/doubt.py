"""Doubt: what of a result may be so only because nobody looked.

After a blind span windows hold less than they would otherwise: what has left them or never came into them may have
been there. As long as the same windows in known time (`engine.core.known`) say something else, a condition stays what
it was when it was last told. Only a value that is there and does not hold is evidence all the same, unless it is a
total, which is less where less was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from engine.core.alerts import Code
from engine.core.known import LabelSet, label_set, label_sets
from engine.core.promql.vector import Bools, Vector

__all__ = ["Doubt"]

Codes = NDArray[np.int16]


class Doubt:
    """The doubt about one result.

    Args:
        codes: What its rows are.
        known: The result in known time; None if there is no other.
        judged: What rows of a result are.
        totals: Its values are less where less was seen.
    """

    def __init__(
        self, result: Vector, codes: Codes, known: Vector | None, judged: Callable[[Vector], Codes], *, totals: bool
    ) -> None:
        self._known = known
        self._there: dict[LabelSet, int] | None = None
        self.rows: Bools = np.zeros(len(result.present), dtype=np.bool_)
        """Of a result: of which a level holds that would not hold in known time, or of totals the other way round."""
        if known is None:
            return
        known_codes = judged(known)
        if known.shape is result.shape:
            here = np.where(known.present, known_codes, 0)
        else:
            here = np.zeros(len(codes), dtype=np.int16)
            for row in np.flatnonzero(result.present).tolist():
                at = self._rows().get(label_set(result.shape.labels(row)))
                here[row] = 0 if at is None else known_codes[at]
        self.rows |= (codes & ~here & Code.WHENS) != 0
        if totals:
            self.rows |= (here & ~codes & Code.WHENS) != 0
        self.rows &= result.present

    def __contains__(self, labels: Mapping[str, str]) -> bool:
        """Whether a label set is there in known time."""
        return self._known is not None and label_set(labels) in self._rows()

    def _rows(self) -> dict[LabelSet, int]:
        if self._there is None:
            self._there = {} if self._known is None else label_sets(self._known)
        return self._there
