"""PromQL's functions over columns, as tables from name to implementation.

`RANGE` takes a range vector, `VECTOR` all else; `COMPAT2_RANGE` and `COMPAT2_VECTOR` are what Prometheus 2.x
computes differently or calls differently, to be looked up first under `compat = "prometheus2"`. `REFUSED` says why a
function that the parser knows is not here. Pure: no function keeps state except with the shapes it is given.

The evaluator's part: `absent_over_time(range)` is called with the vector of `present_over_time(range)`;
`timestamp(selector)` and `info(vector, selector)` with `FunctionContext.times`; names are dropped unless in
`KEEPS_NAME`; duplicates are refused.
"""

from __future__ import annotations

from engine.core.promql.functions.context import (
    FunctionContext,
    RangeFunction,
    VectorFunction,
    absent_labels,
)
from engine.core.promql.functions.dates import DATES
from engine.core.promql.functions.histogram import COMPAT2_HISTOGRAM, HISTOGRAM
from engine.core.promql.functions.info import INFO
from engine.core.promql.functions.order import ORDER
from engine.core.promql.functions.over_time import COMPAT2_OVER_TIME, OVER_TIME
from engine.core.promql.functions.pointwise import POINTWISE
from engine.core.promql.functions.rates import COMPAT2_RATES, RATES
from engine.core.promql.functions.relabel import COMPAT2_RELABEL, RELABEL
from engine.core.promql.functions.special import SPECIAL
from engine.core.promql.functions.spread import COMPAT2_SPREAD, SPREAD
from engine.core.promql.functions.trend import COMPAT2_TREND, TREND

__all__ = [
    "COMPAT2_RANGE",
    "COMPAT2_VECTOR",
    "KEEPS_NAME",
    "NEEDS_TWO",
    "RANGE",
    "REFUSED",
    "VECTOR",
    "FunctionContext",
    "RangeFunction",
    "VectorFunction",
    "absent_labels",
]

RANGE: dict[str, RangeFunction] = {**RATES, **OVER_TIME, **SPREAD, **TREND}
VECTOR: dict[str, VectorFunction] = {**POINTWISE, **DATES, **SPECIAL, **ORDER, **RELABEL, **HISTOGRAM, **INFO}

COMPAT2_RANGE: dict[str, RangeFunction] = {**COMPAT2_RATES, **COMPAT2_OVER_TIME, **COMPAT2_SPREAD, **COMPAT2_TREND}
COMPAT2_VECTOR: dict[str, VectorFunction] = {**COMPAT2_RELABEL, **COMPAT2_HISTOGRAM}

KEEPS_NAME = frozenset(
    {
        "first_over_time",
        "info",
        "label_join",
        "label_replace",
        "last_over_time",
        "sort",
        "sort_by_label",
        "sort_by_label_desc",
        "sort_desc",
    }
)

NEEDS_TWO = frozenset(
    {
        "delta",
        "deriv",
        "double_exponential_smoothing",
        "idelta",
        "increase",
        "irate",
        "predict_linear",
        "rate",
    }
)
"""Functions of ranges that have no value for a series of which the range holds a single sample."""

_NATIVE = "it reads native histograms, and this version has float samples only"
REFUSED: dict[str, str] = {
    "histogram_avg": _NATIVE,
    "histogram_count": _NATIVE,
    "histogram_quantiles": "Prometheus 3.5 has no such function; ask for each quantile with histogram_quantile()",
    "histogram_stddev": _NATIVE,
    "histogram_stdvar": _NATIVE,
    "histogram_sum": _NATIVE,
}
