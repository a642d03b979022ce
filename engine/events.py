"""Events: immutable typed facts with an event time. What probes produce and the core decides on.

Times are `int` milliseconds since the epoch, in UTC. NaN and the infinities are values. A stale marker
is the NaN with Prometheus' exact bits (`STALE`), and its cause says whether it is evidence (`ended`)
or ignorance (`target_down`). Services derive their own facts from `DomainEvent` and hand the types to
the engine; the wire forms are in `engine.codec`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from engine.series import fingerprint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "STALE",
    "STALE_BITS",
    "Blind",
    "Deployment",
    "DomainEvent",
    "Event",
    "Facts",
    "Health",
    "Record",
    "Sample",
    "SampleBatch",
    "SecurityViolation",
    "TradeClosed",
    "Transition",
    "weight",
]

STALE_BITS: Final = 0x7FF0000000000002
"""Bits of Prometheus' stale marker (model/value/value.go)."""
STALE: Final[float] = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]

StaleCause: TypeAlias = Literal["ended", "target_down"]
AlertState: TypeAlias = Literal["inactive", "pending", "firing"]
HealthStatus: TypeAlias = Literal["ok", "degraded", "failed"]


class Sample(msgspec.Struct, frozen=True, gc=False, tag="sample"):
    """One value of one series at one time.

    Args:
        time_ms: Event time, milliseconds since the epoch.
        series: Canonical text, from `engine.series.series_text`.
        value: Any float; the stale marker ends or interrupts the series, see `stale`.
        interval_ms: How often its probe measures; 0 where that is not known. It sets when the series is stale.
        stale: The cause, if `value` is the stale marker.
    """

    time_ms: int
    series: str
    value: float
    interval_ms: int = 0
    stale: StaleCause = "ended"


class SampleBatch(msgspec.Struct, frozen=True, eq=False, tag="batch"):
    """Values of many series at one time, such as one scrape: one atom, rules see all of it or none.

    Args:
        time_ms: Event time of every sample.
        series: Canonical texts without duplicates. Pass the same tuple object again while the shape
            does not change: it is then recognised by identity and costs nothing.
        values: float64, shape (len(series),). It must not be changed afterwards.
        interval_ms: As in `Sample`.
        stale: The cause of every stale marker in `values`.
    """

    time_ms: int
    series: tuple[str, ...]
    values: NDArray[np.float64]
    interval_ms: int = 0
    stale: StaleCause = "ended"


class Blind(msgspec.Struct, frozen=True, tag="blind"):
    """A span in which the engine could not see: what it would have judged is not known, and not good.

    Args:
        time_ms: When this was noticed.
        from_ms: First instant of the span.
        to_ms: End of the span, exclusive.
        scope: `*` for everything, else a series (its canonical text), a metric (its name) or a probe (`probe.health`).
        reason: A short code: `clock_step`, `downtime`, `dropped`, `loop_lag`, `offline`, `suspend`, or a host's own.
        series: The series that a probe's scope stands for.
    """

    time_ms: int
    from_ms: int
    to_ms: int
    scope: str = "*"
    reason: str = ""
    series: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True, tag="health"):
    """How a part of the engine itself is. Failures travel the same road as measurements.

    Args:
        time_ms: When it was noticed.
        component: Its address: `probe.health`, `sink.ops`, `channel`, `rule.HighCpu`, `store`.
        status: `ok`, `degraded` (works, loses or delays something) or `failed`.
        reason: A short stable code: `timeout`, `raised`, `bad_output`, `full`, `recovered`.
        message: For a person; clean text without secrets.
        count: How many times, or how many samples or messages, since the last such event.
    """

    time_ms: int
    component: str
    status: HealthStatus
    reason: str
    message: str = ""
    count: int = 1


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Base of facts about a service's own business. Subclass it with `tag="..."`; fields are plain data."""

    time_ms: int


class TradeClosed(DomainEvent, frozen=True, kw_only=True, tag="trade_closed"):
    """A trade was closed. `pnl` is profit or loss in the account's currency."""

    symbol: str
    pnl: float
    fees: float = 0.0
    strategy: str = ""


class SecurityViolation(DomainEvent, frozen=True, kw_only=True, tag="security_violation"):
    """A policy of the service was violated (`kind`: `token_expired`, `mtls_failed`, ...)."""

    kind: str
    source: str = ""
    message: str = ""


class Deployment(DomainEvent, frozen=True, kw_only=True, tag="deployment"):
    """A version of a service went live."""

    service: str
    version: str
    environment: str = ""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What was measured while an alert was active: from `active_since_ms` to the instant of a transition.

    Args:
        peak: The most extreme value while the condition held: the lowest for a rule that asks for less than a number,
            else the highest. NaN where there was none.
        mean: The arithmetic mean of these values, one for each sample; NaN where there was none.
        samples: How many there were. Only numbers count.
        true_ms: For how long the condition held, as far as that is known.
        unknown_ms: For how long the clocks stood because nothing was known. Samples that did not come are not counted.
    """

    peak: float
    mean: float
    samples: int
    true_ms: int
    unknown_ms: int


class Transition(msgspec.Struct, frozen=True, gc=False, tag="transition"):
    """One change of an alert's state.

    Args:
        time_ms: The exact instant of the change, not the time of noticing it.
        rule: The rule's name.
        labels: The alert's labels, rule labels and `alertname` included: its identity.
        before, after: `inactive`, `pending` or `firing`. From firing to inactive is a resolve, unless
            the reason is `lost`: then nothing is known any more, and nobody may call it resolved.
        reason: `condition` (it turned true), `held` (true for long enough), `level` (still firing, with another
            severity), `recovered`, `ended`, `missing` (data is gone: it ends under `on_missing = "reset"`, it begins
            under `fire`), `lost`, `rule_removed`, `rule_changed`.
        value: What the expression measured at that instant, without its comparison; NaN where nothing is known.
        active_since_ms: When the condition turned true; it never moves.
        annotations: Rendered text for people; not part of the identity.
        fired_ms: When it began to fire; 0 if it never did.
        severity: Of a rule with levels, the one that is reached; empty for others, whose severity is a label.
        severity_before: The one that was, if it fired before.
        flapping: It has been going back and forth, see `engine.core.flaps`: a mark, and no state.
        facts: What was measured until then, if it fired before: of a resolve, of a lost alert, of a change of level.
    """

    time_ms: int
    rule: str
    labels: dict[str, str]
    before: AlertState
    after: AlertState
    reason: str
    value: float
    active_since_ms: int
    annotations: dict[str, str] = {}
    fired_ms: int = 0
    severity: str = ""
    severity_before: str = ""
    flapping: bool = False
    facts: Facts | None = None

    @property
    def fingerprint(self) -> str:
        """Alertmanager's fingerprint of `labels`; a sink that sends more than those computes its own over what it
        sends."""
        return fingerprint(self.labels)

    @property
    def shown_labels(self) -> dict[str, str]:
        """The labels as people and receivers see them: with the severity that is reached, for a rule with levels."""
        return {**self.labels, "severity": self.severity} if self.severity else self.labels

    @property
    def changes_level(self) -> bool:
        """Whether it goes on firing, with another severity."""
        return self.before == self.after == "firing" and self.severity != self.severity_before

    @property
    def kind(self) -> Literal["pending", "firing", "resolved", "lost", "cleared"]:
        """What happened, in one word: `cleared` is a pending alert that never fired."""
        if self.after == "pending":
            return "pending"
        if self.after == "firing":
            return "firing"
        if self.before == "pending":
            return "cleared"
        return "lost" if self.reason == "lost" else "resolved"


Event: TypeAlias = Sample | SampleBatch | Blind | Health | DomainEvent
Record: TypeAlias = Event | Transition
"""What recording sinks are given."""


def weight(event: Event) -> int:
    """How many samples an event counts for against a bound: a batch its length, everything else 1."""
    return max(1, len(event.series)) if isinstance(event, SampleBatch) else 1
