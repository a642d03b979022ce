"""Annotations of run.toml, most of them Jinja: what they can say, and everything they can't do (F76, F141, M41)."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.templates import TEMPLATE_CHARS_MAX, TEXT_CHARS_MAX, compile_template
from engine.templates.jinja import DEPTH_MAX

LABELS = {"instance": "web-1:9100", "values": "v", "items": "i", "get": "g", "odd name": "o"}


def render(text: str, value: float = 95.0, labels: dict[str, str] = LABELS) -> str:
    return compile_template(text).render(labels, value, {"env": "prod"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plain", "plain"),
        ("100 % {of} 50%", "100 % {of} 50%"),
        ("{{ $labels.instance }} is at {{ $value }} %", "web-1:9100 is at 95 %"),
        ("{{$value}}", "95"),
        ("{{ labels.instance }}", "web-1:9100"),
        ('{{ $labels["odd name"] }}', "o"),
        ("{{ $labels.absent }}|", "|"),
        ("{{ $labels.absent | default('none') }}", "none"),
        ("{{ $externalLabels.env }}", "prod"),
        ("{{ $labels.values }}{{ $labels.items }}{{ $labels.get }}", "vig"),  # names of a dict's own methods
        ("{% if $value > 90 %}high{% elif $value > 50 %}medium{% else %}low{% endif %}", "high"),
        ("{{ 'high' if $value > 90 else 'low' }}", "high"),
        ("{% if 'web' in $labels.instance and not $labels.absent is defined %}yes{% endif %}", "yes"),
        ("{{ $labels.instance | replace(':9100', '') | upper }}", "WEB-1"),
        ("{{ $labels.instance[:5] }}", "web-1"),
        ("{{ ($value * 1000 / 7) | round(2) }}", "13571.43"),
        ("{{ $value // 2 }} {{ -$value }} {{ $value % 10 }} {{ $value - 1 + 2 }}", "47 -95 5 96"),
        ("{{ $value | round(-1, 'floor') }} {{ 1.01 | round(1, 'ceil') }}", "90 1.1"),
        ("{{ $labels.instance ~ '!' }}", "web-1:9100!"),
        ("{{ 'web-1 in the cellar' | truncate(12) }}", "web-1 in..."),
        ("{# a note #}{{ 1 }}", "1"),
        ("a <b> & 'c' {{ $labels.instance }}", "a <b> & 'c' web-1:9100"),
    ],
)
def test_what_templates_say(text: str, says: str) -> None:
    assert render(text) == says
    assert compile_template(text).text == text


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (95.0, "95"),
        (95.5, "95.5"),
        (-0.0, "-0"),
        (999999.0, "999999"),
        (1234567.0, "1.234567e+06"),
        (1e20, "1e+20"),
        (1e21, "1e+21"),
        (1e-7, "1e-07"),
        (0.1 + 0.2, "0.30000000000000004"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_numbers_read_as_in_rule_files(value: float, says: str) -> None:
    assert render("{{ $value }}", value) == says


@pytest.mark.parametrize(
    ("value", "says"),
    [(-0.0, "0"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (1e-7, "1e-07"), (math.nan, "NaN"), (95.5, "95.5")],
)
def test_numbers_in_jinja_read_as_people_write_them(value: float, says: str) -> None:
    assert render("{% if 1 %}{{ $value }}{% endif %}", value) == says


ESCAPES = [
    "{% if 1 %}{{ $labels.__class__ }}{% endif %}",
    "{{ $labels['__class__'] }}",
    "{{ $labels.instance.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ $value.__class__ }}",
    "{{ $value.real }}",
    "{{ $labels.instance.upper() }}",
    "{{ $labels.instance.format }}",
    "{{ '{0.__class__}'.format($labels) }}",
    "{{ ().__class__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ range(9) }}",
    "{{ dict(a=1) }}",
    "{{ namespace() }}",
    "{{ $labels | attr('__class__') }}",
    "{{ $labels | map(attribute='__class__') | list }}",
    "{{ [$labels] }}",
    "{{ {'a': 1} }}",
    "{{ $labels[0] }}",
    "{{ $labels[$value] }}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% block x %}{% endblock %}",
]
BURNERS = [
    "{{ 'a' * 10**9 }}",
    "{{ 9**9**9 }}",
    "{{ $value ** 999999 }}",
    "{{ range(10**9) | list }}",
    "{% for a in 'xxxxxxxxx' %}{% for b in 'xxxxxxxxx' %}x{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ 'a' | indent(1000000000) }}",
    "{{ 'ab' | list | batch(1) | list }}",
    "{% filter upper %}x{% endfilter %}",
    "{% call x() %}{% endcall %}",
    "{{ loop }}",
    "{{ caller() }}",
    "{{ $x }}",
    "{{ $labls.instance }}",
    "{{ nope }}",
    "{{ 1 | nope }}",
    "{{ 1 is divisibleby 0 }}",
    "{{ $value",
    "{% if 1 %}",
    "{{ }}",
    "{{ ${A} }}",
    "{{" + "(" * 5_000 + "1" + ")" * 5_000 + "}}",
    "{{" + "-" * 8_000 + "1}}",
    "{{ 1" + "+1" * 4_000 + "}}",
    "{{ 1" + "|abs" * 3_000 + "}}",
    "{% if 1 %}" * 700 + "{% endif %}" * 700,
    "{{ " + "9" * 5_000 + " }}",
    "x" * (TEMPLATE_CHARS_MAX + 1),
]


@pytest.mark.parametrize("text", ESCAPES + BURNERS, ids=lambda text: text[:50])
def test_refused_when_it_is_compiled(text: str) -> None:
    with pytest.raises(ValueError, match=" ") as refused:
        compile_template(text)
    assert type(refused.value) is ValueError
    assert 10 < len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ $x }}", '"$x" is not known in a template; it has $labels, $value, $externalLabels'),
        ("{{ x }}", '"x" is not known in a template'),
        ("{% for a in 'x' %}{% endfor %}", "a loop is not supported in a template"),
        ("{{ $labels.instance.upper() }}", "a call is not supported in a template"),
        ("{{ 2 ** 3 }}", "** is not supported in a template"),
        ("{{ $value.real }}", "only a label can be looked up, as in $labels.instance"),
        ("{{ $value | humanise }}", 'function "humanise" not defined, did you mean "humanize"?; as Jinja: '),
        ("{{ query 'up' }}", "as Jinja: "),
        ("{{ query `up` }}", 'function "query" is not supported'),
        ("{{ 1 | center }}", "not a template: No filter named 'center'."),
        ("{{ $labels['__class__'] }}", '"__class__" is not a label that an alert can have'),
        ("{% if " + "not " * 200 + "1 %}{% endif %}", f"the template is nested more than {DEPTH_MAX} deep"),
    ],
)
def test_refusals_name_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        compile_template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ $value / 0 }}",
        "{{ $labels.instance * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ $labels.instance + 1 }}",
        "{{ $labels.instance | round }}",
        "{{ $value | round(1, 'sideways') }}",
        "{{ $value | round(1, 2, 3) }}",
        "{{ $labels.instance | replace('e', '" + "x" * 9_000 + "') }}",
        "{{ 'aaaa' | replace('a', '" + "b" * 2_000 + "') | replace('b', '" + "c" * 2_000 + "') }}",
        "{{ $labels.absent | round }}",
        "{{ 1 | truncate('x') }}",
        "{{ $labels < 1 }}",
    ],
    ids=lambda text: text[:50],
)
def test_rendering_never_raises(text: str) -> None:
    """An alert with an ugly text beats no alert: it shows what was written, and why it is not what was meant."""
    shown = render(text)
    assert shown.startswith(text[:100])
    assert shown.endswith(("Error]", "…"))


def test_large_numbers_are_bounded_by_the_template() -> None:
    assert len(render("{{ " + "*".join(["9" * 300] * 40) + " }}")) <= TEXT_CHARS_MAX


def test_rounding_to_a_billion_digits_takes_no_time() -> None:
    assert render("{{ $value | round(1000000000, 'ceil') }}", 1.5) == "1.5"
    assert render("{{ $value | round(-1000000000) }}", 1.5) == "0"


def test_the_text_is_clean_and_capped() -> None:
    """F117, F140."""
    hostile = {"instance": "x\x1b[31m\r\n\u2028"}
    for text in ("a\nb\tc\x1b{{ $labels.instance }}", "a\nb\tc\x1b{% if 1 %}{{ $labels.instance }}{% endif %}"):
        assert render(text, labels=hostile) == "a\nb\tc\\x1bx\\x1b[31m\\r\\n\\u2028"
    assert len(render("{{ $labels.instance }}" * 500, labels={"instance": "x" * 1_000})) == TEXT_CHARS_MAX
    assert len(render("x" * TEMPLATE_CHARS_MAX)) == TEXT_CHARS_MAX


def test_gos_forms_come_first() -> None:
    """One text means one thing, in a rule file and in run.toml."""
    assert render("{{ $value | humanize }} {{ printf `%.1f` $value }} {{ .Labels.instance }}") == "95 95.0 web-1:9100"
    assert render("{{ $labels.__class__ }}|") == "|"  # the name of a label, and there is no such one
    assert render("{{ $labels.instance | first }}") == "w"  # where there are no queries, `first` is Jinja's


def test_text_from_a_label_is_never_a_template() -> None:
    """F141."""
    hostile = "{{ 1 + 1 }} {% for x in y %} $value {labels.__class__} %n"
    assert render("{{ $labels.instance }}", labels={"instance": hostile}) == hostile


PIECES_TEXT = r"""
    {{ }} {% %} {# #} $labels $value .instance .__class__ ['a'] [0] [1:] ( ) , | upper round replace
    default 'a' 1 9999999 1.5 + - * / // % ** ~ == < and or not if else elif endif for in endfor set
    macro is defined none raw endraw a
"""
PIECES = st.sampled_from(PIECES_TEXT.split())


@given(st.lists(PIECES, max_size=14).map(" ".join), st.floats(), st.text(max_size=20))
def test_any_template_is_refused_or_renders(text: str, value: float, label: str) -> None:
    try:
        template = compile_template("{{ " + text + " }}")
    except ValueError:
        return
    shown = template.render({"instance": label}, value, {})
    assert len(shown) <= TEXT_CHARS_MAX
    assert "built-in method" not in shown
