"""When the engine could not see, the core hears of it before anything seen later (F60, F71, F74, F79, F109)."""

import asyncio
import random

import pytest

from engine import Blind, Engine, Health, Sample
from engine.config import load_text
from engine.dropped import DROPPED_SCOPES_MAX
from engine.events import Event
from engine.runtime.blindness import DROPS_OVER_AFTER_MS, LAG_S_MIN, TURNS_EVERY_S, Blindness
from engine.runtime.downtime import Downtime
from engine.testing import START_MS, FunctionProbe, RecordingSink, VirtualClock, VirtualLoop, run_virtual
from tests.runtime.rig import health_of, shared

RULE = '[rule.Hot]\nexpr = "x > 5"\nfor = "5m"\n'


def spans(events: list[object]) -> list[tuple[int, int, str, str]]:
    return [(e.from_ms, e.to_ms, e.scope, e.reason) for e in events if isinstance(e, Blind)]


def virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


# --- what was dropped ---------------------------------------------------------------------------------------------


def test_what_was_dropped_is_blind_from_the_first_stamp_to_the_last_in_its_place() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, capacity=2, policy="drop_newest")
        watch = Blindness(parts)
        for time_ms in (10, 20, 30, 40):
            parts.channel.put_nowait(Sample(time_ms, "x", 1.0))
        batch = await parts.channel.get_batch(99)
        complete = watch.complete(batch)
        assert spans([*complete]) == [(30, 41, "x", "dropped")]
        assert [type(event) for event in complete] == [Sample, Sample, Blind], "older samples come before it"
        assert spans([*watch.complete([])]) == []

    run_virtual(main)


def test_displaced_samples_are_blind_before_those_that_took_their_place() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, capacity=2)
        watch = Blindness(parts)
        for time_ms in (10, 20, 30, 40):
            parts.channel.put_nowait(Sample(time_ms, "x", 1.0))
        complete = watch.complete(await parts.channel.get_batch(99))
        assert spans([*complete]) == [(10, 21, "x", "dropped")]
        assert [type(event) for event in complete] == [Blind, Sample, Sample]

    run_virtual(main)


def test_each_span_has_its_own_place() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, capacity=3, policy="drop_newest")
        watch = Blindness(parts)
        for time_ms in (10, 20, 30):
            parts.channel.put_nowait(Sample(time_ms, "kept", 1.0))
        for time_ms, series in ((31, "c"), (15, "a"), (21, "b"), (2, "d")):
            parts.channel.put_nowait(Sample(time_ms, series, 1.0))
        complete = watch.complete(await parts.channel.get_batch(99))
        order = [event.scope if isinstance(event, Blind) else event.time_ms for event in complete]
        assert order == ["d", 10, "a", 20, "b", 30, "c"]

    run_virtual(main)


def test_drops_that_follow_each_other_are_one_span_and_distant_ones_are_not() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, capacity=1, policy="drop_newest")
        watch, found = Blindness(parts), list[Event]()
        for time_ms in (1_000, 5_000, 14_000, 14_002 + DROPS_OVER_AFTER_MS):
            parts.channel.put_nowait(Sample(time_ms - 1, "x", 1.0))
            parts.channel.put_nowait(Sample(time_ms, "x", 1.0))
            found += watch.complete(await parts.channel.get_batch(9))
        assert spans([*found]) == [
            (1_000, 1_001, "x", "dropped"),
            (1_001, 5_001, "x", "dropped"),
            (5_001, 14_001, "x", "dropped"),
            (24_002, 24_003, "x", "dropped"),
        ]
        assert watch.seconds["dropped"] == 13.002

    run_virtual(main)


def dropping(drops: list[list[tuple[int, str]]]) -> list[tuple[int, int, str, str]]:
    """The spans of what is dropped in one drain after the other, as (stamp, series)."""

    async def main(clock: VirtualClock) -> list[Event]:
        parts = shared(clock, capacity=1, policy="drop_newest")
        watch, found = Blindness(parts), list[Event]()
        for drain in drops:
            parts.channel.put_nowait(Sample(drain[0][0] - 1, "kept", 1.0))
            for time_ms, series in drain:
                parts.channel.put_nowait(Sample(time_ms, series, 1.0))
            found += watch.complete(await parts.channel.get_batch(9))
        return found

    return spans([*run_virtual(main)])


def test_two_series_are_blind_each_in_its_own_time() -> None:
    assert dropping([[(100, "a"), (200, "b")], [(5_000, "b")], [(9_000, "a")]]) == [
        (100, 101, "a", "dropped"),
        (200, 201, "b", "dropped"),
        (201, 5_001, "b", "dropped"),
        (101, 9_001, "a", "dropped"),
    ]


def test_after_a_flood_of_everything_a_series_goes_on_from_there() -> None:
    flood = [(1_000 + n, f"s{n}") for n in range(DROPPED_SCOPES_MAX + 1)]
    assert dropping([flood, [(3_000, "s3")]]) == [
        (1_000, 1_017, "*", "dropped"),
        (1_017, 3_001, "s3", "dropped"),
    ]


def test_more_series_than_are_told_apart_within_ten_seconds_are_everything_f74() -> None:
    """However many label sets there are, a drain gives no more spans than are told apart."""
    found = dropping([[(1_000 * n, f"s{n}")] for n in range(1, 40)])
    assert all(scope == "*" or scope.startswith("s") for _, _, scope, _ in found)
    assert len(found) == 39
    found = dropping([[(1_000 + 10 * n, f"s{n}")] for n in range(40)])
    assert [scope for _, _, scope, _ in found[DROPPED_SCOPES_MAX:]] == ["*"] * 24
    assert found[DROPPED_SCOPES_MAX][0] == 1_000 + 10 * (DROPPED_SCOPES_MAX - 1) + 1, "on from the last drop"


def test_stamps_out_of_order_and_far_apart_make_no_span_that_runs_backwards_f71() -> None:
    found = dropping([[(50_000, "a"), (10, "a")], [(20, "a")], [(49_000, "b")]])
    assert all(from_ms < to_ms for from_ms, to_ms, _, _ in found)
    assert found[0] == (10, 50_001, "a", "dropped")


def test_dropped_healthy_samples_do_not_let_a_pending_alert_fire_early() -> None:
    """A full channel drops what says "recovered" for five seconds: they do not count towards `for`."""

    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        text = (
            '[engine]\nqueue_samples_max = 10\nqueue_policy = "drop_newest"\n[rule.Hot]\nexpr = "x > 5"\nfor = "10s"\n'
        )
        async with Engine(load_text(text), clock=clock, sinks={"kept": sink}, rng=random.Random(1)) as engine:
            await clock.sleep(1.3)
            for second in range(25):
                if 3 <= second <= 8:
                    for number in range(30):
                        engine.emit(Sample(clock.now_ms(), f"flood{number}", 1.0))
                    assert not engine.emit(Sample(clock.now_ms(), "x", 1.0, 5_000))
                else:
                    assert engine.emit(Sample(clock.now_ms(), "x", 9.0, 5_000))
                await clock.sleep(1)
        pending, firing = [t for t in sink.transitions if t.rule == "Hot"]
        assert (pending.kind, firing.kind) == ("pending", "firing")
        assert firing.time_ms - pending.time_ms >= 10_000 + 5_000
        assert [(to_ms - from_ms, scope) for from_ms, to_ms, scope, _ in spans([*sink.records])] == [(5_001, "*")]

    run_virtual(main)


# --- a held loop --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_s", [LAG_S_MIN, 1.5, 10.0, 60.0])
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.249, 0.25, 0.6])
def test_a_loop_that_is_held_for_a_second_is_blind_from_its_last_turn_f79(held_s: float, after_s: float) -> None:
    async def main(clock: VirtualClock) -> None:
        watch = Blindness(shared(clock))
        with watch.watching():
            await clock.sleep(after_s)
            begun_ms = clock.now_ms()
            virtual_loop().stall(held_s)
            await clock.sleep(0.001)
            ((from_ms, to_ms, scope, reason),) = spans([*watch.complete([])])
            assert (scope, reason) == ("*", "loop_lag")
            assert begun_ms - TURNS_EVERY_S * 1000 <= from_ms <= begun_ms
            assert to_ms == begun_ms + round(held_s * 1000)
            assert watch.complete([]) == []
            assert watch.lag_s_max == pytest.approx(held_s, abs=TURNS_EVERY_S)
            await clock.sleep(5)
            assert watch.complete([]) == []

    run_virtual(main)


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.249, 0.25, 0.6])
def test_what_holds_it_for_less_is_measured_only(after_s: float) -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock)
        watch = Blindness(parts)
        with watch.watching():
            for _ in range(20):
                await clock.sleep(after_s)
                virtual_loop().stall(LAG_S_MIN - TURNS_EVERY_S - 0.001)
                await clock.sleep(0.001)
                assert watch.complete([]) == []
            assert 0.4 < watch.lag_s_max < LAG_S_MIN - TURNS_EVERY_S
        assert await health_of(parts) == []

    run_virtual(main)


def test_the_core_hears_of_it_before_anything_that_came_after() -> None:
    """The step that was waiting in the loop's queue runs before the timer that looks at the loop."""

    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        async with Engine(load_text(RULE), clock=clock, sinks={"kept": sink}) as engine:
            await clock.sleep(10.1)
            engine.emit(Sample(clock.now_ms(), "x", 1.0))
            virtual_loop().stall(30)
            engine.emit(Sample(clock.now_ms(), "x", 9.0))
            await clock.sleep(1)
        kinds = [type(r).__name__ for r in sink.records if isinstance(r, Blind | Sample)]
        assert kinds == ["Sample", "Blind", "Sample"] or kinds == ["Blind", "Sample", "Sample"]
        (span,) = spans([*sink.records])
        assert span[1] == START_MS + 40_100

    run_virtual(main)


def test_a_loop_that_is_held_without_anybody_watching_is_not_this_parts_business() -> None:
    async def main(clock: VirtualClock) -> None:
        watch = Blindness(shared(clock))
        with watch.watching():
            await clock.sleep(1)
        virtual_loop().stall(60)
        assert watch.complete([]) == []
        with watch.watching():
            await clock.sleep(1)
        assert watch.complete([]) == []

    run_virtual(main)


# --- everything together ------------------------------------------------------------------------------------------


def test_it_counts_blind_seconds_whoever_found_them() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        async with Engine(load_text(RULE), clock=clock, sinks={"kept": sink}) as engine:
            await clock.sleep(10)
            zero = engine.status().counters
            now_ms = clock.now_ms()
            engine.emit(Blind(now_ms, now_ms - 4_000, now_ms - 1_000, "*", "maintenance"))
            engine.emit(Blind(now_ms, now_ms - 2_000, now_ms, "x", "maintenance"))
            clock.suspend(7_000)
            await clock.sleep(2)
            counters = engine.status().counters
        names = [name for name in zero if name.startswith("longwatch_blind_seconds_total")]
        assert len(names) == 6
        assert {zero[name] for name in names} == {0.0}, "they are there from the start"
        assert counters['longwatch_blind_seconds_total{reason="maintenance"}'] == 4.0, "each instant once"
        assert counters['longwatch_blind_seconds_total{reason="suspend"}'] == 7.0
        told = [(t.kind, t.rule) for t in sink.transitions]
        assert told == [("firing", "LongwatchBlind"), ("resolved", "LongwatchBlind")]

    run_virtual(main)


@pytest.mark.parametrize("asked_for", [True, False])
def test_time_away_is_blind_and_told_unless_it_was_asked_for(asked_for: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        away = Downtime(START_MS - 9_000, START_MS, 9_000, True, asked_for)
        watch = Blindness(shared(clock), downtime=away)
        assert spans([*watch.complete([])]) == [(START_MS - 9_000, START_MS, "*", "downtime")]
        assert watch.seconds["downtime"] == 9.0
        assert [t.kind for t in watch.transitions(START_MS)] == ([] if asked_for else ["firing"])
        assert watch.complete([]) == []

    run_virtual(main)


def test_a_clock_without_a_look_is_never_asked() -> None:
    class Plain:
        def now_ms(self) -> int:
            return 5

        def monotonic(self) -> float:
            return 5.0

    async def main(clock: VirtualClock) -> None:
        parts = shared(Plain())
        assert Blindness(parts).complete([]) == []
        assert await health_of(parts) == []

    run_virtual(main)


def test_the_alert_is_among_the_alerts_while_it_fires() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = Engine(load_text(RULE), clock=clock, sinks={"kept": RecordingSink()})
        engine.add_probe("p", FunctionProbe(lambda: Sample(clock.now_ms(), "x", 1.0, 1_000)), "1s")
        async with engine:
            await clock.sleep(10)
            before = engine.status()
            clock.suspend(3_600_000)
            await clock.sleep(3)
            during = engine.status()
            await clock.sleep(70)
            after = engine.status()
        assert (before.alerts, after.alerts) == ((), ())
        (alert,) = during.alerts
        assert (alert.rule, alert.state, alert.value) == ("LongwatchBlind", "firing", 3_600.0)
        assert during.counters['longwatch_alerts{state="firing"}'] == 1
        assert (after.counters["longwatch_transitions_total"], engine.alerts()) == (2.0, ())
        assert [health for health in during.probes if health.status != "ok"] == []

    run_virtual(main)


def test_health_of_a_loop_that_turns_again_is_told_once() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        async with Engine(load_text(RULE), clock=clock, sinks={"kept": sink}):
            await clock.sleep(10)
            virtual_loop().stall(5)
            await clock.sleep(10)
        told = [(r.status, r.reason, r.message) for r in sink.records if isinstance(r, Health)]
        assert told == [
            ("degraded", "lag", "the event loop was held for 5.0 s"),
            ("ok", "recovered", ""),
        ]

    run_virtual(main)
