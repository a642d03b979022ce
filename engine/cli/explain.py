"""`explain RULE`: why a rule fires or does not, when it will, and how near it came. Reads, and writes nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from typing import TextIO
from zoneinfo import ZoneInfo

import msgspec

from engine.cli.health import HEARTBEAT_MAX_MS, judge
from engine.cli.load import load_config
from engine.cli.output import Output
from engine.cli.query import QueryError, history_file, time_ms
from engine.cli.state import StateFolderError, state_folder
from engine.clock import SystemClock
from engine.config.shape import Config
from engine.errors import ConfigError, LongwatchError
from engine.registry import resolve

__all__ = ["run_explain"]

_ERASE_LINE = "\r\x1b[K"
PROGRESS_FROM_S = 1.0
"""What is quicker shows none."""


def run_explain(arguments: argparse.Namespace, terminal: TextIO | None = None) -> int:
    """Answer and print it.

    Args:
        terminal: Where to show how far it is; by default standard error, if that is a terminal.

    Returns:
        0, or 2 if the question or what it needs can't be used.
    """
    clock = SystemClock()
    try:
        lines = _answer(arguments, clock.now_ms(), _progress(terminal or sys.stderr, clock.monotonic))
    except ConfigError as error:
        for problem in error.problems:
            Output(2).line(str(problem))
        return 2
    except (LongwatchError, ValueError) as error:
        hint = getattr(error, "hint", "")
        Output(2).line(f"longwatch explain: {error}" + (f" ({hint})" if hint else ""))
        return 2
    output = Output()
    for line in lines:
        if arguments.json:
            output.raw(line + "\n")  # one line, however long
        else:
            output.line(line)
    return 0


def _answer(arguments: argparse.Namespace, now_ms: int, progress: Callable[[float], None]) -> list[str]:
    from engine.explain.replay import Question, explain
    from engine.explain.text import answer_lines

    at_ms = time_ms(arguments.at, now_ms) if arguments.at else now_ms
    if at_ms > now_ms:
        raise QueryError(f"--at {arguments.at[:60]} has not come yet; leave it out to be told what will happen")
    config = load_config(arguments.config, arguments.overrides)
    history = resolve("sink", "sqlite").open_history(history_file(arguments))
    try:
        answer = asyncio.run(explain(config, history, Question(arguments.rule, arguments.labels, at_ms), progress))
    finally:
        progress(1.0)
    if at_ms == now_ms and not arguments.history:  # it is about what an engine of this configuration does now
        answer = msgspec.structs.replace(answer, notes=(*_engine_note(config, now_ms), *answer.notes))
    if arguments.json:
        return [msgspec.json.encode(answer).decode()]
    return list(answer_lines(answer, ZoneInfo(config.engine.timezone), everything=bool(arguments.labels)))


def _engine_note(config: Config, now_ms: int) -> list[str]:
    """Whether an engine watches all this: what a rule would do is done by nobody without one."""
    try:
        folder = state_folder(config.engine.name, config.engine.state_dir, os.environ)
    except StateFolderError:
        return []
    verdict = judge(folder, now_ms)
    if verdict.engine is None:
        return [f"{verdict.reason}; as long as none does, nobody is told of this"]
    if (verdict.heartbeat_age_ms or 0) >= HEARTBEAT_MAX_MS:
        return [f"{verdict.reason}: it may be held, and then nobody is told of this"]
    return [f"the engine is running, process {verdict.engine.pid}"]


def _progress(terminal: TextIO | None, monotonic: Callable[[], float]) -> Callable[[float], None]:
    """A line that is written over and over, on a terminal and for long work alone."""
    begun_s, shown = monotonic(), False

    def show(part: float) -> None:
        nonlocal shown
        if terminal is None or not terminal.isatty():
            return
        if part < 1.0 and monotonic() - begun_s >= PROGRESS_FROM_S:
            terminal.write(f"{_ERASE_LINE}reading and playing the history: {part:.0%}")
            terminal.flush()
            shown = True
        elif part >= 1.0 and shown:
            terminal.write(_ERASE_LINE)
            terminal.flush()
            shown = False

    return show
