"""Doubt: what of a result may be so only because nobody looked.

After a blind span windows hold less than they would otherwise: what has left them or never came into them may have
been there. As long as the same windows in known time (`engine.core.known`) say something else, a condition stays what
it was when it was last told. Where only known time says anything, because windows are empty, that counts against a
condition, unless a sample since the span makes it a comparison across the span.
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
        unfilled: Nobody knows what windows held before a restart.
        may_begin, may_end: What holds then would hold whatever that was, or what does not, would not.
    """

    def __init__(
        self,
        result: Vector,
        codes: Codes,
        known: Vector | None,
        judged: Callable[[Vector], Codes],
        *,
        unfilled: bool = False,
        may_begin: bool = False,
        may_end: bool = False,
    ) -> None:
        self._known = known
        self._there: dict[LabelSet, int] | None = None
        self._codes = codes
        self.rows: Bools = np.zeros(len(result.present), dtype=np.bool_)
        """Of a result: which are something else in known time."""
        self.unfilled = unfilled
        if unfilled:
            self.rows = result.present & ~np.where((codes & Code.WHENS) != 0, may_begin, may_end)
        if known is None:
            return
        self._codes = judged(known)
        if known.shape is result.shape:
            here = np.where(known.present, self._codes, Code.FALSE)
        else:
            here = np.full(len(codes), Code.FALSE, dtype=np.int16)
            for row in np.flatnonzero(result.present).tolist():
                at = self._rows().get(label_set(result.shape.labels(row)))
                here[row] = Code.FALSE if at is None else self._codes[at]
        self.rows = (codes != here) & result.present

    def known(self, labels: Mapping[str, str]) -> int | None:
        """What a label set is in known time; None if it is not there."""
        at = None if self._known is None else self._rows().get(label_set(labels))
        return None if at is None else int(self._codes[at])

    def _rows(self) -> dict[LabelSet, int]:
        if self._there is None:
            self._there = {} if self._known is None else label_sets(self._known)
        return self._there
