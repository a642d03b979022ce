"""What only the whole configuration shows, for `check`: rules about metrics that nobody measures.

These are warnings, and not part of loading: a service that embeds the engine emits metrics of its own.
"""

from __future__ import annotations

from engine.config.conditions import never_false
from engine.config.document import OVERRIDE_SOURCE
from engine.config.report import quote
from engine.config.shape import Config
from engine.errors import Problem, nearest

__all__ = ["cross_check", "provided_metrics"]

OWN_PREFIX = "longwatch_"


def cross_check(config: Config) -> tuple[Problem, ...]:
    """Return a warning for each expression that is no condition, and each metric that no probe here provides.

    If a probe does not say what it provides, nothing is said about metrics.
    """
    from engine.core.rules import compile_rule

    warnings = []
    for rule in config.rules:
        message, hint = never_false(rule.table.expr)
        if message:
            line = 0 if rule.file == OVERRIDE_SOURCE else rule.line
            warnings.append(Problem(rule.file, line, f"rule.{rule.name}.expr", message, hint))
    provided = provided_metrics(config)
    if provided is None:
        return tuple(warnings)
    for rule in config.rules:
        wanted = {leaf.metric for leaf in compile_rule(rule.name, rule.table.expr).plan.leaves}
        for metric in sorted(wanted - provided):
            if metric and not metric.startswith(OWN_PREFIX):
                message = f"no probe here measures {quote(metric)}"
                hint = nearest(metric, sorted(provided))
                line = 0 if rule.file == OVERRIDE_SOURCE else rule.line
                warnings.append(Problem(rule.file, line, f"rule.{rule.name}.expr", message, hint))
    return tuple(warnings)


def provided_metrics(config: Config) -> set[str] | None:
    """The metrics of all probes; None if that is not known.

    A probe class says what it provides in `METRICS`, and with `METRICS_OPEN` that its target names more.
    """
    provided: set[str] = set()
    for probe in config.probes:
        metrics = getattr(probe.factory, "METRICS", None)
        if metrics is None or getattr(probe.factory, "METRICS_OPEN", False):
            return None
        provided.update(metrics)
    return provided
