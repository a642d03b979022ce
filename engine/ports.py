"""The seams: what a probe, a sink, a history, a projector and a clock must be. No behaviour here.

A leaf (one file in `probes/` or `sinks/`) is a class with an `Options` struct, a constructor
`(options, context)` and the methods of its protocol. It must not import anything of `engine` beyond the
values and this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from engine.events import Blind, DomainEvent, Event, Health, Record, SampleBatch, Transition

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Clock",
    "ClockJump",
    "History",
    "KnownLabels",
    "Notices",
    "Notification",
    "Options",
    "Periodic",
    "Probe",
    "ProbeContext",
    "Progress",
    "Projector",
    "Receiver",
    "Recorder",
    "RecordKind",
    "Resuming",
    "RunInfo",
    "SeriesSamples",
    "Sink",
    "SinkContext",
    "WallClock",
    "WatchedClock",
]

T = TypeVar("T")
RecordKind: TypeAlias = Literal["samples", "transitions", "health", "events"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a leaf's configuration. Field types: `str`, `int`, `float`, `bool`, `Duration`, `Secret`,
    `Path`, `Literal`, `| None`, and lists and dicts of them; every field needs a docs entry."""


class Clock(Protocol):
    """Time, as an argument."""

    def now_ms(self) -> int:
        """Event time, milliseconds since the epoch, not decreasing: what to stamp with."""

    def monotonic(self) -> float:
        """Seconds, for durations and schedules."""


class ClockJump(NamedTuple):
    """What a look at the wall clock found.

    Args:
        from_ms, to_ms: Event time before and after; the span between was never lived. Equal if it runs on.
        ahead_ms: How far event time is ahead of the wall clock from now on; 0 if they agree.
        reason: `clock_step` or `suspend`.
    """

    from_ms: int
    to_ms: int
    ahead_ms: int
    reason: str


@runtime_checkable
class WatchedClock(Clock, Protocol):
    """A clock whose event time follows a wall clock that can be set. `look` is optional in a clock of one's own."""

    def look(self) -> ClockJump | None:
        """Compare with the wall clock, and jump if need be. Only the engine's core task calls it: before anything
        stamped later can come in, it knows of the jump."""


class ProbeContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is given beside its options.

    Args:
        name: The table's name: `health` for `[probe.health]`.
        interval_ms: How often `collect` is called; put it into every sample.
        timeout_ms: After this `collect` is cancelled.
        labels: Labels the operator attached; they belong on every series of the probe.
        clock: For stamps.
        call: Runs a blocking function on the engine's bounded thread pool. One call per probe may be
            outstanding: while an earlier one hangs, this raises `ProbeError("busy")`.
    """

    name: str
    interval_ms: int
    timeout_ms: int
    labels: Mapping[str, str]
    clock: Clock
    call: Callable[[Callable[[], T]], Awaitable[T]]


class KnownLabels(NamedTuple):
    """What is known of the labels of a metric's series before anything was measured.

    Args:
        labels: Labels that each series has.
        complete: Whether none has others.
    """

    labels: Mapping[str, str]
    complete: bool = False


@runtime_checkable
class WallClock(Clock, Protocol):
    """A clock that can be asked what a watch on the wall shows, too: for what others hold against their own watch,
    such as the time of a signature. It may go back."""

    def wall_now_ms(self) -> int:
        """Milliseconds since the epoch."""


@runtime_checkable
class Probe(Protocol):
    """Measures. `collect` is never called while an earlier call is under way.

    Class attributes of one that a configuration can name: `Options` (its configuration), `DEFAULT_INTERVAL` and
    `DEFAULT_TIMEOUT`, as text, and, so that `check` can tell a misspelt metric, `METRICS`; with `METRICS_OPEN` true
    where its target names further ones. So that `check` can tell a selector that selects nothing, a static
    `known_labels(metric, options, name, labels) -> KnownLabels`, `name` and `labels` as in the context.
    """

    async def open(self) -> None:
        """Acquire sessions and files. Called once before `collect`, and again after a restart."""

    async def collect(self) -> Sequence[Event]:
        """Measure once and return stamped events.

        Stamp when the measurement is complete, so that nothing is late. A target that is down is a
        measurement (`probe_success 0`), not an error.

        Raises:
            ProbeError: The probe itself could not measure.
        """

    async def close(self) -> None:
        """Release everything. Must not raise."""


class SinkContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink is given beside its options.

    Args:
        name: The table's name: `ops` for `[sink.ops]`.
        engine_name: The name of this watch.
        clock: For stamps.
        state_dir: Where it may keep files, or None when the engine must not write any.
        timezone: IANA name, for every time a person reads.
        external_labels: Labels that identify this engine to others.
        call: Runs a blocking function on the engine's bounded thread pool, for name look-ups and files.
            One call per sink may be outstanding: while an earlier one hangs, this raises
            `SinkError("busy", retryable=True)`.
    """

    name: str
    engine_name: str
    clock: Clock
    state_dir: Path | None
    timezone: str
    external_labels: Mapping[str, str]
    call: Callable[[Callable[[], T]], Awaitable[T]]


@runtime_checkable
class Sink(Protocol):
    """Where things go. Class attribute: `Options`. A sink is one or more of `Recorder`, `Receiver` and `Periodic`."""

    async def open(self) -> None:
        """Acquire what it needs. Raises `SinkError`; a retryable one is tried again with back-off."""

    async def close(self) -> None:
        """Flush and release. Called under a deadline; must be safe to call twice."""


@runtime_checkable
class Recorder(Sink, Protocol):
    """A sink that takes the record, as it happened: those kinds of it that `WANTS` names."""

    WANTS: ClassVar[frozenset[RecordKind]]

    async def write(self, records: Sequence[Record]) -> None:
        """Take records, in order. All or none of them are taken, but for what can never be stored: a sink that
        leaves such records out counts them in an attribute `dropped` and says so through `Notices`.

        Raises:
            SinkError: `retryable` decides whether the same records are offered again.
        """


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver is told about a group of alerts.

    Args:
        receiver: Name of the receiving sink.
        group_key: Identity of the group, in Alertmanager's form.
        group_labels: Labels shared by definition of the group.
        transitions: What happened, oldest first; each firing, resolved or lost.
        external_labels: Labels that identify this engine.
        truncated: How many more transitions were left out; the engine itself leaves none out.
    """

    receiver: str
    group_key: str
    group_labels: Mapping[str, str]
    transitions: tuple[Transition, ...]
    external_labels: Mapping[str, str] = {}
    truncated: int = 0


@runtime_checkable
class Receiver(Sink, Protocol):
    """A sink that tells people. Rendering and sending are apart, so that what is stored is what is sent.

    One with an attribute `send_resolved` that is false is not told of resolved alerts; of lost ones it is. One with an
    attribute `deliveries_max` above 1 is given that many messages at a time, at most 16, each about other alerts.
    One that takes messages by choice has an attribute `receives`, and its options a field `messages`: both false while
    it takes none.
    """

    def render(self, notification: Notification) -> bytes:
        """Return the body. Pure: the same notification gives the same bytes."""

    async def deliver(self, message_id: str, body: bytes) -> None:
        """Make one attempt to send. The same id means the same body.

        Raises:
            SinkError: `retryable` and `retry_after_s` say what to do next.
        """


@runtime_checkable
class Resuming(Receiver, Protocol):
    """A receiver that keeps what it was told, because those it tells forget it unless they are told again."""

    def resume(self, standing: Notification) -> None:
        """Take what stands when the engine starts: each firing alert as its last transition, and those that it was told
        to be lost within the last days. Called once, after `open` and before the first `deliver`; never where nothing
        stands. It is not bounded as other notifications are."""


class Progress(NamedTuple):
    """How far a part of the engine has come.

    Args:
        last_s: When it last got anywhere, seconds of the monotonic clock; its start at first.
        limit_s: How long that may be ago before it counts as stuck.
    """

    last_s: float
    limit_s: float


@runtime_checkable
class Periodic(Sink, Protocol):
    """A sink that acts by the clock. A failed `tick` is repeated sooner than the interval says.

    Attributes:
        interval_s: Seconds from one `tick` to the next; the first comes as soon as the sink is open.
    """

    interval_s: float

    async def tick(self, parts: Mapping[str, Progress]) -> None:
        """Do what is due.

        Args:
            parts: The parts of the engine that must get on: `core` judges, `probes` measure.

        Raises:
            SinkError: It could not be done, or not wholly.
        """


@runtime_checkable
class Notices(Protocol):
    """A sink that has things to tell which are not errors of a call: a file renamed, a checkpoint that failed."""

    def take_notices(self) -> Sequence[tuple[str, str]]:
        """Return (reason, message) of each since the last call, as those of a `SinkError`, and forget them.

        Asked for after `open`, `write`, `deliver` and `tick`; each becomes a health event.
        """


class SeriesSamples(msgspec.Struct, frozen=True, eq=False):
    """Stored samples of one series: `times_ms` int64 and `values` float64, both of shape (n,), ascending.

    Args:
        interval_ms: How often its probe measured it when it was last heard of, 0 where nobody knew; None if that is
            not stored.
        down_ms: Times of the stale markers that mean that the target was down; others mean that the series ended.
        means: How many of the first samples are 1-minute means.
    """

    series: str
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    interval_ms: int | None = None
    down_ms: frozenset[int] = frozenset()
    means: int = 0


class RunInfo(msgspec.Struct, frozen=True):
    """One watch from start to end; `ended_ms` is 0 while it goes on or if it was cut off."""

    run_id: int
    name: str
    started_ms: int
    ended_ms: int = 0
    outcome: str = ""


@runtime_checkable
class History(Protocol):
    """What people query. Spans are half-open: start_ms <= t < end_ms."""

    async def samples(self, metric: str, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Samples of every series of a metric, raw where they are still kept, else 1-minute means."""

    async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Samples of every series of some metrics as they came, as far as they are still kept so."""

    async def metrics(self) -> list[str]:
        """Names of the metrics that it has series of, in their order."""

    async def transitions(self, start_ms: int, end_ms: int) -> list[Transition]:
        """Transitions, oldest first."""

    async def health(self, start_ms: int, end_ms: int) -> list[Health]:
        """Health events, oldest first."""

    async def runs(self) -> list[RunInfo]:
        """Runs, newest first."""

    async def events(self, start_ms: int, end_ms: int) -> list[DomainEvent]:
        """Domain events, oldest first. Of a type that is not built in there is the tag and the time."""

    async def blind(self, start_ms: int, end_ms: int) -> list[Blind]:
        """Blind spans that have a part between the two times, in the order in which they were noticed."""


@runtime_checkable
class Projector(Protocol):
    """Turns domain and health events into samples. Pure: no clock, no I/O."""

    def apply(self, event: DomainEvent | Health) -> SampleBatch | None:
        """Take one event; return what it changes, stamped with the event's time, or None."""

    def initial(self, time_ms: int) -> Iterable[SampleBatch]:
        """Samples that exist from the start, such as counters at 0."""

    def snapshot(self) -> bytes:
        """Everything it knows, for `restore`."""

    def restore(self, data: bytes) -> None:
        """Take a snapshot back. Raises `StateError` if it is not one of its own."""
