"""The files of the ledger on disk: their names, set aside, put into place, the ballast. Blocking calls, no SQL.

Nothing that may be worth anything is ever deleted here. A database is renamed together with its write-ahead log: a
log left lying beside a new one would be replayed into it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

__all__ = [
    "BALLAST_BYTES",
    "LEDGER_FILE",
    "Identity",
    "burn_ballast",
    "companions",
    "discard",
    "fault_of",
    "is_full",
    "identity",
    "load_ballast",
    "log_bytes",
    "make_private",
    "new_path",
    "put_in_place",
    "set_aside",
    "sync",
]

LEDGER_FILE: Final = "state.db"
BALLAST_BYTES: Final = 4 * 1024 * 1024
_INDEX_BYTES: Final = 64 * 1024
"""It grows by 32 KiB, and asks for its room at once."""
"""Room that is given back when the disk is full, for the transactions that must still get through (M11)."""
_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100
_COMPANIONS: Final = ("-wal", "-shm", "-journal")


class Identity(NamedTuple):
    """Which file stands at a path."""

    device: int
    inode: int


def identity(path: Path) -> Identity | None:
    """The file at `path`, or None if there is none. Raises `OSError`."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Identity(found.st_dev, found.st_ino)


def companions(path: Path) -> list[Path]:
    """The files that SQLite keeps beside a database and that are there."""
    beside = [path.with_name(path.name + suffix) for suffix in _COMPANIONS]
    return [file for file in beside if file.exists()]


def log_bytes(path: Path) -> int:
    """How long the write-ahead log is; 0 if there is none. Raises `OSError`."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def new_path(path: Path) -> Path:
    """Where a new database is made before it is put into place."""
    return path.with_name(path.name + ".new")


def fault_of(path: Path) -> str:
    """Why a file that is there can't be a database of ours at all; empty if it may be one.

    SQLite itself would take an empty file for a new database without a word (M14).

    Raises:
        OSError: It can't be read, or is no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise IsADirectoryError("not a regular file")
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header:
        return "it was empty"
    return "" if len(header) == _HEADER_BYTES and header.startswith(_MAGIC) else "it is not an SQLite database"


def make_private(path: Path) -> None:
    """Create an empty file that its owner alone can read, whatever the umask is (F120); SQLite gives its log the same
    mode. Raises `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def put_in_place(path: Path) -> None:
    """Rename a finished new database to its name, for good: file and folder are synced. Raises `OSError`."""
    fresh = new_path(path)
    sync(fresh)
    fresh.rename(path)
    sync(path.parent)


def discard(path: Path) -> None:
    """Remove a database that was never put into place. Raises `OSError`."""
    for file in (path, *companions(path)):
        file.unlink(missing_ok=True)


def set_aside(path: Path, now_ms: int, *, alone: bool = False) -> Path:
    """Rename a database to `NAME.corrupt.UTC`, and return the new path; it may not be there.

    Args:
        alone: What SQLite keeps beside it stays: it belongs to another file that is open.

    Raises:
        OSError: It can't be renamed.
    """
    stamp = datetime.fromtimestamp(max(0, now_ms) / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.corrupt.{stamp}")
    attempt = 1
    while target.exists() or companions(target):
        attempt += 1
        target = path.with_name(f"{path.name}.corrupt.{stamp}.{attempt}")
    for suffix in ("",) if alone else ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    return target


def _ballast(path: Path) -> Path:
    return path.with_name("state.ballast")


def is_full(path: Path) -> bool:
    """Whether the disk has no room for SQLite's index of the log to grow."""
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _INDEX_BYTES


def load_ballast(path: Path) -> bool:
    """Have the ballast beside the ledger, if the disk has room for it and some more; returns whether it is there."""
    ballast = _ballast(path)
    try:
        if ballast.exists() and ballast.stat().st_size == BALLAST_BYTES:
            return True
        room = os.statvfs(path.parent)
        if room.f_bavail * room.f_frsize < 3 * BALLAST_BYTES:
            return False
        descriptor = os.open(ballast, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        burn_ballast(path)  # half of it is of no use
        return False
    return True


def burn_ballast(path: Path) -> bool:
    """Give the ballast's room back; returns whether there was any."""
    try:
        _ballast(path).unlink()
    except OSError:
        return False
    return True


def sync(path: Path) -> None:
    """Have what was written to a file or a folder on disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
