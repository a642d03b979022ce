"""A sink that acts by the clock: when it is called, what it is told, and that a stop does not wait for it."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from engine import Engine
from engine.config.shape import Config, EngineTable
from engine.errors import SinkError
from engine.ports import Notification, Periodic, Progress
from engine.runtime.progress import ProgressBook
from engine.testing import FailingProbe, FunctionProbe, HangingProbe, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of
from tests.runtime.test_delivery import Rig


class Ticking:
    """Notes when it was called, and what with; fails as often as it is told to."""

    def __init__(
        self, clock: VirtualClock, failures: int = 0, retry_after_s: float = 0.0, takes_s: float = 0.0
    ) -> None:
        self.interval_s = 10.0
        self.ticks: list[float] = []
        self.parts: Mapping[str, Progress] = {}
        self._clock = clock
        self._failures = failures
        self._retry_after_s = retry_after_s
        self._takes_s = takes_s

    async def open(self) -> None: ...

    async def tick(self, parts: Mapping[str, Progress]) -> None:
        self.ticks.append(self._clock.monotonic())
        self.parts = parts
        await self._clock.sleep(self._takes_s)
        if len(self.ticks) <= self._failures:
            raise SinkError("refused", "no", retryable=True, retry_after_s=self._retry_after_s)

    async def close(self) -> None: ...


def test_it_ticks_at_once_and_then_on_its_grid() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock, takes_s=3.0)
        assert isinstance(sink, Periodic)
        rig = Rig(clock, sink)
        await clock.sleep(35)
        assert sink.ticks == pytest.approx([0.0, 10.0, 20.0, 30.0])
        assert await health_of(rig.parts) == []
        await rig.finish()

    run_virtual(main)


def test_a_tick_that_takes_longer_than_the_interval_is_not_made_up_for() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock, takes_s=25.0)
        rig = Rig(clock, sink)
        await clock.sleep(65)
        assert sink.ticks == pytest.approx([0.0, 30.0, 60.0])
        await rig.finish()

    run_virtual(main)


def test_a_failure_is_told_and_repeated_sooner_and_the_grid_stays() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock, failures=2)
        rig = Rig(clock, sink)
        await clock.sleep(25)
        assert len(sink.ticks) == 5
        assert sink.ticks[2] < 8
        assert sink.ticks[3:] == pytest.approx([10.0, 20.0])
        told = await health_of(rig.parts)
        assert told == [*[("sink.s", "degraded", "refused")] * 2, ("sink.s", "ok", "recovered")]
        assert rig.runner.status().retries == 2
        await rig.finish()

    run_virtual(main)


def test_failures_are_repeated_no_later_than_the_interval_unless_more_was_asked_for() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock, failures=100)
        rig = Rig(clock, sink)
        await clock.sleep(99)
        assert all(b - a <= 10.01 for a, b in zip(sink.ticks, sink.ticks[1:], strict=False))
        assert len(sink.ticks) > 9
        await rig.finish()
        patient = Ticking(clock, failures=1, retry_after_s=100.0)
        rig = Rig(clock, patient)
        await clock.sleep(99)
        assert len(patient.ticks) == 1
        await clock.sleep(2)
        assert len(patient.ticks) == 2
        await rig.finish()

    run_virtual(main)


class Telling(Ticking):
    """Takes messages, too."""

    def render(self, notification: Notification) -> bytes:
        return b"x"

    async def deliver(self, message_id: str, body: bytes) -> None: ...


def test_a_message_that_was_taken_does_not_say_that_all_is_well() -> None:
    """One of two that are kept told is down: over when a tick says so, not when the other one takes a message."""

    async def main(clock: VirtualClock) -> None:
        sink = Telling(clock, failures=3, retry_after_s=30.0)
        rig = Rig(clock, sink)
        await clock.sleep(1)
        rig.offer(firing())
        await clock.sleep(1)
        assert rig.runner.status().written == 1
        assert rig.runner.status().status == "degraded"
        await clock.sleep(120)
        told = await health_of(rig.parts)
        assert told.index(("sink.s", "ok", "recovered")) == len(told) - 1
        await rig.finish()

    run_virtual(main)


def test_a_stop_does_not_wait_for_the_next_tick() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock)
        sink.interval_s = 3_600.0
        rig = Rig(clock, sink)
        await clock.sleep(1)
        begun = clock.monotonic()
        await rig.finish()
        assert clock.monotonic() - begun < 1
        assert len(sink.ticks) == 1

    run_virtual(main)


@pytest.mark.parametrize(("takes_s", "waited_s"), [(1.5, 0.5), (25.0, 2.0)])
def test_f56_a_stop_waits_a_little_for_a_tick_that_is_under_way(takes_s: float, waited_s: float) -> None:
    async def main(clock: VirtualClock) -> None:
        rig = Rig(clock, Ticking(clock, takes_s=takes_s))
        await clock.sleep(1)
        begun_s = clock.monotonic()
        await rig.end()
        await asyncio.wait(rig.tasks)
        assert clock.monotonic() - begun_s == pytest.approx(waited_s, abs=0.1)
        assert await health_of(rig.parts) == [], "that it was cut off is no news"
        await rig.cut()

    run_virtual(main)


def test_it_is_told_how_far_the_parts_have_come() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock)
        rig = Rig(clock, sink)
        rig.parts.progress.expect("core", 30.0, 0.0)
        rig.parts.progress.made("core", 7.0)
        await clock.sleep(11)
        assert sink.parts == {"core": Progress(7.0, 30.0)}
        await rig.finish()

    run_virtual(main)


def test_only_what_is_expected_is_in_the_book() -> None:
    book, rng = ProgressBook(), random.Random(1)
    book.made("nobody", 1.0)
    assert book.read() == {}
    book.expect("core", 30.0, 5.0)
    assert book.read() == {"core": Progress(5.0, 30.0)}
    at = rng.uniform(6, 9)
    book.made("core", at)
    assert book.read() == {"core": Progress(at, 30.0)}


def test_a_running_engine_says_how_far_its_parts_have_come() -> None:
    """And whose probes all hang, gets nowhere with them, though it goes on judging."""

    async def main(clock: VirtualClock) -> None:
        for probe, gets_on in ((FunctionProbe(list), True), (HangingProbe(stubborn=True), False)):
            sink = Ticking(clock)
            engine = Engine(Config(engine=EngineTable()), clock=clock, sinks={"heart": sink})
            engine.add_probe("slow", probe, "20s", "1s")
            async with engine:
                await clock.sleep(215)
                limits = {name: part.limit_s for name, part in sink.parts.items()}
                assert limits == {"core": 30.0, "probes": 96.0, "ledger": 60.0}
                ages = {name: clock.monotonic() - part.last_s for name, part in sink.parts.items()}
                assert ages["core"] < 15
                assert (ages["probes"] < 96) == gets_on
                if isinstance(probe, HangingProbe):
                    probe.release()

    run_virtual(main)


def test_a_probe_that_fails_and_is_tried_again_later_and_later_is_not_stuck() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Ticking(clock)
        engine = Engine(Config(engine=EngineTable()), clock=clock, sinks={"heart": sink})
        engine.add_probe("bad", FailingProbe(RuntimeError("no"), times=1_000), "5s", "1s")
        async with engine:
            ages = []
            for _ in range(90):
                await clock.sleep(10)
                part = sink.parts["probes"]
                ages.append(clock.monotonic() - part.last_s - part.limit_s)
            assert -30 < max(ages) < 0, "close to the limit, and not beyond"

    run_virtual(main)
