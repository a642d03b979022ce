"""What ends a standalone run: signals, the end of its time, and a deadline nobody can miss.

The first SIGINT or SIGTERM asks the engine to stop; a second one ends the process at once. A thread ends it
if the clean way takes longer than it may. The handlers are plain `signal` handlers, so that the second
signal works even while the loop is stuck. A handler may interrupt anything, also a write to a buffered stream, so
what it says goes straight to the descriptor, and nothing that fails there keeps the process from ending. An
embedded engine has none of this.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from engine.status import EngineStatus
from engine.text import clean

__all__ = ["EXIT_INTERRUPTED", "EXIT_TOO_LATE", "Stopping", "abandoned"]

EXIT_INTERRUPTED = 130
EXIT_TOO_LATE = 75
GRACE_S = 5.0
"""After the engine's own deadline for stopping, this long until the process is ended."""

log = logging.getLogger(__name__)


class Stopping:
    """Handlers and the deadline, in place while it is entered. Main thread only.

    Args:
        deadline_s: How long a clean stop may take in all.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._signals = 0
        self._asked = False
        self._why = ""
        self._hung_up = False
        self._stop: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: dict[int, Any] = {}
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._guard = threading.Thread(target=self._watch, name="longwatch-deadline", daemon=True)
        self.last_words: Callable[[], None] = lambda: None
        """Called before the process is ended the hard way; must not wait."""
        self.left: Callable[[], str] = lambda: ""
        """Says in a few words what is abandoned then; must not wait."""

    def __enter__(self) -> Self:
        self._threads = set(threading.enumerate())
        self._guard.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_stop)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._loop = self._stop = None
        left = {thread for thread in threading.enumerate() if not thread.daemon} - self._threads
        if self._asked and left:  # the interpreter waits for these: the deadline stays
            return
        self._ended.set()
        self._begun.set()
        self._guard.join()

    @property
    def asked(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._asked

    def attach(self, stop: Callable[[], None]) -> None:
        """Call `stop` in the running loop once the run is asked to stop; at once if it has been already."""
        self._loop, self._stop = asyncio.get_running_loop(), stop
        if self._hung_up:
            _tell_of_hangup()
        if self._asked:
            self._begin()

    def ask(self, why: str) -> None:
        """Ask the run to stop, and start the deadline; `why` is for the log."""
        if self._asked:
            return
        self._why = why
        self._asked = True
        self._begun.set()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._stop is not None:
            log.info("stopping: %s", self._why)
            self._stop()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            self._exit(EXIT_INTERRUPTED, "ended at once")
        self.ask(f"{signal.Signals(number).name}; a second one stops at once")

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        # It is told by the loop: the interrupted code may hold the log's lock.
        if self._loop is None:
            self._hung_up = True
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_tell_of_hangup)

    def _watch(self) -> None:
        self._begun.wait()
        if not self._ended.wait(self._deadline_s):
            self._exit(EXIT_TOO_LATE, "did not stop in time; the process is ended")

    def _exit(self, code: int, words: str) -> NoReturn:
        try:
            try:
                self.last_words()
            finally:
                _say(words, self.left)
        finally:
            os._exit(code)  # whatever was raised above goes with the process


def _say(words: str, left: Callable[[], str]) -> None:
    """One line to standard error, if it takes one at this moment."""
    try:
        told = left()
    except Exception:  # noqa: BLE001  # the code it interrupted may have been changing what is looked at here
        told = ""
    ready = select.poll()
    ready.register(2, select.POLLOUT)
    if ready.poll(0):
        os.write(2, f"longwatch: {words}{'; abandoned: ' if told else ''}{told}\n".encode())


def abandoned(status: EngineStatus) -> str:
    """What is lost if the engine ends now, in a few words: what waits to be judged, and to be written or sent."""
    waiting = [_count(status.channel.depth, "sample", "not judged")]
    waiting += [_count(sink.queued, "record", f"for {clean(sink.name, 64)}") for sink in status.sinks]
    return ", ".join(text for text in waiting if text) or "nothing that waited"


def _count(number: int, noun: str, words: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {words}" if number else ""


def _tell_of_hangup() -> None:
    log.warning("SIGHUP: the configuration can't be reloaded yet; nothing was changed")
