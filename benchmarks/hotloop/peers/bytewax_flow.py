"""bytewax: a keyed stream through a stateful step, one worker in this process.

Twice: with `stateful_flat_map`, as its documentation has it, and with `stateful_batch`, "the lowest-level operator",
which is told the values of a key together.
"""

from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.testing import TestingSink, TestingSource, run_main

from benchmarks.hotloop.entry import Change, Entry, Single
from benchmarks.hotloop.workload import FOR_MS, THRESHOLD, Workload

DRAIN_EVENTS_MAX = 4_096


def prepare(workload: Workload) -> Entry:
    """Events as (series, (time, series, value)), so that the stream is keyed from the start."""
    flow, samples, changes = _flow(workload)
    rule_of = workload.rule_of

    def judge(alert: list[int] | None, event: Single) -> tuple[list[int] | None, Iterable[Change]]:
        time_ms, series, value = event
        if value > THRESHOLD:
            if alert is None:
                return [time_ms, False], ((time_ms, rule_of[series], series, "inactive", "pending"),)
            if not alert[1] and time_ms - alert[0] >= FOR_MS:
                alert[1] = True
                return alert, ((time_ms, rule_of[series], series, "pending", "firing"),)
            return alert, ()
        if alert is None:
            return None, ()
        return None, ((time_ms, rule_of[series], series, "firing" if alert[1] else "pending", "inactive"),)

    op.output("changes", op.stateful_flat_map("judge", samples, judge), TestingSink(changes))
    return _entry(flow, changes)


def prepare_batch(workload: Workload) -> Entry:
    """The same events, for the lowest-level operator."""
    flow, samples, changes = _flow(workload)
    rule_of = workload.rule_of

    class Judge(StatefulBatchLogic[Single, Change, list[int] | None]):
        def __init__(self, alert: list[int] | None) -> None:
            self.alert = alert

        def on_batch(self, values: list[Single]) -> tuple[list[Change], bool]:
            made: list[Change] = []
            alert = self.alert
            for time_ms, series, value in values:
                if value > THRESHOLD:
                    if alert is None:
                        alert = [time_ms, False]
                        made.append((time_ms, rule_of[series], series, "inactive", "pending"))
                    elif not alert[1] and time_ms - alert[0] >= FOR_MS:
                        alert[1] = True
                        made.append((time_ms, rule_of[series], series, "pending", "firing"))
                elif alert is not None:
                    made.append((time_ms, rule_of[series], series, "firing" if alert[1] else "pending", "inactive"))
                    alert = None
            self.alert = alert
            return made, False

        def snapshot(self) -> list[int] | None:
            return self.alert

    op.output("changes", op.stateful_batch("judge", samples, Judge), TestingSink(changes))
    return _entry(flow, changes)


def _flow(workload: Workload) -> tuple[Dataflow, KeyedStream[Single], list[tuple[str, Change]]]:
    events = [(series, (time_ms, series, value)) for time_ms, series, value in workload.singles()]
    flow = Dataflow("hotloop")
    return flow, op.input("samples", flow, TestingSource(events, batch_size=DRAIN_EVENTS_MAX)), []


def _entry(flow: Dataflow, changes: list[tuple[str, Change]]) -> Entry:
    def work() -> Any:
        run_main(flow)
        return changes

    return Entry(work, lambda made: [change for _, change in made])
