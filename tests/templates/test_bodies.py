"""Templates of messages: what they have, what they are refused, and that no message makes them run long."""

import time
from typing import Any

import pytest

from engine.templates.bodies import TooLongError, compile_body

DATA = {"data": {"s": "text", "n": 2.0, "list": [1, 2, 3], "map": {"b": "2", "a": 'o"ne'}}}


def rendered(text: str, document: dict[str, Any] = DATA, chars_max: int = 10_000) -> str:
    return compile_body(text, document).render(document, chars_max)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ data.s }} {{ data['s'] }} {{ data.n * 2 }} {{ data.list[0] }}{{ data.list[9] }}", "text text 4 1"),
        (
            "{% for x in data.list %}{{ loop.index }}:{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
            "1:1,2:2,3:3",
        ),
        ("{% for k, v in data.map | dictsort %}{{ k }}={{ v | tojson }};{% endfor %}", 'a="o\\"ne";b="2";'),
        ("{% for k in data.map %}{{ data.map[k] }}{% endfor %}", '2o"ne'),
        ("{% for x in data.list if x > 1 %}{{ x }}{% else %}none{% endfor %}", "23"),
        ("{{ data.list | join(', ') }} {{ data | length }} {{ data.list | tojson }}", "1, 2, 3 4 [1,2,3]"),
        ("{{ data.absent }}|{{ data.absent | tojson }}|{{ data.absent | default('d') }}", '|""|d'),
        ("{% if data.s == 'text' and data.n is number %}yes{% endif %}\n", "yes\n"),
    ],
)
def test_what_a_template_can_say(template: str, text: str) -> None:
    assert rendered(template) == text


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ x }}", '"x" is not known; the message has data'),
        ("{{ loop.index }}", '"loop" is not known'),
        ("{{ data.s() }}", "a call is not supported"),
        ("{% set a = 1 %}", "set is not supported"),
        ("{{ data.n ** 9 }}", r"\*\* is not supported"),
        ("{{ data | map('x') }}", "No filter named 'map'"),
        ("{% macro m() %}{% endmacro %}", "macro is not supported"),
        ("{% include 'x' %}", "include is not supported"),
        ("{% extends 'x' %}", "extends is not supported"),
        ("{% import 'x' as y %}", "import is not supported"),
        ("{% filter upper %}{% endfilter %}", "filterblock is not supported"),
        ("{% for a in data recursive %}{% endfor %}", "a recursive loop"),
        ("{% for a in data %}" * 3 + "{% endfor %}" * 3, "loops are at most 2 deep"),
        ("{{ " + "(" * 100 + "1" + ")" * 100 + " + data.n" * 60 + " }}", "nested more than 50 deep"),
        ("\n\n{{ data. }}", "line 3: "),
        ("x" * 65_537, "at most 65536 characters"),
    ],
)
def test_what_is_refused_when_it_is_read(template: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        compile_body(template, DATA)


@pytest.mark.parametrize(
    "way", ["__class__", "__init__", "__globals__", "_TemplateReference__context", "keys", "format"]
)
def test_nothing_but_data_can_be_looked_up_f141(way: str) -> None:
    for owner in ("data", "data.s", "data.list", "data.n"):
        assert rendered(f"{{{{ {owner}.{way} }}}}") == ""
        assert rendered(f"{{{{ {owner}['{way}'] }}}}") == ""
    assert rendered(f"{{% for x in data.list %}}{{{{ loop.{way} }}}}{{% endfor %}}") == ""


def test_the_characters_of_a_text_are_no_list() -> None:
    with pytest.raises(ValueError, match="the template failed: TypeError"):
        rendered("{% for c in data.s %}{{ c }}{% endfor %}")


def test_a_failure_does_not_show_the_document() -> None:
    with pytest.raises(ValueError, match="the template failed") as caught:
        rendered("{{ data.s + 1 }}")
    assert "text" not in str(caught.value)


def test_a_text_that_is_too_long_is_stopped_on_the_way() -> None:
    with pytest.raises(TooLongError):
        rendered("{% for x in data.list %}" + "y" * 50 + "{% endfor %}", chars_max=100)
    assert len(rendered("{% for x in data.list %}" + "y" * 50 + "{% endfor %}", chars_max=150)) == 150


def test_the_longest_loops_over_the_largest_message_take_no_second() -> None:
    document = {"alerts": [{"labels": {f"l{n}": "v" * 64 for n in range(64)}} for _ in range(64)]}
    template = "{% for a in alerts %}{% for k, v in a.labels | dictsort %}{{ k }}{{ v }}{% endfor %}{% endfor %}"
    begun_s = time.perf_counter()
    assert len(rendered(template, document, 10**6)) > 64 * 64 * 64
    assert time.perf_counter() - begun_s < 1.0
