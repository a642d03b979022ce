"""reactivex: an iterable as an observable.

Twice: a group for each series whose state is scanned, as Rx means it, and one map over a dict that it does not know of.
"""

from typing import Any, TypeAlias

import reactivex
from reactivex import operators as ops

from benchmarks.hotloop.entry import Change, Entry, Single
from benchmarks.hotloop.peers.detect import detector
from benchmarks.hotloop.workload import FOR_MS, THRESHOLD, Workload

Alert: TypeAlias = tuple[int, bool] | None
"""Since, and whether it fires."""


def prepare(workload: Workload) -> Entry:
    """Events as tuples."""
    rule_of = workload.rule_of

    def judge(carried: tuple[Alert, Change | None], event: Single) -> tuple[Alert, Change | None]:
        alert, (time_ms, series, value) = carried[0], event
        if value > THRESHOLD:
            if alert is None:
                return (time_ms, False), (time_ms, rule_of[series], series, "inactive", "pending")
            if not alert[1] and time_ms - alert[0] >= FOR_MS:
                return (alert[0], True), (time_ms, rule_of[series], series, "pending", "firing")
            return alert, None
        if alert is None:
            return None, None
        return None, (time_ms, rule_of[series], series, "firing" if alert[1] else "pending", "inactive")

    def of_series(group: Any) -> Any:
        return group.pipe(
            ops.scan(judge, (None, None)),
            ops.map(lambda carried: carried[1]),
            ops.filter(lambda change: change is not None),
        )

    events = workload.singles()
    return _entry(reactivex.from_iterable(events).pipe(ops.group_by(lambda event: event[1]), ops.flat_map(of_series)))


def prepare_map(workload: Workload) -> Entry:
    """Events as tuples, and the state in a dict beside the stream."""
    judge, events = detector(workload), workload.singles()
    return _entry(reactivex.from_iterable(events).pipe(ops.map(judge), ops.filter(lambda change: change is not None)))


def _entry(observable: Any) -> Entry:
    changes: list[Change] = []

    def work() -> list[Change]:
        observable.subscribe(changes.append)
        return changes

    return Entry(work)
