"""`query EXPR`: a PromQL expression over history.db, at an instant or over a range. Reads, and writes nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.cli.load import load_config
from engine.cli.output import Output
from engine.cli.state import state_folder
from engine.clock import SystemClock
from engine.durations import parse_ms
from engine.errors import LongwatchError
from engine.registry import resolve

if TYPE_CHECKING:
    from engine.config.shape import Config
    from engine.core.promql.plan import QueryPlan
    from engine.ports import History

__all__ = ["QueryError", "Span", "history_file", "run_query", "time_ms"]

STEPS_DEFAULT = 100
NAMES_MAX = 5
_SECONDS = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class QueryError(LongwatchError):
    """The question can't be asked. The message says what to write instead."""


class Span(NamedTuple):
    """When the expression is evaluated. `step_ms` is 0 for an instant."""

    start_ms: int
    end_ms: int
    step_ms: int


def run_query(arguments: argparse.Namespace) -> int:
    """Answer and print it.

    Returns:
        0, or 2 if the expression, the time or the history can't be used.
    """
    try:
        text = _answer(arguments, SystemClock().now_ms())
    except (LongwatchError, ValueError) as error:
        hint = getattr(error, "hint", "")
        Output(2).line(f"longwatch query: {error}" + (f" ({hint})" if hint else ""))
        return 2
    Output().raw(text)
    return 0


def _answer(arguments: argparse.Namespace, now_ms: int) -> str:
    from engine.cli.query_text import instant_json, instant_lines, range_json, range_lines
    from engine.core.promql.query import evaluate_instant, evaluate_range
    from engine.core.promql.query_compile import compile_query
    from engine.historic import source_of

    plan = compile_query(arguments.expr)
    span = _span(arguments, now_ms)
    history = resolve("sink", "sqlite").open_history(history_file(arguments))
    source = asyncio.run(source_of(history, plan, span.start_ms, span.end_ms))
    if span.step_ms:
        if plan.type == "string":
            raise QueryError("a string has no range: ask for it at one time, with --at")
        result = evaluate_range(plan, source, *span)
        return range_json(result) if arguments.json else range_lines(result) or _nothing(history, plan)
    value = evaluate_instant(plan, source, span.end_ms)
    return instant_json(value, span.end_ms) if arguments.json else instant_lines(value) or _nothing(history, plan)


def _nothing(history: History, plan: QueryPlan) -> str:
    """Why there is no answer: none of such series, or none then."""
    known = asyncio.run(history.metrics())
    missing = sorted({leaf.metric for leaf in plan.leaves if leaf.metric} - set(known))
    if not missing:
        return "# nothing: no series has a value then\n"
    names = ", ".join(missing[:NAMES_MAX]) + (", ..." if len(missing) > NAMES_MAX else "")
    return f"# nothing: no series {names} in the history; recorded series and ALERTS are not written to it\n"


def _span(arguments: argparse.Namespace, now_ms: int) -> Span:
    if arguments.range is None:
        if arguments.step is not None:
            raise QueryError("--step belongs to --range")
        at_ms = time_ms(arguments.at, now_ms) if arguments.at else now_ms
        return Span(at_ms, at_ms, 0)
    start_ms, end_ms = (time_ms(text, now_ms) for text in arguments.range)
    if start_ms > end_ms:
        raise QueryError("the range ends before it starts")
    return Span(start_ms, end_ms, int(arguments.step or max(1_000, (end_ms - start_ms) // STEPS_DEFAULT)))


def time_ms(text: str, now_ms: int) -> int:
    """Read a time: as in RFC 3339, seconds since the epoch, `now`, or how long ago it was.

    Raises:
        QueryError: It is none of these.
    """
    if text == "now":
        return now_ms
    try:
        if _SECONDS.fullmatch(text):
            at = _EPOCH + timedelta(seconds=float(text))
        elif text[:4].isdigit() and "-" in text:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        else:
            return now_ms - parse_ms(text)
        return (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise QueryError(
            f'"{text[:60]}" is not a time; write 2026-01-31T12:00:00Z, seconds since 1970, now, or 5m for 5m ago'
        ) from None


def history_file(arguments: argparse.Namespace) -> Path:
    """The history to read: the one named, else that of the configuration.

    Raises:
        QueryError: There is none.
    """
    if arguments.history is not None:
        found: Path = arguments.history
    else:
        config = load_config(arguments.config, arguments.overrides)
        found = _history_of(config, "the configuration" if arguments.config else "the built-in configuration")
    if not found.is_file():
        raise QueryError(f"there is no history {found}; name one with --history")
    return found


def _history_of(config: Config, which: str) -> Path:
    sinks = [sink for sink in config.sinks if sink.type == "sqlite"]
    if not sinks:
        instead = "name a file with --history" + ("" if config.source else ", or a configuration with --config")
        raise QueryError(f"{which} has no sink of type sqlite, which keeps a history; {instead}")
    path: Path | None = getattr(sinks[0].options, "path", None)
    return path or state_folder(config.engine.name, config.engine.state_dir, os.environ) / "history.db"
