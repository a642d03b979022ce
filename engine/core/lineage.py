"""Which labels of a result are those of the series that it is made of.

Between a selector and the result, aggregations and joins leave labels out and functions set others. What is left says
which series speak for a label set of the result: of `rate(a[5m])` only the series with just these labels, of
`sum by (job) (a)` all those of its job. Looks at a plan alone, never at samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from engine.core.promql.labels import NAME
from engine.core.promql.plan import (
    Aggregation,
    Arithmetic,
    Call,
    Comparison,
    Matching,
    Node,
    Selector,
    SetOperation,
    StringLiteral,
    children,
)

__all__ = ["EVERY_LABEL", "Kept", "lineage"]

# Functions of whose result no label is told by those of their arguments.
_MADE: Final = frozenset({"absent", "absent_over_time", "info", "scalar", "vector"})
# Aggregations that choose among series, and leave these as they are.
_CHOOSING: Final = frozenset({"bottomk", "limit_ratio", "limitk", "topk"})


class Kept(NamedTuple):
    """Labels that a result has from its inputs, absent ones included: `names`, or with `others` all but these."""

    names: frozenset[str]
    others: bool

    def has(self, name: str) -> bool:
        """Whether the label is one of them."""
        return (name in self.names) != self.others

    def only(self, names: Iterable[str]) -> Kept:
        """Those that are among `names`."""
        return self.meet(Kept(frozenset(names), others=False))

    def without(self, names: Iterable[str]) -> Kept:
        """Those that are not among `names`."""
        return self.meet(Kept(frozenset(names), others=True))

    def meet(self, other: Kept) -> Kept:
        """Those that are in both."""
        if self.others and other.others:
            return Kept(self.names | other.names, others=True)
        if self.others or other.others:
            left, right = (other, self) if self.others else (self, other)
            return Kept(left.names - right.names, others=False)
        return Kept(self.names & other.names, others=False)


EVERY_LABEL: Final = Kept(frozenset({NAME}), others=True)
_NO_LABEL: Final = Kept(frozenset(), others=False)


def lineage(root: Node) -> dict[int, Kept]:
    """By selector (`Selector.leaf`) which labels of its series the label sets of the result have from them."""
    found: dict[int, Kept] = {}
    _follow(root, EVERY_LABEL, found)
    return found


def _follow(node: Node, kept: Kept, found: dict[int, Kept]) -> None:
    match node:
        case Selector():
            found[node.leaf] = kept
        case Aggregation():
            if node.parameter is not None:
                _follow(node.parameter, _NO_LABEL, found)
            _follow(node.operand, _aggregated(node, kept), found)
        case Arithmetic() | Comparison():
            left, right = _joined(node.matching, kept)
            _follow(node.left, left, found)
            _follow(node.right, right, found)
        case SetOperation():
            _follow(node.left, kept, found)
            _follow(node.right, kept if node.op == "or" else _matched(node.matching, kept), found)
        case Call():
            for child in node.arguments:
                _follow(child, _through(node, kept), found)
        case _:
            for child in children(node):
                _follow(child, kept, found)


def _aggregated(node: Aggregation, kept: Kept) -> Kept:
    if node.op in _CHOOSING:
        return kept
    grouped = kept.without(node.grouping) if node.without else kept.only(node.grouping)
    if node.op == "count_values" and isinstance(node.parameter, StringLiteral):
        return grouped.without({node.parameter.value})
    return grouped


def _through(call: Call, kept: Kept) -> Kept:
    if call.function in _MADE:
        return _NO_LABEL
    if call.function == "histogram_quantile":
        return kept.without({"le"})
    if call.function in ("label_replace", "label_join"):
        made = call.arguments[1]
        return kept.without({made.value}) if isinstance(made, StringLiteral) else _NO_LABEL
    return kept


def _joined(matching: Matching, kept: Kept) -> tuple[Kept, Kept]:
    """What is kept of the left and of the right side. Where one side has many for one of the other, its labels stay,
    but for those that it takes from the other."""
    many = kept.without(matching.include)
    if matching.on:
        one = kept.only((*matching.labels, *matching.include))
    else:
        one = kept.without(set(matching.labels) - set(matching.include))
    match matching.cardinality:
        case "many-to-one":
            return many, one
        case "one-to-many":
            return one, many
        case _:
            return _matched(matching, kept), _matched(matching, kept)


def _matched(matching: Matching, kept: Kept) -> Kept:
    return kept.only(matching.labels) if matching.on else kept.without(matching.labels)
