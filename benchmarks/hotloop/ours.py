"""Longwatch over the workload: single events and batches through the channel, and the evaluator alone.

The core is driven as the engine's own task drives it: what the channel holds is fed, then the core is advanced to just
before the newest sample, both in slices between which the event loop has its turn.
"""

import asyncio
import re
from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Final

from benchmarks.hotloop.entry import Change, Entry
from benchmarks.hotloop.workload import FOR_MS, INTERVAL_MS, Workload
from engine.channel import Channel
from engine.core.evaluator import Core
from engine.core.rules import compile_rule
from engine.events import Event, Sample, SampleBatch, Transition

__all__ = [
    "changes_of",
    "core_of",
    "prepare_batches",
    "prepare_columns",
    "prepare_singles",
    "prepare_together",
    "singles_of",
]

DRAIN_SAMPLES_MAX: Final = 4_096
CAPACITY_SAMPLES: Final = 8_192
SLICE_S: Final = 0.002
_INSTANCE: Final = re.compile(r'instance="([^"]*)"')


def prepare_singles(workload: Workload) -> Entry:
    """Ready `Sample` events, put into the channel one by one."""
    return _through_channel(workload, singles_of(workload), DRAIN_SAMPLES_MAX)


def prepare_together(workload: Workload) -> Entry:
    """The same events, as many at a time put into the channel as a drain takes."""
    return _through_channel(workload, singles_of(workload), DRAIN_SAMPLES_MAX, together=True)


def prepare_batches(workload: Workload) -> Entry:
    """Ready `SampleBatch` events of all series at one instant, put into the channel one by one."""
    return _through_channel(workload, batches_of(workload), DRAIN_SAMPLES_MAX // len(workload.series))


def prepare_columns(workload: Workload) -> Entry:
    """The same batches, fed to the core as many at a time as a drain would hold; no channel, no event loop."""
    core, batches = core_of(workload), batches_of(workload)
    each = max(1, DRAIN_SAMPLES_MAX // len(workload.series))
    parts = [batches[start : start + each] for start in range(0, len(batches), each)]

    def work() -> list[Transition]:
        made: list[Transition] = []
        for part in parts:
            made += core.feed(part)
            made += core.advance(part[-1].time_ms - 1)
        made += core.advance(batches[-1].time_ms)
        return made

    return Entry(work, lambda made: changes_of(workload, made))


def singles_of(workload: Workload) -> list[Event]:
    """Every sample as an event of its own."""
    return [Sample(time_ms, series, value, INTERVAL_MS) for time_ms, series, value in workload.singles()]


def batches_of(workload: Workload) -> list[Event]:
    """The samples of each instant as one event."""
    rows = zip(workload.times_ms.tolist(), workload.values, strict=True)
    return [SampleBatch(time_ms, workload.series, values, INTERVAL_MS) for time_ms, values in rows]


def core_of(workload: Workload) -> Core:
    """A new core with the rules of a workload."""
    return Core([compile_rule(name, expr, for_ms=FOR_MS) for name, expr in workload.expressions.items()])


def changes_of(workload: Workload, made: Sequence[Transition]) -> list[Change]:
    """Transitions as all contestants give them."""
    rule_of, by_labels = workload.rule_of, dict[tuple[str, str], str]()
    for series in workload.series:
        instance = _INSTANCE.search(series)
        assert instance is not None
        by_labels[rule_of[series], instance[1]] = series
    return [(t.time_ms, t.rule, by_labels[t.rule, t.labels["instance"]], t.before, t.after) for t in made]


def _through_channel(workload: Workload, events: list[Event], burst: int, *, together: bool = False) -> Entry:
    core, burst = core_of(workload), max(1, burst)
    return Entry(lambda: asyncio.run(_run(core, events, burst, together)), lambda made: changes_of(workload, made))


async def _run(core: Core, events: list[Event], burst: int, together: bool) -> list[Transition]:
    channel = Channel(max(CAPACITY_SAMPLES, len(getattr(events[0], "series", ()))), "drop_newest")
    async with asyncio.TaskGroup() as group:
        group.create_task(_produce(channel, events, burst, together))
        judging = group.create_task(_judge(channel, core))
    if channel.statistics().dropped:
        raise AssertionError(f"the channel dropped {channel.statistics().dropped}")
    return judging.result()


async def _produce(channel: Channel, events: list[Event], burst: int, together: bool) -> None:
    """Offer a burst, then give way until it was taken: a drain never holds more than one burst."""
    offer = channel.put_nowait
    for start in range(0, len(events), burst):
        if together:
            channel.put_many(events[start : start + burst])
        else:
            for event in events[start : start + burst]:
                offer(event)
        while channel.statistics().depth:  # noqa: ASYNC110  # turns of the loop, which has nothing else to do
            await asyncio.sleep(0)
    channel.close()


async def _judge(channel: Channel, core: Core) -> list[Transition]:
    made: list[Transition] = []
    newest_ms = -1
    while events := await channel.get_batch(DRAIN_SAMPLES_MAX):
        made += await _in_slices(core.feeding(events))
        newest_ms = events[-1].time_ms
        made += await _in_slices(core.advancing(newest_ms - 1))
    made += await _in_slices(core.advancing(newest_ms))
    return made


async def _in_slices(steps: Generator[None, None, list[Transition]]) -> list[Transition]:
    until_s = perf_counter() + SLICE_S
    try:
        while True:
            next(steps)
            if perf_counter() >= until_s:
                await asyncio.sleep(0)
                until_s = perf_counter() + SLICE_S
    except StopIteration as end:
        made: list[Transition] = end.value
        return made
