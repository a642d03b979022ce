"""Messages: rendered once, in order, one attempt and two retries, then counted and told."""

import asyncio

import pytest

from engine.errors import SinkError
from engine.events import Transition
from engine.ports import Notification
from engine.runtime.messaging import ATTEMPTS_MAX, MESSAGES_MAX
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of, resolved
from tests.runtime.test_delivery import Rig


class Receiver(RecordingSink):
    """Records nothing, so that every failure in the script is a delivery's."""

    WANTS = frozenset()


def busy(retry_after_s: float = 0.0) -> SinkError:
    return SinkError("http_503", "busy", retryable=True, retry_after_s=retry_after_s)


GONE = SinkError("http_410", "gone", retryable=False)


def test_a_retry_has_the_same_id_and_the_same_bytes() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(), busy()])
        rig = Rig(clock, sink)
        rig.offer(firing())
        await clock.sleep(30)
        assert len(sink.attempts) == ATTEMPTS_MAX
        assert len(set(sink.attempts)) == 1
        assert sink.delivered == sink.attempts[:1]
        assert len(sink.notifications) == 1, "rendered once"
        told = await health_of(rig.parts)
        assert told == [*[("sink.s", "degraded", "http_503")] * 2, ("sink.s", "ok", "recovered")]
        await rig.finish()

    run_virtual(main)


def test_after_the_last_attempt_it_is_counted_and_told_and_the_next_goes_on() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(), busy(), busy()])
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        rig.offer(firing("B"))
        await clock.sleep(30)
        assert len(sink.attempts) == ATTEMPTS_MAX + 1
        assert b'"B"' in sink.delivered[0][1]
        assert rig.runner.desk.dropped == {"http_503": 1}
        told = await health_of(rig.parts)
        assert told[:2] == [("sink.s", "degraded", "http_503"), ("sink.s", "failed", "http_503")]
        assert rig.runner.status().dropped == 1
        await rig.finish()

    run_virtual(main)


def test_what_will_not_succeed_is_not_tried_again() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([GONE])
        rig = Rig(clock, sink)
        rig.offer(firing())
        await clock.sleep(30)
        assert (len(sink.attempts), sink.delivered) == (1, [])
        assert await health_of(rig.parts) == [("sink.s", "failed", "http_410")]
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize(("asked", "waited"), [(20.0, 20.0), (1e9, 3_600.0), (0.0, 1.0)])
def test_retry_after_is_honoured_within_a_limit_f32(asked: float, waited: float) -> None:
    async def main(clock: VirtualClock) -> None:
        times = []

        class Timed(Receiver):
            async def deliver(self, message_id: str, body: bytes) -> None:
                times.append(clock.monotonic())
                await super().deliver(message_id, body)

        rig = Rig(clock, Timed([busy(asked)]))
        rig.offer(firing())
        await clock.sleep(4_000)
        assert times[1] - times[0] == pytest.approx(waited, abs=0.3)
        await rig.finish()

    run_virtual(main)


def test_a_resolve_never_overtakes_its_alert_f48() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(), busy(), None, busy()])
        rig = Rig(clock, sink)
        rig.offer(firing())
        rig.offer(resolved())
        await clock.sleep(60)
        assert [b'"firing"' in body.split(b'"after"')[1][:12] for _, body in sink.delivered] == [True, False]
        await rig.finish()

    run_virtual(main)


def test_a_hung_receiver_is_bounded_and_its_queue_too() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver(hang=True)
        rig = Rig(clock, sink)
        await clock.sleep(0.1)
        for number in range(MESSAGES_MAX + 50):
            rig.offer(firing(f"R{number}"))
        assert rig.runner.desk.dropped == {"queue_full": 50}
        assert rig.runner.status().queued == MESSAGES_MAX
        await clock.sleep(95)
        assert len(sink.attempts) >= 3, "each attempt ends at its time-out"
        sink.hang = False
        await clock.sleep(120)
        assert rig.runner.status().queued == 0
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_render_that_raises_costs_its_message_only_f77(error: BaseException) -> None:
    class Bad(Receiver):
        def render(self, notification: Notification) -> bytes:
            if notification.group_labels["alertname"] == "Bad":
                raise error
            return super().render(notification)

    async def main(clock: VirtualClock) -> None:
        sink = Bad()
        rig = Rig(clock, sink)
        rig.offer(firing("Bad"), firing("Good"))
        await clock.sleep(1)
        assert len(sink.delivered) == 1
        assert rig.runner.desk.dropped == {"render": 1}
        await rig.finish()

    run_virtual(main)


def test_a_render_that_returns_something_else_is_a_failure() -> None:
    class Odd(Receiver):
        def render(self, notification: Notification) -> bytes:
            return "text"  # type: ignore[return-value]

    async def main(clock: VirtualClock) -> None:
        rig = Rig(clock, Odd())
        rig.offer(firing())
        await clock.sleep(0.1)
        assert rig.runner.desk.dropped == {"render": 1}
        assert await health_of(rig.parts) == [("sink.s", "failed", "render")]
        await rig.finish()

    run_virtual(main)


def test_the_drain_sends_what_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy()])
        rig = Rig(clock, sink)
        await clock.sleep(1)
        rig.offer(firing("A"), firing("B"))
        await rig.finish()
        assert len(sink.delivered) == 2

    run_virtual(main)


def test_a_receiver_without_resolved_is_told_of_the_rest() -> None:
    class Quiet(Receiver):
        send_resolved = False

    lost = Transition(3, "R", {"alertname": "R"}, "firing", "inactive", "lost", 1.0, 0)

    async def main(clock: VirtualClock) -> None:
        for sink, kinds in ((Quiet(), ["firing", "lost"]), (Receiver(), ["firing", "resolved", "lost"])):
            rig = Rig(clock, sink)
            rig.offer(firing())
            rig.offer(resolved())
            rig.offer(lost)
            await clock.sleep(1)
            assert [t.kind for n in sink.notifications for t in n.transitions] == kinds
            assert len(sink.delivered) == len(kinds), "no message about nothing"
            await rig.finish()

    run_virtual(main)


def test_an_hour_asked_for_is_waited_in_the_queue_and_nobody_else_waits_f32() -> None:
    async def main(clock: VirtualClock) -> None:
        at: list[float] = []

        class Busy(Receiver):
            async def deliver(self, message_id: str, body: bytes) -> None:
                at.append(clock.monotonic())
                await super().deliver(message_id, body)

        slow, other = Rig(clock, Busy([busy(3_600.0), busy(3_600.0)]), name="slow"), Receiver()
        beside = Rig(clock, other, name="beside")
        for rig in (slow, beside):
            rig.offer(firing("A"), firing("B"))
        await clock.sleep(3_500)
        assert slow.runner.status().queued == 2, "kept, not lost"
        assert (slow.runner.status().dropped, len(other.delivered)) == (0, 2)
        await clock.sleep(4_000)
        assert at == pytest.approx([0, 3_600, 7_200, 7_200], abs=1)
        assert slow.runner.status().dropped == 0
        for rig in (slow, beside):
            rig.runner.end()
            await asyncio.wait(rig.tasks)
            await rig.runner.close()

    run_virtual(main)


def test_messages_keep_to_their_bound_while_an_hour_is_waited() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(3_600.0)])
        rig = Rig(clock, sink)
        rig.offer(firing("First"))
        await clock.sleep(1)
        for number in range(MESSAGES_MAX + 10):
            rig.offer(firing(f"R{number}"))
        assert rig.runner.status().queued == MESSAGES_MAX + 1
        assert rig.runner.desk.dropped == {"queue_full": 10}
        await rig.finish()
        assert len(sink.delivered) == MESSAGES_MAX + 1, "the drain waits for no hour"

    run_virtual(main)
