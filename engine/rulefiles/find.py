"""Finds rule files: patterns with wildcards, in the order they are written, each file once."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.errors import Problem
from engine.text import clean

__all__ = ["FILES_MAX", "expanded", "find_rule_files"]

FILES_MAX = 10_000


def find_rule_files(patterns: Iterable[str], folder: Path) -> tuple[list[Path], list[Problem]]:
    """Return the files, and a problem for each pattern that names a file that is not there.

    A pattern with wildcards (`*`, `?`, `[a-z]`) may match nothing, as in Prometheus: the files may come later.

    Args:
        folder: Relative patterns start here.
    """
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for pattern in patterns:
        full = str(folder / pattern)
        if not glob.has_magic(pattern):
            if Path(full).is_file():
                found.setdefault(os.path.realpath(full), Path(full))
            else:
                problems.append(Problem(clean(full), 0, "", "there is no such rule file"))
            continue
        # Go writes [^a] for what Python writes [!a]; `*` matches names with a leading dot in Go.
        matches = sorted(glob.glob(full.replace("[^", "[!"), include_hidden=True))
        for match in matches:
            if Path(match).is_file():
                found.setdefault(os.path.realpath(match), Path(match))
    if len(found) > FILES_MAX:
        problems.append(Problem(clean(str(folder)), 0, "", f"more than {FILES_MAX:,} rule files"))
    return list(found.values())[:FILES_MAX], problems


def expanded(paths: Sequence[Path]) -> list[Path]:
    """The files of names with wildcards that the shell left as they were: there was none, or they were quoted. A name
    that matches nothing stays as it is, for whoever reads it to say so."""
    found: list[Path] = []
    for path in paths:
        quoted = glob.has_magic(str(path)) and not path.exists()
        found += (find_rule_files([str(path)], Path())[0] if quoted else []) or [path]
    return found
