"""What can be set and what is counted is written down, and nothing is written down that is gone."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.habits.source import PRODUCT, ROOT, sources

METRIC = re.compile(r"(?<![\w./-])longwatch_[a-z0-9_]+(?![\w./-])")
# Suffixes that the exposition adds to the name in the source.
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created")

# Strings of that shape that are not metrics -> what they are.
NOT_METRICS: dict[str, str] = {
    "longwatch_reason": "an annotation of the webhook sink",
    "longwatch_flapping": "an annotation of the webhook sink",
}


# --- config options -------------------------------------------------------------------------------


@cache
def config_options() -> tuple[str, ...]:
    """Every option's key, from the schema that the program itself prints."""
    done = subprocess.run(
        [sys.executable, "-m", "engine", "schema"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(sorted(set(_properties(json.loads(done.stdout)))))


def _properties(node: Any) -> Iterator[str]:
    """Every key of every `properties` object of a JSON schema, at any depth."""
    if isinstance(node, dict):
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for value in node.values():
            yield from _properties(value)
    elif isinstance(node, list):
        for value in node:
            yield from _properties(value)


def words_in_code(markdown: str) -> set[str]:
    """Every word in a fenced block or a code span. Prose is no mention: `name` is an English word, too."""
    fenced = re.findall(r"^( *)(```|~~~).*?\n(.*?)^\1\2", markdown, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^( *)(```|~~~).*?\n.*?^\1\2", "", markdown, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", rest)
    return {word for text in [*(block for _, _, block in fenced), *spans] for word in re.findall(r"[\w-]+", text)}


def test_every_config_option_is_documented() -> None:
    options = config_options()
    assert len(options) > 20, "the schema has hardly any properties: this test would prove nothing"
    page = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    assert set(options) - words_in_code(page) == set()


def test_every_option_of_a_built_in_is_in_the_schema() -> None:
    """So that the test above sees the options of each probe and sink, and a person's editor does."""
    from engine.registry import BUILT_IN, resolve

    options = set(config_options())
    missing = {
        f"{kind}.{name}.{field}"
        for kind in ("probe", "sink")
        for name in BUILT_IN[kind]  # type: ignore[index]
        for field in resolve(kind, name).Options.__struct_encode_fields__  # type: ignore[arg-type]
        if field not in options
    }
    assert missing == set()


# --- own metrics ----------------------------------------------------------------------------------


def metrics_in_source() -> dict[str, str]:
    """Name -> a place where it is written. Docstrings do not count; the rules of packs do."""
    found: dict[str, str] = {}
    for source in sources(*PRODUCT):
        documentation = {id(node) for node in _docstrings(source.tree)}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                for name in METRIC.findall(node.value):
                    found.setdefault(name, f"{source.path}:{node.lineno}")
    for path in sorted((ROOT / "engine").rglob("*.y*ml")) + sorted((ROOT / "engine").rglob("*.toml")):
        for name in METRIC.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, path.relative_to(ROOT).as_posix())
    return {name: place for name, place in found.items() if name not in NOT_METRICS}


def _docstrings(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            yield from (line.value for line in body if isinstance(line, ast.Expr))


def test_every_own_metric_is_documented() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    documented = set(METRIC.findall(page))
    missing = {
        name: place
        for name, place in metrics_in_source().items()
        if not documented & {name, *(name + suffix for suffix in SUFFIXES)}
    }
    assert missing == {}


def test_every_documented_metric_exists() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    written = set(metrics_in_source())
    gone = {
        name
        for name in METRIC.findall(page)
        if not written & {name, *(name.removesuffix(suffix) for suffix in SUFFIXES)}
    }
    assert gone == set()


def test_metric_names_are_written_out() -> None:
    """A name put together by an f-string can't be found: not by this test, not by a person with grep."""
    built = [
        f"{source.path}:{node.lineno}: {ast.unparse(node)}"
        for source in sources(*PRODUCT)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.JoinedStr)
        and any(
            isinstance(part, ast.Constant) and re.search(r"(?<![\w.])longwatch_\w*$", str(part.value))
            for part in node.values[:-1]
        )
    ]
    assert built == []


# --- pages ----------------------------------------------------------------------------------------

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#]+)", index))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Any) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target and target[0] != "#"]
    broken = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert broken == []


# --- the reading itself ---------------------------------------------------------------------------


def test_only_code_counts_as_a_mention() -> None:
    page = "The name of it.\n\n```toml\n[engine]\nretention_days = 7\n```\n\nAlso `queue_max`.\n"
    assert words_in_code(page) >= {"engine", "retention_days", "queue_max"}
    assert "name" not in words_in_code(page)


def test_properties_are_found_at_any_depth() -> None:
    schema = {
        "$defs": {"A": {"properties": {"x": {"anyOf": [{"properties": {"y": {}}}]}}}},
        "properties": {"z": {}},
    }
    assert set(_properties(schema)) == {"x", "y", "z"}
