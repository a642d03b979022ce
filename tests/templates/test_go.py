"""Go templates: what is refused and where, what Prometheus 3 has beyond promtool 2, bounds (F76, F117, F140, F141)."""

import math
import re
import sys
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.templates import TEMPLATE_CHARS_MAX, TEXT_CHARS_MAX, compile_go_template, regexps

LABELS = {"__name__": "up", "instance": "web-1.example.org:9100", "job": "node"}


def render(text: str, value: float = 95.0, labels: Mapping[str, str] = LABELS) -> str:
    return compile_go_template(text).render(
        labels, value, {"env": "prod"}, external_url="https://prom.example/x", query=answer, at_ms=1_700_000_000_500
    )


def answer(expr: str) -> Sequence[tuple[Mapping[str, str], float]]:
    if expr == "broken":
        raise ValueError("unknown function")
    return [({"a": "1"}, 1.5), ({"a": "0"}, 2.5)] if expr == "two" else []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ $label.instance }}", '1:4: undefined variable "$label", did you mean "$labels"?'),
        ("a\nb {{ $this_is_wrong }}", '2:6: undefined variable "$this_is_wrong"'),
        ("{{$labels.quantile * 100}}", "1:20: unexpected '*' in an action"),
        ("{{ $value*2 }}", "1:10: bad character U+002A '*'"),
        ("{{ humanise $value }}", '1:4: function "humanise" not defined, did you mean "humanize"?'),
        ("{{ $value | round(1) }}", '1:13: function "round" not defined'),
        ('{{ tmpl "x" . }}', '1:4: function "tmpl" is not supported'),
        ("{{ js 1 }}", '1:4: function "js" is not supported'),
        ("{{ call 1 }}", '1:4: function "call" is not supported'),
        ('{{ define "x" }}{{ end }}', "1:4: {{ define }} is not supported"),
        ('{{ template "x" }}', "1:4: {{ template }} is not supported"),
        ('{{ block "x" . }}{{ end }}', "1:4: {{ block }} is not supported"),
        ("{{ if true }}x", "1:15: unexpected EOF: an {{ end }} is missing"),
        ("{{ end }}", "1:4: unexpected {{end}}"),
        ("{{ else }}", "1:4: unexpected {{else}}"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "1:27: expected end; found {{else}}"),
        ("{{ break }}", "1:4: {{break}} outside {{range}}"),
        ("{{", "1:1: unclosed action"),
        ("{{ $value", "1:1: unclosed action"),
        ('{{ "x }}', "1:4: unterminated quoted string"),
        ("{{ `x }}", "1:4: unterminated raw quoted string"),
        ("{{ 'x }}", "1:4: unterminated character constant"),
        ("{{/* x }}", "1:1: unclosed comment"),
        ("{{/* x */ 1 }}", "1:1: comment ends before closing delimiter"),
        ("{{ }}", "1:4: missing value for command"),
        ("{{ if }}{{ end }}", "1:7: missing value for if"),
        ("{{ () }}", "1:5: missing value for parenthesized pipeline"),
        ("{{ $value | }}", '1:13: unexpected "}}" in command'),
        ("{{ $value | 1 }}", "1:13: non executable command in pipeline stage 2"),
        ("{{ (1 }}", '1:7: unexpected "}}" in parenthesized pipeline'),
        ("{{ 1) }}", '1:5: unexpected ")" in command'),
        ("{{ $x, $y := 1 }}", "1:8: too many declarations in command"),
        ("{{ 1.x }}", "1:6: bad number syntax"),
        ("{{ 1x }}", '1:5: bad number syntax: "1x"'),
        ("{{ 99999999999999999999 }}", "1:4: integer overflow"),
        ('{{ "\\z" }}', '1:4: invalid escape "\\z" in a text'),
        ("{{ 'ab' }}", "1:4: malformed character constant: 'ab'"),
        ('{{ "a".b }}', '1:4: unexpected . after term ""a""'),
        ("{{ $labels['x'] }}", "1:11: bad character U+005B '['"),
        ("{{\u00a0}}", "1:3: unexpected U+00A0"),
        (
            '{{ reReplaceAll "\\\\Z" "" "x" }}',
            'the regular expression "\\Z" is not a regular expression: RE2 has no "\\Z"',
        ),
        ('{{ match "(" "x" }}', 'the regular expression "(" is not valid'),
        ("{{ if 1 }}" * 60 + "{{ end }}" * 60, "the template is nested more than 50 deep"),
        ("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "the template is nested more than 50 deep"),
        ("{{ 1 }}" * 2_500, "a template has at most"),
        ("{{" + " 1" * 8_000 + "}}", ""),
        ("x" * (TEMPLATE_CHARS_MAX + 1), "a template has at most 16384 characters"),
    ],
    ids=lambda text: str(text)[:40],
)
def test_refused_by_name_and_position(text: str, says: str) -> None:
    if not says:
        assert "can't give argument to non-function" in render(text)  # Go accepts it, too, and fails when it runs
        return
    with pytest.raises(ValueError, match=re.escape(says)) as refused:
        compile_go_template(text)
    assert type(refused.value) is ValueError
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ $labels.instance | stripDomain }}", "web-1:9100"),
        ('{{ stripDomain "a.b.c" }} {{ stripDomain "10.0.0.1:80" }} {{ stripDomain "::1" }}', "a 10.0.0.1:80 ::1"),
        ('{{ urlQueryEscape "a b&c" }}', "a+b%26c"),
        ("{{ now }}", "1.7000000005e+09"),
        ('{{ (now | toTime).Format "2006-01-02 15:04:05 MST" }}', "2023-11-14 22:13:20 UTC"),
        ("{{ (toTime 0).Year }} {{ (toTime 0).UTC.Month }} {{ (toTime 90).Unix }}", "1970 January 90"),
        (
            "{{ toDuration 5400 }} {{ toDuration 0.0015 }} {{ toDuration $value | humanizeDuration }}",
            "1h30m0s 1.5ms 1m 35s",
        ),
        ("{{ toDuration 0 }} {{ toDuration -61.5 }}", "0s -1m1.5s"),
        ("{{ range $i, $_ := 3 }}{{ $i }}{{ end }}{{ range 0 }}x{{ else }}none{{ end }}", "012none"),
        ("{{ with 0 }}a{{ else with $value }}{{ . }}{{ end }}", "95"),
        (
            "{{ externalURL }} {{ pathPrefix }} {{ $externalURL }}",
            "https://prom.example/x /x " + "https://prom.example/x",
        ),
        ('{{ title "it\'s a foo-bar" }}', "It's A Foo-Bar"),
        ('{{ range query "two" | sortByLabel "a" }}{{ .Labels.a }}={{ .Value }} {{ end }}', "0=2.5 1=1.5 "),
        ('{{ (query "two" | first).Labels.a }}', "1"),
        ("{{ and (gt $value 90.0) (eq $labels.job `node`) }}", "true"),
    ],
)
def test_what_prometheus_3_says(text: str, says: str) -> None:
    """Functions and forms that came after promtool 2.42, so that the corpus can't have them."""
    assert render(text) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "{{ gt $value 90 }}",
            "1:4: error calling gt: incompatible types for comparison: a float and a whole number; write 90.0",
        ),
        ('{{ query "none" | first }}', "1:19: error calling first: first() called on vector with no elements"),
        ('{{ query "broken" }}', "error calling query: unknown function"),
        ("{{ $labels.job.x }}", "can't evaluate field x in type string"),
        ("{{ toTime $value | humanize }}", "can't convert *time.Time to float"),
        ("{{ (toTime 0).Local }}", "can't evaluate field Local in type *time.Time"),
        ("{{ toDuration 1e300 }}", "cannot be represented as a nanoseconds duration"),
        ('{{ parseDuration "x" }}', 'error calling parseDuration: "x" is not a duration'),
        ("{{ $x := 1 }}{{ if true }}{{ $x.y }}{{ end }}", "can't evaluate field y in type int"),
        ('{{ reReplaceAll (print "(") "" "x" }}', "error calling reReplaceAll: the regular expression"),
        ("{{ nil }}", "nil is not a command"),
        ('{{ printf "%x" 1.5 }}', ""),
    ],
)
def test_a_failure_is_told_in_the_text(text: str, says: str) -> None:
    shown = render(text)
    if says:
        assert shown.startswith("<error expanding template: 1:")
        assert says in shown
    else:
        assert shown == "%!x(float64=1.5)"


@pytest.mark.parametrize(
    "text",
    [
        "{{ range 1000000000 }}x{{ end }}",
        "{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}",
        '{{ $x := "aaaaaaaaaaaaaaaa" }}' + "{{ $x = print $x $x $x $x }}" * 20 + "{{ $x }}",
        '{{ $x := "aaaaaaaaaaaaaaaa" }}' + '{{ $x = reReplaceAll "a" "aaaaaaaaaaaaaaaa" $x }}' * 20 + "{{ $x }}",
        '{{ $x := "<<<<<<<<<<<<<<<<" }}' + "{{ $x = html $x }}" * 3 + "{{ range 100 }}{{ $x = print $x $x }}{{ end }}",
        '{{ range 200 }}{{ query "two" }}{{ end }}',
        '{{ $x := "a" }}{{ range 30 }}{{ $x = printf "%s%s%s%s" $x $x $x $x }}{{ end }}',
    ],
)
def test_rendering_is_bounded(text: str) -> None:
    """F76: a template that would take for ever, or all memory, ends with a text that says so, or full."""
    shown = render(text)
    assert len(shown) <= TEXT_CHARS_MAX
    assert shown.startswith("<error expanding template: ") or shown.endswith("…")


def test_widths_are_bounded() -> None:
    assert render('{{ printf "%999999999d" 1 }}') == "%!(BADWIDTH)1"
    assert render('{{ printf "%.999999999f" 1.0 }}') == "%!(BADPREC)1.000000"
    assert render('{{ printf "%*d" 999999999 1 }}') == "%!(BADWIDTH)1"


def test_a_text_that_is_too_long_is_cut() -> None:
    assert len(render("{{ $labels.job }}", labels={"job": "x" * 20_000})) == TEXT_CHARS_MAX
    assert render("{{ range 20000 }}abc{{ end }}").endswith("…")


def test_values_are_clean_and_the_templates_own_lines_stay() -> None:
    """F117, F140: what a host sends can't forge a line; what the operator wrote has its lines."""
    assert render("a\n\t{{ $labels.job }}\n", labels={"job": "x\ny\x1b"}) == "a\n\tx\\ny\\x1b\n"
    assert render('{{ print "a\\nb" }}') == "a\nb"
    assert render("é\x07\n{{ 1 }}") == "é\\x07\n1"


def test_text_from_a_label_is_never_a_template() -> None:
    """F141."""
    hostile = "{{ $value }} %d $1 {{ end }}"
    assert render("{{ $labels.job }} {{ printf `%s` $labels.job }}", labels={"job": hostile}) == f"{hostile} {hostile}"


def test_queries_are_known_beforehand() -> None:
    assert compile_go_template('{{ with query "up" }}{{ end }}').queries
    assert compile_go_template('{{ if (query "up" | first | value) }}{{ end }}').queries
    assert not compile_go_template("{{ $value }}").queries
    assert not compile_go_template("plain").queries
    assert compile_go_template("plain").asks == ()
    text = """{{ range query `up == 0` }}{{ with "b" | query }}{{ end }}{{ end }}
        {{ if true }}{{ else }}{{ (query "c" | first).Value }}{{ end }}{{ query "c" }}
        {{ query (printf "d") }}{{ printf "e" | query }}{{ len (query "f") }}"""
    assert compile_go_template(text).asks == ("up == 0", "b", "c", "f")
    with pytest.raises(ValueError, match='function "query" is not supported'):
        compile_go_template('{{ query "up" }}', queries=False)
    shown = compile_go_template('{{ query "up" }}').render({}, 1.0, {})
    assert shown == "<error expanding template: 1:4: error calling query: there is nothing to query here>"


def test_the_metric_name_is_a_label() -> None:
    assert render("{{ $labels.__name__ }}") == "up"


PIECES_TEXT = r"""
    $labels .Labels $value . .instance $x := = | ( ) , "a" `b` 'c' 1 -1 1.5 1e400 0x1 true nil printf "%d"
    "%[5]*.*v" humanize query "two" first value label index 0 len slice args range if else end with break
    continue and or not eq lt }} {{ {{- -}} /* */ toTime .Format reReplaceAll "(a)" "$1" title \ é * [
"""
PIECES = st.sampled_from(PIECES_TEXT.split())


@given(st.lists(PIECES, max_size=16).map(" ".join), st.floats(), st.text(max_size=20))
def test_any_template_is_refused_or_renders(text: str, value: float, label: str) -> None:
    try:
        template = compile_go_template("{{ " + text + " }}")
    except ValueError:
        return
    shown = template.render({"instance": label, "a": "b"}, value, {}, query=answer)
    assert len(shown) <= TEXT_CHARS_MAX
    assert "template failed" not in shown  # that is for what nobody thought of


@given(st.floats(allow_nan=False))
def test_a_number_reads_back(value: float) -> None:
    shown = render("{{ $value }}", value)
    assert float(shown) == value
    assert math.copysign(1, float(shown)) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "says"),
    [
        ("(a+)+b", "x", "a" * 40, "a" * 40),  # Python alone would take years
        ("(a|a)*b", "x", "aab-aab", "x-x"),
        ("^(a|b)*c", "<$1>", "abcabc", "<b>abc"),
        ("(?:^a|b)(?:xy)*", "-", "abxyab", "---a-"[:2] + "a-"),
        ("(?i)(ab)+", "[$1]", "ABabxAb", "[ab]x[Ab]"),
        ("(?P<n>[a-z]+)(?:-[0-9]+)*", "${n}.", "web-1-2 db", "web. db."),
        ("([^.:]+)([.:].*)?", "$1", "web-1.example.org:9100", "web-1"),
        ("(.*)-(.*)-(.*)", "$3$2$1", "a-b-c-d", "dca-b"),
        ("a?" * 40 + "a" * 40 + "$", "x", "a" * 39 + "b", "a" * 39 + "b"),  # each ? doubles what backtracking tries
        (r"\bweb\b", "x", "web webs web", "x webs x"),
        (r"[[:upper:]]\Q.\E(?<n>[0-9])\z", "$n", "A.1 A.2", "A.1 2"),
        ("b$", "x", "b\n", "b\\n"),  # the end is the end, not the last line's
    ],
)
def test_patterns_take_linear_time_and_mean_what_re2_means(
    pattern: str, replacement: str, text: str, says: str
) -> None:
    """F76."""
    assert render(f"{{{{ reReplaceAll `{pattern}` `{replacement}` $labels.t }}}}", labels={"t": text}) == says


def test_what_only_re2_reads_is_left_to_it() -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed: pip install 'longwatch[re2]'")
    regexps.compile_pattern.cache_clear()
    assert render(r"{{ reReplaceAll `(\pL)\pL*` `$1.` `élan vital 1` }}") == "é. v. 1"
    assert render(r"{{ reReplaceAll `\p{Greek}*` `x` `aλb` }}") == "xaxbx"


def test_without_re2_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    regexps.compile_pattern.cache_clear()
    with pytest.raises(ValueError, match=r"uses \"\\pL\", which needs RE2 itself: pip install 'longwatch\[re2\]'"):
        render(r"{{ match `\pL` `x` }}")
    regexps.compile_pattern.cache_clear()


@given(st.text(alphabet="ab|*+?().^$[]-", max_size=8), st.text(alphabet="ab-", max_size=10))
def test_both_ways_to_match_agree(pattern: str, text: str) -> None:
    """What the linear matcher finds is what Python finds, where Python may look."""
    try:
        compiled = regexps.compile_pattern(pattern)
        slow = regexps.compile_pattern(f"(?:{pattern})(?:(?:cd)*){{0}}")
    except ValueError:
        return
    assert [m[:2] for m in slow.find_all(text)] == [m[:2] for m in compiled.find_all(text)]
