"""One probe kept running, whatever it does, and nobody else notices (F62 to F69)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from engine.errors import ProbeError
from engine.events import Event, Sample
from engine.ports import Probe
from engine.runtime.supervisor import REOPEN_AFTER_FAILURES, ProbeRunner, ProbeSpec, Shared
from engine.testing import FailingProbe, FunctionProbe, HangingProbe, ListProbe, VirtualClock, run_virtual
from tests.runtime.rig import OddSequence, health_of, shared, taken


def watch(
    probe: Any,
    seconds: float,
    check: Callable[[ProbeRunner, Shared, VirtualClock], Awaitable[None]],
    *,
    interval_ms: int = 1_000,
    timeout_ms: int = 1_000,
    **kwargs: Any,
) -> None:
    """Run a probe (or what makes one from a clock) for some virtual seconds, then check."""

    async def main(clock: VirtualClock) -> None:
        parts = shared(clock, **kwargs)
        built: Probe = probe(clock) if callable(probe) else probe
        runner = ProbeRunner(ProbeSpec("p", "fake", interval_ms, timeout_ms, built), parts)
        task = asyncio.ensure_future(runner.run())
        await clock.sleep(seconds)
        await check(runner, parts, clock)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await runner.close()
        await parts.containment.close(1)
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main)


def test_it_measures_on_its_grid_at_once_and_without_drift() -> None:
    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        times = [event.time_ms for event in await taken(parts)]
        assert times[0] == clock.now_ms() - 3_600_250
        steps = {b - a for a, b in pairwise(times[1:])}
        assert steps == {1_000}
        status = runner.status()
        assert (status.status, status.ticks, status.ticks_missed) == ("ok", len(times), 0)
        assert len(times) in {3_600, 3_601}

    watch(lambda clock: FunctionProbe(lambda: Sample(clock.now_ms(), "x", 1.0)), 3_600.25, check)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        asyncio.CancelledError(),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        MemoryError(),
        StopIteration(),
        ProbeError("refused", "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_probe_that_raises_is_told_counted_and_retried_f62_f63(error: BaseException) -> None:
    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        reason = "refused" if isinstance(error, ProbeError) else "raised"
        told = await health_of(parts)
        assert set(told) == {("probe.p", "failed", reason)}
        assert 4 <= len(told) <= 6, "once a minute at most"
        status = runner.status()
        assert (status.status, status.failures) == ("failed", status.failures_total)
        assert 8 <= status.failures <= 13, "with back-off, not each second"
        assert runner.spec.probe.closed >= 2  # type: ignore[attr-defined]

    watch(FailingProbe(error), 300, check)


def test_back_off_is_never_shorter_than_the_interval_nor_longer_than_a_minute() -> None:
    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert runner.status().failures >= 9, "each tick: the interval is longer than any back-off"

    watch(FailingProbe(ValueError()), 900, check, interval_ms=90_000)


def test_recovery_is_told() -> None:
    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        told = await health_of(parts)
        assert told == [*[("probe.p", "failed", "raised")] * 2, ("probe.p", "ok", "recovered")], "the second is counted"
        status = runner.status()
        assert (status.status, status.failures, status.failures_total) == ("ok", 0, 2)

    watch(FailingProbe(ValueError(), times=2), 20, check)


def test_after_some_failures_it_is_opened_anew() -> None:
    probe = FailingProbe(ValueError(), times=REOPEN_AFTER_FAILURES)

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert (probe.opened, probe.closed) == (2, 1)
        assert runner.status().status == "ok"

    watch(probe, 60, check)


def test_a_probe_that_cannot_open_is_retried() -> None:
    class Shut(ListProbe):
        async def open(self) -> None:
            await super().open()
            if self.opened < 3:
                raise ProbeError("locked", "not yet")

    probe = Shut([])

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert probe.opened == 3
        assert await health_of(parts) == [*[("probe.p", "failed", "locked")] * 2, ("probe.p", "ok", "recovered")]

    watch(probe, 30, check)


def test_a_hang_ends_at_its_time_out_and_is_retried_f64() -> None:
    def build(clock: VirtualClock) -> HangingProbe:
        return HangingProbe()

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert set(await health_of(parts)) == {("probe.p", "failed", "timeout")}
        assert runner.spec.probe.hanging <= 1  # type: ignore[attr-defined]
        assert runner.status().failures >= 5

    watch(build, 120, check, timeout_ms=500)


def test_a_probe_that_ignores_cancellation_is_left_behind_once_f66() -> None:
    made: list[HangingProbe] = []

    def build(clock: VirtualClock) -> HangingProbe:
        made.append(HangingProbe(stubborn=True))
        return made[0]

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        probe = made[0]
        assert (probe.hanging, probe.collected, parts.containment.abandoned) == (1, 1, 1)
        assert set(await health_of(parts)) == {("probe.p", "failed", "hung")}
        assert runner.status().ticks_missed > 200
        probe.release()
        await clock.sleep(3)
        assert runner.status().status == "ok"
        assert parts.containment.abandoned == 0
        assert ("probe.p", "ok", "recovered") in await health_of(parts)

    watch(build, 300, check)


def test_slow_probes_do_not_overlap_and_missed_ticks_are_counted_f69() -> None:
    class Slow(ListProbe):
        running = 0

        async def collect(self) -> Sequence[Event]:
            assert self.running == 0, "no overlap"
            self.running += 1
            await asyncio.get_running_loop().create_task(self.wait())
            self.running -= 1
            return await super().collect()

        async def wait(self) -> None:
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            loop.call_later(2.5, done.set_result, None)
            await done

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        status = runner.status()
        assert status.failures_total == 0
        assert status.ticks + status.ticks_missed == pytest.approx(300, abs=3)
        assert status.ticks == pytest.approx(100, abs=2)
        assert status.duration_ms == pytest.approx(2_500)

    watch(Slow([]), 300, check, timeout_ms=5_000)


@pytest.mark.parametrize("output", [None, 7, "text", {"a": 1}, ["x"] * 5, OddSequence(), [Sample(0, "x", None)]])  # type: ignore[arg-type]
def test_nonsense_is_a_failure_f68(output: Any) -> None:
    class Odd(ListProbe):
        async def collect(self) -> Any:
            return output

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert await health_of(parts) == [("probe.p", "failed", "bad_output")]
        assert runner.status().failures >= 3

    watch(Odd([]), 30, check)


def test_some_nonsense_among_good_events_is_dropped_counted_and_told() -> None:
    def build(clock: VirtualClock) -> FunctionProbe:
        return FunctionProbe(lambda: [Sample(clock.now_ms(), "x", 1.0), Sample(clock.now_ms(), "y", "1")])  # type: ignore[arg-type]

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        events = await taken(parts)
        assert {event.series for event in events if isinstance(event, Sample)} == {"x"}
        ticks = runner.status().ticks
        assert ticks >= 9
        assert runner.refused == {"value": ticks}
        assert runner.status().status == "degraded"
        assert runner.status().failures == 0
        assert "1 for value" in runner.status().message

    watch(build, 10, check)


@pytest.mark.parametrize(("value", "down"), [(0.0, True), (1.0, False)])
def test_that_the_target_is_down_is_said_of_a_probe_that_is_ok(value: float, down: bool) -> None:
    def build(clock: VirtualClock) -> FunctionProbe:
        return FunctionProbe(lambda: Sample(clock.now_ms(), 'probe_success{job="shop"}', value))

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert (runner.status().status, runner.status().target_down) == ("ok", down)

    watch(build, 3, check)


def test_under_block_a_full_channel_holds_the_probe_back() -> None:
    def build(clock: VirtualClock) -> FunctionProbe:
        return FunctionProbe(lambda: Sample(clock.now_ms(), "x", 1.0))

    async def check(runner: ProbeRunner, parts: Shared, clock: VirtualClock) -> None:
        assert len(await taken(parts)) == 3
        await clock.sleep(10)
        status = runner.status()
        assert status.ticks_missed > 15
        assert parts.channel.statistics().dropped == {}

    watch(build, 20, check, capacity=3, policy="block")


def test_two_probes_do_not_feel_each_other() -> None:
    async def main(clock: VirtualClock) -> None:
        parts = shared(clock)
        good = ProbeRunner(
            ProbeSpec("good", "fake", 1_000, 500, FunctionProbe(lambda: Sample(clock.now_ms(), "x", 1.0))), parts
        )
        bad = [
            ProbeRunner(ProbeSpec("a", "fake", 100, 100, FailingProbe(SystemExit(1))), parts),
            ProbeRunner(ProbeSpec("b", "fake", 100, 100, HangingProbe(stubborn=True)), parts),
        ]
        tasks = [asyncio.ensure_future(runner.run()) for runner in (good, *bad)]
        await clock.sleep(60.5)
        assert good.status().ticks in {60, 61}
        assert good.status().failures_total == 0
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await parts.containment.close(1)

    run_virtual(main)
