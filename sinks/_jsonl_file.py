"""A file that lines are appended to: opened for each of them, rotated by size, never torn in silence.

Everything here blocks, and belongs on the engine's threads. The file is opened anew for each append, so that one that
was moved or deleted by somebody else is simply begun again, and nothing has to be kept open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.errors import SinkError

__all__ = ["LineFile"]

_MODE: Final = 0o600
_REASONS: Final = {
    errno.ENOSPC: ("disk_full", "the disk is full"),
    errno.EDQUOT: ("disk_full", "the disk quota is used up"),
    errno.EFBIG: ("disk_full", "the file may not grow any more"),
    errno.EIO: ("io_error", "the disk reports an error"),
    errno.EROFS: ("read_only", "the file system is read-only"),
    errno.EACCES: ("cant_open", "there is no permission"),
    errno.EPERM: ("cant_open", "there is no permission"),
    errno.EISDIR: ("cant_open", "it is a folder"),
    errno.EEXIST: ("cant_open", "its folder is a file"),
    errno.ENOTDIR: ("cant_open", "its folder is a file"),
    errno.EMFILE: ("no_descriptors", "there are no file descriptors left"),
    errno.ENFILE: ("no_descriptors", "there are no file descriptors left"),
}


class LineFile:
    """Appends lines.

    Args:
        path: The file; its folder is created.
        size_max: A file that would be larger than this is rotated first. A line that is larger alone has a file alone.
        keep: How many older files are kept: `path.1` is the youngest of them.
        sync: Whether a line is on the disk when `append` returns, or only with the operating system.
    """

    def __init__(self, path: Path, size_max: int, keep: int, *, sync: bool) -> None:
        self._path = path
        self._size_max = size_max
        self._keep = keep
        self._sync = sync

    def prepare(self) -> None:
        """See to it that lines can be appended: create folder and file. Raises `SinkError`."""
        with _translated():
            os.close(self._open())

    def append(self, line: bytes) -> None:
        """Append one line, the line end included; all of it or nothing.

        Raises:
            SinkError: Retryable; `disk_full`, `io_error`, `read_only`, `cant_open`, `no_descriptors` or `file_error`.
        """
        with _translated():
            descriptor = self._open()
            try:
                size = os.fstat(descriptor).st_size
                if size and size + len(line) > self._size_max:
                    os.close(descriptor)
                    descriptor = -1
                    self._rotate()
                    descriptor = self._open()
                    size = os.fstat(descriptor).st_size
                self._write(descriptor, line, size)
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        is_new = not self._path.exists()
        if is_new:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, flags, _MODE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise SinkError("cant_open", "it is not a regular file", retryable=True)
        if is_new and self._sync:
            _sync_folder(self._path.parent)
        return descriptor

    def _write(self, descriptor: int, line: bytes, size: int) -> None:
        # What another writer, or a power cut, left without its end must not run into this line.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        rest = memoryview(b"\n" + line if torn else line)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if self._sync:
                os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # then the next line begins by ending this one
                os.ftruncate(descriptor, size)
            raise

    def _rotate(self) -> None:
        """`path` becomes `path.1`, that `path.2`, and so on; the oldest goes."""
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1))]
        if self._keep == 0:
            self._path.unlink(missing_ok=True)
        for older, younger in zip(reversed(names), list(reversed(names))[1:], strict=False):
            with contextlib.suppress(FileNotFoundError):
                younger.rename(older)
        if self._sync:
            _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of the operating system, as those of a sink."""
    try:
        yield
    except OSError as error:
        reason, words = _REASONS.get(error.errno or 0, ("file_error", "the file can't be written"))
        raise SinkError(reason, words, retryable=True) from error
