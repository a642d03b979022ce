"""Questions about the types of options, on top of `msgspec.inspect`."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect as mi

from engine.secrets import Secret

__all__ = ["INT64_MAX", "Fields", "Node", "fields_of", "fits", "is_secret", "unwrap"]

INT64_MAX = 2**63 - 1

Fields = Mapping[str, mi.Field]
"""The fields of one or more structs, by the key an operator writes."""


class Node(NamedTuple):
    """A type with what `Annotated[..., Meta(extra=...)]` around it said."""

    type: mi.Type
    extra: Mapping[str, Any]


@functools.lru_cache(maxsize=256)
def fields_of(*structs: type[msgspec.Struct]) -> Fields:
    """Every field of the structs, by the key an operator writes."""
    found: dict[str, mi.Field] = {}
    for struct in structs:
        info = mi.type_info(struct)
        assert isinstance(info, mi.StructType)
        found |= {field.encode_name: field for field in info.fields}
    return types.MappingProxyType(found)


def unwrap(kind: mi.Type) -> Node:
    """Take the annotations off a type."""
    extra: dict[str, Any] = {}
    while isinstance(kind, mi.Metadata):
        extra |= kind.extra or {}
        kind = kind.type
    return Node(kind, extra)


def is_secret(field: mi.Field) -> bool:
    """Whether a field holds one secret, so that `<key>_file` stands for it, too."""
    kind = unwrap(field.type).type
    types = kind.types if isinstance(kind, mi.UnionType) else (kind,)
    return any(isinstance(node := unwrap(one).type, mi.CustomType) and node.cls is Secret for one in types)


def fits(kind: mi.Type, value: Any) -> bool:
    """Whether a TOML value is of the sort that a type is written as."""
    match unwrap(kind).type:
        case mi.BoolType():
            return isinstance(value, bool)
        case mi.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case mi.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case mi.DictType() | mi.StructType():
            return isinstance(value, dict)
        case mi.ListType() | mi.VarTupleType() | mi.SetType() | mi.FrozenSetType():
            return isinstance(value, list)
        case mi.LiteralType(values=words):
            return value in words if isinstance(value, str | int) else False
    return isinstance(value, str)
