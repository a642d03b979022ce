"""A bug of ours while messages are made costs nobody else anything, and is told (F53, F61 beside it)."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from engine.events import Transition
from engine.runtime.composing import Composer
from engine.testing import VirtualClock, run_virtual
from tests.runtime.rig import firing, health_of
from tests.runtime.test_delivery import Rig
from tests.runtime.test_redelivery import Receiver, told


class Failing(Composer):
    """Can't make a message of the rule `Poison`, so many times."""

    failures = 10**9

    def _parts(self, worker: Any, transitions: Sequence[Transition], *rest: Any, **more: Any) -> Iterator[Any]:
        for made in super()._parts(worker, transitions, *rest, **more):
            if self.failures and any(b"Poison" in message.body for message in made):
                self.failures -= 1
                raise ArithmeticError("a bug")
            yield made


class Forgetful(Composer):
    """Fails once where nobody expects it."""

    failures = 1

    def take_unsayable(self) -> list[tuple[str, str]]:
        if self.failures:
            self.failures -= 1
            raise ArithmeticError("a bug")
        return super().take_unsayable()


def rig_with(clock: VirtualClock, sink: Receiver, kind: type[Composer]) -> Rig:
    rig = Rig(clock, sink)
    rig.policy._composer = kind(rig.keeper, {})
    return rig


def test_one_alert_that_crashes_the_composing_costs_no_other_and_is_counted() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = rig_with(clock, sink, Failing)
        rig.offer(firing("A"), firing("Poison"), firing("Poison", host="b"), firing("B"))
        await clock.sleep(1)
        assert told(sink.delivered) == [("A", "firing"), ("B", "firing")]
        assert ("sink.s", "failed", "crashed") in await health_of(rig.parts)
        await clock.sleep(300)
        assert rig.runner.desk.dropped == {"crashed": 2}
        assert rig.policy.book.unchecked("s") == {}, "it is not tried for ever"
        rig.offer(firing("C"))
        await clock.sleep(1)
        assert told(sink.delivered)[2:] == [("C", "firing")]
        assert not rig.beside[2].done(), "the reconcile goes on"
        await rig.finish()

    run_virtual(main)


@pytest.mark.parametrize("failures", [1, 2])
def test_what_crashed_once_is_told_all_the_same(failures: int) -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = rig_with(clock, sink, Failing)
        rig.policy._composer.failures = failures  # type: ignore[attr-defined]
        rig.offer(firing("A"), firing("Poison"))
        await clock.sleep(120)
        assert sorted(told(sink.delivered)) == [("A", "firing"), ("Poison", "firing")]
        assert rig.runner.desk.dropped == {}
        await rig.finish()

    run_virtual(main)


def test_a_batch_that_crashes_policy_is_told_by_the_reconcile() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = rig_with(clock, sink, Forgetful)
        rig.offer(firing("A"), firing("B"))
        await clock.sleep(1)
        assert sink.delivered == []
        assert await health_of(rig.parts) == [("ledger", "failed", "crashed")]
        await clock.sleep(90)
        assert sorted(told(sink.delivered)) == [("A", "firing"), ("B", "firing")]
        assert rig.policy.idle
        await rig.finish()

    run_virtual(main)


def test_messages_that_were_made_before_a_crash_are_sent_once() -> None:
    async def main(clock: VirtualClock) -> None:
        sink = Receiver()
        rig = rig_with(clock, sink, Failing)
        rig.policy._composer.failures = 1  # type: ignore[attr-defined]
        rig.offer(*(firing(f"R{number}") for number in range(5)), firing("Poison"))
        await clock.sleep(200)
        assert sorted(told(sink.delivered)) == [("Poison", "firing"), *((f"R{n}", "firing") for n in range(5))]
        ids = [message_id for message_id, _ in sink.delivered]
        assert len(set(ids)) == 6
        await rig.finish()

    run_virtual(main)
