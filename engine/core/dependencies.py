"""Which rule reads what which recording rule makes: the order in which they are evaluated, and what hangs together.

Looks at names alone, never at samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TypeVar

from engine.core.promql.plan import Plan, QueryPlan, Selector
from engine.core.rules import RecordingRule
from engine.errors import RuleError

__all__ = ["in_order", "linked", "may_read", "selects"]

T = TypeVar("T")


def may_read(plan: Plan | QueryPlan, metric: str) -> bool:
    """Whether a sample of a metric can change an expression. A selector without one name may read every name that
    its matchers let through."""
    return any(selects(leaf, metric) for leaf in plan.leaves)


def selects(leaf: Selector, metric: str) -> bool:
    """Whether a selector may select series of a metric: by its name alone."""
    if leaf.metric and leaf.metric != metric:
        return False
    return all(matcher.matches(metric) for matcher in leaf.matchers if matcher.label == "__name__")


def in_order(rules: Sequence[RecordingRule]) -> list[RecordingRule]:
    """Recording rules so that each comes after those whose results it may read; else as they are given.

    Raises:
        RuleError: A rule reads, directly or through others, what it records.
    """
    graph = {
        reader: [writer for writer, other in enumerate(rules) if may_read(rule.plan, other.record)]
        for reader, rule in enumerate(rules)
    }
    try:
        return [rules[position] for position in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        cycle: list[int] = error.args[1][:-1]  # each feeds the next
    first = cycle.index(min(cycle))
    raise _refusal([rules[position] for position in (*cycle[first:], *cycle[:first])])


def linked(plans: Sequence[tuple[T, Plan | QueryPlan]], writers: Sequence[tuple[T, str]]) -> list[set[T]]:
    """Partition rules: two hang together if one reads what the other records, or both hang together with a third.

    Args:
        plans: Every rule with its expression.
        writers: The recording rules among them, with their metrics.
    """
    groups = {rule: {rule} for rule, _ in plans}
    for reader, plan in plans:
        for writer, metric in writers:
            if groups[reader] is not groups[writer] and may_read(plan, metric):
                whole = groups[reader] | groups[writer]
                groups.update(dict.fromkeys(whole, whole))
    return list({id(group): group for group in groups.values()}.values())


def _refusal(cycle: Sequence[RecordingRule]) -> RuleError:
    rule = cycle[0]
    nameless = any(not leaf.metric for one in cycle for leaf in one.plan.leaves)
    if nameless:
        hint = 'a selector without a metric name reads every metric; leave out what the rule records: __name__!="..."'
    else:
        hint = "read what was measured instead, or record it under another name"
    if len(cycle) == 1:
        return RuleError(rule.name, f'it reads what it records itself, "{rule.record}"', hint)
    names = " -> ".join(one.name for one in (*cycle, rule))
    return RuleError(rule.name, f"recording rules feed each other in a cycle: {names}", hint)
