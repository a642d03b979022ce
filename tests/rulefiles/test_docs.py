"""docs/rule-files.md is true: its examples load, its fields are those there are, and promtool passes the test in it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.core.promql.query_compile import compile_query
from engine.rulefiles.read import _GROUP, _RULE, parse_rule_file
from engine.ruletests.read import _ALERT, _ALERT_TEST, _EXPR_TEST, _FILE, _SERIES, _TEST, parse_test_file

PAGE = (Path(__file__).parents[2] / "docs/rule-files.md").read_text(encoding="utf-8")
RULES, TESTS, LONGER = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PROMTOOL = shutil.which("promtool")


def test_the_rule_file_loads() -> None:
    file, problems = parse_rule_file(RULES.encode(), "rules.yml", compile_query)
    assert problems == []
    assert file is not None
    assert file.rules_count == 2


def test_the_tests_load_and_so_does_the_longer_form() -> None:
    longer = "tests:\n- " + LONGER.replace("\n", "\n  ")
    for text in (TESTS, longer):
        file, problems = parse_test_file(text.encode(), "t.yml", Path(), compile_query)
        assert problems == []
        assert file is not None
        assert file.tests[0].alert_rule_tests


def test_every_field_is_there() -> None:
    fields = {*_GROUP, *_RULE, *_FILE, *_TEST, *_SERIES, *_ALERT_TEST, *_ALERT, *_EXPR_TEST}
    assert {field for field in fields if f"`{field}`" not in PAGE and f".{field}`" not in PAGE} == set()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_passes_the_test(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "t.yml").write_text(TESTS)
    command = [PROMTOOL, "test", "rules", "t.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
