"""pathway: rows of a Python connector, grouped by series, through a stateful reducer.

It works in mini-batches, within which rows have no order of their own: the reducer sorts those of its series, and its
state carries the transitions of the last mini-batch.
"""

from typing import Any

import pathway as pw

from benchmarks.hotloop.entry import Change, Entry
from benchmarks.hotloop.workload import FOR_MS, THRESHOLD, Workload

DRAIN_EVENTS_MAX = 4_096


class _Row(pw.Schema):
    time_ms: int
    series: str
    value: float


def prepare(workload: Workload) -> Entry:
    """Events as tuples; the connector makes rows of them, there is no other way in."""
    events, rule_of = workload.singles(), workload.rule_of
    changes: list[Change] = []

    class Samples(pw.io.python.ConnectorSubject):
        def run(self) -> None:
            for number, (time_ms, series, value) in enumerate(events, 1):
                self.next(time_ms=time_ms, series=series, value=value)
                if not number % DRAIN_EVENTS_MAX:
                    self.commit()
            self.commit()

    @pw.reducers.stateful_many
    def judge(state: Any, rows: Any) -> Any:
        since, fires, _ = state or (-1, False, ())
        made: list[Change] = []
        for (time_ms, series, value), _ in sorted(rows):
            if value > THRESHOLD:
                if since < 0:
                    since, fires = time_ms, False
                    made.append((time_ms, rule_of[series], series, "inactive", "pending"))
                elif not fires and time_ms - since >= FOR_MS:
                    fires = True
                    made.append((time_ms, rule_of[series], series, "pending", "firing"))
            elif since >= 0:
                made.append((time_ms, rule_of[series], series, "firing" if fires else "pending", "inactive"))
                since = -1
        return since, fires, tuple(made)

    def on_change(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            changes.extend(row["state"][2])

    table = pw.io.python.read(Samples(), schema=_Row, autocommit_duration_ms=None)
    state = judge(pw.this.time_ms, pw.this.series, pw.this.value)
    pw.io.subscribe(table.groupby(pw.this.series).reduce(state=state), on_change=on_change)

    def work() -> list[Change]:
        pw.run(monitoring_level=pw.MonitoringLevel.NONE)
        return changes

    return Entry(work)
