"""A thread that looks whether the event loop still turns, and sees where it stands while it does not.

It must never touch the loop, its tasks or anything of the engine's: it reads one number, the last time that the loop
was seen turning, four times a second. Only a loop that has stood for a while is looked at closer. What holds it is told
by module, line and function, innermost first; values are never shown. A process that was stopped as a whole, or native
code that keeps the interpreter to itself, holds this thread as well: that is told, too.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, NamedTuple

from engine.text import clean

__all__ = ["LOGGED_AFTER_S", "NOTICED_AFTER_S", "Watchdog"]

log = logging.getLogger(__name__)

LOOKS_EVERY_S: Final = 0.25
NOTICED_AFTER_S: Final = 0.6
"""The loop has stood for this long: where it stands is written down, should it turn out to be a blind span."""
LOGGED_AFTER_S: Final = 1.0
"""After this it is told in the log, while it goes on: nothing else in the process may be able to."""
JOIN_S: Final = 0.5
"""A thread that hangs in somebody's log handler is not waited for any longer."""
FRAMES_MAX: Final = 6
PLACE_CHARS_MAX: Final = 100
TEXT_CHARS_MAX: Final = 400
STOOD_STILL: Final = "nothing in this process ran: it was stopped, or native code kept the interpreter to itself"
# What runs callbacks, or waits for the next: beyond these frames is the loop itself, and whoever started it.
_LOOP_MODULES: Final = frozenset({"asyncio.base_events", "asyncio.events", "asyncio.runners", "selectors"})


class _Seen(NamedTuple):
    at_s: float
    account: str


class Watchdog:
    """Watches the loop of the thread that starts it.

    Args:
        turned_s: Says when the loop was last seen turning, in seconds of `now_s`; read from the watchdog's thread.
        now_s: The clock of that, monotonic.
    """

    def __init__(self, turned_s: Callable[[], float], now_s: Callable[[], float]) -> None:
        self._turned_s = turned_s
        self._now_s = now_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0  # the thread of the loop; 0 while nobody looks
        self._seen = _Seen(-1.0, "")
        self._looked_s = 0.0
        self._logged_s = -1.0  # the turn of the loop after which a standstill was told in the log

    def start(self) -> bool:
        """Start to watch this thread's loop. Returns False if the system has no thread for that."""
        self._watched = threading.get_ident()
        self._looked_s = self._now_s()
        thread = threading.Thread(target=self._watch, name="longwatch-watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._watched = 0
            return False
        self._thread = thread
        return True

    def stop(self) -> None:
        """End the thread. Safe to call twice, and without `start`."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(JOIN_S)

    def account(self, since_s: float) -> str:
        """Who held the loop since then, as part of a sentence; empty if nobody was seen."""
        seen = self._seen
        if seen.at_s > since_s:
            return seen.account
        # Nothing was seen; but did it look at all, while the loop stood?
        return STOOD_STILL if self._watched and self._looked_s < since_s + NOTICED_AFTER_S else ""

    def look(self) -> None:
        """Look once; the thread does."""
        now_s, turned_s = self._now_s(), self._turned_s()
        late = now_s - self._looked_s >= NOTICED_AFTER_S
        self._looked_s = now_s
        where = ""
        if now_s - turned_s >= NOTICED_AFTER_S:
            where = _where(sys._current_frames().get(self._watched))
        if where or late:  # late, and the loop waits for nobody: this thread was held, too
            self._seen = _Seen(now_s, f"by {where}" if where else STOOD_STILL)
        if where and now_s - turned_s >= LOGGED_AFTER_S and self._logged_s != turned_s:
            self._logged_s = turned_s
            if log.hasHandlers():  # where nobody configured logging, Python would print it
                log.warning("the event loop has been held for %.1f s so far by %s", now_s - turned_s, where)

    def _watch(self) -> None:
        while not self._stop.wait(LOOKS_EVERY_S):
            self.look()


def _where(frame: FrameType | None) -> str:
    """The innermost frames of what the loop runs: `shop.prices:41 in Book.sort, from shop.main:12 in serve`."""
    places: list[str] = []
    while frame is not None and len(places) < FRAMES_MAX:
        module = str(frame.f_globals.get("__name__", "?"))
        if module in _LOOP_MODULES:
            break
        places.append(clean(f"{module}:{frame.f_lineno} in {frame.f_code.co_qualname}", PLACE_CHARS_MAX))
        frame = frame.f_back
    return clean(", from ".join(places), TEXT_CHARS_MAX)
