"""Rule files and rule tests that operators wrote load unchanged."""

from pathlib import Path

import pytest

from engine.core.promql.query_compile import compile_query
from engine.rulefiles import load_rule_files, read_rule_file
from engine.ruletests import read_test_file

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
YAML = sorted([*DATA.glob("rules/*.y*ml"), *DATA.glob("unittests/**/*.yaml")])
TESTS = [path for path in YAML if path.name.endswith("_test.yaml")]
RULES = [path for path in YAML if path not in TESTS]

needs_data = pytest.mark.skipif(not YAML, reason="the collections of rules are not here: ../shared/data")


@needs_data
def test_rule_files_load_unchanged() -> None:
    problems = [str(problem) for path in RULES for problem in read_rule_file(path, compile_query)[1]]
    assert problems == []
    files = [file for path in RULES if (file := read_rule_file(path, compile_query)[0]) is not None]
    assert sum(file.rules_count for file in files) > 100


@needs_data
def test_unit_tests_load_unchanged_with_their_rules() -> None:
    for path in TESTS:
        tests, problems = read_test_file(path, compile_query)
        assert problems == []
        assert tests is not None
        assert tests.tests
        assert load_rule_files(tests.rule_files, tests.folder, compile_query)
