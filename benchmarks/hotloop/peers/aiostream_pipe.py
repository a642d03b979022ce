"""aiostream: an iterable through a pipe of map and filter."""

import asyncio

from aiostream import pipe, stream

from benchmarks.hotloop.entry import Change, Entry
from benchmarks.hotloop.peers.detect import detector
from benchmarks.hotloop.workload import Workload


def prepare(workload: Workload) -> Entry:
    """Events as tuples."""
    events, judge = workload.singles(), detector(workload)

    async def run() -> list[Change]:
        changes = stream.iterate(events) | pipe.map(judge) | pipe.filter(lambda change: change is not None)
        async with changes.stream() as streamer:
            return [change async for change in streamer if change is not None]

    return Entry(lambda: asyncio.run(run()))
