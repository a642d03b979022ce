"""A whole engine that is disturbed: no false alert, none lost, and one alert that says so (F79, F90 to F97, F109)."""

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from engine import Blind, Engine, Health, Sample, Transition
from engine.clock import SystemClock
from engine.config import load_text
from engine.runtime.blindness import TURNS_EVERY_S
from engine.runtime.blindtime import ALERT, QUIET_MS
from engine.runtime.downtime import LifeSign
from engine.runtime.statefiles import LIFE_FILE, STATUS_FILE
from engine.testing import START_MS, FunctionProbe, RecordingSink, VirtualClock, VirtualLoop, run_virtual

ROOT = Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000
TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS
RULES = """
[engine]
timezone = "Europe/Berlin"
[rule.Hot]
expr = "x > 5"
for = "5m"
[rule.Fine]
expr = "fine != 1"
"""
RANGES = """
[rule.Gone]
expr = "absent(x)"
for = "20s"
[rule.Standing]
expr = "rate(served_total[1m]) < 0.5"
for = "1m"
"""
LOOKING_BACK = """
[engine]
rule_files = ["{path}"]
[rule.Silent]
expr = "absent_over_time(x[5s])"
[rule.Aged]
expr = "time() - timestamp(x) > 5"
[rule.Few]
expr = "count_over_time(x[10s]) < 3 and x offset 20s > 0"
[rule.Mean]
expr = "avg_over_time(x[10s]) > 5"
on_missing = "reset"
[rule.Rate]
expr = "rate(served_total[10s]) > 0.5"
on_missing = "fire"
missing_for = "500ms"
for = "3m"
"""
RULE_FILE = """
groups:
  - name: blind
    interval: 5s
    rules:
      - {record: "x:max", expr: "max_over_time(x[10s])"}
      - {alert: FileHot, expr: "x > 5", for: 30s}
      - {alert: FileMean, expr: "avg_over_time(x[10s]) > 5"}
      - {alert: FileOf, expr: "x:max > 5"}
      - {alert: FileRate, expr: "rate(served_total[20s]) > 0.5"}
      - {alert: FileGone, expr: "absent(x)"}
      - {alert: FileSilent, expr: "absent_over_time(x[20s])"}
"""


class Timed(RecordingSink):
    """Knows at which real second each message was delivered, and of which rule."""

    def __init__(self) -> None:
        super().__init__()
        self.told_s: list[float] = []

    async def deliver(self, message_id: str, body: bytes) -> None:
        if ALERT not in body.decode():
            self.told_s.append(asyncio.get_running_loop().time())

    @property
    def hot(self) -> list[str]:
        """What became of the alert; of other rules only what fired counts: they have nothing to say here."""
        return [t.kind for t in self.transitions if t.rule == "Hot"] + [
            t.rule for t in self.transitions if t.rule not in ("Hot", ALERT) and t.kind == "firing"
        ]

    @property
    def meta(self) -> list[Transition]:
        return [t for t in self.transitions if t.rule == ALERT]

    @property
    def spans(self) -> list[tuple[int, int, str, str]]:
        return [(r.from_ms, r.to_ms, r.scope, r.reason) for r in self.records if isinstance(r, Blind)]


def watched(disturb: Callable[[VirtualClock], None], *, start_ms: int = START_MS) -> Timed:
    """An engine for nine minutes of real time, disturbed after two."""

    async def main(clock: VirtualClock) -> Timed:
        sink = Timed()

        def measure() -> list[Sample]:
            now_ms, now_s = clock.now_ms(), clock.monotonic()
            values = {"x": 9.0 if now_s < 460 else 1.0, "fine": 1.0, "served_total": now_s}
            return [Sample(now_ms, series, value, 1_000) for series, value in values.items()]

        engine = Engine(load_text(RULES + RANGES), clock=clock, sinks={"kept": sink})
        engine.add_probe("p", FunctionProbe(measure), "1s")
        async with engine:
            await clock.sleep(120.3)
            disturb(clock)
            await clock.sleep(419.7)
        assert engine.status().probes[0].failures_total == 0
        return sink

    return run_virtual(main, start_ms=start_ms)


def stall(seconds: float) -> Callable[[VirtualClock], None]:
    def disturb(clock: VirtualClock) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.stall(seconds)

    return disturb


def step(by_ms: int) -> Callable[[VirtualClock], None]:
    return lambda clock: clock.step(by_ms)


NOTHING = stall(0)
DISTURBANCES = {
    "F79 held for 1 s": (stall(1), 1.0, "loop_lag"),
    "F79 held for 10 s": (stall(10), 10.0, "loop_lag"),
    "F79 held for 60 s": (stall(60), 60.0, "loop_lag"),
    "F92 asleep for 8 h": (lambda clock: clock.suspend(8 * HOUR_MS), 0.0, "suspend"),
    "F90 set by +1 h": (step(HOUR_MS), 0.0, "clock_step"),
    "F90 set by -1 h": (step(-HOUR_MS), 0.0, ""),
    "F90 set by +10 years": (step(TEN_YEARS_MS), 0.0, "clock_step"),
    "F90 set to 1970": (step(-START_MS), 0.0, ""),
}


@pytest.fixture(scope="module")
def undisturbed() -> Timed:
    return watched(NOTHING)


@pytest.mark.parametrize(("disturb", "held_s", "reason"), DISTURBANCES.values(), ids=DISTURBANCES)
def test_an_alert_comes_once_and_counts_what_was_seen_and_one_tells_of_the_watch(
    disturb: Callable[[VirtualClock], None], held_s: float, reason: str, undisturbed: Timed
) -> None:
    sink = watched(disturb)
    assert sink.hot == ["pending", "firing", "resolved"]
    before, after = undisturbed.told_s, sink.told_s
    assert after[0] - before[0] == pytest.approx(held_s, abs=TURNS_EVERY_S + 0.01), "five minutes that were seen"
    assert after[1] == pytest.approx(before[1], abs=0.01)
    stamps = [r.time_ms for r in sink.records if isinstance(r, Sample) and r.series == "x"]
    assert stamps == sorted(set(stamps)), "no stamp twice, and none that goes back"
    assert len(undisturbed.records) - len(sink.records) <= 3 * held_s + 3, "no ticks are lost but those of that time"
    assert [span[2:] for span in sink.spans] == ([("*", reason)] if reason else [])

    fired, resolved = sink.meta
    assert (fired.kind, resolved.kind, resolved.reason) == ("firing", "resolved", "recovered")
    assert resolved.time_ms - fired.time_ms == pytest.approx(QUIET_MS, abs=1_100)
    blind_ms = sum(to_ms - from_ms for from_ms, to_ms, _, _ in sink.spans)
    assert fired.value == blind_ms / 1000
    assert len(sink.notifications) == 4
    if held_s:
        assert blind_ms / 1000 == pytest.approx(held_s, abs=TURNS_EVERY_S)
    summary = fired.annotations["summary"]
    assert ("not everything was seen for" if reason else "the wall clock was set back at") in summary
    assert reason in summary
    assert "CET" in summary, "in the zone of the configuration"


@pytest.mark.parametrize("interval_s", [5, 60, 3_600])
def test_when_the_machine_wakes_up_probes_measure_at_once_f92(interval_s: int) -> None:
    """Its clock of durations stood still: by that the next measurement would be as far away as it was before."""

    async def main(clock: VirtualClock) -> tuple[list[float], int, int]:
        stamps: list[int] = []

        def measure() -> list[Sample]:
            stamps.append(clock.now_ms())
            return [Sample(clock.now_ms(), "x", 1.0, interval_s * 1_000)]

        engine = Engine(load_text(RULES), clock=clock, sinks={"kept": Timed()})
        engine.add_probe("p", FunctionProbe(measure), f"{interval_s}s")
        async with engine:
            while len(stamps) < 3:
                await clock.sleep(interval_s / 10)
            clock.suspend(8 * HOUR_MS)
            woken_ms, before = clock.now_ms() + 8 * HOUR_MS, len(stamps)
            await clock.sleep(1.5)
            early = len(stamps) - before
            await clock.sleep(10 * interval_s)
            probe = engine.status().probes[0]
        return [(at - woken_ms) / 1_000 for at in stamps[before:]], early, probe.ticks_missed

    after_s, early, missed = run_virtual(main)
    assert early == 1
    assert 0 <= after_s[0] <= 1.5
    assert missed == 0
    gaps = [b - a for a, b in itertools.pairwise(after_s)]
    assert interval_s / 2 - 0.01 <= gaps[0] <= 1.5 * interval_s + 0.01
    assert gaps[1:] == pytest.approx([interval_s] * len(gaps[1:]), abs=0.01)


def looked_back(disturb: Callable[[VirtualClock], None], path: Path) -> list[tuple[str, str, str]]:
    """What became of every rule, in four minutes of which the last is another."""

    async def main(clock: VirtualClock) -> Timed:
        sink = Timed()

        def measure() -> list[Sample]:
            now_ms, now_s = clock.now_ms(), clock.monotonic()
            return [
                Sample(now_ms, "x", 9.0 if now_s < 290 else 1.0, 1_000),
                Sample(now_ms, "served_total", now_s, 1_000),
            ]

        path.write_text(RULE_FILE, encoding="utf-8")
        engine = Engine(load_text(LOOKING_BACK.format(path=path)), clock=clock, sinks={"kept": sink})
        engine.add_probe("p", FunctionProbe(measure), "1s")
        async with engine:
            await clock.sleep(60.3)
            disturb(clock)
            await clock.sleep(300)
        return sink

    return sorted((t.rule, t.kind, t.reason) for t in run_virtual(main).transitions if t.rule != ALERT)


def test_what_looks_back_says_the_same_whatever_disturbs_it_f79_f92(tmp_path: Path) -> None:
    """Ranges, silence as a condition and groups of rule files: nothing fires, resolves or comes twice."""
    expected = looked_back(NOTHING, tmp_path / "rules.yml")
    assert [row for row in expected if row[0] in ("FileHot", "Mean", "Rate")] == [
        ("FileHot", "firing", "held"),
        ("FileHot", "pending", "condition"),
        ("FileHot", "resolved", "recovered"),
        ("Mean", "firing", "condition"),
        ("Mean", "resolved", "recovered"),
        ("Rate", "firing", "held"),
        ("Rate", "pending", "condition"),
    ]
    for name in ("F79 held for 10 s", "F79 held for 60 s", "F92 asleep for 8 h", "F90 set by +1 h", "F90 set to 1970"):
        assert looked_back(DISTURBANCES[name][0], tmp_path / "rules.yml") == expected, name


UNDISTURBING = {
    "F91 a repeated leap second": step(-1_000),
    "F91 a second off": step(1_000),
    "F94 a virtual machine that is moved": stall(-1e-6),
    "F94 by a millisecond": stall(-1e-3),
    "F79 held for half a second": stall(0.5),
}


@pytest.mark.parametrize("disturb", UNDISTURBING.values(), ids=UNDISTURBING)
def test_what_disturbs_nobody_is_told_to_nobody(disturb: Callable[[VirtualClock], None], undisturbed: Timed) -> None:
    sink = watched(disturb)
    assert sink.hot == ["pending", "firing", "resolved"]
    assert (sink.meta, sink.spans) == ([], [])
    assert sink.told_s == pytest.approx(undisturbed.told_s, abs=0.6)


STARTS = {
    "F93 the spring of Berlin": 1_774_745_700_000,  # 2026-03-29T00:55Z, five minutes before summer time
    "F93 the autumn of Berlin": 1_792_889_700_000,  # 2026-10-25T00:55Z, an hour that comes twice
    "F96 2^31 s": (2**31 - 200) * 1_000,
    "F96 2^32 s": (2**32 - 200) * 1_000,
}


@pytest.mark.parametrize("start_ms", STARTS.values(), ids=STARTS)
def test_no_turn_of_the_calendar_is_a_disturbance(start_ms: int, undisturbed: Timed) -> None:
    sink = watched(NOTHING, start_ms=start_ms)
    moved = [(t.kind, t.time_ms - start_ms + START_MS) for t in sink.transitions]
    assert moved == [(t.kind, t.time_ms) for t in undisturbed.transitions]
    assert sink.spans == []


def test_a_loop_that_is_held_again_and_again_is_one_alert() -> None:
    async def main(clock: VirtualClock) -> Timed:
        sink = Timed()
        async with Engine(load_text(RULES), clock=clock, sinks={"kept": sink}):
            for _ in range(200):
                await clock.sleep(3)
                stall(2)(clock)
            await clock.sleep(200)
        return sink

    sink = run_virtual(main)
    fired, resolved = sink.meta
    assert (fired.kind, resolved.kind) == ("firing", "resolved")
    assert 400 <= resolved.value <= 450, "all of it is in the end"
    assert len([r for r in sink.records if isinstance(r, Health) and r.reason == "lag"]) <= 20


def test_at_the_stop_the_alert_about_the_watch_ends_with_it() -> None:
    async def main(clock: VirtualClock) -> Timed:
        sink = Timed()
        async with Engine(load_text(RULES), clock=clock, sinks={"kept": sink}):
            await clock.sleep(5)
            stall(5)(clock)
            await clock.sleep(5)
        return sink

    assert [t.kind for t in run_virtual(main).transitions] == ["firing", "resolved"]


# --- its own absence ----------------------------------------------------------------------------------------------


class Heard(RecordingSink):
    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    async def write(self, records: object) -> None:
        await super().write(records)  # type: ignore[arg-type]
        self.heard.set()


async def absence(folder: Path, last: LifeSign) -> tuple[list[Blind], list[str]]:
    """What an engine records that finds this last sign of life."""
    (folder / LIFE_FILE).write_bytes(msgspec.json.encode(last))
    sink = Heard()
    text = f'[engine]\nstate_dir = "{folder}"\n'
    async with Engine(load_text(text), sinks={"kept": sink}), asyncio.timeout(20):
        await sink.heard.wait()
    return [r for r in sink.records if isinstance(r, Blind)], [t.kind for t in sink.transitions]


@pytest.mark.parametrize("boot", ["same", "another", "none"])
async def test_an_engine_that_was_cut_off_says_for_how_long_nobody_looked_f95(tmp_path: Path, boot: str) -> None:
    clock = SystemClock()
    known = clock.boot()
    assert known is not None
    boot_id = {"same": known.boot_id, "another": "5e11e0a8-0000-0000-0000-000000000000", "none": ""}[boot]
    spans, kinds = await absence(tmp_path, LifeSign(clock.now_ms() - 600_000, boot_id, max(0, known.up_ms - 600_000)))
    assert [(span.scope, span.reason) for span in spans] == [("*", "downtime")]
    assert spans[0].to_ms - spans[0].from_ms == pytest.approx(600_000, abs=5_000)
    assert kinds == ["firing", "resolved"]


async def test_a_stop_that_was_asked_for_is_recorded_and_told_to_nobody(tmp_path: Path) -> None:
    spans, kinds = await absence(tmp_path, LifeSign(SystemClock().now_ms() - 600_000, stopped=True))
    assert ([span.reason for span in spans], kinds) == (["downtime"], [])


async def test_a_wall_clock_set_back_meanwhile_leaves_no_span(tmp_path: Path) -> None:
    spans, kinds = await absence(tmp_path, LifeSign(SystemClock().now_ms() + HOUR_MS))
    assert (spans, kinds) == ([], [])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"time_ms": -5}', '{"time_ms": 1e30}', '{"time_ms": "now"}', "\x00" * 99]
)
async def test_a_damaged_sign_of_life_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / LIFE_FILE).write_text(text)
    sink = Heard()
    async with Engine(load_text(f'[engine]\nstate_dir = "{tmp_path}"\n'), sinks={"kept": sink}), asyncio.timeout(20):
        await sink.heard.wait()
    assert [r for r in sink.records if isinstance(r, Blind)] == []


# --- real processes -----------------------------------------------------------------------------------------------

RUN = """
[engine]
state_dir = "{folder}"
[probe.host]
interval = "200ms"
timeout = "200ms"
[sink.history]
type = "sqlite"
"""


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    if not (folder / "history.db").exists():
        return []
    with closing(sqlite3.connect(f"file:{folder}/history.db?mode=ro", uri=True, timeout=10)) as found:
        try:
            return found.execute(query).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return []


class Process:
    """`python -m engine`, and ways to wait for what it does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = folder.with_suffix(".toml")
        config.write_text(RUN.format(folder=folder), encoding="utf-8")
        command = [sys.executable, "-m", "engine", "--config", str(config), "--no-live"]
        self.process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def until(self, query: str) -> None:
        for _ in range(200):
            if rows(self.folder, query):
                return
            self.stays(0.1)
        pytest.fail(f"nothing came of {query}")

    def stays(self, seconds: float) -> None:
        with pytest.raises(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def end(self, number: signal.Signals) -> str:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return errors.decode()


SPANS = "SELECT body ->> 'reason', (body ->> 'to_ms') - (body ->> 'from_ms') FROM events WHERE type = 'blind'"


@pytest.mark.slow
@pytest.mark.process
def test_a_process_that_is_stopped_and_continued_f109(tmp_path: Path) -> None:
    """The thread that watches the loop stood still as well, and says so; nobody else is blamed."""
    run = Process(tmp_path / "state")
    try:
        run.until("SELECT 1 FROM samples LIMIT 1")
        run.process.send_signal(signal.SIGSTOP)
        run.stays(3.0)
        run.process.send_signal(signal.SIGCONT)
        run.until("SELECT 1 FROM health WHERE component = 'loop' AND status = 'ok'")
        errors = run.end(signal.SIGINT)
    finally:
        run.process.kill()
    assert run.process.returncode == 0, errors
    lengths = [length for reason, length in rows(run.folder, SPANS) if reason == "loop_lag"]
    assert len(lengths) == 1
    assert 3_000 <= int(str(lengths[0])) <= 3_000 + 3_000
    ((message,),) = rows(run.folder, "SELECT message FROM health WHERE component = 'loop' AND reason = 'lag'")
    assert "nothing in this process ran" in str(message)
    told = rows(run.folder, "SELECT kind FROM transitions WHERE rule = 'LongwatchBlind' ORDER BY id")
    assert told == [("firing",), ("resolved",)]
    assert rows(run.folder, "SELECT 1 FROM transitions WHERE rule <> 'LongwatchBlind'") == []


@pytest.mark.slow
@pytest.mark.process
def test_a_process_that_was_killed_tells_of_it_at_the_next_start_f95(tmp_path: Path) -> None:
    first = Process(tmp_path / "state")
    try:
        first.until("SELECT 1 FROM samples LIMIT 1")
        for _ in range(100):
            if (first.folder / LIFE_FILE).exists() and (first.folder / STATUS_FILE).exists():
                break
            first.stays(0.1)
        first.end(signal.SIGKILL)
    finally:
        first.process.kill()
    second = Process(tmp_path / "state")
    try:
        second.until("SELECT 1 FROM transitions WHERE rule = 'LongwatchBlind'")
        second.end(signal.SIGINT)
    finally:
        second.process.kill()
    ((reason, length),) = rows(second.folder, SPANS)
    assert reason == "downtime"
    assert 0 < int(str(length)) < 60_000
    assert json.loads((second.folder / LIFE_FILE).read_text())["stopped"] is True
