"""Unit tests of rules: promtool's files, unchanged, and a longer form of them.

An edge: it reads files. What is exported here reads tests and evaluates nothing; `engine.ruletests.run` runs them, and
brings the core with it.
"""

from engine.ruletests.read import parse_test_file, read_test_file
from engine.ruletests.shape import (
    AlertRuleTest,
    BlindSpan,
    ExpectedAlert,
    ExpectedSample,
    ExpectedTransition,
    InputSeries,
    PromqlExprTest,
    Restart,
    RuleTestFile,
    RuleTestGroup,
    TransitionTest,
)

__all__ = [
    "AlertRuleTest",
    "BlindSpan",
    "ExpectedAlert",
    "ExpectedSample",
    "ExpectedTransition",
    "InputSeries",
    "PromqlExprTest",
    "Restart",
    "RuleTestFile",
    "RuleTestGroup",
    "TransitionTest",
    "parse_test_file",
    "read_test_file",
]
