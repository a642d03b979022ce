"""Domain and health events become series through projectors; no count is lost on the way."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.projectors import EventCounter, HealthProjector
from engine.core.rules import compile_rule
from engine.events import DomainEvent, Health, Sample, SampleBatch, TradeClosed, Transition

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


def test_an_atom_that_breaks_a_projector_costs_only_itself() -> None:
    """A bug is told, and the watch goes on with the next atom; without somebody to tell, it is raised."""

    class Broken(EventCounter):
        def apply(self, event: DomainEvent | Health) -> SampleBatch | None:
            if event.time_ms == 1_001:
                raise ZeroDivisionError
            return super().apply(event)

    core = Core([RULE], projectors=[Broken()])
    errors: list[Exception] = []

    def feed() -> Generator[None, None, None]:
        made.extend((yield from core.feeding([trade(1_000), trade(1_001), trade(1_002), trade(1_003)], errors.append)))

    made: list[Transition] = []
    for _ in feed():
        pass
    assert [t.kind for t in made] == ["firing"]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert core.counters()["atoms_failed_total"] == 1
    with pytest.raises(ZeroDivisionError):
        Core([RULE], projectors=[Broken()]).feed([trade(1_001)])


def test_the_first_of_many_alerts_are_listed_and_all_are_counted() -> None:
    core = Core([compile_rule("A", "a > 0", for_ms=5_000), compile_rule("B", "b > 0")])
    core.feed([Sample(1_000 + i, f'a{{i="{i}"}}', 1.0) for i in range(50)])
    core.feed([Sample(2_000 + i, f'b{{i="{i}"}}', 1.0) for i in range(50)])
    core.advance(3_000)
    listed = core.alerts(limit=60)
    assert [(s.rule, s.labels["i"]) for s in listed] == [
        *(("B", str(i)) for i in range(50)),
        *(("A", str(i)) for i in range(10)),
    ]
    assert core.alert_counts() == {"pending": 50, "firing": 50}
    assert len(core.alerts()) == 100


@pytest.mark.parametrize(
    "expr", ['longwatch_events_total{type="trade_closed"} >= 3', "sum(longwatch_events_total) >= 3"]
)
def test_that_no_event_comes_is_known_so_a_count_does_not_age(expr: str) -> None:
    """An alert on a count goes on for as long as the count is what it is; it is neither unknown nor lost."""
    core = Core([compile_rule("Third", expr)], projectors=[EventCounter(["trade_closed"])])
    assert [t.kind for t in core.feed([trade(1_000), trade(1_001), trade(1_002)])] == ["firing"]
    week_ms = 7 * 86_400_000
    assert core.advance(week_ms) == []
    (alert,) = core.alerts()
    assert (alert.state, alert.paused) == ("firing", False)
    assert core.latest("longwatch_events_total") == {'longwatch_events_total{type="trade_closed"}': 3.0}
