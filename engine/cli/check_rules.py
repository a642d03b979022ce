"""`check rules.yml`: every error of rule files at once, what was probably not meant, and how many rules there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from engine.errors import Problem
from engine.rulefiles import RuleFile, lint_rule_file, read_rule_file
from engine.rulefiles.lint import INTERVAL_MS, duplicate_rules, unread
from engine.text import clean

if TYPE_CHECKING:
    from engine.core.promql.plan import Compat

__all__ = ["Beside", "is_rule_file", "run_check_rules"]

SUFFIXES = (".yml", ".yaml", ".rules", ".rule")


class Beside(NamedTuple):
    """What a configuration beside rule files says about them.

    Args:
        provided: Metrics that its probes measure; None: not known.
        recorded: Metrics that its own rule files make.
        interval_ms: Of groups that name none.
        compat: Whose PromQL it is.
    """

    provided: Collection[str] | None = None
    recorded: Collection[str] = ()
    interval_ms: int = INTERVAL_MS
    compat: Compat = "prometheus3"


def is_rule_file(path: Path | None) -> bool:
    """By its name; and a folder, which is none, but was probably meant for one that has some."""
    return path is not None and (path.suffix in SUFFIXES or path.is_dir())


def run_check_rules(
    paths: Sequence[Path], stream: TextIO, *, strict: bool = False, beside: Beside | None = None
) -> int:
    """Check rule files as `promtool check rules` does, and more.

    Args:
        paths: Rule files. What one records, the others may read.
        stream: Where to print.
        strict: A warning counts as an error.
        beside: What the configuration beside them says; None: there is none.

    Returns:
        0 if all of them can be used, also if a rule is in one twice, as promtool has it; else 2.
    """
    from engine.rulefiles.compile import compiler

    beside = beside or Beside()
    compile_expr = compiler(beside.compat)
    read = [(path, *read_rule_file(path, compile_expr)) for path in paths]
    files = [file for _, file, _ in read if file is not None]
    recorded = {rule.name for file in files for group in file.groups for rule in group.rules if rule.kind == "record"}
    recorded.update(beside.recorded)
    good = True
    for path, file, problems in read:
        warnings: list[Problem] = []
        if file is not None:
            warnings = unread(file) + lint_rule_file(file, beside.provided, recorded, beside.interval_ms)
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
    twice = duplicate_rules(file) if file is not None else 0
    counts = [_count(len(problems), "error"), _count(twice, "duplicate rule"), _count(len(warnings) - twice, "warning")]
    noted = ", ".join(count for count in counts if count)
    if file is not None and good and not twice:
        print(f"  SUCCESS: {file.rules_count} rules found{', ' + noted if noted else ''}", file=stream)
    else:
        print(f"  FAILED: {noted}", file=stream)
    return good


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""
