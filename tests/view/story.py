"""One engine at one instant, with something of everything, for the tests of the view."""

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from engine.status import AlertStatus, ChannelStatus, EngineStatus, ProbeStatus, SinkStatus
from engine.view.panels import Scene

NOW_MS = 1_700_000_000_000  # 2023-11-14 23:13:20 in Berlin
MINUTE_MS = 60_000


def alert(rule: str = "HighCpu", **changes: Any) -> AlertStatus:
    """A firing alert; `changes` make another of it."""
    fields: dict[str, Any] = {
        "rule": rule,
        "labels": {"alertname": rule, "instance": "a"},
        "state": "firing",
        "active_since_ms": NOW_MS - 17 * MINUTE_MS,
        "elapsed_ms": 12 * MINUTE_MS,
        "for_ms": 5 * MINUTE_MS,
        "value": 93.12,
    }
    return AlertStatus(**(fields | changes))


def pending(rule: str = "DiskFull", **changes: Any) -> AlertStatus:
    """An alert that has been pending for 3m12s of 5m."""
    return alert(
        rule, **({"state": "pending", "elapsed_ms": 192_000, "value": 91.0, "due_ms": NOW_MS + 108_000} | changes)
    )


def status(**changes: Any) -> EngineStatus:
    """A running engine: one alert of each kind, one probe and one sink in each state."""
    return msgspec.structs.replace(_STORY, **changes)


def scene(**changes: Any) -> Scene:
    """What the view knows beside it."""
    return _SCENE._replace(**changes)


_STORY = EngineStatus(
    name="trade-1",
    pid=4711,
    phase="running",
    started_ms=NOW_MS - 123 * MINUTE_MS,
    heartbeat_ms=NOW_MS,
    lag_ms=0.42,
    series=341,
    rules=12,
    probes=(
        ProbeStatus("host", "host", 5_000, last_ms=NOW_MS - 2_000, duration_ms=12.3, ticks=400),
        ProbeStatus("health", "http", 30_000, status="failed", message="connection refused", failures=4),
        ProbeStatus(
            "slow",
            "http",
            30_000,
            status="degraded",
            message="took too long",
            last_ms=NOW_MS - 5 * MINUTE_MS,
            duration_ms=2_999,
        ),
    ),
    sinks=(
        SinkStatus("console", "console", queue_max=10_000),
        SinkStatus("history", "sqlite", queued=12, queue_max=10_000, written=99_999),
        SinkStatus("ops", "webhook", status="degraded", message="http_503", queued=3, queue_max=1_000, dropped=2),
    ),
    alerts=(
        pending(),
        pending("HealthDown", paused=True, elapsed_ms=MINUTE_MS, due_ms=0),
        alert(),
        alert("Swap", keeping=True, due_ms=NOW_MS + 2 * MINUTE_MS),
        alert("Lost", paused=True),
    ),
    channel=ChannelStatus(12, 100_000, 340, 10_000, {"full": 0, "old": 12}),
    gauges={
        "host_cpu_percent": 43.2,
        "host_memory_percent": 78.0,
        'host_disk_percent{mountpoint="/"}': 91.0,
        "host_load1": 1.23,
        'host_network_receive_bytes_total{device="eth0"}': 1.5 * 2**30,
        'probe_duration_seconds{probe="health"}': 0.0123,
    },
)
_SCENE = Scene(
    NOW_MS,
    ZoneInfo("Europe/Berlin"),
    ends_ms=NOW_MS + 21 * 60 * MINUTE_MS,
    targets={"host": "this host", "health": "http://127.0.0.1:8080"},
    files="/var/lib/longwatch",
    recent=(("14:12:01 FIRING HighCpu instance=a", "bad"), ("14:13:05 WARNING engine.sinks ops: http_503", "warn")),
)
