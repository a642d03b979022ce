"""Where a standalone run keeps its files. `state_folder` is pure over the environment; `prepare` makes the
folder.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from engine.errors import LongwatchError

__all__ = ["StateFolderError", "prepare", "state_folder"]


class StateFolderError(LongwatchError):
    """There is no folder to keep files in. The message names the remedy."""


def state_folder(name: str, configured: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the folder for a watch of that name.

    `engine.state_dir`, else `$STATE_DIRECTORY` (systemd gives it to one unit, so the name is not added), else
    `$XDG_STATE_HOME/longwatch/<name>`, else `~/.local/state/longwatch/<name>`.

    Raises:
        StateFolderError: None of them is known, or the name can't be that of a folder.
    """
    if configured is not None:
        return configured
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise StateFolderError(f'engine.name "{name}" can\'t be the name of a folder; set engine.state_dir')
    xdg = environ.get("XDG_STATE_HOME", "")
    if xdg.startswith("/"):  # the specification ignores relative paths
        return Path(xdg) / "longwatch" / name
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home) / ".local" / "state" / "longwatch" / name
    raise StateFolderError(
        "there is no state folder: neither HOME, XDG_STATE_HOME nor STATE_DIRECTORY is set; "
        "set engine.state_dir, or use --memory to keep nothing"
    )


def prepare(folder: Path) -> Path:
    """Create the folder for its owner alone, and try that a file can be written in it.

    Raises:
        StateFolderError: It can't be.
    """
    try:
        before = os.umask(0o077)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        finally:
            os.umask(before)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StateFolderError(
            f"can't write in the state folder {folder}: {reason}; "
            "set engine.state_dir to a folder of this user, or use --memory to keep nothing"
        ) from None
    return folder


def open_to_others(folder: Path) -> bool:
    """Whether other users may read or write in the folder."""
    return bool(stat.S_IMODE(folder.stat().st_mode) & 0o077)
