"""One thread that writes text to a stream, in order, so that a pipe nobody reads can't hold up the loop.

Why a thread: a write to a full pipe blocks for as long as its reader pleases, and to make the descriptor
non-blocking would do so for every process that shares it, the user's shell included. It is a daemon of
its own because on the engine's pool it would take a place for ever.

Why not through `sys.stdout`: a daemon that hangs in a buffered write holds that buffer's lock, and the
interpreter aborts over it at exit; and what is left in the buffer of a broken pipe is complained of at exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import shutil
import threading
from collections.abc import Callable
from typing import Final, NamedTuple, TextIO

__all__ = ["Printer"]

BLOCKS_MAX: Final = 16
_FALLBACK_WIDTH: Final = 80


class _Job(NamedTuple):
    render: Callable[[], str]
    done: asyncio.Future[None]


class Printer:
    """Writes blocks of text in order.

    Args:
        stream: Written through its descriptor if it has one, else by its `write` and `flush`.

    Attributes:
        failure: The kind of error that ended the printing, or empty.
    """

    def __init__(self, stream: TextIO) -> None:
        self.failure = ""
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._jobs: queue.Queue[_Job | None] = queue.Queue(BLOCKS_MAX)
        self._thread = threading.Thread(target=self._run, name="longwatch-console", daemon=True)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether everything handed over so far is written."""
        return self._jobs.unfinished_tasks == 0

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 if it has none to tell."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                return os.get_terminal_size(self._descriptor).columns or _FALLBACK_WIDTH
        return shutil.get_terminal_size((_FALLBACK_WIDTH, 24)).columns

    def put(self, render: Callable[[], str]) -> asyncio.Future[None] | None:
        """Hand over a block, which is rendered on the thread as well. Returns what is done when it is written or
        never will be; None if there is no room."""
        job = _Job(render, asyncio.get_running_loop().create_future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return None
        return job.done

    def end(self) -> asyncio.Future[None] | None:
        """Ask the thread to end after what waits; None if there is no room even for that."""
        try:
            self._jobs.put_nowait(None)
        except queue.Full:
            return None
        return self._ended

    def _run(self) -> None:
        self._attempt(str)  # what others left in the stream's buffer comes first
        while (job := self._jobs.get()) is not None:
            if not self.failure:
                self._attempt(job.render)
            self._jobs.task_done()
            _settle(job.done)
        _settle(self._ended)

    def _attempt(self, render: Callable[[], str]) -> None:
        try:
            text = render()
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
            elif text:
                _write_all(self._descriptor, text.encode(self._encoding, "backslashreplace"))
            else:
                self._stream.flush()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # any stream: rich answers a broken pipe by SystemExit (M20)
            self.failure = type(error).__name__


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def _settle(future: asyncio.Future[None]) -> None:
    def settle() -> None:
        if not future.done():
            future.set_result(None)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        future.get_loop().call_soon_threadsafe(settle)
