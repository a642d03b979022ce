"""What runs side by side and in which order it stops: one deadline, no sibling hurt (M22, F100, F101, F111)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.errors import SinkError
from engine.events import Health, Sample
from engine.runtime.deciding import Policy
from engine.runtime.delivery import SinkRunner, SinkSpec
from engine.runtime.pipeline import Parts, Pipeline, deliver_to
from engine.runtime.recording import RECORDS_PER_TURN
from engine.runtime.stepping import Stepper
from engine.runtime.supervisor import ProbeRunner, ProbeSpec
from engine.runtime.threads import ThreadPool
from engine.testing import FunctionProbe, HangingProbe, RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import FakeCore, firing, keeper_of, shared


class Rig:
    def __init__(
        self, clock: VirtualClock, *, probes: dict[str, Any] | None = None, sinks: dict[str, Any] | None = None
    ) -> None:
        self.clock, self.core, self.sink = clock, FakeCore(), RecordingSink()
        common = shared(clock)
        built = {"good": FunctionProbe(lambda: Sample(clock.now_ms(), "x", 9.0)), **(probes or {})}
        kept = {"kept": self.sink, **(sinks or {})}
        keeper = keeper_of(common, list(kept))
        runners = [
            SinkRunner(SinkSpec(n, "fake", s), common, queue_records_max=1_000, keeper=keeper) for n, s in kept.items()
        ]
        stepper = Stepper(
            self.core,
            common,
            resolution_ms=1_000,
            slice_s=0.002,
            key_metrics=[],
            own=lambda now_ms: None,
            deliver=deliver_to(runners),
            record=keeper.record,
        )
        self.parts = Parts(
            shared=common,
            stepper=stepper,
            probes=[ProbeRunner(ProbeSpec(n, "fake", 1_000, 500, p), common) for n, p in built.items()],
            sinks=runners,
            keeper=keeper,
            policy=Policy(keeper, [runner.messages for runner in runners if runner.messages is not None], {}),
            status_file=None,
            pool=ThreadPool(2),
            shutdown_timeout_s=20.0,
        )
        self.pipeline = Pipeline(self.parts)
        self.task = asyncio.ensure_future(self.pipeline.run())

    async def stopped(self, limit_s: float) -> float:
        """Seconds until it has stopped."""
        begun = self.clock.monotonic()
        await asyncio.wait({self.task}, timeout=limit_s)
        assert self.task.done(), "it did not stop in time"
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return self.clock.monotonic() - begun


def run(check: Callable[[VirtualClock], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        await check(clock)

    run_virtual(main)


def test_it_runs_and_stops_with_nothing_lost_f100() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(10.5)
        assert rig.pipeline.phase == "running"
        rig.pipeline.request_stop()
        assert await rig.stopped(20) < 1
        assert rig.pipeline.phase == "stopped"
        measured = rig.parts.probes[0].status().ticks
        assert [type(r) for r in rig.sink.records].count(Sample) == measured == len(rig.core.fed)
        assert len(rig.sink.delivered) == measured
        assert (rig.sink.closed, rig.parts.probes[0].spec.probe.closed) == (1, 1)  # type: ignore[attr-defined]
        assert rig.parts.pool.threads == 0

    run(check)


def test_what_is_in_the_channel_at_the_stop_is_judged_and_recorded() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(0.01)
        for _ in range(50):
            rig.parts.shared.channel.put_nowait(Sample(clock.now_ms(), "y", 9.0))
        rig.core.deadlines = [clock.now_ms()]
        rig.pipeline.request_stop()
        await rig.stopped(20)
        assert len([e for e in rig.core.fed if isinstance(e, Sample) and e.series == "y"]) == 50
        assert len(rig.sink.transitions) == rig.parts.probes[0].status().ticks + 50 + 1
        assert not rig.parts.shared.channel.put_nowait(Sample(1, "z", 1.0))

    run(check)


def test_one_deadline_bounds_everything_that_hangs() -> None:
    """Probe, write, delivery and close all hang, one probe ignores its cancellation."""

    class Hopeless(RecordingSink):
        async def close(self) -> None:
            await asyncio.Event().wait()

    async def check(clock: VirtualClock) -> None:
        probes = {"mild": HangingProbe(), "stubborn": HangingProbe(stubborn=True)}
        rig = Rig(clock, probes=probes, sinks={"bad": Hopeless(hang=True)})
        await clock.sleep(5.2)
        rig.pipeline.request_stop()
        assert await rig.stopped(25) <= 20 + 2
        assert rig.pipeline.left_running == 0
        assert rig.sink.closed == 1
        assert len(rig.sink.delivered) == rig.parts.probes[0].status().ticks >= 5, "the other sink lost nothing"

    run(check)


def test_a_shorter_time_can_be_asked_for() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock, sinks={"bad": RecordingSink(hang=True)})
        await clock.sleep(1.2)
        rig.pipeline.request_stop(2.0)
        assert await rig.stopped(25) <= 3

    run(check)


def test_a_cancellation_stops_in_order_and_is_passed_on_f111() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        await clock.sleep(3.5)
        rig.task.cancel()
        await rig.stopped(20)
        assert rig.task.cancelled()
        assert len(rig.sink.delivered) == rig.parts.probes[0].status().ticks == len(rig.core.fed)
        assert rig.sink.closed == 1

    run(check)


def test_a_second_cancellation_stops_at_once_f101() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock, sinks={"bad": RecordingSink(hang=True)})
        await clock.sleep(3.2)
        rig.task.cancel()
        await clock.sleep(1)
        assert not rig.task.done()
        rig.task.cancel()
        assert await rig.stopped(20) <= 4
        assert rig.task.cancelled()
        assert rig.sink.closed == 1, "still closed: an open connection would keep the process"

    run(check)


@pytest.mark.parametrize("steps", range(12))
def test_a_stop_at_any_moment_of_the_start_leaves_nothing_f111(steps: int) -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        for _ in range(steps):
            await asyncio.sleep(0)
        rig.pipeline.request_stop()
        await rig.stopped(20)
        assert rig.sink.closed <= 1

    run(check)


@pytest.mark.parametrize("steps", range(12))
def test_a_cancellation_at_any_moment_of_the_start_leaves_nothing(steps: int) -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        for _ in range(steps):
            await asyncio.sleep(0)
        rig.task.cancel()
        await rig.stopped(20)
        assert rig.task.cancelled()

    run(check)


def test_a_component_that_crashes_is_told_and_started_again_and_no_other_notices_m22() -> None:
    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock)
        runs = 0

        async def crash() -> None:
            nonlocal runs
            runs += 1
            if runs < 3:
                raise ZeroDivisionError
            await asyncio.Event().wait()

        rig.parts.probes[0].run = crash  # type: ignore[method-assign]
        await clock.sleep(30)
        assert runs == 3
        told = [r for r in rig.sink.records if isinstance(r, Health)]
        assert [(h.component, h.reason) for h in told] == [("probe.good", "crashed")]
        assert len(rig.core.advanced) >= 30
        rig.pipeline.request_stop()
        await rig.stopped(20)

    run(check)


def test_what_is_not_told_before_the_stop_is_in_the_record_of_the_others() -> None:
    class Down(RecordingSink):
        WANTS = frozenset()

        async def deliver(self, message_id: str, body: bytes) -> None:
            raise SinkError("refused", "nobody there", retryable=True)

    async def check(clock: VirtualClock) -> None:
        rig = Rig(clock, sinks={"ops": Down(), "hung": Down(hang=True)})
        await clock.sleep(2.5)
        rig.pipeline.request_stop()
        await rig.stopped(25)
        lost = {
            (r.component, r.status)
            for r in rig.sink.records
            if isinstance(r, Health) and r.component == "sink.ops" and r.reason in {"shutdown", "refused"}
        }
        assert ("sink.ops", "failed") in lost
        dropped = {sink.spec.name: sum(sink.desk.dropped.values()) for sink in rig.parts.sinks}
        assert dropped["ops"] >= 1
        told = [r.count for r in rig.sink.records if isinstance(r, Health) and r.status == "failed"]
        assert sum(told) == dropped["ops"] + dropped["hung"], "every one of them"
        assert "shutdown" not in rig.parts.shared.channel.statistics().dropped

    run(check)


def test_a_storm_is_handed_on_in_turns_of_the_loop_f80() -> None:
    """Counted in work, not in time: how much is queued between two turns of the loop."""

    async def check(clock: VirtualClock) -> None:
        common = shared(clock)
        sinks = [RecordingSink() for _ in range(3)]
        keeper = keeper_of(common, [])
        runners = [
            SinkRunner(SinkSpec(f"s{n}", "fake", s), common, queue_records_max=50_000, keeper=keeper)
            for n, s in enumerate(sinks)
        ]
        storm = [firing("R", number) for number in range(10_000)]
        deliver = asyncio.ensure_future(deliver_to(runners)([], storm))
        most, before = 0, 0
        while not deliver.done():
            await asyncio.sleep(0)
            queued = sum(runner.status().queued for runner in runners)
            most, before = max(most, queued - before), queued
        assert before == 3 * 10_000
        assert most <= RECORDS_PER_TURN

    run(check)
