"""docs/templates.md is true: its examples are rendered, its functions and limits are those there are."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from engine.templates import TEMPLATE_CHARS_MAX, TEXT_CHARS_MAX, compile_go_template, compile_template
from engine.templates.functions import FUNCTIONS, REFUSED
from engine.templates.interpreter import QUERIES_MAX, SAMPLES_MAX, STEPS_MAX, SURROUNDINGS
from engine.templates.parser import DEPTH_MAX
from engine.templates.printing import CHARS_MAX, WIDTH_MAX

PAGE = (Path(__file__).parents[2] / "docs/templates.md").read_text(encoding="utf-8")
CELL = r"((?:[^|\n]|\\\|)*?)"
ROWS = re.findall(rf"^\| `(\w+)` \| `{CELL}` \| {CELL} \|$", PAGE, re.MULTILINE)


def answer(expr: str) -> Sequence[tuple[Mapping[str, str], float]]:
    return [({"job": "a"}, 1.0), ({"job": "b"}, 2.0)] if expr == "q" else []


@pytest.mark.parametrize(("name", "template", "says"), ROWS, ids=[name for name, _, _ in ROWS])
def test_an_example_says_what_the_page_says(name: str, template: str, says: str) -> None:
    text = template.replace("\\|", "|")
    shown = compile_go_template(text).render(
        {"instance": "web-1.example.org:9100"},
        1234.5,
        {},
        external_url="https://watch.example/x",
        query=answer,
        at_ms=1_700_000_000_000,
    )
    assert name in text
    assert shown.rstrip("\n") == ("" if says.startswith("nothing") else says.strip("`"))


def test_every_function_is_there() -> None:
    assert {name for name, _, _ in ROWS} == {*FUNCTIONS, *SURROUNDINGS}
    assert all(f"`{name}`" in PAGE for name in REFUSED)


def test_the_limits_are_those_there_are() -> None:
    section = PAGE[PAGE.index("## Limits") :]
    limits = (TEMPLATE_CHARS_MAX, TEXT_CHARS_MAX, DEPTH_MAX, STEPS_MAX, CHARS_MAX, QUERIES_MAX, SAMPLES_MAX, WIDTH_MAX)
    for limit in limits:
        assert f"{limit:,}" in section


def test_the_forms_compile() -> None:
    forms = re.findall(r"^\| (`\{\{.*?`) \| [^`]", PAGE, re.MULTILINE)
    assert len(forms) > 5
    for form in forms:
        for text in re.findall(r"`(\{\{.*?)`(?=,|$)", form):
            whole = re.sub(r"\{\{ else if … \}\}…", "", text.replace("\\|", "|"))
            head = "{{ $x := 1 }}" if "$x =" in whole else ""
            compile_go_template(head + whole.replace("… -", "1 -").replace(":= …", ":= 1").replace("= …", "= 1"))
    assert compile_template("{{ $value | round(1) }}").render({}, 1.25, {}) == "1.2"
