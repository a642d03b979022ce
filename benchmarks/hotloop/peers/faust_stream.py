"""faust: a stream over a channel of its own in memory; no broker, no table, no changelog."""

import asyncio

import faust

from benchmarks.hotloop.entry import Change, Entry
from benchmarks.hotloop.peers.detect import detector
from benchmarks.hotloop.workload import Workload

CHANNEL_EVENTS_MAX = 4_096


def prepare(workload: Workload) -> Entry:
    """Events as tuples."""
    events, judge = workload.singles(), detector(workload)

    async def run() -> list[Change]:
        # The address is never dialled: only an app that is started connects.
        app = faust.App("hotloop", broker="kafka://127.0.0.1:1", store="memory://")
        app.flow_control.resume()  # what starting the app would do
        channel = app.channel(maxsize=CHANNEL_EVENTS_MAX)
        stream = app.stream(channel)
        changes: list[Change] = []

        async def produce() -> None:
            for event in events:
                await channel.put(event)

        async def consume() -> None:
            left = len(events)
            async for event in stream:
                if (change := judge(event)) is not None:
                    changes.append(change)
                left -= 1
                if not left:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(consume())
            group.create_task(produce())
        await stream.stop()
        return changes

    return Entry(lambda: asyncio.run(run()))
