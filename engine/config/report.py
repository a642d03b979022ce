"""What was found wrong, collected: every problem and every warning, each with its place and its address.

Values in messages pass `engine.text.clean` here, and are cut. A value that came from the environment or
from a secret's file is never handed to this module.
"""

from __future__ import annotations

import re

from engine.config.document import Places
from engine.config.locate import KeyPath
from engine.errors import Problem
from engine.text import clean

__all__ = ["PROBLEMS_MAX", "Report", "address_of", "quote"]

PROBLEMS_MAX = 200
"""A person mends the first of them; a file of 1 MiB could have 100,000."""

MESSAGE_CHARS_MAX = 500
PART_CHARS_MAX = 140
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def address_of(path: KeyPath) -> str:
    """`("probe", "a b", "urls", 2)` -> `probe."a b".urls[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = clean(part, PART_CHARS_MAX) if _BARE.fullmatch(part) else quote(part)
            text += f".{word}" if text else word
    return text


def quote(text: str) -> str:
    """A value as it is shown in a message: in quotes, clean, at most 40 characters."""
    return f'"{clean(text, 40)}"'


class Report:
    """Collects problems and warnings of one load."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._problems: list[tuple[int, int, Problem]] = []
        self._warnings: list[tuple[int, int, Problem]] = []
        self.left_out = 0

    @property
    def count(self) -> int:
        """How many problems there are so far."""
        return len(self._problems) + self.left_out

    @property
    def is_full(self) -> bool:
        """Further problems are only counted, so their hints need not be worked out."""
        return len(self._problems) >= PROBLEMS_MAX

    def error(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Add a problem at a key; where the key is not written, its table's line is used."""
        if self.is_full:
            self.left_out += 1
        else:
            self._problems.append(self._at(path, message, hint))

    def warn(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Add a warning."""
        self._warnings.append(self._at(path, message, hint))

    def problems(self) -> list[Problem]:
        """Every problem, in file order; the last one says how many more were left out."""
        found = _in_order(self._problems)
        if self.left_out:
            found.append(Problem(found[0].file, 0, "", f"{self.left_out} more problems are not shown"))
        return found

    def warnings(self) -> list[Problem]:
        """Every warning, in file order."""
        return _in_order(self._warnings)

    def _at(self, path: KeyPath, message: str, hint: str) -> tuple[int, int, Problem]:
        rank, file, line = self._places.find(path)
        # Cleaned here once more, so that no message built elsewhere can break a line.
        problem = Problem(file, line, address_of(path), clean(message, MESSAGE_CHARS_MAX), clean(hint))
        return rank, line, problem


def _in_order(found: list[tuple[int, int, Problem]]) -> list[Problem]:
    return [problem for _, _, problem in sorted(found, key=lambda item: item[:2])]
