"""Series, their values, and a core that watches them: the same for every figure. Seeded."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import best_of
from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import Rule, compile_rule
from engine.events import SampleBatch
from engine.series import series_text

Floats = NDArray[np.float64]
Shape = tuple[str, ...]

START_MS = 1_700_000_000_000
LINE = 99.0
BUCKETS = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "+Inf")
TURNS = 8
RATE, MEAN = "rate(c[5m])", "avg_over_time(c[5m])"
QUANTILE = "histogram_quantile(0.95, sum by (le,job) (rate(b_bucket[5m])))"
# Lines that nothing is over: what is timed is the evaluation, and an alert more or less is another row.
RANGES = {RATE: f"{RATE} > 1e6", MEAN: f"{MEAN} > 1e6", QUANTILE: f"{QUANTILE} > 1e6"}


class Scale(NamedTuple):
    """How large everything is.

    Args:
        series: Of a scrape; a multiple of 200.
        samples: Of each, for ranges; a range of 300 s holds them all.
        repeats: Instants for a figure, many times over.
        memory: Series of the memory figure; a multiple of 10,000.
        rules: Of the rule set that is loaded; a hundredth and the tenfold stand beside a scrape.
        windows: Seconds: for which windows of one metric a scrape is timed.
        others: How many other series stand beside a scrape.
        alert_seconds: For how long alerts are held against promtool's.
        prometheus: Whether to compare at all.
        live_s: How long Prometheus evaluates rules, each time.
    """

    series: int = 10_000
    samples: int = 300
    repeats: int = 20
    memory: int = 1_000_000
    rules: int = 1_000
    windows: tuple[int, ...] = (60, 300, 3_600)
    others: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    alert_seconds: int = 12
    prometheus: bool = True
    live_s: float = 12.0


def series_of(metric: str, count: int) -> Shape:
    return tuple(series_text(metric, {"instance": f"host-{i}:9100", "job": "node"}) for i in range(count))


def bucket_series(metric: str, count: int) -> Shape:
    """Histograms of ten buckets, of ten jobs."""
    made = []
    for number in range(count // len(BUCKETS)):
        labels = {"instance": f"host-{number}:9100", "job": f"job-{number % 10}"}
        made += [series_text(metric, {**labels, "le": le}) for le in BUCKETS]
    return tuple(made)


def gauge_values(count: int, columns: int, seed: int = 1) -> list[Floats]:
    """Values that move a little, of which one in a hundred is over the line for good."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, LINE - 1, count)
    base[rng.choice(count, count // 100, replace=False)] = LINE + 0.5
    return [base + rng.uniform(0, 0.4, count) for _ in range(columns)]


def counter_values(count: int, columns: int) -> Floats:
    """Counters, shape (count, columns); some begin anew now and then."""
    rng = np.random.default_rng(3)
    steps = rng.integers(0, 20, (count, columns)).astype(np.float64)
    values = np.cumsum(steps, axis=1)
    for row in range(0, count, 50):
        at = int(rng.integers(1, columns))
        values[row, at:] -= values[row, at]
    return values


def histogram_values(count: int, columns: int) -> Floats:
    """Cumulative buckets as counters, shape (count, columns)."""
    rng = np.random.default_rng(4)
    seen = rng.integers(0, 5, (count // len(BUCKETS), len(BUCKETS), columns)).astype(np.float64)
    found: Floats = seen.cumsum(axis=1).cumsum(axis=2).reshape(count, columns)
    return found


def five_labels(metric: str, numbers: range) -> Shape:
    return tuple(
        f'{metric}{{dc="dc{i % 4}",instance="host-{i:07d}:9100",job="node",mode="user",service="trading"}}'
        for i in numbers
    )


class Watch:
    """A core that is fed a scrape a second, half a second after the instants of its rules."""

    def __init__(self, rules: Sequence[Rule] = (), exprs: Sequence[str] = (), *, for_ms: int = 300_000) -> None:
        made = tuple(
            GridRule(kind="alert", name=f"R{index}", plan=compile_query(expr), for_ms=for_ms)
            for index, expr in enumerate(exprs)
        )
        groups = [GridGroup(name="g", rules=made, interval_ms=1_000)] if made else []
        self.core = Core(rules, groups=groups, batch_samples_max=2_000_000, series_max=4_000_000)
        self.now_ms = START_MS

    def scrape(self, shape: Shape, values: Floats) -> None:
        self.core.feed([SampleBatch(self.now_ms - 500, shape, values, 1_000)])
        self.core.advance(self.now_ms)
        self.now_ms += 1_000

    def timed(self, shape: Shape, columns: Sequence[Floats], repeats: int) -> float:
        """Milliseconds for a scrape and what the rules make of it."""
        return timed_together([(self, shape, columns)], repeats)[0]


def timed_together(watched: Sequence[tuple[Watch, Shape, Sequence[Floats]]], repeats: int) -> list[float]:
    """Milliseconds for a scrape of each; they take turns, so that whatever disturbs one disturbs all."""
    best = [float("inf")] * len(watched)
    for _ in range(TURNS):
        for place, (watch, shape, columns) in enumerate(watched):
            for values in columns[-3:]:  # to have its arrays at hand again
                watch.scrape(shape, values)

            def work(watch: Watch = watch, shape: Shape = shape, columns: Sequence[Floats] = columns) -> None:
                for number in range(repeats):
                    watch.scrape(shape, columns[number % len(columns)])

            best[place] = min(best[place], best_of(work, repeats=2) / repeats * 1e3)
    return best


def continuous(exprs: Sequence[str]) -> Watch:
    return Watch([compile_rule(f"R{index}", expr, for_ms=300_000) for index, expr in enumerate(exprs)])


def grid(exprs: Sequence[str]) -> Watch:
    return Watch(exprs=exprs)


def thresholds(count: int) -> list[str]:
    return [f"g > {LINE + number / 100:g}" for number in range(count)]


def range_workloads(scale: Scale) -> Iterator[tuple[str, Shape, Floats]]:
    counters = counter_values(scale.series, scale.samples)
    yield RATE, series_of("c", scale.series), counters
    yield MEAN, series_of("c", scale.series), counters
    yield QUANTILE, bucket_series("b_bucket", scale.series), histogram_values(scale.series, scale.samples)


def fed(watch: Watch, shape: Shape, values: Floats) -> Watch:
    """The watch, once it has seen these values."""
    for column in np.ascontiguousarray(values.T):
        watch.scrape(shape, column)
    return watch
