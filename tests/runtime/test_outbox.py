"""Messages: rendered once, sent in order, again until they are taken, given up by nobody but a person (F30 to F57)."""

import asyncio
from functools import partial
from pathlib import Path

import msgspec
import pytest

from engine.errors import SinkError
from engine.events import Transition
from engine.ports import Notification
from engine.runtime.deciding import Policy
from engine.runtime.delivery import SinkRunner, SinkSpec
from engine.runtime.ledger.operator import list_outbox, replay
from engine.runtime.ledger.values import Limits
from engine.runtime.reconcile import Reconcile
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of, keeper_of, resolved, shared
from tests.runtime.test_delivery import Rig


class Receiver(RecordingSink):
    """Records nothing, so that every failure in the script is a delivery's."""

    WANTS = frozenset()


def busy(retry_after_s: float = 0.0) -> SinkError:
    return SinkError("http_503", "busy", retryable=True, retry_after_s=retry_after_s)


GONE = SinkError("http_410", "gone", retryable=False, status=410)
BAD = SinkError("http_400", "bad", retryable=False, status=400)


async def kept(rig: Rig) -> list[tuple[str, str, int]]:
    """What is in the outbox: status, reason and attempts."""
    found = await rig.keeper.ledger.call(partial(list_outbox, after_id=0, limit=100), writes=False)
    return [(one.status, one.reason, one.attempts) for one in found]


def sink_body(sink: Receiver, number: int) -> bytes:
    """What was rendered as the n-th message."""
    return msgspec.json.encode(sink.notifications[number])


def test_a_retry_has_the_same_id_and_the_same_bytes() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(), busy()])
        rig = Rig(clock, sink)
        rig.offer(firing())
        await clock.sleep(30)
        assert len(sink.attempts) == 3
        assert len(set(sink.attempts)) == 1
        assert sink.delivered == sink.attempts[:1]
        assert len(sink.notifications) == 1, "rendered once"
        told = await health_of(rig.parts)
        assert told == [*[("sink.s", "degraded", "http_503")] * 2, ("sink.s", "ok", "recovered")]
        await rig.finish()

    run_virtual(main)


def test_a_message_is_tried_until_it_is_taken_f31() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy()] * 20)
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        await clock.sleep(7 * 3_600)
        assert len(sink.attempts) == 21
        assert (len(set(sink.attempts)), len(sink.delivered)) == (1, 1)
        assert rig.runner.desk.dropped == {}
        told = await health_of(rig.parts)
        assert ("sink.s", "failed", "http_503") in told, "after five minutes it is more than a hiccup"
        assert told[-1] == ("sink.s", "ok", "recovered")
        assert rig.runner.status().queued == 0
        await rig.finish()

    run_virtual(main)


def test_what_the_receiver_calls_bad_is_tried_three_times_and_kept_for_a_person_f33() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([BAD, BAD, BAD])
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        rig.offer(resolved("A"))
        await clock.sleep(30)
        assert [body for _, body in sink.attempts[:3]] == [sink.attempts[0][1]] * 3
        assert len(sink.delivered) == 1, "the next one goes on"
        assert await kept(rig) == [("dead", "http_400", 3)]
        assert ("sink.s", "failed", "http_400") in await health_of(rig.parts)
        assert (rig.runner.status().dropped, rig.worker.dead_total, rig.worker.counts.held) == (0, 1, 1)
        await rig.finish()

    run_virtual(main)


def test_410_disables_and_what_comes_later_is_parked_f35() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([GONE])
        rig = Rig(clock, sink)
        rig.offer(firing("A"), firing("B"))
        await clock.sleep(30)
        rig.offer(firing("C"))
        await clock.sleep(3_600)
        assert (len(sink.attempts), sink.delivered) == (1, [])
        assert await kept(rig) == [("parked", "http_410", 1), ("parked", "http_410", 0), ("parked", "http_410", 0)]
        assert await health_of(rig.parts) == [("sink.s", "failed", "http_410")]
        rig.worker.enable()
        await rig.keeper.ledger.call(partial(replay, ids=[1, 2, 3]))
        rig.worker.wake()
        await clock.sleep(1)
        assert len(sink.delivered) == 3, "a person has asked for it"
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_an_operator_can_mend_is_tried_slowly_and_reported_f34(status: int) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([SinkError(f"http_{status}", "no", retryable=False, status=status)] * 8)
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        await clock.sleep(140)
        assert len(sink.attempts) == 1
        await clock.sleep(3_600)
        assert (len(sink.attempts), len(sink.delivered)) == (9, 1)
        assert ("sink.s", "failed", f"http_{status}") in await health_of(rig.parts)
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize(("asked", "waited"), [(20.0, 20.0), (1e9, 3_600.0), (0.2, 1.0), (-1.0, 0.5)])
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
        assert times[1] - times[0] == pytest.approx(waited, abs=0.5)
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


def test_a_hung_receiver_is_bounded_and_its_queue_too_f47() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver(hang=True)
        rig = Rig(clock, sink, limits=Limits(outbox_rows_max=100))
        await clock.sleep(0.1)
        for number in range(150):
            rig.offer(firing(f"R{number}"))
            await clock.sleep(0.01)
        assert rig.runner.desk.dropped == {"queue_full": 50}
        await clock.sleep(95)
        assert rig.runner.status().queued == 100
        assert len(sink.attempts) >= 3, "each attempt ends at its time-out"
        sink.hang = False
        await clock.sleep(40)
        told = [msgspec.json.decode(body)["group_labels"]["alertname"] for _, body in sink.delivered]
        assert sorted(told[:100]) == sorted(f"R{number}" for number in range(50, 150)), "the newest are kept"
        await clock.sleep(120)
        assert rig.runner.status().queued == 0
        assert len({body for _, body in sink.delivered}) == len(sink.delivered) == 150, "and the others fire still"
        assert rig.runner.desk.dropped == {"queue_full": 50}
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
            await rig.cut()

    run_virtual(main)


def test_a_stop_waits_for_no_hour_where_nothing_is_kept() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(3_600.0)])
        rig = Rig(clock, sink)
        rig.offer(firing("First"))
        await clock.sleep(1)
        for number in range(100):
            rig.offer(firing(f"R{number}"))
        await clock.sleep(1)
        assert rig.runner.status().queued == 101
        await rig.finish()
        assert len(sink.delivered) == 101, "now or never"

    run_virtual(main)


def test_a_stop_leaves_on_disk_what_can_not_be_sent_now_f32(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([busy(3_600.0)])
        rig = Rig(clock, sink, path=tmp_path / "state.db")
        rig.offer(firing("First"), firing("Second"))
        await clock.sleep(1)
        begun = clock.monotonic()
        await rig.finish()
        assert clock.monotonic() - begun < 1
        assert (len(sink.attempts), rig.runner.desk.dropped) == (1, {})
        again = Receiver()
        second = Rig(clock, again, path=tmp_path / "state.db")
        await clock.sleep(10)
        assert [body for _, body in again.delivered] == [sink_body(sink, 1)], "what was not asked to wait"
        await clock.sleep(3_600)
        assert sink.attempts[0] in again.delivered, "the same id, the same bytes, at the time that was asked for"
        assert len(again.delivered) == 2
        await second.finish()

    run_virtual(main)


class Two:
    """A receiver with a fallback, and both their loops."""

    def __init__(self, clock: VirtualClock, first: Receiver, second: Receiver, path: Path | None = None) -> None:
        self.parts = shared(clock)
        self.keeper = keeper_of(self.parts, ["first", "second"], path)
        specs = [SinkSpec("first", "fake", first), SinkSpec("second", "fake", second)]
        self.runners = [SinkRunner(spec, self.parts, queue_records_max=9, keeper=self.keeper) for spec in specs]
        one, two = (runner.messages for runner in self.runners)
        assert one is not None
        assert two is not None
        one.fallback = two
        self.policy = Policy(self.keeper, [one, two], {})
        jobs = [job.run for runner in self.runners for job in runner.jobs()]
        loops = (*jobs, self.keeper.run, self.policy.run, Reconcile(self.keeper, self.policy).run)
        self.tasks = [asyncio.ensure_future(run()) for run in loops]

    async def offer(self, *transitions: Transition) -> None:
        await self.keeper.opened.wait()
        await self.keeper.record(transitions, 1)

    async def finish(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        await self.keeper.close(5)
        await self.parts.containment.close(1)


def test_a_fallback_is_told_what_the_other_did_not_take_in_five_minutes() -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Receiver([busy()] * 40), Receiver()
        two = Two(clock, first, second)
        await two.offer(firing("A"), firing("B"))
        await clock.sleep(299)
        assert second.attempts == []
        await clock.sleep(3)
        assert len(second.delivered) == 2
        assert second.notifications[0].receiver == "second"
        await clock.sleep(7_200)
        assert len(first.delivered) == 2, "and it is tried on"
        assert len(second.delivered) == 2
        await two.offer(resolved("A"))
        await clock.sleep(600)
        assert (len(first.delivered), len(second.delivered)) == (3, 3), "who was told that it fires is told its end"
        await two.offer(firing("C"))
        await clock.sleep(600)
        assert (len(first.delivered), len(second.delivered)) == (4, 3), "what is taken is told once"
        ids = {message_id for message_id, _ in (*first.delivered, *second.delivered)}
        assert len(ids) == 7
        await two.finish()

    run_virtual(main)


@pytest.mark.parametrize("error", [BAD, GONE], ids=["a dead letter", "disabled"])
def test_a_fallback_is_told_at_once_what_the_other_will_never_take(error: SinkError) -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Receiver([error] * 6), Receiver()
        two = Two(clock, first, second)
        await two.offer(firing("A"))
        await two.offer(firing("B"))
        await clock.sleep(60)
        assert len(second.delivered) == 2
        assert first.delivered == []
        await two.finish()

    run_virtual(main)


@pytest.mark.parametrize("verbose", ["first", "second"])
def test_a_body_that_is_too_large_costs_its_own_receiver_and_not_the_other(verbose: str) -> None:
    class Verbose(Receiver):
        def render(self, notification: Notification) -> bytes:
            body = super().render(notification)
            return body + b" " * (Limits().body_bytes_max if b"wordy" in body else 0)

    async def main(clock: VirtualClock) -> None:
        first, second = (Verbose if verbose == name else Receiver for name in ("first", "second"))
        two = Two(clock, first([busy()] * 20), second())
        await two.offer(firing("A"), firing("B", kind="wordy"))
        await clock.sleep(7_200)
        desks = {runner.spec.name: runner.desk for runner in two.runners}
        assert {name: desk.dropped for name, desk in desks.items()} == {"first": {}, "second": {}} | {
            verbose: {"oversize": 1}
        }
        delivered = [len(runner.spec.sink.delivered) for runner in two.runners]  # type: ignore[attr-defined]
        assert delivered == ([1, 2] if verbose == "first" else [2, 1])
        assert (f"sink.{verbose}", "failed", "oversize") in await health_of(two.parts)
        assert two.policy.book.unchecked("first") == {}, "nobody looks for it any more"
        await two.finish()

    run_virtual(main)


def test_a_rate_limit_spaces_messages_and_loses_none_f46() -> None:
    async def main(clock: VirtualClock) -> None:
        at: list[float] = []

        class Timed(Receiver):
            async def deliver(self, message_id: str, body: bytes) -> None:
                at.append(clock.monotonic())
                await super().deliver(message_id, body)

        rig = Rig(clock, Timed(), per_minute=60)
        rig.offer(*(firing(f"R{number}") for number in range(30)))
        await clock.sleep(120)
        assert len(at) == 30
        assert at[9] < 0.5, "a sixth at once"
        assert at[29] - at[9] == pytest.approx(20, abs=0.5)
        await rig.finish()

    run_virtual(main)


def test_messages_of_different_rules_go_side_by_side_to_who_takes_several_f46() -> None:
    async def main(clock: VirtualClock) -> None:
        most, now = 0, dict.fromkeys(("A", "B", "C"), 0)

        class Slow(Receiver):
            deliveries_max = 2

            async def deliver(self, message_id: str, body: bytes) -> None:
                nonlocal most
                rule = msgspec.json.decode(body)["group_labels"]["alertname"]
                now[rule] += 1
                most = max(most, sum(now.values()))
                assert now[rule] == 1, "one of a rule at a time"
                await clock.sleep(1)
                now[rule] -= 1
                await super().deliver(message_id, body)

        sink = Slow()
        rig = Rig(clock, sink)
        for number in range(4):
            rig.offer(*(firing(rule, number) if number % 2 == 0 else resolved(rule, number) for rule in now))
        await clock.sleep(6.5)
        assert (most, len(sink.delivered)) == (2, 12)
        await rig.finish()

    run_virtual(main)
