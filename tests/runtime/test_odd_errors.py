"""Errors of foreign sinks with fields that are not what they promise, and a bug of ours beside them."""

import random
from typing import Any

import pytest

from engine.errors import SinkError
from engine.runtime.contain import Asked, Failure
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of, resolved
from tests.runtime.test_delivery import Rig, samples


class Receiver(RecordingSink):
    WANTS = frozenset()


class Awkward:
    """No number, and none can be made of it."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")


def odd(**fields: Any) -> SinkError:
    error = SinkError("busy", "come back later", retryable=True)
    for name, value in fields.items():
        setattr(error, name, value)
    return error


class Bare(SinkError):
    """Never initialised: it has no field at all."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


ODD = [
    odd(retry_after_s=None),
    odd(retry_after_s="soon"),
    odd(retry_after_s=10**400),
    odd(retry_after_s=Awkward()),
    odd(status="unavailable"),
    odd(status=None),
    odd(status=Awkward()),
    odd(retryable=Awkward()),
    Bare(),
]


@pytest.mark.parametrize("error", ODD)
def test_fields_of_another_type_silence_no_receiver(error: SinkError) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver([error])
        rig = Rig(clock, sink)
        rig.offer(firing())
        await clock.sleep(30)
        rig.offer(resolved())
        await clock.sleep(30)
        assert len(sink.attempts) == 3
        assert len({message_id for message_id, _ in sink.attempts[:2]}) == 1, "the same message again"
        assert len(sink.delivered) == 2
        assert [status for _, status, _ in await health_of(rig.parts)] == ["degraded", "ok"], "told once, and mended"
        await rig.finish()

    run_virtual(main)


def test_a_bug_while_an_attempt_is_judged_costs_the_attempt_and_nothing_else() -> None:
    class Broken(random.Random):
        """Fails once, as a bug of ours would."""

        failures = 1

        def uniform(self, a: float, b: float) -> float:
            if self.failures:
                self.failures -= 1
                raise ArithmeticError("a bug")
            return super().uniform(a, b)

    async def main(clock: VirtualClock) -> None:
        sink = Receiver([SinkError("http_503", "busy", retryable=True)])
        rig = Rig(clock, sink)
        rig.worker.desk.shared = rig.worker.desk.shared._replace(rng=Broken(1))
        rig.offer(firing("A"), firing("B"))
        await clock.sleep(30)
        assert [len(sink.attempts), len(sink.delivered)] == [3, 2]
        told = await health_of(rig.parts)
        assert told == [("sink.s", "failed", "crashed"), ("sink.s", "ok", "recovered")]
        assert rig.runner.status().queued == 0
        await rig.finish()

    run_virtual(main)


def test_notices_that_end_the_process_end_nothing() -> None:
    class Leaving(Receiver):
        def take_notices(self) -> list[tuple[str, str]]:
            raise SystemExit(3)

    async def main(clock: VirtualClock) -> None:
        sink = Leaving()
        rig = Rig(clock, sink)
        rig.offer(firing())
        await clock.sleep(5)
        assert len(sink.delivered) == 1
        assert ("sink.s", "degraded", "notices") in await health_of(rig.parts)
        await rig.finish()

    run_virtual(main)


def test_what_can_be_read_as_a_number_is_one() -> None:
    error = odd(retry_after_s="30", status="503", retryable=0)
    assert Failure("busy", "", error).asked == Asked(503, False, 30.0)
    assert Failure("busy", "", odd(retry_after_s=float("nan"), status=-4)).asked == Asked()
    assert Failure("raised", "", ValueError()).asked is None


def test_records_and_the_opening_bear_odd_errors_too() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = RecordingSink([odd(retry_after_s=None), odd(retryable=Awkward())])
        sink.open_failures.append(odd(retry_after_s="soon", retryable=Awkward()))
        rig = Rig(clock, sink)
        rig.offer(*samples(3))
        await clock.sleep(120)
        assert [record.time_ms for record in sink.records] == [0, 1, 2]
        assert rig.runner.desk.dropped == {}
        await rig.finish()

    run_virtual(main)
