"""Whether an expression is a condition at all. Looks at its outermost operator and at nothing else.

A rule holds for every label set in its expression's result, whatever its value is: `up` holds while there is a sample
of it, and so does `up == bool 0`. That is seldom meant.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["never_false"]

_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
_SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
_ABOUT_ABSENCE: Final = frozenset({"absent", "absent_over_time"})


def never_false(expr: str) -> tuple[str, str]:
    """What is odd about a rule's expression that compiles, and what to write instead; both empty if nothing is."""
    import promql_parser as ast

    from engine.core.promql.parse import parse

    top: Any = parse(expr)
    while isinstance(top, ast.ParenExpr):
        top = top.expr
    if isinstance(top, ast.BinaryExpr):
        operator = str(top.op)
        if operator in _SET_OPERATORS:
            return "", ""
        if operator in _COMPARISONS:
            if top.modifier is not None and top.modifier.return_bool:
                return "holds whatever the comparison says: with `bool` its result is 0 or 1, and both are there", (
                    "leave out `bool`"
                )
            return "", ""
    if isinstance(top, ast.Call) and top.func.name in _ABOUT_ABSENCE:
        return "", ""
    return "holds whenever there is a sample, whatever its value", "compare it: ... > 0"
