"""What only the whole configuration shows, for `check`: rules about metrics that nobody measures, and what was probably
not meant in its rule files.

These are warnings, and not part of loading: a service that embeds the engine emits metrics of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.config.conditions import never_false
from engine.config.document import OVERRIDE_SOURCE
from engine.config.levels import compares_nothing
from engine.config.report import quote
from engine.config.shape import Config, RuleConfig, RuleTable
from engine.config.unselected import OWN_PREFIX, unselected
from engine.errors import Problem, nearest
from engine.http.heartbeats import HEARTBEAT_METRICS

if TYPE_CHECKING:
    from engine.core.rules import RecordingRule, Rule

__all__ = ["cross_check", "provided_metrics", "recorded_metrics"]


def cross_check(config: Config) -> tuple[Problem, ...]:
    """Return a warning for each expression that is no condition, for each metric that no probe here provides and no
    rule records, and for labels that none gives it; and those of `lint_rule_file`.

    If a probe does not say what it provides, nothing is said about metrics.
    """
    provided, recorded = provided_metrics(config), recorded_metrics(config)
    warnings = _of_rule_files(config, provided, recorded)
    for rule in config.rules:
        message, hint = never_false(rule.table.expr) if _is_condition(rule.table) else ("", "")
        if message:
            line = 0 if rule.file == OVERRIDE_SOURCE else rule.line
            warnings.append(Problem(rule.file, line, f"rule.{rule.name}.expr", message, hint))
    warnings += unselected(config, lambda rule: _compiled(rule).plan.leaves, recorded)
    if provided is None:
        return tuple(warnings)
    provided |= recorded
    for rule in config.rules:
        wanted = {leaf.metric for leaf in _compiled(rule).plan.leaves}
        for metric in sorted(wanted - provided):
            if metric and not metric.startswith(OWN_PREFIX):
                message = f"no probe here measures {quote(metric)}"
                hint = nearest(metric, sorted(provided))
                line = 0 if rule.file == OVERRIDE_SOURCE else rule.line
                warnings.append(Problem(rule.file, line, f"rule.{rule.name}.expr", message, hint))
    return tuple(warnings)


def _is_condition(table: RuleTable) -> bool:
    """Whether the expression alone says what is wrong."""
    return table.record is None and compares_nothing(table)


def _compiled(rule: RuleConfig) -> Rule | RecordingRule:
    from engine.core.rules import compile_recording, compile_rule

    record, expr = rule.table.record, rule.table.expr
    return compile_rule(rule.name, expr) if record is None else compile_recording(rule.name, record, expr)


def _of_rule_files(config: Config, provided: set[str] | None, recorded: set[str]) -> list[Problem]:
    if not config.rule_files:
        return []
    from engine.rulefiles.lint import lint_rule_file  # brings the parser: only for those who have rule files

    interval_ms = int(config.engine.evaluation_interval)
    return [warning for file in config.rule_files for warning in lint_rule_file(file, provided, recorded, interval_ms)]


def recorded_metrics(config: Config) -> set[str]:
    """The metrics that rules make."""
    own = {rule.table.record for rule in config.rules if rule.table.record is not None}
    rules = [rule for file in config.rule_files for group in file.groups for rule in group.rules]
    made = own | {rule.name for rule in rules if rule.kind == "record"}
    return made | {"ALERTS", "ALERTS_FOR_STATE"} if any(rule.kind == "alert" for rule in rules) else made


def provided_metrics(config: Config) -> set[str] | None:
    """The metrics of all probes and heartbeats; None if that is not known.

    A probe class says what it provides in `METRICS`, and with `METRICS_OPEN` that its target names more.
    """
    provided: set[str] = set(HEARTBEAT_METRICS) if config.heartbeats else set()
    for probe in config.probes:
        metrics = getattr(probe.factory, "METRICS", None)
        if metrics is None or getattr(probe.factory, "METRICS_OPEN", False):
            return None
        provided.update(metrics)
    return provided
