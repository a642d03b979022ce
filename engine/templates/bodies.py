"""Templates of whole messages, for receivers with a form of their own: sandboxed Jinja over a document of plain data.

Beside what annotations have (variables, filters, if, arithmetic) there are loops, over lists and maps of the document
and at most two deep, so that rendering takes no longer than the document is large. There are no calls, no assignments
and no attributes of objects: a look-up finds keys of the document and nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from engine.templates.jinja import environment_of_words, supported_nodes
from engine.text import clean

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from jinja2.nodes import Node

__all__ = ["BODY_TEMPLATE_CHARS_MAX", "BodyTemplate", "TooLongError", "compile_body"]

BODY_TEMPLATE_CHARS_MAX: Final = 65_536
LOOPS_DEEP_MAX: Final = 2
DEPTH_MAX: Final = 50
JOINED_CHARS_MAX: Final = 65_536
_LOOP_FIELDS: Final = frozenset({"index", "index0", "first", "last", "length"})


class TooLongError(ValueError):
    """What a template gives has more characters than it may have."""


class BodyTemplate:
    """A compiled template of a message."""

    __slots__ = ("_template",)

    def __init__(self, template: Template) -> None:
        self._template = template

    def render(self, document: Mapping[str, Any], chars_max: int) -> str:
        """Return the text for a document.

        Args:
            document: Plain data: maps with text as keys, lists, text, numbers.
            chars_max: How long the text may be.

        Raises:
            TooLongError: It would be longer.
            ValueError: Rendering failed; the message says how, without anything of the document in it.
        """
        parts: list[str] = []
        left = chars_max
        try:
            for part in self._template.generate(document):
                left -= len(part)
                if left < 0:
                    raise TooLongError(f"the text is longer than {chars_max} characters")
                parts.append(part)
        except TooLongError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a template does, it is the template's failure
            raise ValueError(f"the template failed: {type(error).__name__}") from None
        return "".join(parts)


def compile_body(text: str, variables: Iterable[str]) -> BodyTemplate:
    """Compile a template of a message.

    Args:
        variables: The names at the top of the document.

    Raises:
        ValueError: With what is wrong: syntax, an unknown variable, filter or test, a construct that templates do not
            have, or its length.
    """
    from jinja2 import TemplateError

    if len(text) > BODY_TEMPLATE_CHARS_MAX:
        raise ValueError(f"a template has at most {BODY_TEMPLATE_CHARS_MAX} characters, not {len(text)}")
    environment = _environment()
    try:
        tree = environment.parse(text)
        _Check(frozenset(variables)).visit(tree, frozenset(), 0, 0)
        return BodyTemplate(environment.from_string(tree))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        place = f"line {line}: " if line else ""
        raise ValueError(f"{place}{clean(error.message or type(error).__name__, 200)}") from error
    except RecursionError as error:
        raise ValueError(f"nested more than {DEPTH_MAX} deep") from error


class _Check:
    """Refuses what a template does not have, and sees to it that loops go over lists and maps alone."""

    def __init__(self, variables: frozenset[str]) -> None:
        self._variables = variables

    def visit(self, node: Node, names: frozenset[str], loops: int, depth: int) -> None:
        """Check a node and what is in it.

        Args:
            names: Variables of the loops around it.
        """
        kind, given = type(node).__name__, node
        place = f"line {node.lineno}: " if node.lineno else ""
        if depth > DEPTH_MAX:
            raise ValueError(f"{place}nested more than {DEPTH_MAX} deep")
        if kind == "For":
            self._loop(given, names, loops, depth, place)
            return
        if kind not in supported_nodes() and kind != "Tuple":
            words = {"Call": "a call", "Assign": "set", "AssignBlock": "set", "Pow": "**"}.get(kind, kind.lower())
            raise ValueError(f"{place}{words} is not supported in a template")
        if kind == "Name" and _text(given, "name") not in self._variables | names:
            known = ", ".join(sorted(self._variables))
            raise ValueError(f'{place}"{clean(_text(given, "name"), 80)}" is not known; the message has {known}')
        for child in node.iter_child_nodes():
            self.visit(child, names, loops, depth + 1)

    def _loop(self, node: Any, names: frozenset[str], loops: int, depth: int, place: str) -> None:
        from jinja2 import nodes

        if loops >= LOOPS_DEEP_MAX:
            raise ValueError(f"{place}loops are at most {LOOPS_DEEP_MAX} deep")
        if node.recursive:
            raise ValueError(f"{place}a recursive loop is not supported in a template")
        self.visit(node.iter, names, loops, depth + 1)
        node.iter = nodes.Filter(node.iter, "_each", [], [], None, None, lineno=node.lineno)
        targets = node.target.items if isinstance(node.target, nodes.Tuple) else [node.target]
        inside = names | {_text(target, "name") for target in targets} | {"loop"}
        for child in (*([node.test] if node.test else []), *node.body):
            self.visit(child, inside, loops + 1, depth + 1)
        for child in node.else_:
            self.visit(child, names, loops, depth + 1)


def _text(node: Any, field: str) -> str:
    return str(getattr(node, field, ""))


@functools.cache
def _environment() -> Environment:
    environment = environment_of_words(_look_up)
    environment.filters |= {
        "_each": _each,
        "dictsort": _pairs,
        "join": _join,
        "tojson": _to_json,
    }
    environment.keep_trailing_newline = True
    return environment


def _look_up(owner: Any, key: Any) -> Any:
    """A key of a map, an item of a list, or what a loop says of itself; None where there is none."""
    if isinstance(owner, Mapping):
        return owner.get(key)
    if isinstance(owner, list | tuple) and isinstance(key, int):
        return owner[key] if -len(owner) <= key < len(owner) else None
    if type(owner).__name__ == "LoopContext" and key in _LOOP_FIELDS:
        return getattr(owner, key)
    return None


def _each(value: object) -> Iterable[Any]:
    """What a loop may go over. The characters of a text are none of it."""
    if isinstance(value, Mapping):
        return list(value)
    if isinstance(value, list | tuple):
        return value
    raise TypeError("a loop goes over a list or a map")


def _to_json(value: object) -> str:
    """Any value as JSON; what is absent is an empty text, as it is everywhere in a template."""
    from jinja2 import Undefined

    return '""' if isinstance(value, Undefined) else orjson.dumps(value).decode()


def _pairs(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A map's keys and values, in the order of the keys."""
    return sorted(value.items())


def _join(value: Sequence[Any] | Mapping[str, Any], separator: str = "") -> str:
    """Jinja's `join`, with a bound on what comes out."""
    items = [str(item) for item in _each(value)]
    if sum(map(len, items)) + len(separator) * len(items) > JOINED_CHARS_MAX:
        raise ValueError("the text grows too long")
    return separator.join(items)
