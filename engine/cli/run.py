"""The verb `run`: one watch in a process of its own, from the configuration to the exit code.

What a process may do and an embedded engine may not is done here: signals, logging, printing, a folder for
files by default, exit codes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import anyio
import msgspec

from engine import Engine, __version__
from engine.cli.banner import Plan, banner, summary
from engine.cli.load import load_config
from engine.cli.log import LogPipe, configure
from engine.cli.losses import losses
from engine.cli.output import Output
from engine.cli.state import StateFolderError, open_to_others, prepare, state_folder
from engine.cli.stopping import GRACE_S, Stopping, abandoned
from engine.clock import SystemClock
from engine.config.shape import Config
from engine.errors import ConfigError, RuleError
from engine.ports import History
from engine.runtime.statefiles import StateLock
from engine.status import EngineStatus

if TYPE_CHECKING:
    from engine.cli.screen import Screen

__all__ = ["EXIT_DONE", "EXIT_INTERNAL", "EXIT_USAGE", "run", "why_not_live"]

EXIT_DONE = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Watch until it is time to stop, and return the exit code."""
    output, errors = Output(1), Output(2)
    if arguments.color != "auto":  # the console sink and rich read these
        os.environ["NO_COLOR" if arguments.color == "never" else "FORCE_COLOR"] = "1"
    try:
        config = load_config(arguments.config, arguments.overrides)
        folder, warnings = _folder(config, arguments)
        if folder is not None:
            _refuse_a_second(folder)
    except ConfigError as error:
        for problem in error.problems:
            errors.line(str(problem))
        return EXIT_USAGE
    except StateFolderError as error:
        errors.line(f"longwatch: {error}")
        return EXIT_USAGE
    if arguments.memory:
        config, left_out = _without_files(config)
        warnings += left_out
    config = msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, state_dir=folder))
    clock = SystemClock()
    started_ms = clock.now_ms()
    plan = Plan(
        version=__version__,
        config=config,
        folder=folder,
        starts_ms=started_ms,
        ends_ms=started_ms + arguments.duration if arguments.duration else 0,
        zone=ZoneInfo(config.engine.timezone),
        warnings=[*(str(problem) for problem in config.warnings), *warnings],
    )
    pipe = configure(arguments.log_format, arguments.log_level)
    try:
        return _watch(plan, clock, arguments, pipe, output)
    finally:
        pipe.close()


def why_not_live(wanted: bool | None, fd: int, term: str) -> str:
    """Return why there is no live view; empty if there is one, `-` if it was not wanted."""
    if wanted is False:
        return "-"
    if not os.isatty(fd):
        return "standard output is not a terminal"
    return f'the terminal can\'t do it (TERM is "{term}")' if term in {"", "dumb", "unknown"} else ""


def _folder(config: Config, arguments: argparse.Namespace) -> tuple[Path | None, list[str]]:
    """The state folder, made ready, and what to warn of. Without a configuration a missing folder is no
    error.
    """
    if arguments.memory:
        return None, []
    try:
        folder = prepare(state_folder(config.engine.name, config.engine.state_dir, os.environ))
    except StateFolderError as error:
        if arguments.config is not None:
            raise
        return None, [f"{error}; going on in memory"]
    return folder, [f"other users can look into {folder}; chmod 700 it"] if open_to_others(folder) else []


def _refuse_a_second(folder: Path) -> None:
    """Raise `ConfigError` if an engine runs with this folder: before anything is printed. The engine locks it."""
    lock = StateLock(folder)
    lock.acquire()
    lock.release()


def _without_files(config: Config) -> tuple[Config, list[str]]:
    """The configuration without the sinks that are a history, which is a file, and a warning for each."""
    kept = tuple(sink for sink in config.sinks if not _is_history(sink.factory))
    left_out = [f"sink.{sink.name} is left out: --memory writes no file" for sink in config.sinks if sink not in kept]
    return msgspec.structs.replace(config, sinks=kept), left_out


def _is_history(factory: object) -> bool:
    return isinstance(factory, type) and issubclass(factory, History)


def _watch(plan: Plan, clock: SystemClock, arguments: argparse.Namespace, pipe: LogPipe, output: Output) -> int:
    failures: list[BaseException] = []
    last: list[EngineStatus] = []
    with Stopping(plan.config.engine.shutdown_timeout.seconds + GRACE_S) as stopping:
        for line in banner(plan):
            output.line(line)
        screen = _screen(plan, clock, arguments, pipe, output)
        try:
            asyncio.run(_engine_run(plan, clock, stopping, screen, last))
        except* Exception as group:  # noqa: BLE001  # the boundary: each becomes a line and an exit code
            failures = list(_leaves(group))
        for line in _ending(plan, clock, last):
            output.line(line)
    return _exit_code(failures, debug=arguments.log_level == "debug")


def _screen(
    plan: Plan, clock: SystemClock, arguments: argparse.Namespace, pipe: LogPipe, output: Output
) -> Screen | None:
    refused = why_not_live(arguments.live, 1, os.environ.get("TERM", ""))
    if refused:
        if arguments.live:
            log.warning("no live view: %s", refused)
        return None
    from engine.cli.screen import Screen

    color = arguments.color != "never" and not os.environ.get("NO_COLOR")
    return Screen(plan, clock, pipe, output, color=color)


async def _engine_run(
    plan: Plan, clock: SystemClock, stopping: Stopping, screen: Screen | None, last: list[EngineStatus]
) -> None:
    config = screen.config if screen is not None else plan.config
    async with Engine(config, clock=clock) as engine, anyio.create_task_group() as beside:
        stopping.left = lambda: abandoned(engine.status())
        stopping.attach(engine.request_stop)
        if plan.ends_ms:
            beside.start_soon(_stop_after, (plan.ends_ms - clock.now_ms()) / 1000, stopping)
        if screen is not None:
            stopping.last_words = screen.restore
            beside.start_soon(screen.show, engine.status)
        try:
            await engine.wait_stopped()
        finally:
            last.append(engine.status())
            beside.cancel_scope.cancel()


async def _stop_after(seconds: float, stopping: Stopping) -> None:
    await anyio.sleep(max(seconds, 0.0))
    stopping.ask("its time is up")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _exit_code(failures: list[BaseException], *, debug: bool) -> int:
    """Tell what went wrong, and choose the exit code: a bug outweighs a configuration."""
    code = EXIT_DONE
    for error in failures:
        if isinstance(error, ConfigError | RuleError):
            for line in str(error).splitlines():
                Output(2).line(line)
            code = code or EXIT_USAGE
            continue
        hint = "" if debug else "; --log-level debug shows where"
        trace = (type(error), error, error.__traceback__) if debug else None
        log.error("internal error: %s: %s%s", type(error).__name__, error, hint, exc_info=trace)
        code = EXIT_INTERNAL
    return code


def _ending(plan: Plan, clock: SystemClock, last: list[EngineStatus]) -> list[str]:
    if not last:
        return []
    status = last[-1]
    transitions = int(status.counters.get("longwatch_transitions_total", 0))
    return summary(plan, clock.now_ms(), transitions, losses(status))
