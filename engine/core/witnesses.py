"""Witnesses: the few of many dead series without which it could not be said any more why a label set is absent.

Of all dead series that speak for a label set it only matters whether any of them has ended and whether any has not. So
one of each kind is enough, however many series have come and gone behind an alert that fires for weeks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.core.absence import Evidence, inputs_at
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.vector import Bools
from engine.core.recent import Recent
from engine.core.store import Store

__all__ = ["witnesses"]


def witnesses(
    evidence: Sequence[Evidence],
    label_sets: Sequence[Mapping[str, str]],
    recent: Recent,
    store: Store,
    gone: Bools,
) -> NDArray[np.int64]:
    """The series that must stay.

    Args:
        evidence: What stands behind a result.
        label_sets: Those for which it will be asked why they are absent.
        gone: By handle, the series that are to go. They are stale or have ended.
    """
    found = [np.zeros(0, dtype=np.int64)]
    for one in evidence if label_sets else ():
        handles = recent.handles(one.selector)
        if not gone[handles].any():
            continue
        inputs = inputs_at(one, recent, store, recent.horizon_ms)
        rows = np.flatnonzero(gone[handles] & inputs.speaks)
        for names, asked in _by_names(inputs.shape, label_sets, one):
            columns = [inputs.shape.column(name)[rows] for name in names]
            have = np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), dtype=np.int64)
            strict = np.array([one.kept.has(name) for name in names], dtype=np.bool_)
            found += [handles[rows[first]] for first in _agreeing(have, asked, strict, inputs.ended[rows])]
    return np.concatenate(found)


def _by_names(
    shape: Shape, label_sets: Sequence[Mapping[str, str]], evidence: Evidence
) -> Iterator[tuple[tuple[str, ...], Codes]]:
    """The labels that are compared, and the codes that each label set has for them: shape (n, names)."""
    by_names: dict[tuple[str, ...], list[list[int]]] = {}
    for labels in label_sets:
        known = {*labels, *shape.columns} - evidence.aside - {NAME}
        names = tuple(sorted(name for name in known if name in labels or evidence.kept.has(name)))
        by_names.setdefault(names, []).append([shape.interner.code(labels.get(name, "")) for name in names])
    for names, codes in by_names.items():
        yield names, np.array(codes, dtype=np.int64).reshape(len(codes), len(names))


def _agreeing(have: Codes, asked: Codes, strict: Bools, ended: Bools) -> Iterator[Codes]:
    """Rows that agree with what is asked, one of each kind: a label that a row does not have is not compared, unless
    it is one of the strict."""
    patterns, pattern_of = np.unique((have == 0) & ~strict, axis=0, return_inverse=True)
    for number, absent in enumerate(patterns):
        rows = np.flatnonzero(pattern_of.ravel() == number)
        both = np.concatenate([have[rows][:, ~absent], asked[:, ~absent]])
        _, ids = np.unique(both, axis=0, return_inverse=True)
        ids = ids.ravel()
        _, first = np.unique(ids[: len(rows)] * 2 + ended[rows], return_index=True)
        yield rows[first[np.isin(ids[first], ids[len(rows) :])]]
