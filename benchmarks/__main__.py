"""`python -m benchmarks [NAME ...] [--json FILE] [--check] [--duration 10m] [--quick]`.

Exit codes: 0 done, 2 usage, 3 a limit was not kept (with --check).
"""

import argparse
import importlib
import inspect
import json
import math
import pkgutil
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import prometheus
from benchmarks.harness import REFERENCE_CALIBRATION_MS, Row, calibrate, scaled_limit, within

WIDTH = 150  # where there is no terminal: wide enough that nothing wraps
NOT_BENCHMARKS = {
    "__main__",
    "alertmanager",
    "columnar",
    "harness",
    "hotloop",
    "loopback",
    "process",
    "prometheus",
    "punctual",
}


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for, print a table each, and say whether the limits were kept."""
    known = sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in NOT_BENCHMARKS
    )
    options = _parser(known).parse_args(arguments)
    if unknown := [name for name in options.names if name not in known]:
        print(
            f"no benchmark of that name: {', '.join(unknown)}; there are: {', '.join(known) or 'none'}",
            file=sys.stderr,
        )
        return 2

    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in options.names or known}
    if not options.names:
        modules = {name: module for name, module in modules.items() if not getattr(module, "ON_REQUEST", False)}

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    machine = _machine()
    console.print("  ".join(f"{key} {value}" for key, value in machine.items()), highlight=False, markup=False)
    if not modules:
        console.print("There is nothing to run.")

    results: list[dict[str, Any]] = []
    failed = 0
    for name, module in modules.items():
        started = time.monotonic()
        # Before and after, and the slower counts: a machine that is busy now is slower now.
        before = calibrate()
        rows = _run(module, options.duration, options.quick)
        calibration_ms = max(before, calibrate())
        _print_table(console, name, module, rows, calibration_ms)
        console.print(
            f"calibration {calibration_ms:.1f} ms (reference {REFERENCE_CALIBRATION_MS:.0f}), "
            f"took {time.monotonic() - started:.1f} s\n",
            highlight=False,
        )
        failed += sum(not within(row, calibration_ms) for row in rows)
        results += [
            {
                "benchmark": name,
                **row._asdict(),
                "value": row.value if math.isfinite(row.value) else None,
                "limit_here": scaled_limit(row, calibration_ms),
                "ok": within(row, calibration_ms),
            }
            for row in rows
        ]

    if options.json:
        document = {
            "machine": machine,
            "versions": {name: module.versions() for name, module in modules.items() if hasattr(module, "versions")},
            "calibration_reference_ms": REFERENCE_CALIBRATION_MS,
            "results": results,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.check and failed:
        print(f"{failed} of {len(results)} figures are past their limit", file=sys.stderr)
        return 3
    return 0


def _parser(known: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and hold against limits.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(known) or 'none yet'}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    parser.add_argument("--check", action="store_true", help="exit with 3 when a limit is not kept")
    parser.add_argument(
        "--duration", type=_seconds, metavar="10m", help="how long a benchmark that can go on for ever runs"
    )
    parser.add_argument("--quick", action="store_true", help="rough figures soon, where a benchmark has them")
    return parser


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        return float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write one like 90s, 10m or 1h") from None


def _run(module: ModuleType, duration_s: float | None, quick: bool) -> list[Row]:
    takes = inspect.signature(module.run).parameters
    asked: dict[str, Any] = {}
    if duration_s is not None and "duration_s" in takes:
        asked["duration_s"] = duration_s
    if quick and "quick" in takes:
        asked["quick"] = True
    return list(module.run(**asked))


def _machine() -> dict[str, str]:
    versions = {}
    for name in ("numpy", "msgspec", "promql-parser", "longwatch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        **versions,
        "prometheus": prometheus.version(),
        "on": f"{platform.system()} {platform.machine()}",
    }


def _print_table(console: Console, name: str, module: ModuleType, rows: list[Row], calibration_ms: float) -> None:
    title = (module.__doc__ or "").strip().partition("\n")[0]
    table = Table(title=f"{name}: {title}" if title else name, title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("unit")
    table.add_column("limit here", justify="right")
    table.add_column("")
    if any(row.note for row in rows):
        table.add_column("note")
    for row in rows:
        limit = scaled_limit(row, calibration_ms)
        sign = "<=" if row.better == "lower" else ">="
        table.add_row(
            row.name,
            _figure(row.value),
            row.unit,
            "" if limit is None else f"{sign} {_figure(limit)}",
            "" if limit is None else "ok" if within(row, calibration_ms) else "[red]past it[/red]",
            *([row.note] if row.note else []),
        )
    console.print(table)


def _figure(value: float) -> str:
    """Four significant digits, with thousands apart."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
