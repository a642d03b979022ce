"""Domain and health events become series through projectors; no count is lost on the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.projectors import EventCounter, HealthProjector
from engine.core.rules import compile_rule
from engine.events import Health, TradeClosed

RULE = compile_rule("Third", 'longwatch_events_total{type="trade_closed"} >= 3')


def trade(time_ms: int) -> TradeClosed:
    return TradeClosed(time_ms=time_ms, symbol="X", pnl=1.0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_events_that_share_a_millisecond_or_come_late_are_all_counted(times: list[int]) -> None:
    core = Core([RULE], projectors=[EventCounter(["trade_closed"])])
    told = [t for time_ms in times for t in core.feed([trade(1_000 + time_ms)])]
    core.advance(2_000)
    assert core.latest("longwatch_events_total") == {'longwatch_events_total{type="trade_closed"}': float(len(times))}
    assert [t.kind for t in told] == (["firing"] if len(times) >= 3 else [])
    if len(times) >= 3:
        assert told[0].time_ms == 1_000 + max(times[:3])
    assert "samples_dropped_total_old" not in core.counters()


def test_a_configured_counter_exists_at_zero_from_the_first_event_on() -> None:
    none = compile_rule("None", 'longwatch_events_total{type="deployment"} == 0')
    core = Core([none], projectors=[EventCounter(["deployment"])])
    assert [t.kind for t in core.feed([trade(1_000)])] == ["firing"]


def test_the_last_word_about_a_component_counts() -> None:
    down = compile_rule("Down", "longwatch_component_up == 0")
    core = Core([down], projectors=[HealthProjector()])
    events = [Health(1_000, "sink.ops", "failed", "timeout"), Health(1_000, "sink.ops", "ok", "recovered")]
    assert [(t.kind, t.labels["component"]) for t in core.feed(events)] == [
        ("firing", "sink.ops"),
        ("resolved", "sink.ops"),
    ]
