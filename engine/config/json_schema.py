"""The JSON Schema (2020-12) of run.toml, from the same structs that the loader fills.

An editor completes and checks with it; the loader stays the judge, since it also compiles expressions
and looks names up. Descriptions are the `Args:` of a struct's docstring, or `Meta(description=...)`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import msgspec.inspect as mi

from engine.config.checks import ENGINE_NAME_PATTERN, NAME_PATTERN
from engine.config.http_tables import HeartbeatTable, HttpTable
from engine.config.kinds import fields_of, is_secret
from engine.config.leaves import options_of
from engine.config.packs import PACK_KEYS
from engine.config.shape import EngineTable, ProbeCommon, RuleTable, SinkCommon
from engine.durations import Duration
from engine.ports import Options
from engine.registry import RegistryError, names, resolve
from engine.secrets import Secret

__all__ = ["schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LABEL = "^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$"
_REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
# `${NAME}` may stand for a duration or a part of one.
_DURATION = rf"^(?:0|(?:[0-9]+(?:ms|y|w|d|h|m|s))+|.*{_REFERENCE}.*)$"


def schema() -> dict[str, Any]:
    """Return the schema as plain data. Types whose code can't be loaded are left out."""
    probes, sinks = _leaves("probe", ProbeCommon), _leaves("sink", SinkCommon)
    engine = _table(EngineTable)
    engine["properties"]["name"]["pattern"] = f"^(?:{ENGINE_NAME_PATTERN}|.*{_REFERENCE}.*)$"
    engine["properties"]["external_labels"]["propertyNames"] = {"pattern": _LABEL}
    rule = _table(RuleTable)
    del rule["allOf"]  # `expr`: a table that changes keys of a pack's rule has it from there
    return {
        "$schema": _DIALECT,
        "title": "run.toml",
        "description": "Configuration of a Longwatch engine.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "engine": {"$ref": "#/$defs/engine"},
            "pack": {
                "description": "What built-in rules need to know: one table [pack.NAME] for each pack that asks.",
                "type": "object",
                "additionalProperties": False,
                "properties": {name: {"$ref": f"#/$defs/pack.{name}"} for name in PACK_KEYS},
            },
            "probe": _named("What measures: one table [probe.NAME] for each.", list(probes)),
            "rule": _named("What is wrong, and for how long: one table [rule.NAME] for each.", ["rule"]),
            "sink": _named("Where things go: one table [sink.NAME] for each.", list(sinks)),
            "http": {"$ref": "#/$defs/http"},
            "heartbeat": _named("Calls that others make: one table [heartbeat.NAME] for each.", ["heartbeat"]),
        },
        "$defs": {
            "engine": engine,
            **{f"pack.{name}": _table(keys.options) for name, keys in PACK_KEYS.items()},
            "rule": rule,
            "http": _table(HttpTable),
            "heartbeat": _table(HeartbeatTable),
            **probes,
            **sinks,
        },
    }


def _named(description: str, definitions: list[str]) -> dict[str, Any]:
    """Tables with a name of the operator's choice, each of one of the definitions."""
    choices = [{"$ref": f"#/$defs/{name}"} for name in definitions]
    default_types = {
        name.partition(".")[2]: {"if": {"required": ["type"]}, "else": choice}
        for name, choice in zip(definitions, choices, strict=True)
        if "." in name
    }
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": default_types,  # without `type`, the table's name is the type
        "patternProperties": {f"^{NAME_PATTERN}$": choices[0] if len(choices) == 1 else {"anyOf": choices}},
    }


def _leaves(kind: Literal["probe", "sink"], common: type[Options]) -> dict[str, Any]:
    """A definition for each registered type: the keys every probe or sink has, and its own."""
    found: dict[str, Any] = {}
    for name in names(kind):
        try:
            cls = resolve(kind, name)
        except (RegistryError, ImportError):
            continue
        if (options := options_of(cls)) is None:
            continue
        table = _table(common, options)
        table["properties"]["type"] = {
            "const": name,
            "description": f"Which {kind} it is; not needed in [{kind}.{name}].",
        }
        for key, attribute in (("interval", "DEFAULT_INTERVAL"), ("timeout", "DEFAULT_TIMEOUT")):
            if key in table["properties"] and hasattr(cls, attribute):
                table["properties"][key]["default"] = getattr(cls, attribute)
        found[f"{kind}.{name}"] = table
    return found


def _table(*structs: type[msgspec.Struct]) -> dict[str, Any]:
    """A table with the fields of the structs; the last struct's docstring describes it."""
    described: dict[str, str] = {}
    for struct in structs:
        described |= _described(struct)
    properties: dict[str, Any] = {}
    required: list[Any] = []
    for key, field in fields_of(*structs).items():
        properties[key] = _field(field, described.get(key) or described.get(field.name))
        if is_secret(field):
            file = f"{key}_file"
            properties[file] = {"type": "string", "description": f"File that holds `{key}`, in its place."}
            if field.required:
                required.append({"oneOf": [{"required": [key]}, {"required": [file]}]})
            else:
                required.append({"not": {"required": [key, file]}})
        elif field.required:
            required.append({"required": [key]})
    table: dict[str, Any] = {
        "type": "object",
        "description": _first_sentence(structs[-1]),
        "properties": properties,
        "additionalProperties": False,
    }
    return table | ({"allOf": required} if required else {})


def _field(field: mi.Field, description: str | None) -> dict[str, Any]:
    shape = _type(field.type)
    if description and "description" not in shape:
        shape["description"] = description
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    if default is not msgspec.NODEFAULT and default is not None:
        shape["default"] = str(default) if isinstance(default, Duration) else default
    return shape


def _type(kind: mi.Type) -> dict[str, Any]:
    if isinstance(kind, mi.Metadata):
        return _type(kind.type) | (kind.extra_json_schema or {})
    match kind:
        case mi.UnionType(types=types):
            shapes = [_type(one) for one in types if not isinstance(one, mi.NoneType)]
            return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
        case mi.LiteralType(values=values):
            return {"enum": list(values)}
        case mi.BoolType():
            return {"type": "boolean"}
        case mi.IntType() | mi.FloatType():
            return {"type": "integer" if isinstance(kind, mi.IntType) else "number"} | _bounds(kind)
        case mi.ListType() | mi.VarTupleType() | mi.SetType() | mi.FrozenSetType():
            return {"type": "array", "items": _type(kind.item_type)}
        case mi.DictType():
            return {"type": "object", "additionalProperties": _type(kind.value_type)}
        case mi.StructType(cls=cls):
            return _table(cls)
        case mi.StrType():
            return {"type": "string"} | _text(kind)
        case mi.CustomType(cls=cls) if cls is Duration:
            return {"type": "string", "pattern": _DURATION, "examples": ["15s", "5m", "1h30m"]}
        case mi.CustomType(cls=cls) if cls is Secret:
            return {"type": "string", "minLength": 1, "examples": ["${NAME}"]}
    return {"type": "string"}


def _bounds(kind: mi.IntType | mi.FloatType) -> dict[str, Any]:
    found = {"minimum": kind.ge, "exclusiveMinimum": kind.gt, "maximum": kind.le, "exclusiveMaximum": kind.lt}
    return {word: bound for word, bound in found.items() if bound is not None}


def _text(kind: mi.StrType) -> dict[str, Any]:
    found = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}
    return {word: bound for word, bound in found.items() if bound is not None}


def _described(struct: type[msgspec.Struct]) -> Mapping[str, str]:
    """The `Args:` of a docstring: name -> text, its lines joined."""
    _, found, arguments = (inspect.getdoc(struct) or "").partition("Args:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in arguments.splitlines() if found else ():
        if line and not line.startswith(" "):
            break
        if entry := re.fullmatch(r" {4}([\w, `]+): (.+)", line):
            name = entry[1].strip("` ")
            texts[name] = entry[2]
        elif name and line.strip():
            texts[name] += " " + line.strip()
    return {word.strip("` "): text for words, text in texts.items() for word in words.split(",")}


def _first_sentence(struct: type[msgspec.Struct]) -> str:
    paragraph = (inspect.getdoc(struct) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())
