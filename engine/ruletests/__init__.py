"""Unit tests of rules: promtool's files, unchanged, and a longer form of them.

An edge: it reads files. What is exported here reads tests and evaluates nothing; `engine.ruletests.run` runs them, and
brings the core with it.
"""

from engine.ruletests.read import parse_test_file, read_test_file
from engine.ruletests.shape import (
    AlertRuleTest,
    ExpectedAlert,
    ExpectedSample,
    InputSeries,
    PromqlExprTest,
    RuleTestFile,
    RuleTestGroup,
)

__all__ = [
    "AlertRuleTest",
    "ExpectedAlert",
    "ExpectedSample",
    "InputSeries",
    "PromqlExprTest",
    "RuleTestFile",
    "RuleTestGroup",
    "parse_test_file",
    "read_test_file",
]
