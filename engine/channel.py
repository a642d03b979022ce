"""The one queue between everything that produces events and the core: bounded in samples, never in hope.

Producers try without waiting first; the single consumer takes whole batches, so that a hand-over costs a
fraction of a microsecond per sample. What does not fit is dropped by an explicit policy and counted by
reason: nothing is ever lost silently. The queue belongs to one event loop and must not be touched from
another thread; a thread hands its events over with `loop.call_soon_threadsafe(engine.emit, event)`.

`Health` and `Blind` events have a small reserve of their own: no flood of samples can displace the news
that samples are being lost. What was dropped is blind, not good: `take_dropped` says of what, and from when to when.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

from engine.dropped import DroppedSpan, Drops
from engine.events import Blind, Event, Health, Sample, weight
from engine.status import ChannelStatus

__all__ = ["RESERVE_EVENTS", "Channel", "Policy"]

Policy: TypeAlias = Literal["block", "drop_newest", "drop_oldest"]

RESERVE_EVENTS = 256
"""Places for health events and blind spans, on top of the capacity."""
_RESERVED = (Health, Blind)


class _Waiting:
    """A producer that waits for room. Compared by identity."""

    __slots__ = ("admitted", "event", "samples")

    def __init__(self, event: Event, samples: int, admitted: asyncio.Future[bool]) -> None:
        self.event = event
        self.samples = samples
        self.admitted = admitted


class Channel:
    """A bounded queue with many producers and one consumer.

    Args:
        capacity_samples: How many samples it holds; a batch weighs its length, any other event 1.
        policy: What happens when an event does not fit.
            `block`: `put` waits, in the order of arrival; `put_nowait` drops its event.
            `drop_newest`: the event that does not fit is dropped; what is queued is kept.
            `drop_oldest`: the oldest queued samples make room; the latest values are kept.

    Reasons of drops: `full` (the new event did not fit), `displaced` (an old one made room), `oversize` (heavier
    than the whole capacity), `reserve` (too many health events), `cancelled` (while it waited for room), `closed`.
    At every moment, in samples: received = delivered + dropped + depth.
    """

    def __init__(self, capacity_samples: int, policy: Policy = "drop_oldest") -> None:
        if capacity_samples < 1:
            raise ValueError(f"a channel holds at least 1 sample, not {capacity_samples}")
        self.capacity_samples = capacity_samples
        self.policy = policy
        self._samples: deque[Event] = deque()
        self._append = self._samples.append
        # How many samples may still come without further thought, see `_make_room`: they are only counted off here, and
        # the books are written up by whoever comes next with anything else.
        self._room = capacity_samples
        self._given = capacity_samples  # the room as it was when the books were written up
        # Reserved events keep their place among the samples: each with the number of samples' events that had
        # been admitted before it. `_taken` counts those that have left again, so order needs no tag per sample.
        self._reserved: deque[tuple[int, Event]] = deque()
        self._admitted = 0
        self._taken = 0
        self._depth = 0  # samples only, without the reserve
        self._waiting: deque[_Waiting] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self._peak = 0
        self._received = 0
        self._delivered = 0
        self.reserved_taken = 0
        """Health events and blind spans that were taken: whether a batch has any shows without a look at each event."""
        self._drops = Drops()

    @property
    def closed(self) -> bool:
        """Whether it takes no more events."""
        return self._closed

    def put_nowait(self, event: Event) -> bool:
        """Offer an event; never waits and never raises for lack of room. Returns whether it was taken."""
        # This is the way of every sample.
        if type(event) is Sample and self._room:
            self._room -= 1
            self._append(event)
            return True
        self._write_up()
        taken = self._put(event)
        self._make_room()
        return taken

    def put_many(self, events: Sequence[Event]) -> int:
        """Offer several events, as `put_nowait` would one by one. Returns how many were taken."""
        if len(events) <= self._room and list(map(type, events)).count(Sample) == len(events):
            self._room -= len(events)
            self._samples.extend(events)
            return len(events)
        return sum(map(self.put_nowait, events))

    def _put(self, event: Event) -> bool:
        samples = weight(event)
        if self._closed:
            return self._refuse(event, samples, "closed")
        if isinstance(event, _RESERVED):
            return self._put_reserved(event)
        if samples > self.capacity_samples:
            return self._refuse(event, samples, "oversize")
        if self._waiting:  # nobody overtakes those who wait
            return self._refuse(event, samples, "full")
        if self._depth + samples > self.capacity_samples:
            if self.policy != "drop_oldest":
                return self._refuse(event, samples, "full")
            self._displace(samples)
        self._admit(event, samples)
        return True

    def _write_up(self) -> None:
        """Enter into the books what came without further thought."""
        came = self._given - self._room
        if came:
            self._received += came
            self._admitted += came
            self._depth += came
            self._given = self._room
            self._peak = max(self._peak, self._depth + len(self._reserved))

    def _make_room(self) -> None:
        """Say how many samples may come without further thought, once the books are written up: none while the consumer
        sleeps, somebody waits, or it is closed."""
        sleeps = self._wake is not None and not self._wake.done()
        open_ = not (self._closed or self._waiting or sleeps)
        self._room = self._given = max(0, self.capacity_samples - self._depth) if open_ else 0

    async def put(self, event: Event) -> bool:
        """Offer an event; under the policy `block` wait for room. Returns whether it was taken. When the waiting is
        cancelled it has either not been taken, and is counted as dropped, or was taken just then and is delivered."""
        self._write_up()
        samples = weight(event)
        fits = samples <= self.capacity_samples and not isinstance(event, _RESERVED)
        crowded = bool(self._waiting) or self._depth + samples > self.capacity_samples
        if self.policy != "block" or self._closed or not fits or not crowded:
            return self.put_nowait(event)
        waiting = _Waiting(event, samples, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._make_room()
        try:
            return await waiting.admitted
        finally:
            if waiting in self._waiting:  # cancelled while it waited
                self._write_up()
                self._waiting.remove(waiting)
                self._refuse(event, samples, "cancelled")
                self._admit_waiting()  # a lighter one may have stood behind it
                self._make_room()

    async def get_batch(self, max_samples: int) -> list[Event]:
        """Wait for at least one event, then take all that is there without waiting, oldest first.

        An empty list means that the channel is closed and drained. Cancelling it loses nothing.

        Args:
            max_samples: Stop before the batch gets heavier than this; one event is always taken.
        """
        while not self._samples and not self._reserved:
            if self._closed:
                return []
            if self._wake is not None:
                raise RuntimeError("a channel has one consumer, and one is waiting already")
            self._write_up()
            self._wake = asyncio.get_running_loop().create_future()
            self._make_room()
            try:
                await self._wake
            finally:
                self._write_up()
                self._wake = None
                self._make_room()
        self._write_up()
        batch = self._take(max_samples)
        self._admit_waiting()
        self._make_room()
        return batch

    def close(self) -> None:
        """Take no more events. What is queued can still be taken; who waits for room is told no."""
        self._write_up()
        self._closed = True
        self._make_room()
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.admitted.done():
                self._refuse(waiting.event, waiting.samples, "closed")
                waiting.admitted.set_result(False)
        self._rouse()

    def statistics(self) -> ChannelStatus:
        """Figures of this moment and since the start."""
        self._write_up()
        return ChannelStatus(
            depth=self._depth + len(self._reserved),
            capacity=self.capacity_samples,
            peak=self._peak,
            received=self._received,
            dropped=dict(self._drops.reasons),
        )

    def take_dropped(self) -> list[DroppedSpan]:
        """The spans of the stamps of everything dropped since the last call, see `Drops.take_spans`."""
        return self._drops.take_spans()

    def _put_reserved(self, event: Event) -> bool:
        if len(self._reserved) >= RESERVE_EVENTS:
            return self._refuse(event, 1, "reserve")
        self._received += 1
        self._reserved.append((self._admitted, event))
        self._note_depth()
        return True

    def _admit(self, event: Event, samples: int) -> None:
        self._received += samples
        self._append(event)
        self._admitted += 1
        self._depth += samples
        self._note_depth()

    def _note_depth(self) -> None:
        self._peak = max(self._peak, self._depth + len(self._reserved))
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _refuse(self, event: Event, samples: int, reason: str) -> bool:
        self._received += samples
        self._drops.count(event, samples, reason)
        return False

    def _displace(self, samples: int) -> None:
        while self._depth + samples > self.capacity_samples:
            oldest = self._samples.popleft()
            samples_gone = weight(oldest)
            self._taken += 1
            self._depth -= samples_gone
            self._drops.count(oldest, samples_gone, "displaced")

    def _take(self, max_samples: int) -> list[Event]:
        if not self._reserved and self._depth <= max_samples:
            batch = list(self._samples)
            self._samples.clear()
            self._taken += len(batch)
            self._delivered += self._depth
            self._depth = 0
            return batch
        if not self._reserved and self._depth == len(self._samples):  # each weighs 1
            count = min(max(1, max_samples), self._depth)
            take = self._samples.popleft
            batch = [take() for _ in range(count)]
            self._taken += count
            self._delivered += count
            self._depth -= count
            return batch
        batch = []
        room = max_samples
        while self._samples or self._reserved:
            if self._reserved and self._reserved[0][0] <= self._taken:
                event, samples = self._reserved[0][1], 1
                if batch and room < 1:
                    break
                self._reserved.popleft()
                self.reserved_taken += 1
            else:
                event, samples = self._samples[0], weight(self._samples[0])
                if batch and room < samples:
                    break
                self._samples.popleft()
                self._taken += 1
                self._depth -= samples
            batch.append(event)
            room -= samples
            self._delivered += samples
        return batch

    def _admit_waiting(self) -> None:
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.admitted.done():  # cancelled: its `put` takes it out, or has done so
                break
            if self._depth + waiting.samples > self.capacity_samples:
                break
            self._waiting.popleft()
            self._admit(waiting.event, waiting.samples)
            waiting.admitted.set_result(True)
