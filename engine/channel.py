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
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from engine.events import Blind, Event, Health, Sample, SampleBatch, weight
from engine.series import metric_of
from engine.status import ChannelStatus

__all__ = ["DROPPED_SCOPES_MAX", "RESERVE_EVENTS", "Channel", "DroppedSpan", "Policy"]

Policy: TypeAlias = Literal["block", "drop_newest", "drop_oldest"]

RESERVE_EVENTS = 256
"""Places for health events and blind spans, on top of the capacity."""
_RESERVED = (Health, Blind)
DROPPED_SCOPES_MAX = 16
"""Series and metrics that dropped samples are told apart by; of more, everything is blind."""
BATCH_SERIES_READ_MAX = 1_000
"""A dropped batch of more series is not looked through for its metrics: that would hold the loop."""
_EVERYTHING = "*"


class DroppedSpan(NamedTuple):
    """From the first stamp to the last, exclusive, of what was dropped of a series, of a metric or (`*`) of all."""

    scope: str
    from_ms: int
    to_ms: int


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
        self._dropped: dict[str, int] = {}
        self._dropped_spans: dict[str, tuple[int, int]] = {}  # by scope; `*` alone once there were too many

    @property
    def closed(self) -> bool:
        """Whether it takes no more events."""
        return self._closed

    def put_nowait(self, event: Event) -> bool:
        """Offer an event; never waits and never raises for lack of room. Returns whether it was taken."""
        plain = type(event) is Sample
        samples = 1 if plain else weight(event)
        if self._closed:
            return self._refuse(event, samples, "closed")
        if not plain and isinstance(event, _RESERVED):
            return self._put_reserved(event)
        if samples > self.capacity_samples:
            return self._refuse(event, samples, "oversize")
        if self._waiting:  # nobody overtakes those who wait
            return self._refuse(event, samples, "full")
        if self._depth + samples > self.capacity_samples:
            if self.policy != "drop_oldest":
                return self._refuse(event, samples, "full")
            self._displace(samples)
        # `_admit`, written out: this is the way of every sample.
        self._received += samples
        self._samples.append(event)
        self._admitted += 1
        self._depth = depth = self._depth + samples
        if depth + len(self._reserved) > self._peak:
            self._peak = depth + len(self._reserved)
        if self._wake is not None:
            self._rouse()
        return True

    async def put(self, event: Event) -> bool:
        """Offer an event; under the policy `block` wait for room. Returns whether it was taken.

        When the waiting is cancelled the event has either not been taken and is counted as dropped, or has been
        taken at the same moment and will be delivered.
        """
        samples = weight(event)
        fits = samples <= self.capacity_samples and not isinstance(event, _RESERVED)
        crowded = bool(self._waiting) or self._depth + samples > self.capacity_samples
        if self.policy != "block" or self._closed or not fits or not crowded:
            return self.put_nowait(event)
        waiting = _Waiting(event, samples, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            return await waiting.admitted
        finally:
            if waiting in self._waiting:  # cancelled while it waited
                self._waiting.remove(waiting)
                self._refuse(event, samples, "cancelled")
                self._admit_waiting()  # a lighter one may have stood behind it

    async def get_batch(self, max_samples: int) -> list[Event]:
        """Wait for at least one event, then take all that is there without waiting, oldest first.

        An empty list means that the channel is closed and drained. Cancelling it (a time-out of the caller's)
        loses nothing.

        Args:
            max_samples: Stop before the batch gets heavier than this; one event is always taken.
        """
        while not self._samples and not self._reserved:
            if self._closed:
                return []
            if self._wake is not None:
                raise RuntimeError("a channel has one consumer, and one is waiting already")
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        batch = self._take(max_samples)
        self._admit_waiting()
        return batch

    def close(self) -> None:
        """Take no more events. What is queued can still be taken; who waits for room is told no."""
        self._closed = True
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.admitted.done():
                self._refuse(waiting.event, waiting.samples, "closed")
                waiting.admitted.set_result(False)
        self._rouse()

    def statistics(self) -> ChannelStatus:
        """Figures of this moment and since the start."""
        return ChannelStatus(
            depth=self._depth + len(self._reserved),
            capacity=self.capacity_samples,
            peak=self._peak,
            received=self._received,
            dropped=dict(self._dropped),
        )

    def take_dropped(self) -> list[DroppedSpan]:
        """The spans of the stamps of everything dropped since the last call, at most one for each of
        `DROPPED_SCOPES_MAX` scopes."""
        if not self._dropped_spans:
            return []
        spans, self._dropped_spans = self._dropped_spans, {}
        return [DroppedSpan(scope, *span) for scope, span in spans.items()]

    def _put_reserved(self, event: Event) -> bool:
        if len(self._reserved) >= RESERVE_EVENTS:
            return self._refuse(event, 1, "reserve")
        self._received += 1
        self._reserved.append((self._admitted, event))
        self._note_depth()
        return True

    def _admit(self, event: Event, samples: int) -> None:
        self._samples.append(event)
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
        self._count_drop(event, samples, reason)
        return False

    def _count_drop(self, event: Event, samples: int, reason: str) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + samples
        if reason == "closed" or isinstance(event, Health):
            return  # after the end nobody judges; and health is not what rules are blind without
        first, last = (event.from_ms, event.to_ms) if isinstance(event, Blind) else (event.time_ms, event.time_ms + 1)
        spans = self._dropped_spans
        for scope in (_EVERYTHING,) if _EVERYTHING in spans else _scopes(event):
            known = spans.get(scope)
            spans[scope] = (first, last) if known is None else (min(first, known[0]), max(last, known[1]))
        if len(spans) > DROPPED_SCOPES_MAX or (_EVERYTHING in spans and len(spans) > 1):
            whole = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
            self._dropped_spans = {_EVERYTHING: whole}

    def _displace(self, samples: int) -> None:
        while self._depth + samples > self.capacity_samples:
            oldest = self._samples.popleft()
            samples_gone = weight(oldest)
            self._taken += 1
            self._depth -= samples_gone
            self._count_drop(oldest, samples_gone, "displaced")

    def _take(self, max_samples: int) -> list[Event]:
        if not self._reserved and self._depth <= max_samples:
            batch = list(self._samples)
            self._samples.clear()
            self._taken += len(batch)
            self._delivered += self._depth
            self._depth = 0
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
            self._received += waiting.samples
            self._admit(waiting.event, waiting.samples)
            waiting.admitted.set_result(True)


def _scopes(event: Event) -> Iterable[str]:
    """What is blind without this event. A domain event may become any series: nobody but its projector knows."""
    if isinstance(event, Sample):
        return (event.series,)
    if isinstance(event, Blind):
        return (event.scope,)
    if not isinstance(event, SampleBatch) or len(event.series) > BATCH_SERIES_READ_MAX:
        return (_EVERYTHING,)
    if len(event.series) <= DROPPED_SCOPES_MAX:
        return event.series
    metrics = {metric_of(series) for series in event.series}
    return metrics if len(metrics) <= DROPPED_SCOPES_MAX else (_EVERYTHING,)
