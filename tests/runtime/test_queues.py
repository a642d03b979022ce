"""What waits for a sink: in order, bounded, and transitions go last (F47)."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Blind, Health, Record, Sample, SampleBatch, TradeClosed, Transition, weight
from engine.runtime.queues import SAMPLES_PER_RECORD, RecordQueue, kind_of
from tests.runtime.rig import firing


def make(kind: str, number: int, size: int = 1) -> Record:
    if kind == "samples" and size > 1:
        return SampleBatch(number, tuple(f"s{i}" for i in range(size)), np.zeros(size))
    if kind == "samples":
        return Sample(number, "x", 1.0)
    if kind == "transitions":
        return firing(time_ms=number)
    return Health(number, "c", "failed", "r") if kind == "health" else TradeClosed(time_ms=number, symbol="x", pnl=1.0)


def test_kinds() -> None:
    kinds = [kind_of(make(kind, 1)) for kind in ("samples", "transitions", "health", "events")]
    assert kinds == ["samples", "transitions", "health", "events"]
    assert kind_of(make("samples", 1, 5)) == "samples"
    assert kind_of(Blind(1, 0, 1)) == "health"


def put(queue: RecordQueue, record: Record) -> list[Record]:
    return queue.put(record, kind_of(record))


def test_samples_make_room_for_everything_and_transitions_for_nothing_less() -> None:
    queue = RecordQueue(3)
    for number, kind in enumerate(["samples", "health", "transitions"]):
        assert put(queue, make(kind, number)) == []
    assert [r.time_ms for r in put(queue, make("transitions", 3))] == [0], "the sample"
    assert [r.time_ms for r in put(queue, make("samples", 4))] == [4], "itself: nothing less is there"
    assert [r.time_ms for r in put(queue, make("transitions", 5))] == [1], "the health event"
    assert [r.time_ms for r in put(queue, make("health", 6))] == [6]
    assert [r.time_ms for r in put(queue, make("transitions", 7))] == [2], "the oldest transition"
    assert [r.time_ms for r in queue.take(9)] == [3, 5, 7]
    assert not queue.urgent


def test_few_huge_batches_are_bounded_by_their_samples() -> None:
    queue = RecordQueue(3)
    limit = 3 * SAMPLES_PER_RECORD
    assert put(queue, make("samples", 1, limit)) == []
    assert [r.time_ms for r in put(queue, make("samples", 2, 2))] == [1]
    assert [r.time_ms for r in put(queue, make("samples", 3, limit + 1))] == [3]
    assert [r.time_ms for r in queue.take(9)] == [2]


@given(
    st.integers(1, 8),
    st.lists(
        st.tuples(st.sampled_from(["samples", "transitions", "health", "events", "take"]), st.integers(1, 300)),
        max_size=80,
    ),
)
def test_order_bound_and_books(records_max: int, steps: list[tuple[str, int]]) -> None:
    queue, offered, taken, lost = RecordQueue(records_max), 0, 0, 0
    last = -1
    for number, (kind, size) in enumerate(steps):
        if kind == "take":
            records = queue.take(1 + size % 4)
            assert len(records) <= 1 + size % 4
            for record in records:
                assert record.time_ms > last, "in the order they came"
                last = record.time_ms
            taken += len(records)
        else:
            waiting = len(queue)
            gone = put(queue, make(kind, number, size))
            offered += 1
            lost += len(gone)
            if any(isinstance(record, Transition) for record in gone):
                assert kind == "transitions"
                assert waiting == records_max
                assert not any(not isinstance(r, Transition) for r in gone)
        assert len(queue) <= records_max
        assert offered == taken + lost + len(queue)
    rest = queue.take(1_000)
    assert sum(weight(r) for r in rest if isinstance(r, SampleBatch)) <= records_max * SAMPLES_PER_RECORD
    assert queue._samples == 0
