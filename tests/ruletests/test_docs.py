"""docs/rule-tests.md is true: what it shows loads and comes out so, its fields are those there are, and its worked
examples are the files in examples/tests, which hold."""

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.core.promql.query_compile import compile_query
from engine.ruletests import course, read
from engine.ruletests.read import parse_test_file
from engine.ruletests.run import run_tests
from engine.ruletests.shape import KINDS, REASONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/rule-tests.md").read_text(encoding="utf-8")
RULE_FILES = (ROOT / "docs/rule-files.md").read_text(encoding="utf-8")
FORM, EXAMPLES = PAGE.split("## Worked examples")
TESTS, STATES, COURSE = re.findall(r"```yaml\n(.*?)```", FORM, re.DOTALL)
FILES = sorted((ROOT / "examples/tests").glob("*.yml"))
PROMTOOL = shutil.which("promtool")


def test_what_is_shown_loads() -> None:
    for text in (TESTS, *("tests:\n- " + part.replace("\n", "\n  ") for part in (STATES, COURSE))):
        file, problems = parse_test_file(text.encode(), "t.yml", Path(), compile_query)
        assert problems == []
        assert file is not None
        assert file.tests


def test_every_field_is_there() -> None:
    fields = {*read._FILE, *read._TEST, *read._SERIES, *read._ALERT_TEST, *read._ALERT, *read._EXPR_TEST}
    fields |= {*course._BLIND, *course._RESTART, *course._TRANSITIONS, *course._TRANSITION, *KINDS, *REASONS}
    assert {field for field in fields if f"`{field}`" not in PAGE and f".{field}`" not in PAGE} == set()


def test_a_failure_looks_like_the_one_shown(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[rule.HighCpu]\nexpr = "host_cpu_percent > 90"\nfor = "5m"\n')
    tests = """\
config: run.toml
tests:
  - name: a busy host
    interval: 1m
    input_series: [{ series: host_cpu_percent, values: 95x8 20x2 }]
    transitions:
      - alertname: HighCpu
        exp_transitions:
          - { at: 0s, kind: pending, reason: condition }
          - { at: 6m, kind: firing, reason: held }
          - { at: 9m, kind: resolved, reason: recovered }
"""
    bad = """\
config: run.toml
tests:
  - interval: 1m
    input_series: [{ series: host_cpu_percent, values: 95x8 targetdown }]
    blind:
      - { from: 3m, until: 5m }
    transitions:
      - alertname: HighCpu
        exp_transitions:
          - { at: 6, kind: fired }
"""
    shown = re.findall(r"```\n(Unit Testing.*?|bad_test.*?)```", FORM, re.DOTALL)
    for name, text, expected in zip(("cpu_test.yml", "bad_test.yml"), (tests, bad), shown, strict=True):
        (tmp_path / name).write_text(text)
        told = io.StringIO()
        assert run_tests([tmp_path / name], told) == (1 if name == "cpu_test.yml" else 2)
        assert expected in re.sub(r"(?m)^    (?=bad)", "", told.getvalue().replace(f"{tmp_path}/", ""))


def test_the_worked_examples_are_the_files() -> None:
    shown = re.findall(r"```yaml\n# examples/tests/(\S+)\n(.*?)```", EXAMPLES, re.DOTALL)
    assert dict(shown) == {path.name: path.read_text(encoding="utf-8") for path in FILES}
    assert len(shown) >= 10
    rules = (ROOT / "examples/tests/rules/run.toml").read_text(encoding="utf-8")
    tables = re.findall(r"```toml\n(.*?)```", EXAMPLES, re.DOTALL)
    assert len(tables) == len(shown)
    assert [table for table in tables if table.rstrip() not in rules] == []


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_worked_example_holds(path: Path) -> None:
    told = io.StringIO()
    assert run_tests([path], told) == 0, told.getvalue()
    assert "WARNING" not in told.getvalue()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_worked_example_can_fail(path: Path, tmp_path: Path) -> None:
    """Another instant for any of its transitions, and it does."""
    text = path.read_text(encoding="utf-8").replace("rules/", f"{path.parent}/rules/")
    for number, match in enumerate(re.finditer(r"at: \S+(?=, kind)", text)):
        other = tmp_path / f"{number}.yml"
        other.write_text(text[: match.start()] + "at: 77ms" + text[match.end() :])
        told = io.StringIO()
        assert run_tests([other], told) == 1, told.getvalue()
        assert "! 77ms" in told.getvalue()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_passes_the_test(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    (rules,) = re.findall(r"```yaml\n(.*?)```", RULE_FILES, re.DOTALL)
    (tmp_path / "rules.yml").write_text(rules)
    (tmp_path / "t.yml").write_text(TESTS)
    command = [PROMTOOL, "test", "rules", "t.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
