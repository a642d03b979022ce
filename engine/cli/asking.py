"""What verbs have in common that ask a running engine: where it is, its errors as lines, their exit codes."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from engine.cli.load import folder_of
from engine.cli.output import Output
from engine.durations import format_ms
from engine.errors import ConfigError, LongwatchError

__all__ = ["EXIT_DONE", "EXIT_NOT_DONE", "EXIT_USAGE", "age_words", "columns", "from_ledger", "with_engine"]

EXIT_DONE: Final = 0
EXIT_NOT_DONE: Final = 1
EXIT_USAGE: Final = 2
T = TypeVar("T")


def with_engine(arguments: argparse.Namespace, act: Callable[[Path], int]) -> int:
    """Call `act` with the state folder that the verb is about, and return its exit code, or that of its error."""
    from engine.runtime.commands.wire import CommandRefused

    say = Output(2).line
    try:
        folder = folder_of(arguments.config, arguments.overrides)
    except ConfigError as error:
        for problem in error.problems:
            say(str(problem))
        return EXIT_USAGE
    except LongwatchError as error:
        say(f"longwatch {arguments.verb}: {error}")
        return EXIT_USAGE
    try:
        return act(folder)
    except CommandRefused as refused:
        say(f"longwatch {arguments.verb}: {refused}")
        return EXIT_USAGE if refused.reason == "usage" else EXIT_NOT_DONE
    except LongwatchError as error:
        say(f"longwatch {arguments.verb}: {error}")
        return EXIT_NOT_DONE


def from_ledger(folder: Path, read: Callable[[sqlite3.Connection], T]) -> T:
    """What can be read of the ledger in a state folder, whether an engine runs or not; nothing in it is changed.

    Raises:
        LedgerError: There is none, or it can't be read.
    """
    from engine.runtime.ledger.errors import LedgerError, ledger_error
    from engine.runtime.ledger.file import LEDGER_FILE
    from engine.runtime.ledger.opening import reading

    path = folder / LEDGER_FILE
    if not path.exists():
        raise LedgerError("no_ledger", f"there is no {path}: no engine has run with this state folder")
    connection = reading(path)
    try:
        return read(connection)
    except (sqlite3.Error, OSError) as error:
        raise ledger_error(error, path.name) from None
    finally:
        connection.close()


def age_words(now_ms: int, then_ms: int) -> str:
    """How long ago something was, to the second, and for what is older than an hour to the minute."""
    age_ms = max(now_ms - then_ms, 0)
    unit_ms = 60_000 if age_ms >= 3_600_000 else 1_000
    return format_ms(age_ms // unit_ms * unit_ms)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells each as lines, every column as wide as its widest cell; the last one is left as it is."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]
