"""Where a sample's time goes: the channel alone, feeding, advancing, and the modules that feeding is spent in.

The three parts are timed with nothing else between. The modules come from a deterministic profiler, which makes calls
dearer than they are: take them as an order, not as a measure.
"""

import asyncio
import cProfile
import pstats
import time
from collections import Counter
from pathlib import PurePath

from benchmarks.harness import Row
from benchmarks.hotloop.ours import DRAIN_SAMPLES_MAX, batches_of, core_of, singles_of
from benchmarks.hotloop.workload import Workload, make
from engine.channel import Channel
from engine.core.evaluator import Core
from engine.events import Event

__all__ = ["part_rows"]

MODULES_SHOWN = 6


def part_rows(*, instants: int) -> list[Row]:
    """The part of the table about where the time goes."""
    rows = []
    for kind in ("steady", "noisy"):
        workload = make(kind, instants=instants)
        for how, events in (("single events", singles_of(workload)), ("batches", batches_of(workload))):
            each = max(1, DRAIN_SAMPLES_MAX * len(events) // workload.samples)
            drains = [events[start : start + each] for start in range(0, len(events), each)]
            rows += _timed(f"{kind}, {how}", workload, drains)
            if kind == "steady":
                rows += _profiled(f"{kind}, {how}", workload, drains)
    return rows


def _timed(name: str, workload: Workload, drains: list[list[Event]]) -> list[Row]:
    core = core_of(workload)
    feeding = advancing = 0.0
    for events in drains:
        began = time.perf_counter()
        core.feed(events)
        fed = time.perf_counter()
        core.advance(events[-1].time_ms - 1)
        advancing += time.perf_counter() - fed
        feeding += fed - began
    began = time.perf_counter()
    asyncio.run(_through(drains))
    through = time.perf_counter() - began
    return [
        Row(f"{name}: {part}", seconds / workload.samples * 1e9, "ns", note="per sample")
        for part, seconds in (("channel", through), ("feed", feeding), ("advance", advancing))
    ]


async def _through(drains: list[list[Event]]) -> None:
    channel = Channel(2 * DRAIN_SAMPLES_MAX, "drop_newest")
    for events in drains:
        for event in events:
            channel.put_nowait(event)
        await channel.get_batch(DRAIN_SAMPLES_MAX)


def _profiled(name: str, workload: Workload, drains: list[list[Event]]) -> list[Row]:
    core = core_of(workload)
    profile = cProfile.Profile()
    profile.runcall(_fed, core, drains)
    seconds: Counter[str] = Counter()
    for (path, _, _), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        seconds[_module(path)] += own
    whole = sum(seconds.values())
    return [
        Row(f"{name}: in {module}", 100 * own / whole, "%", note="of the profiled time")
        for module, own in seconds.most_common(MODULES_SHOWN)
    ]


def _fed(core: Core, drains: list[list[Event]]) -> None:
    for events in drains:
        core.feed(events)
        core.advance(events[-1].time_ms - 1)


def _module(path: str) -> str:
    """`engine.core.judge`, `numpy`, or `built-ins` for what is written in C and numpy's own methods."""
    parts = PurePath(path).with_suffix("").parts
    if "engine" in parts:
        return ".".join(parts[parts.index("engine") :])
    return "numpy" if "numpy" in parts else "built-ins" if path == "~" else "Python"
