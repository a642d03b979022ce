"""A whole engine and a disk that fails it at the start: nothing that fires is lost, nor told twice."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Sample
from engine.clock import SystemClock
from engine.config import load_text
from engine.ports import Clock, Progress
from engine.runtime import keeping
from engine.runtime.keeping import LEDGER_FILE
from engine.runtime.ledger import running
from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.values import checksum
from engine.testing import VirtualClock, run_virtual
from tests.runtime.ledger.rig import Switch, io_error, locked
from tests.runtime.test_restart_engine import BEFORE, Ops, engine, killed, states, watch

DEADLINE_S = 30.0


def stored(folder: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(folder / LEDGER_FILE)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    made = Switch()

    def store(path: Path | None, now_ms: Callable[[], int]) -> Store:
        return Store(path, now_ms, made.factory())

    monkeypatch.setattr(keeping, "Store", store)
    return made


def failing(times: int) -> Callable[[str], BaseException | None]:
    """A file that is locked when it is opened, so often."""
    left = iter(range(times))
    return lambda statement: locked() if statement == sql.SET_WAL and next(left, None) is not None else None


async def before(clock: VirtualClock, folder: Path) -> tuple[Path, Ops]:
    """What is left of an engine with two alerts that fire and one that is pending."""
    async with engine(clock, folder, ops := Ops()) as one:
        await clock.sleep(0)
        await watch(clock, one, 40, 5.0)
        assert states(one) == BEFORE
        return await killed(clock, folder), ops


@pytest.mark.parametrize("times", [1, 100], ids=["a short lock", "a long lock"])
def test_f18_a_lock_at_the_start_costs_no_alert(tmp_path: Path, switch: Switch, times: int) -> None:
    async def main(clock: VirtualClock) -> None:
        after, ops = await before(clock, tmp_path / "first")
        switch.plan = failing(times)
        async with engine(clock, after, again := Ops(ops)) as two:
            await clock.sleep(5)
            assert two.status().ledger.kept == ("disk" if times == 1 else "degraded")
            assert states(two) == BEFORE
            await watch(clock, two, 10, 5.0)
            assert again.told == [], "it fires since before"
            await watch(clock, two, 10, 0.0)
            assert again.told == [("Hot", "resolved")]
            switch.plan = lambda _: None
            await clock.sleep(120)
            assert two.status().ledger.kept == "disk"
        told = "SELECT kind, count(*) FROM delivered GROUP BY kind ORDER BY kind"
        own = 1 if times == 1 else 2
        assert stored(after, told) == [("firing", 1), ("resolved", 1 + own)], "Many; Hot, and what the engine says"

    run_virtual(main)


ROWS = "SELECT count(*) FROM alert WHERE rule_key LIKE '%Hot%' AND labels <> ''"


@pytest.mark.parametrize("shows", [True, False], ids=["it shows again", "it does not"])
def test_what_could_not_be_read_at_the_start_is_not_deleted_before_it_was_compared(tmp_path: Path, shows: bool) -> None:
    rules = '[rule.Hot]\nexpr = "x > 1"\n'

    async def main(clock: VirtualClock) -> None:
        async with engine(clock, tmp_path / "first", Ops(), rules) as one:
            await clock.sleep(0)
            await watch(clock, one, 40, 5.0)
            after = await killed(clock, tmp_path / "first")
        away = (after / LEDGER_FILE).rename(after / "away")
        (after / LEDGER_FILE).mkdir()
        async with engine(clock, after, again := Ops(), rules) as two:
            await clock.sleep(5)
            assert (states(two), two.status().ledger.kept) == ([], "degraded")
            (after / LEDGER_FILE).rmdir()
            away.rename(after / LEDGER_FILE)
            await clock.sleep(60)
            assert two.status().ledger.kept == "disk"
            if shows:
                await watch(clock, two, 10, 5.0)
            assert stored(after, ROWS) == [(1,)]
            await clock.sleep(310)
            assert again.told == ([("Hot", "firing")] if shows else [("Hot", "lost")])
            assert stored(after, ROWS) == [(1 if shows else 0,)]

    run_virtual(main)


def test_what_was_committed_and_not_told_is_told_when_the_file_can_be_read(tmp_path: Path) -> None:
    """T1 without its T2, behind a file that can't be read: its number is below those that have been given since."""

    async def main(clock: VirtualClock) -> None:
        after, _ = await before(clock, tmp_path / "first")
        connection = sqlite3.connect(after / LEDGER_FILE)
        connection.execute("UPDATE cursor SET seq = 0, crc = ? WHERE name = 'policy'", (checksum("policy", 0),))
        connection.execute("DELETE FROM delivered")
        connection.commit()
        connection.close()
        away = (after / LEDGER_FILE).rename(after / "away")
        (after / LEDGER_FILE).mkdir()
        rules = '[rule.Other]\nexpr = "y > 1"\n'
        async with engine(clock, after, again := Ops(), rules) as two:
            await clock.sleep(5)
            assert two.emit(Sample(clock.now_ms(), "y", 2.0))
            await clock.sleep(1)
            assert again.told == [("Other", "firing")]
            (after / LEDGER_FILE).rmdir()
            away.rename(after / LEDGER_FILE)
            await clock.sleep(60)
            assert again.told == [("Other", "firing"), ("Hot", "firing"), ("Many", "firing")]
            await clock.sleep(310)
            assert again.told[3:] == [("Hot", "lost"), ("Many", "lost")]
        assert stored(after, "SELECT count(*) FROM transition, cursor WHERE transition.seq > cursor.seq") == [(0,)]

    run_virtual(main)


class Hanging(sqlite3.Connection):
    """A disk that does not answer when the file is opened."""

    answers = threading.Event()

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement == sql.SET_WAL:
            assert Hanging.answers.wait(DEADLINE_S)
        return super().execute(statement, *parameters)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def threads() -> Callable[[], list[threading.Thread]]:
    """The ledger's threads that began in the test: one of another test may still be at its end."""
    before = set(threading.enumerate())
    return lambda: [one for one in threading.enumerate() if one.name == "longwatch ledger" and one not in before]


async def test_f15_a_disk_that_hangs_at_the_start_does_not_stop_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Callable[[], list[threading.Thread]]
) -> None:
    ops, rules = Ops(), load_text(f'[engine]\nstate_dir = "{tmp_path}"\n[rule.Hot]\nexpr = "x > 5"\n')
    monkeypatch.setattr(keeping, "Store", lambda path, now_ms: Store(path, now_ms, Hanging))
    monkeypatch.setattr(running, "OPEN_S", 0.1)
    Hanging.answers.clear()
    async with Engine(rules, sinks={"ops": ops}, rng=random.Random(1)) as one:
        await until(lambda: one.status().phase == "running")
        assert (one.status().ledger.kept, one.status().ledger.trouble) == ("degraded", "hung")
        assert one.emit(Sample(one.now_ms(), "x", 9.0))
        await until(lambda: ops.told == [("Hot", "firing")])
        assert len(threads()) == 2, "the first one waits for the disk still"
        assert not stored_if_there(tmp_path)
        Hanging.answers.set()
        await until(lambda: one.status().ledger.kept == "disk")
        assert len(threads()) == 1
    assert threads() == []
    kinds = "SELECT kind FROM delivered ORDER BY kind"
    assert stored(tmp_path, kinds) == [("firing",), ("resolved",)], "Hot, and the one about the disk"


def stored_if_there(folder: Path) -> list[Any]:
    return stored(folder, "SELECT * FROM alert") if (folder / LEDGER_FILE).exists() else []


async def test_f15_a_disk_that_hangs_for_ever_lets_the_engine_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: Callable[[], list[threading.Thread]]
) -> None:
    ops, text = Ops(), f'[engine]\nstate_dir = "{tmp_path}"\nshutdown_timeout = "1s"\n'
    monkeypatch.setattr(keeping, "Store", lambda path, now_ms: Store(path, now_ms, Hanging))
    monkeypatch.setattr(running, "OPEN_S", 0.1)
    Hanging.answers.clear()
    async with Engine(load_text(text), sinks={"ops": ops}, rng=random.Random(1)) as one:
        await until(lambda: one.status().phase == "running")
    (left,) = threads()
    assert left.daemon
    Hanging.answers.set()
    left.join(DEADLINE_S)
    assert not left.is_alive(), "it ends with what it has begun, and closes it"


class Beat:
    """A sink that acts by the clock, and knows what is stuck."""

    interval_s = 0.5

    def __init__(self, clock: Clock) -> None:
        self.stuck: set[str] = set()
        self._clock = clock

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def tick(self, parts: Mapping[str, Progress]) -> None:
        now_s = self._clock.monotonic()
        self.stuck = {name for name, part in parts.items() if now_s - part.last_s > part.limit_s}


class Held(sqlite3.Connection):
    """A disk that does not answer a COMMIT."""

    answers = threading.Event()

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement == "COMMIT":
            assert Held.answers.wait(DEADLINE_S)
        return super().execute(statement, *parameters)


async def test_a_commit_that_hangs_stops_the_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "Store", lambda path, now_ms: Store(path, now_ms, Held))
    monkeypatch.setattr(keeping, "STUCK_S", 0.2)
    Held.answers.set()
    beat, clock = Beat(SystemClock()), SystemClock()
    text = f'[engine]\nstate_dir = "{tmp_path}"\n[rule.Hot]\nexpr = "x > 5"\n'
    async with Engine(load_text(text), clock=clock, sinks={"beat": beat}, rng=random.Random(1)) as one:
        await until(lambda: one.status().phase == "running")
        Held.answers.clear()
        assert one.emit(Sample(one.now_ms(), "x", 9.0))
        await until(lambda: beat.stuck == {"ledger"})
        Held.answers.set()
        await until(lambda: not beat.stuck)


def test_a_minute_in_memory_alone_stops_the_heart(tmp_path: Path, switch: Switch) -> None:
    async def main(clock: VirtualClock) -> None:
        beat = Beat(clock)
        config = load_text(f'[engine]\nstate_dir = "{tmp_path}"\n[rule.Hot]\nexpr = "x > 5"\n')
        async with Engine(config, clock=clock, sinks={"beat": beat}, rng=random.Random(1)) as one:
            await clock.sleep(1)
            switch.plan = lambda statement: io_error() if statement == "COMMIT" else None
            assert one.emit(Sample(clock.now_ms(), "x", 9.0))
            await clock.sleep(55)
            assert (one.status().ledger.kept, beat.stuck) == ("degraded", set())
            await clock.sleep(10)
            assert (one.status().ledger.kept, beat.stuck) == ("degraded", {"disk"})
            switch.plan = lambda _: None
            await clock.sleep(70)
            assert (one.status().ledger.kept, beat.stuck) == ("disk", set())

    run_virtual(main)
