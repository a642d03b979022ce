"""The pack `service` as a Prometheus rule file: the same rules on a grid, tested as operators test theirs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from engine.cli.test_rules import run_test_rules
from engine.config.environment import expand
from engine.config.pack_service import ServicePack, service_texts
from engine.config.packs import fill, read_pack

FILES = Path(__file__).parent / "files"


def rule_file() -> dict[str, Any]:
    """The pack with its defaults as a rule file, each level a rule of its own. JSON is YAML."""
    rules = []
    for name, table in fill(read_pack("service"), service_texts(ServicePack())).tree["rule"].items():
        written = {key: _plain(value) for key, value in table.items() if key not in ("on_missing", "levels")}
        for level in table.get("levels", [{}]):
            own = {"for": level["for"], "labels": {"severity": level["severity"]}} if level else {}
            expr = {"expr": f"({written['expr']}) {level['when']}"} if level else {}
            rules.append(written if "record" in written else {"alert": name} | written | own | expr)
    return {"groups": [{"name": "service", "rules": rules}]}


def _plain(value: Any) -> Any:
    return {key: _plain(text) for key, text in value.items()} if isinstance(value, dict) else expand(value, {}).text


def test_the_unit_tests_of_the_pack_hold(tmp_path: Path) -> None:
    (tmp_path / "service.yml").write_text(json.dumps(rule_file()), encoding="utf-8")
    tests = tmp_path / "service_test.yml"
    tests.write_text((FILES / "service_test.yml").read_text(encoding="utf-8"), encoding="utf-8")
    said = io.StringIO()
    assert run_test_rules([tests], said) == 0, said.getvalue()
    assert said.getvalue().endswith("  SUCCESS\n\n")


def test_they_would_fail_if_a_line_were_another(tmp_path: Path) -> None:
    rules = json.dumps(rule_file()).replace(") > 0.05", ") > 0.5")
    (tmp_path / "service.yml").write_text(rules, encoding="utf-8")
    tests = tmp_path / "service_test.yml"
    tests.write_text((FILES / "service_test.yml").read_text(encoding="utf-8"), encoding="utf-8")
    said = io.StringIO()
    assert run_test_rules([tests], said) == 1
    assert "alertname: HighErrorRate," in said.getvalue()
