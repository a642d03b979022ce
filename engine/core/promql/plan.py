"""Plans: what a PromQL expression compiles to. Frozen, comparable, without a reference to any data.

A `Plan` is *pointwise*: each label set of the result depends on at most one series of each selector, the
one with the same labels. That is what lets a rule be judged for the changed label sets alone. A `QueryPlan`
is any expression of the language; it is evaluated whole, at an instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from engine.core.promql.regex import Regex

__all__ = [
    "Aggregation",
    "Arithmetic",
    "At",
    "Call",
    "Cardinality",
    "Comparison",
    "Compat",
    "Matcher",
    "Matching",
    "Negation",
    "Node",
    "Number",
    "Plan",
    "QueryPlan",
    "RangeSelector",
    "Selector",
    "SetOperation",
    "StringLiteral",
    "Subquery",
    "children",
    "walk",
]

ArithmeticOp: TypeAlias = Literal["+", "-", "*", "/", "%", "^", "atan2"]
ComparisonOp: TypeAlias = Literal["==", "!=", ">", "<", ">=", "<="]
SetOp: TypeAlias = Literal["and", "or", "unless"]
AggregationOp: TypeAlias = Literal[
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
    "limitk",
    "limit_ratio",
]
Cardinality: TypeAlias = Literal["one-to-one", "many-to-one", "one-to-many"]
Compat: TypeAlias = Literal["prometheus3", "prometheus2"]
ValueType: TypeAlias = Literal["vector", "scalar", "string"]
At: TypeAlias = int | Literal["start", "end"] | None
"""The `@` modifier: milliseconds since the epoch, or an end of the query, or none."""


class Matcher(msgspec.Struct, frozen=True):
    """One label matcher. `pattern` is compiled for `=~` and `!~`, else None.

    Args:
        stored: What the value is where it has passed `clean`, as the labels of all series have that came in.
    """

    label: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str
    pattern: Regex | None = None
    stored: str | None = None

    def matches(self, value: str) -> bool:
        """Whether a label value (empty for an absent label) satisfies this matcher."""
        if self.pattern is None:
            return (value in (self.value, self.stored)) == (self.op == "=")
        return self.pattern.matches(value) == (self.op == "=~")


class Number(msgspec.Struct, frozen=True):
    """A scalar."""

    value: float


class StringLiteral(msgspec.Struct, frozen=True):
    """A string: an argument, or a whole expression."""

    value: str


class Selector(msgspec.Struct, frozen=True):
    """An instant selector: the `leaf`-th of its plan.

    Args:
        metric: The name that `=` asks for; empty if none does. Other matchers of the name are in `matchers`.
        offset_ms: Looks this far back; negative is forward.
        at: Looks from this time instead of the time of evaluation; the offset applies to it.
    """

    leaf: int
    metric: str
    matchers: tuple[Matcher, ...] = ()
    offset_ms: int = 0
    at: At = None

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether the labels of a series of this metric are selected. `__name__` matters if a matcher asks for it."""
        return all(matcher.matches(labels.get(matcher.label, "")) for matcher in self.matchers)


class RangeSelector(msgspec.Struct, frozen=True):
    """`selector[range]`."""

    selector: Selector
    range_ms: int


class Subquery(msgspec.Struct, frozen=True):
    """`operand[range:step]`: the operand at each multiple of the step in the range.

    Args:
        step_ms: None for the default, which is the caller's.
    """

    operand: Node
    range_ms: int
    step_ms: int | None = None
    offset_ms: int = 0
    at: At = None


class Call(msgspec.Struct, frozen=True):
    """`function(arguments)`."""

    function: str
    arguments: tuple[Node, ...] = ()


class Aggregation(msgspec.Struct, frozen=True):
    """`op by/without (grouping) (parameter, operand)`."""

    op: AggregationOp
    operand: Node
    grouping: tuple[str, ...] = ()
    without: bool = False
    parameter: Node | None = None


class Matching(msgspec.Struct, frozen=True):
    """How the label sets of two vectors find each other.

    Args:
        on: By `labels` alone, else by all but `labels` and the metric name.
        cardinality: Which side may have many; set operators pay no attention to it.
        include: Labels that the result takes from the side that has one (`group_left(...)`).
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    cardinality: Cardinality = "one-to-one"
    include: tuple[str, ...] = ()


class Negation(msgspec.Struct, frozen=True):
    """`-operand`."""

    operand: Node


class Arithmetic(msgspec.Struct, frozen=True):
    """`left op right`; of two vectors, where labels match."""

    op: ArithmeticOp
    left: Node
    right: Node
    matching: Matching = Matching()


class Comparison(msgspec.Struct, frozen=True):
    """`left op right`. A filter that keeps the vector's value (the left one's of two), or with `as_bool` 0 and 1."""

    op: ComparisonOp
    left: Node
    right: Node
    as_bool: bool = False
    matching: Matching = Matching()


class SetOperation(msgspec.Struct, frozen=True):
    """`left op right` over label sets."""

    op: SetOp
    left: Node
    right: Node
    matching: Matching = Matching()


Node: TypeAlias = (
    Number
    | StringLiteral
    | Selector
    | RangeSelector
    | Subquery
    | Call
    | Aggregation
    | Negation
    | Arithmetic
    | Comparison
    | SetOperation
)


def children(node: Node) -> tuple[Node, ...]:
    """What a node is computed from."""
    match node:
        case Negation() | Subquery():
            return (node.operand,)
        case Aggregation():
            return (node.operand,) if node.parameter is None else (node.parameter, node.operand)
        case Arithmetic() | Comparison() | SetOperation():
            return node.left, node.right
        case Call():
            return node.arguments
        case RangeSelector():
            return (node.selector,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


class Plan(msgspec.Struct, frozen=True):
    """A compiled pointwise expression.

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


class QueryPlan(msgspec.Struct, frozen=True):
    """A compiled expression of the whole language.

    Args:
        expr: The expression as written.
        root: Its tree.
        type: What it gives.
        leaves: Its selectors, those of ranges included, in order of appearance.
        reaches_ms: For each leaf how far before the instant of evaluation it reads, the lookback apart: range, offset
            and the subqueries around it added up. None if `@` fixes the time.
        compat: Whose rules hold at the ends of windows, in regular expressions and in functions.
    """

    expr: str
    root: Node
    type: ValueType
    leaves: tuple[Selector, ...]
    reaches_ms: tuple[int | None, ...]
    compat: Compat = "prometheus3"
