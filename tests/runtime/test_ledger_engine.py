"""The ledger inside a whole engine: it opens, fails open, heals, and holds nobody up (F15, F16, F19, F46)."""

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Sample, SampleBatch
from engine.config import load_text
from engine.errors import SinkError
from engine.events import Health
from engine.runtime import keeping
from engine.runtime.keeping import LEDGER_FILE
from engine.runtime.ledger.store import Store
from engine.testing import RecordingSink, VirtualClock, run_virtual

DEADLINE_S = 30.0


class Receiver(RecordingSink):
    """Takes messages only, and one can wait for them."""

    WANTS = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    async def deliver(self, message_id: str, body: bytes) -> None:
        await super().deliver(message_id, body)
        self._more.set()

    async def took(self, count: int) -> None:
        """Wait until it has taken so many."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.delivered) < count:
                self._more.clear()
                await self._more.wait()


class Dead(Receiver):
    async def deliver(self, message_id: str, body: bytes) -> None:
        self.attempts.append((message_id, body))
        raise SinkError("refused", "nobody there", retryable=True)


def rules(folder: Path, hold: str = "0s") -> str:
    return f'[engine]\nstate_dir = "{folder}"\n[rule.Hot]\nexpr = "x > 5"\nfor = "{hold}"\n'


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


def health(sink: RecordingSink) -> list[tuple[str, str]]:
    return [(one.status, one.reason) for one in sink.records if isinstance(one, Health) and one.component == "ledger"]


async def test_f16_a_ledger_that_cannot_be_opened_does_not_stop_the_watch_and_heals(tmp_path: Path) -> None:
    spoilt = tmp_path / LEDGER_FILE
    spoilt.mkdir()
    kept, ops = RecordingSink(), Receiver()
    async with Engine(load_text(rules(tmp_path)), sinks={"kept": kept, "ops": ops}, rng=random.Random(1)) as engine:
        await until(lambda: engine.status().phase == "running")
        engine.emit(Sample(engine.now_ms(), "x", 9.0))
        await ops.took(2)
        assert [one.rule for told in ops.notifications for one in told.transitions] == [
            "LongwatchStorageDegraded",
            "Hot",
        ]
        status = engine.status()
        assert (status.ledger.kept, status.status) == ("degraded", "degraded")
        assert status.counters["longwatch_ledger_up"] == 0
        await until(lambda: bool(health(kept)))
        assert [one[0] for one in health(kept)] == ["failed"], "told once"
        spoilt.rmdir()
        await until(lambda: engine.status().ledger.kept == "disk")
        await until(lambda: health(kept)[-1] == ("ok", "recovered"))
    found = sqlite3.connect(spoilt)
    assert found.execute("SELECT count(*) FROM delivered").fetchall() == [(4,)], "what was in memory is in the file"
    found.close()


async def test_f19_a_damaged_ledger_is_set_aside_and_told(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_bytes(b"no database at all" * 1_000)
    kept = RecordingSink()
    async with Engine(load_text(rules(tmp_path)), sinks={"kept": kept}, rng=random.Random(1)) as engine:
        await until(lambda: engine.status().phase == "running")
        await until(lambda: ("failed", "state_reset") in health(kept))
        assert engine.status().ledger.kept == "disk"
        assert engine.status().counters["longwatch_ledger_resets_total"] == 1
    assert len(list(tmp_path.glob("state.db.corrupt.*"))) == 1


class Slow(sqlite3.Connection):
    """A disk whose sync takes long: each COMMIT."""

    HELD_S = 0.3
    delay_s = 0.0

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement == "COMMIT" and Slow.delay_s:
            threading.Event().wait(Slow.delay_s)
        return super().execute(statement, *parameters)


async def test_f15_with_a_slow_disk_the_core_goes_on_and_alerts_come_late_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowStore(Store):
        def __init__(self, path: Path | None, now_ms: Callable[[], int]) -> None:
            super().__init__(path, now_ms, Slow)

    monkeypatch.setattr(keeping, "Store", SlowStore)
    monkeypatch.setattr(Slow, "delay_s", 0.0)
    ops = Receiver()
    async with Engine(load_text(rules(tmp_path)), sinks={"ops": ops}, rng=random.Random(1)) as engine:
        await until(lambda: engine.status().phase == "running")
        monkeypatch.setattr(Slow, "delay_s", Slow.HELD_S)
        drained = []
        for number in range(40):
            stamped_ms = engine.now_ms()
            assert engine.emit(Sample(engine.now_ms(), "x", 9.0 if number % 2 == 0 else 1.0))
            begun = time.perf_counter()
            await until(lambda: engine.status().channel.depth == 0)
            drained.append(time.perf_counter() - begun)
            await until(lambda: engine.now_ms() > stamped_ms)  # noqa: B023  # called at once
        await until(lambda: engine.status().counters["longwatch_transitions_total"] == 40)
        assert len(ops.delivered) < 40, "they wait for the disk"
        monkeypatch.setattr(Slow, "delay_s", 0.0)
        await ops.took(40)
        assert sorted(drained)[len(drained) // 2] < Slow.HELD_S / 6, "50 ms"
        assert engine.status().channel.dropped == {}
    kinds = [one.kind for told in ops.notifications for one in told.transitions]
    assert kinds == ["firing", "resolved"] * 20


def test_f46_ten_thousand_alerts_at_once_to_three_receivers_of_which_one_is_dead(tmp_path: Path) -> None:
    """In virtual time: on a busy machine the loop may be held, which is one more alert and one more message."""
    count = 10_000
    messages = -(-count // 64)
    sinks = {"a": Receiver(), "b": Receiver(), "dead": Dead()}

    async def main(clock: VirtualClock) -> None:
        async with Engine(load_text(rules(tmp_path)), sinks=sinks, clock=clock, rng=random.Random(1)) as engine:
            await clock.sleep(1)
            assert engine.status().phase == "running"
            names = tuple(f'x{{i="{number}"}}' for number in range(count))
            engine.emit(SampleBatch(engine.now_ms(), names, np.full(count, 9.0)))
            await sinks["a"].took(messages)
            await sinks["b"].took(messages)
            assert len({message_id for message_id, _ in sinks["a"].delivered}) == messages
            assert next(sink for sink in engine.status().sinks if sink.name == "dead").queued == messages

    run_virtual(main)
    stored = sqlite3.connect(tmp_path / LEDGER_FILE)
    assert stored.execute("SELECT count(*), receiver FROM outbox GROUP BY receiver").fetchall() == [(messages, "dead")]
    assert stored.execute("SELECT receiver, count(*) FROM delivered GROUP BY receiver").fetchall() == [
        ("a", count),
        ("b", count),
    ]
    stored.close()
