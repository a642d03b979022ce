"""Each alert of the pack `service` names a page, and each page says what a person needs at three in the morning."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path

import pytest

from engine.cli.check import run_check
from engine.config import RuleConfig, load_text
from engine.config.cross import cross_check
from engine.config.pack_service import ServicePack
from tests.packs.service import pack, severities

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
ALERTS = [rule for rule in load_text(pack('runbooks = "docs/runbooks"')).rules if rule.table.annotations]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)
def test_its_page_is_there_and_is_about_it(rule: RuleConfig) -> None:
    assert set(rule.table.annotations) == {"summary", "description", "runbook_url"}
    text = (ROOT / rule.table.annotations["runbook_url"]).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert rule.name in headings[0].split(", ")
    assert {"Find the cause", "Mend", "Silence, tune"} <= set(headings)
    assert "**Meaning.**" in text
    assert "**Impact.**" in text
    head = text.partition("**Meaning.**")[0]
    assert all(severity in head for severity, _ in severities(rule.table))


def test_there_is_no_page_without_an_alert() -> None:
    named = {Path(rule.table.annotations["runbook_url"]).name for rule in ALERTS}
    assert {path.name for path in RUNBOOKS.glob("*.md")} == named


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_what_a_page_shows_can_be_written(page: Path) -> None:
    """Its examples load, and its queries say where the history is and ask for what is in it."""
    from engine.core.promql.query_compile import compile_query

    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    load_text("[engine]\npacks = ['service']\n[sink.console]\n" + example)
    for query, after in re.findall(r"engine query '([^']+)'(.*)", text):
        assert after.startswith(" --config run.toml")
        assert not [leaf.metric for leaf in compile_query(query).leaves if ":" in leaf.metric]  # not in the history


def test_the_table_of_the_docs_is_the_pack() -> None:
    text = (ROOT / "docs/packs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (\w+) \| (\w+) \| \[page\]\((.+)\) \|$", text, re.MULTILINE)
    written = [(name, length, severity, f"docs/{page}") for name, length, severity, page in rows]
    assert sorted(written) == sorted(
        (rule.name, length, severity, rule.table.annotations["runbook_url"])
        for rule in ALERTS
        for severity, length in severities(rule.table)
    )
    pack_text = (ROOT / "engine/packs/service.toml").read_text(encoding="utf-8")
    assert set(re.findall(r"`(service:\w+:\w+)`", text)) == set(
        re.findall(r'^record = "(.+)"$', pack_text, re.MULTILINE)
    )


def test_the_example_is_clean() -> None:
    config = load_text((ROOT / "examples/service.toml").read_text(encoding="utf-8"))
    assert config.warnings == ()
    assert cross_check(config) == ()
    assert {rule.name for rule in ALERTS} <= {rule.name for rule in config.rules}
    said = io.StringIO()
    assert run_check([ROOT / "examples/service.toml"], ["pack.service.min_rate=1"], True, said, {}) == 0
    assert said.getvalue().endswith("service.toml: ok: 3 probes, 19 rules (12 recording), 2 sinks\n")


def test_the_example_shows_every_key_and_its_default() -> None:
    text = (ROOT / "examples/service.toml").read_text(encoding="utf-8")
    written = tomllib.loads(text)["pack"]["service"]
    assert list(written) == list(ServicePack.__struct_encode_fields__)
    others = {key for key, value in written.items() if value != getattr(ServicePack(), key)}
    assert others == {"labels", "by"}
