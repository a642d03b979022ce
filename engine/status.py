"""What an engine tells about itself at one instant: plain values for the view, `health` and tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from engine.events import AlertState, Facts, HealthStatus

__all__ = ["AlertStatus", "ChannelStatus", "EngineStatus", "LedgerState", "ProbeStatus", "SinkStatus", "alert_counts"]


class AlertStatus(msgspec.Struct, frozen=True):
    """One alert that is not inactive.

    Args:
        elapsed_ms: Time on the clock that runs: towards `for_ms` while pending, since then while firing. Under `of` a
            pending alert has here for how much of its window it held, and in `for_ms` how much it needs.
        paused: The condition is unknown, so the clock stands.
        keeping: The condition has ended and `keep_firing_for` runs.
        due_ms: When it will fire (pending), reach its next level or resolve (keeping) if nothing changes; 0 where none.
        fading: It is pending under `of` and its condition is false by now: at `due_ms` it is over, and does not fire.
        severity: Of the highest level that is set, for a rule with levels.
        flapping: It has been going back and forth, see `engine.core.flaps`.
        fired_ms: When it began to fire; 0 if it has not yet.
        facts: What was measured since `active_since_ms`, of one that fires.
    """

    rule: str
    labels: dict[str, str]
    state: AlertState
    active_since_ms: int
    elapsed_ms: int
    for_ms: int
    value: float
    paused: bool = False
    keeping: bool = False
    due_ms: int = 0
    annotations: dict[str, str] = {}
    severity: str = ""
    flapping: bool = False
    fading: bool = False
    fired_ms: int = 0
    facts: Facts | None = None

    @property
    def shown_labels(self) -> dict[str, str]:
        """The labels as people see them: with the severity that is reached, for a rule with levels."""
        return {**self.labels, "severity": self.severity} if self.severity else self.labels


class ProbeStatus(msgspec.Struct, frozen=True):
    """One probe. `last_ms` is its last success, 0 before the first; `failures` counts in a row. A probe is ok that has
    measured that its target is down: `target_down`."""

    name: str
    type: str
    interval_ms: int
    status: HealthStatus = "ok"
    message: str = ""
    last_ms: int = 0
    duration_ms: float = 0.0
    ticks: int = 0
    ticks_missed: int = 0
    failures: int = 0
    failures_total: int = 0
    target_down: bool = False


class SinkStatus(msgspec.Struct, frozen=True):
    """One sink.

    Args:
        queued: Against `queue_max`, in records or messages.
        dropped: Since the start.
        held: Messages that wait for a person: dead letters, and those for a receiver that wants nothing more.
        oldest_ms: When the first of the messages that wait was made, event time; 0 if none waits.
    """

    name: str
    type: str
    status: HealthStatus = "ok"
    message: str = ""
    queued: int = 0
    queue_max: int = 0
    written: int = 0
    retries: int = 0
    dropped: int = 0
    held: int = 0
    oldest_ms: int = 0


class ChannelStatus(msgspec.Struct, frozen=True):
    """The queue between probes and core, in samples. `peak` is the deepest it has been."""

    depth: int = 0
    capacity: int = 0
    peak: int = 0
    received: int = 0
    dropped: dict[str, int] = {}


class LedgerState(msgspec.Struct, frozen=True):
    """The ledger.

    Args:
        kept: `disk`; `memory`, because no file is wanted; `degraded`: in memory, because the file can't be written;
            `opening`.
        trouble: Why it is degraded, as a code.
    """

    kept: str = "memory"
    trouble: str = ""


class EngineStatus(msgspec.Struct, frozen=True):
    """Everything at one instant.

    Args:
        phase: `starting`, `running`, `draining` or `stopped`.
        heartbeat_ms: When this was made.
        lag_ms: How late the engine's own loop turn was, last measured.
        gauges: Latest value of the key series, by canonical text, for the view.
        counters: The engine's own counters by name (see docs/metrics.md).
    """

    name: str
    pid: int
    phase: str
    started_ms: int
    heartbeat_ms: int
    lag_ms: float = 0.0
    series: int = 0
    rules: int = 0
    probes: tuple[ProbeStatus, ...] = ()
    sinks: tuple[SinkStatus, ...] = ()
    alerts: tuple[AlertStatus, ...] = ()
    channel: ChannelStatus = ChannelStatus()
    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    ledger: LedgerState = LedgerState()

    @property
    def status(self) -> HealthStatus:
        """The worst of all parts."""
        parts = {probe.status for probe in self.probes} | {sink.status for sink in self.sinks}
        degraded = "degraded" in parts or self.ledger.kept == "degraded"
        return "failed" if "failed" in parts else "degraded" if degraded else "ok"


def alert_counts(states: Iterable[AlertState], counters: Mapping[str, float | None]) -> tuple[int, int]:
    """How many alerts are firing and pending: by the counters, since a status lists only the foremost ones.

    Args:
        states: Of the alerts that are listed.
        counters: Of the same status.
    """
    listed = Counter(states)
    firing, pending = (
        max(listed[state], int(counters.get(f'longwatch_alerts{{state="{state}"}}') or 0))
        for state in ("firing", "pending")
    )
    return firing, pending
