"""What a Go template is made of: the parser builds it, the interpreter walks it. Nothing here does anything.

`at` is an offset in the template's text, for messages.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "Action",
    "Branch",
    "Chain",
    "Command",
    "Constant",
    "Dot",
    "Field",
    "Function",
    "Loop",
    "Nil",
    "Operand",
    "Pipe",
    "Range",
    "Statement",
    "Text",
    "Variable",
]


class Text(NamedTuple):
    """What stands outside of `{{ }}`."""

    text: str


class Constant(NamedTuple):
    """A text, a number, `true` or `false`."""

    at: int
    value: Any


class Nil(NamedTuple):
    """`nil`"""

    at: int


class Dot(NamedTuple):
    """`.`"""

    at: int


class Field(NamedTuple):
    """`.Labels.instance`"""

    at: int
    names: tuple[str, ...]


class Variable(NamedTuple):
    """`$labels.instance`; the name without its `$`, which is empty for the root."""

    at: int
    name: str
    names: tuple[str, ...] = ()


class Function(NamedTuple):
    """The name of a function, where it is called."""

    at: int
    name: str


class Chain(NamedTuple):
    """`(query "up" | first).Labels.job`"""

    at: int
    operand: Operand
    names: tuple[str, ...]


class Command(NamedTuple):
    """One stage of a pipeline: an operand, or a function and its arguments."""

    at: int
    words: tuple[Operand, ...]


class Pipe(NamedTuple):
    """Stages, each the last argument of the next; what variables they are put in; whether those exist already."""

    at: int
    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]


class Action(NamedTuple):
    """`{{ pipeline }}`: printed, unless it sets a variable."""

    pipe: Pipe


class Branch(NamedTuple):
    """`{{ if }}`, and `{{ with }}`, which also moves the dot."""

    pipe: Pipe
    moves_dot: bool
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


class Range(NamedTuple):
    """`{{ range }}`"""

    pipe: Pipe
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


class Loop(NamedTuple):
    """`{{ break }}` or `{{ continue }}`."""

    word: str


Operand = Constant | Nil | Dot | Field | Variable | Function | Chain | Pipe
Statement = Text | Action | Branch | Range | Loop
