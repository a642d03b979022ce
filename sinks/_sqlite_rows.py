"""Records to rows. Pure, and lazy: the generators run on the database's thread, not in the event loop.

SQLite has infinities but no NaN: it stores NaN as NULL (M26). So a sample's `value` is NULL where its
`special` says what it was: `NaN`, or the stale marker with its cause, `ended` or `target_down`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import msgspec
import numpy as np

from engine.codec import EventCodec
from engine.errors import SinkError
from engine.events import STALE_BITS, Blind, DomainEvent, Health, Record, Sample, SampleBatch, Transition
from engine.series import split_series
from engine.text import clean

__all__ = [
    "EventReader",
    "EventWriter",
    "Parted",
    "health_row",
    "part",
    "sample_rows",
    "series_row",
    "storable",
    "transition_row",
]

_JSON: Final = msgspec.json.Encoder(order="sorted")


class Parted(msgspec.Struct):
    """Records by the table they go to, each in order."""

    samples: list[Sample | SampleBatch] = []
    transitions: list[Transition] = []
    health: list[Health] = []
    events: list[DomainEvent | Blind] = []


def part(records: Iterable[Record]) -> Parted:
    """Sort records by table."""
    parted = Parted()
    for record in records:
        match record:
            case Sample() | SampleBatch():
                parted.samples.append(record)
            case Transition():
                parted.transitions.append(record)
            case Health():
                parted.health.append(record)
            case _:
                parted.events.append(record)
    return parted


def storable(text: str) -> str:
    """`text` as valid Unicode; SQLite takes nothing else. What enters by a probe is valid already."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def series_row(text: str, seen_ms: int, interval_ms: int) -> tuple[str, str, str, int, int]:
    """(metric, labels as JSON, text, seen_ms, interval_ms). A text in no known form keeps itself as its metric."""
    try:
        metric, labels = split_series(text)
    except ValueError:
        metric, labels = clean(text), {}
    return metric, _JSON.encode(labels).decode(), text, seen_ms, interval_ms


def sample_rows(records: Iterable[Sample | SampleBatch], ids: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
    """(time_ms, series_id, value, special) of each sample; `ids` knows every series."""
    for record in records:
        if isinstance(record, Sample):
            value = record.value
            yield record.time_ms, ids[record.series], value, _special(value, record.stale)
            continue
        handles = [ids[series] for series in record.series]
        specials: Iterable[str | None] = repeat(None)
        if np.isnan(record.values).any():
            specials = _specials(record)
        yield from zip(repeat(record.time_ms), handles, record.values.tolist(), specials)


def _special(value: float, stale: str) -> str | None:
    if not math.isnan(value):
        return None
    return stale if np.float64(value).view(np.int64) == STALE_BITS else "NaN"


def _specials(batch: SampleBatch) -> list[str | None]:
    bits = np.ascontiguousarray(batch.values).view(np.int64)
    words: list[str | None] = [None] * len(batch.series)
    for index in np.flatnonzero(np.isnan(batch.values)).tolist():
        words[index] = batch.stale if bits[index] == STALE_BITS else "NaN"
    return words


def transition_row(record: Transition) -> tuple[Any, ...]:
    """In the order of `ADD_TRANSITION`; JSON is sorted, so that equal labels are equal text."""
    return (
        record.time_ms,
        record.rule,
        record.kind,
        record.before,
        record.after,
        record.severity_before,
        record.severity,
        record.reason,
        record.value,
        record.active_since_ms,
        record.fired_ms,
        record.fingerprint,
        _JSON.encode(record.labels).decode(),
        _JSON.encode(record.annotations).decode(),
        record.flapping,
        *((None,) * 5 if record.facts is None else msgspec.structs.astuple(record.facts)),
    )


def health_row(record: Health) -> tuple[Any, ...]:
    """In the order of `ADD_HEALTH`."""
    return record.time_ms, record.component, record.status, record.reason, record.message, record.count


class EventWriter:
    """Domain events and blind spans to rows, in their one JSON form. Learns a user's types as they come."""

    def __init__(self) -> None:
        self._codec = EventCodec()
        self._types: dict[type[DomainEvent], None] = {}

    def rows(self, events: Sequence[DomainEvent | Blind]) -> list[tuple[int, str, str]]:
        """(time_ms, type, body) of each. Raises `TypeError` for a type without a tag of its own."""
        known = set(self._codec.tags.values())
        fresh = dict.fromkeys(type(e) for e in events if isinstance(e, DomainEvent) and type(e) not in known)
        if fresh:
            self._codec = EventCodec(*self._types, *fresh)
            self._types.update(fresh)
        return [(e.time_ms, str(e.__struct_config__.tag), self._codec.to_json(e).decode()) for e in events]


class EventReader:
    """Rows of `events` back to domain events and blind spans."""

    def __init__(self) -> None:
        self._codec = EventCodec()
        self._bare: dict[str, type[DomainEvent]] = {}

    def event(self, body: str) -> DomainEvent | Blind:
        """The event with this JSON form. Of a type that is not built in there is no more than its tag and its time.

        Raises:
            SinkError: It is none.
        """
        try:
            tag = msgspec.json.decode(body, type=_Tagged).type
            if tag in self._codec.tags:
                event = self._codec.from_json(body.encode())
                if isinstance(event, DomainEvent | Blind):
                    return event
                raise ValueError(f"{tag} is no event")
            return msgspec.json.decode(body, type=self._type(tag))
        except (ValueError, TypeError) as error:
            raise SinkError("bad_record", f"a row of events can't be read: {error}", retryable=False) from None

    def _type(self, tag: str) -> type[DomainEvent]:
        known = self._bare.get(tag)
        if known is None:
            made = msgspec.defstruct("UnknownEvent", [], bases=(DomainEvent,), tag=tag, frozen=True, kw_only=True)
            assert issubclass(made, DomainEvent)
            known = self._bare[tag] = made
        return known


class _Tagged(msgspec.Struct):
    type: str
