"""From an alert's deadline to who is told: our engine at 10,000 events a second, and Prometheus with everything at 1 s.

The engine lives in a process of its own, together with the task that makes the events (`benchmarks.punctual.ours`);
beside it another process sleeps and looks how late it is woken, which is what the machine itself adds. Debian's
Prometheus takes part if it is installed (`benchmarks.punctual.theirs`).
"""

import subprocess
import sys
from collections.abc import Sequence

import msgspec
import numpy as np

from benchmarks import prometheus
from benchmarks.harness import Row
from benchmarks.punctual import theirs
from benchmarks.punctual.ours import EVENTS_PER_S, FOR_S, Outcome

__all__ = ["run"]

P99_MS_MAX = 5.0


def run(duration_s: float = 30.0, quick: bool = False) -> list[Row]:
    """Run for so many seconds each; `quick` is a few."""
    seconds = min(duration_s, 8.0) if quick else duration_s
    with _process("benchmarks.punctual.timer", seconds) as timer, _process("benchmarks.punctual.ours", seconds) as ours:
        outcome = msgspec.json.decode(_output(ours), type=Outcome)
        late_ms = msgspec.json.decode(_output(timer), type=list[float])
    count = len(outcome.recorded_ms)
    rows = [
        Row("events taken", outcome.events_per_s, "a second", EVENTS_PER_S * 0.98, "higher", f"{count:,} alerts fired"),
        *_rows("deadline to recorder", outcome.recorded_ms, "ms", P99_MS_MAX, f"for = {FOR_S} s, in memory"),
        *_rows("deadline to receiver", outcome.told_ms, "ms", None, "the call that would send the message"),
        Row("alerts not stamped with their deadline", outcome.wrong, "alerts", 0),
        Row("events dropped", outcome.dropped, "samples", 0),
        Row("processor of the engine and who feeds it", outcome.cpu, "%", note="of one core"),
        *_rows(
            "a bare timer of asyncio is late by",
            late_ms,
            "ms",
            None,
            "at the same time, in a process that does nothing else",
        ),
    ]
    if prometheus.installed():
        note = f"for = {theirs.FOR_S} s, until an Alertmanager on loopback is told"
        rows += _rows("prometheus: `for` to Alertmanager", theirs.delays_s(2 * seconds), "s", None, note)
    return rows


def _rows(name: str, delays: Sequence[float], unit: str, p99_max: float | None, note: str) -> list[Row]:
    if not delays:
        return [Row(name, float("nan"), unit, p99_max, note="nothing came")]
    half, most = np.percentile(delays, [50, 99]).tolist()
    return [
        Row(f"{name}, p50", half, unit, note=note),
        Row(f"{name}, p99", most, unit, p99_max),
        Row(f"{name}, longest", max(delays), unit),
    ]


def _process(module: str, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, str(seconds)], stdout=subprocess.PIPE)


def _output(process: subprocess.Popen[bytes]) -> bytes:
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    return out
