"""The bookkeeping of a sink: who waits is woken by the drain, and what is asked for is limited."""

import asyncio

import pytest

from engine.errors import SinkError
from engine.events import Health
from engine.runtime.contain import Failure
from engine.runtime.desk import RETRY_AFTER_S_MAX, Desk
from engine.testing import VirtualClock, run_virtual
from tests.runtime.rig import health_of, shared, taken


def test_a_pause_ends_with_the_drain() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk("sink.x", shared(clock))
        pause = asyncio.ensure_future(desk.pause(60))
        await clock.sleep(1)
        desk.note_change()
        await clock.sleep(1)
        assert not pause.done(), "something changed, but the drain has not begun"
        desk.draining = True
        desk.note_change()
        await pause
        assert clock.monotonic() == 2.0
        await desk.pause(60)
        assert clock.monotonic() == 3.0, "during the drain a pause is short"

    run_virtual(main)


def test_a_pause_is_as_long_as_asked_otherwise() -> None:
    async def main(clock: VirtualClock) -> None:
        await Desk("sink.x", shared(clock)).pause(7)
        assert clock.monotonic() == 7.0

    run_virtual(main)


@pytest.mark.parametrize("opens", [True, False])
def test_who_waits_for_the_opening_learns_of_it_or_of_the_drain(opens: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk("sink.x", shared(clock))
        waiting = asyncio.ensure_future(desk.opened())
        await clock.sleep(1)
        desk.is_open, desk.gave_up = opens, not opens
        desk.note_change()
        assert await waiting is opens

    run_virtual(main)


def test_what_the_receiver_asks_for_is_limited_f32() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk("sink.x", shared(clock))
        error = SinkError("http_429", "slow down", retryable=True, retry_after_s=1e9)
        assert desk.retry_pause_s(Failure("http_429", "", error), 1) == RETRY_AFTER_S_MAX
        assert desk.retry_pause_s(Failure("raised", "", ValueError()), 1) < 2

    run_virtual(main)


def test_losses_are_counted_by_reason_and_troubles_told_once() -> None:
    async def main(clock: VirtualClock) -> None:
        desk = Desk("sink.x", shared(clock))
        for count in (2, 0, 3):
            desk.lose("full", count)
            desk.tell("full", "no room", count=count)
        assert desk.dropped == {"full": 5}
        assert (desk.status, desk.message) == ("failed", "no room")
        desk.works()
        assert (desk.status, desk.message) == ("ok", "")
        told = [(event.status, event.count) for event in await taken(desk.shared) if isinstance(event, Health)]
        assert told == [("failed", 2), ("failed", 3), ("ok", 1)]

    run_virtual(main)


def test_what_a_sink_has_to_tell_beside_its_errors_becomes_health() -> None:
    class Telling:
        async def open(self) -> None: ...
        async def close(self) -> None: ...

        def take_notices(self) -> list[tuple[str, str]]:
            return [("corrupt", "renamed\x1b[2J"), ("wal_pinned", "a reader")]

    class Broken(Telling):
        def take_notices(self) -> list[tuple[str, str]]:
            raise KeyError("x")

    async def main(clock: VirtualClock) -> None:
        desk = Desk("sink.x", shared(clock))
        desk.take_notices(Telling())
        assert desk.notices == 2
        events = [event for event in await taken(desk.shared) if isinstance(event, Health)]
        assert [(e.component, e.status, e.reason) for e in events] == [
            ("sink.x", "degraded", "corrupt"),
            ("sink.x", "degraded", "wal_pinned"),
        ]
        assert "\x1b" not in events[0].message
        desk.take_notices(Broken())
        assert await health_of(desk.shared) == [("sink.x", "degraded", "notices")]

    run_virtual(main)
