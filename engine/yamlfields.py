"""Reads a YAML tree against known fields: every value of the right kind, or a problem with its place. All at once.

What Go's YAML reader accepts in a field is accepted here: a number or a boolean is a text where a text is wanted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping as MappingType
from pathlib import Path

from engine.durations import parse_ms
from engine.errors import Problem, nearest
from engine.text import clean
from engine.yamltree import YAML_BYTES_MAX, Mapping, Node, Scalar, Sequence, YamlError, parse_yaml

__all__ = ["Fields", "read_yaml", "words"]

PROBLEMS_MAX = 200
MESSAGE_CHARS_MAX = 500
_WHY = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "it may not be read by this user",
    errno.EISDIR: "it is a directory",
    errno.ENOTDIR: "there is no such file",
    errno.ELOOP: "its symbolic links go in a circle",
    errno.ENAMETOOLONG: "its name is too long",
}


class Fields:
    """Collects the problems of one file while its tree is read.

    Args:
        file: As the operator named it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.unread_line = 0
        """Where a further document starts, which is not read; 0 if none does."""
        self._problems: list[Problem] = []
        self._left_out = 0

    def parse(self, data: bytes) -> Node | None:
        """The tree of the first document. What is wrong with it as a whole becomes a problem, and None is returned."""
        try:
            document = parse_yaml(data)
        except YamlError as error:
            self.error(error.line, "", str(error))
            return None
        self.unread_line = document.next_line
        return document.root

    @property
    def problems(self) -> list[Problem]:
        """What was found, in file order; the last one says how many more there were."""
        found = sorted(self._problems, key=lambda problem: problem.line)
        if self._left_out:
            found.append(Problem(self.file, 0, "", f"{self._left_out} more problems are not shown"))
        return found

    def error(self, node: Node | int, address: str, message: str, hint: str = "") -> None:
        """Add a problem at a node, or at a line."""
        if len(self._problems) >= PROBLEMS_MAX:
            self._left_out += 1
            return
        line = node if isinstance(node, int) else node.line
        self._problems.append(
            Problem(self.file, line, clean(address, 300), clean(message, MESSAGE_CHARS_MAX), clean(hint, 200))
        )

    # --- shapes -------------------------------------------------------------------------------------

    def table(self, node: Node | None, address: str, known: tuple[str, ...]) -> dict[str, Node]:
        """The fields of a mapping; those that are not known are problems."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return {}
        if not isinstance(node, Mapping):
            self.error(node, address, f"expected fields, got {_sort(node)}")
            return {}
        values: dict[str, Node] = {}
        for key, value in node.pairs:
            if key.text in known:
                values[key.text] = value
            else:
                hint = nearest(key.text, known) or f"known: {', '.join(known)}"
                self.error(key, address, f"field {key.text} not found", hint)
        return values

    def items(self, node: Node | None, address: str, name: str) -> list[Node]:
        """The elements of a list; nothing is an empty one."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return []
        if not isinstance(node, Sequence):
            self.error(node, address, f"field {name}: expected a list, got {_sort(node)}")
            return []
        return node.items

    # --- values -------------------------------------------------------------------------------------

    def text(self, node: Node | None, address: str, name: str) -> str:
        """A text; nothing is an empty one."""
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            self.error(node, address, f"field {name}: expected text, got {_sort(node)}")
            return ""
        return "" if node.is_null else node.text

    def texts(self, node: Node | None, address: str, name: str) -> dict[str, Scalar]:
        """A mapping of texts, each with its place."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return {}
        if not isinstance(node, Mapping):
            self.error(node, address, f"field {name}: expected names and texts, got {_sort(node)}")
            return {}
        found: dict[str, Scalar] = {}
        for key, value in node.pairs:
            if isinstance(value, Scalar):
                found[key.text] = value._replace(text="") if value.is_null else value
            else:
                self.error(value, address, f"field {name}: {key.text}: expected text, got {_sort(value)}")
        return found

    def duration_ms(self, node: Node | None, address: str, name: str) -> int | None:
        """A duration in milliseconds; nothing is None."""
        text = self.text(node, address, name)
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return None
        try:
            return parse_ms(text) if isinstance(node, Scalar) else None
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            self.error(node, address, f"field {name}: {message}", hint)
            return None

    def whole(self, node: Node | None, address: str, name: str) -> int:
        """A whole number; nothing is 0."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return 0
        if isinstance(node, Scalar) and node.kind == "int" and len(node.text) < 20:
            return _whole(node.text)
        self.error(node, address, f"field {name}: expected a whole number, got {_shown(node)}")
        return 0

    def number(self, node: Node | None, address: str, name: str) -> float:
        """A number; nothing is 0."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return 0.0
        if isinstance(node, Scalar) and node.kind in ("int", "float"):
            text = node.text.lower().replace(".inf", "inf").replace(".nan", "nan")
            return float(int(text, 0)) if text.lstrip("+-").startswith("0x") else float(text)
        self.error(node, address, f"field {name}: expected a number, got {_shown(node)}")
        return 0.0

    def boolean(self, node: Node | None, address: str, name: str) -> bool:
        """True or false; nothing is false."""
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return False
        if isinstance(node, Scalar) and node.kind == "bool":
            return node.text.lower() == "true"
        self.error(node, address, f"field {name}: expected true or false, got {_shown(node)}")
        return False


def read_yaml(path: Path, name: str, fields: Fields) -> Node | None:
    """Read and parse a file. What is wrong with it as a whole becomes a problem, and None is returned."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > YAML_BYTES_MAX:
                raise YamlError(f"it is larger than {YAML_BYTES_MAX // 1024 // 1024} MiB", 0)
            data = file.read(YAML_BYTES_MAX + 1)
        return fields.parse(data)
    except YamlError as error:
        fields.error(error.line, "", str(error))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        number = getattr(error, "errno", None) or 0
        hint = f"name its files, as in {clean(str(path), 100)}/*.yml" if number == errno.EISDIR else ""
        why = _WHY.get(number, "it can't be read")
        fields.error(0, "", f"can't read {name}: {why}", hint)
    return None


def _sort(node: Node) -> str:
    match node:
        case Mapping():
            return "fields"
        case Sequence():
            return "a list"
    return "nothing" if node.is_null else f'the text "{clean(node.text, 40)}"'


def _shown(node: Node) -> str:
    return f'"{clean(node.text, 40)}"' if isinstance(node, Scalar) else _sort(node)


def words(values: MappingType[str, Scalar]) -> dict[str, str]:
    """Without the places."""
    return {name: value.text for name, value in values.items()}


def _whole(text: str) -> int:
    """A leading zero is octal, as in Go."""
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits.isdecimal() and digits[0] == "0"
    return int(text, 8 if octal else 0)
