"""The stepper alone enters the core, in slices, on time, and survives what happens there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from engine.events import Event, Health, Sample, SampleBatch, Transition
from engine.runtime.stepping import FREED_PER_STEP, Stepper, letting_go
from engine.runtime.supervisor import Shared
from engine.status import AlertStatus
from engine.testing import START_MS, VirtualClock, VirtualLoop, run_virtual
from tests.runtime.rig import FakeCore, shared


class Rig:
    def __init__(self, clock: VirtualClock, *, capacity: int = 1_000, own: SampleBatch | None = None) -> None:
        self.clock = clock
        self.parts: Shared = shared(clock, capacity=capacity)
        self.core = FakeCore()
        self.events: list[Event] = []
        self.transitions: list[Transition] = []
        self.own = own
        self.stepper = Stepper(
            self.core,
            self.parts,
            resolution_ms=1_000,
            slice_s=0.002,
            key_metrics=["m"],
            own=self.own_batch,
            deliver=self.deliver,
        )
        self.task = asyncio.ensure_future(self.stepper.run())

    def own_batch(self, now_ms: int) -> SampleBatch | None:
        batch, self.own = self.own, None
        return batch

    async def deliver(self, events: list[Event], transitions: list[Transition]) -> None:
        self.events += events
        self.transitions += transitions

    def put(self, value: float = 1.0) -> None:
        self.parts.channel.put_nowait(Sample(self.clock.now_ms(), "x", value))

    def health(self) -> list[tuple[str, str, str, int]]:
        return [(e.component, e.status, e.reason, e.count) for e in self.events if isinstance(e, Health)]


def run(check: Callable[[VirtualClock], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        await check(clock)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    run_virtual(main)


def test_an_event_is_judged_at_once_and_handed_on_with_its_transitions() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.3)
        rig.put(9.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.core.fed == rig.events
        assert [t.rule for t in rig.transitions] == ["Hot"]
        assert rig.core.advanced == [START_MS - 1, START_MS + 300]

    run(check)


def test_without_events_it_advances_at_each_multiple_of_the_resolution() -> None:
    async def check(clock: VirtualClock) -> None:
        await clock.sleep(0.123)
        rig = Rig(clock)
        await clock.sleep(3.5)
        assert rig.core.advanced == [START_MS + 122, START_MS + 1_000, START_MS + 2_000, START_MS + 3_000]
        assert rig.stepper.blindness.lag_s < 1e-6

    run(check)


def test_a_deadline_between_is_kept_to_the_millisecond() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.core.deadlines = [START_MS + 1_234, START_MS + 1_235, START_MS + 2_500]
        await clock.sleep(3)
        assert [t.time_ms - START_MS for t in rig.transitions] == [1_234, 1_235, 2_500]
        assert {START_MS + 1_234, START_MS + 1_235, START_MS + 2_500} <= set(rig.core.advanced)

    run(check)


def test_a_deadline_that_comes_while_a_step_is_under_way_is_not_waited_for_again() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        feeding, loop = rig.core.feeding, asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)

        def slow(*arguments: Any) -> Any:
            loop.stall(0.005)
            return feeding(*arguments)

        rig.core.feeding = slow  # type: ignore[method-assign]
        await clock.sleep(0.1)
        rig.core.deadlines = [START_MS + 103]
        rig.put()
        await clock.sleep(0.02)
        assert START_MS + 105 in rig.core.advanced  # the step began at 100 and took 5 ms
        assert START_MS + 106 not in rig.core.advanced
        assert [t.time_ms - START_MS for t in rig.transitions if t.rule == "Due"] == [103]

    run(check)


def test_a_deadline_that_is_never_consumed_does_not_hold_the_loop() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.core.deadlines = [10**15]
        rig.core.next_deadline = lambda: START_MS - 5  # type: ignore[method-assign]
        ticks = 0
        for _ in range(100):
            await clock.sleep(0.01)
            ticks += 1
        assert ticks == 100
        assert len(rig.core.advanced) <= 1_100

    run(check)


def test_long_steps_give_way_and_readers_see_the_last_version_f80() -> None:
    """The fake core yields 50 times; each look at the clock finds the slice used up."""

    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.stepper._slice_s = 0.0
        rig.core.chunks = 50
        rig.put()
        turns = 0
        while not rig.core.fed:
            await asyncio.sleep(0)
            turns += 1
            if rig.core.inside:
                assert rig.stepper.published().series == 0, "not the half-done state"
        assert turns >= 50
        await clock.sleep(0)
        await clock.sleep(0.1)
        assert rig.stepper.published().series == 1
        assert rig.stepper.published().gauges == {"m": 1.0}

    run(check)


def test_an_error_in_the_core_is_told_and_the_next_batch_is_judged() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.core.error = ZeroDivisionError("x")
        rig.put()
        await clock.sleep(0.5)
        rig.core.error = None
        rig.put(9.0)
        await clock.sleep(2)
        assert rig.stepper.errors >= 1
        assert ("core", "failed", "raised", 1) in rig.health()
        assert [t.rule for t in rig.transitions] == ["Hot"]

    run(check)


def test_the_cores_own_news_travels_the_road_but_not_without_end() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        for _ in range(300):
            rig.core.health = [Health(clock.now_ms(), "store", "degraded", "series_limit", "full", 5)]
            rig.put()
            await clock.sleep(1)
        told = [count for component, _, _, count in rig.health() if component == "store"]
        assert 4 <= len(told) <= 6
        assert sum(told) + 5 * 60 >= 5 * 300, "nothing goes uncounted but the last minute"
        assert any(isinstance(e, Health) and e.component == "store" for e in rig.core.fed), "rules can see it"

    run(check)


def test_dropped_samples_become_known_once_a_second_and_their_end_too_f60() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock, capacity=10)
        for _ in range(50):
            for _ in range(100):
                rig.put()
            await clock.sleep(0.1)
        told = [entry for entry in rig.health() if entry[0] == "channel"]
        assert 4 <= len(told) <= 6
        assert {entry[:3] for entry in told} == {("channel", "degraded", "full")}
        await clock.sleep(15)
        told = [entry for entry in rig.health() if entry[0] == "channel"]
        assert told[-1][:3] == ("channel", "ok", "recovered")
        dropped = rig.parts.channel.statistics().dropped["displaced"]
        assert sum(count for _, _, reason, count in told if reason == "full") == dropped == 50 * 90

    run(check)


def test_a_held_loop_is_measured_and_told_f79() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.5)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.stall(10)
        await clock.sleep(0.001)
        assert rig.stepper.blindness.lag_s_max == pytest.approx(9.75)
        await clock.sleep(3)
        assert ("loop", "degraded", "lag", 1) in rig.health()
        assert ("loop", "ok", "recovered", 1) in rig.health()

    run(check)


def test_own_metrics_are_fed_and_recorded() -> None:
    async def check(clock: VirtualClock) -> None:
        own = SampleBatch(clock.now_ms(), ("longwatch_x",), np.ones(1))
        rig = Rig(clock, own=own)
        await clock.sleep(1.5)
        assert rig.core.fed == [own]
        assert rig.events == [own]

    run(check)


def test_at_the_end_the_channel_is_drained_and_the_core_advanced_once_more() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.1)
        for _ in range(5):
            rig.put(9.0)
        rig.core.deadlines = [clock.now_ms()]
        rig.parts.channel.close()
        await rig.task
        assert len(rig.core.fed) == 5
        assert [t.rule for t in rig.transitions] == ["Hot"] * 5 + ["Due"]

    run(check)


def test_a_wall_clock_set_back_does_not_stop_the_advances_f90() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(5)
        clock.step(-3_600_000)
        await clock.sleep(60)
        assert len(rig.core.advanced) >= 60
        assert rig.core.advanced == sorted(rig.core.advanced)

    run(check)


def test_an_error_while_feeding_costs_neither_the_record_nor_the_advance() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.25)
        rig.core.error = ZeroDivisionError("x")
        rig.core.deadlines = [START_MS + 300]
        for _ in range(5):
            rig.put(9.0)
            await clock.sleep(0.1)
        assert len([e for e in rig.events if isinstance(e, Sample)]) == 5, "recorded, whatever the rules did"
        assert [t.rule for t in rig.transitions] == ["Due"], "what was due has happened"
        await clock.sleep(30)
        assert rig.stepper.errors >= 5
        assert [entry for entry in rig.health() if entry[0] == "core"] == [("core", "failed", "raised", 1)], (
            "not a storm"
        )

    run(check)


def test_an_atom_the_core_can_not_take_costs_nothing_but_itself() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.1)
        rig.put(9.0)
        rig.parts.channel.put_nowait(Sample(clock.now_ms(), "poison", 9.0))
        rig.put(9.0)
        await clock.sleep(0.5)
        assert [t.rule for t in rig.transitions if t.rule == "Hot"] == ["Hot"] * 3
        assert [e.series for e in rig.core.fed if isinstance(e, Sample)] == ["x", "x"]
        assert rig.stepper.errors == 1
        assert ("core", "failed", "raised", 1) in rig.health()

    run(check)


def test_an_error_in_reading_the_core_reaches_nobody_who_asks() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        rig.put()
        await clock.sleep(0.5)
        assert rig.stepper.published().series == 1
        rig.core.counters = rig.core.take_health = lambda: 1 / 0  # type: ignore[assignment, method-assign]
        rig.put(9.0)
        await clock.sleep(0.1)
        assert rig.stepper.published().series == 1, "the last version that could be read"
        assert [t.rule for t in rig.transitions] == ["Hot"]
        assert rig.stepper.errors >= 2

    run(check)


def test_the_core_is_read_once_for_each_version() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.5)
        read = 0

        def alerts(limit: int | None = None) -> list[AlertStatus]:
            nonlocal read
            read += 1
            return []

        rig.core.alerts = alerts  # type: ignore[method-assign]
        rig.put()
        await clock.sleep(0.1)
        for _ in range(10):
            rig.stepper.published()
        assert read == 1

    run(check)


def test_very_many_transitions_go_in_steps() -> None:
    made = [
        Transition(at, "R", {}, "inactive", "pending", "condition", 1.0, at) for at in range(3 * FREED_PER_STEP + 1)
    ]
    left = [len(made) for _ in letting_go(made)]
    assert left == [2 * FREED_PER_STEP + 1, FREED_PER_STEP + 1, 1]
