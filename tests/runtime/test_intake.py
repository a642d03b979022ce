"""Nothing gets past the line that is not what it says (F68, F70, F71, F75, M23)."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ProbeError
from engine.events import STALE, Blind, DomainEvent, Health, Sample, SampleBatch, TradeClosed
from engine.runtime.intake import (
    BLIND_MS_MAX,
    EVENT_BYTES_MAX,
    FUTURE_MS_MAX,
    SERIES_PER_TURN,
    TIME_MS_MIN,
    Intake,
    Refused,
)
from engine.series import series_text
from tests.runtime.rig import OddSequence

NOW = 1_800_000_000_000


class Order(DomainEvent, frozen=True, kw_only=True, tag="order"):
    tags: list[str] = []
    amount: float = 0.0
    note: str = ""


class Unknown(DomainEvent, frozen=True, kw_only=True, tag="unknown"):
    pass


def intake(**kwargs: Any) -> Intake:
    return Intake(**{"batch_samples_max": 100, "series_max": 100, "event_types": [Order], **kwargs})


def refused(event: object) -> str:
    with pytest.raises(Refused) as caught:
        intake().one(event, NOW)
    return caught.value.reason


def sample(value: Any = 1.0, series: Any = "x", time_ms: Any = NOW, **kwargs: Any) -> Sample:
    return Sample(time_ms, series, value, **kwargs)


def batch(series: Any, values: Any, **kwargs: Any) -> SampleBatch:
    return SampleBatch(NOW, series, values, **kwargs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (Decimal("2.5"), 2.5),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.bool_(True), 1.0),
        (2**64, 2.0**64),
        (1e308, 1e308),
        (float("inf"), float("inf")),
    ],
)
def test_numbers_become_floats_f70(value: Any, expected: float) -> None:
    event = intake().one(sample(value), NOW)
    assert isinstance(event, Sample)
    assert type(event.value) is float
    assert event.value == expected


@pytest.mark.parametrize("value", ["1", None, 1j, [1], b"1", np.array([1.0]), 10**400, Decimal("sNaN"), object()])
def test_what_is_not_a_number_is_refused_f70(value: Any) -> None:
    assert refused(sample(value)) == "value"


def test_nan_and_stale_keep_their_bits() -> None:
    event = intake().one(sample(STALE), NOW)
    assert isinstance(event, Sample)
    assert np.float64(event.value).view(np.uint64) == np.float64(STALE).view(np.uint64)


def test_a_good_event_is_passed_as_it_is() -> None:
    for event in (sample(), batch(("a", "b"), np.zeros(2)), Sample(NOW, 'x{a="b"}', -0.0)):
        assert intake().one(event, NOW) is event


@pytest.mark.parametrize(
    ("time_ms", "reason"),
    [
        (-1, "time"),
        (1.0, "time"),
        (True, "time"),
        ("1", "time"),
        (np.int64(1), "time"),
        (0, "past"),
        (NOW // 1000, "past"),
        (TIME_MS_MIN - 1, "past"),
        (NOW + FUTURE_MS_MAX + 1, "future"),
        (2**63, "future"),
    ],
)
def test_times_f71(time_ms: Any, reason: str) -> None:
    assert refused(sample(time_ms=time_ms)) == reason
    assert refused(TradeClosed(time_ms=time_ms, symbol="x", pnl=1.0)) == reason


def test_a_little_ahead_of_the_clock_is_fine() -> None:
    assert intake().one(sample(time_ms=NOW + FUTURE_MS_MAX), NOW)


@pytest.mark.parametrize(
    "series",
    [
        1,
        None,
        "",
        "a b",
        "x{",
        'x{b="1",a="2"}',
        'x{a=""}',
        'x{a="\x1b[31m"}',
        "x\ud800",
        "x" * 20_000,
        'x{__name__="y"}',
        b"x",
    ],
)
def test_series_that_are_not_canonical_are_refused_f75(series: Any) -> None:
    assert refused(sample(series=series)) == "series"
    assert refused(batch((series,), np.zeros(1))) == "series"


@pytest.mark.parametrize(
    ("series", "values", "reason"),
    [
        (["a"], np.zeros(1), "value"),
        (("a",), [1.0], "value"),
        (("a",), np.zeros((1, 1)), "value"),
        (("a", "b"), np.zeros(1), "value"),
        (("a",), np.array(["1"]), "value"),
        (("a",), np.array([None]), "value"),
        (("a",), np.array([1j]), "value"),
        (("a", "a"), np.zeros(2), "series"),
        (tuple(f"s{i}" for i in range(101)), np.zeros(101), "oversize"),
    ],
)
def test_bad_batches_f68(series: Any, values: Any, reason: str) -> None:
    assert refused(batch(series, values)) == reason


@pytest.mark.parametrize("dtype", ["f4", "i8", "u1", "?", ">f8"])
def test_arrays_of_other_numbers_become_float64(dtype: str) -> None:
    event = intake().one(batch(("a", "b"), np.ones(2, dtype=dtype)), NOW)
    assert isinstance(event, SampleBatch)
    assert event.values.dtype == np.float64
    assert event.values.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fields", [{"interval_ms": -1}, {"interval_ms": 1.5}, {"stale": "no"}])
def test_other_fields_are_checked(fields: dict[str, Any]) -> None:
    assert refused(sample(**fields)) == "field"
    assert refused(batch(("a",), np.zeros(1), **fields)) == "field"


def test_a_shape_is_checked_once_while_it_is_the_same_object() -> None:
    line, shape = intake(), tuple(f"s{i}" for i in range(50))
    line.one(batch(shape, np.zeros(50)), NOW)
    assert line._shapes[id(shape)] is shape
    for _ in range(1_000):
        line.one(batch(tuple(f"s{i}" for i in range(50)), np.zeros(50)), NOW)
    assert len(line._shapes) <= 256
    assert len(line._good) == 50


def test_what_is_remembered_is_bounded() -> None:
    line = intake(series_max=10)
    for number in range(50):
        line.one(sample(series=f"s{number}"), NOW)
    assert len(line._good) == 10
    assert "s49" in line._good  # what came last, not what came first


@pytest.mark.parametrize("event", [None, 1, "x", {"a": 1}, [sample()], object(), Sample])
def test_what_is_no_event_is_refused_f68(event: object) -> None:
    assert refused(event) == "type"


class Derived(Sample, frozen=True, tag="derived"):
    extra: int = 0


def test_a_type_derived_from_a_built_in_one_is_refused() -> None:
    assert refused(Derived(NOW, "x", 1.0)) == "type"


def test_text_of_health_and_blind_is_cleaned() -> None:
    event = intake().one(Health(NOW, "x\n", "failed", "r\x1b", "m\ud800"), NOW)
    assert isinstance(event, Health)
    assert (event.component, event.reason, event.message) == ("x\\n", "r\\x1b", "m\\ud800")
    assert refused(Health(NOW, 1, "ok", "r")) == "field"  # type: ignore[arg-type]
    assert refused(Health(NOW, "x", "well", "r")) == "field"  # type: ignore[arg-type]
    assert refused(Blind(NOW, 5, 4)) == "time"
    assert refused(Blind(NOW, 0, 1, scope=None)) == "field"  # type: ignore[arg-type]
    assert intake().one(Blind(NOW, 0, 1, "probe.x", "suspend"), NOW) == Blind(NOW, 0, 1, "probe.x", "suspend")


def test_domain_events_are_checked_copied_and_cleaned() -> None:
    tags = ["a"]
    event = intake().one(Order(time_ms=NOW, tags=tags, amount=np.float64(1.5), note="ev\ud8ff\x1b[31m\n"), NOW)
    tags.append("later")
    assert event == Order(time_ms=NOW, tags=["a"], amount=1.5, note="ev\\ud8ff\\x1b[31m\\n")
    assert refused(Order(time_ms=NOW, amount="1")) == "field"  # type: ignore[arg-type]
    assert refused(Order(time_ms=NOW, tags=[object()])) == "field"  # type: ignore[list-item]
    assert refused(Order(time_ms=NOW, tags=["x" * EVENT_BYTES_MAX])) == "oversize"
    assert refused(Unknown(time_ms=NOW)) == "type"


def test_a_nested_bomb_is_refused_f68() -> None:
    nested: Any = []
    for _ in range(10_000):
        nested = [nested]
    assert refused(Order(time_ms=NOW, tags=nested)) == "field"


def test_many_keeps_the_good_and_counts_the_bad() -> None:
    good, bad = intake().many([sample(), sample("x"), sample(time_ms=-1), sample("y"), None], NOW)
    assert good == [sample()]
    assert bad == {"value": 2, "time": 1, "type": 1}


@pytest.mark.parametrize("output", [None, 1, "text", b"x", {"a": 1}, {1, 2}, sample(), [sample()] * 101, iter(())])
def test_output_that_is_no_sequence_of_events_f68(output: object) -> None:
    with pytest.raises(ProbeError) as caught:
        intake().many(output, NOW)
    assert caught.value.reason == "bad_output"


def test_a_sequence_that_raises_is_left_to_the_caller() -> None:
    with pytest.raises(KeyError):
        intake().many(OddSequence(), NOW)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(time_ms=JUNK, series=JUNK, value=JUNK, interval=JUNK, stale=JUNK)
def test_junk_in_every_field_is_refused_or_normalised(
    time_ms: Any, series: Any, value: Any, interval: Any, stale: Any
) -> None:
    for event in (
        Sample(time_ms, series, value, interval, stale),
        SampleBatch(time_ms, series, value, interval, stale),
        Sample(NOW, "x", value),
        TradeClosed(time_ms=NOW, symbol=series, pnl=value),
        Health(NOW, series, stale, time_ms, value),
    ):
        try:
            taken = intake().one(event, NOW)
        except Refused:
            continue
        if isinstance(taken, Sample):
            assert type(taken.value) is float
        assert msgspec.structs.asdict(taken)["time_ms"] <= NOW + FUTURE_MS_MAX


def test_numbers_beyond_64_bits_are_refused_before_they_poison_a_store() -> None:
    class Big(DomainEvent, frozen=True, kw_only=True, tag="big"):
        amount: int

    assert refused(Health(NOW, "me", "ok", "r", "", 2**70)) == "field"
    assert refused(Health(NOW, "me", "ok", "r", "", -1)) == "field"
    line = intake(event_types=[Big])
    assert line.one(Big(time_ms=NOW, amount=-(2**63)), NOW) == Big(time_ms=NOW, amount=-(2**63))
    with pytest.raises(Refused, match="64 bits"):
        line.one(Big(time_ms=NOW, amount=2**63), NOW)


def test_a_blind_span_is_in_the_past_and_at_most_a_day() -> None:
    now = NOW
    line = intake()
    assert line.one(Blind(now, now - BLIND_MS_MAX, now), now)
    for from_ms, to_ms in ((now, now + 1), (now - BLIND_MS_MAX - 1, now), (0, 2**70), (now, 10**30)):
        with pytest.raises(Refused) as caught:
            line.one(Blind(now, from_ms, to_ms), now)
        assert caught.value.reason == "time"


def test_remembered_shapes_are_bounded_by_their_series() -> None:
    line = intake(series_max=100)
    for shape in range(50):
        names = tuple(series_text("s", {"a": str(shape), "i": str(number)}) for number in range(30))
        line.one(batch(names, np.zeros(30)), NOW)
    assert line._shapes_held == sum(len(shape) for shape in line._shapes.values()) <= 100
    line = intake(series_max=5)
    line.one(batch(tuple(f"s{n}" for n in range(30)), np.zeros(30)), NOW)
    assert (line._shapes, line._shapes_held) == ({}, 0)


def test_new_series_are_checked_in_turns_f80() -> None:
    line = intake(batch_samples_max=100_000, series_max=100_000)
    names = tuple(f"s{number}" for number in range(10_000))
    checking = line.checking([batch(names, np.zeros(10_000))], NOW)
    known = [0, *(len(line._good) for _ in checking)]
    assert known[-1] == 10_000
    assert max(b - a for a, b in pairwise(known)) <= SERIES_PER_TURN


def test_many_single_events_are_checked_in_turns_f80() -> None:
    line = intake(batch_samples_max=100_000, series_max=100_000)
    checking = line.checking([sample(series=f"s{number}") for number in range(2_000)], NOW)
    assert sum(1 for _ in checking) == 2_000 // SERIES_PER_TURN


def test_f25_where_the_clock_was_never_set_its_time_is_no_reason_to_refuse() -> None:
    for now_ms in (0, 5_000, TIME_MS_MIN - 1):
        assert intake().one(Sample(now_ms, "x", 1.0), now_ms)
    with pytest.raises(Refused) as caught:
        intake().one(Sample(-1, "x", 1.0), 5_000)
    assert caught.value.reason == "time"
