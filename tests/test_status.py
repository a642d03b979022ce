"""The status of an engine: what is derived from its values."""

from engine.status import EngineStatus, ProbeStatus, SinkStatus, alert_counts


def test_the_status_is_that_of_the_worst_part() -> None:
    parts = {"name": "x", "pid": 1, "phase": "running", "started_ms": 0, "heartbeat_ms": 0}
    assert EngineStatus(**parts).status == "ok"  # type: ignore[arg-type]
    slow = SinkStatus("ops", "webhook", status="degraded")
    assert EngineStatus(**parts, sinks=(slow,)).status == "degraded"  # type: ignore[arg-type]
    dead = ProbeStatus("host", "host", 1_000, status="failed")
    assert EngineStatus(**parts, sinks=(slow,), probes=(dead,)).status == "failed"  # type: ignore[arg-type]


def test_alerts_are_counted_by_the_counters_and_never_below_what_is_listed() -> None:
    told = {'longwatch_alerts{state="firing"}': 300.0, 'longwatch_alerts{state="pending"}': 1.0}
    assert alert_counts([], {}) == (0, 0)
    assert alert_counts(["firing", "pending", "pending"], {}) == (1, 2)
    assert alert_counts(["firing"] * 200, told) == (300, 1)
    assert alert_counts(["pending"] * 3, told) == (300, 3)
    assert alert_counts(["firing"], dict.fromkeys(told)) == (1, 0)
