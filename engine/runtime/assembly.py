"""From a configuration to the parts of an engine: rules compiled, probes and sinks built. Starts nothing.

Whatever can't be built is the operator's to mend, so it becomes a `ConfigError` that names the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from engine import registry
from engine.addresses import endpoint, is_remote
from engine.clock import SystemClock
from engine.config.levels import level_terms
from engine.config.shape import Config, ProbeConfig
from engine.conformance import receives
from engine.core.evaluator import Core
from engine.core.groups import GridGroup
from engine.core.projectors import EventCounter
from engine.core.rules import RecordingRule, Rule, compile_recording, compile_rule
from engine.errors import ConfigError, LongwatchError, Problem, RuleError, SinkError
from engine.events import Deployment, DomainEvent, SecurityViolation, TradeClosed
from engine.ports import Probe, ProbeContext, Projector, Sink, SinkContext
from engine.runtime.blindness import Blindness
from engine.runtime.contain import describe
from engine.runtime.deciding import Policy
from engine.runtime.delivery import SinkRunner, SinkSpec
from engine.runtime.keeping import Keeper, build_keeper
from engine.runtime.schedule import BACKOFF_MAX_S
from engine.runtime.sentinel import Sentinel
from engine.runtime.statefiles import last_downtime
from engine.runtime.supervisor import CLOSE_TIMEOUT_S, OPEN_TIMEOUT_S, ProbeRunner, ProbeSpec, Shared
from engine.runtime.threads import ThreadPool

__all__ = [
    "Extras",
    "build_blindness",
    "build_core",
    "build_delivery",
    "build_probes",
    "build_projectors",
    "build_sentinel",
    "build_sinks",
    "compile_groups",
    "compile_rules",
]

T = TypeVar("T")
STUCK_S_MIN = 30.0
"""A part of the engine that got nowhere for less than this is not stuck: one long step is none."""


class Extras(NamedTuple):
    """What a host adds to the configuration: ready-made probes and sinks."""

    probes: Sequence[ProbeSpec]
    sinks: Mapping[str, Sink]


def compile_rules(config: Config) -> list[Rule | RecordingRule]:
    """Compile every rule.

    Raises:
        ConfigError: With every rule that can't be compiled.
    """
    rules: list[Rule | RecordingRule] = []
    problems: list[Problem] = []
    limits = config.engine
    for rule in config.rules:
        table = rule.table
        try:
            if table.record is not None:
                rules.append(compile_recording(rule.name, table.record, table.expr, labels=table.labels))
                continue
            rules.append(
                compile_rule(
                    rule.name,
                    table.expr,
                    for_ms=int(table.for_),
                    when=table.when or "",
                    clear=table.clear or "",
                    levels=level_terms(table),
                    of=table.of,
                    keep_firing_for_ms=int(table.keep_firing_for),
                    on_missing=table.on_missing,
                    missing_for_ms=int(table.missing_for),
                    hold_max_ms=int(table.hold_max),
                    on_restart=table.on_restart or limits.on_restart,
                    outage_tolerance_ms=int(
                        limits.outage_tolerance if table.outage_tolerance is None else table.outage_tolerance
                    ),
                    labels=table.labels,
                    annotations=_templates(table.annotations),
                    external_labels=config.engine.external_labels,
                )
            )
        except RuleError as error:
            problems.append(Problem(rule.file, rule.line, f"rule.{rule.name}", error.message, error.hint))
        except ValueError as error:
            problems.append(Problem(rule.file, rule.line, f"rule.{rule.name}.annotations", str(error)))
    if problems:
        raise ConfigError(problems)
    return rules


def compile_groups(config: Config) -> list[GridGroup]:
    """Compile the groups of the rule files.

    Raises:
        ConfigError: With every rule that can't be compiled.
    """
    if not config.rule_files:
        return []
    from engine.rulefiles.compile import compiler, grid_groups  # only for those who use it

    return grid_groups(
        config.rule_files,
        default_interval_ms=int(config.engine.evaluation_interval),
        compile_expr=compiler(config.engine.compat),
    )


def _templates(annotations: Mapping[str, str]) -> dict[str, Any]:
    if not annotations:
        return {}
    from engine.templates import compile_template  # loads Jinja: only for those who use it

    return {name: compile_template(text) for name, text in annotations.items()}


def build_core(config: Config, event_types: Iterable[type[DomainEvent]]) -> Core:
    """The core with its rules. Raises `ConfigError` as `compile_rules` does."""
    limits = config.engine
    return Core(
        compile_rules(config),
        series_max=limits.series_max,
        batch_samples_max=limits.batch_samples_max,
        alerts_per_rule_max=limits.alerts_per_rule_max,
        resolution_ms=int(limits.resolution),
        outage_tolerance_ms=int(limits.outage_tolerance),
        groups=compile_groups(config),
        external_labels=limits.external_labels,
        compat=limits.compat,
        projectors=build_projectors(config, event_types),
    )


def build_projectors(config: Config, event_types: Iterable[type[DomainEvent]]) -> list[Projector]:
    """Every projector that is registered: the built-in ones, then those of installed packages, by name.

    A third party's is made without arguments. One that can't be loaded or made is an error: what it would have
    counted would be missing in silence.
    """
    kinds: tuple[type[DomainEvent], ...] = (TradeClosed, SecurityViolation, Deployment, *event_types)
    counted = sorted(str(kind.__struct_config__.tag) for kind in kinds)
    projectors: list[Projector] = []
    for name in [
        *registry.BUILT_IN["projector"],
        *sorted(set(registry.names("projector")) - set(registry.BUILT_IN["projector"])),
    ]:
        address, source = f"projector.{name}", str(config.source or "the configuration")
        try:
            factory = registry.resolve("projector", name)
        except registry.RegistryError as error:
            raise ConfigError([Problem(source, 0, address, str(error), error.hint)]) from error
        try:
            projectors.append(factory(counted) if factory is EventCounter else factory())
        except Exception as error:  # a third party's class
            raise ConfigError([Problem(source, 0, address, f"can't be built: {describe(error).message}")]) from error
    return projectors


def build_sentinel(config: Config, shared: Shared) -> Sentinel | None:
    """What watches the network; None if it is not wanted, or if no probe depends on the network."""
    remote = [probe.name for probe in config.probes if _is_remote(probe)]
    if not config.engine.sentinel or not remote:
        return None
    targets = [endpoint(text) for text in config.engine.sentinel]
    return Sentinel(targets, remote, shared.clock, shared.reporter, shared.report)


def build_blindness(config: Config, shared: Shared, sentinel: Sentinel | None) -> Blindness:
    """The blindness watch. A thread is part of it where the engine lives in real time."""
    folder = config.engine.state_dir
    return Blindness(
        shared,
        zone=ZoneInfo(config.engine.timezone),
        with_thread=isinstance(shared.clock, SystemClock),
        sentinel=sentinel,
        downtime=None if folder is None else last_downtime(folder, shared.clock),
    )


def _is_remote(probe: ProbeConfig) -> bool:
    return is_remote(probe.options) if probe.remote is None else probe.remote


def build_probes(
    config: Config,
    extra: Sequence[ProbeSpec],
    shared: Shared,
    pool: ThreadPool,
    sentinel: Sentinel | None = None,
) -> list[ProbeRunner]:
    """A runner for each probe. Raises `ConfigError` if a class refuses its options."""
    specs = []
    for probe in config.probes:
        context = ProbeContext(
            name=probe.name,
            interval_ms=int(probe.interval),  # a plain int: it goes into events, which are encoded
            timeout_ms=int(probe.timeout),
            labels=probe.labels,
            clock=shared.clock,
            call=pool.caller(f"probe.{probe.name}"),
        )
        built: Probe = _built(probe.factory, probe.options, context, f"probe.{probe.name}", config)
        remote = _is_remote(probe)
        specs.append(ProbeSpec(probe.name, probe.type, int(probe.interval), int(probe.timeout), built, remote))
    _check_names("probe", [spec.name for spec in specs], [spec.name for spec in extra])
    trusts = sentinel.trusts if sentinel is not None else None
    _expect_progress(shared, [*specs, *extra])
    return [ProbeRunner(spec, shared, trusts if spec.remote else None) for spec in (*specs, *extra)]


def _expect_progress(shared: Shared, probes: Sequence[ProbeSpec]) -> None:
    """Say which parts must get on from now on, and how long each may take."""
    now_s = shared.clock.monotonic()
    shared.progress.expect("core", STUCK_S_MIN, now_s)
    if probes:
        shared.progress.expect("probes", max(STUCK_S_MIN, min(map(_longest_s, probes))), now_s)


def _longest_s(probe: ProbeSpec) -> float:
    """The longest from one measurement to the next of a probe that is not stuck, but may be failing."""
    interval_s = probe.interval_ms / 1000
    return max(3 * interval_s, BACKOFF_MAX_S + interval_s) + probe.timeout_ms / 1000 + OPEN_TIMEOUT_S + CLOSE_TIMEOUT_S


def build_sinks(config: Config, extra: Mapping[str, Sink], shared: Shared, pool: ThreadPool) -> list[SinkSpec]:
    """Every sink. Raises `ConfigError` if a class refuses its options."""
    limits = config.engine
    specs = []
    for sink in config.sinks:
        context = SinkContext(
            name=sink.name,
            engine_name=limits.name,
            clock=shared.clock,
            state_dir=limits.state_dir,
            timezone=limits.timezone,
            external_labels=limits.external_labels,
            call=pool.caller(f"sink.{sink.name}", _sink_error),
        )
        built: Sink = _built(sink.factory, sink.options, context, f"sink.{sink.name}", config)
        specs.append(SinkSpec(sink.name, sink.type, built, sink.fallback or "", sink.messages_per_minute or 0))
    _check_names("sink", [spec.name for spec in specs], list(extra))
    return specs + [SinkSpec(name, type(sink).__name__, sink) for name, sink in extra.items()]


def build_delivery(
    config: Config, specs: Sequence[SinkSpec], shared: Shared
) -> tuple[Keeper, list[SinkRunner], Policy]:
    """The ledger, a runner for each sink, and what decides what they are told."""
    keeper = build_keeper(config, shared, [spec.name for spec in specs if receives(spec.sink)])
    records_max = config.engine.sink_queue_records_max
    runners = [SinkRunner(spec, shared, queue_records_max=records_max, keeper=keeper) for spec in specs]
    workers = {runner.spec.name: runner.messages for runner in runners if runner.messages is not None}
    for spec in specs:
        if spec.name in workers:
            workers[spec.name].fallback = workers.get(spec.fallback)
    return keeper, runners, Policy(keeper, list(workers.values()), config.engine.external_labels)


def _built(factory: Callable[[Any, Any], T], options: Any, context: Any, address: str, config: Config) -> T:
    try:
        return factory(options, context)
    except Exception as error:  # a third party's class
        source = str(config.source or "the configuration")
        raise ConfigError([Problem(source, 0, address, f"can't be built: {describe(error).message}")]) from error


def _check_names(kind: str, configured: Sequence[str], added: Sequence[str]) -> None:
    for name in added:
        if name in configured:
            raise LongwatchError(f'there is a {kind} "{name}" in the configuration already; add it under another name')


def _sink_error(reason: str, message: str) -> SinkError:
    return SinkError(reason, message, retryable=True)
