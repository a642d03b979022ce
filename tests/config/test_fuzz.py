"""Whatever stands in a file: a configuration or `ConfigError`, never anything else (F145)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.config import Config, load_text
from engine.config.document import Document, parse_override
from engine.config.load import _examine
from engine.config.locate import Lines
from engine.errors import ConfigError, Problem

# The types are replaced once for all examples, which is what is wanted.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
pytestmark = pytest.mark.usefixtures("demo_types")


def problems_of(call: Callable[[], object]) -> tuple[Problem, ...]:
    """What `ConfigError` says, or nothing when the call is content. Any other exception fails the test."""
    try:
        assert call() is not None
    except ConfigError as error:
        return error.problems or pytest.fail("an error without a problem")
    return ()


ENVIRON = {"A": "canary-value", "B": ""}
KINDS = ["engine", "probe", "rule", "sink", "route", "x"]
NAMES = ["demo", "plain", "screen", "push", "gone", "HostCpuHigh", "a b", ""]
KEYS = [
    *("type", "interval", "timeout", "labels", "url", "url_file", "method", "retries", "ratio", "verify", "pause"),
    *("statuses", "file", "either", "limits", "token", "token_file", "headers", "code", "expr", "for", "on_missing"),
    *("hold_max", "annotations", "name", "timezone", "external_labels", "packs", "state_dir", "series_max", "levels"),
]
WORDS = [
    *("demo", "5s", "5", "", "up == 0", "up >", "{{ $value }}", "{{ $x }}", "${A}", "${B}", "${C}", "${", "$$", "host"),
    *(
        "hold",
        "GET",
        "Europe",
        "UTC",
        "http://h/",
        "\x00",
        "\x1b[31m",
        "../x",
        "~nobody/x",
        "é",
        "alertname",
        "/dev/null",
    ),
]
scalars = (
    st.sampled_from(WORDS)
    | st.text(max_size=8)
    | st.integers()
    | st.sampled_from([2**63, 10**400, -1, 0])
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.times()
    | st.datetimes()
)
keys = st.sampled_from(KEYS) | st.text(max_size=6)
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
tables = st.dictionaries(keys, values, max_size=5)
trees = st.dictionaries(
    st.sampled_from(KINDS) | st.text(max_size=4),
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), tables | values, max_size=3) | tables | values,
    max_size=4,
)


@shared
@given(tree=trees)
@example(tree={"engine": {"series_max": 10**400}})
@example(tree={"probe": {"demo": {"url": "x", "ratio": 10**400}}})
@example(tree={"probe": {"x": {"type": "\x1e"}}})
@example(tree={"probe": {"demo": {"url": "http://h/", "file": "~nobody-at-all/x"}}})
def test_any_tree_gives_a_configuration_or_problems(tree: dict[str, Any]) -> None:
    document = Document("run.toml", tree, Lines(""), Path("/nonexistent"), world_readable=True)
    config, problems, warnings = _examine(document, None, (), ENVIRON)
    assert isinstance(config, Config) != bool(problems)
    said = "\n".join(map(str, (*problems, *warnings)))
    assert len(said.splitlines()) == len(problems) + len(warnings)
    assert "canary-value" not in said
    said.encode()  # no lone surrogates, which no terminal and no log takes
    assert not any(ord(character) < 32 and character != "\n" for character in said)


pieces = st.sampled_from(
    [
        *(
            "[engine]",
            "[probe.demo]",
            "[rule.A]",
            "[[sink.x]]",
            "[",
            "]",
            "{",
            "}",
            "=",
            ",",
            ".",
            "#",
            "\n",
            "\r\n",
            '"',
        ),
        *(
            "'",
            '"""',
            "'''",
            "\\",
            "url",
            "expr",
            "for",
            " = ",
            '"5s"',
            "5",
            "5s",
            "true",
            "${A}",
            "nan",
            "1e999",
            "\x00",
        ),
        *("é", "\u2028", "2026-01-01", "[[[[[[[[", "a.b.c"),
    ]
)


@shared
@given(st.lists(pieces, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_gives_a_configuration_or_problems(text: str) -> None:
    found = problems_of(lambda: load_text(text, environ=ENVIRON))
    assert all(problem.line <= text.count("\n") + 2 for problem in found)


@shared
@given(
    st.lists(
        st.lists(st.sampled_from([*KINDS, *NAMES, *KEYS, ".", "=", '"', " "]), max_size=7).map(".".join), max_size=3
    )
)
def test_any_override_gives_a_configuration_or_problems(overrides: list[str]) -> None:
    found = problems_of(lambda: load_text("[probe.demo]\nurl = 'http://h/'\n", overrides=overrides, environ=ENVIRON))
    assert {problem.file for problem in found} <= {"--set"}


@given(st.text())
def test_any_text_is_an_override_or_refused(text: str) -> None:
    assert len(problems_of(lambda: parse_override(text))) <= 1


@pytest.mark.slow
def test_large_files_of_the_worst_sort_end_soon() -> None:
    """F145: what makes parsers slow. The suite's time-out is the measure."""
    for text in (
        ".".join("a" * 500_000) + " = 1",
        "x = " + "[" * 500_000,
        "x = " + "{a = " * 200_000,
        "[a]\n" * 200_000,
        'x = "' + "\\" * 1_000_000,
        "".join(f"[rule.r{n}]\n" for n in range(20_000)),
        "".join(f"k{n} = 1\n" for n in range(60_000)),
    ):
        with pytest.raises(ConfigError) as caught:
            load_text(text, environ={})
        assert len(caught.value.problems) <= 201
