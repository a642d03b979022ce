"""The rules that a file of tests is about: those of its rule files, and those of its run.toml."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from engine.core.groups import GridGroup
from engine.core.parts import RESOLUTION_MS
from engine.core.promql.plan import Compat, QueryPlan
from engine.core.rules import RecordingRule, Rule
from engine.errors import ConfigError, Problem
from engine.rulefiles.compile import compiler, grid_groups
from engine.rulefiles.find import find_rule_files
from engine.rulefiles.read import read_rule_file
from engine.rulefiles.shape import RuleFile
from engine.ruletests.shape import RuleTestFile
from engine.text import clean

__all__ = ["Rules", "gather"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules, compiled.

    Args:
        compile_expr: For expressions of tests.
        tested: Groups of the test's own rule files, which are evaluated as promtool does.
        live: Groups of the run.toml's rule files, which are evaluated as they are in a watch.
        continuous: Rules of the run.toml.
        resolution_ms, external_labels: As the run.toml has them.
    """

    compat: Compat
    compile_expr: Callable[[str], QueryPlan]
    tested: Sequence[GridGroup] = ()
    live: Sequence[GridGroup] = ()
    continuous: Sequence[Rule | RecordingRule] = ()
    resolution_ms: int = RESOLUTION_MS
    external_labels: Mapping[str, str] = {}

    @property
    def groups(self) -> list[GridGroup]:
        """All groups."""
        return [*self.tested, *self.live]

    def has(self, alertname: str) -> bool:
        """Whether there is an alert of a name."""
        return bool(self._groups_of(alertname)) or self._in_config(alertname)

    def where(self, alertname: str) -> str:
        """An alert and the places it comes from, for a message."""
        places = [f"group: {clean(group.name)}" for group in self._groups_of(alertname)]
        places += ["run.toml"] if self._in_config(alertname) else []
        where = f", {', '.join(places)}" if places else ", which no rule file has"
        return f"alertname: {clean(alertname)}{where}"

    def _groups_of(self, alertname: str) -> list[GridGroup]:
        return [g for g in self.groups if any(rule.kind == "alert" and rule.name == alertname for rule in g.rules)]

    def _in_config(self, alertname: str) -> bool:
        return any(isinstance(rule, Rule) and rule.name == alertname for rule in self.continuous)


def gather(
    file: RuleTestFile, compat: Compat, compile_expr: Callable[[str], QueryPlan], warn: Callable[[str], None]
) -> Rules:
    """Read and compile the rules of a file of tests.

    Args:
        compat: Where no run.toml says otherwise.
        compile_expr: Of that `compat`.
        warn: Is told of patterns that match nothing.

    Raises:
        ConfigError: With every problem.
    """
    rules = Rules(compat=compat, compile_expr=compile_expr)
    if file.config:
        rules = _of_config(file)
    tested = _tested(file, rules.compile_expr, warn)
    places = {name: place for place, name in enumerate(file.group_eval_order)}
    return msgspec.structs.replace(
        rules,
        tested=sorted(tested, key=lambda group: places.get(group.name, -1)),
        live=sorted(rules.live, key=lambda group: places.get(group.name, -1)),
    )


def _of_config(file: RuleTestFile) -> Rules:
    from engine.config.load import load_rules  # with the runtime's compiling: only for those who use it
    from engine.runtime.assembly import compile_groups, compile_rules

    config = load_rules(file.folder / file.config)
    return Rules(
        compat=config.engine.compat,
        compile_expr=compiler(config.engine.compat),
        live=compile_groups(config),
        continuous=compile_rules(config),
        resolution_ms=int(config.engine.resolution),
        external_labels=config.engine.external_labels,
    )


def _tested(
    file: RuleTestFile, compile_expr: Callable[[str], QueryPlan], warn: Callable[[str], None]
) -> list[GridGroup]:
    rule_files: dict[str, RuleFile] = {}
    problems: list[Problem] = []
    for pattern in file.rule_files:
        paths, _ = find_rule_files([pattern], file.folder)
        if not paths:  # promtool goes on, too
            warn(f"no file match pattern {clean(pattern)}")
        for path in paths:
            if (real := os.path.realpath(path)) in rule_files:
                continue
            read, found = read_rule_file(path, compile_expr)
            problems += found
            if read is not None:
                rule_files[real] = read
    if problems:
        raise ConfigError(problems)
    interval_ms = file.evaluation_interval_ms
    return grid_groups(rule_files.values(), default_interval_ms=interval_ms, compile_expr=compile_expr)
