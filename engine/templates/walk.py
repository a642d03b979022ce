"""Goes over the tree of a Go template, for checks when it is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.templates.nodes import Action, Branch, Chain, Command, Constant, Function, Operand, Pipe, Range, Statement

__all__ = ["asked_of", "commands_of", "operands_of"]


def commands_of(tree: Iterable[Statement]) -> Iterator[tuple[str, Command]]:
    """Every command that calls a function, with that function's name."""
    for pipe in _pipes(tree):
        for command in pipe.commands:
            if isinstance(command.words[0], Function):
                yield command.words[0].name, command


def asked_of(tree: Iterable[Statement]) -> Iterator[str]:
    """The expressions of `query` that are written out: `query "up"` and `"up" | query`."""
    for pipe in _pipes(tree):
        before: Command | None = None
        for command in pipe.commands:
            if isinstance(command.words[0], Function) and command.words[0].name == "query":
                given = command.words[1:] or (before.words if before else ())
                if len(given) == 1 and isinstance(given[0], Constant) and isinstance(given[0].value, str):
                    yield given[0].value
            before = command


def operands_of(tree: Iterable[Statement]) -> Iterator[Operand]:
    """Every operand."""
    for pipe in _pipes(tree):
        for command in pipe.commands:
            yield from command.words


def _pipes(tree: Iterable[Statement]) -> Iterator[Pipe]:
    for statement in tree:
        if isinstance(statement, Action | Branch | Range):
            yield from _inner(statement.pipe)
        if isinstance(statement, Branch | Range):
            yield from _pipes(statement.body)
            yield from _pipes(statement.otherwise)


def _inner(pipe: Pipe) -> Iterator[Pipe]:
    yield pipe
    for command in pipe.commands:
        for word in command.words:
            operand = word.operand if isinstance(word, Chain) else word
            if isinstance(operand, Pipe):
                yield from _inner(operand)
