"""The shape of a loaded configuration: frozen, checked, complete. Nothing here reads a file.

`EngineTable`, `RuleTable` and the common keys of probes and sinks are what the operator may write; the
loader builds `Config` from them. Every limit has its unit in its name and a default a host can bear.
Their docstrings are the descriptions in the JSON schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from engine.config.http_tables import HeartbeatConfig, HttpTable
from engine.durations import Duration
from engine.errors import Problem
from engine.ports import Options
from engine.rulefiles.shape import RuleFile
from engine.series import LABEL_VALUE_CHARS_MAX

__all__ = [
    "Config",
    "EngineTable",
    "LevelTable",
    "ProbeCommon",
    "ProbeConfig",
    "RuleConfig",
    "RuleTable",
    "SinkCommon",
    "SinkConfig",
]

# msgspec bounds numbers; of a duration the bounds are ours, in `extra`, in milliseconds.
_Resolution: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 100, "max_ms": 60_000})]
_Slice: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 1, "max_ms": 1_000})]
_Shutdown: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 1_000, "max_ms": 600_000})]
_Interval: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 100, "max_ms": 86_400_000})]
_Timeout: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 1, "max_ms": 86_400_000})]
_HoldMax: TypeAlias = Annotated[Duration, Meta(extra={"min_ms": 1_000})]
_Comparison: TypeAlias = Annotated[str, Meta(examples=["> 80"])]
_Severity: TypeAlias = Annotated[str, Meta(min_length=1, max_length=LABEL_VALUE_CHARS_MAX)]
_OnRestart: TypeAlias = Literal["pause", "count", "reset"]
_Part: TypeAlias = Annotated[float, Meta(gt=0, le=1)]


def _ms(text: str) -> Any:
    return msgspec.field(default_factory=lambda: Duration.parse(text))


class EngineTable(Options, frozen=True, kw_only=True):
    """`[engine]`: this watch as a whole, and its limits.

    Args:
        name: Name of this watch: letters, digits, `.`, `_` and `-`. Its state folder is named after it.
        timezone: IANA name of the time zone of every time a person reads; storage is UTC.
        external_labels: Labels that tell this engine from others; sent with every notification.
        rule_files: Prometheus rule files, with wildcards, relative to this file; evaluated as Prometheus does.
        packs: Built-in rules to load. A [rule.X] of your own overrides single keys of the pack's rule X.
        state_dir: Folder for everything the engine keeps; by default $STATE_DIRECTORY, else the XDG folder.
        resolution: How often an expression is looked at whose value changes without new samples.
        queue_samples_max: Capacity of the queue between probes and rules, in samples.
        queue_policy: What a full queue does: make probes wait, or drop the newest or the oldest samples.
        series_max: How many series are kept at most.
        batch_samples_max: How many samples one measurement may have.
        alerts_per_rule_max: How many alerts one rule may have.
        sink_queue_records_max: How many records wait for one sink at most; then the oldest are dropped.
        refill_samples_max: How many samples of the history windows are refilled with at a start; 0 for none.
        probe_threads_max: How many threads run the blocking calls of probes.
        slice: How long rules are judged before other tasks of the process get a turn.
        shutdown_timeout: How long stopping may take; then what is left is abandoned.
        evaluation_interval: How often groups of rule files are evaluated that name no interval.
        compat: Whose rules hold for windows of rule files: Prometheus 3 leaves out a sample at the very start.
        on_restart: What the engine's own downtime does to clocks of alerts, where a rule does not say it: they stand,
            they count on, or pending alerts begin anew.
        outage_tolerance: A pending alert does not survive a longer downtime, where a rule does not say how long.
        sentinel: Independent addresses, such as "tcp://192.0.2.1:443". While none of them answers this machine is
            offline, and what remote probes can't reach is not judged.
    """

    name: str = "longwatch"
    timezone: str = "UTC"
    external_labels: dict[str, str] = {}
    rule_files: list[str] = []
    packs: list[str] = []
    state_dir: Path | None = None
    resolution: _Resolution = _ms("1s")
    queue_samples_max: Annotated[int, Meta(ge=1, le=100_000_000)] = 100_000
    queue_policy: Literal["block", "drop_newest", "drop_oldest"] = "drop_oldest"
    series_max: Annotated[int, Meta(ge=1, le=100_000_000)] = 1_000_000
    batch_samples_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 50_000
    alerts_per_rule_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    sink_queue_records_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    refill_samples_max: Annotated[int, Meta(ge=0, le=10_000_000)] = 250_000
    probe_threads_max: Annotated[int, Meta(ge=1, le=1_000)] = 16
    slice: _Slice = _ms("2ms")
    shutdown_timeout: _Shutdown = _ms("20s")
    evaluation_interval: _Interval = _ms("1m")
    compat: Literal["prometheus3", "prometheus2"] = "prometheus3"
    on_restart: _OnRestart = "pause"
    outage_tolerance: Duration = _ms("1h")
    sentinel: list[str] = []


class ProbeCommon(Options, frozen=True, kw_only=True):
    """Keys of every `[probe.NAME]`, beside those of its type.

    Args:
        type: Which probe it is; by default the table's name.
        interval: How often it measures; the default is the type's.
        timeout: How long one measurement may take, at most the interval; the default is the type's, or
            the interval if that is shorter.
        labels: Labels for every series of this probe.
        remote: Whether its target is beyond this machine, see engine.sentinel; by default what its URL says.
    """

    type: str | None = None
    interval: _Interval | None = None
    timeout: _Timeout | None = None
    labels: dict[str, str] = {}
    remote: bool | None = None


class SinkCommon(Options, frozen=True, kw_only=True):
    """Keys of every `[sink.NAME]`, beside those of its type.

    Args:
        type: Which sink it is; by default the table's name.
        fallback: Name of another sink, which is told what this one could not be told within five minutes, or at all;
            it is told nothing else.
        messages_per_minute: How many messages it is sent in a minute at most, a sixth of them at once; the others wait.
    """

    type: str | None = None
    fallback: str | None = None
    messages_per_minute: Annotated[int, Meta(ge=1, le=60_000)] | None = None


class LevelTable(Options, frozen=True, kw_only=True, rename={"for_": "for"}):
    """One of the `levels` of a rule.

    Args:
        severity: Its word: the label `severity` of the alert while it is the highest that is reached.
        when: What must hold of the value, such as "> 90"; by default the rule's.
        for: How long that must hold before the level is reached; by default the rule's.
        clear: What resets the level; by default the rule's, else that `when` does not hold.
    """

    severity: Annotated[_Severity, Meta(examples=["warning"])]
    when: _Comparison | None = None
    for_: Duration | None = None
    clear: _Comparison | None = None


class RuleTable(Options, frozen=True, kw_only=True, rename={"for_": "for"}):
    """`[rule.NAME]`: when something is wrong, and for how long it must be; with `record`, what else can be measured.

    Args:
        expr: A PromQL expression; each label set in its result is one alert. Required, unless the table changes
            keys of a pack's rule of that name.
        record: The rule gives no alerts: its results are series of this metric, which other rules can read. Then of
            the other keys it has `labels` alone.
        when: What must hold of the value of an expression that does not compare by itself, such as "> 80".
        for: How long the expression must hold before the alert fires.
        of: The part of `for` in which it must hold, such as 0.9; by default all of it, without a break.
        clear: What ends a firing alert, such as "< 75"; by default that `when` does not hold.
        levels: Severities of one alert, the lowest first, each with what is its own of `when`, `for` and `clear`.
        keep_firing_for: How long the alert goes on firing after the expression has ceased to hold.
        on_missing: What happens while data is missing: `hold` keeps the state and stops its clocks, `reset`
            takes it as "not true", `count` keeps the state and lets its clocks run on, `fire` makes the alert fire.
        missing_for: How long data must be missing before that fires, under `fire`.
        hold_max: How long a state is held without data before the alert ends as lost.
        on_restart: What the engine's own downtime does to the clocks of its alerts; by default what [engine] says.
        outage_tolerance: After a longer downtime of the engine a pending alert begins anew; by default what [engine]
            says.
        labels: Labels for the rule's alerts, such as severity; for the series, if it records.
        annotations: Text for people; a template with $labels, $value and $externalLabels.
    """

    expr: str
    record: str | None = None
    when: _Comparison | None = None
    for_: Duration = _ms("0s")
    of: _Part = 1.0
    clear: _Comparison | None = None
    levels: list[LevelTable] = []
    keep_firing_for: Duration = _ms("0s")
    on_missing: Literal["hold", "reset", "count", "fire"] = "hold"
    missing_for: Duration = _ms("0s")
    hold_max: _HoldMax = _ms("24h")
    on_restart: _OnRestart | None = None
    outage_tolerance: Duration | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class ProbeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One probe, ready to be built: `factory(options, context)`."""

    name: str
    type: str
    factory: Any
    options: Options
    interval: Duration
    timeout: Duration
    labels: dict[str, str]
    remote: bool | None = None


class SinkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One sink, ready to be built: `factory(options, context)`."""

    name: str
    type: str
    factory: Any
    options: Options
    fallback: str | None = None
    messages_per_minute: int | None = None


class RuleConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One rule and where it was written (`file`, `line`), for messages."""

    name: str
    table: RuleTable
    file: str = ""
    line: int = 0


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration.

    Args:
        http: Where to listen; None listens nowhere.
        source: The file it was read from, or None for the built-in one.
        warnings: What works but was probably not meant, in file order.
    """

    engine: EngineTable = EngineTable()
    probes: tuple[ProbeConfig, ...] = ()
    rules: tuple[RuleConfig, ...] = ()
    rule_files: tuple[RuleFile, ...] = ()
    sinks: tuple[SinkConfig, ...] = ()
    http: HttpTable | None = None
    heartbeats: tuple[HeartbeatConfig, ...] = ()
    source: Path | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def rule_count(self) -> int:
        """How many rules there are, those of rule files included."""
        return len(self.rules) + sum(len(group.rules) for file in self.rule_files for group in file.groups)
