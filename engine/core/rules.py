"""Rules, alerting and recording: an expression, levels, durations and labels, compiled and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from engine.core.conditions import Condition, Level, asks_for_less, check_levels, parse_condition, split_condition
from engine.core.promql.compile import NotPointwise, pointwise
from engine.core.promql.parse import PromQLError
from engine.core.promql.plan import Node, Plan, QueryPlan
from engine.core.promql.query_compile import compile_query
from engine.errors import RuleError
from engine.series import LABEL_NAME_CHARS_MAX

__all__ = [
    "HOLD_MAX_MS",
    "METRIC_HINT",
    "OUTAGE_TOLERANCE_MS",
    "LevelTerms",
    "OnMissing",
    "OnRestart",
    "RecordingRule",
    "Rule",
    "Template",
    "compile_recording",
    "compile_rule",
    "is_metric_name",
]

OnMissing: TypeAlias = Literal["hold", "reset", "count", "fire"]
OnRestart: TypeAlias = Literal["pause", "count", "reset"]
HOLD_MAX_MS = 24 * 3_600_000
OUTAGE_TOLERANCE_MS = 3_600_000
METRIC_HINT = f'1 to {LABEL_NAME_CHARS_MAX} letters, digits, _ and :, as in "service:request_rate"'
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Template(Protocol):
    """A compiled annotation, made outside the core; rendering must be pure and must not raise."""

    def render(self, labels: Mapping[str, str], value: float, external_labels: Mapping[str, str]) -> str: ...


class LevelTerms(msgspec.Struct, frozen=True, kw_only=True):
    """One level as it is written; what is empty is the rule's own."""

    severity: str = ""
    when: str = ""
    clear: str = ""
    for_ms: int | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """An alerting rule.

    Args:
        name: Its name, sent as `alertname`.
        plan: The compiled expression.
        measure: The part of its tree that is measured: without an outer comparison with a number.
        levels: At least one, the lowest first: what must hold of the measured value, and how long.
        of: What part of `for` a condition must hold; 1 for all of it without a break.
        keep_firing_for_ms: How long it goes on firing after the condition ended.
        on_missing: What an unknown condition does: `hold` (state stays, clocks pause), `reset` (as if it were false),
            `count` (state stays, clocks run on) or `fire` (after `missing_for`).
        missing_for_ms: How long data must be missing before that fires.
        hold_max_ms: How long an unknown condition is held before the alert ends as lost.
        on_restart: What the engine's own downtime does: `pause` (clocks stand), `count` (they run on) or `reset`
            (pending alerts begin anew).
        outage_tolerance_ms: After a longer downtime a pending alert begins anew in any case.
        labels: Added to every alert's labels; they win over the series' own.
        annotations: Text for people.
        external_labels: For annotations that name this engine.
    """

    name: str
    plan: Plan | QueryPlan
    measure: Node
    levels: tuple[Level, ...] = (Level(),)
    of: float = 1.0
    keep_firing_for_ms: int = 0
    on_missing: OnMissing = "hold"
    missing_for_ms: int = 0
    hold_max_ms: int = HOLD_MAX_MS
    on_restart: OnRestart = "pause"
    outage_tolerance_ms: int = OUTAGE_TOLERANCE_MS
    labels: dict[str, str] = {}
    annotations: dict[str, Any] = {}  # str -> Template; a Protocol is no msgspec type
    external_labels: dict[str, str] = {}

    @property
    def is_low(self) -> bool:
        """Whether it asks for less than a number, so that the lowest value is the worst."""
        return asks_for_less(self.levels[0].when)

    @property
    def for_ms(self) -> int:
        """How long the condition of the lowest level must hold."""
        return self.levels[0].for_ms

    @property
    def key(self) -> str:
        """Identity of the rule across restarts and edits of its expression: a JSON array, so that no name and no label
        can be taken for another."""
        return msgspec.json.encode([self.name, sorted(self.labels.items())]).decode()

    def alert_labels(self, series_labels: Mapping[str, str]) -> dict[str, str]:
        """The labels of the alert for one label set of the result."""
        labels = {**series_labels, **self.labels, "alertname": self.name}
        return {k: v for k, v in labels.items() if v} if "" in labels.values() else labels

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        """Render the annotations for one alert."""
        return {name: text.render(labels, value, self.external_labels) for name, text in self.annotations.items()}


class RecordingRule(msgspec.Struct, frozen=True, kw_only=True):
    """A recording rule: its results are series that other rules can read.

    Args:
        name: Its address, for messages.
        record: The metric it records.
        plan: The compiled expression.
        labels: Added to every series; they win over the result's own, and an empty one takes the label away.
    """

    name: str
    record: str
    plan: QueryPlan
    labels: dict[str, str] = {}

    @property
    def key(self) -> str:
        """Identity of the rule across restarts and edits of its expression."""
        return msgspec.json.encode([self.name, self.record, sorted(self.labels.items())]).decode()


def is_metric_name(name: str) -> bool:
    """Whether a rule can record under this name."""
    return _METRIC.fullmatch(name) is not None and len(name) <= LABEL_NAME_CHARS_MAX


def compile_recording(name: str, record: str, expr: str, *, labels: Mapping[str, str] | None = None) -> RecordingRule:
    """Compile a recording rule.

    Raises:
        RuleError: The metric's name, a label or the expression is refused.
    """
    if not is_metric_name(record):
        raise RuleError(name, f'"{record}" is not a metric name', METRIC_HINT)
    for label in labels or {}:
        _check_label(name, label)
    try:
        plan = compile_query(expr)
        if plan.type == "string":
            raise PromQLError("the expression is a string, not a vector")
    except PromQLError as error:
        raise RuleError(name, str(error), error.hint) from error
    return RecordingRule(name=name, record=record, plan=plan, labels=dict(labels or {}))


def compile_rule(
    name: str,
    expr: str,
    *,
    for_ms: int = 0,
    when: str = "",
    clear: str = "",
    levels: Sequence[LevelTerms] = (),
    of: float = 1.0,
    keep_firing_for_ms: int = 0,
    on_missing: OnMissing = "hold",
    missing_for_ms: int = 0,
    hold_max_ms: int = HOLD_MAX_MS,
    on_restart: OnRestart = "pause",
    outage_tolerance_ms: int = OUTAGE_TOLERANCE_MS,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, Template] | None = None,
    external_labels: Mapping[str, str] | None = None,
) -> Rule:
    """Compile a rule.

    Args:
        for_ms, when, clear: Of the rule, and of each level that says nothing else.
        levels: The lowest first.
        annotations: Compiled templates, from `engine.templates.compile_template`.

    Raises:
        RuleError: The expression or a condition is refused, a label is not valid, or a number is out of bounds.
    """
    try:
        plan = _compile(expr)
    except PromQLError as error:
        raise RuleError(name, str(error), error.hint) from error
    _check(name, labels or {}, bool(levels), of, min(for_ms, keep_firing_for_ms, hold_max_ms, missing_for_ms))
    measure, inherent = split_condition(plan.root)
    if inherent is not None and (when or clear or levels):
        message = f'the expression compares already ("{inherent}"), so it has no when, clear or levels'
        raise RuleError(name, message, "leave the comparison out of expr and write it as when")
    try:
        terms = levels or (LevelTerms(),)
        made = tuple(_level(one, for_ms, when, clear, inherent) for one in terms)
        check_levels(made)
    except ValueError as error:
        raise RuleError(name, str(error)) from error
    return Rule(
        name=name,
        plan=plan,
        measure=measure,
        levels=made,
        of=of,
        keep_firing_for_ms=keep_firing_for_ms,
        on_missing=on_missing,
        missing_for_ms=missing_for_ms,
        hold_max_ms=hold_max_ms,
        on_restart=on_restart,
        outage_tolerance_ms=outage_tolerance_ms,
        labels=dict(labels or {}),
        annotations=dict(annotations or {}),
        external_labels=dict(external_labels or {}),
    )


def _check(name: str, labels: Mapping[str, str], has_levels: bool, of: float, least_ms: int) -> None:
    for label, value in labels.items():
        _check_label(name, label)
        if label == "alertname":
            raise RuleError(name, "the label alertname is the rule's name and can't be set")
        if label == "severity" and has_levels:
            raise RuleError(name, "the label severity is that of the level and can't be set", "leave it out of labels")
        if "{{" in value:
            raise RuleError(
                name, f'a template in label "{label}" is not supported by this version', "use an annotation"
            )
    if least_ms < 0:
        raise RuleError(name, "a duration is negative")
    if not 0 < of <= 1:
        raise RuleError(name, f"of is {of:g}, not a part of 1", "write of = 0.9 for nine tenths")


def _level(terms: LevelTerms, for_ms: int, when: str, clear: str, inherent: Condition | None) -> Level:
    when, clear = terms.when or when, terms.clear or clear
    return Level(
        severity=terms.severity,
        when=parse_condition(when) if when else inherent,
        clear=parse_condition(clear) if clear else None,
        for_ms=for_ms if terms.for_ms is None else terms.for_ms,
    )


def _check_label(rule: str, label: str) -> None:
    if not _LABEL.fullmatch(label) or label == "__name__":
        raise RuleError(rule, f'"{label}" is not a label name', "use letters, digits and _")


def _compile(expr: str) -> Plan | QueryPlan:
    """A pointwise plan where that is possible, for it is many times as fast; else one of the whole language."""
    plan = compile_query(expr)
    try:
        return pointwise(plan)
    except NotPointwise:
        return plan
