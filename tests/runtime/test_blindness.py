"""When the engine could not see, the core hears of it before anything seen later (F60, F79, F90, F92, F109)."""

import asyncio
import random
from collections.abc import Callable

import pytest

from engine import Blind, Engine, Health, Sample
from engine.config import load_text
from engine.runtime.blindness import DROPS_OVER_AFTER_MS, LAG_S_MAX, Blindness
from engine.testing import START_MS, FunctionProbe, RecordingSink, VirtualClock, VirtualLoop, run_virtual
from tests.runtime.rig import health_of, shared

RULE = '[rule.Hot]\nexpr = "x > 5"\nfor = "5m"\n'
HOUR_MS = 3_600_000
TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS


def spans(events: list[object]) -> list[tuple[int, int, str, str]]:
    return [(e.from_ms, e.to_ms, e.scope, e.reason) for e in events if isinstance(e, Blind)]


# --- what was dropped ---------------------------------------------------------------------------------------------


def test_what_was_dropped_is_blind_from_the_first_stamp_to_the_last_in_its_place() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, capacity=2, policy="drop_newest")
        watch = Blindness(parts)
        for time_ms in (10, 20, 30, 40):
            parts.channel.put_nowait(Sample(time_ms, "x", 1.0))
        batch = await parts.channel.get_batch(99)
        complete = watch.complete(batch)
        assert spans([*complete]) == [(30, 41, "*", "dropped")]
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
        assert spans([*complete]) == [(10, 21, "*", "dropped")]
        assert [type(event) for event in complete] == [Blind, Sample, Sample]

    run_virtual(main)


def test_drops_that_follow_each_other_are_one_span_and_distant_ones_are_not() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, capacity=1, policy="drop_newest")
        watch, found = Blindness(parts), []
        for time_ms in (1_000, 5_000, 14_000, 14_002 + DROPS_OVER_AFTER_MS):
            parts.channel.put_nowait(Sample(time_ms - 1, "x", 1.0))
            parts.channel.put_nowait(Sample(time_ms, "x", 1.0))
            found += watch.complete(await parts.channel.get_batch(9))
        assert spans(found) == [
            (1_000, 1_001, "*", "dropped"),
            (1_001, 5_001, "*", "dropped"),
            (5_001, 14_001, "*", "dropped"),
            (24_002, 24_003, "*", "dropped"),
        ]

    run_virtual(main)


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
        assert [t.kind for t in sink.transitions] == ["pending", "firing"]
        pending, firing = sink.transitions
        assert firing.time_ms - pending.time_ms >= 10_000 + 5_000
        blind = spans([*sink.records])
        assert sum(to_ms - from_ms for from_ms, to_ms, _, _ in blind) == 5_001

    run_virtual(main)


# --- a held loop --------------------------------------------------------------------------------------------------


def test_a_held_loop_is_a_blind_span_f109() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        engine = Engine(load_text(RULE), clock=clock, sinks={"kept": sink}, rng=random.Random(1))
        engine.add_probe("p", FunctionProbe(lambda: Sample(clock.now_ms(), "x", 9.0, 1_000)), "1s")
        async with engine:
            await clock.sleep(10.5)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.stall(60)
            await clock.sleep(310)
        (span,) = spans([*sink.records])
        assert span[2:] == ("*", "loop_lag")
        assert span[1] - span[0] == pytest.approx(60_000, abs=1_001)
        pending, firing = sink.transitions
        assert firing.time_ms - pending.time_ms == 300_000 + (span[1] - span[0])

    run_virtual(main)


def test_a_turn_within_the_limit_is_measured_only() -> None:
    async def main(clock: VirtualClock) -> None:
        watch = Blindness(shared(clock))
        watch.note_turn(LAG_S_MAX)
        assert watch.complete([]) == []
        assert (watch.lag_s, watch.lag_s_max) == (LAG_S_MAX, LAG_S_MAX)

    run_virtual(main)


# --- the wall clock -----------------------------------------------------------------------------------------------


def watched(disturb: Callable[[VirtualClock], None], value: float = 9.0) -> tuple[RecordingSink, list[float]]:
    """An engine for a quarter of an hour of real time, disturbed after two minutes; and when it told, in seconds."""
    told_s: list[float] = []

    class Timed(RecordingSink):
        async def deliver(self, message_id: str, body: bytes) -> None:
            told_s.append(asyncio.get_running_loop().time())

    async def main(clock: VirtualClock) -> RecordingSink:
        sink = Timed()
        engine = Engine(load_text(RULE), clock=clock, sinks={"kept": sink}, rng=random.Random(1))

        def measure() -> Sample:
            return Sample(clock.now_ms(), "x", value if clock.monotonic() < 600 else 1.0, 1_000)

        engine.add_probe("p", FunctionProbe(measure), "1s")
        async with engine:
            await clock.sleep(120.5)
            disturb(clock)
            await clock.sleep(779.5)
        return sink

    return run_virtual(main), told_s


@pytest.mark.parametrize("by_ms", [HOUR_MS, TEN_YEARS_MS, -HOUR_MS, -START_MS], ids=["+1h", "+10y", "-1h", "to 1970"])
def test_a_stepped_wall_clock_creates_delays_and_loses_no_transition_f90(by_ms: int) -> None:
    undisturbed, before_s = watched(lambda clock: None)
    sink, told_s = watched(lambda clock: clock.step(by_ms))
    assert [t.kind for t in sink.transitions] == ["pending", "firing", "resolved"]
    assert told_s == pytest.approx(before_s, abs=0.002), "five real minutes, and at the same real instants"
    assert sum(isinstance(r, Sample) for r in sink.records) == sum(isinstance(r, Sample) for r in undisturbed.records)
    stamps = [r.time_ms for r in sink.records if isinstance(r, Sample)]
    assert stamps == sorted(set(stamps)), "no stamp twice"
    moved = max(by_ms, 0)
    assert [b[1] - b[0] for b in spans([*sink.records])] == ([moved] if moved else [])
    clock_told = [(r.status, r.reason) for r in sink.records if isinstance(r, Health) and r.component == "clock"]
    assert clock_told[0] == ("degraded", "stepped")
    assert ("ok", "recovered") in clock_told or not moved, "ahead of the wall clock it stays degraded"


def test_a_machine_that_slept_pauses_its_clocks_f92() -> None:
    _, before_s = watched(lambda clock: None)
    sink, told_s = watched(lambda clock: clock.suspend(8 * HOUR_MS))
    assert [t.kind for t in sink.transitions] == ["pending", "firing", "resolved"]
    assert told_s == pytest.approx(before_s, abs=0.002)
    assert [(to_ms - from_ms, why) for from_ms, to_ms, _, why in spans([*sink.records])] == [(8 * HOUR_MS, "suspend")]
    assert ("degraded", "suspended") in [(r.status, r.reason) for r in sink.records if isinstance(r, Health)]


def test_nothing_is_told_of_a_healthy_alert_f90() -> None:
    sink, told_s = watched(lambda clock: clock.step(HOUR_MS), value=1.0)
    assert (sink.transitions, told_s) == ([], [])


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
