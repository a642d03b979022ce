"""Shapes: which pointwise rules differ in what they select and in thresholds alone, and what those thresholds are.

This is the one step in which a simple rule is compiled to something simpler than its expression: rules of one shape
become one table, see `engine.core.kin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.conditions import Level
from engine.core.promql.plan import Arithmetic, ComparisonOp, Negation, Node, Number, Plan, Selector, walk
from engine.core.rules import Rule

__all__ = ["Comparisons", "Limits", "compared", "is_ordinary", "is_plain", "shape"]

Limits: TypeAlias = list[NDArray[np.float64]]


class Comparisons(NamedTuple):
    """What the levels of all rules of a kin compare with: by level the operators, and thresholds by rule."""

    whens: tuple[ComparisonOp | None, ...]
    clears: tuple[ComparisonOp | None, ...]
    limits: Limits


def is_ordinary(rule: Rule) -> bool:
    """Whether a rule has a value exactly where all its inputs have one, and nothing of absence."""
    plan = rule.plan
    if not isinstance(plan, Plan) or plan.absence_matters or rule.on_missing == "fire":
        return False
    nodes = list(walk(rule.measure))
    leaves = sum(isinstance(node, Selector) for node in nodes)
    return leaves == len(plan.leaves) and all(isinstance(n, Selector | Number | Arithmetic | Negation) for n in nodes)


def is_plain(rule: Rule) -> bool:
    return rule.of == 1 and not rule.keep_firing_for_ms


def shape(rule: Rule) -> str:
    """The same for rules that differ in what they select and in thresholds alone."""
    levels = [(level.when and level.when.op, level.clear and level.clear.op) for level in rule.levels]
    return repr((_tree(rule.measure), levels, rule.on_missing == "reset", is_plain(rule)))


def _tree(node: Node) -> object:
    match node:
        case Selector():
            return node.leaf
        case Number():
            return repr(node)
        case Negation():
            return "-", _tree(node.operand)
        case Arithmetic():
            return node.op, _tree(node.left), _tree(node.right)
        case _:
            raise TypeError(f"{type(node).__name__} is not ordinary")


def compared(members: Sequence[tuple[int, Sequence[Level]]], rules: int) -> Comparisons:
    """What rules of one shape compare with.

    Args:
        members: The number of each, and its levels.
        rules: How many rules there are in all.
    """
    levels = members[0][1]
    limits: Limits = []
    for number in range(len(levels)):
        when, clear = np.zeros(rules), np.zeros(rules)
        for index, own in members:
            level = own[number]
            when[index] = 0.0 if level.when is None else level.when.threshold
            clear[index] = 0.0 if level.clear is None else level.clear.threshold
        limits += [when, clear]
    whens = tuple(None if level.when is None else level.when.op for level in levels)
    clears = tuple(None if level.clear is None else level.clear.op for level in levels)
    return Comparisons(whens, clears, limits)
