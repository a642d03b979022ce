"""Plans: what a PromQL expression compiles to. Frozen, comparable, without a reference to any data.

A plan is *pointwise*: each label set of the result depends on at most one series of each selector, the
one with the same labels. That is what lets a rule be judged for the changed label sets alone.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "Arithmetic",
    "Comparison",
    "Matcher",
    "Negation",
    "Node",
    "Number",
    "Plan",
    "Selector",
    "SetOperation",
]

ArithmeticOp: TypeAlias = Literal["+", "-", "*", "/", "%", "^", "atan2"]
ComparisonOp: TypeAlias = Literal["==", "!=", ">", "<", ">=", "<="]
SetOp: TypeAlias = Literal["and", "or", "unless"]


class Matcher(msgspec.Struct, frozen=True):
    """One label matcher. `pattern` is compiled and anchored for `=~` and `!~`, else None."""

    label: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str
    pattern: re.Pattern[str] | None = None

    def matches(self, value: str) -> bool:
        """Whether a label value (empty for an absent label) satisfies this matcher."""
        if self.pattern is None:
            return (value == self.value) == (self.op == "=")
        return (self.pattern.fullmatch(value) is not None) == (self.op == "=~")


class Number(msgspec.Struct, frozen=True):
    """A scalar."""

    value: float


class Selector(msgspec.Struct, frozen=True):
    """An instant selector: the `leaf`-th of its plan."""

    leaf: int
    metric: str
    matchers: tuple[Matcher, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether the labels of a series of this metric are selected."""
        return all(matcher.matches(labels.get(matcher.label, "")) for matcher in self.matchers)


class Negation(msgspec.Struct, frozen=True):
    """`-operand`."""

    operand: Node


class Arithmetic(msgspec.Struct, frozen=True):
    """`left op right`; of two vectors, where both have the label set."""

    op: ArithmeticOp
    left: Node
    right: Node


class Comparison(msgspec.Struct, frozen=True):
    """`left op right`. A filter that keeps the vector's value (the left one's of two), or with `as_bool` 0 and 1."""

    op: ComparisonOp
    left: Node
    right: Node
    as_bool: bool = False


class SetOperation(msgspec.Struct, frozen=True):
    """`left op right` over label sets."""

    op: SetOp
    left: Node
    right: Node


Node: TypeAlias = Number | Selector | Negation | Arithmetic | Comparison | SetOperation


class Plan(msgspec.Struct, frozen=True):
    """A compiled expression.

    Args:
        expr: The expression as written.
        root: Its tree, of vector type.
        leaves: Its selectors, in order of appearance.
        absence_matters: It holds `or` or `unless`, so its value can change when an input merely goes stale.
    """

    expr: str
    root: Node
    leaves: tuple[Selector, ...]
    absence_matters: bool
