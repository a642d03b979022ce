"""What the view shows of metrics: never nothing while there is something that rules look at, and never all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine import Engine, SampleBatch
from engine.config import load, load_text
from engine.runtime.keyseries import FIRST, METRICS_MAX, SERIES_MAX, key_metrics
from engine.testing import FunctionProbe, VirtualClock, run_virtual


def test_what_rules_record_comes_before_what_they_read() -> None:
    config = load_text(
        '[rule.Slow]\nexpr = "http_latency_seconds > 1 and sum(rate(served_bucket[5m])) > 0"\n'
        '[rule.Own]\nexpr = "longwatch_threads > 10"\n'
        '[rule.rate]\nrecord = "shop:rate"\nexpr = "sum(rate(served_total[5m]))"\n'
    )
    assert key_metrics(config) == (*FIRST, "shop:rate", "up", "http_latency_seconds")


def test_rules_of_files_count_too(tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text(
        "groups:\n- name: g\n  rules:\n  - {record: 'job:served', expr: 'sum(served)'}\n"
        "  - {alert: Gone, expr: 'absent(orders_open)'}\n"
    )
    (tmp_path / "run.toml").write_text('[engine]\nrule_files = ["shop.yml"]\n')
    assert key_metrics(load(tmp_path / "run.toml")) == (*FIRST, "job:served", "up", "orders_open")


def test_there_is_an_end_of_them() -> None:
    names = key_metrics(load_text("".join(f'[rule.R{at}]\nexpr = "m{at} > 1"\n' for at in range(100))))
    assert len(names) == METRICS_MAX
    assert names[-1] == f"m{METRICS_MAX - len(FIRST) - 2}"


def test_a_metric_of_very_many_series_shows_some() -> None:
    async def main(clock: VirtualClock) -> dict[str, float]:
        shape = tuple(f'm{{i="{at}"}}' for at in range(5_000))
        engine = Engine(load_text('[rule.R]\nexpr = "m > 9e9"\n'), clock=clock)
        engine.add_probe("many", FunctionProbe(lambda: SampleBatch(clock.now_ms(), shape, np.arange(5_000.0))), "1s")
        async with engine:
            await clock.sleep(5)
            return engine.status().gauges

    gauges = run_virtual(main)
    assert len(gauges) == SERIES_MAX
    assert all(text.startswith('m{i="') for text in gauges)
