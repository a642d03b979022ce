"""An engine whose disk is made slow from outside: `python -m tests.runtime.slow_disk_child FOLDER`.

It says that it is ready, and begins when it reads a line. Twenty series cross a line again and again, fifty changes a
second, which tells nobody anything; one alert fires and resolves. What came of it is printed as JSON, and then the
process ends without a stop, which the slow disk would hold up.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from engine import Engine, Sample
from engine.config import load_text
from engine.events import Event, Record, Transition
from engine.ports import Notification, RecordKind

CONFIG = """
[engine]
state_dir = "{folder}"

[rule.Busy]
expr = "m > 80"
for = "1h"

[rule.Ready]
expr = "told < 80"
for = "1h"

[rule.Told]
expr = "told > 80"
for = "100ms"
"""
HIGH, LOW = 90.0, 10.0
LASTS_MS = 60_000
SERIES = 20
STEPS = 150
TOLD_FROM, TOLD_UNTIL = 10, 40
ALL_TOLD_S_MAX = 30.0


class Delivered(msgspec.Struct):
    """What the receiver was told: the kinds, and how long after the transition, in seconds."""

    kinds: list[str]
    late_s: float


class Found(msgspec.Struct):
    """What came of it.

    Args:
        drained_ms: How long after its instant the core has handed on each transition.
        transitions: How many there were, by rule.
        delivered: In order.
        dropped: Samples, records and messages.
    """

    drained_ms: list[int]
    transitions: dict[str, int]
    delivered: list[Delivered]
    dropped: int


class Watcher:
    """A sink that notes when it is called: for the record at once, as receiver when its message is sent."""

    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"transitions"})

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.drained_ms: list[int] = []
        self.transitions: dict[str, int] = {}
        self.delivered: list[Delivered] = []
        self.ready = asyncio.Event()
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Nothing to acquire."""

    async def close(self) -> None:
        """Nothing to release."""

    async def write(self, records: Sequence[Record]) -> None:
        """Note transitions."""
        now_ms = self._now_ms()
        for one in records:
            if not isinstance(one, Transition):
                continue
            if one.rule == "Ready":
                self.ready.set()
            else:
                self.drained_ms.append(now_ms - one.time_ms)
                self.transitions[one.rule] = self.transitions.get(one.rule, 0) + 1
        self._changed.set()

    def render(self, notification: Notification) -> bytes:
        """What is told, and of when it is."""
        return msgspec.json.encode([(one.rule, one.kind, one.time_ms) for one in notification.transitions])

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Note it."""
        told = [one for one in msgspec.json.decode(body, type=list[tuple[str, str, int]]) if one[0] == "Told"]
        if told:
            late_s = (self._now_ms() - max(time_ms for _, _, time_ms in told)) / 1e3
            self.delivered.append(Delivered([kind for _, kind, _ in told], late_s))
        self._changed.set()

    async def all_done(self) -> None:
        """Wait for the last change of the load and the last message."""
        while self.transitions.get("Busy", 0) < STEPS or not any("resolved" in each.kinds for each in self.delivered):
            self._changed.clear()
            await self._changed.wait()


class Load:
    """A probe: every 20 ms one of the series is on the other side of the line; then it is over."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._step = 0
        self.begun = False

    async def open(self) -> None:
        """Nothing to acquire."""

    async def close(self) -> None:
        """Nothing to release."""

    async def collect(self) -> Sequence[Event]:
        """Two samples of now."""
        step, now_ms = self._step, self._now_ms()
        if not self.begun:
            return [Sample(now_ms, "told", LOW, LASTS_MS)]
        if step == STEPS:
            return []
        self._step += 1
        busy = HIGH if (step // SERIES) % 2 == 0 else LOW
        told = HIGH if TOLD_FROM <= step < TOLD_UNTIL else LOW
        return [Sample(now_ms, f'm{{i="{step % SERIES}"}}', busy, LASTS_MS), Sample(now_ms, "told", told, LASTS_MS)]


async def _run(folder: Path) -> Found:
    engine = Engine(load_text(CONFIG.format(folder=folder)))
    watcher, load = Watcher(engine.now_ms), Load(engine.now_ms)
    engine.add_sink("watcher", watcher)
    engine.add_probe("load", load, interval="20ms")
    await engine.start()
    await watcher.ready.wait()  # the files are there
    await _asked_to_begin()
    load.begun = True
    async with asyncio.timeout(ALL_TOLD_S_MAX):
        await watcher.all_done()
    status = engine.status()
    dropped = sum(status.channel.dropped.values()) + sum(sink.dropped for sink in status.sinks)
    return Found(watcher.drained_ms, watcher.transitions, watcher.delivered, dropped)


async def _asked_to_begin() -> None:
    asked = asyncio.Event()
    loop, given = asyncio.get_running_loop(), sys.stdin.fileno()
    loop.add_reader(given, asked.set)
    print("ready", flush=True)
    await asked.wait()
    loop.remove_reader(given)


async def main() -> None:
    """Print what came of it, and end."""
    found = await _run(Path(sys.argv[1]))
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
