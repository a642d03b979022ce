import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import STALE_BITS, SampleBatch
from probes.batcher import Batcher, Key, key

A, B, C = key("a"), key("b", device="x"), key("c")


def bits(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def stale(batch: SampleBatch) -> list[str]:
    return [text for text, value in zip(batch.series, batch.values, strict=True) if bits(value) == STALE_BITS]


def test_the_same_tuple_while_the_shape_is_the_same() -> None:
    batcher = Batcher({"env": "prod"}, 5_000)
    first = batcher.batch(1, {A: 1.0, B: 2.0})
    second = batcher.batch(2, {A: 3.0, B: 4.0})
    assert first.series is second.series
    assert second.series == ('a{env="prod"}', 'b{device="x",env="prod"}')
    assert second.values.tolist() == [3.0, 4.0]
    assert (second.time_ms, second.interval_ms, second.values.dtype.str) == (2, 5_000, "<f8")


def test_what_ended_gets_one_marker_with_its_cause() -> None:
    batcher = Batcher({}, 0)
    batcher.batch(1, {A: 1.0, B: 2.0})
    gone = batcher.batch(2, {A: 1.0})
    assert gone.series == ("a", 'b{device="x"}')
    assert stale(gone) == ['b{device="x"}']
    assert gone.stale == "ended"
    after = batcher.batch(3, {A: 1.0})
    assert after.series == ("a",)
    assert batcher.batch(4, {A: 1.0}).series is after.series
    back = batcher.batch(5, {A: 1.0, B: 7.0})
    assert stale(back) == []
    assert stale(batcher.batch(6, {A: 1.0})) == ['b{device="x"}']


def test_what_could_not_be_read_has_not_ended() -> None:
    """F114: ignorance is not evidence; a marker would resolve the alert over that series."""
    batcher = Batcher({}, 0)
    batcher.batch(1, {A: 1.0, B: 2.0})
    assert stale(batcher.batch(2, {A: 1.0}, lambda series: series == B)) == []
    blind = batcher.batch(3, {A: 1.0}, lambda series: series == B)
    assert stale(blind) == []
    # When it can be read again and is not there, it has.
    assert stale(batcher.batch(4, {A: 1.0})) == ['b{device="x"}']
    after = batcher.batch(5, {A: 1.0})
    assert stale(after) == []
    assert after.series is blind.series, "the shape is what it was"


def test_names_that_are_one_text_once_cleaned_are_named_once() -> None:
    """F117: a mount point with ESC in its name beside one that spells the escape out."""
    batcher = Batcher({}, 0)
    real, spelled = key("d", mountpoint="/\x1b"), key("d", mountpoint="/\\x1b")
    batch = batcher.batch(1, {real: 1.0, spelled: 2.0})
    assert len(set(batch.series)) == len(batch.series) == 1
    assert batch.values.tolist() == [1.0]
    left = batcher.batch(2, {spelled: 2.0})
    assert (left.series, left.values.tolist()) == (batch.series, [2.0])


def test_the_probes_own_labels_win() -> None:
    batch = Batcher({"device": "operator"}, 0).batch(1, {B: 1.0, key("b", device="y"): 2.0})
    assert batch.series == ('b{device="x"}', 'b{device="y"}')


def test_a_label_that_no_series_can_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a label"):
        Batcher({"__name__": "x"}, 0).batch(1, {A: 1.0})


sets = st.lists(st.sets(st.sampled_from([A, B, C])), max_size=12)


@given(sets, st.data())
def test_every_end_is_told_exactly_once(steps: list[set[Key]], data: st.DataObject) -> None:
    """Against the plain definition: alive before, not there now, and known not to be there."""
    batcher = Batcher({}, 0)
    alive: set[Key] = set()
    for time_ms, there in enumerate(steps):
        unknown = data.draw(st.sets(st.sampled_from([A, B, C])))
        batch = batcher.batch(time_ms, dict.fromkeys(sorted(there), 1.0), unknown.__contains__)
        ended = {one for one in alive if one not in there and one not in unknown}
        assert sorted(stale(batch)) == sorted(Batcher({}, 0).batch(0, dict.fromkeys(ended, 0.0)).series)
        assert len(batch.series) == len(set(batch.series)) == len(batch.values) == len(there) + len(ended)
        alive = (alive | there) - ended
