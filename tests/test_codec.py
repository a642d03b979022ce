"""The wire forms: what goes in comes out, bit by bit in MessagePack, by word in JSON (fault F70)."""

import json
import math
import re
import struct
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import EventCodec, number_word
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


class OrderFilled(DomainEvent, frozen=True, kw_only=True, tag="order_filled"):
    price: float
    parts: list[float] = []
    venue: str | None = None


CODEC = EventCodec(OrderFilled)

TIMES = st.integers(0, 2**53)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SPECIAL = [STALE, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
FLOATS = st.one_of(st.floats(allow_nan=False), st.sampled_from(SPECIAL))
CAUSES: st.SearchStrategy[Any] = st.sampled_from(["ended", "target_down"])
STATES = st.sampled_from(["inactive", "pending", "firing"])
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=3)
FACTS = st.builds(Facts, FLOATS, FLOATS, TIMES, TIMES, TIMES)


@st.composite
def batches(draw: st.DrawFn) -> SampleBatch:
    values = draw(st.lists(FLOATS, max_size=5))
    series = tuple(f"m{i}" for i in range(len(values)))
    return SampleBatch(draw(TIMES), series, np.array(values, dtype=np.float64), draw(TIMES), draw(CAUSES))


EVENTS: dict[str, st.SearchStrategy[Any]] = {
    "sample": st.builds(Sample, TIMES, TEXTS, FLOATS, TIMES, CAUSES),
    "batch": batches(),
    "blind": st.builds(Blind, TIMES, TIMES, TIMES, TEXTS, TEXTS),
    "health": st.builds(Health, TIMES, TEXTS, st.sampled_from(["ok", "degraded", "failed"]), TEXTS, TEXTS, TIMES),
    "transition": st.builds(
        Transition, TIMES, TEXTS, LABELS, STATES, STATES, TEXTS, FLOATS, TIMES, LABELS, facts=st.none() | FACTS
    ),
    "trade_closed": st.builds(TradeClosed, time_ms=TIMES, symbol=TEXTS, pnl=FLOATS, fees=FLOATS, strategy=TEXTS),
    "security_violation": st.builds(SecurityViolation, time_ms=TIMES, kind=TEXTS, source=TEXTS, message=TEXTS),
    "deployment": st.builds(Deployment, time_ms=TIMES, service=TEXTS, version=TEXTS, environment=TEXTS),
    "order_filled": st.builds(
        OrderFilled,
        time_ms=TIMES,
        price=FLOATS,
        parts=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        venue=st.one_of(st.none(), TEXTS),
    ),
}


def bits(value: Any) -> Any:
    """The same value with every float replaced by its bits, so that NaN equals itself and nothing else."""
    match value:
        case float():
            return struct.pack("<d", value)
        case np.ndarray():
            return str(value.dtype), value.astype("<f8").tobytes()
        case msgspec.Struct():
            return type(value), [bits(getattr(value, name)) for name in value.__struct_fields__]
        case list() | tuple():
            return [bits(item) for item in value]
        case _:
            return value


def test_there_is_a_strategy_for_every_type() -> None:
    assert set(EVENTS) == set(CODEC.tags)


@pytest.mark.parametrize("tag", sorted(EVENTS))
def test_round_trips(tag: str) -> None:
    @given(EVENTS[tag])
    def both_forms(event: Record) -> None:
        assert bits(CODEC.from_msgpack(CODEC.to_msgpack(event))) == bits(event)
        line = CODEC.to_json(event)
        assert bits(CODEC.from_json(line)) == bits(event)
        assert b"\n" not in line
        assert json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))["type"] == tag

    both_forms()


@given(st.binary(min_size=8, max_size=8))
def test_every_bit_pattern_survives_messagepack_and_its_meaning_survives_json(raw: bytes) -> None:
    batch = SampleBatch(1, ("a",), np.frombuffer(raw, dtype="<f8"))
    packed = CODEC.from_msgpack(CODEC.to_msgpack(batch))
    assert isinstance(packed, SampleBatch)
    assert packed.values.tobytes() == raw
    spelled = CODEC.from_json(CODEC.to_json(batch))
    assert isinstance(spelled, SampleBatch)
    number = batch.values[0]
    if number != number:
        stale = int.from_bytes(raw, "little") == STALE_BITS
        assert (spelled.values.view(np.int64)[0] == STALE_BITS) == stale
        assert math.isnan(spelled.values[0])
    else:
        assert spelled.values.tobytes() == raw


@pytest.mark.parametrize(
    ("value", "word"),
    [(1.5, 1.5), (math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (STALE, "stale"), (-0.0, -0.0)],
)
def test_words(value: float, word: float | str) -> None:
    assert number_word(value) == word
    assert json.loads(CODEC.to_json(Sample(1, "a", value)))["value"] == word


def test_json_is_as_documented() -> None:
    batch = SampleBatch(5, ("a", "b"), np.array([1.0, math.nan]), 1_000)
    assert json.loads(CODEC.to_json(batch)) == {
        "type": "batch",
        "time_ms": 5,
        "series": ["a", "b"],
        "values": [1.0, "NaN"],
        "interval_ms": 1_000,
        "stale": "ended",
    }


def test_a_column_of_another_layout_is_written_as_what_it_holds() -> None:
    strided = np.arange(6, dtype=np.float64)[::2]
    swapped = np.array([1.0, 2.0, 3.0], dtype=">f8")
    for values in (strided, swapped, np.array([1, 2, 3], dtype=np.int32)):
        decoded = CODEC.from_msgpack(CODEC.to_msgpack(SampleBatch(1, ("a", "b", "c"), values)))  # type: ignore[arg-type]
        assert isinstance(decoded, SampleBatch)
        assert decoded.values.tolist() == values.tolist()
        assert decoded.values.dtype == np.float64


def test_decoded_values_can_be_written_to() -> None:
    """`frombuffer` alone would give an array over the message, which is read-only."""
    decoded = CODEC.from_msgpack(CODEC.to_msgpack(SampleBatch(1, ("a",), np.zeros(1))))
    assert isinstance(decoded, SampleBatch)
    assert decoded.values.flags.writeable


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[]", "an event is an object"),
        (b"3", "an event is an object"),
        (b"{}", "unknown event type 'None'"),
        (b'{"type":"nope"}', "unknown event type 'nope'; known: sample"),
        (b'{"type":7}', "unknown event type '7'"),
        (b'{"type":"sample"}', "time_ms"),
        (b'{"type":"sample","time_ms":1,"series":"a","value":"many"}', "'many' is not a number"),
        (b'{"type":"sample","time_ms":1,"series":"a","value":null}', "value"),
        (b'{"type":"sample","time_ms":"1","series":"a","value":1}', "time_ms"),
        (b'{"type":"sample","time_ms":1,"series":"a","value":1,"stale":"gone"}', "stale"),
        (b'{"type":"health","time_ms":1,"component":"x","status":"fine","reason":"r"}', "status"),
        (b'{"type":"batch","time_ms":1,"series":["a"]}', "`values` is missing"),
        (b'{"type":"batch","time_ms":1,"series":["a"],"values":[1,2]}', "1 series but 2 values"),
        (b'{"type":"batch","time_ms":1,"series":["a"],"values":["x"]}', "'x' is not a number"),
        (b'{"type":"batch","time_ms":1,"series":["a"],"values":[null]}', "values"),
        (b'{"type":"batch","time_ms":1,"series":["a"],"values":[[1]]}', "values"),
        (b'{"type":"batch","time_ms":1,"series":["a"],"values":[true]}', "values"),
        (b'{"type":"batch","time_ms":1,"series":"a","values":[1]}', "series"),
        (b'{"type":"batch","time_ms":1,"series":["a"],"values":[1' + b"0" * 400 + b"]}", ""),
        (b"not json", ""),
        (b"\xff", ""),
        (b"", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_bad_json_is_a_value_error(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says) or ".") as refused:
        CODEC.from_json(data)
    assert len(str(refused.value)) < 400


@given(st.one_of(st.binary(max_size=60), st.builds(lambda e: CODEC.to_msgpack(e), EVENTS["batch"])), st.data())
def test_damaged_messagepack_is_a_value_error_or_an_event(data: bytes, draw: st.DataObject) -> None:
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        data = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    for read in (CODEC.from_msgpack, CODEC.from_json):
        try:
            event = read(data)
        except ValueError:
            continue
        assert type(event) in CODEC.tags.values()


def test_values_that_are_not_whole_floats_are_refused() -> None:
    data = msgspec.msgpack.encode({"type": "batch", "time_ms": 1, "series": ["a"], "values": b"1234567"})
    with pytest.raises(ValueError, match="whole number of float64"):
        CODEC.from_msgpack(data)


def test_types_are_registered_by_tag() -> None:
    class Untagged(DomainEvent, frozen=True, kw_only=True):
        pass

    class NoDomainEvent(msgspec.Struct, frozen=True, tag="no_domain_event"):
        time_ms: int

    class Double(DomainEvent, frozen=True, kw_only=True, tag="order_filled"):
        pass

    class Sampled(DomainEvent, frozen=True, kw_only=True, tag="sample"):
        pass

    for kind, says in (
        (Untagged, "must be a DomainEvent with a tag"),
        (NoDomainEvent, "must be a DomainEvent with a tag"),
        (Sampled, 'the tag "sample" belongs to Sample already'),
    ):
        with pytest.raises(TypeError, match=says):
            EventCodec(kind)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='the tag "order_filled" belongs to OrderFilled already'):
        EventCodec(OrderFilled, Double)
    assert CODEC.tags["order_filled"] is OrderFilled
    with pytest.raises(TypeError):
        CODEC.tags["x"] = Sample  # type: ignore[index]


def test_a_type_that_is_not_registered_is_our_bug() -> None:
    with pytest.raises(StateError, match="OrderFilled is not registered"):
        EventCodec().to_json(OrderFilled(time_ms=1, price=1.0))
