"""The `heartbeat` sink: it calls while the engine gets on, and no longer; virtual time, real sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.durations import Duration
from engine.errors import SinkError
from engine.ports import Periodic, Progress, Receiver, Recorder
from engine.secrets import Secret
from engine.testing import VirtualClock, VirtualLoop, run_virtual
from sinks.heartbeat import HeartbeatOptions, HeartbeatSink
from tests.runtime.rig import health_of
from tests.runtime.test_delivery import Rig
from tests.sinks.context import StillClock, context

CANARY = "c4n4ry"
FINE = {"core": Progress(100.0, 30.0)}


class Held:
    """The sink, with virtual time standing still while it uses real sockets."""

    def __init__(self, sink: HeartbeatSink, loop: VirtualLoop) -> None:
        self.interval_s = sink.interval_s
        self.open = sink.open
        self.close = sink.close
        self._sink = sink
        self._loop = loop

    async def tick(self, parts: Mapping[str, Progress]) -> None:
        with self._loop.hold():
            await self._sink.tick(parts)


class Listener:
    """Who would notice that the calls stop."""

    def __init__(self, clock: VirtualClock) -> None:
        self.calls: list[float] = []
        self.requests: list[web.Request] = []
        self.statuses: list[int] = []
        self._clock = clock

    async def handle(self, request: web.Request) -> web.Response:
        self.calls.append(self._clock.monotonic())
        self.requests.append(request)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


def run(story: Callable[[VirtualClock, Listener, Rig], Awaitable[None]], **options: Any) -> None:
    async def main(clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        listener, app = Listener(clock), web.Application()
        app.router.add_get("/ping/{token}", listener.handle)
        with loop.hold():
            server = TestServer(app)
            await server.start_server()
        url = Secret(str(server.make_url(f"/ping/{CANARY}")))
        sink = HeartbeatSink(HeartbeatOptions(url=url, **options), context(clock=clock))
        rig = Rig(clock, Held(sink, loop))
        rig.parts.progress.expect("core", 30.0, clock.monotonic())
        await story(clock, listener, rig)
        with loop.hold():
            await server.close()
        await rig.finish()

    run_virtual(main)


async def gets_on(clock: VirtualClock, rig: Rig, seconds: int, part: str = "core") -> None:
    for _ in range(seconds):
        rig.parts.progress.made(part, clock.monotonic())
        await clock.sleep(1)


def test_it_calls_at_once_and_each_minute() -> None:
    async def story(clock: VirtualClock, listener: Listener, rig: Rig) -> None:
        await gets_on(clock, rig, 290)
        assert listener.calls == pytest.approx([0, 60, 120, 180, 240], abs=0.1)
        assert listener.requests[0].headers["X-A"] == "b"
        assert rig.runner.status().status == "ok"

    run(story, headers={"X-A": Secret("b")})


def test_it_is_silent_while_a_part_is_stuck_and_says_so_inside() -> None:
    async def story(clock: VirtualClock, listener: Listener, rig: Rig) -> None:
        rig.parts.progress.expect("probes", 90.0, clock.monotonic())
        for _ in range(2):
            await gets_on(clock, rig, 30)
            rig.parts.progress.made("probes", clock.monotonic())
        await gets_on(clock, rig, 300)  # the core does, the probes do not
        last = listener.calls[-1]
        assert 60 <= last <= 150
        status = rig.runner.status()
        assert status.status == "degraded"
        assert "probes for" in status.message
        assert ("sink.s", "degraded", "stuck") in await health_of(rig.parts)
        rig.parts.progress.made("probes", clock.monotonic())
        heals = clock.monotonic()
        await gets_on(clock, rig, 61)
        assert heals <= listener.calls[-1] <= heals + 61

    run(story)


def test_a_call_that_fails_is_repeated_before_the_minute_is_over() -> None:
    """Or one lost packet would wake somebody at night."""

    async def story(clock: VirtualClock, listener: Listener, rig: Rig) -> None:
        listener.statuses = [200, 503, 302, 200]
        await gets_on(clock, rig, 100)
        assert listener.calls[:2] == pytest.approx([0, 60], abs=0.1)
        assert len(listener.calls) == 4
        assert listener.calls[3] < 70
        told = await health_of(rig.parts)
        assert [reason for _, _, reason in told] == ["http_503", "redirect", "recovered"]

    run(story)


def test_an_engine_that_stops_stops_calling() -> None:
    async def story(clock: VirtualClock, listener: Listener, rig: Rig) -> None:
        await gets_on(clock, rig, 10)
        rig.runner.drain()
        await gets_on(clock, rig, 200)
        assert len(listener.calls) == 1

    run(story)


async def test_of_an_engine_that_nothing_is_known_of_it_says_nothing() -> None:
    sink = HeartbeatSink(HeartbeatOptions(url=Secret("http://127.0.0.1:9/")), context())
    assert isinstance(sink, Periodic)
    assert not isinstance(sink, Receiver | Recorder)
    with pytest.raises(SinkError, match="nothing is known") as caught:
        await sink.tick({})
    assert (caught.value.reason, caught.value.retryable) == ("stuck", True)


@pytest.mark.parametrize(("age_s", "reason"), [(30.0, "closed"), (30.1, "stuck")])
async def test_the_limit_is_the_parts_own(age_s: float, reason: str) -> None:
    clock = StillClock()
    sink = HeartbeatSink(HeartbeatOptions(url=Secret(f"http://127.0.0.1:9/{CANARY}")), context(clock=clock))
    with pytest.raises(SinkError) as caught:
        await sink.tick({"core": Progress(clock.monotonic() - age_s, 30.0)})
    assert caught.value.reason == reason
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"url": Secret("x")}, {"timeout": Duration(1)}, {"headers": {"a b": Secret("")}}, {"allow_addresses": ["x"]}],
)
def test_options_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        HeartbeatOptions(**{"url": Secret("http://x")} | options)
