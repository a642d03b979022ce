"""YAML text to a tree of nodes that know their place. Bounded: bytes, depth, nodes, aliases. Knows no schema.

Prometheus' files are YAML 1.2 as Go reads it, where a scalar becomes text in a field for text whatever it looks like
(`severity: 1`, `enabled: on`), so scalars stay as they were written. PyYAML is used for its events only: no object is
made of what a file says, and a tree of a thousand aliases of aliases is refused before it is walked (F76).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

__all__ = ["YAML_BYTES_MAX", "Document", "Mapping", "Node", "Scalar", "Sequence", "YamlError", "parse_yaml"]

YAML_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 30
NODES_MAX = 1_000_000
ALIASES_MAX = 10_000

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_INT = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|0o?[0-7]+|[0-9]+)")
_FLOAT = re.compile(
    r"[-+]?(?:(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_PLAIN_TAGS = {
    "!",
    *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")),
}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it; ten times faster


class YamlError(ValueError):
    """A text is no YAML, or more than this module takes. `line` is 1-based, 0 where there is none."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(message)


class Scalar(NamedTuple):
    """A text as it was written, with what quotes mean already applied."""

    line: int
    column: int
    text: str
    plain: bool = True

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS

    @property
    def kind(self) -> str:
        """What YAML would make of it: `null`, `bool`, `int`, `float` or `str`."""
        if not self.plain:
            return "str"
        if self.text in _NULLS:
            return "null"
        if self.text.lower() in ("true", "false"):
            return "bool"
        if _INT.fullmatch(self.text):
            return "int"
        return "float" if _FLOAT.fullmatch(self.text) else "str"


class Sequence(NamedTuple):
    """A list."""

    line: int
    column: int
    items: list[Node]


class Mapping(NamedTuple):
    """Keys and values in the order of the file. `<<` is resolved: a key that is written wins over a merged one."""

    line: int
    column: int
    pairs: list[tuple[Scalar, Node]]


Node = Scalar | Sequence | Mapping


class Document(NamedTuple):
    """The first document of a text.

    Args:
        root: None if there is none.
        next_line: Where another document starts, which is not read; 0 if there is no other.
    """

    root: Node | None
    next_line: int = 0


def parse_yaml(data: bytes) -> Document:
    """Read the first document, as Prometheus' tools do, which pay no attention to what follows.

    Raises:
        YamlError: Not YAML or not UTF-8, a key written twice, or over a limit.
    """
    if len(data) > YAML_BYTES_MAX:
        raise YamlError(f"it is larger than {YAML_BYTES_MAX // 1024 // 1024} MiB", 0)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError(f"not UTF-8: byte 0x{data[error.start]:02x}", line) from None
    try:
        return _Builder(yaml.parse(text, Loader=_Loader)).document()
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        place = f", column {mark.column + 1}" if mark else ""
        raise YamlError(f"not YAML: {error.problem or error.context}{place}", mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise YamlError("not YAML: a control character", line) from None


class _Builder:
    """Events to nodes, by a stack of its own."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0
        self._aliases = 0

    def document(self) -> Document:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    mark: Any = event.start_mark
                    return Document(root, mark.line + 1)
            elif not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
                root = self._node(event, 1)
        return Document(root)

    def _node(self, event: Any, depth: int) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if depth > DEPTH_MAX:
            raise YamlError(f"nested more than {DEPTH_MAX} deep", line)
        before = self._count
        self._weigh(1, line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line)
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise YamlError(f'the tag "{event.tag}" is not supported', line)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(line, column, event.value, not event.style)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Sequence(line, column, list(self._items(depth, yaml.SequenceEndEvent)))
        else:
            items = self._items(depth, yaml.MappingEndEvent)
            node = Mapping(line, column, _resolved(list(zip(items, items, strict=True)), line))
        if event.anchor is not None:
            self._anchors[event.anchor] = node, self._count - before
        return node

    def _items(self, depth: int, end: type) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield self._node(event, depth + 1)

    def _alias(self, name: str, line: int) -> Node:
        """The node behind an alias. It weighs as much as if it were written out, so aliases of aliases add up."""
        self._aliases += 1
        if self._aliases > ALIASES_MAX:
            raise YamlError(f"more than {ALIASES_MAX:,} aliases", line)
        if name not in self._anchors:
            raise YamlError(f"unknown anchor '{name}' referenced", line)
        node, weight = self._anchors[name]
        self._weigh(weight, line)
        return node

    def _weigh(self, weight: int, line: int) -> None:
        self._count += weight
        if self._count > NODES_MAX:
            raise YamlError(f"more than {NODES_MAX:,} values, aliases written out", line)


def _resolved(pairs: list[tuple[Node, Node]], line: int) -> list[tuple[Scalar, Node]]:
    """Check the keys, and put in what `<<` merges."""
    written: dict[str, tuple[Scalar, Node]] = {}
    merged: list[Node] = []
    for key, value in pairs:
        if not isinstance(key, Scalar):
            raise YamlError("a key is a text", key.line)
        if key.text == "<<" and key.plain:
            merged += value.items if isinstance(value, Sequence) else [value]
            continue
        if key.text in written:
            first = written[key.text][0].line
            raise YamlError(f'mapping key "{key.text}" already defined at line {first}', key.line)
        written[key.text] = key, value
    for source in merged:
        if not isinstance(source, Mapping):
            raise YamlError("map merge requires map or sequence of maps as the value", source.line or line)
        for key, value in source.pairs:
            written.setdefault(key.text, (key, value))
    return list(written.values())
