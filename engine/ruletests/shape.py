"""What a file of rule tests says, as values. Times are milliseconds from the start of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

__all__ = [
    "STATES",
    "KINDS",
    "REASONS",
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
    "State",
    "TransitionTest",
]

State = Literal["pending", "firing", "keep_firing", "resolved"]
STATES: tuple[State, ...] = ("pending", "firing", "keep_firing", "resolved")
KINDS = ("pending", "firing", "resolved", "cleared", "lost")
"""Of transitions, see `engine.events.Transition.kind`."""
REASONS = ("condition", "held", "level", "recovered", "ended", "missing", "lost")
"""Of transitions, as far as a test can have them, see `engine.events.Transition`."""


class InputSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A series, and its values in the notation of `engine.ruletests.values`, one for each interval of the test."""

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


class ExpectedTransition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an alert that must come at one instant. What is None is not looked at.

    Args:
        labels: All of its labels but `alertname`, and but `severity` where that is not among them.
        severity: The label `severity` as people see it: of a rule with levels the one that is reached.
    """

    at_ms: int
    kind: str
    reason: str | None = None
    severity: str | None = None
    value: float | None = None
    flapping: bool | None = None
    labels: dict[str, str] | None = None
    line: int = 0


class TransitionTest(msgspec.Struct, frozen=True, kw_only=True):
    """Every transition of the alerts of one name up to the end of the test, no more and no fewer."""

    alertname: str
    transitions: tuple[ExpectedTransition, ...] = ()
    line: int = 0


class BlindSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which the engine could not see; what the series of its scope have there, nobody sees.

    Args:
        to_ms: Exclusive.
        scope: `*` for everything, else a metric or the canonical text of a series.
    """

    from_ms: int
    to_ms: int
    scope: str = "*"
    line: int = 0


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """The engine stops just after `at_ms` and starts `down_ms` later; what series have in between, nobody sees."""

    at_ms: int
    down_ms: int
    line: int = 0

    @property
    def end_ms(self) -> int:
        """When it is there again."""
        return self.at_ms + self.down_ms


class RuleTestGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One test: series, and what comes of them.

    Args:
        name: For messages; may be empty.
        interval_ms: Between two values of a series.
        start_ms: When the test starts, in milliseconds since the epoch.
        until_ms: How far it goes on at least.
        exact: It is stepped from sample to sample, to the millisecond, and not from evaluation to evaluation only.
    """

    name: str = ""
    interval_ms: int
    start_ms: int = 0
    series: tuple[InputSeries, ...] = ()
    alert_rule_tests: tuple[AlertRuleTest, ...] = ()
    promql_expr_tests: tuple[PromqlExprTest, ...] = ()
    external_labels: dict[str, str] = {}
    external_url: str = ""
    transition_tests: tuple[TransitionTest, ...] = ()
    blind: tuple[BlindSpan, ...] = ()
    restarts: tuple[Restart, ...] = ()
    until_ms: int = 0
    exact: bool = False
    line: int = 0

    @property
    def end_ms(self) -> int:
        """The last time that is looked at; rules are evaluated up to there."""
        times = [test.eval_time_ms for test in self.alert_rule_tests]
        times += [test.eval_time_ms for test in self.promql_expr_tests]
        times += [one.at_ms for test in self.transition_tests for one in test.transitions]
        times += [span.to_ms for span in self.blind]
        return max([self.until_ms, *times, *(restart.end_ms for restart in self.restarts)])


class RuleTestFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of tests.

    Args:
        folder: Relative paths in `rule_files` start here.
        rule_files: Paths with wildcards, for `engine.rulefiles.load_rule_files`.
        config: Path of a run.toml whose rules are tested, too; empty if there is none.
        evaluation_interval_ms: Of groups that name no interval, and of subqueries that name none.
        fuzzy_compare: Values may differ in their last bits.
        group_eval_order: Names of groups; those that are not named come first.
    """

    path: str
    folder: Path
    rule_files: tuple[str, ...] = ()
    config: str = ""
    evaluation_interval_ms: int = 60_000
    fuzzy_compare: bool = False
    group_eval_order: tuple[str, ...] = ()
    tests: tuple[RuleTestGroup, ...] = ()
