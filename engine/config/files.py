"""Files that sinks write: each by one sink alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.config.report import Report
from engine.config.shape import SinkConfig

__all__ = ["check_files"]


def check_files(sinks: Iterable[SinkConfig], state_dir: Path | None, report: Report) -> None:
    """Report every sink that writes the file of one before it.

    A class says in `FILE_NAME` that it keeps a file of that name in the state folder, or at its option `path`. Names
    are compared as they are written: nothing is looked up on the disk.
    """
    taken: dict[str, str] = {}
    for sink in sinks:
        name, path = getattr(sink.factory, "FILE_NAME", None), getattr(sink.options, "path", None)
        if not isinstance(name, str) or not isinstance(path, Path | None):
            continue
        if path is None and state_dir is None:
            file = f"{name} in the state folder"
        else:
            file = os.path.abspath(path or Path(state_dir or "", name))
        first = taken.setdefault(file, sink.name)
        if first != sink.name:
            message = f"writes {file}, as sink.{first} does"
            report.error(("sink", sink.name, "path"), message, "give one of them another path")
