"""Offline is not down: what remote probes fail at while no sentinel answers is blindness, and told once (F84, F85)."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest

import probes.http
from engine import Blind, Engine, Health, Sample, SampleBatch
from engine.addresses import Endpoint
from engine.clock import SystemClock
from engine.config import load_text
from engine.events import Event
from engine.runtime import sentinel as module
from engine.runtime.assembly import build_sentinel
from engine.runtime.blindtime import RECORDED_MS_MAX
from engine.runtime.sentinel import EVERY_S, ROUNDS_MIN, SPACING_S, TIMEOUT_S, Sentinel, connect, tells_down
from engine.testing import START_MS, FunctionProbe, RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import health_of, shared

T = TypeVar("T")
TARGETS = [Endpoint("192.0.2.1", 443), Endpoint("198.51.100.1", 53), Endpoint("203.0.113.1", 443)]
DOWN = [Sample(START_MS, "probe_success", 0.0)]
UP = [Sample(START_MS, "probe_success", 1.0)]


class Network:
    """Some addresses that answer or do not, under virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.dead: set[Endpoint] = set()
        self.error: OSError | None = None
        self.asked: list[tuple[float, Endpoint]] = []

    async def reach(self, target: Endpoint) -> None:
        self.asked.append((self._clock.monotonic(), target))
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if target in self.dead:
            await asyncio.Event().wait()

    def cut(self) -> None:
        self.dead = set(TARGETS)

    def mend(self) -> None:
        self.dead = set()


class Rig:
    def __init__(self, clock: VirtualClock, remote: Sequence[str] = ("a", "b")) -> None:
        self.clock = clock
        self.parts = shared(clock)
        self.network = Network(clock)
        self.sentinel = Sentinel(TARGETS, remote, clock, self.parts.reporter, self.parts.report, self.network.reach)

    def span(self, *, due: bool = True) -> dict[str, tuple[int, int]]:
        """From when to when each probe is blind by what is told now, in milliseconds since the start."""
        spans: dict[str, tuple[int, int]] = {}
        for blind in self.sentinel.take(self.clock.now_ms(), due=due):
            from_ms, to_ms = spans.get(blind.scope, (blind.from_ms, blind.from_ms))
            assert blind.from_ms <= to_ms, "no gap"
            assert blind.reason == "offline"
            spans[blind.scope] = (from_ms, blind.to_ms)
        return {scope: (from_ms - START_MS, to_ms - START_MS) for scope, (from_ms, to_ms) in spans.items()}


def virtual(scene: Callable[[Rig], Awaitable[T]]) -> T:
    async def main(clock: VirtualClock) -> T:
        rig = Rig(clock)
        task = asyncio.ensure_future(rig.sentinel.run())
        try:
            return await scene(rig)
        finally:
            task.cancel()

    return run_virtual(main)


# --- what it does by itself ---------------------------------------------------------------------------------------


def test_while_all_is_well_one_address_is_asked_each_ten_seconds_in_turn() -> None:
    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(EVERY_S * 6 - 1)
        assert [to for _, to in rig.network.asked] == TARGETS * 2
        assert [round(at) for at, _ in rig.network.asked] == [0, 10, 20, 30, 40, 50]
        assert (rig.sentinel.offline, rig.span(), await health_of(rig.parts)) == (False, {}, [])

    virtual(scene)


def test_one_address_that_answers_is_enough() -> None:
    async def scene(rig: Rig) -> None:
        rig.network.dead = set(TARGETS[:2])
        await rig.clock.sleep(300)
        assert (rig.sentinel.offline, rig.span()) == (False, {})

    virtual(scene)


def test_a_single_round_without_an_answer_is_no_proof() -> None:
    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(5)
        rig.network.cut()
        await rig.clock.sleep(5 + 2 * TIMEOUT_S + 0.1)
        rig.network.mend()
        await rig.clock.sleep(60)
        assert (rig.sentinel.offline, rig.span(), await health_of(rig.parts)) == (False, {}, [])

    virtual(scene)


def test_offline_from_the_last_answer_until_the_first_one() -> None:
    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(35)
        rig.network.cut()
        await rig.clock.sleep(5 + 2 * 2 * TIMEOUT_S + SPACING_S + 0.1)
        offline = [rig.sentinel.offline]
        first = rig.span()
        assert first == {f"probe.{name}": (30_000, rig.clock.now_ms() - START_MS) for name in "ab"}
        await rig.clock.sleep(600)
        rig.network.mend()
        mended_ms = rig.clock.now_ms() - START_MS
        await rig.clock.sleep(10)
        offline.append(rig.sentinel.offline)
        assert offline == [True, False]
        for begun_ms, ended_ms in rig.span().values():
            assert begun_ms == first["probe.a"][1], "on from there"
            assert mended_ms <= ended_ms <= mended_ms + 7_000
        assert rig.span() == {}
        told = await health_of(rig.parts)
        assert told[0] == ("network", "degraded", "offline")
        assert told[-1] == ("network", "ok", "recovered")
        assert 8 <= len(told) <= 13, "once a minute"

    virtual(scene)


def test_offline_from_the_start() -> None:
    async def scene(rig: Rig) -> None:
        rig.network.cut()
        await rig.clock.sleep(2 * 2 * TIMEOUT_S + SPACING_S + 0.1)
        assert rig.sentinel.offline
        assert rig.span()["probe.a"][0] == 0

    virtual(scene)


def test_pieces_are_told_ten_times_a_second_or_when_something_is_due() -> None:
    async def scene(rig: Rig) -> None:
        rig.network.cut()
        await rig.clock.sleep(20)
        rig.span()
        assert rig.span(due=False) == {}
        await rig.clock.sleep(0.05)
        assert rig.span(due=False) == {}
        assert rig.span(due=True)["probe.a"] == (20_000, 20_050)
        await rig.clock.sleep(0.101)
        assert rig.span(due=False)["probe.a"] == (20_050, 20_151)

    virtual(scene)


@pytest.mark.parametrize(
    ("error", "offline"),
    [
        (ConnectionRefusedError(), False),
        (OSError(errno.EMFILE, "too many open files"), False),
        (OSError(errno.ENETUNREACH, "unreachable"), True),
        (TimeoutError(), True),
        (OSError(errno.EHOSTUNREACH, "no route"), True),
    ],
)
def test_what_counts_as_an_answer(error: OSError, offline: bool) -> None:
    async def scene(rig: Rig) -> None:
        rig.network.error = error
        await rig.clock.sleep(30)
        assert rig.sentinel.offline is offline

    virtual(scene)


# --- what probes measured -----------------------------------------------------------------------------------------


def test_a_success_is_never_doubted() -> None:
    async def scene(rig: Rig) -> None:
        rig.network.cut()
        asked = rig.sentinel.trusts("a", UP, 0.0)
        assert await asked
        await rig.clock.sleep(30)
        assert rig.sentinel.offline
        rig.span()
        assert await rig.sentinel.trusts("a", UP, rig.clock.monotonic())
        await rig.clock.sleep(5)
        assert set(rig.span()) == {"probe.b"}, "it sees, and is not blind any more"
        assert not await rig.sentinel.trusts("a", DOWN, rig.clock.monotonic())
        begun_ms = rig.clock.now_ms() - START_MS
        await rig.clock.sleep(5)
        assert rig.span()["probe.a"] == (begun_ms, begun_ms + 5_000), "and then it does not"

    virtual(scene)


def test_a_target_that_is_down_is_told_within_a_second() -> None:
    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(4.2)
        begun_s = rig.clock.monotonic()
        assert await rig.sentinel.trusts("a", DOWN, begun_s)
        assert rig.clock.monotonic() - begun_s < 0.01, "the last round was a while ago: the next begins at once"
        begun_s = rig.clock.monotonic()
        assert await rig.sentinel.trusts("b", DOWN, begun_s)
        assert rig.clock.monotonic() - begun_s <= SPACING_S + 0.01
        begun_s, asked = rig.clock.monotonic(), len(rig.network.asked)
        for _ in range(100):
            assert await rig.sentinel.trusts("a", DOWN, begun_s)
        assert (rig.clock.monotonic(), len(rig.network.asked)) == (begun_s, asked), "it is no news any more"
        assert (rig.sentinel.withheld, rig.span()) == (0, {})

    virtual(scene)


def test_a_hundred_probes_that_fail_together_ask_once() -> None:
    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(5)
        asked = len(rig.network.asked)
        begun_s = rig.clock.monotonic()
        verdicts = await asyncio.gather(*(rig.sentinel.trusts(f"p{n}", DOWN, begun_s) for n in range(100)))
        assert all(verdicts)
        assert len(rig.network.asked) == asked + 1

    virtual(scene)


def test_what_fails_as_the_network_goes_is_held_back_before_anybody_hears_of_it() -> None:
    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(12)
        rig.network.cut()
        begun_s = rig.clock.monotonic()
        assert not await rig.sentinel.trusts("a", DOWN, begun_s)
        assert rig.sentinel.offline
        assert rig.clock.monotonic() - begun_s <= ROUNDS_MIN * 2 * TIMEOUT_S + SPACING_S + 0.01
        assert rig.sentinel.withheld == 1
        assert rig.span()["probe.a"][0] == 10_000
        begun_s = rig.clock.monotonic()
        assert not await rig.sentinel.trusts("a", DOWN, begun_s)
        assert rig.clock.monotonic() == begun_s, "while it is offline there is nothing to wait for"

    virtual(scene)


def test_what_was_begun_offline_and_ended_after_it_is_held_back_too() -> None:
    async def scene(rig: Rig) -> None:
        rig.network.cut()
        await rig.clock.sleep(30)
        begun_s = rig.clock.monotonic()
        rig.network.mend()
        await rig.clock.sleep(8)
        assert not rig.sentinel.offline
        rig.span()
        assert not await rig.sentinel.trusts("a", DOWN, begun_s)
        assert rig.span()["probe.a"] == (30_000, rig.clock.now_ms() - START_MS)
        assert await rig.sentinel.trusts("a", DOWN, rig.clock.monotonic())

    virtual(scene)


def test_a_probe_that_was_down_before_is_waited_for_in_doubt() -> None:
    """Known to be down, and then the network goes: not even the first failure after that is passed on."""

    async def scene(rig: Rig) -> None:
        await rig.clock.sleep(5)
        assert await rig.sentinel.trusts("a", DOWN, rig.clock.monotonic())
        rig.network.cut()
        await rig.clock.sleep(EVERY_S + 2 * TIMEOUT_S + 0.5)
        assert not rig.sentinel.offline, "in doubt"
        assert not await rig.sentinel.trusts("a", DOWN, rig.clock.monotonic())

    virtual(scene)


@pytest.mark.parametrize(
    ("events", "down"),
    [
        ([Sample(1, "up", 0.0)], True),
        ([Sample(1, 'up{job="a"}', 0.0)], True),
        ([Sample(1, 'up{job="a"}', 1.0)], False),
        ([Sample(1, "uptime", 0.0), Sample(1, "probe_success_ratio", 0.0)], False),
        ([Sample(1, "uptime", 0.0), Sample(1, 'probe_success{probe="p"}', 0.0)], True),
        ([SampleBatch(1, ("up", "x"), np.array([0.0, 5.0]))], True),
        ([SampleBatch(1, ("up", "x"), np.array([1.0, 0.0]))], False),
        ([SampleBatch(1, ("up",), np.array([np.nan]))], False),
        ([Health(1, "probe.p", "failed", "raised")], False),
        ([], False),
    ],
)
def test_what_says_that_a_target_is_down(events: list[Event], down: bool) -> None:
    assert tells_down(events) is down


# --- a whole engine -----------------------------------------------------------------------------------------------

CONFIG = """
[engine]
sentinel = ["tcp://192.0.2.1:443", "tcp://198.51.100.1:53"]
[probe.shop]
type = "http"
url = "http://203.0.113.9/"
interval = "5s"
[probe.own]
type = "http"
url = "http://127.0.0.1/"
interval = "5s"
[rule.ShopDown]
expr = "probe_success{probe='shop'} == 0"
[rule.OwnDown]
expr = "probe_success{probe='own'} == 0"
for = "1m"
[rule.Hot]
expr = "x > 5"
for = "5m"
"""


def watched(
    monkeypatch: pytest.MonkeyPatch, is_online: Callable[[float], bool], is_up: Callable[[float, bool], bool]
) -> tuple[RecordingSink, dict[str, float]]:
    """An engine for twenty minutes, with a network and two targets that are there or not at each second."""

    async def main(clock: VirtualClock) -> tuple[RecordingSink, dict[str, float]]:
        async def reach(target: Endpoint) -> None:
            if not is_online(clock.monotonic()):
                raise OSError(errno.ENETUNREACH, "unreachable")

        async def ask(self: Any, session: object) -> Any:
            local = "127.0.0.1" in self._url
            there = is_up(clock.monotonic(), local) and (local or is_online(clock.monotonic()))
            return probes.http._Answer(200, "") if there else probes.http._Answer(0, "unreachable")

        monkeypatch.setattr(module, "connect", reach)
        monkeypatch.setattr(probes.http.HttpProbe, "_ask", ask)
        sink = RecordingSink()
        engine = Engine(load_text(CONFIG), clock=clock, sinks={"kept": sink})
        engine.add_probe("cpu", FunctionProbe(lambda: Sample(clock.now_ms(), "x", 9.0, 1_000)), "1s")
        async with engine:
            await clock.sleep(1_200)
            counters = engine.status().counters
        return sink, counters

    return run_virtual(main)


def told(sink: RecordingSink, rule: str) -> list[str]:
    return [t.kind for t in sink.transitions if t.rule == rule]


def test_a_network_that_is_gone_for_ten_minutes_is_one_alert_about_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, counters = watched(monkeypatch, lambda s: not 203 <= s < 803, lambda s, local: True)
    assert told(sink, "ShopDown") == [], "though it needs no `for`"
    assert told(sink, "Hot") == ["pending", "firing"], "what is measured here goes on"
    assert told(sink, "LongwatchBlind") == ["firing", "resolved"]
    fired, resolved = [t for t in sink.transitions if t.rule == "LongwatchBlind"]
    assert "not everything is seen since" in fired.annotations["summary"]
    assert "offline" in resolved.annotations["summary"]
    assert resolved.value == pytest.approx(603, abs=10)
    spans = [r for r in sink.records if isinstance(r, Blind)]
    assert {(span.scope, span.reason) for span in spans} == {("probe.shop", "offline")}
    assert len(spans) <= 600_000 / RECORDED_MS_MAX + 3, "the record has them put together"
    for before, after in pairwise(spans):
        assert before.to_ms == after.from_ms
    assert spans[-1].to_ms - spans[0].from_ms == pytest.approx(603_000, abs=10_000)
    health = [(r.component, r.status) for r in sink.records if isinstance(r, Health)]
    assert health[0] == ("network", "degraded")
    assert health[-1] == ("network", "ok")
    assert {component for component, _ in health} == {"network"}, "one cause, one message; repeated once a minute"
    assert len(health) <= 13
    assert counters["longwatch_sentinel_up"] == 1
    assert counters["longwatch_measurements_withheld_total"] == pytest.approx(120, abs=3)
    assert counters['longwatch_blind_seconds_total{reason="offline"}'] == pytest.approx(603, abs=10)


def test_a_target_that_is_down_while_the_network_is_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, counters = watched(monkeypatch, lambda s: True, lambda s, local: local or not 203 <= s < 803)
    assert told(sink, "ShopDown") == ["firing", "resolved"]
    fired = sink.transitions[[t.rule for t in sink.transitions].index("ShopDown")]
    assert 203_000 <= fired.time_ms - START_MS <= 203_000 + 5_000 + 1_100, "an interval, and a second for the sentinel"
    assert counters["longwatch_measurements_withheld_total"] == 0
    assert told(sink, "LongwatchBlind") == []


def test_a_local_target_that_is_down_while_the_network_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, _ = watched(monkeypatch, lambda s: s < 203, lambda s, local: not local or s < 300)
    assert told(sink, "OwnDown") == ["pending", "firing"]
    assert told(sink, "ShopDown") == []
    assert told(sink, "LongwatchBlind") == ["firing", "resolved"]
    assert sink.transitions[-1].reason == "ended", "it is over, because the watch is; nobody says that all is well"


def test_without_sentinels_or_remote_probes_nothing_of_it_is_there() -> None:
    local = CONFIG.replace("203.0.113.9", "localhost")
    unwatched = CONFIG.replace('sentinel = ["tcp://192.0.2.1:443", "tcp://198.51.100.1:53"]', "")
    found = [build_sentinel(load_text(text), shared(SystemClock())) for text in (CONFIG, local, unwatched)]
    assert [sentinel is not None for sentinel in found] == [True, False, False]


# --- real sockets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_it_connects_and_hangs_up(address: str) -> None:
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.close()
        hung_up.set()

    try:
        server = await asyncio.start_server(serve, address, 0)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    async with server, asyncio.timeout(10):
        await connect(Endpoint(address, server.sockets[0].getsockname()[1]))
        await hung_up.wait()


async def test_a_port_that_is_closed_is_refused() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await connect(Endpoint("127.0.0.1", port))
