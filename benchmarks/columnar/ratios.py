"""Our own figures against each other: joined rules, longer windows, other rules, other series."""

import numpy as np

from benchmarks.columnar.workloads import (
    LINE,
    RATE,
    Scale,
    Watch,
    continuous,
    counter_values,
    fed,
    five_labels,
    gauge_values,
    grid,
    series_of,
    timed_together,
)
from benchmarks.harness import Row
from engine.core.rules import compile_rule
from engine.events import SampleBatch

OTHERS_BATCH = 10_000


def joins(scale: Scale) -> list[Row]:
    """The bare row, and the same as a quotient or with a set operator: twice the series in a scrape."""
    one, other = series_of("g", scale.series), series_of("h", scale.series)
    columns = gauge_values(scale.series, 10)
    both = [np.concatenate([values, np.where(np.arange(scale.series) % 2, values, 1.0)]) for values in columns]
    quotient = [np.concatenate([values, np.ones(scale.series)]) for values in columns]
    exprs = {
        f"g / h > {LINE:g}": quotient,
        f"g > {LINE:g} and h > {LINE:g}": both,
        f"g > {LINE:g} unless h > {LINE:g}": both,
    }
    rows = []
    for mode, make in (("continuous", continuous), ("grid", grid)):
        pair = one + other
        watched = [(make([f"g > {LINE:g}"]), one, columns)]
        watched += [(make([expr]), pair, given) for expr, given in exprs.items()]
        bare, *spent = timed_together(watched, scale.repeats)
        for expr, joined in zip(exprs, spent, strict=True):
            rows.append(Row(f"{expr} / bare, {mode}", joined / bare, "x", limit=3.0))
    return rows


def range_joins(scale: Scale) -> list[Row]:
    """The same for ranges."""
    one, pair = series_of("c", scale.series), series_of("c", scale.series) + series_of("d", scale.series)
    counters = counter_values(scale.series, scale.samples)
    both = np.concatenate([counters, counters])
    watched = [(fed(grid([f"{RATE} > 1e6"]), one, counters), one, [counters[:, -1]])]
    rests = "/ rate(d[5m]) > 1e6", "> 1e6 and rate(d[5m]) > 1", "> 1e6 unless rate(d[5m]) > 1"
    exprs = [f"{RATE} {rest}" for rest in rests]
    watched += [(fed(grid([expr]), pair, both), pair, [both[:, -1]]) for expr in exprs]
    bare, *spent = timed_together(watched, scale.repeats)
    return [Row(f"{expr} / bare, grid", ms / bare, "x", limit=3.0) for expr, ms in zip(exprs, spent, strict=True)]


def windows(scale: Scale) -> list[Row]:
    """A scrape of a fifth of the series, with windows of one length or another."""
    count = scale.series // 5
    shape, columns = series_of("c", count), gauge_values(count, 10)
    rows = []
    for function in ("rate", "avg_over_time", "max_over_time"):
        watches = [grid([f"{function}(c[{window}s]) > 1e6"]) for window in scale.windows]
        for watch, window in zip(watches, scale.windows, strict=True):
            for number in range(window + 20):
                watch.scrape(shape, columns[number % 10])
        spent = timed_together([(watch, shape, columns) for watch in watches], 2 * scale.repeats)
        first, last = scale.windows[0], scale.windows[-1]
        ratio = max(spent) / min(spent)
        rows.append(Row(f"{function} over {first} s .. {last} s, most / least", ratio, "x", limit=1.5))
    return rows


def other_rules(scale: Scale) -> list[Row]:
    shape, columns = series_of("g", scale.series), gauge_values(scale.series, 10)
    watched = []
    for count in (1, scale.rules // 10, scale.rules * 10):
        others = [compile_rule(f"Other{index}", f"metric_{index} > 1") for index in range(count)]
        watched.append((Watch([compile_rule("R", f"g > {LINE:g}", for_ms=300_000), *others]), shape, columns))
    spent = timed_together(watched, scale.repeats)
    name = f"beside 1, {scale.rules // 10:,}, {scale.rules * 10:,} rules on other metrics, most / least"
    return [Row(name, max(spent) / min(spent), "x", limit=1.5)]


def other_series(scale: Scale) -> list[Row]:
    """A tenth of a scrape, in a store of few and of many."""
    count = scale.series // 10
    shape, columns = series_of("g", count), gauge_values(count, 10)
    watched = []
    for others in scale.others:
        watch = continuous([f"g > {LINE:g}"])
        for start in range(0, others, OTHERS_BATCH):
            part = five_labels("other", range(start, min(start + OTHERS_BATCH, others)))
            watch.core.feed([SampleBatch(watch.now_ms - 500, part, np.zeros(len(part)), 15_000)])
        watched.append((watch, shape, columns))
    spent = timed_together(watched, 5 * scale.repeats)
    name = (
        f"SampleBatch of {count:,} beside {' .. '.join(f'{others:,}' for others in scale.others)} series, most / least"
    )
    return [Row(name, max(spent) / min(spent), "x", limit=1.5)]
