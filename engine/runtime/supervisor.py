"""One probe, kept running: opened, called on its grid, checked, reported, retried. One task each.

A probe that raises, hangs, ignores its cancellation or returns nonsense becomes a health event on the same road
as its measurements, and is tried again with back-off. No other component notices (faults F62 to F69).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from engine.channel import Channel
from engine.errors import ProbeError
from engine.events import Event, Health, HealthStatus
from engine.ports import Clock, Probe
from engine.runtime.contain import Containment, Failure, describe
from engine.runtime.intake import Intake
from engine.runtime.progress import ProgressBook
from engine.runtime.report import Reporter
from engine.runtime.schedule import Grid, backoff_s
from engine.runtime.sentinel import tells_down
from engine.runtime.turns import in_turns
from engine.runtime.waking import Waking
from engine.status import ProbeStatus

__all__ = ["CLOSE_TIMEOUT_S", "OPEN_TIMEOUT_S", "REOPEN_AFTER_FAILURES", "ProbeRunner", "ProbeSpec", "Shared"]

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
REOPEN_AFTER_FAILURES = 3
"""A probe that failed this often in a row is closed and opened anew before the next try."""
UNTRUSTED: Final = "this machine is offline: nothing is known of the target"
Trusts: TypeAlias = Callable[[str, Sequence[Event], float], Awaitable[bool]]
"""Whether what a probe measured may be judged; given its name, the events, and when it began (s, monotonic)."""


class ProbeSpec(NamedTuple):
    """A probe to run.

    Args:
        name: Its table's name.
        type: What it is, for people.
        probe: The probe itself.
        remote: Whether it asks something beyond this machine.
    """

    name: str
    type: str
    interval_ms: int
    timeout_ms: int
    probe: Probe
    remote: bool = False


class Shared(NamedTuple):
    """What the parts of one engine have in common."""

    clock: Clock
    channel: Channel
    containment: Containment
    intake: Intake
    reporter: Reporter
    rng: random.Random
    progress: ProgressBook
    waking: Waking

    def report(self, events: Iterable[Health]) -> None:
        """Send health events down the road; once it is closed they are kept for the pipeline's last word."""
        for event in events:
            if self.channel.closed:
                self.reporter.keep_late(event)
            else:
                self.channel.put_nowait(event)


class _Measured(NamedTuple):
    """What came of one tick: a failure, or a measurement with or without something to complain of."""

    failure: Failure | None = None
    complaint: Failure | None = None
    trusted: bool = True


class ProbeRunner:
    """Runs one probe until it is cancelled.

    Args:
        spec: The probe.
        shared: The engine's clock, channel and so on.
        trusts: Is asked before anything is handed over; None trusts everything.
    """

    def __init__(self, spec: ProbeSpec, shared: Shared, trusts: Trusts | None = None) -> None:
        self.spec = spec
        self.component = f"probe.{spec.name}"
        self._shared = shared
        self._trusts = trusts
        self._open = False
        self._opened_once = False
        self._status: HealthStatus = "ok"
        self._message = ""
        self._last_ms = 0
        self._duration_ms = 0.0
        self._ticks = 0
        self._ticks_missed = 0
        self._failures = 0
        self._failures_total = 0
        self._refused: dict[str, int] = {}
        self._target_down = False

    @property
    def refused(self) -> dict[str, int]:
        """Events that were refused, by reason, since the start."""
        return dict(self._refused)

    def status(self) -> ProbeStatus:
        """How it is now."""
        return ProbeStatus(
            name=self.spec.name,
            type=self.spec.type,
            interval_ms=self.spec.interval_ms,
            status=self._status,
            message=self._message,
            last_ms=self._last_ms,
            duration_ms=self._duration_ms,
            ticks=self._ticks,
            ticks_missed=self._ticks_missed,
            failures=self._failures,
            failures_total=self._failures_total,
            target_down=self._target_down,
        )

    async def run(self) -> None:
        """Measure on the grid, for ever."""
        clock = self._shared.clock
        grid = Grid(self.spec.name, self.spec.interval_ms / 1000, clock.monotonic())
        while True:
            tick = grid.next(clock.monotonic())
            self._ticks_missed += tick.missed
            if await self._shared.waking.sleep(max(0.0, tick.due_s - clock.monotonic())):
                await asyncio.sleep(max(0.0, grid.hurry(clock.monotonic()) - clock.monotonic()))
            if self._shared.containment.is_hung(self.component):
                self._ticks_missed += 1
                self._note_failure(Failure("hung", "an earlier call has not ended, and ignores being cancelled"))
                continue
            self._ticks += 1
            failure, complaint, trusted = await self._measure()
            if failure is None or failure.reason != "hung":  # whatever it said, it came back
                self._shared.progress.made("probes", clock.monotonic())
            if failure is None:
                self._note_success(complaint)
                if not trusted:  # one health event tells of them all
                    self._status, self._message = "degraded", UNTRUSTED
                continue
            self._note_failure(failure)
            pause_s = backoff_s(self._failures, self._shared.rng)
            if self._failures > 1:  # the first failure costs no tick
                grid.skip_to(clock.monotonic() + pause_s)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Release what the probe holds; does not raise."""
        self._open = False
        if not self._opened_once or self._shared.containment.is_hung(self.component):
            return
        outcome = await self._shared.containment.call(self.component, self.spec.probe.close, timeout_s)
        if outcome.failure is not None:
            self._tell(outcome.failure, status="degraded")

    async def _measure(self) -> _Measured:
        """One tick."""
        if self._open and self._failures and self._failures % REOPEN_AFTER_FAILURES == 0:
            await self.close()
        call, clock, probe = self._shared.containment.call, self._shared.clock, self.spec.probe
        if not self._open:
            self._opened_once = True
            opening = await call(self.component, probe.open, OPEN_TIMEOUT_S)
            if opening.failure is not None:
                return _Measured(opening.failure)
            self._open = True
        begun_s = clock.monotonic()
        outcome = await call(self.component, probe.collect, self.spec.timeout_ms / 1000)
        self._duration_ms = (clock.monotonic() - begun_s) * 1000
        if outcome.failure is not None:
            return _Measured(outcome.failure)
        return await self._hand_over(outcome.value, begun_s)

    async def _hand_over(self, output: Any, begun_s: float) -> _Measured:
        shared = self._shared
        try:
            checking = shared.intake.checking(output, shared.clock.now_ms())
            events, refused = await in_turns(checking)
        except ProbeError as error:
            return _Measured(describe(error))
        except Exception as error:  # noqa: BLE001  # a foreign sequence may raise whatever it likes
            return _Measured(Failure("bad_output", describe(error).message, error))
        if self._trusts is not None and not await self._trusts(self.spec.name, events, begun_s):
            return _Measured(trusted=False)
        self._target_down = tells_down(events)
        for event in events:
            await shared.channel.put(event)
        if not refused:
            return _Measured()
        for reason, count in refused.items():
            self._refused[reason] = self._refused.get(reason, 0) + count
        words = ", ".join(f"{count} for {reason}" for reason, count in sorted(refused.items()))
        failure = Failure("bad_output", f"{sum(refused.values())} of {len(output)} events refused: {words}")
        return _Measured(complaint=failure) if events else _Measured(failure)

    def _note_success(self, complaint: Failure | None) -> None:
        self._failures = 0
        self._last_ms = self._shared.clock.now_ms()
        if complaint is not None:
            self._tell(complaint, status="degraded")
            return
        self._status, self._message = "ok", ""
        self._shared.report(self._shared.reporter.recovered(self._last_ms, self.component))

    def _note_failure(self, failure: Failure) -> None:
        self._target_down = False  # nobody knows
        self._failures += 1
        self._failures_total += 1
        self._tell(failure)

    def _tell(self, failure: Failure, *, status: HealthStatus = "failed") -> None:
        self._status, self._message = status, failure.message
        now_ms = self._shared.clock.now_ms()
        self._shared.report(
            self._shared.reporter.failed(now_ms, self.component, failure.reason, failure.message, status=status)
        )
