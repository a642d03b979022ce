"""What a benchmark returns, how it is timed, and how a limit is scaled to the machine it runs on.

A benchmark is a module in this folder with

    def run() -> list[Row]: ...

`run` may also take `duration_s`, the seconds it should go on for, and `quick`, whether a rough figure soon is better
than a good one. A module with `ON_REQUEST = True` is run only when it is named; one with `versions()` says what else it
ran, by name. The module's docstring says what is measured; its first line is shown.

Limits are written for the reference machine. Another machine runs a fixed loop beside the benchmark, and
limits on times and rates are scaled by how much longer or shorter the loop took there. A limit on a count,
a ratio or a size is not scaled.
"""

import gc
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["REFERENCE_CALIBRATION_MS", "Row", "best_of", "calibrate", "scaled_limit", "within"]

# Milliseconds that `calibrate()` takes on the reference machine: 2 cores, CPython 3.11.
REFERENCE_CALIBRATION_MS = 8.0

# How a limit follows the speed of the machine: a time grows on a slow one, a rate shrinks.
_SCALED_UP = frozenset({"ns", "us", "ms", "s"})


class Row(NamedTuple):
    """One figure.

    Args:
        name: What was measured, with its size: `feed, 10k series`.
        value: The figure.
        unit: `ns`, `us`, `ms`, `s`, a rate that ends in `/s`, or anything else (`MiB`, `%`, `samples`).
        limit: What `--check` holds it against, on the reference machine; None for a figure without a limit.
        better: Which side of the limit is good.
        note: What stands beside the figure in the table.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    better: Literal["lower", "higher"] = "lower"
    note: str = ""


def best_of(work: Callable[[], object], *, repeats: int = 5) -> float:
    """Seconds of the fastest of several runs: the one that the rest of the machine disturbed least."""
    best = float("inf")
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            started = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - started)
    finally:
        if enabled:
            gc.enable()
    return best


def calibrate() -> float:
    """Milliseconds for a fixed piece of pure Python: dict, list, float and call, as in the engine's own."""
    return best_of(_fixed_work, repeats=7) * 1_000


def _fixed_work() -> float:
    table = {f"k{i}": float(i) for i in range(1_000)}
    keys = list(table)
    total = 0.0
    for _ in range(150):
        for key in keys:
            total += _step(table[key])
    return total


def _step(value: float) -> float:
    return value * 1.0000001 + 1.0


def scaled_limit(row: Row, calibration_ms: float) -> float | None:
    """The row's limit on the machine that took `calibration_ms`."""
    if row.limit is None:
        return None
    factor = calibration_ms / REFERENCE_CALIBRATION_MS
    if row.unit in _SCALED_UP:
        return row.limit * factor
    if row.unit.endswith("/s"):
        return row.limit / factor
    return row.limit


def within(row: Row, calibration_ms: float) -> bool:
    """Whether the figure keeps its limit; true where there is none. NaN keeps no limit."""
    limit = scaled_limit(row, calibration_ms)
    if limit is None:
        return True
    return row.value <= limit if row.better == "lower" else row.value >= limit
