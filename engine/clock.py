"""The two clocks: monotonic to schedule by, event time to stamp with.

This is the only module that reads the machine's clocks. Event time starts at the wall clock's and then runs at the
monotonic clock's rate, whatever is done to the wall clock: it never stands still and never goes backwards. What the
wall clock does meanwhile is looked at, about once a second, by `look`; the decision what follows from it is pure
(`Timeline`: readings in, decision out).

- A small difference is slewed, by at most 500 ppm.
- The wall clock is ahead by more than that: event time jumps to it, and the jump is a span in which nobody could see.
- The wall clock is behind by more than that: event time runs on, ahead of the wall clock, at its own rate.
- The machine slept (the boot clock ran on, the monotonic one did not): event time jumps over the sleep.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

from engine.ports import ClockJump

__all__ = ["SLEW_PPM", "STEP_MS", "BootTime", "Reading", "SystemClock", "Timeline"]

STEP_MS: Final = 1_500
"""A difference up to this is slewed: a repeated leap second, and what drift there was before it."""
SLEW_PPM: Final = 500
"""As fast as a kernel slews its own clock (adjtimex)."""
SUSPEND_MS_MIN: Final = 1_000
_STEP_NS: Final = STEP_MS * 1_000_000
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_READ_NS_MAX: Final = 50_000_000
"""Clocks that took longer than this to read one after the other do not belong to the same instant."""


class Reading(NamedTuple):
    """The machine's clocks at one instant, in nanoseconds.

    Args:
        wall_ns: Since the epoch.
        monotonic_ns: Since an arbitrary start, without the time the machine slept.
        slept_ns: How long the machine has slept since some start; 0 where that is not known.
    """

    wall_ns: int
    monotonic_ns: int
    slept_ns: int = 0


class BootTime(NamedTuple):
    """How long a machine has been up, sleep included: of one boot, the difference of two is exact.

    Args:
        boot_id: Of this boot, and of no other.
        up_ms: Milliseconds since then.
    """

    boot_id: str
    up_ms: int


class Timeline:
    """Event time as a function of the monotonic clock, corrected by what `look` is shown. Pure.

    Args:
        start: Event time begins at its wall time.
    """

    def __init__(self, start: Reading) -> None:
        self._offset_ns = start.wall_ns - start.monotonic_ns  # one number, so that another thread never sees half
        self._slept_ns = start.slept_ns
        self._looked_ns = start.monotonic_ns
        self._ahead_ns = 0  # as told last

    def at(self, monotonic_ns: int) -> int:
        """Event time, in milliseconds since the epoch."""
        return (self._offset_ns + monotonic_ns) // 1_000_000

    def look(self, reading: Reading) -> ClockJump | None:
        """Compare with the wall clock; return what has to be told, if anything.

        Two looks should be about a second apart: that is how long a jump may stay unnoticed.
        """
        now_ns = self._offset_ns + reading.monotonic_ns
        slept_ns = reading.slept_ns - self._slept_ns
        suspended = slept_ns >= SUSPEND_MS_MIN * 1_000_000
        target_ns = now_ns
        if suspended:
            self._slept_ns = reading.slept_ns
            target_ns += slept_ns
        if reading.wall_ns - target_ns > _STEP_NS:
            target_ns = reading.wall_ns
        ahead_ns = max(0, target_ns - reading.wall_ns)
        if ahead_ns <= _STEP_NS:
            ahead_ns = 0
        self._offset_ns += target_ns - now_ns
        if target_ns == now_ns and not ahead_ns:
            self._slew(reading)
        self._looked_ns = reading.monotonic_ns
        if target_ns == now_ns and abs(ahead_ns - self._ahead_ns) <= _STEP_NS:
            return None
        self._ahead_ns = ahead_ns
        reason = "suspend" if suspended else "clock_step"
        return ClockJump(now_ns // 1_000_000, target_ns // 1_000_000, ahead_ns // 1_000_000, reason)

    def _slew(self, reading: Reading) -> None:
        most_ns = max(0, reading.monotonic_ns - self._looked_ns) * SLEW_PPM // 1_000_000
        error_ns = reading.wall_ns - reading.monotonic_ns - self._offset_ns
        self._offset_ns += min(max(error_ns, -most_ns), most_ns)


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._timeline = Timeline(_read() or _instant())
        self._last_ms = 0
        self._last_s = 0.0
        self._boot_id: str | None = None

    def now_ms(self) -> int:
        """Event time in milliseconds since the epoch, never less than the last answer."""
        self._last_ms = max(self._last_ms, self._timeline.at(time.monotonic_ns()))
        return self._last_ms

    def wall_now_ms(self) -> int:
        """What the machine's wall clock shows, milliseconds since the epoch. It may go back."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never less than the last answer: a virtual machine that is moved may see
        its clock go back a little. Unaffected by the wall clock."""
        self._last_s = max(self._last_s, time.monotonic())
        return self._last_s

    def look(self) -> ClockJump | None:
        """Compare with the wall clock and correct event time; the engine alone calls this, about once a second."""
        reading = _read()
        return None if reading is None else self._timeline.look(reading)

    def boot(self) -> BootTime | None:
        """How long this machine has been up, sleep included; None where the system does not say."""
        if self._boot_id is None:
            try:
                self._boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):  # no Linux: two times could not be told to be of one boot
                self._boot_id = ""
        if not self._boot_id:
            return None
        return BootTime(self._boot_id, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)


def _read() -> Reading | None:
    """The clocks at one instant; None if something came between the readings three times in a row."""
    for _ in range(3):
        reading = _instant()
        if time.monotonic_ns() - reading.monotonic_ns <= _READ_NS_MAX:
            return reading
    return None


def _instant() -> Reading:
    monotonic_ns = time.monotonic_ns()
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else monotonic_ns
    return Reading(time.time_ns(), monotonic_ns, boot_ns - monotonic_ns)
