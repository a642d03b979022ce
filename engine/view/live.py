"""The live view's driver: twice a second it asks for the status and hands a frame to the terminal's thread.

It runs beside the engine, never inside it. Whatever fails here ends the view with one line in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import tzinfo

import anyio
import msgspec

from engine.ports import Clock
from engine.status import EngineStatus
from engine.view.frame import Frame, frame
from engine.view.panels import Scene
from engine.view.recent import LINES_MAX, RecentLines
from engine.view.terminal import Terminal

__all__ = ["Facts", "show"]

log = logging.getLogger(__name__)

REFRESH_S = 0.5
CLOSE_TIMEOUT_S = 1.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change during a run; see `Scene`."""

    zone: tzinfo
    ends_ms: int = 0
    targets: Mapping[str, str] = {}
    files: str = ""


async def show(
    status: Callable[[], EngineStatus], terminal: Terminal, recent: RecentLines, facts: Facts, clock: Clock
) -> None:
    """Show the engine until cancelled, or until the view fails. Never raises anything but a cancellation."""
    terminal.start()
    try:
        while terminal.alive:
            terminal.offer(_frame_of(status(), recent, facts, clock.now_ms()))
            await anyio.sleep(REFRESH_S)
    except Exception as error:  # noqa: BLE001  # the view must not end the watch, whatever is wrong with it
        log.warning("the live view is off: %s: %s", type(error).__name__, error)
    finally:
        closed = terminal.close(CLOSE_TIMEOUT_S)
    if terminal.error is not None:
        log.warning("the live view is off: %s: %s", type(terminal.error).__name__, terminal.error)
    elif not closed:
        log.warning("the live view is off: the terminal does not take output")


def _frame_of(status: EngineStatus, recent: RecentLines, facts: Facts, now_ms: int) -> Callable[[int, int], Frame]:
    scene = Scene(now_ms, facts.zone, facts.ends_ms, facts.targets, facts.files, recent.latest(LINES_MAX))
    return lambda width, height: frame(status, scene, width, height)
