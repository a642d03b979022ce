"""The public class: what a host may rely on (DESIGN section 7; F111 to F113, M10, M21)."""

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest

from engine import DomainEvent, Engine, Health, Sample, SampleBatch, TradeClosed, Transition
from engine.config.shape import Config, EngineTable, RuleConfig, RuleTable
from engine.durations import Duration
from engine.errors import ConfigError, LongwatchError
from engine.runtime.statefiles import STATUS_FILE
from engine.status import EngineStatus
from engine.testing import (
    START_MS,
    FailingProbe,
    FunctionProbe,
    HangingProbe,
    RecordingSink,
    VirtualClock,
    VirtualLoop,
    run_virtual,
)


class Order(DomainEvent, frozen=True, kw_only=True, tag="order"):
    venue: str


def rule(name: str = "Hot", expr: str = "x > 5", hold: str = "10s") -> RuleConfig:
    return RuleConfig(name=name, table=RuleTable(expr=expr, for_=Duration.parse(hold)))


def config(*rules: RuleConfig, **settings: Any) -> Config:
    return Config(engine=EngineTable(**settings), rules=rules)


def run(check: Callable[[VirtualClock], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        await check(clock)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, "tasks left behind"

    run_virtual(main)


def cpu(clock: VirtualClock, value: Callable[[float], float], interval_ms: int = 1_000) -> FunctionProbe:
    return FunctionProbe(lambda: Sample(clock.now_ms(), "x", value(clock.monotonic()), interval_ms))


# --- what it does ---------------------------------------------------------------------------------


def test_from_a_probe_to_a_notification_at_the_exact_instants() -> None:
    async def check(clock: VirtualClock) -> None:
        sink = RecordingSink()
        engine = Engine(config(rule()), clock=clock, sinks={"kept": sink})
        engine.add_probe("cpu", cpu(clock, lambda t: 9.0 if 0 <= t < 30 else 1.0), "1s")
        async with engine:
            await clock.sleep(5)
            assert [(a.rule, a.state) for a in engine.alerts()] == [("Hot", "pending")]
            await clock.sleep(55)
        assert [(t.kind, t.reason) for t in sink.transitions] == [
            ("pending", "condition"),
            ("firing", "held"),
            ("resolved", "recovered"),
        ]
        first = sink.transitions[0].time_ms
        assert sink.transitions[1].time_ms == first + 10_000, "for = 10s, to the millisecond"
        assert len(sink.delivered) == 2
        assert [n.transitions[0].kind for n in sink.notifications] == ["firing", "resolved"]

    run(check)


def test_a_failing_probe_can_be_alerted_on_like_anything_else() -> None:
    async def check(clock: VirtualClock) -> None:
        sink = RecordingSink()
        down = rule("ProbeDown", 'longwatch_component_up{component="probe.bad"} == 0', "0s")
        own = rule("OwnMetric", 'longwatch_probe_up{probe="bad"} == 0', "0s")
        engine = Engine(config(down, own), clock=clock, sinks={"kept": sink})
        engine.add_probe("bad", FailingProbe(SystemExit(1), times=8))
        async with engine:
            await clock.sleep(400)
        kinds = [(t.rule, t.kind) for t in sink.transitions]
        assert [kind for name, kind in kinds if name == "ProbeDown"] == ["firing", "resolved"]
        assert [kind for name, kind in kinds if name == "OwnMetric"] == ["firing", "resolved"]

    run(check)


def test_emitted_events_are_counted_for_rules_and_recorded() -> None:
    async def check(clock: VirtualClock) -> None:
        sink = RecordingSink()
        many = rule("Orders", 'longwatch_events_total{type="order"} >= 3', "0s")
        engine = Engine(config(many), clock=clock, sinks={"kept": sink}, event_types=[Order])
        async with engine:
            for _ in range(3):
                assert engine.emit(Order(time_ms=clock.now_ms(), venue="X"))
                await clock.sleep(1)
        assert [type(r) for r in sink.records].count(Order) == 3
        assert [t.rule for t in sink.transitions if t.kind == "firing"] == ["Orders"]

    run(check)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "type"),
        (object(), "type"),
        (Sample(START_MS, "not a series", 1.0), "series"),
        (Sample(START_MS + 10**9, "x", 1.0), "future"),
        (Sample(START_MS, "x", "1"), "value"),  # type: ignore[arg-type]
        (Order(time_ms=START_MS, venue="X"), "type"),
    ],
)
def test_emit_refuses_and_counts_and_never_raises(event: Any, reason: str) -> None:
    async def check(clock: VirtualClock) -> None:
        engine = Engine(clock=clock)
        assert engine.emit(Sample(START_MS, "x", 1.0)) is False, "not started"
        async with engine:
            assert engine.emit(event) is False
            counters = engine.status().counters
            assert counters[f'longwatch_emit_refused_total{{reason="{reason}"}}'] == 1
            assert counters['longwatch_emit_refused_total{reason="not_running"}'] == 1
        assert engine.emit(TradeClosed(time_ms=START_MS, symbol="x", pnl=1.0)) is False, "stopped"

    run(check)


def test_a_storm_of_emits_drops_by_policy_and_says_so_f60() -> None:
    async def check(clock: VirtualClock) -> None:
        sink = RecordingSink()
        engine = Engine(config(rule(), queue_samples_max=100), clock=clock, sinks={"kept": sink})
        async with engine:
            for number in range(10_000):
                engine.emit(Sample(clock.now_ms(), f"s{number % 50}", 1.0))
            await clock.sleep(2)
            status = engine.status()
            assert status.channel.dropped == {"displaced": 9_900}
            assert status.channel.peak <= 100
        told = [r for r in sink.records if isinstance(r, Health)]
        assert [(h.component, h.reason, h.count) for h in told] == [("channel", "full", 9_900)]

    run(check)


def test_status_has_everything() -> None:
    async def check(clock: VirtualClock) -> None:
        engine = Engine(config(rule(), name="w"), clock=clock, sinks={"kept": RecordingSink()})
        engine.add_probe("cpu", FunctionProbe(lambda: Sample(clock.now_ms(), "host_cpu_percent", 50.0, 1_000)))
        assert engine.status().phase == "starting"
        async with engine:
            await clock.sleep(20)
            status = engine.status()
            assert (status.name, status.pid, status.phase, status.rules) == ("w", os.getpid(), "running", 1)
            assert status.heartbeat_ms - status.started_ms == 20_000
            assert status.gauges == {"host_cpu_percent": 50.0}
            assert [p.name for p in status.probes] == ["cpu"]
            assert [(s.name, s.status) for s in status.sinks] == [("kept", "ok")]
            assert status.counters["longwatch_uptime_seconds"] == 20.0
            assert status.counters["longwatch_transitions_total"] == 0.0
            assert status.status == "ok"
            assert isinstance(msgspec.json.decode(msgspec.json.encode(status), type=EngineStatus), EngineStatus)
        assert engine.status().phase == "stopped"

    run(check)


# --- its life -------------------------------------------------------------------------------------


def test_start_and_stop_twice_and_in_any_order_f111() -> None:
    async def check(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, sinks={"kept": (sink := RecordingSink())})
        await engine.stop()
        engine.request_stop()
        with pytest.raises(LongwatchError, match="not started"):
            await engine.wait_stopped()
        await engine.start()
        await engine.start()
        await asyncio.gather(engine.stop(), engine.stop())
        await engine.stop()
        await engine.wait_stopped()
        with pytest.raises(LongwatchError, match="runs once"):
            await engine.start()
        assert sink.closed == 1

    run(check)


def test_stop_during_start_f111() -> None:
    async def check(clock: VirtualClock) -> None:
        for turns in range(6):
            engine = Engine(clock=clock, sinks={"kept": RecordingSink()})
            start = asyncio.ensure_future(engine.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            await engine.stop()
            await start
            await engine.stop()
            assert engine.status().phase == "stopped"

    run(check)


def test_a_cancelled_start_leaves_nothing_f111() -> None:
    async def check(clock: VirtualClock) -> None:
        for turns in range(5):
            engine = Engine(clock=clock, sinks={"kept": RecordingSink()})
            start = asyncio.ensure_future(engine.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            start.cancel()
            await asyncio.wait({start})
            await engine.stop()

    run(check)


def test_request_stop_and_wait_stopped_f100() -> None:
    async def check(clock: VirtualClock) -> None:
        async with Engine(clock=clock) as engine:
            asyncio.get_running_loop().call_later(5, engine.request_stop)
            await engine.wait_stopped()
            assert 5 <= clock.monotonic() < 6

    run(check)


def test_the_hosts_exception_comes_through_unchanged_and_soon_f112() -> None:
    async def check(clock: VirtualClock) -> None:
        error = ZeroDivisionError("mine")
        hung = RecordingSink(hang=True)
        with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012  # the body is what is tested
            async with Engine(clock=clock, sinks={"hung": hung}) as engine:
                engine.emit(Sample(clock.now_ms(), "x", 1.0))
                await clock.sleep(1)
                raise error
        assert caught.value is error
        assert error.__context__ is None
        assert clock.monotonic() <= 1 + 5 + 1

    run(check)


@pytest.mark.parametrize("scope", ["asyncio", "anyio"])
def test_a_host_that_is_cancelled_is_let_go_in_order_f111(scope: str) -> None:
    """The cancellation is passed on, after the engine has stopped; a scope that asks again and again does not spin."""

    async def check(clock: VirtualClock) -> None:
        sink = RecordingSink()

        async def host() -> None:
            async with Engine(clock=clock, sinks={"kept": sink}) as engine:
                engine.emit(Sample(clock.now_ms(), "x", 1.0))
                await asyncio.Event().wait()

        if scope == "asyncio":
            task = asyncio.ensure_future(host())
            await clock.sleep(1)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
        else:
            with anyio.move_on_after(1) as limit:
                await host()
            assert limit.cancelled_caught
        assert any(isinstance(r, Sample) for r in sink.records)
        assert sink.closed == 1

    run(check)


def test_a_host_that_cancels_every_task_f111() -> None:
    """What asyncio.run does at its end, with an engine that nobody stopped."""
    sink = RecordingSink()

    async def main() -> None:
        engine = Engine(sinks={"kept": sink})
        await engine.start()
        engine.emit(Sample(1, "x", 1.0))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert sink.closed == 1


def test_a_process_that_forgets_the_engine_ends_without_a_word_f113() -> None:
    code = """
import asyncio, threading, time
from engine import Engine
from engine.runtime.threads import ThreadPool
from engine.testing import FunctionProbe, HangingProbe, RecordingSink

class Blocks(FunctionProbe):
    async def collect(self):
        return await pool.call("probe.blocks", lambda: threading.Event().wait())

async def main():
    global pool
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not a word of ours
    engine = Engine(sinks={"kept": RecordingSink()})
    pool = ThreadPool(2)
    engine.add_probe("hangs", HangingProbe())
    engine.add_probe("blocks", Blocks(list))
    await engine.start()
    for _ in range(100):
        await asyncio.sleep(0)

asyncio.run(main())
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_probes_and_sinks_are_added_before_the_start_under_names_of_their_own() -> None:
    async def check(clock: VirtualClock) -> None:
        engine = Engine(clock=clock, probes={"a": HangingProbe()})
        with pytest.raises(LongwatchError, match="taken"):
            engine.add_probe("a", HangingProbe())
        with pytest.raises(ValueError, match="longer than 0s"):
            engine.add_probe("b", HangingProbe(), "0s")
        with pytest.raises(ValueError, match="duration"):
            engine.add_probe("b", HangingProbe(), "soon")
        async with engine:
            with pytest.raises(LongwatchError, match="before the start"):
                engine.add_sink("s", RecordingSink())

    run(check)


class Plain:
    """A probe without any class attribute."""

    def __init__(self) -> None:
        self.collected = 0

    async def open(self) -> None: ...

    async def collect(self) -> list[Sample]:
        self.collected += 1
        return []

    async def close(self) -> None: ...


def test_any_object_with_the_three_methods_is_a_probe_once_its_interval_is_given() -> None:
    async def check(clock: VirtualClock) -> None:
        probe, engine = Plain(), Engine(clock=clock)
        with pytest.raises(ValueError, match=r'Plain has no DEFAULT_INTERVAL: add_probe\("p", probe, interval="5s"\)'):
            engine.add_probe("p", probe)
        engine.add_probe("p", probe, "2s")
        async with engine:
            await clock.sleep(20)
        assert probe.collected in (10, 11)
        assert engine.status().probes[0].interval_ms == 2_000

    run(check)


def test_what_is_no_probe_or_sink_is_refused_with_what_is_missing() -> None:
    engine = Engine()
    with pytest.raises(TypeError, match=r"probe p: object has no open\(\) and no collect\(\) and no close\(\)"):
        engine.add_probe("p", object(), "1s")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"sink s: Plain has neither write\(\) and WANTS = .*, to record, nor render"):
        engine.add_sink("s", Plain())


def test_a_bad_configuration_starts_nothing(tmp_path: Path) -> None:
    async def check(clock: VirtualClock) -> None:
        engine = Engine(config(rule(expr="x >"), state_dir=tmp_path), clock=clock)
        with pytest.raises(ConfigError):
            await engine.start()
        await engine.stop()
        again = Engine(config(state_dir=tmp_path), clock=clock)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.hold():  # it writes its status on a real thread
            async with again:
                await asyncio.sleep(0)

    run(check)


async def test_with_a_state_folder_a_second_engine_is_refused_and_the_folder_left_tidy_f18(tmp_path: Path) -> None:
    async with Engine(config(state_dir=tmp_path)) as engine:
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
            await Engine(config(state_dir=tmp_path)).start()
        async with asyncio.timeout(10):
            while not (tmp_path / STATUS_FILE).exists() or engine.status().phase == "starting":
                await asyncio.sleep(0)
        assert engine.status().phase == "running"
    left = ["engine.lock", "life.json", "state.ballast", "state.db"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    async with Engine(config(state_dir=tmp_path)):
        pass


# --- what it does not do --------------------------------------------------------------------------


async def test_it_leaves_the_hosts_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    logging_before = (list(logging.root.handlers), logging.root.level)
    threads, fds = set(threading.enumerate()), sorted(os.listdir("/proc/self/fd"))
    engine = Engine(config(rule()), sinks={"kept": RecordingSink()})
    engine.add_probe("bad", FailingProbe(KeyboardInterrupt()), "10ms")
    engine.add_probe("good", FunctionProbe(list), "10ms")
    async with engine:
        async with asyncio.timeout(10):
            while engine.status().counters['longwatch_probe_ticks_total{probe="good"}'] < 5:
                await asyncio.sleep(0)
            while engine.status().counters["longwatch_steps_total"] < 2:
                await asyncio.sleep(0)
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        started = {thread.name for thread in set(threading.enumerate()) - threads}
        assert started == {"longwatch-watchdog", "longwatch ledger"}, "no other thread without a blocking call"
    assert set(threading.enumerate()) == threads
    assert (list(logging.root.handlers), logging.root.level) == logging_before
    assert sorted(os.listdir("/proc/self/fd")) == fds
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_two_engines_do_not_know_each_other() -> None:
    async def check(clock: VirtualClock) -> None:
        sinks = [RecordingSink(), RecordingSink()]
        engines = [
            Engine(config(rule()), clock=clock, sinks={"kept": sink}, rng=random.Random(n))
            for n, sink in enumerate(sinks)
        ]
        engines[0].add_probe("cpu", cpu(clock, lambda t: 9.0))
        async with engines[0], engines[1]:
            await clock.sleep(30)
        assert len(sinks[0].transitions) == 2
        assert sinks[1].transitions == []

    run(check)


@pytest.mark.slow
def test_hours_with_faults_leaves_nothing_behind_f67() -> None:
    """Eight virtual hours beside a failing, a hanging and a stubborn probe and a sink that is down half the time."""

    async def check(clock: VirtualClock) -> None:
        sink, flaky = RecordingSink(), RecordingSink()
        engine = Engine(
            config(rule(hold="5m")), clock=clock, sinks={"kept": sink, "flaky": flaky}, rng=random.Random(3)
        )
        engine.add_probe("cpu", cpu(clock, lambda t: 9.0 if t % 3_600 < 1_800 else 1.0, 15_000), "15s")
        engine.add_probe("bad", FailingProbe(ValueError()), "15s")
        engine.add_probe("hang", HangingProbe(), "15s")
        engine.add_probe("stubborn", HangingProbe(stubborn=True), "15s")
        async with engine:
            for hour in range(8):
                flaky.hang = hour % 2 == 1
                await clock.sleep(3_600)
                assert len(asyncio.all_tasks()) < 25
            status = engine.status()
        assert [t.kind for t in sink.transitions] == ["pending", "firing", "resolved"] * 8
        gaps = {b.time_ms - a.time_ms for a, b in zip(sink.transitions[0::3], sink.transitions[1::3], strict=True)}
        assert gaps == {300_000}
        assert len([r for r in sink.records if isinstance(r, Health)]) < 8 * 60 * 6
        assert status.counters["longwatch_calls_hung"] == 1

    run(check)


def test_transitions_are_records_like_any_other() -> None:
    assert isinstance(Transition(1, "R", {}, "pending", "firing", "held", 1.0, 1), Transition)


def test_event_types_that_could_never_be_written_are_refused_at_once() -> None:
    class Untagged(DomainEvent, frozen=True, kw_only=True):
        a: int

    class Taken(DomainEvent, frozen=True, kw_only=True, tag="trade_closed"):
        a: int

    for types in ([Untagged], [Taken], [Order, Order]):
        with pytest.raises(TypeError):
            Engine(event_types=types)


def test_more_alerts_than_fit_into_a_message_are_all_told() -> None:
    async def check(clock: VirtualClock) -> None:
        sink = RecordingSink()
        async with Engine(config(rule(hold="0s")), clock=clock, sinks={"k": sink}) as engine:
            await clock.sleep(1)
            names = tuple(f'x{{i="{number}"}}' for number in range(200))
            engine.emit(SampleBatch(engine.now_ms(), names, np.full(200, 9.0)))
            await clock.sleep(5)
        assert len(sink.transitions) == 200
        assert [len(n.transitions) for n in sink.notifications] == [64, 64, 64, 8]
        assert len({message_id for message_id, _ in sink.delivered}) == 4
        assert {n.group_key for n in sink.notifications} == {'{}:{alertname="Hot"}'}

    run(check)
