"""Is it the target that can't be reached, or are we? A few addresses elsewhere are tried; if none answers, it is us.

Once every ten seconds one of them is tried, in turn, and the others only if that one does not answer. Two rounds
without an answer mean that this machine is offline, and one answer that it is back. What a remote probe measures as
down is held back until a round that began after it has said where the fault lies: a failure of our own never reaches
the rules, and becomes a blind span of that probe, `probe.NAME`. A connection that is refused is an answer.

It must never ask a name server, never say that a target is up or down, and never doubt a success.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from engine.addresses import Endpoint
from engine.events import Blind, Event, Health, Sample, SampleBatch
from engine.ports import Clock
from engine.runtime.report import Reporter
from engine.series import metric_of

__all__ = ["EVERY_S", "OFFLINE_EVERY_S", "ROUNDS_MIN", "SPACING_S", "TIMEOUT_S", "Sentinel", "connect", "tells_down"]

EVERY_S: Final = 10.0
OFFLINE_EVERY_S: Final = 2.0
SPACING_S: Final = 1.0
"""The least time between two rounds, however many probes ask."""
TIMEOUT_S: Final = 2.0
"""For one address; a round takes at most twice that."""
ROUNDS_MIN: Final = 2
"""So many rounds in a row without an answer mean offline."""
PIECE_MS: Final = 100
"""While it is offline the core is told of the blind span in pieces, at most this often, or when something is due."""
SERIES_READ_MAX: Final = 100
SERIES_REMEMBERED_MAX: Final = 10_000
"""Of one probe."""
COMPONENT: Final = "network"
_TELLING: Final = frozenset({"up", "probe_success"})
# Out of descriptors or memory: nothing is learnt about the network.
_OUR_OWN: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Sentinel:
    """Knows whether this machine is offline, and holds back what remote probes fail at meanwhile.

    Args:
        targets: Independent addresses, at least two.
        remote: Names of the probes it is about.
        clock, reporter: The engine's.
        report: Sends health events.
        reach: Tries one address. Raises `OSError` or `TimeoutError` if nothing answers there.
    """

    def __init__(
        self,
        targets: Sequence[Endpoint],
        remote: Iterable[str],
        clock: Clock,
        reporter: Reporter,
        report: Callable[[Iterable[Health]], None],
        reach: Callable[[Endpoint], Awaitable[None]] | None = None,
    ) -> None:
        self._targets = tuple(targets)
        self._remote = tuple(remote)
        self._clock = clock
        self._reporter = reporter
        self._report = report
        self._reach = reach or connect
        self._turn = 0
        self._failed = 0  # rounds in a row without an answer
        self._reached_ms = clock.now_ms()  # it was not offline then, as far as is known
        self._online_s = clock.monotonic()  # since when it has not been
        self._told_ms = 0
        self._blind: dict[str, int] = {}  # probe -> until when the core knows that it is blind
        self._series: dict[str, dict[str, None]] = {}  # probe -> what it has measured lately
        self._down: set[str] = set()  # probes whose last measurement said so, and was believed
        self._pieces: list[Blind] = []
        self._begun = 0  # rounds
        self._ended = 0
        self._asked = asyncio.Event()
        self._over = asyncio.Event()
        self.withheld = 0
        """Measurements that were held back for good since the start."""

    @property
    def offline(self) -> bool:
        """Whether no address answered in the last rounds."""
        return self._failed >= ROUNDS_MIN

    async def run(self) -> None:
        """Try, for ever."""
        while True:
            self._asked.clear()
            self._begun += 1
            begun_ms = self._clock.now_ms()
            reached = await self._round()
            self._note(reached, begun_ms)
            self._ended = self._begun
            over, self._over = self._over, asyncio.Event()
            over.set()
            await asyncio.sleep(SPACING_S)
            if self._failed == 0 or self.offline:  # else it is in doubt, and tries again at once
                await self._pause((OFFLINE_EVERY_S if self.offline else EVERY_S) - SPACING_S)

    async def trusts(self, probe: str, events: Sequence[Event], begun_s: float) -> bool:
        """Whether what a remote probe measured may be judged; if not, its time is blind.

        Args:
            begun_s: When the measurement began, on the clock's monotonic time.
        """
        self._remember(probe, events)
        if not tells_down(events):
            if self.offline and probe in self._blind:  # it sees, whatever the others do
                self._end(probe)
            self._down.discard(probe)
            return True
        known = probe in self._down and not self._failed  # no news: it need not wait for a round each time
        if not self.offline and (known or await self._verdict()) and begun_s >= self._online_s:
            self._down.add(probe)
            return True
        self.withheld += 1
        now_ms = self._clock.now_ms()
        if self.offline:
            self._blind.setdefault(probe, now_ms)
        else:  # back online, but this was measured before
            lasted_ms = round((self._clock.monotonic() - begun_s) * 1000)
            self._pieces.append(self._span(probe, now_ms - lasted_ms, now_ms))
        return False

    def take(self, now_ms: int, *, due: bool) -> list[Blind]:
        """The blind spans since the last call.

        Args:
            due: Whether the core has something due by `now_ms`: then it must know of every instant until then.
        """
        if self.offline and (due or now_ms - self._told_ms >= PIECE_MS):
            self._told_ms = now_ms
            for probe in self._blind:
                self._tell(probe, now_ms)
        pieces, self._pieces = self._pieces, []
        return pieces

    async def _verdict(self) -> bool:
        """Whether this machine is online, by a round that begins from now on."""
        needed = self._begun + 1
        while self._ended < needed or 0 < self._failed < ROUNDS_MIN:
            self._asked.set()
            await self._over.wait()
        return not self.offline

    async def _round(self) -> bool:
        """Try one address, and all others if that one does not answer."""
        turn, self._turn = self._turn, (self._turn + 1) % len(self._targets)
        if await self._answers(self._targets[turn]):
            return True
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(self._answers(to)) for at, to in enumerate(self._targets) if at != turn]
        return any(other.result() for other in others)

    async def _answers(self, target: Endpoint) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._reach(target)
        except ConnectionRefusedError:
            return True
        except OSError as error:  # TimeoutError is one
            return error.errno in _OUR_OWN
        return True

    def _note(self, reached: bool, begun_ms: int) -> None:
        now_ms, was_offline = self._clock.now_ms(), self.offline
        if reached:
            self._failed = 0
            self._reached_ms = begun_ms
            if was_offline:
                self._online_s = self._clock.monotonic()
                for probe in list(self._blind):
                    self._end(probe)
            self._report(self._reporter.recovered(now_ms, COMPONENT))
            return
        self._failed += 1
        if self.offline:
            if not was_offline:
                self._blind = dict.fromkeys(self._remote, self._reached_ms)
            message = f"none of {len(self._targets)} sentinels answers: what {len(self._remote)} remote probes "
            message += "can't reach is not judged"
            self._report(self._reporter.failed(now_ms, COMPONENT, "offline", message, status="degraded"))

    def _end(self, probe: str) -> None:
        self._tell(probe, self._clock.now_ms())
        del self._blind[probe]

    def _tell(self, probe: str, now_ms: int) -> None:
        from_ms = self._blind[probe]
        if now_ms > from_ms:
            self._pieces.append(self._span(probe, from_ms, now_ms))
            self._blind[probe] = now_ms

    def _span(self, probe: str, from_ms: int, now_ms: int) -> Blind:
        return Blind(now_ms, from_ms, now_ms, f"probe.{probe}", "offline", tuple(self._series.get(probe, ())))

    def _remember(self, probe: str, events: Sequence[Event]) -> None:
        """Note what a probe measures: these are the series that nobody sees while it is blind."""
        texts = dict.fromkeys(
            text
            for event in events
            if isinstance(event, Sample | SampleBatch)
            for text in ((event.series,) if isinstance(event, Sample) else event.series)[:SERIES_REMEMBERED_MAX]
        )
        known = self._series.setdefault(probe, {})
        if not texts.keys() <= known.keys():
            known.update(texts)
            while len(known) > SERIES_REMEMBERED_MAX:
                del known[next(iter(known))]

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks."""
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            pass  # nobody did


def tells_down(events: Iterable[Event]) -> bool:
    """Whether a measurement says that its target is down: `up` or `probe_success` is 0, among its first series."""
    for event in events:
        if isinstance(event, Sample):
            if event.value == 0 and metric_of(event.series) in _TELLING:
                return True
        elif isinstance(event, SampleBatch):
            for series, value in zip(event.series[:SERIES_READ_MAX], event.values, strict=False):
                if value == 0 and metric_of(series) in _TELLING:
                    return True
    return False


async def connect(target: Endpoint) -> None:
    """Connect to an address by TCP, and hang up."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as own:
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, tuple(target))
