"""PromQL text to a plan. Whatever can't be evaluated exactly is refused here, by name."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any, get_args

import promql_parser as ast

from engine.core.promql.plan import (
    Arithmetic,
    ArithmeticOp,
    Comparison,
    ComparisonOp,
    Matcher,
    Negation,
    Node,
    Number,
    Plan,
    Selector,
    SetOp,
    SetOperation,
)

__all__ = ["PromQLError", "compile_expr"]

EXPR_CHARS_MAX = 16_384
LEAVES_MAX = 62  # which selectors fed a label set is remembered as bits of an int64
DEPTH_MAX = 100
READ_CHARS_MAX = 1_000  # a mistake is looked for with one attempt to parse per character
OPERATORS_MAX = 1_000  # the parser recurses and would overflow its stack, killing the process, at some thousands

# Strings and comments, in one pass: a quote in a comment opens no string.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*')
_OPERATOR = re.compile(r"[-+*/%^<>=!({\[]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)

# What Python's `re` reads differently from RE2, or will (nested sets); a rule must not mean two things.
_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P<|[imsU]*[:)])?|[*+?}]\+|\{,", re.DOTALL)
_ESCAPES_UNLIKE_RE2 = frozenset("pPCQzZAuU123456789")
_SETS_OF_SETS = re.compile(r"\[|--|&&|~~|\|\|")


class PromQLError(ValueError):
    """An expression does not parse or is not supported. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


def compile_expr(expr: str) -> Plan:
    """Compile an expression.

    Raises:
        PromQLError: It does not parse, uses a construct that is not supported, or yields no vector.
    """
    if len(expr) > EXPR_CHARS_MAX:
        raise PromQLError(f"an expression has at most {EXPR_CHARS_MAX} characters, not {len(expr)}")
    if len(_OPERATOR.findall(_QUOTED.sub("", expr))) > OPERATORS_MAX:
        raise PromQLError(f"the expression has more than {OPERATORS_MAX:,} operators and brackets")
    try:
        tree = ast.parse(expr)
    except ValueError as error:
        raise PromQLError(f"could not parse expression: {_where(expr, str(error))}") from error
    builder = _Builder()
    root = builder.node(tree, 0)
    if not _is_vector(root):
        raise PromQLError("the expression is a number, not a vector", 'compare a metric, as in "host_cpu_percent > 90"')
    return Plan(expr, root, tuple(builder.leaves), builder.absence_matters)


def _where(expr: str, message: str) -> str:
    """The parser's message; for its bare ones, how far the expression could be read."""
    if message != "invalid promql query":
        return message
    if len(expr) > READ_CHARS_MAX:
        return message
    with contextlib.suppress(ValueError):
        ast.parse(f"{expr} a")
        return f'unexpected end after "{expr.strip()[-40:]}"'
    for end in range(len(expr), 0, -1):
        try:
            ast.parse(expr[:end])
        except ValueError:
            continue
        rest = expr[end:].strip()
        return f'unexpected end after "{expr[:end].strip()[-40:]}"' if not rest else f'unexpected "{rest[:40]}"'
    return f'can\'t read "{expr.strip()[:40]}"' if expr.strip() else "it is empty"


class _Builder:
    """Turns a parser tree into plan nodes and collects the selectors."""

    def __init__(self) -> None:
        self.leaves: list[Selector] = []
        self.absence_matters = False

    def node(self, tree: Any, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise PromQLError(f"the expression is nested more than {DEPTH_MAX} deep")
        match tree:
            case ast.NumberLiteral():
                return Number(tree.val)
            case ast.ParenExpr():
                return self.node(tree.expr, depth + 1)
            case ast.UnaryExpr():
                operand = self.node(tree.expr, depth + 1)
                return Number(-operand.value) if isinstance(operand, Number) else Negation(operand)
            case ast.VectorSelector():
                return self._selector(tree)
            case ast.BinaryExpr():
                return self._binary(tree, depth)
            case ast.Call():
                raise _unsupported(f"function {tree.func.name}()")
            case ast.AggregateExpr():
                raise _unsupported(f"aggregation {tree.op}()")
            case ast.MatrixSelector():
                raise _unsupported("range selector")
            case ast.SubqueryExpr():
                raise _unsupported("subquery")
            case ast.StringLiteral():
                raise PromQLError("the expression is a string, not a vector")
            case _:
                raise _unsupported(type(tree).__name__)

    def _selector(self, tree: Any) -> Selector:
        if tree.offset is not None:
            raise _unsupported("offset")
        if tree.at is not None:
            raise _unsupported("@ modifier")
        if tree.matchers.or_matchers:
            raise _unsupported('"or" between matchers')
        metric, matchers = tree.name, []
        for matcher in tree.matchers.matchers:
            compiled = _matcher(matcher)
            if compiled.label == "__name__" and compiled.op == "=" and not metric:
                metric = compiled.value
            elif compiled.label == "__name__":
                raise _unsupported("selector without one metric name")
            else:
                matchers.append(compiled)
        if not metric:
            raise _unsupported("selector without one metric name")
        if len(self.leaves) >= LEAVES_MAX:
            raise PromQLError(f"the expression has more than {LEAVES_MAX} selectors")
        leaf = Selector(len(self.leaves), metric, tuple(matchers))
        self.leaves.append(leaf)
        return leaf

    def _binary(self, tree: Any, depth: int) -> Node:
        op, modifier = str(tree.op), tree.modifier
        if modifier is not None:
            if modifier.matching is not None:
                raise _unsupported("on/ignoring/group_left/group_right")
            if any(value is not None for value in _fills(modifier)):
                raise _unsupported("fill()")
        left, right = self.node(tree.lhs, depth + 1), self.node(tree.rhs, depth + 1)
        as_bool = modifier is not None and modifier.return_bool
        if op in get_args(SetOp):
            self.absence_matters |= op in ("or", "unless")
            set_op: SetOp = op  # type: ignore[assignment]  # narrowed by the line above
            return SetOperation(set_op, left, right)
        if op in get_args(ComparisonOp):
            comparison: ComparisonOp = op  # type: ignore[assignment]
            if isinstance(left, Number) and isinstance(right, Number):
                return Number(float(_compare(comparison, left.value, right.value)))
            return Comparison(comparison, left, right, as_bool)
        if op in get_args(ArithmeticOp):
            arithmetic: ArithmeticOp = op  # type: ignore[assignment]
            if isinstance(left, Number) and isinstance(right, Number):
                return Number(_fold(arithmetic, left.value, right.value))
            return Arithmetic(arithmetic, left, right)
        raise _unsupported(f"operator {op}")


def _fills(modifier: Any) -> list[Any]:
    fill = getattr(modifier, "fill_values", None)
    return [] if fill is None else [getattr(fill, "lhs", None), getattr(fill, "rhs", None)]


def _matcher(matcher: Any) -> Matcher:
    op = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}[str(matcher.op).rsplit(".", 1)[-1]]
    if op in ("=", "!="):
        return Matcher(matcher.name, op, matcher.value)  # type: ignore[arg-type]
    if found := _unlike_re2(matcher.value):
        raise PromQLError(
            f'the regular expression "{matcher.value}" uses "{found}", which Python and RE2 read differently',
            "spell the characters out, as in [a-z]",
        )
    try:
        # Prometheus: anchored at both ends, `.` matches a newline, \d and \w are ASCII.
        pattern = re.compile(matcher.value, re.DOTALL | re.ASCII)
    except re.error as error:
        raise PromQLError(f'the regular expression "{matcher.value}" is not valid: {error}') from error
    return Matcher(matcher.name, op, matcher.value, pattern)  # type: ignore[arg-type]


def _unlike_re2(pattern: str) -> str:
    """The first piece of a regular expression that Python and RE2 read differently, or an empty string."""
    for match in _PIECE.finditer(pattern):
        piece = match.group()
        if piece[0] == "\\":
            unlike = piece[1] in _ESCAPES_UNLIKE_RE2
        elif piece[0] == "[":
            unlike = _SETS_OF_SETS.search(piece, 1) is not None
        elif piece[0] == "(":
            unlike = piece == "(?" or ("i" in piece and not pattern.isascii())  # the case of é is another matter
        else:
            unlike = True
        if unlike:
            return piece
    return ""


def _unsupported(what: str) -> PromQLError:
    return PromQLError(
        f"{what} is not supported by this version",
        "it has instant selectors with a metric name, numbers, arithmetic, comparison, and/or/unless",
    )


def _is_vector(node: Node) -> bool:
    return not isinstance(node, Number)


def _compare(op: ComparisonOp, left: float, right: float) -> bool:
    table = {
        "==": left == right,
        "!=": left != right,
        ">": left > right,
        "<": left < right,
        ">=": left >= right,
        "<=": left <= right,
    }
    return table[op]


def _fold(op: ArithmeticOp, left: float, right: float) -> float:
    """Arithmetic of two numbers by Go's rules, which never raise."""
    from engine.core.promql.evaluate import arithmetic

    result = float(arithmetic(op, left, right))
    return math.nan if math.isnan(result) else result
