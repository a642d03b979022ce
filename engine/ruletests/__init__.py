"""Unit tests of rules: promtool's files, unchanged, and a longer form of them. Read here, run elsewhere.

An edge: it reads files. Nothing here evaluates.
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
