"""Which metrics an expression reads, from the parser's tree alone: for checks, not for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser as ast

__all__ = ["metrics_of"]


def metrics_of(expr: str) -> frozenset[str] | None:
    """Return the names of the metrics an expression selects; None if it does not parse, or selects by a pattern."""
    try:
        tree = ast.parse(expr)
    except ValueError:
        return None
    names: set[str] = set()
    for selector in _selectors(tree):
        name = selector.name
        for matcher in selector.matchers.matchers:
            if (
                matcher.name == "__name__"
                and str(matcher.op).endswith("Equal")
                and not str(matcher.op).endswith("NotEqual")
            ):
                name = matcher.value
        if not name:
            return None
        names.add(name)
    return frozenset(names)


def _selectors(tree: Any) -> Iterator[Any]:
    stack = [tree]
    while stack:
        node = stack.pop()
        match node:
            case ast.VectorSelector():
                yield node
            case ast.MatrixSelector():
                stack.append(node.vector_selector)
            case ast.BinaryExpr():
                stack += [node.lhs, node.rhs]
            case ast.Call():
                stack += list(node.args)
            case ast.AggregateExpr():
                stack += [part for part in (node.expr, node.param) if part is not None]
            case ast.ParenExpr() | ast.UnaryExpr() | ast.SubqueryExpr():
                stack.append(node.expr)
