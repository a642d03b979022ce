"""The parts that runners share, for tests: real ones, under whatever clock the test has."""

import random
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path
from typing import Any

from engine.channel import Channel, Policy
from engine.events import Event, Health, Sample, Transition
from engine.ports import Clock
from engine.runtime.contain import Containment
from engine.runtime.intake import Intake
from engine.runtime.keeping import Keeper
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import LoopWorker
from engine.runtime.ledger.values import Limits, Notice
from engine.runtime.progress import ProgressBook
from engine.runtime.report import Reporter
from engine.runtime.supervisor import Shared
from engine.runtime.waking import Waking
from engine.status import AlertStatus


def shared(clock: Clock, *, capacity: int = 10_000, policy: Policy = "drop_oldest") -> Shared:
    return Shared(
        clock=clock,
        channel=Channel(capacity, policy),
        containment=Containment(),
        intake=Intake(batch_samples_max=1_000, series_max=10_000),
        reporter=Reporter(),
        rng=random.Random(1),
        progress=ProgressBook(),
        waking=Waking(),
    )


def keeper_of(
    parts: Shared, receivers: Collection[str], path: Path | None = None, limits: Limits | None = None
) -> Keeper:
    """A ledger that is run in the loop itself, so that virtual time can be had."""

    def tell(notice: Notice) -> None:
        parts.report(parts.reporter.failed(parts.clock.now_ms(), "ledger", notice.reason, notice.message))

    store = Store(path, parts.clock.now_ms)
    ledger = Ledger(store, parts.clock, tell, worker=LoopWorker(), rng=random.Random(2), limits=limits)
    return Keeper(ledger, parts, receivers=receivers)


async def taken(parts: Shared) -> list[Event]:
    """What is in the channel now."""
    if not parts.channel.statistics().depth:
        return []
    return await parts.channel.get_batch(1_000_000)


async def health_of(parts: Shared) -> list[tuple[str, str, str]]:
    """Component, status and reason of the health events in the channel; everything in it is taken."""
    return [(e.component, e.status, e.reason) for e in await taken(parts) if isinstance(e, Health)]


def firing(rule: str = "R", time_ms: int = 1, **labels: str) -> Transition:
    return Transition(time_ms, rule, {"alertname": rule, **labels}, "pending", "firing", "held", 1.0, 0)


def resolved(rule: str = "R", time_ms: int = 2, **labels: str) -> Transition:
    return Transition(time_ms, rule, {"alertname": rule, **labels}, "firing", "inactive", "recovered", 0.0, 0)


class FakeCore:
    """A core that records what is done to it: a sample over 5 gives a transition, a deadline another."""

    def __init__(self) -> None:
        self.fed: list[Event] = []
        self.advanced: list[int] = []
        self.deadlines: list[int] = []
        self.health: list[Health] = []
        self.error: Exception | None = None
        self.chunks = 1
        self.inside = 0
        self.readings: list[int] = []

    def feeding(
        self, events: Sequence[Event], on_error: Callable[[Exception], None]
    ) -> Generator[None, None, list[Transition]]:
        self._enter()
        if self.error is not None:
            self.inside -= 1
            raise self.error
        for _ in range(self.chunks):
            yield
        for event in events:
            if isinstance(event, Sample) and event.series == "poison":
                on_error(ArithmeticError("a bug"))
            else:
                self.fed.append(event)
        self.inside -= 1
        return [firing("Hot", e.time_ms) for e in events if isinstance(e, Sample) and e.value > 5]

    def advancing(self, now_ms: int) -> Generator[None, None, list[Transition]]:
        self._enter()
        yield
        self.advanced.append(now_ms)
        due = [d for d in self.deadlines if d <= now_ms]
        self.deadlines = [d for d in self.deadlines if d > now_ms]
        self.inside -= 1
        return [resolved("Due", d) for d in due]

    def _enter(self) -> None:
        assert self.inside == 0, "the core was entered twice"
        self.inside += 1

    def next_deadline(self) -> int | None:
        return min(self.deadlines, default=None)

    def alerts(self, limit: int | None = None) -> list[AlertStatus]:
        assert self.inside == 0, "read while a step was under way"
        return []

    def alert_counts(self) -> dict[str, int]:
        return {}

    def latest(self, metric: str, limit: int | None = None) -> dict[str, float]:
        return {metric: float(len(self.fed))}

    def counters(self) -> dict[str, int]:
        return {"transitions_total": len(self.advanced)}

    def take_health(self) -> list[Health]:
        taken, self.health = self.health, []
        return taken

    @property
    def series_count(self) -> int:
        return len(self.fed)


class OddSequence(Sequence[Any]):
    """A sequence that raises when it is read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        raise KeyError("no")
