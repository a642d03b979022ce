"""Virtual time: exact, free of charge, honest about what it can't do."""

import asyncio
import threading

import anyio
import pytest

from engine.testing import START_MS, DeadlockError, VirtualClock, VirtualLoop, run_virtual


def test_a_day_of_ticks_takes_no_time_and_does_not_drift() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        stamps = []
        for _ in range(1_440):
            await clock.sleep(60)
            stamps.append(clock.now_ms())
        return stamps

    assert run_virtual(main) == [START_MS + 60_000 * k for k in range(1, 1_441)]


def test_time_outs_of_asyncio_and_anyio_fire_at_their_instant() -> None:
    async def main(clock: VirtualClock) -> tuple[float, float]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(12.5):
                await asyncio.Event().wait()
        first = clock.monotonic()
        with anyio.move_on_after(3600) as scope:
            await anyio.Event().wait()
        assert scope.cancelled_caught
        return first, clock.monotonic()

    assert run_virtual(main) == (12.5, 3612.5)


def test_a_deadlock_is_reported_and_not_waited_for() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match="no timer"):
        run_virtual(main)


def test_time_stands_still_while_a_thread_works() -> None:
    async def main(clock: VirtualClock) -> float:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        loop.call_later(3600, release.set)  # would be called at once if time ran
        waiting = loop.run_in_executor(None, release.wait, 0.05)
        assert await waiting is False
        return clock.monotonic()

    assert run_virtual(main) == 0.0


def test_time_stands_still_inside_hold() -> None:
    async def main(clock: VirtualClock) -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        done = loop.create_future()
        with loop.hold():
            threading.Timer(0.01, loop.call_soon_threadsafe, (done.set_result, None)).start()
            await done
        return clock.monotonic()

    assert run_virtual(main) == 0.0


def test_the_wall_clock_can_be_set_and_event_time_runs_on() -> None:
    async def main(clock: VirtualClock) -> None:
        clock.step(-3_600_000)
        assert (clock.now_ms(), clock.wall_ms()) == (5_000, 5_000 - 3_600_000)
        assert clock.look() == (5_000, 5_000, 3_600_000, "clock_step")
        await clock.sleep(1)
        assert (clock.now_ms(), clock.monotonic()) == (6_000, 1.0)
        clock.step(7_200_000)
        assert clock.now_ms() == 6_000, "nobody has looked yet"
        assert clock.look() == (6_000, 6_000 + 3_600_000, 0, "clock_step")
        assert clock.now_ms() == clock.wall_ms() == 6_000 + 3_600_000

    run_virtual(main, start_ms=5_000)


def test_the_machine_can_be_put_to_sleep() -> None:
    async def main(clock: VirtualClock) -> None:
        clock.suspend(60_000)
        assert clock.look() == (5_000, 65_000, 0, "suspend")
        assert (clock.now_ms(), clock.monotonic()) == (65_000, 0.0)

    run_virtual(main, start_ms=5_000)


def test_the_result_and_the_exception_come_through() -> None:
    async def good(clock: VirtualClock) -> str:
        return "done"

    async def bad(clock: VirtualClock) -> None:
        raise KeyError("x")

    assert run_virtual(good) == "done"
    with pytest.raises(KeyError):
        run_virtual(bad)


@pytest.mark.parametrize("start_s", [0.0, 2.0**31, 1e9 + 0.1])
def test_timers_make_progress_at_large_times_f96(start_s: float) -> None:
    async def main(clock: VirtualClock) -> int:
        await clock.sleep(start_s)
        for _ in range(1_000):
            await clock.sleep(0.1)
        return clock.now_ms() - START_MS

    assert run_virtual(main) == pytest.approx(start_s * 1000 + 100_000, abs=2)
