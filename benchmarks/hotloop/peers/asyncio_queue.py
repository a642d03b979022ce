"""A loop of one's own: asyncio.Queue between a producer and a consumer that keeps dicts."""

import asyncio

from benchmarks.hotloop.entry import Change, Entry, Single
from benchmarks.hotloop.workload import FOR_MS, THRESHOLD, Workload

QUEUE_EVENTS_MAX = 4_096


def prepare(workload: Workload) -> Entry:
    """Events as tuples."""
    events = workload.singles()
    return Entry(lambda: asyncio.run(_run(workload.rule_of, events)))


async def _run(rule_of: dict[str, str], events: list[Single]) -> list[Change]:
    queue: asyncio.Queue[Single | None] = asyncio.Queue(QUEUE_EVENTS_MAX)
    async with asyncio.TaskGroup() as group:
        group.create_task(_produce(queue, events))
        judging = group.create_task(_judge(queue, rule_of))
    return judging.result()


async def _produce(queue: asyncio.Queue[Single | None], events: list[Single]) -> None:
    for event in events:
        await queue.put(event)
    await queue.put(None)


async def _judge(queue: asyncio.Queue[Single | None], rule_of: dict[str, str]) -> list[Change]:
    changes: list[Change] = []
    alerts: dict[str, list[int]] = {}
    while (event := await queue.get()) is not None:
        time_ms, series, value = event
        alert = alerts.get(series)
        if value > THRESHOLD:
            if alert is None:
                alerts[series] = [time_ms, False]
                changes.append((time_ms, rule_of[series], series, "inactive", "pending"))
            elif not alert[1] and time_ms - alert[0] >= FOR_MS:
                alert[1] = True
                changes.append((time_ms, rule_of[series], series, "pending", "firing"))
        elif alert is not None:
            del alerts[series]
            changes.append((time_ms, rule_of[series], series, "firing" if alert[1] else "pending", "inactive"))
    return changes
