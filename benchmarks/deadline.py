"""From an alert's deadline to who is told: our engine at 10,000 events a second, and Prometheus with everything at 1 s.

The engine lives in a process of its own, together with the task that makes the events (`benchmarks.punctual.ours`);
beside it another process sleeps and looks how late it is woken, which is what the machine itself adds. Debian's
Prometheus takes part if it is installed (`benchmarks.punctual.theirs`).
"""

import msgspec

from benchmarks import prometheus
from benchmarks.harness import Row
from benchmarks.punctual import theirs
from benchmarks.punctual.delays import begun, delay_rows, output
from benchmarks.punctual.ours import EVENTS_PER_S, FOR_S, Outcome

__all__ = ["run"]

P99_MS_MAX = 5.0


def run(duration_s: float = 30.0, quick: bool = False) -> list[Row]:
    """Run for so many seconds each; `quick` is a few."""
    seconds = min(duration_s, 8.0) if quick else duration_s
    with begun("benchmarks.punctual.timer", seconds) as timer, begun("benchmarks.punctual.ours", seconds) as ours:
        outcome = msgspec.json.decode(output(ours), type=Outcome)
        late_ms = msgspec.json.decode(output(timer), type=list[float])
    count = len(outcome.recorded_ms)
    rows = [
        Row("events taken", outcome.events_per_s, "a second", EVENTS_PER_S * 0.98, "higher", f"{count:,} alerts fired"),
        *delay_rows("deadline to recorder", outcome.recorded_ms, "ms", P99_MS_MAX, f"for = {FOR_S} s, in memory"),
        *delay_rows("deadline to receiver", outcome.told_ms, "ms", None, "the call that would send the message"),
        Row("alerts not stamped with their deadline", outcome.wrong, "alerts", 0),
        Row("events dropped", outcome.dropped, "samples", 0),
        Row("processor of the engine and who feeds it", outcome.cpu, "%", note="of one core"),
        *delay_rows(
            "a bare timer of asyncio is late by",
            late_ms,
            "ms",
            None,
            "at the same time, in a process that does nothing else",
        ),
    ]
    if prometheus.installed():
        note = f"for = {theirs.FOR_S} s, until an Alertmanager on loopback is told"
        rows += delay_rows("prometheus: `for` to Alertmanager", theirs.delays_s(2 * seconds), "s", None, note)
    return rows
