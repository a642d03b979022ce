"""Records are written in batches, again while that may help, and lost in the right order when not (F12, F47)."""

import asyncio
from collections.abc import Sequence

import pytest

from engine.errors import SinkError
from engine.events import Record, Sample, Transition
from engine.runtime.recording import WRITE_LINGER_S, WRITE_RECORDS_MAX
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of
from tests.runtime.test_delivery import Rig, samples

DOWN = SinkError("disk_full", "no space", retryable=True)
BROKEN = SinkError("bad_row", "no", retryable=False)


def recorder(*failures: BaseException | None) -> RecordingSink:
    return RecordingSink(failures)


def test_samples_wait_for_company_and_news_do_not() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder()
        rig = Rig(clock, sink)
        await clock.sleep(0.01)
        rig.offer(*samples(1))
        await clock.sleep(0.1)
        rig.offer(*samples(1, 1))
        assert sink.batches == []
        await clock.sleep(WRITE_LINGER_S)
        assert sink.batches == [2]
        rig.offer(firing())
        await clock.sleep(0.001)
        assert sink.batches == [2, 1]
        await rig.finish()

    run_virtual(main)


def test_a_batch_is_bounded() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder()
        rig = Rig(clock, sink, records_max=5_000)
        rig.offer(*samples(2_500))
        await clock.sleep(2)
        assert sink.batches == [WRITE_RECORDS_MAX, WRITE_RECORDS_MAX, 500]
        await rig.finish()

    run_virtual(main)


def test_a_recorder_gets_what_it_wants_only() -> None:
    class Picky(RecordingSink):
        WANTS = frozenset({"transitions"})

    async def main(clock: VirtualClock) -> None:
        sink = Picky()
        rig = Rig(clock, sink)
        rig.offer(*samples(3), firing())
        await clock.sleep(1)
        assert [type(record) for record in sink.records] == [Transition]
        await rig.finish()

    run_virtual(main)


def test_a_full_disk_is_waited_out_with_the_same_records_in_order_f12() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder(*[DOWN] * 5)
        rig = Rig(clock, sink, records_max=2_000)
        for second in range(60):
            rig.offer(*samples(10, 10 * second))
            await clock.sleep(1)
        await clock.sleep(60)
        assert [record.time_ms for record in sink.records] == list(range(600)), "nothing lost, nothing twice"
        told = await health_of(rig.parts)
        assert told[0] == ("sink.s", "degraded", "disk_full")
        assert told[-1] == ("sink.s", "ok", "recovered")
        assert rig.runner.status().retries == 5
        await rig.finish()

    run_virtual(main)


def test_down_for_days_keeps_the_transitions_and_a_bounded_queue_f47() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder(*[DOWN] * 100_000)
        rig = Rig(clock, sink, records_max=500)
        await clock.sleep(1)
        news: list[Record] = []
        for hour in range(48):
            rig.offer(*samples(1_000, hour * 1_000))
            news.append(firing(time_ms=hour))
            rig.offer(news[-1])
            await clock.sleep(3_600)
            assert rig.runner.status().queued <= 500 + WRITE_RECORDS_MAX + 1_000  # messages have their own bound
        sink.failures.clear()
        await clock.sleep(120)
        assert sink.transitions == news
        dropped = rig.runner.desk.dropped["queue_full"]
        assert dropped + len(sink.records) == 48 * 1_001
        told = await health_of(rig.parts)
        assert ("sink.s", "degraded", "queue_full") in told
        assert ("sink.s", "failed", "transitions_lost") not in told
        assert len(told) < 48 * 60 * 3, "told, but not without end"
        await rig.finish()

    run_virtual(main)


def test_lost_transitions_are_told_as_such() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder(*[DOWN] * 10_000)
        rig = Rig(clock, sink, records_max=5)
        rig.offer(*samples(1))
        await clock.sleep(1)
        rig.offer(*[firing(time_ms=n) for n in range(8)])
        assert rig.runner.desk.dropped == {"queue_full": 3}
        assert ("sink.s", "failed", "transitions_lost") in await health_of(rig.parts)
        sink.failures.clear()
        await clock.sleep(90)
        assert [record.time_ms for record in sink.transitions] == [3, 4, 5, 6, 7]
        await rig.finish()

    run_virtual(main)


def test_what_cannot_succeed_is_lost_at_once_and_the_next_goes_on() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder(BROKEN)
        rig = Rig(clock, sink)
        rig.offer(*samples(4))
        await clock.sleep(1)
        rig.offer(*samples(1, 9))
        await clock.sleep(1)
        assert [record.time_ms for record in sink.records] == [9]
        assert rig.runner.desk.dropped == {"bad_row": 4}
        assert ("sink.s", "failed", "bad_row") in await health_of(rig.parts)
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize("error", [TypeError("x"), SystemExit(1), asyncio.CancelledError(), GeneratorExit()])
def test_a_bug_gets_three_attempts_f77(error: BaseException) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder(error, error, error)
        rig = Rig(clock, sink)
        rig.offer(*samples(2))
        await clock.sleep(30)
        rig.offer(*samples(1, 9))
        await clock.sleep(1)
        assert [record.time_ms for record in sink.records] == [9]
        assert rig.runner.desk.dropped == {"raised": 2}
        await rig.finish()

    run_virtual(main)


def test_a_write_that_hangs_is_offered_again_f15_f43() -> None:
    class Slow(RecordingSink):
        tries = 0

        async def write(self, records: Sequence[Record]) -> None:
            self.tries += 1
            if self.tries == 1:
                await asyncio.Event().wait()
            await super().write(records)

    async def main(clock: VirtualClock) -> None:
        sink = Slow()
        rig = Rig(clock, sink)
        rig.offer(*samples(3))
        await clock.sleep(29)
        assert (sink.tries, sink.records) == (1, [])
        await clock.sleep(10)
        assert [record.time_ms for record in sink.records] == [0, 1, 2]
        assert await health_of(rig.parts) == [("sink.s", "degraded", "timeout"), ("sink.s", "ok", "recovered")]
        await rig.finish()

    run_virtual(main)


def test_the_drain_writes_what_waits_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder()
        rig = Rig(clock, sink)
        await clock.sleep(0.1)
        rig.offer(*samples(7))
        await rig.finish()
        assert len(sink.records) == 7
        assert clock.monotonic() < 1

    run_virtual(main)


def test_the_drain_does_not_wait_for_ever_for_a_dead_one() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = recorder(*[DOWN] * 1_000)
        rig = Rig(clock, sink)
        rig.offer(Sample(0, "x", 1.0))
        await clock.sleep(100)  # deep in its back-off
        begun = clock.monotonic()
        await rig.finish()
        assert clock.monotonic() - begun < 5
        assert rig.runner.desk.dropped == {"disk_full": 1}

    run_virtual(main)
