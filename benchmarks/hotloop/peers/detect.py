"""The sustained threshold as a function of one sample that keeps its state in a dict, for frameworks that map."""

from collections.abc import Callable

from benchmarks.hotloop.entry import Change, Single
from benchmarks.hotloop.workload import FOR_MS, THRESHOLD, Workload

__all__ = ["detector"]


def detector(workload: Workload) -> Callable[[Single], Change | None]:
    """A function that is told each sample in order and says what changes."""
    rule_of = workload.rule_of
    alerts: dict[str, list[int]] = {}  # since, and whether it fires

    def judge(event: Single) -> Change | None:
        time_ms, series, value = event
        alert = alerts.get(series)
        if value > THRESHOLD:
            if alert is None:
                alerts[series] = [time_ms, False]
                return time_ms, rule_of[series], series, "inactive", "pending"
            if not alert[1] and time_ms - alert[0] >= FOR_MS:
                alert[1] = True
                return time_ms, rule_of[series], series, "pending", "firing"
        elif alert is not None:
            del alerts[series]
            return time_ms, rule_of[series], series, "firing" if alert[1] else "pending", "inactive"
        return None

    return judge
