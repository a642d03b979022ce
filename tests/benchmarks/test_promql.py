"""The PromQL benchmark runs whole, small; no figure of it is asserted."""

import math

import pytest

from benchmarks import prometheus
from benchmarks.harness import Row
from benchmarks.promql import Scale, run

SMALL = Scale(
    series=200,
    samples=300,
    repeats=1,
    memory=10_000,
    rules=20,
    windows=(10, 40),
    others=(100, 1_000),
    alert_seconds=6,
    prometheus=False,
    live_s=2.0,
)


def figures(rows: list[Row]) -> dict[str, float]:
    assert all(math.isfinite(row.value) and row.value > 0 for row in rows), rows
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row.value for row in rows}


def test_every_row_of_the_table_is_there_without_prometheus() -> None:
    rows = figures(run(SMALL))
    assert sum(name.startswith("longwatch: ") for name in rows) == 7
    assert not any("prometheus" in name for name in rows)
    for part in (
        "g / h",
        " and h",
        " unless h",
        "rate over",
        "rules on other",
        "SampleBatch of",
        "memory of",
        "load and",
    ):
        assert any(part in name for name in rows), part


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not prometheus.installed(), reason="prometheus and promtool are not on the path")
def test_answers_and_alerts_are_those_of_prometheus() -> None:
    """`run` raises where they are not."""
    rows = figures(run(SMALL._replace(prometheus=True)))
    assert sum(name.startswith("prometheus / longwatch: ") for name in rows) == 7
