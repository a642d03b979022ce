"""label_replace and label_join: new label values from old ones, made once for each set of series.

They look at distinct label values only; values and times of samples pass through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from engine.core.promql.functions.captures import Captures, Groups
from engine.core.promql.functions.context import FunctionContext, VectorFunction, text, vector
from engine.core.promql.labels import Codes, Shape
from engine.core.promql.regex import RegexError
from engine.core.promql.vector import EvaluationError, Value

__all__ = ["COMPAT2_RELABEL", "RELABEL", "expand", "read_template"]

Template: TypeAlias = tuple[str | int | tuple[str], ...]
"""Text, group numbers and group names (in tuples of one)."""

# `${name}` or the longest run of letters, digits and underscores. What else follows a $ leaves it as text.
_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")
_GROUP_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_LABEL_NAME_2 = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def read_template(template: str) -> Template:
    """A replacement as Go's regular expressions read it: `$1`, `${1}`, `$name`, `${name}`, and `$$` for a $."""
    parts: list[str | int | tuple[str]] = []
    at = 0
    for found in _REFERENCE.finditer(template):
        parts.append(template[at : found.start()])
        at = found.end()
        name = found[2] or found[3]
        if found[1]:
            parts.append("$")
        elif _GROUP_NUMBER.fullmatch(name):
            parts.append(int(name))
        else:
            parts.append((name,))
    parts.append(template[at:])
    return tuple(part for part in parts if part != "")


def expand(template: Template, groups: Groups, names: Mapping[str, int]) -> str:
    """The replacement for one match. Groups that do not exist or took no part are empty."""
    done: list[str] = []
    for part in template:
        if isinstance(part, str):
            done.append(part)
        else:
            group = part if isinstance(part, int) else names.get(part[0], len(groups))
            done.append(groups[group] if group < len(groups) else "")
    return "".join(done)


def _check(function: str, name: str, *, compat2: bool) -> None:
    """Raise if this is no label name: in 3.x any text is, before only what identifiers are."""
    if not name or (compat2 and not _LABEL_NAME_2.fullmatch(name)):
        raise EvaluationError(f'{function}(): "{name}" is not a label name')


def _label_replace(context: FunctionContext, arguments: list[Value], *, compat2: bool = False) -> Value:
    """Set a label from another one where a regular expression matches that one whole.

    Raises:
        EvaluationError: The destination is no label name or the regular expression is none.
    """
    given = vector(arguments[0])
    target, template, source, regex = (text(argument) for argument in arguments[1:5])
    _check("label_replace", target, compat2=compat2)

    def make() -> Shape:
        try:
            pattern = Captures(regex, dot_all=not compat2)
        except RegexError as error:
            raise EvaluationError(f"label_replace(): {error}") from error
        return _replaced(given.shape, target, read_template(template), source, pattern)

    shape = given.shape.derive(("label_replace", target, template, source, regex, compat2), make)
    return given._replace(shape=shape)


def _replaced(shape: Shape, target: str, template: Template, source: str, pattern: Captures) -> Shape:
    codes, inverse = np.unique(shape.column(source), return_inverse=True)
    new = np.full(len(codes), -1, dtype=np.int64)  # where nothing matches, the label stays
    for at, code in enumerate(codes):
        groups = pattern.fullmatch(shape.interner.value(int(code)))
        if groups is not None:
            new[at] = shape.interner.code(expand(template, groups, pattern.names))
    by_row = new[inverse]
    return shape.with_column(target, np.where(by_row >= 0, by_row, shape.column(target)))


def _label_join(_: FunctionContext, arguments: list[Value], *, compat2: bool = False) -> Value:
    """Set a label to the values of others, joined by a separator.

    Raises:
        EvaluationError: One of them is no label name.
    """
    given = vector(arguments[0])
    target, separator, *sources = (text(argument) for argument in arguments[1:])
    for name in (*sources, target):
        _check("label_join", name, compat2=compat2)
    shape = given.shape.derive(
        ("label_join", target, separator, tuple(sources)),
        lambda: given.shape.with_column(target, _joined(given.shape, separator, sources)),
    )
    return given._replace(shape=shape)


def _joined(shape: Shape, separator: str, sources: list[str]) -> Codes:
    if not sources:
        return np.zeros(len(shape), dtype=np.int64)
    ids = np.zeros(len(shape), dtype=np.int64)
    columns = [shape.column(name) for name in sources]
    for column in columns:  # renumbered after each column, so that nothing overflows
        _, dense = np.unique(column, return_inverse=True)
        _, ids = np.unique(ids * (int(dense.max(initial=0)) + 1) + dense, return_inverse=True)
    _, first = np.unique(ids, return_index=True)
    value, code = shape.interner.value, shape.interner.code
    new = np.array([code(separator.join(value(int(c[row])) for c in columns)) for row in first], dtype=np.int64)
    return new[ids] if len(new) else ids


def _label_replace_2(context: FunctionContext, arguments: list[Value]) -> Value:
    return _label_replace(context, arguments, compat2=True)


def _label_join_2(context: FunctionContext, arguments: list[Value]) -> Value:
    return _label_join(context, arguments, compat2=True)


RELABEL: dict[str, VectorFunction] = {"label_replace": _label_replace, "label_join": _label_join}
COMPAT2_RELABEL: dict[str, VectorFunction] = {"label_replace": _label_replace_2, "label_join": _label_join_2}
