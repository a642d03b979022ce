"""From the pipeline to one sink: opened, fed, flushed, closed, and none of its troubles anybody else's.

Each sink has queues and tasks of its own; `offer` never waits. The roles of a sink are workers: `recording` writes
what happened, `outbox` tells people, `ticking` acts by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Final, NamedTuple

from engine.conformance import receives, sink_faults
from engine.events import Record
from engine.ports import Periodic, Recorder, RecordKind, Sink
from engine.runtime.desk import Desk
from engine.runtime.keeping import Keeper
from engine.runtime.outbox import OutboxWorker
from engine.runtime.recording import RecordWorker
from engine.runtime.retry import Bucket
from engine.runtime.schedule import BACKOFF_MAX_S
from engine.runtime.supervisor import Shared
from engine.runtime.ticking import TickWorker
from engine.status import SinkStatus

__all__ = ["SinkRunner", "SinkSpec"]

OPEN_TIMEOUT_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 5.0


class SinkSpec(NamedTuple):
    """A sink to run: its table's name, what it is for people, and itself.

    Args:
        fallback: Name of the sink that is told what this one can't be.
        messages_per_minute: Its rate limit; 0 for none.
    """

    name: str
    type: str
    sink: Sink
    fallback: str = ""
    messages_per_minute: int = 0


class Job(NamedTuple):
    """A loop of a sink: its name, how to run it, and whether it is the one that tells people."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    tells: bool = False


class SinkRunner:
    """Runs one sink.

    Args:
        spec: The sink.
        shared: The engine's clock, channel and so on.
        queue_records_max: Records that wait for it at most; messages have a bound of their own.
        keeper: The ledger, which has its messages.
    """

    def __init__(
        self,
        spec: SinkSpec,
        shared: Shared,
        *,
        queue_records_max: int,
        keeper: Keeper,
    ) -> None:
        self.spec = spec
        self.desk = Desk(f"sink.{spec.name}", shared)
        self._records = (
            RecordWorker(spec.sink, self.desk, queue_records_max) if isinstance(spec.sink, Recorder) else None
        )
        self._keeper = keeper
        self.messages = (
            OutboxWorker(spec.sink, self.desk, spec.name, keeper, bucket=_bucket(spec.messages_per_minute))
            if receives(spec.sink)
            else None
        )
        """What sends its messages; None if it takes none."""
        self._ticks = TickWorker(spec.sink, self.desk) if isinstance(spec.sink, Periodic) else None
        if self._records is None and self.messages is None and self._ticks is None:
            raise TypeError(f"sink {spec.name}: {type(spec.sink).__name__} has {' and '.join(sink_faults(spec.sink))}")

    def offer(self, records: Sequence[tuple[RecordKind, Record]]) -> None:
        """`offering` all at once."""
        for _ in self.offering(records):
            pass

    def offering(self, records: Sequence[tuple[RecordKind, Record]]) -> Generator[None, None, None]:
        """Hand over what one step brought, for the record: a generator that yields after each part of the work, and
        never waits. Messages come by the ledger."""
        if self._records is not None:
            yield from self._records.offering(records)

    def jobs(self) -> list[Job]:
        """The loops of this sink, for the pipeline to run side by side."""
        jobs = [Job(self.desk.component, self._open)]
        if self._records is not None:
            jobs.append(Job(f"{self.desk.component} records", self._records.run))
        if self.messages is not None:
            jobs.append(Job(f"{self.desk.component} messages", self.messages.run, tells=True))
        if self._ticks is not None:
            jobs.append(Job(f"{self.desk.component} ticks", self._ticks.run))
        return jobs

    def drain(self) -> None:
        """Let the telling end as soon as nothing waits any more; records may still be offered."""
        self.desk.draining = True
        self.desk.note_change()
        if self._ticks is not None:
            self._ticks.drain()
        self._wake()

    def end(self) -> None:
        """Let every loop end as soon as nothing waits any more."""
        self.desk.ending = True
        self.drain()

    def give_up_messages(self) -> int:
        """Say which messages were not delivered in time: those on disk wait for the next start, those in memory are
        lost, and counted. Return how many were lost."""
        left = 0 if self.messages is None else self.messages.give_up()
        if not left:
            return 0
        if self._keeper.durable:
            text = f"{left} messages wait for the next start"
            self.desk.tell("waiting", text, status="degraded", count=left)
            return 0
        self.desk.lose("shutdown", left)
        return left

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Count what was not delivered, and let the sink release what it holds; does not raise."""
        left = self.give_up_messages()
        if self._records is not None:
            unwritten = self._records.abandon()
            self.desk.lose("shutdown", unwritten)
            left += unwritten
        if left:
            self.desk.tell("shutdown", f"{left} records and messages were lost at the stop", count=left)
        outcome = await self.desk.call(self.spec.sink.close, timeout_s)
        self.desk.is_open = False
        if outcome.failure is not None:
            self.desk.tell(outcome.failure.reason, outcome.failure.message, status="degraded")

    def status(self) -> SinkStatus:
        """How it is now."""
        workers = [worker for worker in (self._records, self.messages) if worker is not None]
        return SinkStatus(
            name=self.spec.name,
            type=self.spec.type,
            status=self.desk.status,
            message=self.desk.message,
            queued=sum(worker.queued for worker in workers),
            queue_max=sum(worker.queue_max for worker in workers),
            written=self.desk.written,
            retries=self.desk.retries,
            dropped=sum(self.desk.dropped.values()) + self._own_drops(),
            held=0 if self.messages is None else self.messages.counts.held,
            oldest_ms=0 if self.messages is None else self.messages.counts.oldest_ms,
        )

    def _own_drops(self) -> int:
        """What the sink itself counts as dropped: records it can never store, lines that nobody reads."""
        dropped = getattr(self.spec.sink, "dropped", 0)
        return dropped if type(dropped) is int else 0

    async def _open(self) -> None:
        desk, attempt = self.desk, 0
        while True:
            last = desk.draining
            if last and not self._backlog():
                break
            outcome = await desk.call(self.spec.sink.open, OPEN_TIMEOUT_S)
            if outcome.failure is None:
                desk.is_open = True
                desk.works()
                desk.take_notices(self.spec.sink)
                desk.note_change()
                return
            attempt += 1
            desk.tell(outcome.failure.reason, f"can't open: {outcome.failure.message}")
            if last:
                break
            asked = outcome.failure.asked
            final = asked is not None and not asked.retryable  # a person must act; look now and then
            await desk.pause(BACKOFF_MAX_S if final else desk.retry_pause_s(outcome.failure, attempt))
        desk.gave_up = True
        desk.note_change()

    def _backlog(self) -> int:
        return sum(worker.queued for worker in (self._records, self.messages) if worker is not None)

    def _wake(self) -> None:
        for worker in (self._records, self.messages):
            if worker is not None:
                worker.wake()


def _bucket(per_minute: int) -> Bucket | None:
    return Bucket(per_minute / 60, max(1, per_minute // 6)) if per_minute else None
