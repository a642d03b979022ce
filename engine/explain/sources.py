"""Why a metric that a rule records has no result: what that rule, and those behind it, read and nobody ever sent.

Looks at rules and at names of metrics alone, never at samples.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from engine.core.grid_alerts import ALERTS, ALERTS_FOR_STATE
from engine.core.promql.plan import Plan, QueryPlan

__all__ = ["MissingSource", "missing_sources", "near"]

MISSING_MAX: Final = 5


class MissingSource(msgspec.Struct, frozen=True, kw_only=True):
    """A metric without any series in the history.

    Args:
        through: The recorded metrics on the way to it, the nearest to it last; none if the rule itself reads it.
        near: Names that it may have been meant to be.
    """

    metric: str
    through: tuple[str, ...] = ()
    near: tuple[str, ...] = ()


def near(metric: str, names: AbstractSet[str]) -> tuple[str, ...]:
    """Names that look like one that is not among them; none if it is."""
    return () if metric in names else tuple(difflib.get_close_matches(metric, sorted(names)))


def missing_sources(
    record: str, recorders: Mapping[str, Sequence[Plan | QueryPlan]], metrics: AbstractSet[str]
) -> tuple[MissingSource, ...]:
    """What is missing for a recorded metric, the nearest first; at most `MISSING_MAX`.

    Args:
        recorders: By metric, the plans of the rules that record it.
        metrics: Of which the history has series.
    """
    known, found = {*metrics, *recorders}, dict[str, MissingSource]()
    waiting, seen = deque([(record, tuple[str, ...]())]), {record}
    while waiting and len(found) < MISSING_MAX:
        at, through = waiting.popleft()
        for metric in [leaf.metric for plan in recorders[at] for leaf in plan.leaves]:
            if metric in recorders:
                if metric not in seen:
                    seen.add(metric)
                    waiting.append((metric, (*through, metric)))
            elif metric and metric not in known and metric not in (ALERTS, ALERTS_FOR_STATE):
                one = MissingSource(metric=metric, through=through, near=near(metric, known))
                found.setdefault(metric, one)
    return tuple(found.values())[:MISSING_MAX]
