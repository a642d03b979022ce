"""What a file of rule tests says, as values. Times are milliseconds from the start of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

__all__ = [
    "STATES",
    "AlertRuleTest",
    "ExpectedAlert",
    "ExpectedSample",
    "InputSeries",
    "PromqlExprTest",
    "RuleTestFile",
    "RuleTestGroup",
    "State",
]

State = Literal["pending", "firing", "keep_firing", "resolved"]
STATES: tuple[State, ...] = ("pending", "firing", "keep_firing", "resolved")


class InputSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A series, and its values in promtool's notation, one for each interval of the test."""

    series: str
    values: str
    line: int = 0


class ExpectedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that must be there: all of its labels but `alertname`, all of its annotations, and its state."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    state: State = "firing"
    line: int = 0


class AlertRuleTest(msgspec.Struct, frozen=True, kw_only=True):
    """What the alerts of one name must be at one time, no more and no fewer.

    Args:
        states: Alerts in other states are not looked at. Without `keep_firing` a kept alert counts as firing, as in
            promtool; with it, `firing` means those whose condition holds.
    """

    eval_time_ms: int
    alertname: str
    alerts: tuple[ExpectedAlert, ...] = ()
    states: tuple[State, ...] = ("firing",)
    line: int = 0


class ExpectedSample(msgspec.Struct, frozen=True, kw_only=True):
    """A series in PromQL's notation, and its value."""

    labels: str
    value: float
    line: int = 0


class PromqlExprTest(msgspec.Struct, frozen=True, kw_only=True):
    """What an expression must give at one time."""

    expr: str
    eval_time_ms: int
    samples: tuple[ExpectedSample, ...] = ()
    line: int = 0


class RuleTestGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One test: series, and what comes of them.

    Args:
        name: For messages; may be empty.
        interval_ms: Between two values of a series.
        start_ms: When the test starts, in milliseconds since the epoch.
    """

    name: str = ""
    interval_ms: int
    start_ms: int = 0
    series: tuple[InputSeries, ...] = ()
    alert_rule_tests: tuple[AlertRuleTest, ...] = ()
    promql_expr_tests: tuple[PromqlExprTest, ...] = ()
    external_labels: dict[str, str] = {}
    external_url: str = ""
    line: int = 0

    @property
    def end_ms(self) -> int:
        """The last time that is looked at; rules are evaluated up to there."""
        times = [test.eval_time_ms for test in self.alert_rule_tests]
        return max([*times, *(test.eval_time_ms for test in self.promql_expr_tests)], default=0)


class RuleTestFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of tests.

    Args:
        folder: Relative paths in `rule_files` start here.
        rule_files: Paths with wildcards, for `engine.rulefiles.load_rule_files`.
        evaluation_interval_ms: Of groups that name no interval, and of subqueries that name none.
        fuzzy_compare: Values may differ in their last bits.
        group_eval_order: Names of groups; those that are not named come first.
    """

    path: str
    folder: Path
    rule_files: tuple[str, ...] = ()
    evaluation_interval_ms: int = 60_000
    fuzzy_compare: bool = False
    group_eval_order: tuple[str, ...] = ()
    tests: tuple[RuleTestGroup, ...] = ()
