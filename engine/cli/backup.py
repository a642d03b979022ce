"""`backup PATH`: a whole copy of state.db in a new file, made by the running engine, or from the file if none runs."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from engine.cli.asking import EXIT_DONE, from_ledger, with_engine
from engine.cli.output import Output
from engine.clock import SystemClock
from engine.runtime.commands.client import NoAnswer, NotRunning, ask
from engine.runtime.commands.wire import BackupArguments, BackupResult
from engine.runtime.ledger.copying import copy_to

__all__ = ["run_backup"]

ASK_S: Final = 610.0


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup --json` prints. `running`: whether the engine has made it; else it was made from its file."""

    running: bool
    reason: str
    path: str
    bytes: int


def run_backup(arguments: argparse.Namespace) -> int:
    """Make the copy.

    Returns:
        0 it is there, whole and on disk; 1 not; 2 the configuration can't be used.
    """
    return with_engine(arguments, lambda folder: _backup(folder, arguments, Output()))


def _backup(folder: Path, arguments: argparse.Namespace, output: Output) -> int:
    target, reason = _target(arguments.path), ""
    try:
        raw = ask(folder, "backup", BackupArguments(path=str(target)), timeout_s=ASK_S)
        result = msgspec.json.decode(raw, type=BackupResult)
    except (NotRunning, NoAnswer) as error:
        # SQLite's own backup over a connection that can only read: right whoever else has the file open.
        reason = str(error)
        from_ledger(folder, partial(copy_to, target=target))
        result = BackupResult(str(target), target.stat().st_size)
    if arguments.json:
        saved = Saved(running=not reason, reason=reason, path=result.path, bytes=result.bytes)
        output.raw(msgspec.json.encode(saved).decode() + "\n")
        return EXIT_DONE
    if reason:
        output.line(f"{reason}; the copy was made from its state.db")
    output.line(f"{result.path}: {result.bytes} bytes, checked and on disk")
    return EXIT_DONE


def _target(path: Path) -> Path:
    """The new file; in a folder, one named after the time."""
    whole = path.absolute()
    if not whole.is_dir():
        return whole
    stamp = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    return whole / f"state-{stamp}.db"
