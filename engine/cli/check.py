"""`check`: every problem of every file named, one per line, and a line that sums up each. Rule files are known by
their names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from engine.cli.check_rules import Beside, is_rule_file, run_check_rules
from engine.config import Config, examine
from engine.config.cross import cross_check, provided_metrics, recorded_metrics
from engine.config.packs import BUILT_IN_NAME
from engine.rulefiles.find import expanded
from engine.text import clean

__all__ = ["run_check"]


def run_check(
    paths: Sequence[Path],
    overrides: Sequence[str],
    strict: bool,
    stream: TextIO,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Check configurations and rule files and print what was found.

    Args:
        paths: Files, with wildcards where the shell left them; none means the built-in configuration. Rules in rule
            files are held against the configurations named beside them: what their probes measure, how often the
            first one evaluates, and whose PromQL it has.
        overrides: `--set` of the command line, applied to each.
        strict: A warning counts as an error.
        stream: Where to print.
        environ: For `${NAME}`; by default the environment of this process.

    Returns:
        0 if all of them can be used, else 2.
    """
    paths = expanded(paths)
    rules = [path for path in paths if is_rule_file(path)]
    configs: list[Path | None] = [path for path in paths if not is_rule_file(path)]
    if overrides and rules and not configs:
        print("--set: there is no configuration to override, rule files only", file=stream)
        return 2
    told_below = {os.path.realpath(path) for path in rules}
    configs = configs or ([] if rules else [None])
    results = [_check(path, overrides, strict, stream, environ, told_below) for path in configs]
    good = all(ok for ok, _ in results)
    if rules:
        good &= run_check_rules(rules, stream, strict=strict, beside=_beside([one for _, one in results])) == 0
    return 0 if good else 2


def _beside(configs: Sequence[Config | None]) -> Beside:
    loaded = [config for config in configs if config is not None]
    if not loaded:
        return Beside()
    return Beside(
        provided=_provided(configs),
        recorded=frozenset().union(*map(recorded_metrics, loaded)),
        interval_ms=int(loaded[0].engine.evaluation_interval),
        compat=loaded[0].engine.compat,
    )


def _provided(configs: Sequence[Config | None]) -> set[str] | None:
    """What the probes of the configurations measure together; None if one of them does not say, or there is none."""
    measured = [provided_metrics(config) if config is not None else None for config in configs]
    known = [metrics for metrics in measured if metrics is not None]
    return set().union(*known) if known and len(known) == len(measured) else None


def _check(
    path: Path | None,
    overrides: Sequence[str],
    strict: bool,
    stream: TextIO,
    environ: Mapping[str, str] | None,
    told_below: Collection[str],
) -> tuple[bool, Config | None]:
    """Check a configuration. Warnings of rule files that are checked by themselves, too, are told there."""
    config, problems, warnings = examine(path, overrides, environ)
    if config is not None:
        more = [warning for warning in cross_check(config) if os.path.realpath(warning.file) not in told_below]
        warnings = (*warnings, *more)
    for problem in problems:
        print(problem, file=stream)
    for warning in warnings:
        print(f"warning: {warning}", file=stream)
    counts = [_count(len(problems), "error"), _count(len(warnings), "warning")]
    found = ", ".join(count for count in counts if count)
    name = clean(str(path)) if path else BUILT_IN_NAME
    contents = _contents(config) if config is not None else ""
    good = not problems and not (strict and warnings)
    parts = [name, *(["ok"] if good else []), *([found] if found else []), *([contents] if contents else [])]
    print(": ".join(parts), file=stream)
    return good, config


def _contents(config: Config) -> str:
    recording = sum(rule.table.record is not None for rule in config.rules)
    recording += sum(
        rule.kind == "record" for file in config.rule_files for group in file.groups for rule in group.rules
    )
    rules = _count(config.rule_count, "rule") or "0 rules"
    rules += f" ({recording} recording)" if recording else ""
    probes, sinks = len(config.probes), len(config.sinks)
    return f"{_count(probes, 'probe') or '0 probes'}, {rules}, {_count(sinks, 'sink') or '0 sinks'}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""
