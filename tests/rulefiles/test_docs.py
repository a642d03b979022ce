"""docs/rule-files.md is true: its example loads, and its fields are those there are."""

import re
from pathlib import Path

from engine.core.promql.query_compile import compile_query
from engine.rulefiles.read import _GROUP, _RULE, parse_rule_file

PAGE = (Path(__file__).parents[2] / "docs/rule-files.md").read_text(encoding="utf-8")
(RULES,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_rule_file_loads() -> None:
    file, problems = parse_rule_file(RULES.encode(), "rules.yml", compile_query)
    assert problems == []
    assert file is not None
    assert file.rules_count == 2


def test_every_field_is_there() -> None:
    assert {field for field in (*_GROUP, *_RULE) if f"`{field}`" not in PAGE} == set()
