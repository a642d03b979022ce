"""The terminal, written to from a thread of its own: a stopped terminal (Ctrl-S) stops nobody but the view.

The thread takes the latest frame and drops those it had no time for. It writes with `os.write` and holds no
lock of the interpreter's while it does, so that a thread that is stuck can be left behind.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import IO, cast

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live

__all__ = ["RESTORE", "Terminal", "TerminalFile", "restore"]

RESTORE = b"\x1b[?25h\x1b[?1049l"
"""Shows the cursor and leaves the alternate screen: for an exit that can't wait for the thread."""

_FALLBACK_SIZE = (80, 24)
_FOR_ASCII = str.maketrans({"█": "#", "░": ".", "─": "-", "…": "~", "·": "|"})


class TerminalFile:
    """What rich needs of a text file, over a descriptor, without Python's buffers."""

    def __init__(self, fd: int, encoding: str) -> None:
        self._fd = fd
        self._pending: list[str] = []
        self.encoding = encoding
        self._plain = not encoding.lower().replace("-", "").startswith("utf")

    def write(self, text: str) -> int:
        """Keep text until `flush`."""
        self._pending.append(text)
        return len(text)

    def flush(self) -> None:
        """Write everything kept. Raises `OSError` when the terminal is gone."""
        text = "".join(self._pending)
        self._pending.clear()
        if self._plain:
            text = text.translate(_FOR_ASCII)
        data = text.encode(self.encoding, "replace")
        while data:
            data = data[os.write(self._fd, data) :]

    def isatty(self) -> bool:
        """Whether it is a terminal still."""
        return os.isatty(self._fd)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def size(self) -> tuple[int, int]:
        """(columns, rows) now; 80 x 24 where the terminal does not say."""
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError:
            return _FALLBACK_SIZE
        return (columns or _FALLBACK_SIZE[0], rows or _FALLBACK_SIZE[1])


class Terminal:
    """Shows frames on the alternate screen until it is closed or fails.

    Args:
        file: The terminal.
        color: False for none; True for as many as the terminal has.
    """

    def __init__(self, file: TerminalFile, *, color: bool) -> None:
        self._file = file
        self._color = color
        self._frame: Callable[[int, int], RenderableType] | None = None
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="longwatch-view", daemon=True)
        self.error: BaseException | None = None

    @property
    def alive(self) -> bool:
        """Whether frames are still shown."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take over the terminal."""
        self._thread.start()

    def offer(self, build: Callable[[int, int], RenderableType]) -> None:
        """Show `build(width, height)` as soon as the terminal can; it replaces a frame that was not shown
        yet.
        """
        with self._wake:
            self._frame = build
            self._wake.notify()

    def close(self, timeout_s: float) -> bool:
        """Give the terminal back; False if it does not answer within `timeout_s`, then it is left as it
        is.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._show()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # rich raises SystemExit for a closed pipe
            self.error = error

    def _show(self) -> None:
        console = Console(
            file=cast(IO[str], self._file),
            force_terminal=True,
            no_color=not self._color,
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while (build := self._take()) is not None:
                width, height = self._file.size()
                console.size = ConsoleDimensions(width, height)
                live.update(build(width, height), refresh=True)

    def _take(self) -> Callable[[int, int], RenderableType] | None:
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._frame is not None)
            build, self._frame = self._frame, None
            return None if self._closing else build


def restore(fd: int) -> None:
    """Give the terminal back without waiting for anything: it takes these bytes now, or stays as it is."""
    ready = select.poll()
    ready.register(fd, select.POLLOUT)
    try:
        if ready.poll(0):
            os.write(fd, RESTORE)
    except OSError:
        return
