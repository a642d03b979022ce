"""info(): the labels of info metrics, joined to the series that they tell of.

An info series (`target_info`, `build_info`) tells of the series with the same `instance` and `job`. Which info series
meets which row follows from labels and from what is present among the info series alone, so the result's shape stays
the same object until an info series comes, goes or changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from engine.core.promql.functions.context import FunctionContext, VectorFunction, vector
from engine.core.promql.labels import NAME, Codes, Shape
from engine.core.promql.plan import Selector
from engine.core.promql.vector import Bools, EvaluationError, Floats, Value, Vector

__all__ = ["IDENTIFYING", "INFO"]

IDENTIFYING = ("instance", "job")
"""By these labels an info series and what it tells of find each other. Fixed in Prometheus, too."""


class _Table(NamedTuple):
    """What follows from the labels of n rows and m info series alone.

    Args:
        plain: Rows that are info series themselves and are left as they are, shape (n,).
        rows, series: Identifying labels as integers from one numbering, shapes (n,) and (m,).
        distinct: How many there are.
        metrics: The info metric of each series, 0.., shape (m,).
        picked: Labels to take.
        latest: Which series each row met last, and the label sets that they made: at most one entry.
    """

    plain: Bools
    rows: Codes
    series: Codes
    distinct: int
    metrics: Codes
    picked: tuple[str, ...]
    latest: list[tuple[Codes, Shape]]


def _info(context: FunctionContext, arguments: list[Value]) -> Value:
    """Add the labels of info series; labels that are there stay.

    Raises:
        EvaluationError: Two info series of one metric tell the same time of the same rows, or two metrics give a
            label two values.
    """
    base, series, selector = vector(arguments[0]), vector(arguments[1]), context.selector
    assert selector is not None
    assert context.times is not None
    table = base.shape.derive(("info", series.shape, selector), lambda: _table(base.shape, series.shape, selector))
    enriched = base.present & ~table.plain
    found = _newest(base, series, context.times.values, enriched, table)
    if not all(matcher.matches("") for matcher in selector.matchers if matcher.label != NAME):
        base = base._replace(present=base.present & (table.plain | (found >= 0).any(axis=0)))
    _refuse_conflict(base, series.shape, found, enriched & base.present, table)
    if not table.latest or not np.array_equal(table.latest[0][0], found):
        table.latest[:] = [(found, _enriched(base.shape, series.shape, found, table.picked))]
    return base._replace(shape=table.latest[0][1])


def _table(base: Shape, series: Shape, selector: Selector) -> _Table:
    ids = Shape.concatenate([base, series]).group(IDENTIFYING, excluding=False).ids
    _, metrics = np.unique(series.column(NAME), return_inverse=True)
    asked = {matcher.label for matcher in selector.matchers if matcher.label != NAME}
    picked = tuple(sorted(name for name in series.columns if name != NAME and (not asked or name in asked)))
    rows, those = ids[: len(base)], ids[len(base) :]
    return _Table(_plain(base, selector), rows, those, int(ids.max(initial=-1)) + 1, metrics, picked, [])


def _plain(base: Shape, selector: Selector) -> Bools:
    """Rows of a metric that the selector asks for by name. Where it asks for no name, there are none."""
    matchers = [matcher for matcher in selector.matchers if matcher.label == NAME]
    if not matchers:
        return np.zeros(len(base), dtype=np.bool_)
    codes, inverse = np.unique(base.column(NAME), return_inverse=True)
    names = [base.interner.value(code) for code in codes.tolist()]
    matching = [all(matcher.matches(name) for matcher in matchers) for name in names]
    return np.array(matching, dtype=np.bool_)[inverse]


def _newest(base: Vector, series: Vector, times: Floats, enriched: Bools, table: _Table) -> Codes:
    """For each info metric and each row the series that tells of it, the newest if there are several: shape
    (metrics, n), -1 where there is none. Rows that are not present have one, too.

    As in Prometheus, a series counts only if it has each identifying label that any row to be enriched has.
    """
    found = np.full((int(table.metrics.max(initial=-1)) + 1, len(base.shape)), -1)
    counts, known = series.present.copy(), False
    wanted = counts.copy()
    for label in IDENTIFYING:
        codes = np.unique(base.shape.column(label)[enriched])
        codes = codes[codes > 0]
        if len(codes):
            known = True
            counts &= series.shape.column(label) > 0
            wanted &= np.isin(series.shape.column(label), codes)
    rows = np.flatnonzero(counts)
    if not known or not len(rows):
        return found
    keys = table.metrics[rows] * table.distinct + table.series[rows]
    order = np.lexsort((times[rows], keys))
    rows, keys = rows[order], keys[order]
    _refuse_twice(series.shape, rows, keys, times, wanted)
    newest = np.full(len(found) * table.distinct, -1)
    newest[keys] = rows  # of equal keys the last is written last
    found[:, ~table.plain] = newest.reshape(len(found), table.distinct)[:, table.rows[~table.plain]]
    return found


def _refuse_twice(shape: Shape, rows: Codes, keys: Codes, times: Floats, wanted: Bools) -> None:
    """Raise if two of these series, sorted by key and time, are the newest of one key."""
    last = np.flatnonzero(np.concatenate((keys[1:] != keys[:-1], [True])))
    last = last[last > 0]
    twice = last[(keys[last] == keys[last - 1]) & (times[rows[last]] == times[rows[last - 1]]) & wanted[rows[last]]]
    if len(twice):
        one, other = (shape.labels(int(rows[at])) for at in (twice[0] - 1, twice[0]))
        raise EvaluationError(f"found duplicate series for info metric: {one} and {other} at the same time")


def _refuse_conflict(base: Vector, series: Shape, found: Codes, enriched: Bools, table: _Table) -> None:
    """Raise if two info metrics give a present row different values of one label."""
    if len(found) < 2:
        return
    for name in table.picked:
        new = np.zeros(len(base.shape), dtype=np.int64)
        for codes in _told(base.shape, series, found, name):
            conflict = enriched & (codes > 0) & (new > 0) & (codes != new)
            if conflict.any():
                raise EvaluationError(f"info(): conflicting label: {name}")
            new = np.where(codes > 0, codes, new)


def _enriched(base: Shape, series: Shape, found: Codes, picked: tuple[str, ...]) -> Shape:
    """The rows' label sets with the labels of the series that they met."""
    shape = base
    for name in picked:
        new = base.column(name)
        for codes in _told(base, series, found, name):
            new = np.where(new > 0, new, codes)
        if not np.array_equal(new, base.column(name)):
            shape = shape.with_column(name, new)
    return shape


def _told(base: Shape, series: Shape, found: Codes, name: str) -> Iterator[Codes]:
    """What each info metric says of one label of each row that does not have it; 0 for nothing."""
    column, free = series.column(name), base.column(name) == 0
    for rows in found:
        yield np.where(free & (rows >= 0), column[rows], 0)


INFO: dict[str, VectorFunction] = {"info": _info}
