"""`drill`: have the running engine send a marked test alert through its receivers, and show what each answered."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import msgspec

from engine.cli.asking import EXIT_DONE, EXIT_NOT_DONE, with_engine
from engine.cli.output import Output
from engine.runtime.commands.client import NotRunning, ask
from engine.runtime.commands.wire import DrillArguments, DrillResult, DrillRow

__all__ = ["run_drill"]

ASK_S: Final = 130.0
"""Beside the time between the two messages; more than the engine takes with a receiver that hangs."""


class Drilled(msgspec.Struct, frozen=True, kw_only=True):
    """What `drill --json` prints."""

    passed: int
    receivers: int
    rows: list[DrillRow]


def run_drill(arguments: argparse.Namespace) -> int:
    """Drill, and print each answer as it comes.

    Returns:
        0 if every receiver took it; 1 if one did not, or if no engine runs; 2 if there is no such receiver, or the
        configuration can't be used.
    """
    return with_engine(arguments, lambda folder: _drill(folder, arguments, Output()))


def _drill(folder: Path, arguments: argparse.Namespace, output: Output) -> int:
    rows: list[DrillRow] = []

    def show(raw: msgspec.Raw) -> None:
        row = msgspec.json.decode(raw, type=DrillRow)
        rows.append(row)
        if not arguments.json:
            output.line(_line(row))

    hold_ms = int(arguments.hold)
    wanted = DrillArguments(sink=arguments.sink, hold_ms=hold_ms)
    try:
        raw = ask(folder, "drill", wanted, timeout_s=ASK_S + hold_ms / 1000, on_row=show)
    except NotRunning as error:
        raise NotRunning(f"{error}; a drill needs a running engine, nothing was sent") from None
    result = msgspec.json.decode(raw, type=DrillResult)
    if arguments.json:
        drilled = Drilled(passed=result.passed, receivers=result.receivers, rows=rows)
        output.raw(msgspec.json.encode(drilled).decode() + "\n")
    else:
        output.line(f"{result.passed} of {result.receivers} receivers took the drill")
    return EXIT_DONE if result.passed == result.receivers else EXIT_NOT_DONE


def _line(row: DrillRow) -> str:
    took = f"{row.ms:.0f} ms" if row.outcome in ("delivered", "failed") else ""
    why = ": ".join(text for text in (row.reason, row.message) if text)
    return (
        f"  {row.sink:<20} {row.type:<12} {row.what:<9} {row.outcome.replace('_', ' '):<10} {took:>8}  {why}".rstrip()
    )
