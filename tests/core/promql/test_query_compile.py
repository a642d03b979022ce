"""The whole language to plans, and what is refused by name."""

import pytest

from engine.core.promql.parse import DEPTH_MAX, LEAVES_MAX, PromQLError
from engine.core.promql.plan import (
    Aggregation,
    Arithmetic,
    Call,
    Comparison,
    Matching,
    Negation,
    Number,
    RangeSelector,
    Selector,
    SetOperation,
    StringLiteral,
    Subquery,
)
from engine.core.promql.query_compile import compile_query

A, B = Selector(0, "a"), Selector(1, "b")


@pytest.mark.parametrize(
    ("expr", "root"),
    [
        ("1 + 2", Arithmetic("+", Number(1.0), Number(2.0))),
        ("-1 ^ 2", Negation(Arithmetic("^", Number(1.0), Number(2.0)))),
        ('"text"', StringLiteral("text")),
        ("`a\\d`", StringLiteral("a\\d")),
        ("a offset 5m", Selector(0, "a", offset_ms=300_000)),
        ("a offset -1m30s", Selector(0, "a", offset_ms=-90_000)),
        ("a @ 1.5 offset 1500ms", Selector(0, "a", offset_ms=1_500, at=1_500)),
        ("a @ start()", Selector(0, "a", at="start")),
        ("a offset 1m @ end()", Selector(0, "a", offset_ms=60_000, at="end")),
        ("a @ -1.5", Selector(0, "a", at=-1_500)),
        ("rate(a[1.5])", Call("rate", (RangeSelector(A, 1_500),))),
        ("rate((a[5m]))", Call("rate", (RangeSelector(A, 300_000),))),
        ("sum_over_time(a[1h:])", Call("sum_over_time", (Subquery(A, 3_600_000),))),
        (
            "sum_over_time(a[1h:250ms] @ 2 offset 1m)",
            Call("sum_over_time", (Subquery(A, 3_600_000, 250, 60_000, 2_000),)),
        ),
        ("hour()", Call("hour")),
        ("SUM BY (x, y) (a)", Aggregation("sum", A, ("x", "y"))),
        ("sum(a) without (x)", Aggregation("sum", A, ("x",), without=True)),
        ("quantile(0.5, a)", Aggregation("quantile", A, parameter=Number(0.5))),
        ('count_values("v", a)', Aggregation("count_values", A, parameter=StringLiteral("v"))),
        ("limitk(2, a)", Aggregation("limitk", A, parameter=Number(2.0))),
        ("a > bool on (x) b", Comparison(">", A, B, True, Matching(on=True, labels=("x",)))),
        ("a and ignoring (x) b", SetOperation("and", A, B, Matching(labels=("x",)))),
        ("a and on () b", SetOperation("and", A, B, Matching(on=True))),
        (
            "a * on (x) group_left (y, z) b",
            Arithmetic("*", A, B, Matching(on=True, labels=("x",), cardinality="many-to-one", include=("y", "z"))),
        ),
        (
            "a / ignoring (x) group_right b",
            Arithmetic("/", A, B, Matching(labels=("x",), cardinality="one-to-many")),
        ),
    ],
)
def test_what_an_expression_is(expr: str, root: object) -> None:
    assert compile_query(expr).root == root


def test_a_name_can_be_asked_for_in_many_ways() -> None:
    assert compile_query('{"a.b"}').leaves == (Selector(0, "a.b"),)
    assert compile_query('{__name__="a",__name__="b"}').leaves[0].metric == "a"
    nameless = compile_query('{__name__=~"a.*"}').leaves[0]
    assert (nameless.metric, nameless.matchers[0].matches("abc")) == ("", True)


def test_a_dot_matches_a_newline_since_prometheus_3() -> None:
    for compat, matches in (("prometheus3", True), ("prometheus2", False)):
        leaf = compile_query('a{x=~"a.b"}', compat=compat).leaves[0]  # type: ignore[arg-type]
        assert leaf.matchers[0].matches("a\nb") is matches


@pytest.mark.parametrize(
    ("expr", "type_"),
    [
        ("1", "scalar"),
        ("time() + 1", "scalar"),
        ("-scalar(a)", "scalar"),
        ("1 > bool 2", "scalar"),
        ('"x"', "string"),
        ("a", "vector"),
        ("a + 1", "vector"),
        ("vector(1)", "vector"),
        ("sum(a)", "vector"),
        ("a or b", "vector"),
    ],
)
def test_the_type_of_an_expression(expr: str, type_: str) -> None:
    assert compile_query(expr).type == type_


@pytest.mark.parametrize(
    ("expr", "reaches_ms"),
    [
        ("a", (0,)),
        ("a offset 1m + b offset -1m", (60_000, 0)),
        ("rate(a[5m] offset 1m)", (360_000,)),
        ("max_over_time(rate(a[5m])[1h:1m] offset 1m) + b", (3_960_000, 0)),
        ("a @ 5", (None,)),
        ("sum_over_time(a[1m:1s] @ end()) + sum_over_time(b[1m:1s])", (None, 60_000)),
    ],
)
def test_how_far_back_each_selector_reads(expr: str, reaches_ms: tuple[int | None, ...]) -> None:
    assert compile_query(expr).reaches_ms == reaches_ms


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("a[5m]", "range vector"),
        ("a[5m:1m]", "range vector"),
        ("histogram_count(a)", r"histogram_count\(\).*native histograms"),
        ("histogram_quantiles(a, 'q', 0.5)", r"histogram_quantiles\(\) is not supported"),
        ("start()", r"start\(\) is not supported"),
        ("step()", r"step\(\) is not supported"),
        ("a + fill(1) b", r"fill\(\) is not supported"),
        ('a{x="1" or y="2"}', '"or" between matchers is not supported'),
        ("rate(a[5m] smoothed)", "smoothed"),
        ("rate(a)", "expected type matrix in call to function 'rate', got vector"),
        ("sum(1)", "expected type vector in aggregation expression, got scalar"),
        ("1 > 2", "comparisons between scalars must use BOOL modifier"),
        ("a and 1", "set operator 'and' not allowed in binary scalar expression"),
        ("nope(a)", "unknown function with name 'nope'"),
        ("a offset 300y", "duration out of range"),
        ("a offset -293y", "duration out of range"),
        ("rate(a[292y25w])", "duration out of range"),
        ("sum_over_time(a[1h:300y])", "duration out of range"),
        ("a @ 1e300", "out of bounds|could not parse"),
        ("a @ 100000000000000", "out of bounds|could not parse"),
        ('count_values("", a)', "is not a label name"),
        (r'a{x="\xff"}', "a single byte"),
        (r"a{x='\377'}", "a single byte"),
        ('a{x=~"(?<!n)"}', "regular expression"),
        ("sum by (x (a)", "could not parse"),
    ],
)
def test_what_is_refused_and_why(expr: str, says: str) -> None:
    with pytest.raises(PromQLError, match=says):
        compile_query(expr)


def test_strings_that_only_look_like_bytes_are_read() -> None:
    assert compile_query(r'"\\xff \x41 \101"').root == StringLiteral(r"\xff A A")
    assert compile_query(r"`\xff`").root == StringLiteral(r"\xff")
    assert compile_query("1 # \\xff '").root == Number(1.0)


@pytest.mark.parametrize(
    ("expr", "value"), [("1_000", 1000.0), ("1_2.3_4e1_0", 12.34e10), ("0x_1F", 31.0), ("0755", 493.0), ("1h", 3600.0)]
)
def test_numbers_as_prometheus_writes_them(expr: str, value: float) -> None:
    assert compile_query(expr).root == Number(value)


def test_names_keep_their_underscores() -> None:
    assert compile_query('a_1_0{b_1_0="1_0"}').leaves[0].metric == "a_1_0"
    assert compile_query('a_1_0{b_1_0="1_0"}').leaves[0].matchers[0].value == "1_0"


def test_prometheus_2_calls_a_function_by_another_name() -> None:
    smoothed = "double_exponential_smoothing(a[5m], 0.5, 0.5)"
    assert compile_query("holt_winters(a[5m], 0.5, 0.5)", compat="prometheus2").root == compile_query(smoothed).root
    assert (
        compile_query('a{x="holt_winters(y)"}', compat="prometheus2").leaves[0].matchers[0].value == "holt_winters(y)"
    )
    with pytest.raises(PromQLError) as raised:
        compile_query("holt_winters(a[5m], 0.5, 0.5)")
    assert "double_exponential_smoothing" in raised.value.hint


def test_limits() -> None:
    assert len(compile_query(" + ".join(["a"] * LEAVES_MAX)).leaves) == LEAVES_MAX
    with pytest.raises(PromQLError, match=f"more than {LEAVES_MAX} selectors"):
        compile_query(" + ".join(["a"] * (LEAVES_MAX + 1)))
    with pytest.raises(PromQLError, match="nested"):
        compile_query("(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1))


@pytest.mark.parametrize("selector", ['{job=~".*"}', '{a=~"b*"}', '{a=~"b|"}', '{a!~"b.+"}', '{a=~".*",b!="x"}'])
def test_a_selector_that_would_select_everything_is_refused(selector: str) -> None:
    """As Prometheus does; the parser can't see it, for regular expressions are hidden from it."""
    for expr in (selector, f"absent_over_time({selector}[5m])", f"up or {selector}"):
        with pytest.raises(PromQLError, match="at least one non-empty matcher"):
            compile_query(expr)
    assert compile_query(selector.replace("{", "up{")).leaves
    assert compile_query(selector.replace("}", ',c=~".+"}')).leaves
