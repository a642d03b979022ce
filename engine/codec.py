"""The wire forms of events: one JSON and one MessagePack form each, told apart by their `type` tag.

JSON can't carry NaN or the infinities: they are the strings "NaN", "+Inf" and "-Inf", and a stale
marker is "stale". MessagePack carries floats bit by bit, and the values of a batch as little-endian
float64 bytes. An `EventCodec` knows the built-in types and those it is given; there is no global list.
"""

from __future__ import annotations

import math
import struct
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from engine.errors import StateError
from engine.events import (
    STALE,
    STALE_BITS,
    Blind,
    Deployment,
    DomainEvent,
    Facts,
    Health,
    Record,
    Sample,
    SampleBatch,
    SecurityViolation,
    TradeClosed,
    Transition,
)

__all__ = ["EventCodec"]

_BUILT_IN: tuple[type[msgspec.Struct], ...] = (
    Sample,
    SampleBatch,
    Blind,
    Health,
    Transition,
    TradeClosed,
    SecurityViolation,
    Deployment,
)
_FACTS_FLOATS = ("peak", "mean")
_WORDS = {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf, "stale": STALE}


def number_word(value: float) -> float | str:
    """Return `value`, or its JSON word if JSON has no number for it."""
    if math.isfinite(value):
        return value
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "stale" if struct.pack("<d", value) == struct.pack("<Q", STALE_BITS) else "NaN"


class EventCodec:
    """Encodes and decodes events.

    Args:
        event_types: Subclasses of `DomainEvent` of the user's own, each with a `tag`.

    Raises:
        TypeError: A type is not a tagged `DomainEvent`, or its tag is taken.
    """

    def __init__(self, *event_types: type[DomainEvent]) -> None:
        self._types: dict[str, type[msgspec.Struct]] = {}
        for kind in _BUILT_IN + event_types:
            tag = kind.__struct_config__.tag
            if not isinstance(tag, str) or (kind not in _BUILT_IN and not issubclass(kind, DomainEvent)):
                raise TypeError(
                    f'{kind.__name__} must be a DomainEvent with a tag: class {kind.__name__}(DomainEvent, tag="...")'
                )
            if tag in self._types:
                raise TypeError(f'{kind.__name__}: the tag "{tag}" belongs to {self._types[tag].__name__} already')
            self._types[tag] = kind
        self._floats = {tag: _float_fields(kind) for tag, kind in self._types.items()}

    @property
    def tags(self) -> Mapping[str, type[msgspec.Struct]]:
        """Every tag with its type."""
        return types.MappingProxyType(self._types)

    def to_json(self, event: Record) -> bytes:
        """Encode as one line of JSON."""
        fields = self._fields(event)
        if isinstance(event, SampleBatch):
            fields["values"] = [number_word(value) for value in event.values.tolist()]
        for name in self._floats[fields["type"]]:
            fields[name] = number_word(fields[name])
        if isinstance(facts := fields.get("facts"), Facts):
            fields["facts"] = msgspec.structs.asdict(facts) | {
                name: number_word(getattr(facts, name)) for name in _FACTS_FLOATS
            }
        return msgspec.json.encode(fields)

    def to_msgpack(self, event: Record) -> bytes:
        """Encode as MessagePack; every float keeps its bits."""
        fields = self._fields(event)
        if isinstance(event, SampleBatch):
            fields["values"] = np.ascontiguousarray(event.values, dtype="<f8").tobytes()
        return msgspec.msgpack.encode(fields)

    def from_json(self, data: bytes) -> Record:
        """Decode what `to_json` wrote. Raises `ValueError` that names the field."""
        return self._read(msgspec.json.decode, data)

    def from_msgpack(self, data: bytes) -> Record:
        """Decode what `to_msgpack` wrote. Raises `ValueError` that names the field."""
        return self._read(msgspec.msgpack.decode, data)

    def _fields(self, event: Record) -> dict[str, Any]:
        tag = event.__struct_config__.tag
        if self._types.get(str(tag)) is not type(event):
            raise StateError(f"{type(event).__name__} is not registered; pass it to EventCodec(...)")
        return {"type": tag} | {name: getattr(event, name) for name in event.__struct_fields__}

    def _read(self, decode: Callable[[bytes], Any], data: bytes) -> Record:
        try:
            return self._build(decode(data))
        except RecursionError:
            raise ValueError("an event is not nested that deep") from None

    def _build(self, fields: Any) -> Record:
        if not isinstance(fields, dict):
            raise ValueError("an event is an object with a `type`")
        tag = fields.pop("type", None)
        kind = self._types.get(tag) if isinstance(tag, str) else None
        if kind is None:
            raise ValueError(f"unknown event type {str(tag)[:40]!r}; known: {', '.join(self._types)}")
        for name in self._floats[tag]:
            if isinstance(word := fields.get(name), str):
                fields[name] = _number(word)
        if kind is SampleBatch:
            return _batch(fields)
        if isinstance(facts := fields.get("facts"), dict) and kind is Transition:
            words = {name: _number(facts[name]) for name in _FACTS_FLOATS if isinstance(facts.get(name), str)}
            fields["facts"] = facts | words
        return msgspec.convert(fields, kind)  # type: ignore[return-value]  # every registered type is a Record


def _batch(fields: dict[str, Any]) -> SampleBatch:
    raw = fields.pop("values", None)
    if isinstance(raw, bytes):
        if len(raw) % 8:
            raise ValueError("`values` is not a whole number of float64")
        values = np.frombuffer(raw, dtype="<f8").astype(np.float64)
    elif isinstance(raw, list):
        numbers = msgspec.convert({"values": raw}, _BatchValues).values
        values = np.array([_number(v) if isinstance(v, str) else v for v in numbers], dtype=np.float64)
    else:
        raise ValueError("`values` is missing")
    shape = msgspec.convert(fields, _BatchShape)
    if len(shape.series) != len(values):
        raise ValueError(f"{len(shape.series)} series but {len(values)} values")
    return SampleBatch(shape.time_ms, shape.series, values, shape.interval_ms, shape.stale)


class _BatchValues(msgspec.Struct):
    values: list[float | str]


class _BatchShape(msgspec.Struct):
    time_ms: int
    series: tuple[str, ...]
    interval_ms: int = 0
    stale: typing.Literal["ended", "target_down"] = "ended"


def _number(word: str) -> float:
    try:
        return _WORDS[word]
    except KeyError:
        raise ValueError(f'{word[:40]!r} is not a number; the words are "NaN", "+Inf", "-Inf" and "stale"') from None


def _float_fields(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Names of the fields that hold a float, which JSON may have to spell as a word."""
    if kind is SampleBatch:  # its values are an array, handled on their own
        return ()
    hints = typing.get_type_hints(kind)
    return tuple(name for name in kind.__struct_fields__ if hints[name] is float)
