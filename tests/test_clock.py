"""The one module that reads the clocks: event time runs at the true rate, whatever is done to the wall clock (F90)."""

import time
from pathlib import Path

import pytest

from engine.clock import SLEW_PPM, STEP_MS, Reading, SystemClock, Timeline
from engine.ports import ClockJump, WatchedClock

MS = 1_000_000
START_MS = 1_000_000_000


class Machine:
    """Clocks that a test moves, and a timeline that looks at them once a second."""

    def __init__(self) -> None:
        self.wall_ms = START_MS
        self.monotonic_ms = 5_000
        self.slept_ms = 0
        self.timeline = Timeline(self.reading())
        self.told: list[ClockJump] = []

    def reading(self) -> Reading:
        return Reading(self.wall_ms * MS, self.monotonic_ms * MS, self.slept_ms * MS)

    @property
    def now_ms(self) -> int:
        return self.timeline.at(self.monotonic_ms * MS)

    def live(self, seconds: int, *, rate: float = 1.0) -> None:
        for _ in range(seconds):
            self.wall_ms += round(1_000 * rate)
            self.monotonic_ms += 1_000
            before = self.now_ms
            jump = self.timeline.look(self.reading())
            assert self.now_ms >= before - 1, "slewing takes back no more than a part of a millisecond"
            if jump is not None:
                assert (jump.from_ms, jump.to_ms) == (before, self.now_ms)
                self.told.append(jump)


def test_without_a_step_event_time_is_the_wall_clock() -> None:
    machine = Machine()
    machine.live(3_600)
    assert machine.now_ms == machine.wall_ms == START_MS + 3_600_000
    assert machine.told == []


@pytest.mark.parametrize("by_ms", [3_600_000, 10 * 365 * 86_400_000, 2_000])
def test_a_step_forward_is_followed_at_once_and_told_as_a_span_f90(by_ms: int) -> None:
    machine = Machine()
    machine.live(10)
    machine.wall_ms += by_ms
    assert machine.now_ms == START_MS + 10_000, "event time itself has not looked yet"
    machine.live(60)
    assert machine.told == [ClockJump(START_MS + 11_000, START_MS + 11_000 + by_ms, 0, "clock_step")]
    assert machine.now_ms == machine.wall_ms


@pytest.mark.parametrize("by_ms", [-3_600_000, -START_MS, -2_000])
def test_after_a_step_back_it_runs_on_at_its_rate_ahead_of_the_wall_f90(by_ms: int) -> None:
    machine = Machine()
    machine.live(10)
    machine.wall_ms += by_ms
    machine.live(600)
    assert machine.told == [ClockJump(START_MS + 11_000, START_MS + 11_000, -by_ms, "clock_step")]
    assert machine.now_ms == START_MS + 610_000, "neither still nor slow"


def test_a_step_back_that_is_undone_is_told_as_such_and_costs_no_span() -> None:
    machine = Machine()
    machine.live(10)
    machine.wall_ms -= 3_600_000
    machine.live(10)
    machine.wall_ms += 3_600_000
    machine.live(10)
    assert [(jump.to_ms - jump.from_ms, jump.ahead_ms) for jump in machine.told] == [(0, 3_600_000), (0, 0)]
    assert machine.now_ms == machine.wall_ms


@pytest.mark.parametrize("by_ms", [STEP_MS, 1_000, -1_000, -STEP_MS, 7, -7])
def test_a_small_difference_is_slewed_slowly_and_told_to_nobody_f91(by_ms: int) -> None:
    machine = Machine()
    machine.wall_ms += by_ms
    machine.live(100)
    moved = machine.now_ms - (START_MS + 100_000)
    assert abs(moved) <= 100 * SLEW_PPM / 1_000 + 1
    machine.live(3_600)
    assert abs(machine.now_ms - machine.wall_ms) <= 1
    assert machine.told == []


@pytest.mark.parametrize("rate", [1.0004, 0.9996])
def test_a_wall_clock_that_drifts_is_followed_f91(rate: float) -> None:
    machine = Machine()
    for _ in range(864):
        machine.live(100, rate=1.0)
        machine.wall_ms += round(100_000 * (rate - 1))
    assert abs(machine.now_ms - machine.wall_ms) <= 41
    assert machine.told == []


def test_sleep_is_a_span_of_its_own_reason_f92() -> None:
    machine = Machine()
    machine.live(10)
    machine.wall_ms += 8 * 3_600_000
    machine.slept_ms += 8 * 3_600_000
    machine.live(10)
    assert machine.told == [ClockJump(START_MS + 11_000, START_MS + 11_000 + 8 * 3_600_000, 0, "suspend")]
    assert machine.now_ms == machine.wall_ms


def test_sleep_with_a_wall_clock_that_stood_still_f92() -> None:
    """A machine without a battery clock: what the boot clock says is believed; event time is ahead of the wall."""
    machine = Machine()
    machine.slept_ms += 60_000
    machine.live(1)
    assert machine.told == [ClockJump(START_MS + 1_000, START_MS + 61_000, 60_000, "suspend")]


def test_two_engines_in_one_process_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([9_000_000_000, 1_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(readings))
    clocks = SystemClock(), SystemClock()
    assert [clock.now_ms() // 1_000 for clock in clocks] == [9, 1]


def test_the_clocks_are_the_machines() -> None:
    before = time.time_ns() // 1_000_000
    clock = SystemClock()
    assert isinstance(clock, WatchedClock)
    assert before <= clock.now_ms() <= time.time_ns() // 1_000_000 + 1
    earlier = time.monotonic()
    assert earlier <= clock.monotonic() <= time.monotonic()
    assert clock.look() is None


def test_stamps_never_go_back_and_jump_only_when_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    first, real = clock.now_ms(), time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600_000 * MS)
    back = clock.look()
    assert back is not None
    assert back.from_ms == back.to_ms
    assert back.ahead_ms == pytest.approx(3_600_000, abs=1_000)
    assert first <= clock.now_ms() <= first + 1_000
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3_600_000 * MS)
    assert clock.now_ms() <= first + 1_000
    forward = clock.look()
    assert forward is not None
    assert forward.to_ms - forward.from_ms == pytest.approx(3_600_000, abs=1_000)
    assert clock.now_ms() >= first + 3_600_000


def test_clocks_that_can_not_be_read_together_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was stopped between two readings, each time: nothing follows from their difference."""
    clock = SystemClock()
    readings = iter(range(0, 10**15, 60_000 * MS))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(readings))
    assert clock.look() is None


def test_no_roll_over_in_2038_nor_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """F96."""
    for seconds in (2**31 - 1, 2**31, 2**32, 2**33):
        monkeypatch.setattr(time, "time_ns", lambda s=seconds: s * 1_000_000_000)
        assert SystemClock().now_ms() == pytest.approx(seconds * 1_000, abs=500)


def test_a_virtual_machine_that_is_moved_sees_its_clock_go_back_and_nobody_else_does_f94(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SystemClock()
    first_ms, first_s = clock.now_ms(), clock.monotonic()
    back_ns = time.monotonic_ns() - 1_000
    monkeypatch.setattr(time, "monotonic_ns", lambda: back_ns)
    monkeypatch.setattr(time, "monotonic", lambda: first_s - 1e-6)
    assert clock.now_ms() >= first_ms
    assert clock.monotonic() == first_s
    assert clock.look() is None
    monkeypatch.undo()
    assert clock.monotonic() >= first_s


def test_a_timeline_is_looked_at_by_a_clock_that_went_back_f94() -> None:
    machine = Machine()
    machine.live(10)
    before = machine.now_ms
    machine.monotonic_ms -= 1
    assert machine.timeline.look(machine.reading()) is None
    machine.live(10)
    assert machine.told == []
    assert abs(machine.now_ms - before - 10_000) <= 1


def test_the_boot_clock_can_be_compared_across_processes_f95() -> None:
    one, other = SystemClock().boot(), SystemClock().boot()
    assert one is not None
    assert other is not None
    assert one.boot_id == other.boot_id
    assert len(one.boot_id) == 36
    assert one.up_ms <= other.up_ms


def test_a_system_without_a_boot_clock_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("engine.clock._BOOT_ID", tmp_path / "missing")
    assert SystemClock().boot() is None
