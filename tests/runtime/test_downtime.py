"""How long the engine was away: exact within a boot, bounded after it, never negative (F95, M37)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import SystemClock
from engine.runtime.downtime import AWAY_MS_MAX, Downtime, LifeSign, downtime, life_sign
from engine.testing import START_MS, VirtualClock, run_virtual

HOUR_MS = 3_600_000


def test_within_a_boot_the_boot_clock_counts_whatever_the_wall_clock_says() -> None:
    last = LifeSign(START_MS, "one", 50_000)
    for step_ms in (0, HOUR_MS, -HOUR_MS, -START_MS):
        away = downtime(last, LifeSign(START_MS + 10_000 + step_ms, "one", 60_000))
        assert (away.lasted_ms, away.exact) == (10_000, True)


def test_event_time_has_the_whole_gap_so_that_no_clock_counts_it() -> None:
    last = LifeSign(START_MS, "one", 50_000)
    away = downtime(last, LifeSign(START_MS + HOUR_MS, "one", 60_000))
    assert away == Downtime(START_MS, START_MS + HOUR_MS, 10_000, True, False)
    blind = away.blind()
    assert blind is not None
    assert (blind.from_ms, blind.to_ms, blind.scope, blind.reason) == (START_MS, START_MS + HOUR_MS, "*", "downtime")
    assert downtime(last, LifeSign(START_MS - HOUR_MS, "one", 60_000)).blind() is None, "set back: there is no gap"


@pytest.mark.parametrize("boot_id", ["two", ""])
def test_after_a_reboot_the_wall_clock_counts_within_bounds(boot_id: str) -> None:
    last = LifeSign(START_MS, "one", 50_000)
    for gap_ms, lasted_ms in ((HOUR_MS, HOUR_MS), (-HOUR_MS, 0), (10 * AWAY_MS_MAX, AWAY_MS_MAX)):
        away = downtime(last, LifeSign(START_MS + gap_ms, boot_id, 5))
        assert (away.lasted_ms, away.exact) == (lasted_ms, False)
    assert not downtime(LifeSign(START_MS), LifeSign(START_MS + 1)).exact, "two that do not know their boot"


def test_a_boot_clock_that_went_back_is_not_believed() -> None:
    away = downtime(LifeSign(START_MS, "one", 60_000), LifeSign(START_MS + 5_000, "one", 50_000))
    assert (away.lasted_ms, away.exact) == (5_000, False)


@given(
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.booleans(),
    st.booleans(),
)
def test_it_is_never_negative(then: int, now: int, up_then: int, up_now: int, same: bool, stopped: bool) -> None:
    away = downtime(LifeSign(then, "a", up_then, stopped), LifeSign(now, "a" if same else "b", up_now))
    assert away.lasted_ms >= 0
    assert away.from_ms <= away.to_ms == now
    assert away.asked_for is stopped
    assert (away.blind() is None) is (then >= now)


def test_the_machines_clocks_agree_with_themselves() -> None:
    clock = SystemClock()
    first, second = life_sign(clock), life_sign(clock, stopped=True)
    assert first.boot_id == second.boot_id != ""
    away = downtime(first, second)
    assert away.exact
    assert 0 <= away.lasted_ms < 10_000


def test_a_machine_that_sleeps_meanwhile_was_away_for_that_long() -> None:
    async def main(clock: VirtualClock) -> None:
        last = life_sign(clock)
        clock.suspend(HOUR_MS)
        await clock.sleep(3)
        clock.look()
        assert downtime(last, life_sign(clock)).lasted_ms == HOUR_MS + 3_000

    run_virtual(main)


def test_a_clock_that_knows_no_boot_gives_a_sign_nevertheless() -> None:
    class Plain:
        def now_ms(self) -> int:
            return 7

        def monotonic(self) -> float:
            return 7.0

    assert life_sign(Plain()) == LifeSign(7)
