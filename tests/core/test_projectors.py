"""Built-in projectors: health and domain events as samples."""

import pytest

from engine.core.evaluator import Core
from engine.core.projectors import EVENT_TYPES_MAX, EventCounter, HealthProjector
from engine.core.rules import compile_rule
from engine.errors import StateError
from engine.events import Deployment, DomainEvent, Health, SampleBatch, TradeClosed

TRADE = TradeClosed(time_ms=5, symbol="X", pnl=1.0)
DEPLOYED = Deployment(time_ms=6, service="s", version="1")


def read(batch: SampleBatch | None) -> tuple[int, dict[str, float]]:
    assert batch is not None
    return batch.time_ms, dict(zip(batch.series, batch.values.tolist(), strict=True))


@pytest.mark.parametrize(("status", "up"), [("ok", 1.0), ("degraded", 0.0), ("failed", 0.0)])
def test_health_is_up_or_not(status: str, up: float) -> None:
    event = Health(7, "probe.health", status, "timeout")  # type: ignore[arg-type]
    assert read(HealthProjector().apply(event)) == (7, {'longwatch_component_up{component="probe.health"}': up})


def test_health_and_events_leave_each_other_alone() -> None:
    assert HealthProjector().apply(TRADE) is None
    assert EventCounter().apply(Health(7, "x", "ok", "r")) is None


def test_a_configured_counter_is_zero_from_the_start() -> None:
    counter = EventCounter(["trade_closed", "deployment"])
    assert [read(batch) for batch in counter.initial(3)] == [
        (3, {'longwatch_events_total{type="trade_closed"}': 0.0}),
        (3, {'longwatch_events_total{type="deployment"}': 0.0}),
    ]
    assert list(EventCounter().initial(3)) == []
    assert list(HealthProjector().initial(3)) == []


def test_events_are_counted_by_type() -> None:
    counter = EventCounter(["trade_closed"])
    assert [read(counter.apply(event)) for event in (TRADE, TRADE, DEPLOYED)] == [
        (5, {'longwatch_events_total{type="trade_closed"}': 1.0}),
        (5, {'longwatch_events_total{type="trade_closed"}': 2.0}),
        (6, {'longwatch_events_total{type="deployment"}': 1.0}),
    ]


def test_types_are_bounded() -> None:
    """F74."""
    counter = EventCounter(f"t{number}" for number in range(EVENT_TYPES_MAX))
    for expected in (1.0, 2.0):
        assert read(counter.apply(TRADE))[1] == {'longwatch_events_total{type="other"}': expected}
    assert read(counter.apply(DEPLOYED))[1] == {'longwatch_events_total{type="other"}': 3.0}


def test_counts_survive_a_restart() -> None:
    first, second = EventCounter(["deployment"]), EventCounter(["deployment"])
    first.apply(TRADE)
    second.restore(first.snapshot())
    assert read(second.apply(TRADE))[1] == {'longwatch_events_total{type="trade_closed"}': 2.0}
    assert second.snapshot() != first.snapshot()
    HealthProjector().restore(HealthProjector().snapshot())


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x81\xa1a\xa1b", b"\xc0"])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(StateError, match="not a snapshot"):
        EventCounter().restore(data)


def test_health_takes_no_snapshot_of_another() -> None:
    with pytest.raises(StateError, match="keeps nothing"):
        HealthProjector().restore(b"x")


def test_the_engine_can_alert_on_itself_and_on_events() -> None:
    core = Core(
        [
            compile_rule("ProbeDown", "longwatch_component_up == 0"),
            compile_rule("Trades", "longwatch_events_total > 1"),
        ],
        projectors=[HealthProjector(), EventCounter(["trade_closed"])],
    )
    failed, mended = Health(1_000, "probe.x", "failed", "timeout"), Health(2_000, "probe.x", "ok", "recovered")
    assert [(t.rule, t.kind, t.labels) for t in core.feed([failed])] == [
        ("ProbeDown", "firing", {"alertname": "ProbeDown", "component": "probe.x"})
    ]
    assert [(t.rule, t.kind) for t in core.feed([mended])] == [("ProbeDown", "resolved")]
    trades: list[DomainEvent] = [TradeClosed(time_ms=3_000 + n, symbol="X", pnl=1.0) for n in range(2)]
    assert [(t.rule, t.kind, t.time_ms, t.value) for t in core.feed(trades)] == [("Trades", "firing", 3_001, 2.0)]
    core.advance(3_001)
    assert core.latest("longwatch_events_total") == {'longwatch_events_total{type="trade_closed"}': 2.0}
    assert core.counters()["events_total"] == 4


def test_two_events_in_one_millisecond_are_both_counted() -> None:
    """The second sample has the time of the first and is dropped as old: the count must not fall behind for ever."""
    core = Core([], projectors=[EventCounter()])
    core.feed([TRADE, TRADE])
    core.feed([TradeClosed(time_ms=6, symbol="X", pnl=1.0)])
    core.advance(6)
    assert core.latest("longwatch_events_total") == {'longwatch_events_total{type="trade_closed"}': 3.0}


def test_a_batch_of_the_same_series_is_known_again() -> None:
    """Else the store would keep something of each event that there ever was."""
    health, counter = HealthProjector(), EventCounter(["deployment"])
    for projector, event in ((health, Health(1, "sink.a", "ok", "x")), (counter, DEPLOYED)):
        first, second = projector.apply(event), projector.apply(event)
        assert first is not None
        assert second is not None
        assert first.series is second.series
