"""The past at a start: what the history has of the time before goes into the windows of the core, before anything else.

The history's own sink is asked once it is open, for a few seconds at most. Whatever goes wrong costs the past and
nothing else: rules then know their windows as they fill, and that is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Final, Protocol

from engine.durations import format_ms
from engine.errors import ProbeError
from engine.events import SampleBatch
from engine.ports import History
from engine.refill import Past, batches_of, past_of
from engine.runtime.delivery import SinkRunner
from engine.runtime.threads import ThreadPool

__all__ = ["PAST_S_MAX", "Refillable", "Refiller", "build_refiller"]

log = logging.getLogger(__name__)

PAST_S_MAX: Final = 5.0
"""How long the history may take, its opening included: measurements wait meanwhile."""

SAMPLES_PER_TURN: Final = 5_000
"""More of them are put in order on a thread: that takes too long for one turn of the loop."""


class Refillable(Protocol):
    """What is needed of the core (`engine.core.evaluator.Core`)."""

    def reach(self, now_ms: int) -> dict[str, int]: ...
    def refilling(
        self, batches: Iterable[SampleBatch], now_ms: int, since_ms: int | None = None
    ) -> Generator[None, None, None]: ...


class Refiller:
    """Asks one history.

    Args:
        core: Whose windows.
        runner: The sink that is the history.
        samples_max: How many samples are taken, the newest.
        pool: Puts many samples in order on a thread.
    """

    def __init__(self, core: Refillable, runner: SinkRunner, samples_max: int, pool: ThreadPool) -> None:
        self._core = core
        self._runner = runner
        self._samples_max = samples_max
        self._pool = pool

    async def steps(self, now_ms: int) -> Generator[None, None, None] | None:
        """The refill of a core that goes on at `now_ms`, to be driven to its end; None if there is nothing."""
        reach = self._core.reach(now_ms)
        if not reach:
            return None
        batches, since_ms = await self._batches(reach, now_ms)
        if not batches:
            return None
        taken, age_ms = sum(len(batch.series) for batch in batches), now_ms - batches[0].time_ms
        ago = format_ms(age_ms // 1_000 * 1_000)
        log.info("windows refilled from the history: %d sample%s, the oldest of %s ago", taken, "s" * (taken != 1), ago)
        return self._core.refilling(batches, now_ms, since_ms)

    async def _batches(self, reach: Mapping[str, int], now_ms: int) -> tuple[Sequence[SampleBatch], int | None]:
        """What the history has, in order of time, and since when that is all; nothing if it can't say it in time."""
        try:
            async with asyncio.timeout(PAST_S_MAX):
                past = await self._past(reach, now_ms)
                if past is None:
                    return (), 0
                since_ms = None if past.whole else past.since_ms
                if sum(len(one.times_ms) for one in past.series) <= SAMPLES_PER_TURN:
                    return list(batches_of(past.series)), since_ms
                return await self._pool.call("refill", lambda: list(batches_of(past.series))), since_ms
        except TimeoutError:
            self._tell("timeout", f"windows are not refilled: no answer after {PAST_S_MAX:g} s")
        except ProbeError as error:  # of the pool
            self._tell(error.reason, f"windows are not refilled: {error}")
        return (), 0

    async def _past(self, reach: Mapping[str, int], now_ms: int) -> Past | None:
        desk, history = self._runner.desk, self._runner.spec.sink
        assert isinstance(history, History)
        if not await desk.opened():
            return None
        outcome = await desk.call(lambda: past_of(history, reach, now_ms, self._samples_max), PAST_S_MAX)
        if outcome.failure is not None:
            self._tell(outcome.failure.reason, f"windows are not refilled: {outcome.failure.message}")
        elif outcome.value is not None and not outcome.value.whole:
            minutes = (now_ms - outcome.value.since_ms) // 60_000
            why = f"there are more than {self._samples_max} samples (engine.refill_samples_max)"
            self._tell("refill_cut", f"windows know the last {minutes} min of the history: {why}")
        return outcome.value

    def _tell(self, reason: str, message: str) -> None:
        self._runner.desk.tell(reason, message, status="degraded")


def build_refiller(
    core: Refillable, runners: Iterable[SinkRunner], samples_max: int, pool: ThreadPool
) -> Refiller | None:
    """What refills windows, by the first sink that is a history; None if there is none, or it is not wanted."""
    histories = [runner for runner in runners if isinstance(runner.spec.sink, History)]
    return Refiller(core, histories[0], samples_max, pool) if histories and samples_max else None
