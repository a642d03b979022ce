"""Prometheus rule files, unchanged: from YAML to frozen structs, with every error at once and its place.

An edge: it reads files. What an expression may be is the caller's to say, so nothing here evaluates. From
structs to what the core evaluates is `engine.rulefiles.compile`, which brings the core with it.
"""

from engine.rulefiles.find import find_rule_files
from engine.rulefiles.lint import lint_rule_file
from engine.rulefiles.read import load_rule_files, read_rule_file
from engine.rulefiles.shape import RuleDef, RuleFile, RuleGroup

__all__ = [
    "RuleDef",
    "RuleFile",
    "RuleGroup",
    "find_rule_files",
    "lint_rule_file",
    "load_rule_files",
    "read_rule_file",
]
