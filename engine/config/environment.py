"""`${NAME}` in strings, and secrets in files of their own. What comes from there is never shown.

Only a whole reference is replaced, once: what a variable holds is not looked at again. `$$` is a dollar
sign; a `$` before anything but `{` stands for itself, as templates (`$labels`) and regular expressions
have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from engine.config.document import read_bytes
from engine.errors import nearest

__all__ = ["SECRET_BYTES_MAX", "Expanded", "ExpandError", "expand", "read_secret"]

SECRET_BYTES_MAX = 64 * 1024

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_REFERENCE = re.compile(rf"\$\$|\$\{{({_NAME})\}}|\$\{{[^}}]*\}}?")


class ExpandError(ValueError):
    """A reference can't be resolved. `hint` says what to write instead; `unset` is a variable that is not set."""

    def __init__(self, message: str, hint: str = "", unset: str = "") -> None:
        self.hint = hint
        self.unset = unset
        super().__init__(message)


class Expanded(NamedTuple):
    """A string with its references replaced, and the variables it took them from."""

    text: str
    names: tuple[str, ...] = ()


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """Replace every `${NAME}`.

    Raises:
        ExpandError: A variable is not set or not valid Unicode, or what follows `${` is not a name.
    """
    if "$" not in text:
        return Expanded(text)
    names: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1]
        if name is None:
            message = "${ is not followed by a variable's name and }"
            raise ExpandError(message, "write ${NAME}, or $${ for a literal ${")
        if name not in environ:
            hint = nearest(name, list(environ)) or f"export {name}=..."
            raise ExpandError(f"the environment variable {name} is not set", hint, name)
        try:
            environ[name].encode()
        except UnicodeEncodeError:
            raise ExpandError(f"the environment variable {name} is not valid UTF-8") from None
        names.append(name)
        return environ[name]

    return Expanded(_REFERENCE.sub(value, text), tuple(names))


def read_secret(path: Path) -> str:
    """Return a secret file's text without the line end most editors add.

    Raises:
        ValueError: It can't be read, is empty, too large or not UTF-8.
    """
    data, _ = read_bytes(path, SECRET_BYTES_MAX)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("it is empty")
    return text
