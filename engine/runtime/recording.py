"""The recording half of a sink: batches of records, offered again for as long as that may help.

While a recorder is down its queue fills, and then loses samples before anything else. A batch is written again
only if its error says that it may succeed later; whatever else a recorder raises is a bug of its own, and three
attempts at the same records are enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from typing import Final

from engine.events import Record
from engine.ports import Recorder, RecordKind
from engine.runtime.contain import Failure
from engine.runtime.desk import Desk
from engine.runtime.queues import RecordQueue, kind_of

__all__ = ["RecordWorker"]

WRITE_RECORDS_MAX: Final = 1_000
WRITE_LINGER_S: Final = 0.25
"""How long samples wait for company before they are written; anything else is written at once."""
WRITE_TIMEOUT_S: Final = 30.0
RECORDS_PER_TURN: Final = 1_000
ATTEMPTS_MAX: Final = 3
"""Attempts at a batch whose error does not say whether a retry helps, and at any batch during the drain."""


class RecordWorker:
    """Writes records to one recorder.

    Args:
        recorder: Where to.
        desk: The sink's bookkeeping.
        records_max: How many records wait at most.
    """

    def __init__(self, recorder: Recorder, desk: Desk, records_max: int) -> None:
        self._recorder = recorder
        self._desk = desk
        self._wants = frozenset(recorder.WANTS)
        self._queue = RecordQueue(records_max)
        self._writing: list[Record] = []
        self._work = asyncio.Event()

    @property
    def queued(self) -> int:
        """Records that wait or are being written."""
        return len(self._queue) + len(self._writing)

    @property
    def queue_max(self) -> int:
        """How many may wait."""
        return self._queue.records_max

    def offering(self, records: Sequence[tuple[RecordKind, Record]]) -> Generator[None, None, None]:
        """Queue what the recorder wants, in order; a generator that yields after each part of the work."""
        for start in range(0, len(records), RECORDS_PER_TURN):
            lost: list[Record] = []
            for kind, record in records[start : start + RECORDS_PER_TURN]:
                if kind in self._wants:
                    lost += self._queue.put(record, kind)
            if len(self._queue):
                self._work.set()
            if lost:
                self._note_lost(lost)
            yield

    def wake(self) -> None:
        """Look again whether to go on: the end is near."""
        self._work.set()

    def abandon(self) -> int:
        """Forget what waits; return how many records that were."""
        left = self.queued
        self._queue = RecordQueue(self._queue.records_max)
        self._writing = []
        return left

    async def run(self) -> None:
        """Write, until nothing is left and nothing more will be offered."""
        if not await self._desk.opened():
            return
        while await self._wait():
            if not self._queue.urgent and len(self._queue) < WRITE_RECORDS_MAX:
                await self._desk.pause(WRITE_LINGER_S)
            self._writing = self._queue.take(WRITE_RECORDS_MAX)
            await self._write(self._writing)
            self._writing = []

    async def _wait(self) -> bool:
        while not len(self._queue):
            if self._desk.ending:
                return False
            self._work.clear()
            await self._work.wait()
        return True

    async def _write(self, records: list[Record]) -> None:
        desk, attempt, last = self._desk, 0, 0
        while True:
            outcome = await desk.call(lambda: self._recorder.write(records), WRITE_TIMEOUT_S)
            failure = outcome.failure
            if failure is None:
                desk.written += len(records)
                desk.works()
                desk.take_notices(self._recorder)
                return
            attempt += 1
            last += desk.draining
            if not _worth_another(failure, attempt) or last >= ATTEMPTS_MAX:
                desk.lose(failure.reason, len(records))
                desk.tell(failure.reason, f"records lost: {failure.message}", count=len(records))
                return
            desk.retries += 1
            desk.tell(failure.reason, failure.message, status="degraded")
            await desk.pause(desk.retry_pause_s(failure, attempt))

    def _note_lost(self, lost: list[Record]) -> None:
        transitions = sum(kind_of(record) == "transitions" for record in lost)
        self._desk.lose("queue_full", len(lost))
        if transitions:
            self._desk.tell("transitions_lost", "the queue is full of transitions", count=transitions)
        if len(lost) > transitions:
            self._desk.tell(
                "queue_full",
                "the oldest records were dropped",
                status="degraded",
                count=len(lost) - transitions,
            )


def _worth_another(failure: Failure, attempt: int) -> bool:
    if (asked := failure.asked) is not None:
        return asked.retryable
    return failure.reason in {"timeout", "hung"} or attempt < ATTEMPTS_MAX
