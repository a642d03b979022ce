"""Where the command socket is: a file in the state folder that its owner alone may connect to.

A Unix socket's path has at most 107 bytes, a state folder's may be longer: then the folder is opened, and named by its
descriptor. Abstract sockets are not used: they have no permissions.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from engine.runtime.commands.wire import SOCKET_FILE

__all__ = ["Peer", "Socket", "connect", "peer_of", "short_path"]

BACKLOG: Final = 16
_PATH_BYTES_MAX: Final = 100
"""107 on Linux, 103 on macOS."""
_DESCRIPTORS: Final = Path("/proc/self/fd")
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred, unix(7)


class Peer(NamedTuple):
    """Who is at the other end."""

    pid: int
    uid: int


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough, good until the end of the block.

    Raises:
        OSError: The folder can't be opened; or its path is too long, and there is no `/proc`.
    """
    path = str(folder.absolute() / SOCKET_FILE)
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX or not _DESCRIPTORS.is_dir():
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield str(_DESCRIPTORS / str(descriptor) / SOCKET_FILE)
    finally:
        os.close(descriptor)


class Socket:
    """The engine's end. Only whoever holds the lock of the state folder may make one.

    Args:
        folder: The state folder.

    Raises:
        OSError: It can't be made; or there is something of that name which is no socket, and is left alone.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / SOCKET_FILE
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._remove()  # what a killed engine has left: nobody can listen there while we hold the lock
            # Linux gives the file the mode of the descriptor, less the umask; so there is no moment in which others
            # could connect, and the umask, which belongs to the whole process, stays as it is.
            with contextlib.suppress(OSError):
                os.fchmod(self.listener.fileno(), 0o600)
            with short_path(folder) as path:
                self.listener.bind(path)
            self._file.chmod(0o600)
            found = self._file.lstat()
            self._identity = (found.st_dev, found.st_ino)
            self.listener.listen(BACKLOG)
            self.listener.setblocking(False)
        except BaseException:
            self.listener.close()
            raise

    def close(self) -> None:
        """Remove the file, if it is still ours, and listen no more. Does not raise."""
        with contextlib.suppress(OSError):
            found = self._file.lstat()
            if (found.st_dev, found.st_ino) == self._identity:
                self._file.unlink()
        self.listener.close()

    def _remove(self) -> None:
        try:
            mode = self._file.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise FileExistsError(17, f"{SOCKET_FILE} is there and is no socket")
        self._file.unlink(missing_ok=True)


def connect(folder: Path, timeout_s: float) -> socket.socket:
    """A connection to the engine of a state folder, blocking. Raises `OSError`; `TimeoutError` is one."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with short_path(folder) as path:
            connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def peer_of(connection: socket.socket) -> Peer | None:
    """Who has connected, by the kernel's word; None where the system has no such word."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return Peer(pid, uid)
