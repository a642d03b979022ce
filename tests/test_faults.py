"""The engine goes on: each fault, through a whole engine, is a health event and a count, and nobody else notices.

Faults by their numbers; finer tests of each are beside the part they concern.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Blind, Engine, Health, Sample, SampleBatch
from engine.config import load_text
from engine.errors import SinkError
from engine.events import Record
from engine.testing import FailingProbe, FunctionProbe, HangingProbe, RecordingSink, VirtualClock, run_virtual

ROOT = Path(__file__).parent.parent
RULE = """
[rule.Hot]
expr = "x > 5"
for = "10s"
"""
DEADLINE_S = 30.0


def healthy(clock: VirtualClock) -> FunctionProbe:
    """A probe that is not concerned: its alert must come at its exact instant, whatever happens beside it."""
    return FunctionProbe(lambda: Sample(clock.now_ms(), "x", 9.0, 1_000))


def health(sink: RecordingSink, component: str) -> list[tuple[str, str]]:
    return [(r.status, r.reason) for r in sink.records if isinstance(r, Health) and r.component == component]


def hot(sink: RecordingSink) -> list[tuple[str, int]]:
    """What the rule did, beside the engine's own alert."""
    return [(t.kind, t.time_ms - t.active_since_ms) for t in sink.transitions if t.rule == "Hot"]


def fired_in_time(sink: RecordingSink) -> bool:
    return hot(sink) == [("pending", 0), ("firing", 10_000)]


def play(
    scene: Callable[[VirtualClock, Engine, RecordingSink], Awaitable[None]], text: str = RULE, seconds: float = 60
) -> tuple[RecordingSink, dict[str, float]]:
    """Run an engine with a healthy probe for a minute of virtual time; return what was recorded, and the counters."""

    async def main(clock: VirtualClock) -> tuple[RecordingSink, dict[str, float]]:
        sink = RecordingSink()
        engine = Engine(load_text(text), clock=clock, sinks={"kept": sink}, rng=random.Random(1))
        engine.add_probe("fine", healthy(clock), "1s")
        await scene(clock, engine, sink)
        async with engine:
            await clock.sleep(seconds)
            counters = engine.status().counters
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return sink, counters

    return run_virtual(main)


def test_f62_a_probe_that_raises() -> None:
    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        engine.add_probe("bad", FailingProbe(RuntimeError("no such device")), "1s")

    sink, counters = play(scene)
    assert health(sink, "probe.bad")[0] == ("failed", "raised")
    assert counters['longwatch_probe_failures_total{probe="bad"}'] >= 4
    assert counters['longwatch_probe_up{probe="bad"}'] == 0
    assert fired_in_time(sink)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError(), StopAsyncIteration()]
)
def test_f63_a_probe_that_raises_what_ends_programs(error: BaseException) -> None:
    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        engine.add_probe("bad", FailingProbe(error), "1s")

    sink, counters = play(scene)
    assert health(sink, "probe.bad")[0][0] == "failed"
    assert counters['longwatch_probe_failures_total{probe="bad"}'] >= 4
    assert fired_in_time(sink)


@pytest.mark.parametrize("stubborn", [False, True], ids=["F64 never returns", "F66 ignores its cancellation"])
def test_a_probe_that_hangs(stubborn: bool) -> None:
    hanging = HangingProbe(stubborn=stubborn)

    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        engine.add_probe("bad", hanging, "1s")
        asyncio.get_running_loop().call_later(55, hanging.release)

    sink, counters = play(scene)
    assert health(sink, "probe.bad")[0] == ("failed", "hung" if stubborn else "timeout")
    assert counters['longwatch_probe_failures_total{probe="bad"}'] >= 1
    assert hanging.hanging == 0
    assert hanging.collected < 60, "it is not called again and again while it hangs"
    assert fired_in_time(sink)


def test_f67_f68_a_probe_that_returns_nonsense() -> None:
    answers: list[Any] = [42, "text", [object()], [Sample("now", "x", 1.0)], [Sample(1, "x" * 10_000_000, 1.0)], None]  # type: ignore[arg-type]

    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        at = iter(answers * 100)
        engine.add_probe("bad", FunctionProbe(lambda: next(at)), "1s")

    sink, counters = play(scene)
    assert ("failed", "bad_output") in health(sink, "probe.bad")
    refused = {name: count for name, count in counters.items() if name.startswith("longwatch_probe_refused_total")}
    assert sum(refused.values()) > 0 or counters['longwatch_probe_failures_total{probe="bad"}'] > 3
    assert counters["longwatch_series"] < 300
    assert fired_in_time(sink)


def test_f60_a_full_channel() -> None:
    """Ten times the room, at once: counted by reason, told once a second at most, and the latest values are kept."""

    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        def storm() -> None:
            for number in range(10_000):
                engine.emit(Sample(clock.now_ms(), f"y{number % 10}", float(number), 1_000))

        asyncio.get_running_loop().call_later(20.25, storm)

    sink, counters = play(scene, "[engine]\nqueue_samples_max = 1000\n" + RULE)
    assert counters['longwatch_dropped_total{reason="displaced"}'] >= 9_000
    assert counters["longwatch_channel_peak_samples"] <= 1_256  # and the reserve for health events
    told = health(sink, "channel")
    assert told[0] == ("degraded", "full")
    assert told[-1] == ("ok", "recovered")
    assert len(told) <= 4
    assert [r for r in sink.records if isinstance(r, Sample) and r.series == "y9"][-1].value == 9_999.0
    assert fired_in_time(sink)


def test_f68_a_batch_heavier_than_the_channel() -> None:
    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        def huge() -> None:
            names = tuple(f"y{number}" for number in range(2_000))
            assert not engine.emit(SampleBatch(clock.now_ms(), names, np.zeros(2_000)))

        asyncio.get_running_loop().call_later(5, huge)

    sink, counters = play(scene, "[engine]\nqueue_samples_max = 1000\n" + RULE)
    assert counters['longwatch_dropped_total{reason="oversize"}'] == 2_000
    assert health(sink, "channel")[0] == ("degraded", "full")
    assert hot(sink) == [("pending", 0), ("firing", 10_001)]
    assert [(r.to_ms - r.from_ms, r.reason) for r in sink.records if isinstance(r, Blind)] == [(1, "dropped")]


@pytest.mark.parametrize("what", ["hangs", "raises", "full"])
def test_f61_a_sink_that_fails_beside_one_that_works(what: str) -> None:
    full = SinkError("disk_full", "the disk is full", retryable=True)
    failures: list[BaseException | None] = {
        "hangs": [],
        "raises": [RuntimeError("bug")] * 9_999,
        "full": [full] * 9_999,
    }[what]  # type: ignore[assignment]
    bad = RecordingSink(failures, hang=what == "hangs")

    async def scene(clock: VirtualClock, engine: Engine, sink: RecordingSink) -> None:
        engine.add_sink("bad", bad)

    sink, counters = play(scene, seconds=120)
    assert health(sink, "sink.bad")[0][0] in ("failed", "degraded")
    assert counters['longwatch_sink_up{sink="bad"}'] == 0
    assert (
        counters['longwatch_sink_retries_total{sink="bad"}']
        + sum(
            count
            for name, count in counters.items()
            if name.startswith('longwatch_sink_dropped_total{reason="') and "bad" in name
        )
        > 0
    )
    assert fired_in_time(sink)
    assert bad.closed == 1


# --- real sockets ---------------------------------------------------------------------------------


@asynccontextmanager
async def server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A raw server on loopback; yields its port."""
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        await answer(reader, writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for writer in open_writers:
            writer.transport.abort()
        await listening.wait_closed()


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept and never answer."""


async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the request and drop the connection."""
    await reader.read(1024)
    writer.transport.abort()


class Watched(RecordingSink):
    """A recording sink that one can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    async def write(self, records: Sequence[Record]) -> None:
        await super().write(records)
        self._written.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._written.clear()
                await self._written.wait()


@pytest.mark.parametrize("answer", [never, dies], ids=["F30 accepts and never answers", "F38 dies"])
async def test_a_receiver_that_does_not_answer(answer: Any) -> None:
    """It is tried again and told, and counted when the engine stops; the record beside it is complete."""
    async with server(answer) as port:
        text = f"""
[rule.Hot]
expr = "x > 5"
[sink.ops]
type = "webhook"
url = "http://127.0.0.1:{port}/hook"
timeout = "250ms"
"""
        sink = Watched()
        async with Engine(load_text(text), sinks={"kept": sink}, rng=random.Random(1)) as engine:
            engine.emit(Sample(engine.status().heartbeat_ms, "x", 9.0))
            await sink.until(lambda: any(status == "degraded" for status, _ in health(sink, "sink.ops")))
            counters = engine.status().counters
            await sink.until(lambda: bool(sink.transitions))
        assert counters['longwatch_sink_up{sink="ops"}'] == 0
        assert counters['longwatch_sink_retries_total{sink="ops"}'] >= 1
        assert engine.status().counters['longwatch_sink_dropped_total{reason="shutdown",sink="ops"}'] == 1
        assert [t.kind for t in sink.transitions] == ["firing"]


@pytest.mark.parametrize("answer", [never, dies], ids=["F84 accepts and never answers", "F38 dies"])
async def test_a_target_that_does_not_answer_is_down(answer: Any) -> None:
    """A target that is down is a measurement, not a failure of the probe: the rule says so."""
    async with server(answer) as port:
        text = f"""
[probe.health]
type = "http"
url = "http://127.0.0.1:{port}/"
interval = "300ms"
timeout = "200ms"
[rule.Down]
expr = "probe_success == 0"
"""
        sink = Watched()
        async with Engine(load_text(text), sinks={"kept": sink}) as engine:
            await sink.until(lambda: bool(sink.transitions))
            counters = engine.status().counters
        assert sink.transitions[0].kind == "firing"
        assert counters['longwatch_probe_up{probe="health"}'] == 1
        assert health(sink, "probe.health") == []


# --- real processes -------------------------------------------------------------------------------

FULL_DISK = """
import json, os, signal, sqlite3, subprocess, sys, time
from pathlib import Path

folder = Path(sys.argv[1])
disk = folder / "small"
command = [sys.executable, "-m", "engine", "--config", str(folder / "run.toml"), "--no-live"]
engine = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

def too_late(number, frame):
    engine.kill()
    sys.exit("too late")

signal.signal(signal.SIGALRM, too_late)
signal.alarm(45)  # whatever waits here below has a deadline

def rows(query, *values):
    found = sqlite3.connect(f"file:{disk}/history.db?mode=ro", uri=True)
    try:
        return found.execute(query, values).fetchall()
    except sqlite3.OperationalError:  # not made yet, or the disk has no room for a reader either
        return []
    finally:
        found.close()

def said(*marks):
    for line in engine.stdout:
        print(line, end="", file=sys.stderr)
        if "sink.history" in line and any(mark in line for mark in marks):
            return
    sys.exit(f"the engine ended without saying {marks}")

while not (disk / "history.db").exists() or not rows("SELECT 1 FROM samples LIMIT 1"):
    assert engine.poll() is None
    time.sleep(0.05)
with open(disk / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError as error:
        print("filled:", os.strerror(error.errno), file=sys.stderr)
said("disk_full", "io_error")
full_ms = time.time_ns() // 1_000_000
time.sleep(1.5)  # a few measurements while nothing can be kept
free_ms = time.time_ns() // 1_000_000
(disk / "filler").unlink()
said("recovered")
engine.send_signal(signal.SIGINT)
engine.communicate()
(meanwhile,) = rows("SELECT count(DISTINCT time_ms) FROM samples WHERE time_ms BETWEEN ? AND ?", full_ms, free_ms)
told = rows("SELECT status, reason FROM health WHERE component = 'sink.history' ORDER BY id")
print(json.dumps({"code": engine.returncode, "meanwhile": meanwhile[0], "told": told}))
"""


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_f12_a_full_disk(tmp_path: Path) -> None:
    """It fills while the watch runs: that goes on in memory, says it is degraded, and heals without a restart."""
    (tmp_path / "small").mkdir()
    (tmp_path / "run.toml").write_text(
        f"""
[engine]
state_dir = "{tmp_path}/small"
[probe.host]
interval = "200ms"
timeout = "200ms"
[sink.console]
[sink.history]
type = "sqlite"
""",
        encoding="utf-8",
    )
    mount = 'mount -t tmpfs -o size=4m tmpfs "$0" || exit 99; exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, f"{tmp_path}/small", sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=55,
    )
    if done.returncode in (1, 99) and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()[:120]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    story = json.loads(done.stdout)
    assert story["code"] == 0
    assert story["meanwhile"] >= 3, "what was measured while the disk was full was kept in memory"
    assert story["told"][0][1] in ("disk_full", "io_error")
    assert story["told"][-1] == ["ok", "recovered"]


@pytest.mark.process
def test_f104_a_closed_stdout_pipe(tmp_path: Path) -> None:
    """A reader that leaves: the console stops, the engine does not, and says so in the history."""
    (tmp_path / "run.toml").write_text(
        f"""
[engine]
state_dir = "{tmp_path}/state"
[probe.host]
interval = "200ms"
timeout = "200ms"
[rule.Always]
expr = "host_memory_percent >= 0"
for = "1s"
[sink.console]
pending = true
[sink.history]
type = "sqlite"
""",
        encoding="utf-8",
    )
    command = f"{sys.executable} -m engine --config {tmp_path}/run.toml --no-live --duration 4s"
    # A reader that leaves after the first line of the sink: the lines before it are the command line's own.
    script = f"{command} | sed -n '/PENDING/{{p;q}}'; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1
    with closing(sqlite3.connect(tmp_path / "state" / "history.db")) as found:
        (seconds,) = found.execute("SELECT (max(time_ms) - min(time_ms)) / 1000.0 FROM samples").fetchone()
        told = found.execute("SELECT status, reason FROM health WHERE component = 'sink.console'").fetchall()
    assert seconds > 2.5, "it went on measuring"
    assert ("failed", "closed") in told
