"""PromQL text to a pointwise plan: what parses, and every refusal by name (fault F76)."""

import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.compile import NotPointwise, compile_expr
from engine.core.promql.parse import DEPTH_MAX, EXPR_CHARS_MAX, LEAVES_MAX, OPERATORS_MAX, PromQLError
from engine.core.promql.plan import Arithmetic, Comparison, Matcher, Negation, Number, Selector, SetOperation

A, B = Selector(0, "a"), Selector(1, "b")


@pytest.mark.parametrize(
    ("expr", "root"),
    [
        ("a", A),
        ("(a)", A),
        ("a > 90", Comparison(">", A, Number(90.0))),
        ("90 < a", Comparison("<", Number(90.0), A)),
        ("a >= bool 1", Comparison(">=", A, Number(1.0), as_bool=True)),
        ("a == b", Comparison("==", A, B)),
        ("-a", Negation(A)),
        ("+a", A),
        ("a / b", Arithmetic("/", A, B)),
        ("a atan2 b", Arithmetic("atan2", A, B)),
        ("a and b", SetOperation("and", A, B)),
        ("a OR b", SetOperation("or", A, B)),
        ("a unless b", SetOperation("unless", A, B)),
        ("a + b * 2", Arithmetic("+", A, Arithmetic("*", B, Number(2.0)))),
        ("2 ^ 3 ^ 2 < a", Comparison("<", Number(512.0), A)),  # right-associative
        ("-2 ^ 2 < a", Comparison("<", Number(-4.0), A)),  # binds tighter than the sign
        ("a > 1 or b > 2", SetOperation("or", Comparison(">", A, Number(1.0)), Comparison(">", B, Number(2.0)))),
        ("a or b and a", SetOperation("or", A, SetOperation("and", B, Selector(2, "a")))),
        ('{__name__="a"}', A),
        ('{"http requests"} > 1', Comparison(">", Selector(0, "http requests"), Number(1.0))),
        ("job:rate:5m > 0", Comparison(">", Selector(0, "job:rate:5m"), Number(0.0))),
        ("a > 0x10", Comparison(">", A, Number(16.0))),
        ("a > 1e3", Comparison(">", A, Number(1000.0))),
        ("a < Inf", Comparison("<", A, Number(math.inf))),
        ("a # > 1\n> 2", Comparison(">", A, Number(2.0))),
        ("a / ignoring() b", Arithmetic("/", A, B)),
    ],
)
def test_what_parses(expr: str, root: object) -> None:
    plan = compile_expr(expr)
    assert plan.root == root
    assert plan.expr == expr


def test_matchers_are_compiled() -> None:
    (leaf,) = compile_expr('a{b="c",d!="e",f=~"g.*",h!~"i"}').leaves
    assert [(m.label, m.op, m.value, m.pattern is not None) for m in leaf.matchers] == [
        ("b", "=", "c", False),
        ("d", "!=", "e", False),
        ("f", "=~", "g.*", True),
        ("h", "!~", "i", True),
    ]
    assert leaf.matches({"b": "c", "f": "g1"})
    assert leaf.matches({"b": "c", "d": "x", "f": "g", "h": "ii"})
    assert not leaf.matches({"b": "c", "d": "e", "f": "g"})
    assert not leaf.matches({"f": "g"})


@pytest.mark.parametrize(
    ("op", "value", "label", "matches"),
    [
        ("=", "", "", True),
        ("=", "", "x", False),
        ("!=", "", "", False),
        ("=~", "", "", True),
        ("=~", "a|b", "b", True),
        ("=~", "a|b", "ab", False),  # anchored at both ends
        ("=~", "b", "abc", False),
        ("=~", "a.c", "a\nc", True),  # the dot matches a newline
        ("=~", ".*", "", True),
        ("=~", ".+", "", False),
        ("!~", ".+", "", True),
        ("=~", r"\\d", "5", True),
        ("=~", r"\\d", "٥", False),  # ASCII, as in RE2
        ("=~", r"\\w", "é", False),
        ("=~", "(?i)AB", "ab", True),
        ("=~", "a$", "a\n", False),
    ],
)
def test_matching(op: str, value: str, label: str, matches: bool) -> None:
    (leaf,) = compile_expr(f'a{{b{op}"{value}"}}' if value else f'a{{b{op}"",c="d"}}').leaves
    assert leaf.matchers[0].matches(label) is matches
    assert isinstance(leaf.matchers[0], Matcher)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"\\C", r"\C"),
        (r"x\\Z", r"\Z"),
        (r"(a)\\1", r"\1"),
        (r"a*+", "*+"),
        (r"a++", "++"),
        (r"a?+", "?+"),
        (r"a{2}+", "}+"),
        (r"(?=a)", "(?="),
        (r"(?<=a)", "(?<"),
        (r"(?>a)", "(?>"),
        (r"(?P=a)", "(?P"),
        (r"\\u0041", r"\u"),
    ],
)
def test_what_python_alone_reads_is_refused(pattern: str, names: str) -> None:
    with pytest.raises(PromQLError) as refused:
        compile_expr(f'a{{b=~"{pattern}"}}')
    assert f'is not a regular expression: RE2 has no "{names}"' in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"\\pL", r"\pL"),
        (r"a\\p{Greek}", r"\p{Greek}"),
        (r"a\\b", r"\b"),
        (r"[[:^alpha:]]", "[:^alpha:]"),
        (r"[a--b]", "--"),
        (r"(?i)é", "(?i)"),
        (r"a(?i)b", "(?i)"),
        (r"(?U)a+", "(?U)"),
        (r"(?m)^a", "(?m)"),
        (r"(?P<1>a)", "(?P<1>"),
    ],
)
def test_what_only_re2_reads_says_what_to_install(monkeypatch: pytest.MonkeyPatch, pattern: str, names: str) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(PromQLError) as refused:
        compile_expr(f'a{{b=~"{pattern}"}}')
    assert f"uses \"{names}\", which needs RE2 itself: pip install 'longwatch[re2]'" in str(refused.value)
    assert "spell the characters out" in refused.value.hint


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        ("[*+]", "+"),
        (r"\\\\p", r"\p"),
        (r"[]a]", "]"),
        (r"[^]a]", "b"),
        (r"a[|]{2}", "a||"),
        (r"(?:a|b)+?", "ab"),
        (r"(?P<n>a)", "a"),
        (r"(?i:A)", "a"),
        (r"a\\++", "a+"),
    ],
)
def test_what_only_looks_like_it_is_taken(pattern: str, label: str) -> None:
    (leaf,) = compile_expr(f'a{{b=~"{pattern}"}}').leaves
    assert leaf.matchers[0].matches(label)


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "*", "[]", "[", "(?i"])
def test_a_regular_expression_that_is_not_valid_is_refused(pattern: str) -> None:
    with pytest.raises(PromQLError, match=r"regex|regular expression"):
        compile_expr(f'a{{b=~"{pattern}"}}')


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("rate(a[5m]) > 1", "function rate()"),
        ("avg_over_time(a[1m])", "function avg_over_time()"),
        ("absent(a)", "function absent()"),
        ("time() - a", "function time()"),
        ("vector(1)", "function vector()"),
        ("sum(a)", "aggregation sum()"),
        ("topk(3, a)", "aggregation topk()"),
        ("count by (x) (a) > 1", "aggregation count()"),
        ("a offset 5m > 1", "offset"),
        ("a @ 100", "@ modifier"),
        ("a @ start()", "@ modifier"),
        ("a and on(x) b", "on/ignoring/group_left/group_right"),
        ("a / on() b", "on/ignoring/group_left/group_right"),
        ("a / ignoring(x) b", "on/ignoring/group_left/group_right"),
        ("a * on(x) group_left b", "on/ignoring/group_left/group_right"),
        ('{x="1"}', "selector without one metric name"),
        ('{__name__=~"a|b"}', "selector without one metric name"),
        ('{__name__!="a",x="1"}', "selector without one metric name"),
    ],
)
def test_what_is_not_pointwise_is_refused_by_name(expr: str, names: str) -> None:
    with pytest.raises(NotPointwise) as refused:
        compile_expr(expr)
    assert str(refused.value) == f"{names} is not pointwise"
    assert "instant selectors" in refused.value.hint


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("a[5m]", "range vector"),
        ("a[5m:1m]", "range vector"),
        ("a + fill(0) b", "fill() is not supported"),
        ('a{x="1" or y="2"}', '"or" between matchers is not supported'),
    ],
)
def test_what_no_plan_can_be_made_of_is_refused_for_that(expr: str, says: str) -> None:
    with pytest.raises(PromQLError, match=re.escape(says)) as refused:
        compile_expr(expr)
    assert not isinstance(refused.value, NotPointwise)


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("", "no expression found"),
        ("   ", "no expression found"),
        ("1 + 1", "the expression is a number, not a vector"),
        ("1 > bool 2", "the expression is a number, not a vector"),
        ('"text"', "the expression is a string, not a vector"),
        ("1 > 2", "comparisons between scalars must use BOOL modifier"),
        ("a and 1", "not allowed in binary scalar expression"),
        ("a >", 'unexpected end after "a >"'),
        ("a > 1 and ", 'unexpected end after "a > 1 and"'),
        ("a > 1 b", 'unexpected "b"'),
        ("a >> 1", "could not parse expression"),
        ("a{", "could not parse expression"),
        ("sum(", "could not parse expression"),
        ("a > 5 > $x", "could not parse expression"),
        ("a\x00", "could not parse expression"),
        ('a{b="\udcff"}', "could not parse expression"),
        ("nope(a)", "could not parse expression"),
    ],
)
def test_what_does_not_parse_says_where(expr: str, says: str) -> None:
    with pytest.raises(PromQLError) as refused:
        compile_expr(expr)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("1 / 0", math.inf),
        ("-1 / 0", -math.inf),
        ("0 / 0", math.nan),
        ("5 % 3", 2.0),
        ("-5 % 3", -2.0),
        ("5 % -3", 2.0),
        ("5.5 % 2", 1.5),
        ("1 % 0", math.nan),
        ("Inf % 2", math.nan),
        ("2 % Inf", 2.0),
        ("2 ^ -1", 0.5),
        ("(-8) ^ (1/3)", math.nan),
        ("0 ^ 0", 1.0),
        ("NaN ^ 0", 1.0),
        ("10 ^ 400", math.inf),
        ("1e308 * 10", math.inf),
        ("1 atan2 0", math.pi / 2),
        ("Inf - Inf", math.nan),
        ("1 == bool 1", 1.0),
        ("1 != bool 1", 0.0),
        ("NaN == bool NaN", 0.0),
        ("NaN != bool NaN", 1.0),
        ("-(2 + 3)", -5.0),
        ("-0", -0.0),
    ],
)
def test_numbers_are_folded_by_gos_rules(number: str, value: float) -> None:
    root = compile_expr(f"a > {number}" if "bool" not in number else f"a > ({number})").root
    assert isinstance(root, Comparison)
    assert isinstance(root.right, Number)
    assert repr(root.right.value) == repr(value)


def test_absence_matters_for_or_and_unless_alone() -> None:
    assert compile_expr("a or b").absence_matters
    assert compile_expr("(a unless b) > 1").absence_matters
    assert not compile_expr("a and b > 1").absence_matters


# --- limits ---------------------------------------------------------------------------------------


def test_limits_at_their_edge() -> None:
    compile_expr("(" * DEPTH_MAX + "a" + ")" * DEPTH_MAX)
    compile_expr(" and ".join(["a"] * LEAVES_MAX))
    compile_expr("a" + " " * (EXPR_CHARS_MAX - 1))
    for expr, says in (
        ("(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1), f"nested more than {DEPTH_MAX} deep"),
        (" and ".join(["a"] * (LEAVES_MAX + 1)), f"more than {LEAVES_MAX} selectors"),
        ("a" + " " * EXPR_CHARS_MAX, f"at most {EXPR_CHARS_MAX} characters, not {EXPR_CHARS_MAX + 1}"),
        ("-" * (OPERATORS_MAX + 1) + "a", f"more than {OPERATORS_MAX:,} operators"),
    ):
        with pytest.raises(PromQLError, match=says):
            compile_expr(expr)


def test_operators_in_strings_and_comments_do_not_count() -> None:
    signs = "(-" * OPERATORS_MAX
    compile_expr(f"a{{b=\"{signs}\",c!='{signs}'}} # {signs}")


BOMBS = [
    "(" * 8_000 + "a" + ")" * 8_000,
    "-" * 16_000 + "a",
    "a" + "+a" * 8_000,
    "a" + " and a" * 2_000,
    "a" + "^a" * 8_000,
    "a" + "[5m:1m]" * 2_000,
    "sum(" * 4_000 + "a" + ")" * 4_000,
    "{" * 16_000,
    "a{b=" * 4_000,
    # a quote in a comment must not hide what stands between it and the next quote
    "# '\n" + "(" * 8_000 + "a" + ")" * 8_000 + "\n# '",
    '# "\n' + "-" * 16_000 + 'a\n# "',
    "# `\n" + "a" + "+a" * 8_000 + "\n# `",
    "a" + " offset 1m" * 1_600,
    "bool " * 3_000,
    "a b" * 5_000,
    "$" * 16_000,
]


def test_no_expression_kills_the_process_or_takes_long() -> None:
    """The parser recurses in native code: an overflow there is a signal, so this is another process."""
    code = (
        "import sys, ast\n"
        "from engine.core.promql.compile import compile_expr\n"
        "from engine.core.promql.parse import PromQLError\n"
        "for expr in ast.literal_eval(sys.stdin.read()):\n"
        "    try:\n"
        "        compile_expr(expr)\n"
        "    except PromQLError as error:\n"
        "        print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=repr(BOMBS), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * len(BOMBS)), done.stderr[-500:]


TOKENS_TEXT = r"""
    a b 1 2.5 Inf NaN "x" ( ) { } [ ] [5m] = != =~ !~ == > < >= + - * / % ^ and or unless bool on
    ignoring group_left by sum rate offset @ 5m , # ' ` atan2 fill __name__
"""
TOKENS = st.sampled_from(TOKENS_TEXT.split())


@given(st.lists(TOKENS, max_size=12).map(" ".join))
def test_any_text_is_compiled_or_refused(expr: str) -> None:
    try:
        plan = compile_expr(expr)
    except PromQLError:
        return
    assert plan.leaves
    assert compile_expr(expr) == plan  # frozen values: the same text is the same plan


@given(st.text(max_size=30))
def test_any_regular_expression_is_compiled_or_refused(pattern: str) -> None:
    quoted = pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    try:
        (leaf,) = compile_expr(f'a{{b=~"{quoted}"}}').leaves
    except PromQLError:
        return
    leaf.matchers[0].matches("abc")
