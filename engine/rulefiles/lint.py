"""What loads and was probably not meant: warnings for `check`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from engine.durations import format_ms
from engine.errors import Problem, nearest
from engine.rulefiles.metrics import metrics_of
from engine.rulefiles.shape import RuleDef, RuleFile, RuleGroup

__all__ = ["INTERVAL_MS", "duplicate_rules", "lint_rule_file", "unread"]

INTERVAL_MS = 60_000
"""Prometheus' default evaluation interval; of groups that name none."""

# Made by the evaluator itself, or by every scrape.
_ALWAYS_THERE = frozenset({"ALERTS", "ALERTS_FOR_STATE", "up"})
_Seen: TypeAlias = dict[tuple[str, str, frozenset[tuple[str, str]]], tuple[str, int]]
"""By kind, name and labels of a rule, where it is: its group and line."""
SHOWN_MAX = 3
_OWN_PREFIXES = ("longwatch_", "scrape_")


def lint_rule_file(
    file: RuleFile,
    provided: Collection[str] | None = None,
    recorded: Collection[str] = (),
    interval_ms: int = INTERVAL_MS,
) -> list[Problem]:
    """Return the warnings for a file, in file order.

    Args:
        provided: Metrics that the configured probes measure; None: not known, so nothing is said about them.
        recorded: Metrics that recording rules of other files make.
        interval_ms: Of groups that name none.
    """
    warnings: list[Problem] = []
    seen: _Seen = {}
    names = {rule.name for group in file.groups for rule in group.rules if rule.kind == "record"} | set(recorded)
    for group in file.groups:
        for number, rule in enumerate(group.rules, 1):
            address = f'group "{group.name}", rule {number}, "{rule.name}"'
            found = (
                _duplicate(group, rule, seen),
                _short_for(group, rule, interval_ms),
                _unfed(rule, provided, names),
            )
            warnings += [Problem(file.path, rule.line, address, *words) for words in found if words is not None]
    return warnings


def unread(file: RuleFile) -> list[Problem]:
    """What is said of a file of which a part is not read; empty if all of it is."""
    if not file.unread_line:
        return []
    message = "a second document starts here, and neither Prometheus nor this engine reads it"
    return [Problem(file.path, file.unread_line, "", message, "write its groups above, or in a file of their own")]


def duplicate_rules(file: RuleFile) -> int:
    """How many rules have the name and the labels of an earlier one: promtool says FAILED of such a file."""
    seen: _Seen = {}
    return sum(_duplicate(group, rule, seen) is not None for group in file.groups for rule in group.rules)


def _duplicate(group: RuleGroup, rule: RuleDef, seen: _Seen) -> tuple[str, str] | None:
    key = (rule.kind, rule.name, frozenset(group.labels_of(rule).items()))
    if key not in seen:
        seen[key] = group.name, rule.line
        return None
    other, line = seen[key]
    where = f"line {line}" if other == group.name else f'line {line}, in group "{other}"'
    what = "they write the same series" if rule.kind == "record" else "a label of one would tell them apart"
    return f"the same {rule.kind} with the same labels is on {where}", what


def _short_for(group: RuleGroup, rule: RuleDef, interval_ms: int) -> tuple[str, str] | None:
    interval = group.interval_ms or interval_ms
    if not 0 < rule.for_ms < interval:
        return None
    message = f"for {format_ms(rule.for_ms)} is shorter than the group's interval {format_ms(interval)}"
    return message, f"it fires at the second evaluation, after {format_ms(interval)}"


def _unfed(rule: RuleDef, provided: Collection[str] | None, recorded: Collection[str]) -> tuple[str, str] | None:
    """The metrics of a rule that nothing measures."""
    wanted = metrics_of(rule.expr) if provided is not None else None
    if wanted is None or provided is None:
        return None
    known = {*provided, *recorded, *_ALWAYS_THERE} - {rule.name}
    missing = sorted(name for name in wanted - known if not name.startswith(_OWN_PREFIXES))
    if not missing:
        return None
    more = f" and {len(missing) - SHOWN_MAX} more" if len(missing) > SHOWN_MAX else ""
    shown = ", ".join(f'"{name}"' for name in missing[:SHOWN_MAX])
    return f"no probe here measures {shown}{more}", nearest(missing[0], sorted(known)) if len(missing) == 1 else ""
