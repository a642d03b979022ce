"""The channel keeps its bound, its order and its books, whatever happens (F60, M40)."""

import asyncio

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.channel import RESERVE_EVENTS, Channel, Policy
from engine.dropped import BATCH_SERIES_READ_MAX, DROPPED_SCOPES_MAX
from engine.events import Blind, Event, Health, Sample, SampleBatch, TradeClosed, weight
from engine.testing import VirtualClock, run_virtual

POLICIES: list[Policy] = ["block", "drop_newest", "drop_oldest"]


def sample(number: int) -> Sample:
    return Sample(number, "x", float(number))


def batch(number: int, size: int) -> SampleBatch:
    return SampleBatch(number, tuple(f"s{i}" for i in range(size)), np.zeros(size))


def health(number: int) -> Health:
    return Health(number, "probe.x", "failed", "raised")


def times(events: list[Event]) -> list[int]:
    return [event.time_ms for event in events]


def dropped(channel: Channel) -> dict[str, int]:
    return channel.statistics().dropped


def test_a_channel_has_room_for_something() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Channel(0)


async def test_what_is_put_comes_out_in_order_and_at_once() -> None:
    channel = Channel(100)
    for number in range(10):
        assert channel.put_nowait(sample(number))
    assert times(await channel.get_batch(100)) == list(range(10))
    assert channel.statistics().depth == 0


async def test_get_stops_at_the_weight_asked_for_but_takes_one_at_least() -> None:
    channel = Channel(100)
    for number in range(3):
        channel.put_nowait(batch(number, 4))
    assert times(await channel.get_batch(8)) == [0, 1]
    assert times(await channel.get_batch(1)) == [2]


async def test_several_are_taken_as_one_by_one() -> None:
    channel = Channel(4, "drop_newest")
    assert channel.put_many([sample(0), sample(1)]) == 2
    assert channel.put_many([sample(2), health(3), sample(4), sample(5)]) == 3
    assert dropped(channel) == {"full": 1}
    assert channel.statistics().depth == channel.statistics().peak == 5
    assert times(await channel.get_batch(9)) == [0, 1, 2, 3, 4]
    channel.close()
    assert channel.put_many([sample(6)]) == 0
    assert dropped(channel) == {"full": 1, "closed": 1}


async def test_several_wake_a_sleeping_consumer() -> None:
    channel = Channel(4)
    sleeps = asyncio.create_task(channel.get_batch(9))
    await asyncio.sleep(0)
    assert channel.put_many([sample(0), sample(1)]) == 2
    assert times(await sleeps) == [0, 1]


async def test_drop_newest_keeps_what_is_queued() -> None:
    channel = Channel(3, "drop_newest")
    assert [channel.put_nowait(sample(n)) for n in range(5)] == [True, True, True, False, False]
    assert dropped(channel) == {"full": 2}
    assert times(await channel.get_batch(9)) == [0, 1, 2]


async def test_drop_oldest_keeps_the_latest() -> None:
    channel = Channel(3, "drop_oldest")
    assert [channel.put_nowait(sample(n)) for n in range(5)] == [True] * 5
    assert dropped(channel) == {"displaced": 2}
    assert times(await channel.get_batch(9)) == [2, 3, 4]


async def test_a_batch_weighs_its_length_and_displaces_as_much() -> None:
    channel = Channel(10, "drop_oldest")
    for number in range(4):
        channel.put_nowait(batch(number, 3))
    assert channel.statistics().depth == 9
    assert dropped(channel) == {"displaced": 3}
    assert not channel.put_nowait(batch(9, 11))
    assert dropped(channel) == {"displaced": 3, "oversize": 11}


@pytest.mark.parametrize("policy", POLICIES)
async def test_health_has_places_of_its_own_and_keeps_its_order(policy: Policy) -> None:
    """No flood of samples keeps out the news of the flood."""
    channel = Channel(2, policy)
    channel.put_nowait(sample(1))
    channel.put_nowait(sample(2))
    assert channel.put_nowait(health(3))
    assert channel.put_nowait(Blind(4, 0, 1))
    channel.put_nowait(sample(5))
    assert channel.statistics().depth == 4
    expected = [2, 3, 4, 5] if policy == "drop_oldest" else [1, 2, 3, 4]
    assert times(await channel.get_batch(99)) == expected


async def test_the_reserve_is_bounded_too() -> None:
    channel = Channel(1)
    taken = [channel.put_nowait(health(n)) for n in range(RESERVE_EVENTS + 5)]
    assert taken.count(True) == RESERVE_EVENTS
    assert dropped(channel) == {"reserve": 5}


async def test_block_waits_in_the_order_of_arrival() -> None:
    channel = Channel(2, "block")
    channel.put_nowait(sample(0))
    channel.put_nowait(sample(1))
    puts = [asyncio.ensure_future(channel.put(sample(n))) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    assert not channel.put_nowait(sample(9)), "nobody overtakes those who wait"
    assert times(await channel.get_batch(1)) == [0]
    assert times(await channel.get_batch(1)) == [1]
    assert times(await channel.get_batch(9)) == [2, 3]
    assert times(await channel.get_batch(9)) == [4]
    assert await asyncio.gather(*puts) == [True, True, True]
    assert dropped(channel) == {"full": 1}


async def test_a_cancelled_put_leaves_nothing_behind_and_lets_the_next_in() -> None:
    channel = Channel(4, "block")
    channel.put_nowait(batch(0, 3))
    heavy = asyncio.ensure_future(channel.put(batch(1, 4)))
    light = asyncio.ensure_future(channel.put(sample(2)))
    await asyncio.sleep(0)
    heavy.cancel()
    assert await light, "the light one stood behind the heavy one only"
    assert heavy.cancelled()
    assert times(await channel.get_batch(99)) == [0, 2]
    assert dropped(channel) == {"cancelled": 4}, "nothing is lost in silence"
    assert channel.statistics().received == 8


async def test_a_cancelled_get_loses_nothing() -> None:
    channel = Channel(4)
    for number in range(50):
        get = asyncio.ensure_future(channel.get_batch(9))
        await asyncio.sleep(0)
        channel.put_nowait(sample(number))
        get.cancel()
        with pytest.raises(asyncio.CancelledError):
            await get
        assert times(await channel.get_batch(9)) == [number]


def test_a_timed_out_get_loses_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        channel = Channel(4)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await channel.get_batch(9)
        channel.put_nowait(sample(1))
        assert times(await channel.get_batch(9)) == [1]

    run_virtual(main)


async def test_two_consumers_are_refused() -> None:
    channel = Channel(4)
    first = asyncio.ensure_future(channel.get_batch(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one consumer"):
        await channel.get_batch(1)
    channel.close()
    assert await first == []


async def test_a_closed_channel_drains_and_then_says_so() -> None:
    channel = Channel(1, "block")
    channel.put_nowait(sample(1))
    waiting = asyncio.ensure_future(channel.put(sample(2)))
    cancelled = asyncio.ensure_future(channel.put(sample(3)))
    await asyncio.sleep(0)
    cancelled.cancel()
    channel.close()
    assert await waiting is False
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not channel.put_nowait(sample(4))
    assert not await channel.put(health(5))
    assert times(await channel.get_batch(9)) == [1]
    assert await channel.get_batch(9) == []
    assert dropped(channel) == {"closed": 3}


def test_storm_f60() -> None:
    """A storm a hundred times the capacity: the bound holds and every sample is accounted for."""
    channel = Channel(1_000)
    for number in range(100_000):
        channel.put_nowait(sample(number))
    figures = channel.statistics()
    assert (figures.depth, figures.peak) == (1_000, 1_000)
    assert figures.received == 100_000
    assert figures.dropped == {"displaced": 99_000}


class ChannelMachine(RuleBasedStateMachine):
    """Any order of puts, waits, cancellations and gets."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.channel: Channel | None = None
        self.samples: list[int] = []  # times of what was delivered
        self.news: list[int] = []
        self.capacity = 0
        self.number = 0
        self.delivered = 0
        self.waiting: list[tuple[asyncio.Task[bool], Event]] = []

    def teardown(self) -> None:
        for task, _ in self.waiting:
            task.cancel()
        self.spin()
        self.loop.close()

    def spin(self) -> None:
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))

    @precondition(lambda self: self.channel is None)
    @rule(capacity=st.integers(1, 12), policy=st.sampled_from(POLICIES))
    def begin(self, capacity: int, policy: Policy) -> None:
        self.channel, self.capacity = Channel(capacity, policy), capacity

    def make(self, size: int, kind: str) -> Event:
        self.number += 1
        if kind == "health":
            return health(self.number)
        return sample(self.number) if size == 1 else batch(self.number, size)

    @precondition(lambda self: self.channel is not None)
    @rule(size=st.integers(1, 14), kind=st.sampled_from(["samples", "samples", "health"]), wait=st.booleans())
    def put(self, size: int, kind: str, wait: bool) -> None:
        assert self.channel is not None
        event = self.make(size, kind)
        if not wait:
            self.channel.put_nowait(event)
            return
        task = self.loop.create_task(self.channel.put(event))
        self.spin()
        self.waiting.append((task, event))

    @precondition(lambda self: self.channel is not None)
    @rule(kinds=st.lists(st.sampled_from(["samples", "samples", "samples", "health", "batch"]), max_size=6))
    def put_many(self, kinds: list[str]) -> None:
        assert self.channel is not None
        events = [self.make(2 if kind == "batch" else 1, kind) for kind in kinds]
        before = self.channel.statistics()
        taken = self.channel.put_many(events)
        after = self.channel.statistics()
        assert after.received == before.received + sum(map(weight, events))
        assert 0 <= taken <= len(events)

    @precondition(lambda self: self.waiting)
    @rule(index=st.integers(0, 20), first=st.booleans())
    def cancel(self, index: int, first: bool) -> None:
        task, _ = self.waiting.pop(index % len(self.waiting))
        task.cancel()
        if not first:
            self.spin()

    @precondition(lambda self: self.channel is not None)
    @rule(max_samples=st.integers(1, 20))
    def get(self, max_samples: int) -> None:
        assert self.channel is not None
        self.spin()
        if not self.channel.statistics().depth:
            return
        events = self.loop.run_until_complete(self.channel.get_batch(max_samples))
        assert events
        assert len(events) == 1 or sum(weight(event) for event in events) <= max_samples
        for lane, kind in ((self.samples, (Sample, SampleBatch)), (self.news, (Health, Blind))):
            lane += times([event for event in events if isinstance(event, kind)])
            assert lane == sorted(lane), "first in, first out"
        self.delivered += sum(weight(event) for event in events)
        self.spin()

    @invariant()
    def books_balance(self) -> None:
        if self.channel is None:
            return
        figures = self.channel.statistics()
        assert figures.received == self.delivered + sum(figures.dropped.values()) + figures.depth
        assert figures.depth <= figures.peak <= self.capacity + RESERVE_EVENTS


TestChannelMachine = ChannelMachine.TestCase


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest", "block"])
async def test_from_when_to_when_was_dropped_is_known_once(policy: Policy) -> None:
    channel = Channel(3, policy)
    assert channel.take_dropped() == []
    for time_ms in range(10, 20):
        channel.put_nowait(sample(time_ms))
    first, last = (10, 17) if policy == "drop_oldest" else (13, 20)
    assert channel.take_dropped() == [("x", first, last)], "first to last, exclusive"
    assert channel.take_dropped() == []


async def test_what_was_dropped_is_told_by_series_while_these_are_few() -> None:
    channel = Channel(1, "drop_newest")
    channel.put_nowait(Sample(1, "full", 1.0))
    for number in range(DROPPED_SCOPES_MAX):
        channel.put_nowait(Sample(10 + number, f"x{number}", 1.0))
        channel.put_nowait(Sample(30 + number, f"x{number}", 1.0))
    assert channel.take_dropped() == [(f"x{n}", 10 + n, 31 + n) for n in range(DROPPED_SCOPES_MAX)]
    for number in range(DROPPED_SCOPES_MAX + 1):
        channel.put_nowait(Sample(10 + number, f"x{number}", 1.0))
    channel.put_nowait(Sample(5, "y", 1.0))
    assert channel.take_dropped() == [("*", 5, 11 + DROPPED_SCOPES_MAX)]
    channel.put_nowait(Sample(5, "y", 1.0))
    assert channel.take_dropped() == [("y", 5, 6)], "the next span begins anew"


@pytest.mark.parametrize(
    ("series", "scopes"),
    [
        (["a", "b"], {"a", "b"}),
        ([f'a{{i="{n}"}}' for n in range(900)], {"a"}),
        ([f'{{"größe",i="{n}"}}' for n in range(20)], {"größe"}),
        ([f'm{n % 16}{{i="{n}"}}' for n in range(900)], {f"m{n}" for n in range(16)}),
        ([f"m{n}" for n in range(17)], {"*"}),
        ([f'a{{i="{n}"}}' for n in range(BATCH_SERIES_READ_MAX + 1)], {"*"}),
        ([], set()),
    ],
    ids=["few series", "one metric", "a quoted name", "some metrics", "many metrics", "long", "empty"],
)
async def test_of_a_dropped_batch_its_series_or_its_metrics_are_blind(series: list[str], scopes: set[str]) -> None:
    channel = Channel(1, "drop_newest")
    channel.put_nowait(Sample(1, "full", 1.0))
    assert not channel.put_nowait(SampleBatch(7, tuple(series), np.zeros(len(series))))
    assert {span.scope for span in channel.take_dropped()} == scopes


async def test_without_a_domain_event_nobody_knows_what_is_missing() -> None:
    channel = Channel(1, "drop_newest")
    channel.put_nowait(Sample(1, "x", 1.0))
    channel.put_nowait(TradeClosed(time_ms=7, symbol="A", pnl=1.0))
    channel.put_nowait(Sample(9, "x", 1.0))
    assert channel.take_dropped() == [("*", 7, 10)], "and in everything there is `x`"


async def test_a_blind_span_that_finds_no_room_is_part_of_what_was_dropped() -> None:
    channel = Channel(3)
    for _ in range(RESERVE_EVENTS):
        channel.put_nowait(Health(5, "x", "failed", "y"))
    channel.put_nowait(Health(6, "x", "failed", "y"))
    assert channel.take_dropped() == [], "rules are not blind for want of health"
    channel.put_nowait(Blind(90, 40, 80))
    channel.put_nowait(Blind(90, 30, 50, "probe.p"))
    assert channel.take_dropped() == [("*", 30, 80)]


async def test_what_comes_after_the_end_blinds_nobody() -> None:
    channel = Channel(3)
    channel.close()
    assert channel.closed
    channel.put_nowait(sample(1))
    assert channel.take_dropped() == []
