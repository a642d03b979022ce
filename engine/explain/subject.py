"""What is asked about: the alerting rules of a name, and with them the rules whose results they read.

Looks at rules alone, never at samples.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from engine.core.dependencies import may_read
from engine.core.grid_alerts import ALERTS, ALERTS_FOR_STATE
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.plan import Plan, QueryPlan
from engine.core.rules import RecordingRule, Rule
from engine.core.seats import Key
from engine.errors import LongwatchError
from engine.text import clean

__all__ = ["SEVERITY", "ExplainError", "Subject", "label_filter", "subject_of"]

NAMES_MAX: Final = 5
SEVERITY: Final = "severity"
_LABEL: Final = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=(.*)", re.DOTALL)


class ExplainError(LongwatchError):
    """The question can't be answered. The message says what there is instead."""


class Subject(NamedTuple):
    """Rules for a core that judges no more than what is asked about.

    Args:
        rules, groups: As the core takes them.
        plans: Of all of them.
        back_ms: How far back what they say at an instant may reach: durations and windows.
    """

    name: str
    rules: list[Rule | RecordingRule]
    groups: list[GridGroup]
    plans: list[Plan | QueryPlan]
    back_ms: int

    @property
    def records(self) -> dict[str, list[Plan | QueryPlan]]:
        """The metrics that the rules record, each with the plans of those that do."""
        made: dict[str, list[Plan | QueryPlan]] = {}
        for rule in self.rules:
            if isinstance(rule, RecordingRule):
                made.setdefault(rule.record, []).append(rule.plan)
        for one in (one for group in self.groups for one in group.rules if one.kind == "record"):
            made.setdefault(one.name, []).append(one.plan)
        return made

    @property
    def severities(self) -> list[str]:
        """Of the levels of the rules that are asked about, the lowest first."""
        asked = [rule for rule in self.rules if isinstance(rule, Rule) and rule.name == self.name]
        return [level.severity for rule in asked for level in rule.levels if level.severity]


def subject_of(name: str, rules: Sequence[Rule | RecordingRule], groups: Sequence[GridGroup]) -> Subject:
    """Find the rules of a name, and those they read.

    Raises:
        ExplainError: There is none of that name that alerts.
    """
    everyone: list[GridRule] = [rule for group in groups for rule in group.rules]
    alerting = [rule for rule in rules if isinstance(rule, Rule) and rule.name == name]
    of_groups = [rule for rule in everyone if rule.kind == "alert" and rule.name == name]
    if not alerting and not of_groups:
        raise _unknown(name, rules, everyone)
    asked: list[Rule | GridRule] = [*alerting, *of_groups]
    chosen: list[Rule | RecordingRule | GridRule] = list(asked)
    recording = [rule for rule in rules if isinstance(rule, RecordingRule)]
    for rule in chosen:  # which grows meanwhile
        read = [other for other in recording if may_read(rule.plan, other.record)]
        watched = may_read(rule.plan, ALERTS) or may_read(rule.plan, ALERTS_FOR_STATE)
        read_of_groups = [
            other for other in everyone if (may_read(rule.plan, other.name) if other.kind == "record" else watched)
        ]
        found: list[RecordingRule | GridRule] = [*read, *read_of_groups]
        chosen += [other for other in found if not any(other is one for one in chosen)]
    kept = [rule for rule in rules if any(rule is one for one in chosen)]
    left = [
        msgspec.structs.replace(group, rules=tuple(rule for rule in group.rules if any(rule is one for one in chosen)))
        for group in groups
    ]
    durations = [_duration_ms(rule) for rule in asked]
    reaches = [max((reach or 0 for reach in _reaches(rule.plan)), default=0) for rule in chosen]
    return Subject(
        name,
        kept,
        [group for group in left if group.rules],
        [rule.plan for rule in chosen],
        max(durations) + sum(reaches),
    )


def label_filter(texts: Iterable[str], severities: Sequence[str] = ()) -> tuple[dict[str, str], Callable[[Key], bool]]:
    """Read `name=value` texts: (the labels, whether an alert has all of them).

    Args:
        severities: Of the rule's levels: an alert with levels is one, whichever of them is asked for.

    Raises:
        ExplainError: One is not of that form, or a name comes twice.
    """
    wanted: dict[str, str] = {}
    for text in texts:
        match = _LABEL.fullmatch(text)
        if match is None:
            raise ExplainError(f'--labels takes NAME=VALUE, as in instance=a, not "{clean(text, 60)}"')
        name, value = match[1], match[2]
        if wanted.setdefault(name, value) != value:
            raise ExplainError(f"--labels has {name} twice, with different values")
    level = wanted.get(SEVERITY, "") if wanted.get(SEVERITY) in severities else ""

    def has(key: Key) -> bool:
        own = dict(key)
        return all(own.get(name, level if name == SEVERITY else "") == value for name, value in wanted.items())

    return wanted, has


def _unknown(name: str, rules: Sequence[Rule | RecordingRule], everyone: Sequence[GridRule]) -> ExplainError:
    known = sorted(
        {rule.name for rule in rules if isinstance(rule, Rule)} | {one.name for one in everyone if one.kind == "alert"}
    )
    recorded = {rule.name for rule in rules if isinstance(rule, RecordingRule)}
    recorded |= {rule.record for rule in rules if isinstance(rule, RecordingRule)}
    if name in recorded | {one.name for one in everyone if one.kind == "record"}:
        return ExplainError(f'"{name}" is a recording rule, which has no alerts; ask about a rule that reads it')
    if not known:
        return ExplainError(f'there is no rule "{clean(name, 60)}": the configuration has none that alerts')
    lowered = {one.lower(): one for one in known}
    near = [lowered[one] for one in difflib.get_close_matches(name.lower(), lowered, NAMES_MAX)]
    told = ", ".join(clean(one, 60) for one in near or known[:NAMES_MAX]) + (
        "?" if near else ", ..." if known[5:] else ""
    )
    return ExplainError(f'there is no rule "{clean(name, 60)}"; {"did you mean" if near else "there is"} {told}')


def _duration_ms(rule: Rule | GridRule) -> int:
    if isinstance(rule, GridRule):
        return rule.for_ms + rule.keep_firing_for_ms
    return max(level.for_ms for level in rule.levels) + rule.keep_firing_for_ms + rule.missing_for_ms


def _reaches(plan: Plan | QueryPlan) -> Sequence[int | None]:
    return plan.reaches_ms if isinstance(plan, QueryPlan) else ()
