"""The command line. `main` reads it, calls a verb and turns what comes of it into an exit code.

Light to import: each verb brings what it needs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

__all__ = ["main"]

_ENGINE_VERBS = {"health", "status", "outbox", "drill", "backup"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Without the program's name; None reads the process' own.

    Returns:
        0 done, 1 internal error, 2 usage or configuration, 130 interrupted. A process that does not stop in time
        ends with 75 and does not come back here.
    """
    from engine.cli.arguments import parse

    _hold_standard_descriptors()
    try:
        parsed = parse(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as stop:  # argparse has printed
        return stop.code if isinstance(stop.code, int) else 2
    try:
        return _call(parsed)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `schema | head -1`: nobody wants the rest
        _point_at_nothing()
        return 0
    except Exception as error:  # the last boundary: one line, never a traceback
        if getattr(parsed, "log_level", "") == "debug":
            raise
        _say(f"longwatch: internal error: {type(error).__name__}: {error}; --log-level debug shows where")
        return 1


def _call(parsed: argparse.Namespace) -> int:
    if parsed.verb == "run":
        from engine.cli.run import run

        return run(parsed)
    if parsed.verb == "check":
        from engine.cli.check import run_check

        stream = _standard_output()
        code = run_check(parsed.files, parsed.overrides, parsed.strict, stream)
        stream.flush()
        return code
    if parsed.verb == "test":
        from engine.cli.test_rules import run_test_rules

        stream = _standard_output()
        code = run_test_rules(parsed.files, stream)
        stream.flush()
        return code
    if parsed.verb == "query":
        from engine.cli.query import run_query

        return run_query(parsed)
    if parsed.verb == "explain":
        from engine.cli.explain import run_explain

        return run_explain(parsed)
    if parsed.verb == "schema":
        from engine.cli.schema import run_schema

        stream = _standard_output()
        code = run_schema(stream)
        stream.flush()
        return code
    if parsed.verb in _ENGINE_VERBS:
        return _call_engine_verb(parsed)
    from engine import __version__
    from engine.cli.output import Output

    Output().line(f"longwatch {__version__}")
    return 0


def _call_engine_verb(parsed: argparse.Namespace) -> int:
    if parsed.verb == "health":
        from engine.cli.health import run_health

        return run_health(parsed)
    if parsed.verb == "status":
        from engine.cli.status import run_status

        return run_status(parsed)
    if parsed.verb == "outbox":
        from engine.cli.outbox import run_outbox

        return run_outbox(parsed)
    if parsed.verb == "drill":
        from engine.cli.drill import run_drill

        return run_drill(parsed)
    from engine.cli.backup import run_backup

    return run_backup(parsed)


def _hold_standard_descriptors() -> None:
    """Open those of 0, 1 and 2 that were closed (`>&-`), or the next file opened would be taken for one of them."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one


def _standard_output() -> TextIO:
    return sys.stdout if sys.stdout is not None else io.StringIO()


def _say(text: str) -> None:
    from engine.cli.output import Output

    Output(2).line(text)


def _point_at_nothing() -> None:
    """So that the interpreter's flush at exit does not find the broken pipe again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
