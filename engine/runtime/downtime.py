"""How long the engine itself was away: the last sign of life of the run before, against now. Pure.

Of one boot the difference of the boot clock is exact, whatever was done to the wall clock meanwhile. After a reboot
there is the wall clock alone, which may have been wrong at either end: what it says is bounded (fault F95).
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec

from engine.clock import BootTime
from engine.events import Blind
from engine.ports import Clock

__all__ = ["AWAY_MS_MAX", "BootClock", "NEVER_QUIET", "Downtime", "LifeSign", "Quiet", "downtime", "life_sign"]

AWAY_MS_MAX: Final = 31 * 86_400_000
"""The longest absence that a wall clock alone is believed."""
_Ms: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # it is read from a file


@runtime_checkable
class BootClock(Clock, Protocol):
    """A clock that can be compared across restarts of the process. `boot` is optional in a clock of one's own."""

    def boot(self) -> BootTime | None:
        """The time since the machine was started; None if that is not known."""


class Quiet(msgspec.Struct, frozen=True, array_like=True):
    """From when until when no alert changed, in event time (ms): the last change that is on disk, and the last look."""

    from_ms: _Ms = 0
    to_ms: _Ms = 0


class LifeSign(msgspec.Struct, frozen=True):
    """That an engine was running, as it is kept in the state folder.

    Args:
        time_ms: Event time of the engine.
        boot_id, up_ms: As in `BootTime`; empty and 0 where that is not known.
        stopped: Whether this is the last one, of a stop that was asked for.
        quiet: How long nothing has changed that the ledger would know.
    """

    time_ms: _Ms
    boot_id: str = ""
    up_ms: _Ms = 0
    stopped: bool = False
    quiet: Quiet = Quiet()


NEVER_QUIET: Final = Quiet()


class Downtime(NamedTuple):
    """From the last sign of life to the start.

    Args:
        from_ms, to_ms: In event time. What the wall clock was set forward meanwhile lies between, too; if it was set
            back the two are equal.
        lasted_ms: How long it really was.
        exact: Whether that is measured, or what the wall clock says.
        asked_for: Whether the run before was stopped, or was cut off.
    """

    from_ms: int
    to_ms: int
    lasted_ms: int
    exact: bool
    asked_for: bool

    def watched_until(self, until_ms: int) -> Downtime:
        """The same, knowing that somebody still watched at an instant."""
        from_ms = min(max(self.from_ms, until_ms), self.to_ms)
        return self._replace(from_ms=from_ms, lasted_ms=max(0, self.lasted_ms - (from_ms - self.from_ms)))

    def blind(self) -> Blind | None:
        """The span in which nobody looked; None if event time has none."""
        return Blind(self.to_ms, self.from_ms, self.to_ms, "*", "downtime") if self.to_ms > self.from_ms else None


def life_sign(clock: Clock, *, stopped: bool = False, quiet: Quiet = NEVER_QUIET) -> LifeSign:
    """That the engine of this clock runs now."""
    boot = clock.boot() if isinstance(clock, BootClock) else None
    if boot is None:
        return LifeSign(clock.now_ms(), stopped=stopped, quiet=quiet)
    return LifeSign(clock.now_ms(), boot.boot_id, boot.up_ms, stopped, quiet)


def downtime(last: LifeSign, now: LifeSign) -> Downtime:
    """How long nobody looked, from the last sign of one run to the first of the next."""
    exact = bool(last.boot_id) and last.boot_id == now.boot_id and now.up_ms >= last.up_ms
    lasted_ms = now.up_ms - last.up_ms if exact else min(max(0, now.time_ms - last.time_ms), AWAY_MS_MAX)
    return Downtime(min(last.time_ms, now.time_ms), now.time_ms, lasted_ms, exact, last.stopped)
