"""`check rules.yml`: every error of rule files at once, what was probably not meant, and how many rules there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

from engine.errors import Problem
from engine.rulefiles import RuleFile, lint_rule_file, read_rule_file
from engine.text import clean

__all__ = ["is_rule_file", "run_check_rules"]


def is_rule_file(path: Path | None) -> bool:
    """By its name: `.yml` or `.yaml`."""
    return path is not None and path.suffix in (".yml", ".yaml")


def run_check_rules(
    paths: Sequence[Path], stream: TextIO, *, strict: bool = False, provided: Collection[str] | None = None
) -> int:
    """Check rule files as `promtool check rules` does, and more.

    Args:
        paths: Rule files. What one records, the others may read.
        stream: Where to print.
        strict: A warning counts as an error.
        provided: Metrics that the probes of the configuration beside them measure; None: not known.

    Returns:
        0 if all of them can be used, else 2.
    """
    from engine.core.promql.query_compile import compile_query

    read = [(path, *read_rule_file(path, compile_query)) for path in paths]
    files = [file for _, file, _ in read if file is not None]
    recorded = {rule.name for file in files for group in file.groups for rule in group.rules if rule.kind == "record"}
    good = True
    for path, file, problems in read:
        warnings = lint_rule_file(file, provided, recorded) if file is not None else []
        good &= _tell(path, file, problems, warnings, strict, stream)
    return 0 if good else 2


def _tell(
    path: Path,
    file: RuleFile | None,
    problems: Sequence[Problem],
    warnings: Sequence[Problem],
    strict: bool,
    stream: TextIO,
) -> bool:
    print(f"Checking {clean(str(path))}", file=stream)
    for problem in problems:
        print(problem, file=stream)
    for warning in warnings:
        print(f"warning: {warning}", file=stream)
    good = file is not None and not (strict and warnings)
    counts = [_count(len(problems), "error"), _count(len(warnings), "warning")]
    noted = ", ".join(count for count in counts if count)
    if file is not None and good:
        print(f"  SUCCESS: {file.rules_count} rules found{', ' + noted if noted else ''}", file=stream)
    else:
        print(f"  FAILED: {noted}", file=stream)
    return good


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""
