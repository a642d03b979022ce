"""Walks the tree of a Go template and writes the text. Bounded in steps, in queries and in characters.

Pure but for the `query` it is given. Every failure is a `TemplateFailure`; the caller makes text of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from engine.templates.access import field_of, items_of, method_of_time
from engine.templates.functions import FUNCTIONS, check_arguments, truth
from engine.templates.nodes import (
    Action,
    Branch,
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Function,
    Loop,
    Nil,
    Operand,
    Pipe,
    Range,
    Statement,
    Text,
    Variable,
)
from engine.templates.printing import CHARS_MAX, text_of
from engine.templates.values import GoTime, Query, Root, Sample, TemplateFailure

__all__ = ["SURROUNDINGS", "FullError", "Interpreter"]

STEPS_MAX = 20_000
QUERIES_MAX = 100
SAMPLES_MAX = 10_000

SURROUNDINGS = {"query": "s", "externalURL": "", "pathPrefix": "", "now": "", "and": "a*", "or": "a*"}
"""Functions that need more than their arguments, and what they take."""

_Word = Literal["", "break", "continue"]
_NOTHING = object()


class FullError(Exception):
    """The text has reached its length; what was written so far counts."""


class Interpreter:
    """One rendering.

    Args:
        root: What the dot and `$` are.
        variables: Name without `$` -> value.
        text_chars_max: Writing more ends the rendering with `FullError`.
        query: Evaluates an expression at the rule's instant; None: `query` fails.
        at_ms: The rule's instant.
    """

    def __init__(
        self,
        root: Root,
        variables: Mapping[str, Any],
        text_chars_max: int,
        query: Query | None,
        at_ms: int,
    ) -> None:
        self.parts: list[str] = []
        self.at = 0
        self._root = root
        self._variables: list[tuple[str, Any]] = [("", root), *variables.items()]
        self._room = text_chars_max
        self._steps = 0
        self._queries = 0
        self._query = query
        self._at_ms = at_ms

    def run(self, body: Sequence[Statement]) -> None:
        """Write the text to `parts`. Raises `TemplateFailure` or `FullError`."""
        self._walk(body, self._root)

    # --- statements ---------------------------------------------------------------------------------

    def _walk(self, body: Sequence[Statement], dot: Any) -> _Word:
        for statement in body:
            self._step()
            match statement:
                case Text(text):
                    self._write(text)
                case Action(pipe):
                    value = self._pipe(pipe, dot)
                    if not pipe.variables:
                        self._write(text_of(value))
                case Branch() | Range():
                    mark = len(self._variables)
                    word = (
                        self._branch(statement, dot) if isinstance(statement, Branch) else self._range(statement, dot)
                    )
                    del self._variables[mark:]
                    if word:
                        return word
                case Loop(word=("break" | "continue") as word):
                    return word
        return ""

    def _branch(self, branch: Branch, dot: Any) -> _Word:
        value = self._pipe(branch.pipe, dot)
        if truth(value):
            return self._walk(branch.body, value if branch.moves_dot else dot)
        return self._walk(branch.otherwise, dot)

    def _range(self, loop: Range, dot: Any) -> _Word:
        items = list(items_of(self._pipe(loop.pipe, dot)))
        if not items:
            return self._walk(loop.otherwise, dot)
        names = loop.pipe.variables
        mark = len(self._variables)
        for key, item in items:
            self._step()
            if names:
                self._set_last(names[-1], item)
            if len(names) > 1:
                self._set_last(names[0], key)
            word = self._walk(loop.body, item)
            del self._variables[mark:]
            if word == "break":
                break
        return ""

    def _write(self, text: str) -> None:
        self.parts.append(text)
        self._room -= len(text)
        if self._room < 0:
            raise FullError

    def _step(self) -> None:
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise TemplateFailure(f"it takes more than {STEPS_MAX:,} steps")

    # --- values -------------------------------------------------------------------------------------

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        for name in pipe.variables:
            if pipe.assigns:
                self._set_last(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _set_last(self, name: str, value: Any) -> None:
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = (name, value)
                return
        raise TemplateFailure(f"undefined variable: ${name}")

    def _command(self, command: Command, dot: Any, final: Any) -> Any:
        self._step()
        self.at = command.at
        word, *rest = command.words
        last = [] if final is _NOTHING else [final]
        if isinstance(word, Function):
            return self._call(word, rest, last, dot)
        if isinstance(word, Nil):
            raise TemplateFailure("nil is not a command")
        if not rest and not last:
            return self._operand(word, dot)
        if isinstance(word, Field | Variable | Chain):
            return self._operand(word, dot, [*(self._operand(one, dot) for one in rest), *last])
        raise TemplateFailure("can't give argument to non-function")

    def _operand(self, operand: Operand, dot: Any, arguments: list[Any] | None = None) -> Any:
        match operand:
            case Constant(value=value):
                return value
            case Dot():
                return dot
            case Nil():
                return None
            case Pipe():
                self._step()
                return self._pipe(operand, dot)
            case Function():
                return self._call(operand, [], [], dot)
            case Field(names=names):
                return self._fields(dot, names, arguments)
            case Chain(operand=inner, names=names):
                return self._fields(self._operand(inner, dot), names, arguments)
            case Variable(name=name, names=names):
                for known, value in reversed(self._variables):
                    if known == name:
                        return self._fields(value, names, arguments)
                raise TemplateFailure(f"undefined variable: ${name}")
        raise AssertionError(operand)

    def _fields(self, value: Any, names: Sequence[str], arguments: list[Any] | None) -> Any:
        for index, name in enumerate(names):
            given = arguments if index == len(names) - 1 else None
            if isinstance(value, GoTime):
                value = method_of_time(value, name, given)
                arguments = None if given is not None else arguments
            else:
                value = field_of(value, name)
        if arguments:
            raise TemplateFailure(f"{names[-1] if names else 'a variable'} has arguments but is no method")
        return value

    # --- functions ----------------------------------------------------------------------------------

    def _call(self, function: Function, rest: Sequence[Operand], last: list[Any], dot: Any) -> Any:
        name = function.name
        if name in ("and", "or"):
            return self._logic(name, rest, last, dot)
        values = [self._operand(one, dot) for one in rest] + last
        self.at = function.at
        try:
            result = self._result(name, values)
        except TemplateFailure as failure:
            text = str(failure)
            raise failure if text.startswith("wrong ") else TemplateFailure(f"error calling {name}: {text}") from None
        if isinstance(result, str) and len(result) > CHARS_MAX:
            raise TemplateFailure(f"error calling {name}: the text grows too long")
        return result

    def _logic(self, name: str, rest: Sequence[Operand], last: list[Any], dot: Any) -> Any:
        """`and` and `or` return the value that decides, and evaluate no further."""
        if not rest and not last:
            raise TemplateFailure(f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for operand in rest:
            value = self._operand(operand, dot)
            if truth(value) is (name == "or"):
                return value
        return last[0] if last else value

    def _result(self, name: str, values: list[Any]) -> Any:
        if name in FUNCTIONS:
            signature = FUNCTIONS[name]
            check_arguments(name, signature.kinds, values)
            return signature.call(*values)
        check_arguments(name, SURROUNDINGS[name], values)
        if name == "externalURL":
            return self._root.ExternalURL
        if name == "pathPrefix":
            return urlsplit(self._root.ExternalURL).path
        if name == "now":
            return self._at_ms / 1000
        return self._queried(values[0])

    def _queried(self, expr: str) -> list[Sample]:
        if self._query is None:
            raise TemplateFailure("there is nothing to query here")
        self._queries += 1
        if self._queries > QUERIES_MAX:
            raise TemplateFailure(f"more than {QUERIES_MAX} queries")
        try:
            result = self._query(expr)
        except ValueError as error:
            raise TemplateFailure(str(error)) from None
        if len(result) > SAMPLES_MAX:
            raise TemplateFailure(f"a result of more than {SAMPLES_MAX:,} samples")
        return [Sample(dict(labels), value) for labels, value in result]
