"""The live view of a run: it takes the terminal from the console sinks and the log, and gives it back.

Only this module imports rich, and only when there is a view.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

import anyio
import msgspec

from engine.cli.banner import Plan, target
from engine.cli.log import LogPipe
from engine.cli.output import Output
from engine.config.shape import Config
from engine.ports import Clock
from engine.status import EngineStatus
from engine.view.live import Facts, show
from engine.view.recent import RecentLines, recent_factory
from engine.view.terminal import Terminal, TerminalFile, restore

__all__ = ["Screen"]

BANNER_SHOWN_S = 1.5
"""How long what is printed at the start can be read before the view covers it."""
LINES_AFTER = 10
"""Of what the view showed, so many lines are left on the terminal when it is gone."""

_OWN_SINK_TYPE = "console"


class Screen:
    """One live view over the terminal at descriptor 1.

    Args:
        color: False for a view without colours.
    """

    def __init__(self, plan: Plan, clock: Clock, pipe: LogPipe, output: Output, *, color: bool) -> None:
        self._clock = clock
        self._pipe = pipe
        self._output = output
        self._color = color
        self._recent = RecentLines(plan.zone)
        self._facts = Facts(
            zone=plan.zone,
            ends_ms=plan.ends_ms,
            targets={probe.name: target(probe.options) for probe in plan.config.probes},
            files=str(plan.folder) if plan.folder else "none, in memory",
        )
        self.config = _without_console(plan.config, self._recent)

    async def show(self, status: Callable[[], EngineStatus]) -> None:
        """Show the engine until cancelled. Ends by itself if the terminal fails; lines are then printed
        instead.
        """
        await anyio.sleep(BANNER_SHOWN_S)
        if os.isatty(2):
            self._pipe.divert(self._take_log_line)
        terminal = Terminal(TerminalFile(1, sys.stdout.encoding or "utf-8"), color=self._color)
        try:
            await show(status, terminal, self._recent, self._facts, self._clock)
        finally:
            self._pipe.divert(None)
            for text, _ in self._recent.latest(LINES_AFTER):
                self._output.line(text)
            self._recent.follow(self._output.line)

    @staticmethod
    def restore() -> None:
        """Give the terminal back at once, before the process is ended."""
        restore(1)

    def _take_log_line(self, line: str, level: int) -> None:
        self._recent.add(line, "bad" if level >= logging.ERROR else "warn" if level >= logging.WARNING else "dim")


def _without_console(config: Config, recent: RecentLines) -> Config:
    sinks = tuple(
        msgspec.structs.replace(sink, factory=recent_factory(recent)) if sink.type == _OWN_SINK_TYPE else sink
        for sink in config.sinks
    )
    return msgspec.structs.replace(config, sinks=sinks)
