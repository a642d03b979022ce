"""Compensated summation over columns, one sample of each series at a time, in the order of time.

Sums in the order and with the steps of Prometheus give its very bits, also where terms cancel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.core.promql.vector import Bools, Floats
from engine.core.promql.window import Dense

__all__ = ["add", "columns"]


def add(added: Floats, total: Floats, lost: Floats, *, forgets: bool = True) -> tuple[Floats, Floats]:
    """One step of Neumaier's summation: (total, lost) after `added`. The sum is total + lost.

    At an infinity what was lost is forgotten: it would be NaN. Without `forgets` it is, as in Prometheus 2.x.
    """
    summed = total + added
    larger = np.abs(total) >= np.abs(added)
    change = np.where(larger, (total - summed) + added, (added - summed) + total)
    return summed, np.where(np.isinf(summed), 0.0, lost + change) if forgets else lost + change


def columns(dense: Dense) -> Iterator[tuple[int, Floats, Bools | None]]:
    """(index, values, which rows have a sample here or None for all) of each column of samples.

    The values of rows without a sample are NaN.
    """
    across = np.ascontiguousarray(dense.values.T)
    all_have = int(dense.counts.min(initial=across.shape[0]))
    for index in range(across.shape[0]):
        yield index, across[index], None if index < all_have else dense.counts > index
