"""A real engine at 1 s intervals for a minute or more: memory, CPU, descriptors, threads, and what is left.

Memory and descriptors are compared between the end of the warm-up (a quarter of the time) and the end of the
run. CPU is that of the whole process, scaled by the calibration loop to the reference machine.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.harness import REFERENCE_CALIBRATION_MS, Row, calibrate
from benchmarks.loopback import serving

ON_REQUEST = True
WARM_UP_SHARE = 0.25
START_S_MAX = 30.0
STOP_S_MAX = 25.0

CONFIG = """\
[engine]
name = "soak"
state_dir = "{folder}"

[probe.host]
interval = "1s"

[probe.health]
type = "http"
url = "http://127.0.0.1:{port}/health"
interval = "1s"

[rule.HighCpu]
expr = "host_cpu_percent > 101"
for = "5m"

[rule.Down]
expr = "probe_success == 0"
for = "10s"

[rule.Disk]
expr = "host_disk_percent > 101 or host_memory_percent > 101"

[sink.console]

[sink.history]
type = "sqlite"
"""


class Reading(NamedTuple):
    """The process at one moment."""

    at_s: float
    rss_mib: float
    cpu_s: float
    descriptors: int
    threads: int


def run(duration_s: float = 60.0) -> list[Row]:
    """Watch for `duration_s` seconds and return the figures."""
    before_ms = calibrate()
    with tempfile.TemporaryDirectory(prefix="longwatch-soak-") as folder, serving(lambda _: b"ok") as port:
        readings, exit_code, log = _watch(Path(folder), port, duration_s)
    calibration_ms = max(before_ms, calibrate())
    warm, last = readings[int(len(readings) * WARM_UP_SHARE)], readings[-1]
    tail = readings[-max(1, len(readings) // 10) :]
    grown = statistics.median(reading.rss_mib for reading in tail) - warm.rss_mib
    cpu = 100 * (last.cpu_s - warm.cpu_s) / (last.at_s - warm.at_s)
    return [
        Row("resident memory after the warm-up", warm.rss_mib, "MiB", limit=120),
        Row("growth from then to the end", grown, "MiB", limit=3.0),
        Row("CPU of one core", cpu, "%"),
        Row("the same on the reference machine", cpu * REFERENCE_CALIBRATION_MS / calibration_ms, "%", limit=2.0),
        Row("descriptors gained", float(last.descriptors - warm.descriptors), "", limit=2),
        Row("threads gained", float(last.threads - warm.threads), "", limit=1),
        Row("exit code", float(exit_code), "", limit=0),
        Row("lines of log beyond start and stop", float(len(log)), "", limit=0),
    ]


def _watch(folder: Path, port: int, duration_s: float) -> tuple[list[Reading], int, list[str]]:
    config = folder / "run.toml"
    config.write_text(CONFIG.format(folder=folder / "state", port=port), encoding="utf-8")
    command = [sys.executable, "-m", "engine", "--config", str(config), "--no-live", "--log-level", "warning"]
    with (folder / "log").open("w+", encoding="utf-8") as log:
        engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=dict(os.environ))
        try:
            process = psutil.Process(engine.pid)
            _wait_for(folder / "state" / "status.json", engine)
            readings = list(_readings(process, engine, duration_s))
            engine.send_signal(signal.SIGTERM)
            exit_code = engine.wait(timeout=STOP_S_MAX)
        finally:
            if engine.poll() is None:
                engine.kill()
                engine.wait()
        log.seek(0)
        return readings, exit_code, log.read().splitlines()


def _wait_for(path: Path, engine: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S_MAX
    while not path.exists():
        if engine.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the engine did not start (exit code {engine.poll()})")
        time.sleep(0.05)


def _readings(process: psutil.Process, engine: subprocess.Popen[bytes], duration_s: float) -> Iterator[Reading]:
    started = time.monotonic()
    while (at_s := time.monotonic() - started) < duration_s:
        if engine.poll() is not None:
            raise RuntimeError(f"the engine ended by itself with {engine.returncode}")
        with process.oneshot():
            cpu = process.cpu_times()
            rss_mib = process.memory_info().rss / 2**20
            yield Reading(at_s, rss_mib, cpu.user + cpu.system, process.num_fds(), process.num_threads())
        if sys.stderr.isatty():
            print(f"\r{at_s:5.0f} of {duration_s:.0f} s  {rss_mib:6.1f} MiB", end="", file=sys.stderr, flush=True)
        time.sleep(min(1.0, max(0.0, duration_s - at_s)))
