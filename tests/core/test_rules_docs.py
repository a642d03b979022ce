"""docs/rules.md says what the core does: its diagram, its timelines and its lists are run."""

import re
from collections import Counter
from pathlib import Path

import pytest

from engine.core.alerts import table_as_mermaid
from engine.core.promql import parse as promql
from engine.durations import parse_ms
from engine.events import STALE, Sample, Transition
from engine.templates import TEMPLATE_CHARS_MAX, TEXT_CHARS_MAX
from engine.templates.jinja import _FILTERS, _TESTS
from engine.testing import replay

PAGE = (Path(__file__).parents[2] / "docs/rules.md").read_text(encoding="utf-8")
TIMELINES = re.findall(
    r"```toml\n(\[rule\.(\w+)\]\n[^`]*)```\n\n\| at \| sample \| what happens \|\n\|---\|---\|---\|\n(.*?)\n\n",
    PAGE,
    re.DOTALL,
)
START_MS, INTERVAL_MS = 1_000_000_000_000, 5_000


def test_the_diagram_is_the_table() -> None:
    assert f"```mermaid\n{table_as_mermaid()}\n```" in PAGE


def test_every_key_has_a_timeline() -> None:
    assert len(TIMELINES) == PAGE.count("| at | sample | what happens |")
    told = Counter(key for text, _, _ in TIMELINES for key in re.findall(r"^(\w+) = ", text, re.MULTILINE))
    shown = {"expr", "when", "clear", "levels", "for", "of", "keep_firing_for", "on_missing", "missing_for", "hold_max"}
    assert set(told) == shown
    assert set(re.findall(r'^on_missing = "(\w+)"', PAGE, re.MULTILINE)) == {"hold", "reset", "count", "fire"}


@pytest.mark.parametrize(
    ("text", "rows"), [(text, rows) for text, _, rows in TIMELINES], ids=[name for _, name, _ in TIMELINES]
)
def test_a_timeline_is_what_happens(text: str, rows: str) -> None:
    events, expected, end_ms = [], [], 0
    for row in rows.splitlines():
        at, sample, happens = (cell.strip() for cell in row.strip("|").split("|"))
        end_ms = START_MS + parse_ms(at)
        if sample in ("ended", "target down"):
            cause = "ended" if sample == "ended" else "target_down"
            events.append(Sample(end_ms, "temperature", STALE, INTERVAL_MS, cause))  # type: ignore[arg-type]
        elif sample != "–":
            events.append(Sample(end_ms, "temperature", float(sample), INTERVAL_MS))
        if happens:
            expected.append((end_ms, happens))
    made = replay(text, events, until_ms=end_ms)
    assert [(t.time_ms, f"{_what(t)}: {t.reason}") for t in made] == expected


def _what(transition: Transition) -> str:
    return f"{transition.kind} {transition.severity}".strip() if transition.after == "firing" else transition.kind


def test_the_table_beside_kapacitor_is_what_happens() -> None:
    """Its values, one after the other; Kapacitor's row is its own documentation's."""
    values, _, here = re.search(r"\| value \| (.+) \|\n.+\n\| (Kapacitor) .+\n\| here \| (.+) \|", PAGE).groups()  # type: ignore[union-attr]
    levels = re.findall(r"(\w+) `(> \d+)` clear `(< \d+)`", PAGE)
    written = ", ".join(
        f'{{ severity = "{word}", when = "{when}", clear = "{clear}" }}' for word, when, clear in levels
    )
    rule = f'[rule.R]\nexpr = "temperature"\nlevels = [{written}]\n'
    samples = [
        Sample(START_MS + 1_000 * number, "temperature", float(value), INTERVAL_MS)
        for number, value in enumerate(values.split(" | "))
    ]
    seen, now = [], "ok"
    made = {t.time_ms: t for t in replay(rule, samples)}
    for sample in samples:
        if changed := made.get(sample.time_ms):
            now = changed.severity if changed.after == "firing" else "ok"
        seen.append(now)
    assert seen == here.split(" | ")


def test_every_example_loads() -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) > len(TIMELINES)
    for example in examples:
        assert replay(example, []) == []


def test_limits_filters_and_tests_are_listed() -> None:
    for limit in (
        promql.EXPR_CHARS_MAX,
        promql.OPERATORS_MAX,
        promql.LEAVES_MAX,
        promql.DEPTH_MAX,
        TEMPLATE_CHARS_MAX,
        TEXT_CHARS_MAX,
    ):
        assert f"{limit:,}" in PAGE
    section = PAGE[PAGE.index("## Templates") :]
    assert set(_FILTERS) | {"replace", "round"} == set(
        re.findall(r"`(\w+)`", section[section.index("the filters") :].partition("\n\n")[0])
    )
    assert all(f"`{name}`" in section or f"`is {name}`" in section for name in _TESTS)
