"""`test tests.yml...`: unit tests of rules, promtool's files and the longer form; progress on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

__all__ = ["run_test_rules"]

_ERASE_LINE = "\r\x1b[K"


def run_test_rules(paths: Sequence[Path], stream: TextIO, terminal: TextIO | None = None) -> int:
    """Run the tests of files.

    Args:
        stream: Where to print.
        terminal: Where to show how far a test is, if it is a terminal; by default standard error.

    Returns:
        0 if all hold, 1 if one does not, 2 if a file can't be used.
    """
    from engine.rulefiles.find import expanded
    from engine.ruletests.run import run_tests

    progress = _progress(stream, sys.stderr if terminal is None else terminal)
    code = run_tests(expanded(paths), stream, progress=progress)
    if progress is not None:
        progress("")
    return code


def _progress(stream: TextIO, terminal: TextIO | None) -> Callable[[str], None] | None:
    """A line that is written over and over."""
    if terminal is None or not terminal.isatty():
        return None
    shown = False

    def show(text: str) -> None:
        nonlocal shown
        if not text and not shown:
            return
        stream.flush()  # what is printed may be the same terminal
        terminal.write(_ERASE_LINE + text)
        terminal.flush()
        shown = bool(text)

    return show
