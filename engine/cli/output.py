"""Standard output for the few lines the command line itself prints. A reader that has left is no error.

`| head -1` closes the pipe after a line; from then on everything written here is dropped, and the
descriptor is pointed at nothing, so that neither a sink nor the interpreter's own flush at exit finds a
broken pipe.
"""

from __future__ import annotations

import os
import select

from engine.text import clean

__all__ = ["Output"]

STALL_MAX_MS = 1_000
"""How long a line waits for a full pipe that nobody reads, before it is dropped."""
_CHUNK_BYTES = 4_096  # PIPE_BUF of Linux: what poll() says there is room for, a write of this size does not block
_LINE_CHARS_MAX = 4_000


class Output:
    """Writes whole lines to a descriptor and goes silent for good once that fails."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self.closed = False
        self._patience_ms = STALL_MAX_MS

    def line(self, text: str = "") -> None:
        """Write one line, control characters made visible."""
        self.raw(clean(text, _LINE_CHARS_MAX) + "\n")

    def raw(self, text: str) -> None:
        """Write text as it is."""
        data = text.encode("utf-8", "backslashreplace")
        ready = select.poll()
        try:
            ready.register(self._fd, select.POLLOUT)
            while data and not self.closed:
                if not ready.poll(self._patience_ms):
                    self._patience_ms = 0  # who did not read this line is not waited for again
                    return
                self._patience_ms = STALL_MAX_MS
                data = data[os.write(self._fd, data[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:
            self._close()

    def _close(self) -> None:
        self.closed = True
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._fd)
            os.close(nothing)
        except OSError:
            return
