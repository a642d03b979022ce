"""Delays as rows of a table, and the processes that measure them."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.harness import Row

__all__ = ["begun", "delay_rows", "output"]


def delay_rows(name: str, delays: Sequence[float], unit: str, p99_max: float | None, note: str) -> list[Row]:
    """p50, p99 and the longest; NaN if there are none, which keeps no limit."""
    if not delays:
        return [Row(name, float("nan"), unit, p99_max, note="nothing came")]
    half, most = np.percentile(delays, [50, 99]).tolist()
    return [
        Row(f"{name}, p50", half, unit, note=note),
        Row(f"{name}, p99", most, unit, p99_max),
        Row(f"{name}, longest", max(delays), unit),
    ]


def begun(module: str, seconds: float) -> subprocess.Popen[bytes]:
    """A module run as a process of its own for some seconds."""
    return subprocess.Popen([sys.executable, "-m", module, str(seconds)], stdout=subprocess.PIPE)


def output(process: subprocess.Popen[bytes]) -> bytes:
    """What such a process printed, when it has ended. Raises `RuntimeError` if it failed."""
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    return out
