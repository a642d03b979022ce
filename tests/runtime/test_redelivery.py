"""Nothing lost between a transition and its receiver: restarts at each point, receivers that are dead for hours, and
neighbours who do not notice (F01, F02, F42, F48, F56, F61). A kill is a ledger whose connection is gone without a
word."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from engine.errors import SinkError
from engine.events import Transition
from engine.runtime.ledger.operator import list_outbox
from engine.runtime.ledger.transactions import transitions_after
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.ledger.rig import crash
from tests.runtime.rig import firing, resolved
from tests.runtime.test_delivery import Rig


class Receiver(RecordingSink):
    """Takes messages only. While `down` it refuses them."""

    WANTS = frozenset()
    down = False

    async def deliver(self, message_id: str, body: bytes) -> None:
        if self.down:
            self.attempts.append((message_id, body))
            raise SinkError("refused", "nobody there", retryable=True)
        await super().deliver(message_id, body)


def told(messages: Sequence[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Rule and what happened, of each message's transitions."""
    found = []
    for _, body in messages:
        for one in msgspec.json.decode(body)["transitions"]:
            transition = msgspec.convert({**one, "value": one["value"] or 0.0}, Transition)
            found.append((transition.rule, transition.kind))
    return found


async def kill(rig: Rig) -> None:
    """End it as SIGKILL does: nothing more is committed."""
    store = rig.keeper.ledger._runner.store
    crash(store)
    for task in (*rig.tasks, *rig.beside, *rig.offered):
        task.cancel()
    await asyncio.wait([*rig.tasks, *rig.beside, *rig.offered])
    await rig.parts.containment.close(1)


def test_f01_killed_between_t1_and_t2_the_next_start_decides(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first = Receiver()
        rig = Rig(clock, first, path=tmp_path / "state.db")
        rig.beside[1].cancel()  # nobody decides
        rig.offer(firing("A"), firing("B"))
        rig.offer(resolved("A"))
        await clock.sleep(1)
        stored = await rig.keeper.ledger.call(partial(transitions_after, seq=0, limit=9), writes=False)
        assert len(stored) == 3
        await kill(rig)
        sink = Receiver()
        again = Rig(clock, sink, path=tmp_path / "state.db")
        await clock.sleep(1)
        assert first.attempts == []
        assert told(sink.delivered) == [("A", "firing"), ("B", "firing"), ("A", "resolved")]
        await again.finish()
        third = Receiver()
        last = Rig(clock, third, path=tmp_path / "state.db")
        await clock.sleep(1)
        assert third.attempts == [], "decided once"
        await last.finish()

    run_virtual(main)


def test_f01_killed_between_t2_and_the_send_it_is_sent_once(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first, sink = Receiver(), Receiver()
        first.open_failures.extend([SinkError("down", "down", retryable=True)] * 100)
        rig = Rig(clock, first, path=tmp_path / "state.db")
        rig.offer(firing("A"))
        rig.offer(resolved("A"))
        await clock.sleep(1)
        stored = await rig.keeper.ledger.call(partial(list_outbox, after_id=0, limit=9), writes=False)
        await kill(rig)
        again = Rig(clock, sink, path=tmp_path / "state.db")
        await clock.sleep(1)
        assert first.attempts == []
        assert sink.attempts == [(one.message_id, one.body) for one in stored]
        assert told(sink.delivered) == [("A", "firing"), ("A", "resolved")]
        await again.finish()

    run_virtual(main)


def test_f02_killed_between_the_answer_and_its_commit_it_is_sent_again_with_the_same_id_and_bytes(
    tmp_path: Path,
) -> None:
    class Answers(Receiver):
        """Answers, and the engine is killed before it can note that."""

        async def deliver(self, message_id: str, body: bytes) -> None:
            await super().deliver(message_id, body)
            await asyncio.Event().wait()

    async def main(clock: VirtualClock) -> None:
        first, sink = Answers(), Receiver()
        rig = Rig(clock, first, path=tmp_path / "state.db")
        rig.offer(firing("A"))
        rig.offer(resolved("A"))
        await clock.sleep(1)
        await kill(rig)
        again = Rig(clock, sink, path=tmp_path / "state.db")
        await clock.sleep(1)
        assert len(first.delivered) == 1
        assert sink.delivered[0] == first.delivered[0]
        assert told(sink.delivered) == [("A", "firing"), ("A", "resolved")]
        await again.finish()

    run_virtual(main)


def test_f42_a_receiver_that_is_dead_for_six_hours_gets_everything_once_in_order() -> None:
    down_s = 6 * 3_600

    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        sink.down = True
        rig = Rig(clock, sink)  # in memory: six hours have hundreds of checkpoints
        expected: dict[str, list[str]] = {}
        for number in range(down_s // 600):
            rule = f"R{number % 5}"
            kind = "firing" if number // 5 % 2 == 0 else "resolved"
            expected.setdefault(rule, []).append(kind)
            now_ms = clock.now_ms()
            rig.offer(firing(rule, now_ms) if kind == "firing" else resolved(rule, now_ms))
            await clock.sleep(600)
        assert sink.delivered == []
        assert len(sink.attempts) < down_s / 30, "a dead receiver is asked now and then"
        assert rig.runner.status().queued == down_s // 600
        sink.down = False
        healed_s = clock.monotonic()
        while not sink.delivered:
            await clock.sleep(1)
        assert clock.monotonic() - healed_s <= 310
        await clock.sleep(60)
        assert rig.runner.status().queued == 0, "a minute after the first success everything is there"
        got: dict[str, list[str]] = {}
        for rule, kind in told(sink.delivered):
            got.setdefault(rule, []).append(kind)
        assert got == expected
        assert len({message_id for message_id, _ in sink.delivered}) == len(sink.delivered)
        await rig.finish()

    run_virtual(main)


def test_f10_a_crash_loop_is_no_storm(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        attempts: list[tuple[str, bytes]] = []
        for _ in range(100):
            sink = Receiver()
            sink.down = True
            rig = Rig(clock, sink, path=tmp_path / "state.db")
            if not attempts:
                rig.offer(firing("A"))
            await clock.sleep(1)
            attempts += sink.attempts
            await kill(rig)
        assert len(set(attempts)) == 1
        assert len(attempts) <= 15, "the time to try again is kept"

    run_virtual(main)


def test_f42_what_a_run_before_could_not_deliver_goes_out_with_the_first_success_of_this_one(tmp_path: Path) -> None:
    """Nobody in this run has found the receiver dead, and what was tried often waits for minutes."""

    async def main(clock: VirtualClock) -> None:
        first = Receiver()
        first.down = True
        rig = Rig(clock, first, path=tmp_path / "state.db")
        rules = [f"R{number}" for number in range(6)]
        rig.offer(*(firing(rule) for rule in rules))
        await clock.sleep(2 * 3_600)
        await kill(rig)
        sink = Receiver()
        again = Rig(clock, sink, path=tmp_path / "state.db")
        again.offer(firing("New"))
        await clock.sleep(60)
        assert sorted(rule for rule, _ in told(sink.delivered)) == ["New", *rules]
        await again.finish()

    run_virtual(main)


def test_f32_f42_it_does_not_hasten_what_an_answer_has_put_off(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first = Receiver([SinkError("http_429", "busy", retryable=True, retry_after_s=200.0, status=429)])
        rig = Rig(clock, first, path=tmp_path / "state.db")
        rig.offer(firing("Old"))
        await clock.sleep(1)
        await kill(rig)
        sink = Receiver()
        again = Rig(clock, sink, path=tmp_path / "state.db")
        again.offer(firing("New"))
        await clock.sleep(190)
        assert told(sink.delivered) == [("New", "firing")]
        await clock.sleep(15)
        assert told(sink.delivered)[1:] == [("Old", "firing")]
        await again.finish()

    run_virtual(main)


class Hangs(Receiver):
    """Takes what it is told to, and never answers the rest."""

    def __init__(self, answers: int = 0) -> None:
        super().__init__()
        self.answers = answers

    async def deliver(self, message_id: str, body: bytes) -> None:
        if len(self.delivered) < self.answers:
            await super().deliver(message_id, body)
        else:
            self.attempts.append((message_id, body))
            await asyncio.Event().wait()


def test_f56_a_stop_does_not_wait_for_a_receiver_that_hangs_if_everything_is_on_disk(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        first = Hangs(answers=2)
        rig = Rig(clock, first, path=tmp_path / "state.db")
        await clock.sleep(1)
        rig.offer(*(firing(f"R{number}") for number in range(4)))
        begun = clock.monotonic()
        await rig.finish()
        assert clock.monotonic() - begun < 4, "its time-out is 30 s"
        assert told(first.delivered) == [("R0", "firing"), ("R1", "firing")], "who answers is told until the end"
        assert rig.runner.desk.dropped == {}
        sink = Receiver()
        again = Rig(clock, sink, path=tmp_path / "state.db")
        await clock.sleep(1)
        assert sink.delivered[0] == first.attempts[2], "nobody knows whether it was taken: the same id and bytes"
        assert told(sink.delivered) == [("R2", "firing"), ("R3", "firing")]
        await again.finish()

    run_virtual(main)


def test_f56_where_nothing_is_kept_a_stop_waits_for_it() -> None:
    async def main(clock: VirtualClock) -> None:
        class Slow(Receiver):
            async def deliver(self, message_id: str, body: bytes) -> None:
                await clock.sleep(10)
                await super().deliver(message_id, body)

        sink = Slow()
        rig = Rig(clock, sink)
        await clock.sleep(1)
        rig.offer(firing("A"))
        await rig.finish()
        assert told(sink.delivered) == [("A", "firing")]

    run_virtual(main)
