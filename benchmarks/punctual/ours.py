"""An engine in a process of its own, fed 10,000 single events a second by a task in its loop, as a service would.

`python -m benchmarks.punctual.ours SECONDS` prints what came of it as JSON. A delay is from the instant at which event
time reaches an alert's deadline until a sink is called with the transition. Event time is mapped to the monotonic clock
at a tick of it, before and after.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import msgspec

from benchmarks.punctual.pattern import LIMIT, Pattern
from engine import Engine, Sample
from engine.config import load_text
from engine.events import Record, Transition
from engine.ports import Notification, RecordKind

__all__ = ["EVENTS_PER_S", "FOR_S", "Outcome"]

EVENTS_PER_S = 10_000
SERIES = 1_000
RULES = 10
FOR_S = 2
TICK_S = 0.005
"""The service has a handful of events each time, as they come off a socket."""


class Outcome(msgspec.Struct):
    """What came of a run.

    Args:
        recorded_ms, told_ms: Delays of every firing, until a recorder and until a receiver was called.
        events_per_s: As they were taken.
        wrong: Firings that were not stamped with their deadline.
        dropped: Samples.
        lag_ms: The longest that the event loop was late.
        cpu: Of one core, in percent.
    """

    recorded_ms: list[float]
    told_ms: list[float]
    events_per_s: float
    wrong: int
    dropped: int
    lag_ms: float
    cpu: float


class _Fired(NamedTuple):
    due_ms: int
    at_ns: int


class Watcher:
    """A sink that notes when it is called."""

    WANTS: ClassVar[frozenset[RecordKind]] = frozenset({"transitions"})

    def __init__(self) -> None:
        self.recorded: list[_Fired] = []
        self.told: list[_Fired] = []
        self.wrong = 0

    async def open(self) -> None:
        """Nothing to acquire."""

    async def close(self) -> None:
        """Nothing to release."""

    async def write(self, records: Sequence[Record]) -> None:
        """Note transitions to firing."""
        now_ns = time.monotonic_ns()
        fired = [one for one in records if isinstance(one, Transition) and one.kind == "firing"]
        self.wrong += sum(one.time_ms != one.active_since_ms + FOR_S * 1_000 for one in fired)
        self.recorded += [_Fired(one.time_ms, now_ns) for one in fired]

    def render(self, notification: Notification) -> bytes:
        """The deadlines of the firing alerts."""
        return msgspec.json.encode([one.time_ms for one in notification.transitions if one.kind == "firing"])

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Note them."""
        now_ns = time.monotonic_ns()
        self.told += [_Fired(due_ms, now_ns) for due_ms in msgspec.json.decode(body, type=list[int])]


async def _run(seconds: float) -> Outcome:
    rules = "".join(f'[rule.R{rule}]\nexpr = "m{rule} > {LIMIT:g}"\nfor = "{FOR_S}s"\n' for rule in range(RULES))
    watcher = Watcher()
    engine = Engine(load_text(rules), sinks={"watcher": watcher})
    async with engine:
        before = _zero_ns(engine)
        cpu_s, begun_s = time.process_time(), time.monotonic()
        taken = await _feed(engine, seconds)
        lasted_s = time.monotonic() - begun_s
        cpu_s = time.process_time() - cpu_s
        recorded, told = list(watcher.recorded), list(watcher.told)  # what comes during the stop does not count
        after = _zero_ns(engine)
        status = engine.status()
    zero_ns = (before + after) / 2
    return Outcome(
        recorded_ms=[(one.at_ns - zero_ns) / 1e6 - one.due_ms for one in recorded],
        told_ms=[(one.at_ns - zero_ns) / 1e6 - one.due_ms for one in told],
        events_per_s=taken / lasted_s,
        wrong=watcher.wrong,
        dropped=sum(status.channel.dropped.values()),
        lag_ms=status.counters["longwatch_loop_lag_max_seconds"] * 1e3,
        cpu=100 * cpu_s / lasted_s,
    )


async def _feed(engine: Engine, seconds: float) -> int:
    """Emit every series in turn, at an even pace; return how many events were taken."""
    pattern = Pattern(SERIES, FOR_S)
    names = [f'm{number % RULES}{{i="{number:04}"}}' for number in range(SERIES)]
    interval_ms = SERIES * 1_000 // EVENTS_PER_S
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    sent = taken = 0
    while (passed_s := loop.time() - begun_s) < seconds:
        due = int(passed_s * EVENTS_PER_S)
        numbers = [number % SERIES for number in range(sent, due)]
        now_ms = engine.now_ms()
        for number, value in zip(numbers, pattern.values(passed_s, numbers), strict=True):
            taken += engine.emit(Sample(now_ms, names[number], value, interval_ms))
        sent = due
        await asyncio.sleep(max(0.0, begun_s + (int(passed_s / TICK_S) + 1) * TICK_S - loop.time()))
    return taken


def _zero_ns(engine: Engine) -> int:
    """The monotonic time at which event time was 0, seen at a tick of its milliseconds."""
    last_ms = engine.now_ms()
    while (now_ms := engine.now_ms()) == last_ms:
        pass
    return time.monotonic_ns() - now_ms * 1_000_000


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_run(float(sys.argv[1])))))
