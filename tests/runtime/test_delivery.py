"""Opening, closing and the roles of a sink; the queue of one is no concern of another's (F47, F61)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import SinkError
from engine.events import Record, Sample, Transition
from engine.ports import RecordKind
from engine.runtime.deciding import Policy
from engine.runtime.delivery import SinkRunner, SinkSpec
from engine.runtime.ledger.values import Limits
from engine.runtime.queues import kind_of
from engine.runtime.reconcile import Reconcile
from engine.runtime.supervisor import Shared
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of, keeper_of, shared


class Rig:
    """One sink with its loops running."""

    def __init__(
        self,
        clock: VirtualClock,
        sink: Any,
        *,
        records_max: int = 100,
        name: str = "s",
        path: Path | None = None,
        per_minute: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self.parts: Shared = shared(clock)
        self.keeper = keeper_of(self.parts, [name], path, limits)
        self.runner = SinkRunner(
            SinkSpec(name, "fake", sink, messages_per_minute=per_minute),
            self.parts,
            queue_records_max=records_max,
            keeper=self.keeper,
        )
        self.worker: Any = self.runner.messages
        workers = [] if self.runner.messages is None else [self.runner.messages]
        self.policy = Policy(self.keeper, workers, {"env": "test"})
        if path is None or not path.exists():
            self.policy.stand([])
        self.reconcile = Reconcile(self.keeper, self.policy)
        loops = (self.keeper.run, self.policy.run, self.reconcile.run)
        self.beside = [asyncio.ensure_future(run()) for run in loops]
        self.tasks = [asyncio.ensure_future(job.run()) for job in self.runner.jobs()]
        self.offered: list[asyncio.Future[None]] = []

    def offer(self, *records: Record) -> None:
        kinds: list[tuple[RecordKind, Record]] = [(kind_of(record), record) for record in records]
        self.runner.offer(kinds)
        transitions = [record for record in records if isinstance(record, Transition)]
        if transitions:
            self.offered.append(asyncio.ensure_future(self._record(transitions)))

    async def _record(self, transitions: Sequence[Transition]) -> None:
        await self.keeper.opened.wait()
        await self.keeper.record(transitions, self.parts.clock.now_ms())

    async def end(self) -> None:
        """Begin to stop: everything is decided, and the loops may end."""
        await asyncio.gather(*self.offered)
        self.policy.drain()
        await asyncio.wait({self.beside[1]}, timeout=5)
        self.runner.end()

    async def finish(self, seconds: float = 60) -> None:
        await self.end()
        await asyncio.wait(self.tasks, timeout=seconds)
        await self.cut()
        assert len(asyncio.all_tasks()) == 1

    async def cut(self) -> None:
        """Cancel what runs still, and close."""
        for task in (*self.tasks, *self.beside):
            task.cancel()
        await asyncio.wait([*self.tasks, *self.beside])
        await self.runner.close()
        await self.keeper.close(5)
        await self.parts.containment.close(1)


def samples(count: int, start: int = 0) -> list[Sample]:
    return [Sample(number, "x", 1.0) for number in range(start, start + count)]


def test_everything_arrives_and_the_sink_is_opened_and_closed_once() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        rig = Rig(clock, sink)
        rig.offer(*samples(5), firing())
        await clock.sleep(1)
        assert [record.time_ms for record in sink.records] == [0, 1, 2, 3, 4, 1]
        assert len(sink.delivered) == 1
        status = rig.runner.status()
        assert (status.status, status.written, status.queued, status.dropped) == ("ok", 7, 0, 0)
        await rig.finish()
        assert (sink.opened, sink.closed) == (1, 1)

    run_virtual(main)


def test_a_sink_without_a_role_is_refused() -> None:
    class Neither:
        async def open(self) -> None: ...
        async def close(self) -> None: ...

    async def main(clock: VirtualClock) -> None:
        with pytest.raises(TypeError, match="neither"):
            Rig(clock, Neither())

    run_virtual(main)


def test_a_sink_that_cannot_open_is_retried_and_what_came_meanwhile_is_kept() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        sink.open_failures.extend(
            [SinkError("locked", "busy", retryable=True), SystemExit(1), SinkError("denied", "no", retryable=False)]
        )
        rig = Rig(clock, sink)
        rig.offer(firing())
        await clock.sleep(30)
        assert rig.runner.status().status == "failed"
        assert "can't open" in rig.runner.status().message
        await clock.sleep(90)
        assert (sink.opened, len(sink.transitions), len(sink.delivered)) == (4, 1, 1)
        told = await health_of(rig.parts)
        assert told == [
            ("sink.s", "failed", "locked"),
            ("sink.s", "failed", "raised"),
            ("sink.s", "failed", "denied"),
            ("sink.s", "ok", "recovered"),
        ]
        await rig.finish()

    run_virtual(main)


def test_one_that_never_opened_does_not_delay_the_end_and_its_records_are_counted() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        sink.open_failures.extend([SinkError("down", "down", retryable=True)] * 100)
        rig = Rig(clock, sink)
        rig.offer(*samples(3), firing())
        await clock.sleep(10)
        begun = clock.monotonic()
        await rig.finish()
        assert clock.monotonic() - begun < 2
        assert rig.runner.desk.dropped == {"shutdown": 5}
        assert sink.closed == 1

    run_virtual(main)


def test_a_hung_sink_costs_the_other_nothing_f61() -> None:
    async def main(clock: VirtualClock) -> None:
        hung, good = RecordingSink(hang=True), RecordingSink()
        one, two = Rig(clock, hung, name="hung"), Rig(clock, good, name="good")
        for number in range(2_000):
            record = Sample(number, "x", 1.0)
            one.offer(record)
            two.offer(record)
            await clock.sleep(0.01)
        await clock.sleep(1)
        assert len(good.records) == 2_000
        assert two.runner.status().dropped == 0
        assert one.runner.status().queued <= 100 + 1_000
        assert one.runner.status().status in {"degraded", "failed"}
        for rig in (one, two):
            await rig.end()
        await asyncio.wait(two.tasks)
        for rig in (one, two):
            await rig.cut()

    run_virtual(main)


def test_close_never_raises_and_never_waits_for_ever() -> None:
    class Bad(RecordingSink):
        async def close(self) -> None:
            raise KeyboardInterrupt

    class Hangs(RecordingSink):
        async def close(self) -> None:
            await asyncio.Event().wait()

    async def main(clock: VirtualClock) -> None:
        for sink in (Bad(), Hangs()):
            rig = Rig(clock, sink)
            await clock.sleep(0.1)
            begun = clock.monotonic()
            await rig.finish()
            assert clock.monotonic() - begun <= 8
            assert rig.runner.status().status == "degraded"

    run_virtual(main)


def test_a_sink_that_comes_back_just_before_the_end_is_opened_once_more_and_gets_what_waited() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink()
        sink.open_failures.extend([SinkError("down", "down", retryable=True)] * 100)
        rig = Rig(clock, sink)
        rig.offer(*samples(3), firing())
        await clock.sleep(30)
        sink.open_failures.clear()
        opened = sink.opened
        await rig.finish()
        assert sink.opened == opened + 1
        assert (len(sink.records), len(sink.delivered)) == (4, 1)
        assert rig.runner.desk.dropped == {}

    run_virtual(main)


def test_the_last_attempt_to_open_is_one_and_only_if_something_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        for backlog in (0, 3):
            sink = RecordingSink()
            sink.open_failures.extend([SinkError("down", "down", retryable=True)] * 100)
            rig = Rig(clock, sink)
            rig.offer(*samples(backlog))
            await clock.sleep(10)
            opened = sink.opened
            await rig.finish()
            assert sink.opened - opened == min(backlog, 1)
            assert sum(rig.runner.desk.dropped.values()) == backlog

    run_virtual(main)


def test_notices_are_taken_after_the_opening_and_after_each_write() -> None:
    class Telling(RecordingSink):
        def __init__(self) -> None:
            super().__init__()
            self.notices = [("corrupt", "renamed")]

        def take_notices(self) -> list[tuple[str, str]]:
            taken, self.notices = self.notices, []
            return taken

    async def main(clock: VirtualClock) -> None:
        sink = Telling()
        rig = Rig(clock, sink)
        await clock.sleep(1)
        assert ("sink.s", "degraded", "corrupt") in await health_of(rig.parts)
        sink.notices = [("wal_pinned", "a reader")]
        rig.offer(*samples(1))
        await clock.sleep(1)
        assert ("sink.s", "degraded", "wal_pinned") in await health_of(rig.parts)
        assert rig.runner.desk.notices == 2
        await rig.finish()

    run_virtual(main)
