"""Receivers that are slow, dead for days or unlucky, and alerts that will not settle: what is told, in which
order and how often (F45 to F49)."""

import asyncio
import os
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine, Sample
from engine.config import load_text
from engine.errors import SinkError
from engine.runtime.ledger.values import Limits
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, resolved
from tests.runtime.test_delivery import Rig

DAYS_DEAD = 10 if os.environ.get("LONGWATCH_CHAOS") else 0.25


class Receiver(RecordingSink):
    """Takes messages only."""

    WANTS = frozenset()


def told(messages: Sequence[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Rule and new state, of each message's transitions."""
    found = [one for _, body in messages for one in msgspec.json.decode(body)["transitions"]]
    return [(one["rule"], one["after"]) for one in found]


def test_f45_who_takes_a_message_and_answers_too_late_gets_it_again_with_the_same_id() -> None:
    """So that he can drop it."""

    class Late(Receiver):
        async def deliver(self, message_id: str, body: bytes) -> None:
            await super().deliver(message_id, body)
            if len(self.delivered) < 3:
                await clock_of[0].sleep(60)  # it is at work

    clock_of: list[VirtualClock] = []

    async def main(clock: VirtualClock) -> None:
        clock_of.append(clock)
        sink = Late()
        rig = Rig(clock, sink)
        rig.offer(firing("A"))
        rig.offer(resolved("A"))
        await clock.sleep(120)
        first, *_, last = sink.delivered
        assert sink.delivered == [first] * 3 + [last], "after two time-outs; nothing overtakes it"
        assert told(dict(sink.delivered).items()) == [("A", "firing"), ("A", "inactive")]  # type: ignore[arg-type]
        assert rig.runner.status().queued == 0
        await rig.finish()

    run_virtual(main)


STORM = 40


async def test_f46_a_storm_into_one_endpoint_is_four_requests_at_a_time_and_delays_no_other() -> None:
    """Real requests: the endpoint answers none before the other receiver has everything."""
    now = most = answered = 0
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most, answered
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        now += 1
        most = max(most, now)
        await release.wait()
        now -= 1
        answered += 1
        writer.write(b"HTTP/1.1 204 X\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    rules = "".join(f'[rule.R{number}]\nexpr = "x > {number}"\n' for number in range(STORM))
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    config = load_text(f'[sink.ops]\ntype = "webhook"\nurl = "{url}"\n{rules}', environ={})
    other = Receiver()
    async with Engine(config, sinks={"other": other}) as engine, asyncio.timeout(30):
        engine.emit(Sample(engine.now_ms(), "x", 99.0))
        while len(other.delivered) < STORM or most < 4:
            await asyncio.sleep(0)
        assert (now, answered) == (4, 0)
        release.set()
        while answered < STORM:
            await asyncio.sleep(0)
    listening.close()
    await listening.wait_closed()
    assert most == 4


def test_f47_a_receiver_that_is_broken_for_days_is_told_the_present_when_it_is_back() -> None:
    """Its outbox is full by then. What was in it goes, oldest first and counted; what fires is told all the same."""

    class Broken(Receiver):
        down = True

        async def deliver(self, message_id: str, body: bytes) -> None:
            if self.down:
                raise SinkError("http_503", "down", retryable=True, status=503, retry_after_s=3_600)
            await super().deliver(message_id, body)

    async def main(clock: VirtualClock) -> None:
        sink, other = Broken(), Receiver()
        limits = Limits(outbox_rows_max=40)
        rig, beside = Rig(clock, sink, name="broken", limits=limits), Rig(clock, other, name="other", limits=limits)
        now: dict[str, str] = {}
        for number in range(int(DAYS_DEAD * 24 * 12)):
            rule, now_ms = f"R{number % 7}", clock.now_ms()
            change = firing(rule, now_ms) if now.get(rule) != "firing" else resolved(rule, now_ms)
            now[rule] = change.after
            rig.offer(change)
            beside.offer(change)
            await clock.sleep(300)
        dropped = rig.runner.desk.dropped["queue_full"]
        assert rig.runner.status().queued <= 40
        assert dropped + rig.runner.status().queued >= len(other.delivered) == int(DAYS_DEAD * 24 * 12)
        sink.down = False
        await clock.sleep(2 * 3_600)
        assert dict(told(sink.delivered)) == now, "the last that it hears of each is how it is"
        assert rig.runner.status().queued == 0
        for one in (rig, beside):
            await one.end()
            await asyncio.wait(one.tasks, timeout=60)
            await one.cut()

    run_virtual(main)


OUTCOMES = st.sampled_from(["ok", "ok", "http_503", "http_429", "http_400", "timeout", "hangs"])


@settings(max_examples=12, deadline=None)
@given(
    outcomes=st.lists(OUTCOMES, max_size=25),
    changes=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 20)), min_size=2, max_size=15),
    at_a_time=st.integers(1, 4),
)
def test_f48_nothing_of_an_alert_overtakes_what_came_before(
    outcomes: list[str], changes: list[tuple[str, int]], at_a_time: int
) -> None:
    async def main(clock: VirtualClock) -> None:
        script = iter(outcomes)

        class Unlucky(Receiver):
            deliveries_max = at_a_time

            async def deliver(self, message_id: str, body: bytes) -> None:
                match next(script, "ok"):
                    case "ok":
                        await clock.sleep(1)
                        await super().deliver(message_id, body)
                    case "hangs":
                        await asyncio.Event().wait()
                    case "timeout":
                        raise SinkError("timeout", "no", retryable=True)
                    case reason:
                        status = int(reason[5:])
                        raise SinkError(reason, "no", retryable=status != 400, status=status, retry_after_s=2)

        sink = Unlucky()
        rig = Rig(clock, sink)
        wanted: list[tuple[str, str]] = []
        for number, (rule, pause_s) in enumerate(changes):
            last = next((state for name, state in reversed(wanted) if name == rule), "inactive")
            change = firing(rule, number) if last != "firing" else resolved(rule, number)
            wanted.append((rule, change.after))
            rig.offer(change)
            await clock.sleep(pause_s)
        await clock.sleep(60)
        for _ in range(24):
            if rig.runner.status().queued:
                await clock.sleep(600)
        got = told(sink.delivered)
        dead = rig.worker.dead_total
        for rule in "ABC":
            of_rule, all_of_rule = [s for r, s in got if r == rule], [s for r, s in wanted if r == rule]
            left_out = iter(all_of_rule)
            assert all(state in left_out for state in of_rule), "in the order in which they happened"
        assert len(got) + dead == len(wanted)
        assert len({message_id for message_id, _ in sink.delivered}) == len(sink.delivered)
        await rig.finish()

    run_virtual(main)


def test_f49_an_alert_that_flaps_a_hundred_times_a_minute_is_bounded_and_its_end_is_told() -> None:
    """Each change is recorded and told: the mark of flapping is no state. `messages_per_minute` is the bound."""

    class Timed(Receiver):
        def __init__(self, clock: VirtualClock) -> None:
            super().__init__()
            self.clock = clock
            self.at: list[float] = []

        async def deliver(self, message_id: str, body: bytes) -> None:
            self.at.append(self.clock.monotonic())
            await super().deliver(message_id, body)

    async def main(clock: VirtualClock) -> None:
        kept, sink = RecordingSink(), Timed(clock)
        config = load_text('[rule.Hot]\nexpr = "x > 5"\n', environ={})
        limited = Rig(clock, Timed(clock), per_minute=30)
        async with Engine(config, clock=clock, sinks={"kept": kept, "ops": sink}) as engine:
            for number in range(200):
                engine.emit(Sample(clock.now_ms(), "x", 9.0 if number % 2 == 0 else 1.0))
                await clock.sleep(0.3)
            await clock.sleep(1)
            changes = [one for one in kept.transitions if one.rule == "Hot"]
            assert [one.kind for one in changes] == ["firing", "resolved"] * 100
            assert told(sink.delivered) == [(one.rule, one.after) for one in changes]
            for one in changes:
                limited.offer(one)
        await clock.sleep(60)
        assert len(limited.worker.receiver.at) <= 30 + 5, "five at once, then thirty a minute"
        await clock.sleep(600)
        assert told(limited.worker.receiver.delivered) == told(sink.delivered)
        assert told(limited.worker.receiver.delivered)[-1] == ("Hot", "inactive")
        await limited.finish()

    run_virtual(main)
