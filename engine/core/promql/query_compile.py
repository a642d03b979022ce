"""PromQL text to a plan of the whole language over float samples.

Whatever can't be evaluated exactly as Prometheus 3.5 does is refused here, by name: native histograms, what is
experimental there and not built here, and what only later versions or other dialects have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import promql_parser as ast

from engine.core.promql.matchers import compile_matcher
from engine.core.promql.parse import ANY_INFO, DEPTH_MAX, LEAVES_MAX, PromQLError, bare, parse
from engine.core.promql.plan import (
    Aggregation,
    AggregationOp,
    Arithmetic,
    ArithmeticOp,
    At,
    Call,
    Comparison,
    ComparisonOp,
    Compat,
    Matcher,
    Matching,
    Negation,
    Node,
    Number,
    QueryPlan,
    RangeSelector,
    Selector,
    SetOp,
    SetOperation,
    StringLiteral,
    Subquery,
    ValueType,
    walk,
)

__all__ = ["compile_query"]

SCALAR_FUNCTIONS = frozenset({"pi", "scalar", "time"})

TARGET_INFO = "target_info"  # what info() joins where no metric is asked for

DURATION_MAX_MS = (2**63 - 1) // 1_000_000  # Prometheus counts nanoseconds in 64 bits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_NEGATIVE = re.compile(r"@\s*-")
_AT_SECONDS = re.compile(r"tv_sec: (-?\d+),\s*tv_nsec: (\d+)")
_LABEL_2 = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_CARDINALITIES: dict[str, Any] = {"ManyToOne": "many-to-one", "OneToMany": "one-to-many"}


def compile_query(expr: str, *, compat: Compat = "prometheus3") -> QueryPlan:
    """Compile an expression.

    Raises:
        PromQLError: It does not parse, does not fit its types, uses a construct that is not supported, or is a
            range vector, which has no single value for each label set.
    """
    tree = parse(expr, compat=compat)
    builder = _Builder(compat, negative_at=_AT_NEGATIVE.search(bare(expr)) is not None)
    root = builder.node(tree, 0)
    if isinstance(root, RangeSelector | Subquery):
        raise PromQLError("the expression is a range vector", 'use a function of ranges, as in "rate(x[5m])"')
    return QueryPlan(expr, root, value_type(root), tuple(builder.leaves), tuple(builder.reaches_ms), compat)


def value_type(node: Node) -> ValueType:
    """What a node gives, ranges apart."""
    match node:
        case Number():
            return "scalar"
        case StringLiteral():
            return "string"
        case Negation():
            return value_type(node.operand)
        case Arithmetic() | Comparison():
            both = value_type(node.left) == value_type(node.right) == "scalar"
            return "scalar" if both else "vector"
        case Call():
            return "scalar" if node.function in SCALAR_FUNCTIONS else "vector"
        case _:
            return "vector"


class _Builder:
    """Turns a parser tree into plan nodes and collects the selectors."""

    def __init__(self, compat: Compat, *, negative_at: bool) -> None:
        self.leaves: list[Selector] = []
        self.reaches_ms: list[int | None] = []
        self._compat: Compat = compat
        self._negative_at = negative_at
        self._outer_ms: int | None = 0  # what the subqueries around the current node add to its reach

    def node(self, tree: Any, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise PromQLError(f"the expression is nested more than {DEPTH_MAX} deep")
        match tree:
            case ast.NumberLiteral():
                return Number(tree.val)
            case ast.StringLiteral():
                return StringLiteral(tree.val)
            case ast.ParenExpr():
                return self.node(tree.expr, depth + 1)
            case ast.UnaryExpr():
                operand = self.node(tree.expr, depth + 1)
                return Number(-operand.value) if isinstance(operand, Number) else Negation(operand)
            case ast.VectorSelector():
                return self._selector(tree, 0)
            case ast.MatrixSelector():
                range_ms = _ms(tree.range)
                return RangeSelector(self._selector(tree.vector_selector, range_ms), range_ms)
            case ast.SubqueryExpr():
                return self._subquery(tree, depth)
            case ast.BinaryExpr():
                return self._binary(tree, depth)
            case ast.Call():
                return self._call(tree, depth)
            case ast.AggregateExpr():
                return self._aggregation(tree, depth)
            case _:
                raise _unsupported(type(tree).__name__)

    def _selector(self, tree: Any, range_ms: int) -> Selector:
        if tree.matchers.or_matchers:
            raise _unsupported('"or" between matchers')
        metric, matchers = tree.name or "", []
        for matcher in tree.matchers.matchers:
            compiled = compile_matcher(matcher, compat=self._compat)
            if compiled.label == "__name__" and compiled.op == "=" and compiled.value and not metric:
                metric = compiled.value
            else:
                matchers.append(compiled)
        if not metric and all(matcher.matches("") for matcher in matchers):
            message = "vector selector must contain at least one non-empty matcher"
            raise PromQLError(message, 'as in {job=~".+"}')
        return self._leaf(metric, matchers, range_ms, _ms(tree.offset), self._at(tree))

    def _leaf(self, metric: str, matchers: Sequence[Matcher], range_ms: int, offset_ms: int, at: At) -> Selector:
        if len(self.leaves) >= LEAVES_MAX:
            raise PromQLError(f"the expression has more than {LEAVES_MAX} selectors")
        leaf = Selector(len(self.leaves), metric, tuple(matchers), offset_ms, at)
        self.leaves.append(leaf)
        fixed = self._outer_ms is None or at is not None
        self.reaches_ms.append(None if fixed else max(0, (self._outer_ms or 0) + range_ms + offset_ms))
        return leaf

    def _subquery(self, tree: Any, depth: int) -> Subquery:
        range_ms, offset_ms, at = _ms(tree.range), _ms(tree.offset), self._at(tree)
        outer_ms = self._outer_ms
        self._outer_ms = None if outer_ms is None or at is not None else outer_ms + range_ms + offset_ms
        operand = self.node(tree.expr, depth + 1)
        self._outer_ms = outer_ms
        return Subquery(operand, range_ms, None if tree.step is None else _ms(tree.step), offset_ms, at)

    def _at(self, tree: Any) -> At:
        if tree.at is None:
            return None
        kind = str(tree.at.type).rsplit(".", 1)[-1]
        if kind != "At":
            return "start" if kind == "Start" else "end"
        if self._negative_at:  # the parser fails natively on times before the epoch, but shows them
            shown = _AT_SECONDS.findall(repr(tree))
            if not shown:
                raise _unsupported("@ with a time before 1970")
            seconds, nanoseconds = map(int, shown[-1])
            return seconds * 1000 + round(nanoseconds / 1e6)
        try:
            return round((tree.at.at - _EPOCH) / timedelta(milliseconds=1))
        except (OverflowError, ValueError) as error:
            raise PromQLError("the time of @ is out of bounds") from error

    def _call(self, tree: Any, depth: int) -> Call:
        name = tree.func.name
        self._check_function(name)
        if name == "info":
            return self._info(tree, depth)
        return Call(name, tuple(self.node(argument, depth + 1) for argument in tree.args))

    def _info(self, tree: Any, depth: int) -> Call:
        """info(): its second argument becomes a selector of info series, which looks where the first selector of the
        first argument does. It has a matcher of the name only if the writer asks for a name."""
        base, given = self.node(tree.args[0], depth + 1), tree.args[1] if len(tree.args) > 1 else None
        matchers = [Matcher("__name__", "=", TARGET_INFO)]
        if given is not None:
            plain = isinstance(given, ast.VectorSelector) and not given.matchers.or_matchers
            if not plain or given.name or given.offset is not None or given.at is not None:
                message = "the second argument of info() is label matchers alone"
                raise PromQLError(message, 'as in info(x, {__name__="build_info", version=~".+"})')
            wanted = (matcher for matcher in given.matchers.matchers if matcher.name != ANY_INFO)
            matchers = [compile_matcher(matcher, compat=self._compat) for matcher in wanted]
        names = [matcher for matcher in matchers if matcher.label == "__name__"]
        metric = next((matcher.value for matcher in names if matcher.op == "="), "" if names else TARGET_INFO)
        looks = next((node for node in walk(base) if isinstance(node, Selector)), Selector(0, ""))
        return Call("info", (base, self._leaf(metric, matchers, 0, looks.offset_ms, looks.at)))

    def _check_function(self, name: str) -> None:
        from engine.core.promql import functions  # not at the top: it is loaded when a function is first used

        if name in functions.REFUSED or (name == "info" and self._compat == "prometheus2"):
            why = functions.REFUSED.get(name, "Prometheus 2 has no such function")
            raise PromQLError(f"function {name}() is not supported: {why}")
        if name not in functions.RANGE and name not in functions.VECTOR:
            raise PromQLError(f"function {name}() is not supported: Prometheus 3.5 has no such function for floats")

    def _aggregation(self, tree: Any, depth: int) -> Aggregation:
        op = str(tree.op)
        if op not in get_args(AggregationOp):
            raise _unsupported(f"aggregation {op}()")
        aggregation: AggregationOp = op  # type: ignore[assignment]  # narrowed by the line above
        parameter = None if tree.param is None else self.node(tree.param, depth + 1)
        if op == "count_values":
            label = parameter.value if isinstance(parameter, StringLiteral) else ""
            if not label or (self._compat == "prometheus2" and not _LABEL_2.fullmatch(label)):
                raise PromQLError(f'"{label}" is not a label name for count_values()')
        grouping: tuple[str, ...] = ()
        without = False
        if tree.modifier is not None:
            grouping = tuple(tree.modifier.labels)
            without = str(tree.modifier.type).endswith("Without")
        return Aggregation(aggregation, self.node(tree.expr, depth + 1), grouping, without, parameter)

    def _binary(self, tree: Any, depth: int) -> Node:
        op, modifier = str(tree.op), tree.modifier
        if modifier is not None and any(value is not None for value in _fills(modifier)):
            raise _unsupported("fill()")
        left, right = self.node(tree.lhs, depth + 1), self.node(tree.rhs, depth + 1)
        matching = _matching(modifier)
        if op in get_args(SetOp):
            set_op: SetOp = op  # type: ignore[assignment]  # narrowed by the line above
            return SetOperation(set_op, left, right, matching)
        if op in get_args(ComparisonOp):
            comparison: ComparisonOp = op  # type: ignore[assignment]
            as_bool = modifier is not None and modifier.return_bool
            return Comparison(comparison, left, right, as_bool, matching)
        if op in get_args(ArithmeticOp):
            arithmetic: ArithmeticOp = op  # type: ignore[assignment]
            return Arithmetic(arithmetic, left, right, matching)
        raise _unsupported(f"operator {op}")


def _fills(modifier: Any) -> list[Any]:
    """What `fill()` gives for the left and the right side, None where it gives nothing."""
    fill = getattr(modifier, "fill_values", None)
    return [] if fill is None else [getattr(fill, "lhs", None), getattr(fill, "rhs", None)]


def _matching(modifier: Any) -> Matching:
    if modifier is None:
        return Matching()
    on, labels = False, ()
    if modifier.matching is not None:
        on = str(modifier.matching.type).endswith("Include")
        labels = tuple(modifier.matching.labels)
    cardinality = _CARDINALITIES.get(str(modifier.card).rsplit(".", 1)[-1], "one-to-one")
    return Matching(on, labels, cardinality, tuple(modifier.group_labels or ()))


def _ms(duration: timedelta | None) -> int:
    """Milliseconds; the parser gives no finer ones."""
    found = 0 if duration is None else duration // timedelta(milliseconds=1)
    if abs(found) > DURATION_MAX_MS:
        raise PromQLError("duration out of range", "a duration has at most 292 years, as in Prometheus")
    return found


def _unsupported(what: str) -> PromQLError:
    return PromQLError(f"{what} is not supported", "the language is PromQL as of Prometheus 3.5, over float samples")
