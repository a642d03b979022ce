"""Who was told in the place of another that an alert fires hears its end, also if the other is back by then."""

from engine.errors import SinkError
from engine.testing import VirtualClock, run_virtual
from tests.runtime.rig import firing, resolved
from tests.runtime.test_ends import Quiet, last_of, news
from tests.runtime.test_outbox import Two
from tests.runtime.test_redelivery import Receiver, told


def test_a_fallback_hears_the_end_of_what_it_was_told_though_the_other_is_back() -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Receiver(), Receiver()
        first.down = True
        two = Two(clock, first, second)
        two.policy.stand([])
        await two.offer(firing("R", instance="a"))
        await clock.sleep(400)
        assert news(second, "R") == ["firing"]
        first.down = False
        await clock.sleep(400)
        assert news(first, "R") == ["firing"]
        await two.offer(firing("R", instance="b"))
        await clock.sleep(60)
        await two.offer(resolved("R", instance="a"))
        await clock.sleep(10)
        assert news(second, "R") == ["firing", "resolved"], "at once"
        assert last_of(second).labels["instance"] == "a"
        await two.offer(resolved("R", instance="b"))
        await clock.sleep(600)
        assert news(second, "R") == ["firing", "resolved"], "of the other it has never heard"
        await two.finish()

    run_virtual(main)


def test_a_fallback_hears_an_end_that_is_told_with_what_it_need_not_hear() -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Receiver(), Receiver()
        first.down = True
        two = Two(clock, first, second)
        two.policy.stand([])
        await two.offer(firing("R", instance="a"))
        await clock.sleep(400)
        first.down = False
        await clock.sleep(400)
        await two.offer(resolved("R", instance="a"), firing("R", instance="b"))
        await clock.sleep(120)
        assert told(second.delivered) == [("R", "firing"), ("R", "resolved")]
        assert last_of(second).labels["instance"] == "a"
        await two.finish()

    run_virtual(main)


def test_a_fallback_that_is_not_told_of_resolves_is_not_told_of_this_one() -> None:
    async def main(clock: VirtualClock) -> None:
        first, second = Receiver(), Quiet()
        first.down = True
        two = Two(clock, first, second)
        two.policy.stand([])
        await two.offer(firing("R"))
        await clock.sleep(400)
        await two.offer(resolved("R"))
        await clock.sleep(400)
        assert told(second.delivered) == [("R", "firing")]
        first.down = False
        await clock.sleep(400)
        assert told(first.delivered) == [("R", "firing"), ("R", "resolved")]
        assert told(second.delivered) == [("R", "firing")]
        await two.finish()

    run_virtual(main)


def test_a_fallback_that_may_have_taken_it_hears_the_end() -> None:
    class Late(Receiver):
        """Takes the first message, and its answer is lost."""

        async def deliver(self, message_id: str, body: bytes) -> None:
            await super().deliver(message_id, body)
            if len(self.delivered) == 1:
                raise SinkError("timeout", "no answer", retryable=True, retry_after_s=600.0)

    async def main(clock: VirtualClock) -> None:
        first, second = Receiver(), Late()
        first.down = True
        two = Two(clock, first, second)
        two.policy.stand([])
        await two.offer(firing("R"))
        await clock.sleep(400)
        first.down = False
        await clock.sleep(400)
        assert (told(first.delivered), told(second.delivered)) == ([("R", "firing")], [("R", "firing")])
        await two.offer(resolved("R"))
        await clock.sleep(700)
        assert told(second.delivered) == [("R", "firing"), ("R", "resolved")]
        await two.finish()

    run_virtual(main)
