"""A whole engine is killed while an alert is pending, firing or not there, or starts with a clock at 1970 (F07, F08,
F09, F25), or stopped while a receiver hangs (F56)."""

import asyncio
from pathlib import Path

from engine import Health
from engine.testing import START_MS, VirtualClock, run_virtual
from tests.runtime.test_restart_engine import Ops, engine, killed, states, watch

SOON = '[rule.Soon]\nexpr = "x > 1"\nfor = "1m"\n'
HOT = '[rule.Hot]\nexpr = "x > 1"\n'


def when(clock: VirtualClock, ops: Ops) -> list[tuple[str, float]]:
    """What it was told, and how many seconds ago that was decided."""
    found = [one for each in ops.notifications for one in each.transitions if one.rule != "LongwatchBlind"]
    return [(one.kind, (clock.now_ms() - one.time_ms) / 1000) for one in found]


def test_f07_killed_while_pending_the_time_before_counts_and_the_downtime_does_not(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine(clock, tmp_path / "first", ops := Ops(), SOON) as one:
            await clock.sleep(0)
            await watch(clock, one, 40, 5.0)
            after = await killed(clock, tmp_path / "first")
        assert ops.told == []
        await clock.sleep(1_800)
        async with engine(clock, after, again := Ops(ops), SOON) as two:
            begun_s = clock.monotonic()
            while not again.told:
                await watch(clock, two, 10, 5.0)
            assert 20 <= clock.monotonic() - begun_s <= 40, "twenty of sixty seconds were left"
            assert again.told == [("Soon", "firing")]
            assert states(two) == [("Soon", "firing", 0)], "since the first time it was true"

    run_virtual(main)


def test_f08_what_has_ended_while_it_was_down_is_resolved_once_and_by_a_measurement_alone(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine(clock, tmp_path / "first", ops := Ops(), HOT) as one:
            await clock.sleep(0)
            await watch(clock, one, 20, 5.0)
            after = await killed(clock, tmp_path / "first")
        assert ops.told == [("Hot", "firing")]
        await clock.sleep(600)
        async with engine(clock, after, again := Ops(ops), HOT) as two:
            await clock.sleep(15)
            assert again.told == [], "nothing was measured yet"
            assert states(two) == [("Hot", "firing", 0)]
            await watch(clock, two, 60, 0.0)
            assert again.told == [("Hot", "resolved")]
            assert when(clock, again) == [("resolved", 60.0)], "at the first measurement"
            assert [one.reason for one in again.transitions if one.rule == "Hot"] == ["recovered"]
            last = await killed(clock, after.rename(tmp_path / "second"))
        async with engine(clock, last, third := Ops(again), HOT) as three:
            await watch(clock, three, 60, 0.0)
            assert third.told == [], "once"

    run_virtual(main)


def test_f09_what_has_begun_while_it_was_down_fires_after_its_whole_time(tmp_path: Path) -> None:
    """From the first measurement on; a rule without a time fires with it, for no start is mute."""

    async def main(clock: VirtualClock) -> None:
        rules = HOT + SOON
        async with engine(clock, tmp_path / "first", Ops(), rules) as one:
            await clock.sleep(0)
            await watch(clock, one, 20, 0.0)
            after = await killed(clock, tmp_path / "first")
        await clock.sleep(600)
        async with engine(clock, after, ops := Ops(), rules) as two:
            await clock.sleep(5)
            first_ms = clock.now_ms()
            await watch(clock, two, 70, 5.0)
            fired = [one for one in ops.transitions if one.kind == "firing" and one.rule != "LongwatchBlind"]
            told = [(one.rule, one.kind, one.time_ms - first_ms) for one in fired]
            assert told == [("Hot", "firing", 0), ("Soon", "firing", 60_000)]
            assert ops.told == [("Hot", "firing"), ("Soon", "firing")]

    run_virtual(main)


def test_f56_a_stop_in_good_order_leaves_what_hangs_to_the_next_start(tmp_path: Path) -> None:
    class Hangs(Ops):
        async def deliver(self, message_id: str, body: bytes) -> None:
            self.attempts.append((message_id, body))
            await asyncio.Event().wait()

    async def main(clock: VirtualClock) -> None:
        folder = tmp_path / "first"
        async with engine(clock, folder, ops := Hangs(), HOT) as one:
            await clock.sleep(0)
            await watch(clock, one, 10, 5.0)
            begun_s = clock.monotonic()
            await one.stop()
            assert clock.monotonic() - begun_s < 10, "its time-out is 30 s, and telling may take 13"
        assert "waiting" in {found.reason for found in ops.records if isinstance(found, Health)}
        async with engine(clock, folder, again := Ops(ops), HOT):
            await clock.sleep(1)
            assert again.delivered == ops.attempts

    run_virtual(main)


def test_f25_a_clock_that_shows_1970_and_is_put_right_changes_no_alert(tmp_path: Path) -> None:
    """Nothing is told twice or again, no id comes twice, and that times before are wrong is said."""

    async def main(clock: VirtualClock) -> None:
        async with engine(clock, tmp_path / "first", ops := Ops(), HOT + SOON) as one:
            await clock.sleep(0)
            await watch(clock, one, 30, 5.0)
            clock.step(START_MS)
            await watch(clock, one, 60, 5.0)
            assert ops.told == [("Hot", "firing"), ("Soon", "firing")]
            fired = next(found for found in ops.transitions if (found.rule, found.kind) == ("Soon", "firing"))
            assert 30_000 <= fired.time_ms - START_MS - 35_000 <= 32_000, "thirty of sixty seconds were left"
            said = [found.reason for found in ops.records if isinstance(found, Health) and found.component == "clock"]
            assert said == ["stepped", "recovered"]
            assert "LongwatchBlind" in {found.rule for found in ops.transitions}
            await watch(clock, one, 20, 0.0)
            after = await killed(clock, tmp_path / "first")
        assert ops.told[2:] == [("Hot", "resolved"), ("Soon", "resolved")]
        async with engine(clock, after, again := Ops(ops), HOT + SOON) as two:
            await watch(clock, two, 60, 0.0)
            assert again.told == []
        ids = [message_id for message_id, _ in ops.delivered]
        assert len(set(ids)) == len(ids)

    run_virtual(main, start_ms=5_000)
