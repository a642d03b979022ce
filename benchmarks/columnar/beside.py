"""Debian's Prometheus and promtool beside ours: answers are held against each other, and then theirs are timed."""

import time

import numpy as np

from benchmarks import prometheus
from benchmarks.columnar.workloads import (
    LINE,
    MEAN,
    RANGES,
    START_MS,
    Scale,
    Watch,
    fed,
    gauge_values,
    grid,
    range_workloads,
    series_of,
    thresholds,
)
from benchmarks.harness import Row
from benchmarks.prometheus import Prometheus
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Vector
from engine.core.rules import compile_rule
from engine.events import SampleBatch
from engine.series import series_text


def beside_prometheus(scale: Scale, ours: dict[str, float]) -> list[Row]:
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
    shape, columns = series_of("g", count), gauge_values(count, scale.alert_seconds, seed=5)
    for values in columns:  # and some that come and go
        values[rng.choice(count, count // 50, replace=False)] = LINE + 0.7
    expr, hold_s = f"g > {LINE:g}", 3
    for rules, exprs in (([compile_rule("R0", expr, for_ms=hold_s * 1_000)], ()), ((), (expr,))):
        core, states = Watch(rules, exprs, for_ms=hold_s * 1_000).core, dict[str, str]()
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
    gauge = gauge_values(scale.series, 10)
    at = now_ms - 500 + 1_000 * np.arange(-10, ahead)
    tiled = np.stack([gauge[number % 10] for number in range(len(at))], axis=1)
    server.write(series_of("g", scale.series), at, tiled)
    made: dict[str, float] = {}
    times = [now_ms + 1_000 * number for number in range(scale.repeats)]
    for count in (1, 10):
        spent = [[server.query(expr, time_ms)[1] for time_ms in times] for expr in thresholds(count)]
        made[f"{count} threshold rules"] = sum(map(min, spent))
    watch = grid(thresholds(1))
    watch.scrape(series_of("g", scale.series), tiled[:, 10])
    _hold_equal(watch, thresholds(1)[0], server.query(thresholds(1)[0], now_ms)[0])

    groups = {f"{count} threshold rules": thresholds(count) for count in (1, 10)}
    for name, spent_ms in server.rules(groups, scale.live_s).items():
        made[name] = min(made[name], spent_ms)
    for query, shape, values in range_workloads(scale):
        if query != MEAN:  # which reads what is there already
            server.write(shape, now_ms - 500 - 1_000 * np.arange(scale.samples)[::-1], values)
        _hold_equal(fed(grid([query]), shape, values), query, server.query(query, now_ms)[0])
        made[query] = min(server.query(RANGES[query], now_ms)[1] for _ in range(scale.repeats))
    return made


def _hold_equal(watch: Watch, query: str, theirs: dict[prometheus.Labels, float]) -> None:
    """Raises `RuntimeError` if an answer is not the same."""
    value = watch.core.query(compile_query(query), watch.now_ms - 1_000)
    assert isinstance(value, Vector)
    ours = {tuple(sorted(labels.items())): number for labels, number in value.items()}
    wrong = [labels for labels in ours if not np.isclose(ours[labels], theirs.get(labels, np.nan), 1e-9, 0, True)]
    if wrong or len(ours) != len(theirs) or not ours:
        raise RuntimeError(f"{query}: {len(ours)} results, Prometheus has {len(theirs)}; unequal: {wrong[:3]}")
