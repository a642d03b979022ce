"""Samples of a history as a source of evaluations: what an expression reads, and no more of it.

An edge: it asks a `History`. Nothing here evaluates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.core.promql.labels import NAME
from engine.core.promql.memory import MemorySource, Series
from engine.core.promql.plan import QueryPlan, Selector
from engine.ports import History
from engine.series import split_series

__all__ = ["source_of"]

LOOKBACK_MS = 300_000
_TIME_MIN, _TIME_MAX = -(2**53), 2**53


async def source_of(
    history: History, plan: QueryPlan, start_ms: int, end_ms: int, lookback_ms: int = LOOKBACK_MS
) -> MemorySource:
    """Read what an expression needs to be evaluated at instants from `start_ms` to `end_ms`.

    Args:
        lookback_ms: How old the sample of an instant selector may be.

    Raises:
        SinkError: The history can't be read, or there is too much of it.
    """
    spans: dict[str, tuple[int, int]] = {}
    ahead = any(isinstance(node, msgspec.Struct) and getattr(node, "offset_ms", 0) < 0 for node in _walk(plan.root))
    known: list[str] | None = None
    for leaf, reach_ms in zip(plan.leaves, plan.reaches_ms, strict=True):
        names = [leaf.metric]
        if not leaf.metric:
            known = await history.metrics() if known is None else known
            names = [name for name in known if _may_select(leaf, name)]
        first_ms = _TIME_MIN if reach_ms is None else start_ms - reach_ms - lookback_ms
        last_ms = _TIME_MAX if reach_ms is None or ahead else end_ms
        for name in names:
            before = spans.get(name, (first_ms, last_ms))
            spans[name] = min(before[0], first_ms), max(before[1], last_ms)
    series: list[Series] = []
    for name, (first_ms, last_ms) in sorted(spans.items()):
        for one in await history.samples(name, first_ms, last_ms + 1):
            metric, labels = split_series(one.series)
            series.append(({NAME: metric, **labels}, one.times_ms, one.values))
    return MemorySource(series, lookback_ms, left_open=plan.compat == "prometheus3")


def _may_select(leaf: Selector, metric: str) -> bool:
    return all(matcher.matches(metric) for matcher in leaf.matchers if matcher.label == NAME)


def _walk(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, tuple):
        for child in node:
            yield from _walk(child)
    elif isinstance(node, msgspec.Struct):
        for name in node.__struct_fields__:
            yield from _walk(getattr(node, name))
