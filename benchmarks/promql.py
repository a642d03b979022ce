"""PromQL over columns, beside Debian's Prometheus where it is installed: the same series, in one run.

Ours is a scrape of every series fed and the rules evaluated, in both modes; Prometheus' figure is its evaluation
alone, the faster of a query and a rule, with a lookback of ten seconds. Before anything is timed the results are
held against each other, and the states of alerts against promtool's. Without Prometheus these rows are left out.
"""

from benchmarks.columnar.beside import beside_prometheus
from benchmarks.columnar.footprint import load, memory
from benchmarks.columnar.ratios import joins, other_rules, other_series, range_joins, windows
from benchmarks.columnar.workloads import (
    RANGES,
    Scale,
    continuous,
    fed,
    gauge_values,
    grid,
    range_workloads,
    series_of,
    thresholds,
)
from benchmarks.harness import Row

__all__ = ["Scale", "run"]

FULL = Scale()


def run(scale: Scale = FULL) -> list[Row]:
    """Measure, and return the figures."""
    ours = _ours(scale)
    rows = [Row(f"longwatch: {name}", value, "ms") for name, value in ours.items()]
    rows += beside_prometheus(scale, ours) if scale.prometheus else []
    rows += joins(scale)
    rows += range_joins(scale)
    rows += windows(scale)
    rows += other_rules(scale)
    rows += other_series(scale)
    rows += [memory("continuous", scale), memory("grid", scale)]
    rows.append(load(scale))
    return rows


def _ours(scale: Scale) -> dict[str, float]:
    shape, columns = series_of("g", scale.series), gauge_values(scale.series, 10)
    made: dict[str, float] = {}
    for count in (1, 10):
        exprs = thresholds(count)
        made[f"{count} threshold rules, continuous"] = continuous(exprs).timed(shape, columns, scale.repeats)
        made[f"{count} threshold rules, grid"] = grid(exprs).timed(shape, columns, scale.repeats)
    for query, shape, values in range_workloads(scale):
        watch = grid([RANGES[query]])
        made[query] = fed(watch, shape, values).timed(shape, [values[:, -1]], scale.repeats)
    return made
