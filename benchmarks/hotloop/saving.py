"""Snapshot and restore of a core with many series and alerts."""

import gc
import time

import numpy as np

from benchmarks.harness import Row
from benchmarks.hotloop.workload import INTERVAL_MS, METRICS, START_MS
from engine.core.evaluator import Core
from engine.core.rules import Rule, compile_rule
from engine.events import SampleBatch

__all__ = ["saving_rows"]

SECONDS_MAX = 0.5


def saving_rows(*, quick: bool) -> list[Row]:
    """The part of the table about snapshots: a tenth of the series has an alert, half of those fire."""
    series, alerts, repeats = (10_000, 1_000, 1) if quick else (100_000, 10_000, 3)
    rules = [compile_rule(f"High{n}", f"metric_{n} > 80", for_ms=5_000) for n in range(METRICS)]
    core = _filled(rules, series, alerts)
    if sum(core.alert_counts().values()) != alerts or core.alert_counts()["firing"] != alerts // 2:
        raise AssertionError(f"not {alerts:,} alerts, half of them firing: {core.alert_counts()}")
    saving, restoring, data = float("inf"), float("inf"), b""
    for _ in range(repeats):
        gc.collect()
        began = time.perf_counter()
        data = core.snapshot()
        saving = min(saving, time.perf_counter() - began)
        fresh = Core(rules)
        gc.collect()
        began = time.perf_counter()
        fresh.restore(data)
        restoring = min(restoring, time.perf_counter() - began)
        if fresh.alert_counts() != core.alert_counts():
            raise AssertionError("what was restored is not what was saved")
    size = f"{series:,} series, {alerts:,} alerts"
    return [
        Row(f"snapshot of {size}", saving, "s", SECONDS_MAX, note=f"{len(data) / 1e6:.1f} MB"),
        Row(f"restore of {size}", restoring, "s", SECONDS_MAX),
    ]


def _filled(rules: list[Rule], series: int, alerts: int) -> Core:
    core = Core(rules)
    texts = [f'metric_{at % METRICS}{{instance="host-{at // METRICS:06}"}}' for at in range(series)]
    values = np.zeros(series)
    values[: alerts // 2] = 90.0
    for scrape in range(7):
        if scrape == 3:  # five seconds before the last scrape, and three
            values = values.copy()
            values[:alerts] = 90.0
        now_ms = START_MS + scrape * INTERVAL_MS
        for start in range(0, series, 10_000):
            core.feed([SampleBatch(now_ms, tuple(texts[start : start + 10_000]), values[start : start + 10_000])])
        core.advance(now_ms)
    return core
