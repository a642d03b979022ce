"""The fakes are what they stand for, and do what they are told."""

import asyncio

import pytest

from engine.errors import SinkError
from engine.events import Sample, Transition
from engine.ports import Notification, Probe, Receiver, Recorder
from engine.testing import FailingProbe, FunctionProbe, HangingProbe, ListProbe, RecordingSink

SAMPLE = Sample(1, "x", 1.0)
TRANSITION = Transition(1, "R", {"alertname": "R"}, "pending", "firing", "held", 1.0, 0)


@pytest.mark.parametrize(
    "probe", [ListProbe([]), FunctionProbe(lambda: SAMPLE), FailingProbe(ValueError()), HangingProbe()]
)
async def test_fake_probes_are_probes(probe: Probe) -> None:
    assert isinstance(probe, Probe)
    await probe.open()
    await probe.close()


async def test_recording_sink_has_both_roles() -> None:
    sink = RecordingSink()
    assert isinstance(sink, Recorder)
    assert isinstance(sink, Receiver)


async def test_list_probe_returns_item_by_item_and_then_nothing() -> None:
    probe = ListProbe([SAMPLE, [SAMPLE, SAMPLE], ValueError("x")])
    assert await probe.collect() == [SAMPLE]
    assert await probe.collect() == [SAMPLE, SAMPLE]
    with pytest.raises(ValueError, match="x"):
        await probe.collect()
    assert await probe.collect() == []
    assert probe.collected == 4


async def test_failing_probe_fails_as_often_as_told() -> None:
    probe = FailingProbe(ValueError("x"), times=2, events=[SAMPLE])
    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            await probe.collect()
    assert await probe.collect() == [SAMPLE]


async def test_hanging_probe_hangs_until_released_stubborn_or_not() -> None:
    probe = HangingProbe(stubborn=True)
    task = asyncio.ensure_future(probe.collect())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert (task.done(), probe.hanging) == (False, 1)
    probe.release()
    assert await task == []
    mild = asyncio.ensure_future((HangingProbe()).collect())
    await asyncio.sleep(0)
    mild.cancel()
    with pytest.raises(asyncio.CancelledError):
        await mild


async def test_recording_sink_keeps_and_fails_by_script() -> None:
    sink = RecordingSink([None, SinkError("x", "x", retryable=True)])
    await sink.write([SAMPLE, TRANSITION])
    assert (sink.batches, sink.transitions) == ([2], [TRANSITION])
    body = sink.render(Notification(receiver="r", group_key="k", group_labels={}, transitions=(TRANSITION,)))
    with pytest.raises(SinkError):
        await sink.deliver("id", body)
    await sink.deliver("id", body)
    assert sink.attempts == [("id", body)] * 2
    assert sink.delivered == [("id", body)]
