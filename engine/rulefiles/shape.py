"""What a rule file says, as values."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["RuleDef", "RuleFile", "RuleGroup"]


class RuleDef(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, as it is written.

    Args:
        kind: `alert` or `record`.
        name: The alert's name, or the metric that is recorded.
        expr: PromQL.
        for_ms: How long it must be true before it fires.
        keep_firing_for_ms: How long it goes on firing afterwards.
        labels: The rule's own; the group's are in the group. Templates in an alert, plain text in a recording rule.
        annotations: Templates.
        line: Where the rule starts, 1-based.
        column: Likewise.
    """

    kind: Literal["alert", "record"]
    name: str
    expr: str
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    line: int = 0
    column: int = 0


class RuleGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Rules that are evaluated together, in their order.

    Args:
        interval_ms: How often; None: the default of whoever evaluates.
        query_offset_ms: How far in the past; None: the default.
        limit: How many alerts or series each rule may make; 0: any number.
        labels: Added to every rule; a rule's own label of the same name wins.
    """

    name: str
    interval_ms: int | None = None
    query_offset_ms: int | None = None
    limit: int = 0
    labels: dict[str, str] = {}
    rules: tuple[RuleDef, ...] = ()
    line: int = 0

    def labels_of(self, rule: RuleDef) -> dict[str, str]:
        """The labels of a rule of this group, the group's included."""
        return {**self.labels, **rule.labels} if self.labels else rule.labels


class RuleFile(msgspec.Struct, frozen=True, kw_only=True):
    """A rule file.

    Args:
        path: As the operator named it, for messages.
        name: Relative to the folder of the configuration if it lies there, the same wherever the engine is started:
            for the identity of rules. Empty if nobody gave it one.
        unread_line: Where a second YAML document starts, which is not read; 0 if there is none.
    """

    path: str
    name: str = ""
    groups: tuple[RuleGroup, ...] = ()
    unread_line: int = 0

    @property
    def rules_count(self) -> int:
        return sum(len(group.rules) for group in self.groups)
