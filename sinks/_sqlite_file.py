"""The file of history.db on disk: made private, recognised, set aside. Blocking calls only, no SQL.

Nothing is ever deleted here. A file that can't be ours is renamed together with its write-ahead log: a
log left lying beside a fresh database would be replayed into it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Identity", "identity", "prepare", "set_aside"]

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100
_COMPANIONS: Final = ("-wal", "-shm")


class Identity(NamedTuple):
    """Which file stands at a path: device and inode, and how large it is."""

    device: int
    inode: int
    size_bytes: int

    def same_file(self, other: Identity | None) -> bool:
        """Whether both are one file, whatever its size."""
        return other is not None and (self.device, self.inode) == (other.device, other.inode)


class Prepared(NamedTuple):
    """What `prepare` found: the file to open, whether it is new, and what to tell people."""

    identity: Identity
    is_new: bool
    notices: list[tuple[str, str]]


def identity(path: Path) -> Identity | None:
    """The file at `path`, or None if there is none. Raises `OSError`."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return Identity(found.st_dev, found.st_ino, found.st_size)


def prepare(path: Path, now_ms: int) -> Prepared:
    """Make sure that a regular, private file stands at `path` which SQLite can be given.

    An empty file and one without SQLite's header are set aside: SQLite would take the first for a new
    database without a word (M14). A missing file is created, readable by its owner alone whatever the
    umask is (F120); SQLite gives its log the same mode.

    Raises:
        OSError: The folder can't be made or written, or something else than a file is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    notices = []
    if path.exists():
        if not stat.S_ISREG(path.stat().st_mode):
            raise IsADirectoryError("not a regular file")
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            why = "it was empty" if not header else "it is not an SQLite database"
            notices.append(("set_aside", f"{path.name}: {why}; kept as {set_aside(path, now_ms).name}"))
    elif leftovers := [name for name in _COMPANIONS if path.with_name(path.name + name).exists()]:
        set_aside(path, now_ms)
        notices.append(("set_aside", f"{path.name}{leftovers[0]} without its database was set aside"))
    is_new = not path.exists()
    if is_new:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    found = identity(path)
    if found is None:
        raise FileNotFoundError("it vanished while it was opened")
    return Prepared(found, is_new, notices)


def set_aside(path: Path, now_ms: int) -> Path:
    """Rename a database and its log to `NAME.corrupt.UTC`, and return the new path. Raises `OSError`."""
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.corrupt.{stamp}")
    attempt = 1
    while target.exists():
        attempt += 1
        target = path.with_name(f"{path.name}.corrupt.{stamp}.{attempt}")
    for suffix in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    return target
