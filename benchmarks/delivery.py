"""From an alert's deadline to the receiver's 200: our engine, its state on a disk, and Prometheus with Alertmanager.

Both scrape the same targets every second, at phases of their own, and tell the same receiver on loopback, one after
the other (`benchmarks.punctual.stage`, `benchmarks.punctual.chains`). Then many alerts fire at once, and of three
receivers one never answers (`benchmarks.punctual.storm`). Beside it stand what the disk and the machine add.
"""

import os
import statistics

import msgspec

from benchmarks import alertmanager, process, prometheus
from benchmarks.harness import Row
from benchmarks.punctual import chains
from benchmarks.punctual.delays import begun, delay_rows, output
from benchmarks.punctual.stage import FOR_S, Stage
from benchmarks.punctual.storm import ALERTS, storm

__all__ = ["run", "versions"]

P99_MS_MAX = 50.0
SOONER_MIN = 25.0
STORM_S_MAX = 5.0
NO_PEER = "skipped: prometheus, promtool, prometheus-alertmanager and amtool are not all on PATH (Debian has them)"


def run(duration_s: float = 45.0, quick: bool = False) -> list[Row]:
    """Let series breach for so many seconds, for each of the two; `quick` is a few."""
    seconds = min(duration_s, 16.0) if quick else duration_s
    rows = [Row("load of the machine, last minute", os.getloadavg()[0], "", note=f"of {os.cpu_count()} cores, before")]
    with process.disk_folder() as folder:
        disk = f"fdatasync of 4 KiB, {process.file_system(folder)}; two of these are in each delay"
        with process.syncing(folder) as synced_ms, begun("benchmarks.punctual.timer", seconds) as timer:
            ours = chains.ours(folder, seconds)
            late_ms = msgspec.json.decode(output(timer), type=list[float])
    rows += _chain_rows("longwatch", ours, P99_MS_MAX)
    rows += delay_rows("the disk, meanwhile", synced_ms, "ms", None, disk)
    rows += delay_rows("a bare timer of asyncio is late by", late_ms, "ms", None, "in a process that does nothing else")
    rows += _peer_rows(ours, seconds)
    with process.disk_folder() as folder:
        calm = storm(folder)
    note = f"{calm.messages} messages to each of two; a third never answers"
    rows.append(
        Row(f"{ALERTS:,} alerts at once, deadline to the last one's 200", calm.last_s, "s", STORM_S_MAX, note=note)
    )
    rows.append(Row("of those, told twice", calm.again, "alerts", 0))
    rows.append(Row("of those, kept on the disk for the third", calm.kept, "alerts", ALERTS, "higher"))
    return rows


def versions() -> dict[str, str]:
    """What else took part."""
    return {"prometheus": prometheus.version(), "alertmanager": alertmanager.version()}


def _peer_rows(ours: Stage, seconds: float) -> list[Row]:
    if not prometheus.installed() or not alertmanager.command():
        return [Row("prometheus", float("nan"), "", note=NO_PEER)]
    theirs = chains.theirs(seconds)
    rows = _chain_rows("prometheus", theirs)
    if ours.told and theirs.told:
        by_deadline, by_breach = (
            statistics.median(one[which] for one in theirs.told) / statistics.median(one[which] for one in ours.told)
            for which in (0, 1)
        )
        rows.append(Row("sooner after the deadline, median", by_deadline, "x", SOONER_MIN, "higher", "theirs / ours"))
        rows.append(
            Row("sooner after the breach, median", by_breach, "x", note="theirs / ours; both scrape every second")
        )
    return rows


def _chain_rows(name: str, stage: Stage, p99_ms_max: float | None = None) -> list[Row]:
    deadline_ms = [one.deadline_s * 1e3 for one in stage.told]
    breach_ms = [one.breach_s * 1e3 for one in stage.told]
    note = f"{len(stage.told)} alerts; {FOR_S} s after the breach was first shown"
    rows = delay_rows(f"{name}: deadline to 200", deadline_ms, "ms", p99_ms_max, note)
    rows += delay_rows(f"{name}: breach and `for` to 200", breach_ms, "ms", None, "with the wait for the next scrape")
    limit = None if p99_ms_max is None else 0
    wrong = {"not told": stage.missing, "told twice": stage.again, "told early": stage.early}
    return rows + [Row(f"{name}: {what}", count, "alerts", limit) for what, count in wrong.items()]
