"""Own metrics: named as documented, stable in shape."""

import re
from pathlib import Path

import numpy as np

from engine.runtime.metrics import OWN_INTERVAL_MS, Figures, OwnBatches, own_metrics
from engine.series import series_text, split_series
from engine.status import ChannelStatus, ProbeStatus, SinkStatus

PAGE = (Path(__file__).resolve().parents[2] / "docs/metrics.md").read_text(encoding="utf-8")


def figures() -> Figures:
    return Figures(
        channel=ChannelStatus(depth=3, capacity=10, peak=7, received=20, dropped={"full": 2}),
        probes=[ProbeStatus("p", "fake", 1_000, status="failed", ticks=5, failures_total=2, duration_ms=20.0)],
        sinks=[
            SinkStatus("s", "fake", queued=4, queue_max=9, written=8, retries=1, dropped=2, held=5, oldest_ms=1_000)
        ],
        alerts={"firing": 1, "pending": 4},
        refused={"p": {"value": 6}},
        lost={"s": {"queue_full": 2}},
        notices={"s": 3},
        core={"samples_accepted_total": 11, "series_evicted_total": 7, "samples_dropped_total_old": 3},
        emit_refused={"type": 1},
        plain={"longwatch_rules": 2},
        receivers={"s"},
        now_ms=3_500,
    )


def test_values() -> None:
    values = own_metrics(figures())
    assert values["longwatch_rules"] == 2
    assert values["longwatch_channel_depth_samples"] == 3
    assert values['longwatch_dropped_total{reason="full"}'] == 2
    assert values['longwatch_emit_refused_total{reason="type"}'] == 1
    assert values['longwatch_alerts{state="firing"}'] == 1
    assert values['longwatch_alerts{state="pending"}'] == 4
    assert values['longwatch_sink_notices_total{sink="s"}'] == 3
    assert values['longwatch_probe_up{probe="p"}'] == 0
    assert values['longwatch_probe_collect_seconds{probe="p"}'] == 0.02
    assert values['longwatch_probe_refused_total{probe="p",reason="value"}'] == 6
    assert values['longwatch_sink_up{sink="s"}'] == 1
    assert values['longwatch_sink_dropped_total{reason="queue_full",sink="s"}'] == 2
    assert values['longwatch_outbox_held{sink="s"}'] == 5
    assert values['longwatch_outbox_oldest_seconds{sink="s"}'] == 2.5
    assert values["longwatch_samples_accepted_total"] == 11
    assert values["longwatch_series_evicted_total"] == 7
    assert values["longwatch_samples_late_total"] == 0, "counters exist from the start"
    assert values['longwatch_samples_dropped_total{reason="old"}'] == 3
    assert all(type(value) is float for value in values.values())


def test_series_are_canonical_and_labels_documented() -> None:
    for series in own_metrics(figures()):
        name, labels = split_series(series)
        assert series_text(name, labels) == series
        row = re.search(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        assert row, f"{name} is not in docs/metrics.md"
        assert all(f"`{label}`" in row.group() for label in labels), f"{name}: a label is not documented"


def test_the_series_tuple_is_the_same_object_while_the_shape_is() -> None:
    batches = OwnBatches()
    values = own_metrics(figures())
    first, second = batches.batch(1, values), batches.batch(2, values)
    assert first.series is second.series
    assert first.interval_ms == OWN_INTERVAL_MS
    assert first.values.dtype == np.float64
    third = batches.batch(3, values | {"longwatch_new": 1.0})
    assert len(third.series) == len(values) + 1
