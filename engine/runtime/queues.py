"""What waits for one sink: bounded, in order, and never losing an alert for a sample's sake. Pure.

A sink that is down for days costs a fixed amount of memory. When its queue is full the oldest samples go first,
then the oldest health and domain events; transitions go last, when nothing else is left (fault F47).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from engine.events import DomainEvent, Record, Sample, SampleBatch, Transition, weight
from engine.ports import RecordKind

__all__ = ["SAMPLES_PER_RECORD", "RecordQueue", "kind_of"]

SAMPLES_PER_RECORD: Final = 100
"""A queue of n records holds at most this many times n samples, so that few huge batches can't fill the memory."""
_SAMPLES, _NEWS, _TRANSITIONS = 0, 1, 2
_RANK: Final[dict[RecordKind, int]] = {
    "samples": _SAMPLES,
    "health": _NEWS,
    "events": _NEWS,
    "transitions": _TRANSITIONS,
}


def kind_of(record: Record) -> RecordKind:
    """Which of the kinds that a recorder may want this is."""
    if isinstance(record, Sample | SampleBatch):
        return "samples"
    if isinstance(record, Transition):
        return "transitions"
    return "events" if isinstance(record, DomainEvent) else "health"


class RecordQueue:
    """Records in the order they came, in three lanes by what may be lost first.

    Args:
        records_max: How many records it holds.
    """

    def __init__(self, records_max: int) -> None:
        self.records_max = records_max
        self.samples_max = records_max * SAMPLES_PER_RECORD
        self._lanes: tuple[deque[tuple[int, Record]], ...] = (deque(), deque(), deque())
        self._sequence = 0
        self._samples = 0

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes)

    @property
    def urgent(self) -> bool:
        """Whether something other than samples waits."""
        return bool(self._lanes[_NEWS] or self._lanes[_TRANSITIONS])

    def put(self, record: Record, kind: RecordKind) -> list[Record]:
        """Add a record; return what had to go for it, which may be the record itself."""
        rank = _RANK[kind]
        samples = weight(record) if rank == _SAMPLES else 0  # type: ignore[arg-type]  # samples are Events
        if samples > self.samples_max:
            return [record]
        gone: list[Record] = []
        while len(self) >= self.records_max or self._samples + samples > self.samples_max:
            lane = next((lane for lane in self._lanes[: rank + 1] if lane), None)
            if lane is None:
                return [*gone, record]
            gone.append(self._drop_oldest(lane))
        self._sequence += 1
        self._samples += samples
        self._lanes[rank].append((self._sequence, record))
        return gone

    def take(self, records_max: int) -> list[Record]:
        """Remove and return the oldest records, in order."""
        taken: list[Record] = []
        while len(taken) < records_max:
            heads = [lane for lane in self._lanes if lane]
            if not heads:
                break
            lane = min(heads, key=lambda lane: lane[0][0]) if len(heads) > 1 else heads[0]
            taken.append(self._drop_oldest(lane))
        return taken

    def _drop_oldest(self, lane: deque[tuple[int, Record]]) -> Record:
        record = lane.popleft()[1]
        if lane is self._lanes[_SAMPLES]:
            self._samples -= weight(record)  # type: ignore[arg-type]  # samples are Events
        return record
