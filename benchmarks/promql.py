"""PromQL over columns, beside Debian's Prometheus where it is installed: the same series, in one run.

Ours is a scrape of every series fed and the rules evaluated, in both modes; Prometheus' figure is its evaluation
alone, the faster of a query and a rule, with a lookback of ten seconds. Before anything is timed the results are
held against each other, and the states of alerts against promtool's. Without Prometheus these rows are left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from gzip import open as gzip_open
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks import prometheus
from benchmarks.harness import Row, best_of
from benchmarks.prometheus import Prometheus
from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Vector
from engine.core.rules import Rule, compile_rule
from engine.events import SampleBatch
from engine.rulefiles.compile import compiler, grid_groups
from engine.rulefiles.read import read_rule_file
from engine.series import series_text

Floats = NDArray[np.float64]
Shape = tuple[str, ...]

START_MS = 1_700_000_000_000
SHARED_RULES = Path(__file__).parents[2] / "shared" / "data" / "rules" / "eval_cases.jsonl.gz"
LINE = 99.0
BUCKETS = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "+Inf")
MEMORY_BATCH = 10_000
TURNS = 8


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


FULL = Scale()


def run(scale: Scale = FULL) -> list[Row]:
    """Measure, and return the figures."""
    ours = _ours(scale)
    rows = [Row(f"longwatch: {name}", value, "ms") for name, value in ours.items()]
    rows += _beside_prometheus(scale, ours) if scale.prometheus else []
    rows += _joins(scale)
    rows += _range_joins(scale)
    rows += _windows(scale)
    rows += _other_rules(scale)
    rows += _other_series(scale)
    rows += [_memory("continuous", scale), _memory("grid", scale)]
    rows.append(_load(scale))
    return rows


# -- series ------------------------------------------------------------------------------------------------------


def _series(metric: str, count: int) -> Shape:
    return tuple(series_text(metric, {"instance": f"host-{i}:9100", "job": "node"}) for i in range(count))


def _buckets(metric: str, count: int) -> Shape:
    """Histograms of ten buckets, of ten jobs."""
    made = []
    for number in range(count // len(BUCKETS)):
        labels = {"instance": f"host-{number}:9100", "job": f"job-{number % 10}"}
        made += [series_text(metric, {**labels, "le": le}) for le in BUCKETS]
    return tuple(made)


def _gauge(count: int, columns: int, seed: int = 1) -> list[Floats]:
    """Values that move a little, of which one in a hundred is over the line for good."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, LINE - 1, count)
    base[rng.choice(count, count // 100, replace=False)] = LINE + 0.5
    return [base + rng.uniform(0, 0.4, count) for _ in range(columns)]


def _counters(count: int, columns: int) -> Floats:
    """Counters, shape (count, columns); some begin anew now and then."""
    rng = np.random.default_rng(3)
    steps = rng.integers(0, 20, (count, columns)).astype(np.float64)
    values = np.cumsum(steps, axis=1)
    for row in range(0, count, 50):
        at = int(rng.integers(1, columns))
        values[row, at:] -= values[row, at]
    return values


def _histograms(count: int, columns: int) -> Floats:
    """Cumulative buckets as counters, shape (count, columns)."""
    rng = np.random.default_rng(4)
    seen = rng.integers(0, 5, (count // len(BUCKETS), len(BUCKETS), columns)).astype(np.float64)
    found: Floats = seen.cumsum(axis=1).cumsum(axis=2).reshape(count, columns)
    return found


# -- ours --------------------------------------------------------------------------------------------------------


class _Watch:
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
        return _together([(self, shape, columns)], repeats)[0]


def _together(watched: Sequence[tuple[_Watch, Shape, Sequence[Floats]]], repeats: int) -> list[float]:
    """Milliseconds for a scrape of each; they take turns, so that whatever disturbs one disturbs all."""
    best = [float("inf")] * len(watched)
    for _ in range(TURNS):
        for place, (watch, shape, columns) in enumerate(watched):
            for values in columns[-3:]:  # to have its arrays at hand again
                watch.scrape(shape, values)

            def work(watch: _Watch = watch, shape: Shape = shape, columns: Sequence[Floats] = columns) -> None:
                for number in range(repeats):
                    watch.scrape(shape, columns[number % len(columns)])

            best[place] = min(best[place], best_of(work, repeats=2) / repeats * 1e3)
    return best


def _continuous(exprs: Sequence[str]) -> _Watch:
    return _Watch([compile_rule(f"R{index}", expr, for_ms=300_000) for index, expr in enumerate(exprs)])


def _grid(exprs: Sequence[str]) -> _Watch:
    return _Watch(exprs=exprs)


def _thresholds(count: int) -> list[str]:
    return [f"g > {LINE + number / 100:g}" for number in range(count)]


RATE, MEAN = "rate(c[5m])", "avg_over_time(c[5m])"
QUANTILE = "histogram_quantile(0.95, sum by (le,job) (rate(b_bucket[5m])))"
# Lines that nothing is over: what is timed is the evaluation, and an alert more or less is another row.
RANGES = {RATE: f"{RATE} > 1e6", MEAN: f"{MEAN} > 1e6", QUANTILE: f"{QUANTILE} > 1e6"}


def _ours(scale: Scale) -> dict[str, float]:
    shape, columns = _series("g", scale.series), _gauge(scale.series, 10)
    made: dict[str, float] = {}
    for count in (1, 10):
        exprs = _thresholds(count)
        made[f"{count} threshold rules, continuous"] = _continuous(exprs).timed(shape, columns, scale.repeats)
        made[f"{count} threshold rules, grid"] = _grid(exprs).timed(shape, columns, scale.repeats)
    for query, shape, values in _ranges(scale):
        watch = _grid([RANGES[query]])
        made[query] = _after(watch, shape, values).timed(shape, [values[:, -1]], scale.repeats)
    return made


def _ranges(scale: Scale) -> Iterator[tuple[str, Shape, Floats]]:
    counters = _counters(scale.series, scale.samples)
    yield RATE, _series("c", scale.series), counters
    yield MEAN, _series("c", scale.series), counters
    yield QUANTILE, _buckets("b_bucket", scale.series), _histograms(scale.series, scale.samples)


def _after(watch: _Watch, shape: Shape, values: Floats) -> _Watch:
    """The watch, once it has seen these values."""
    for column in np.ascontiguousarray(values.T):
        watch.scrape(shape, column)
    return watch


# -- Prometheus --------------------------------------------------------------------------------------------------


def _beside_prometheus(scale: Scale, ours: dict[str, float]) -> list[Row]:
    if not prometheus.installed():
        return [Row("beside Prometheus: left out, prometheus and promtool are not on the path", 0, "")]
    _hold_transitions(scale)
    with prometheus.running() as server:
        theirs = _theirs(scale, server)
    rows = [Row(f"prometheus: {name}", value, "ms") for name, value in theirs.items()]
    for count in (1, 10):
        for mode in ("continuous", "grid"):
            name = f"{count} threshold rules, {mode}"
            ratio = theirs[f"{count} threshold rules"] / ours[name]
            rows.append(Row(f"prometheus / longwatch: {name}", ratio, "x", limit=100, better="higher"))
    for query in RANGES:
        ratio = theirs[query] / ours[query]
        rows.append(Row(f"prometheus / longwatch: {query}", ratio, "x", limit=50, better="higher"))
    return rows


def _hold_transitions(scale: Scale) -> None:
    """States of alerts, second by second, in both modes as promtool has them.

    Raises:
        RuntimeError: They differ.
    """
    rng = np.random.default_rng(5)
    count = scale.series // 4  # promtool holds no more than 10,000 samples in a query
    shape, columns = _series("g", count), _gauge(count, scale.alert_seconds, seed=5)
    for values in columns:  # and some that come and go
        values[rng.choice(count, count // 50, replace=False)] = LINE + 0.7
    expr, hold_s = f"g > {LINE:g}", 3
    for rules, exprs in (([compile_rule("R0", expr, for_ms=hold_s * 1_000)], ()), ((), (expr,))):
        core, states = _Watch(rules, exprs, for_ms=hold_s * 1_000).core, dict[str, str]()
        expected = []
        for second, values in enumerate(columns):
            now_ms = START_MS + second * 1_000
            made = core.feed([SampleBatch(now_ms, shape, values, 1_000)]) + core.advance(now_ms)
            for change in made:
                labels = {name: text for name, text in change.labels.items() if name != "alertname"}
                states[series_text("g", labels)] = change.after
            expected.append({text: state for text, state in states.items() if state != "inactive"})
        if wrong := prometheus.alert_states(expr, hold_s, shape, columns, expected):
            raise RuntimeError(f"alerts are not those of promtool:\n{wrong}")


def _theirs(scale: Scale, server: Prometheus) -> dict[str, float]:
    """Milliseconds of evaluation in Prometheus, once its answers were found to be ours."""
    now_ms = int(time.time()) * 1_000
    ahead = int(2 * scale.live_s) + 60
    gauge = _gauge(scale.series, 10)
    at = now_ms - 500 + 1_000 * np.arange(-10, ahead)
    tiled = np.stack([gauge[number % 10] for number in range(len(at))], axis=1)
    server.write(_series("g", scale.series), at, tiled)
    made: dict[str, float] = {}
    times = [now_ms + 1_000 * number for number in range(scale.repeats)]
    for count in (1, 10):
        spent = [[server.query(expr, time_ms)[1] for time_ms in times] for expr in _thresholds(count)]
        made[f"{count} threshold rules"] = sum(map(min, spent))
    watch = _grid(_thresholds(1))
    watch.scrape(_series("g", scale.series), tiled[:, 10])
    _hold_equal(watch, _thresholds(1)[0], server.query(_thresholds(1)[0], now_ms)[0])

    groups = {f"{count} threshold rules": _thresholds(count) for count in (1, 10)}
    for name, spent_ms in server.rules(groups, scale.live_s).items():
        made[name] = min(made[name], spent_ms)
    for query, shape, values in _ranges(scale):
        if query != MEAN:  # which reads what is there already
            server.write(shape, now_ms - 500 - 1_000 * np.arange(scale.samples)[::-1], values)
        _hold_equal(_after(_grid([query]), shape, values), query, server.query(query, now_ms)[0])
        made[query] = min(server.query(RANGES[query], now_ms)[1] for _ in range(scale.repeats))
    return made


def _hold_equal(watch: _Watch, query: str, theirs: dict[prometheus.Labels, float]) -> None:
    """Raises `RuntimeError` if an answer is not the same."""
    value = watch.core.query(compile_query(query), watch.now_ms - 1_000)
    assert isinstance(value, Vector)
    ours = {tuple(sorted(labels.items())): number for labels, number in value.items()}
    wrong = [labels for labels in ours if not np.isclose(ours[labels], theirs.get(labels, np.nan), 1e-9, 0, True)]
    if wrong or len(ours) != len(theirs) or not ours:
        raise RuntimeError(f"{query}: {len(ours)} results, Prometheus has {len(theirs)}; unequal: {wrong[:3]}")


# -- ratios of our own -------------------------------------------------------------------------------------------


def _joins(scale: Scale) -> list[Row]:
    """The bare row, and the same as a quotient or with a set operator: twice the series in a scrape."""
    one, other = _series("g", scale.series), _series("h", scale.series)
    columns = _gauge(scale.series, 10)
    both = [np.concatenate([values, np.where(np.arange(scale.series) % 2, values, 1.0)]) for values in columns]
    quotient = [np.concatenate([values, np.ones(scale.series)]) for values in columns]
    exprs = {
        f"g / h > {LINE:g}": quotient,
        f"g > {LINE:g} and h > {LINE:g}": both,
        f"g > {LINE:g} unless h > {LINE:g}": both,
    }
    rows = []
    for mode, make in (("continuous", _continuous), ("grid", _grid)):
        pair = one + other
        watched = [(make([f"g > {LINE:g}"]), one, columns)]
        watched += [(make([expr]), pair, given) for expr, given in exprs.items()]
        bare, *spent = _together(watched, scale.repeats)
        for expr, joined in zip(exprs, spent, strict=True):
            rows.append(Row(f"{expr} / bare, {mode}", joined / bare, "x", limit=3.0))
    return rows


def _range_joins(scale: Scale) -> list[Row]:
    """The same for ranges."""
    one, pair = _series("c", scale.series), _series("c", scale.series) + _series("d", scale.series)
    counters = _counters(scale.series, scale.samples)
    both = np.concatenate([counters, counters])
    watched = [(_after(_grid([f"{RATE} > 1e6"]), one, counters), one, [counters[:, -1]])]
    rests = "/ rate(d[5m]) > 1e6", "> 1e6 and rate(d[5m]) > 1", "> 1e6 unless rate(d[5m]) > 1"
    exprs = [f"{RATE} {rest}" for rest in rests]
    watched += [(_after(_grid([expr]), pair, both), pair, [both[:, -1]]) for expr in exprs]
    bare, *spent = _together(watched, scale.repeats)
    return [Row(f"{expr} / bare, grid", ms / bare, "x", limit=3.0) for expr, ms in zip(exprs, spent, strict=True)]


def _windows(scale: Scale) -> list[Row]:
    """A scrape of a fifth of the series, with windows of one length or another."""
    count = scale.series // 5
    shape, columns = _series("c", count), _gauge(count, 10)
    rows = []
    for function in ("rate", "avg_over_time", "max_over_time"):
        watches = [_grid([f"{function}(c[{window}s]) > 1e6"]) for window in scale.windows]
        for watch, window in zip(watches, scale.windows, strict=True):
            for number in range(window + 20):
                watch.scrape(shape, columns[number % 10])
        spent = _together([(watch, shape, columns) for watch in watches], 2 * scale.repeats)
        first, last = scale.windows[0], scale.windows[-1]
        ratio = max(spent) / min(spent)
        rows.append(Row(f"{function} over {first} s .. {last} s, most / least", ratio, "x", limit=1.5))
    return rows


def _other_rules(scale: Scale) -> list[Row]:
    shape, columns = _series("g", scale.series), _gauge(scale.series, 10)
    watched = []
    for count in (1, scale.rules // 10, scale.rules * 10):
        others = [compile_rule(f"Other{index}", f"metric_{index} > 1") for index in range(count)]
        watched.append((_Watch([compile_rule("R", f"g > {LINE:g}", for_ms=300_000), *others]), shape, columns))
    spent = _together(watched, scale.repeats)
    name = f"beside 1, {scale.rules // 10:,}, {scale.rules * 10:,} rules on other metrics, most / least"
    return [Row(name, max(spent) / min(spent), "x", limit=1.5)]


def _other_series(scale: Scale) -> list[Row]:
    """A tenth of a scrape, in a store of few and of many."""
    count = scale.series // 10
    shape, columns = _series("g", count), _gauge(count, 10)
    watched = []
    for others in scale.others:
        watch = _continuous([f"g > {LINE:g}"])
        for start in range(0, others, MEMORY_BATCH):
            part = _five_labels("other", range(start, min(start + MEMORY_BATCH, others)))
            watch.core.feed([SampleBatch(watch.now_ms - 500, part, np.zeros(len(part)), 15_000)])
        watched.append((watch, shape, columns))
    spent = _together(watched, 5 * scale.repeats)
    name = (
        f"SampleBatch of {count:,} beside {' .. '.join(f'{others:,}' for others in scale.others)} series, most / least"
    )
    return [Row(name, max(spent) / min(spent), "x", limit=1.5)]


def _five_labels(metric: str, numbers: range) -> Shape:
    return tuple(
        f'{metric}{{dc="dc{i % 4}",instance="host-{i:07d}:9100",job="node",mode="user",service="trading"}}'
        for i in numbers
    )


# -- memory and load ---------------------------------------------------------------------------------------------


def _memory(mode: str, scale: Scale) -> Row:
    """In a process of its own, the texts and whatever the allocator keeps included."""
    command = [sys.executable, "-m", "benchmarks.promql", mode, str(scale.memory)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    name = f"memory of {scale.memory:,} series of 5 labels, a threshold rule, {mode}, texts included"
    return Row(name, float(done.stdout), "bytes/series", limit=450)


def measure_memory(mode: str, count: int) -> float:
    """Bytes of resident memory a series, after three scrapes."""
    watch = (_continuous if mode == "continuous" else _grid)(["m > 99"])
    watch.core.feed([SampleBatch(START_MS - 1_000, ("one",), np.zeros(1))])  # what comes with the first sample
    process = psutil.Process()
    before = process.memory_info().rss
    shapes = []
    for start in range(0, count, MEMORY_BATCH):
        shapes.append(_five_labels("m", range(start, min(start + MEMORY_BATCH, count))))
        watch.core.feed([SampleBatch(watch.now_ms - 500, shapes[-1], np.zeros(len(shapes[-1])), 15_000)])
    for _ in range(2):
        watch.core.advance(watch.now_ms)
        watch.now_ms += 15_000
        for shape in shapes:
            watch.core.feed([SampleBatch(watch.now_ms - 500, shape, np.zeros(len(shape)), 15_000)])
    return (process.memory_info().rss - before) / count


def _load(scale: Scale) -> Row:
    """A rule file read, checked and compiled, templates included."""
    exprs = _real_exprs(scale.rules) or [f"sum by (job) (rate(m{i}_total[5m])) / 60 > {i}" for i in range(scale.rules)]
    rules = [
        {
            "alert": f"Rule{index}",
            "expr": expr,
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "{{ $labels.instance }} is at {{ $value | humanize }}"},
        }
        for index, expr in enumerate(exprs)
    ]
    with _written(json.dumps({"groups": [{"name": "g", "rules": rules}]})) as path:

        def work() -> None:
            compile_expr = compiler()
            file, problems = read_rule_file(path, compile_expr)
            if file is None:
                raise RuntimeError(f"the rules do not load: {problems[:3]}")
            grid_groups([file], default_interval_ms=15_000, compile_expr=compile_expr)

        return Row(f"load and compile {len(rules):,} rules", best_of(work, repeats=3), "s", limit=0.5)


def _real_exprs(count: int) -> list[str]:
    """Expressions of public rules, if they are there."""
    if not SHARED_RULES.exists():
        return []
    with gzip_open(SHARED_RULES, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["expr"] for line, _ in zip(lines, range(count), strict=False)]


@contextmanager
def _written(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="longwatch-rules-") as folder:
        path = Path(folder) / "rules.yml"
        path.write_text(text, encoding="utf-8")
        yield path


if __name__ == "__main__":
    print(measure_memory(sys.argv[1], int(sys.argv[2])))
