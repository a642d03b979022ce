"""`check`: every problem of every file named, one per line, and a line that sums up each. YAML is rule files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from engine.cli.check_rules import is_rule_file, run_check_rules
from engine.config import Config, examine
from engine.config.cross import cross_check, provided_metrics
from engine.config.packs import BUILT_IN_NAME
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
        paths: Files; none means the built-in configuration. Rules in rule files are held against the probes of the
            configurations named beside them.
        overrides: `--set` of the command line, applied to each.
        strict: A warning counts as an error.
        stream: Where to print.
        environ: For `${NAME}`; by default the environment of this process.

    Returns:
        0 if all of them can be used, else 2.
    """
    rules = [path for path in paths if is_rule_file(path)]
    configs: list[Path | None] = [path for path in paths if not is_rule_file(path)]
    results = [_check(path, overrides, strict, stream, environ) for path in configs or ([] if rules else [None])]
    good = all(ok for ok, _ in results)
    if rules:
        provided = _provided([config for _, config in results])
        good &= run_check_rules(rules, stream, strict=strict, provided=provided) == 0
    return 0 if good else 2


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
) -> tuple[bool, Config | None]:
    config, problems, warnings = examine(path, overrides, environ)
    if config is not None:
        warnings = (*warnings, *cross_check(config))
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
    counts = [(len(config.probes), "probe"), (config.rule_count, "rule"), (len(config.sinks), "sink")]
    return ", ".join(_count(number, word) or f"0 {word}s" for number, word in counts)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""
