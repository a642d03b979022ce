"""What only the whole configuration shows, for `check`: rules about metrics that nobody measures.

These are warnings, and not part of loading: a service that embeds the engine emits metrics of its own.
"""

from __future__ import annotations

from engine.config.document import OVERRIDE_SOURCE
from engine.config.report import quote
from engine.config.shape import Config
from engine.errors import Problem, nearest

__all__ = ["cross_check"]

OWN_PREFIX = "longwatch_"


def cross_check(config: Config) -> tuple[Problem, ...]:
    """Return a warning for each metric in a rule that no probe of the configuration provides.

    A probe class says what it provides in `METRICS`; if one does not say, nothing can be said at all.
    """
    from engine.core.rules import compile_rule

    provided: set[str] = set()
    for probe in config.probes:
        metrics = getattr(probe.factory, "METRICS", None)
        if metrics is None:
            return ()
        provided.update(metrics)
    warnings = []
    for rule in config.rules:
        wanted = {leaf.metric for leaf in compile_rule(rule.name, rule.table.expr).plan.leaves}
        for metric in sorted(wanted - provided):
            if metric and not metric.startswith(OWN_PREFIX):
                message = f"no probe here measures {quote(metric)}"
                hint = nearest(metric, sorted(provided))
                line = 0 if rule.file == OVERRIDE_SOURCE else rule.line
                warnings.append(Problem(rule.file, line, f"rule.{rule.name}.expr", message, hint))
    return tuple(warnings)
