"""A file of rule tests to values: promtool's fields, and those of the longer form. Every problem is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from engine.core.promql.notation import parse_labels
from engine.durations import format_ms
from engine.errors import Problem
from engine.ruletests.course import Course
from engine.ruletests.shape import (
    STATES,
    AlertRuleTest,
    ExpectedAlert,
    ExpectedSample,
    InputSeries,
    PromqlExprTest,
    RuleTestFile,
    RuleTestGroup,
    State,
)
from engine.ruletests.values import read_values
from engine.text import clean
from engine.yamlfields import Fields, read_yaml, words
from engine.yamltree import Mapping, Node, Scalar

__all__ = ["parse_test_file", "read_test_file"]

_FILE = ("rule_files", "config", "evaluation_interval", "fuzzy_compare", "group_eval_order", "tests")
_TEST = (
    *("name", "interval", "start_timestamp", "input_series", "alert_rule_test", "promql_expr_test"),
    *("external_labels", "external_url"),
    *("until", "blind", "restarts", "transitions"),
)
_COURSE = _TEST[8:]
_SERIES = ("series", "values")
_ALERT_TEST = ("eval_time", "alertname", "exp_alerts", "states")
_ALERT = ("exp_labels", "exp_annotations", "state")
_EXPR_TEST = ("expr", "eval_time", "exp_samples")
_SAMPLE = ("labels", "value", "histogram")
_TIMES = re.compile(r"x[0-9]+(?=\s|$)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[-+]\d\d:\d\d)", re.ASCII)
_START_MAX_S = 253_402_300_799  # the year 9999
_CheckExpr = Callable[[str], object]


def read_test_file(path: Path, check_expr: _CheckExpr) -> tuple[RuleTestFile | None, list[Problem]]:
    """Read a file.

    Args:
        check_expr: Raises `ValueError` for an expression that can't be evaluated.

    Returns:
        The tests, or None if anything is wrong, and what is wrong.
    """
    fields = Fields(clean(str(path)))
    return _finished(read_yaml(path, "the tests", fields), fields, path.parent, check_expr)


def parse_test_file(
    data: bytes, name: str, folder: Path, check_expr: _CheckExpr
) -> tuple[RuleTestFile | None, list[Problem]]:
    """Read what a file has; returns as `read_test_file`."""
    fields = Fields(name)
    return _finished(fields.parse(data), fields, folder, check_expr)


def _finished(
    tree: Node | None, fields: Fields, folder: Path, check_expr: _CheckExpr
) -> tuple[RuleTestFile | None, list[Problem]]:
    file = _Reader(fields, check_expr).file(tree, folder)
    problems = fields.problems
    return (None if problems else file), problems


class _Reader:
    def __init__(self, fields: Fields, check_expr: _CheckExpr) -> None:
        self._fields = fields
        self._check_expr = check_expr

    def file(self, tree: Node | None, folder: Path) -> RuleTestFile:
        keys = {key.text for key, _ in tree.pairs} if isinstance(tree, Mapping) else set()
        if tree is not None and "groups" in keys and "tests" not in keys:
            self._fields.error(tree, "", "this is a rule file, not one of tests", "look at it with `check`")
            tree = None
        values = self._fields.table(tree, "", _FILE)
        interval_ms = self._fields.duration_ms(values.get("evaluation_interval"), "", "evaluation_interval") or 60_000
        tests = self._fields.items(values.get("tests"), "", "tests")
        return RuleTestFile(
            path=self._fields.file,
            folder=folder,
            rule_files=self._texts(values, "rule_files"),
            config=self._fields.text(values.get("config"), "", "config"),
            evaluation_interval_ms=interval_ms,
            fuzzy_compare=self._fields.boolean(values.get("fuzzy_compare"), "", "fuzzy_compare"),
            group_eval_order=self._order(values),
            tests=tuple(
                self._test(node, number, interval_ms, exact="config" in values) for number, node in enumerate(tests, 1)
            ),
        )

    def _texts(self, values: dict[str, Node], name: str) -> tuple[str, ...]:
        items = self._fields.items(values.get(name), "", name)
        return tuple(self._fields.text(item, "", name) for item in items)

    def _order(self, values: dict[str, Node]) -> tuple[str, ...]:
        names = self._texts(values, "group_eval_order")
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            node = values["group_eval_order"]
            self._fields.error(node, "", f"group name repeated in evaluation order: {name}")
        return names

    def _test(self, node: Node, number: int, default_ms: int, *, exact: bool) -> RuleTestGroup:
        values = self._fields.table(node, f"test {number}", _TEST)
        name = self._fields.text(values.get("name"), f"test {number}", "name")
        address = f'test {number}, "{name}"' if name else f"test {number}"
        parts = {key: self._fields.items(values.get(key), address, key) for key in _TEST[3:6]}
        course = Course(self._fields, values, address)
        return RuleTestGroup(
            name=name,
            interval_ms=self._fields.duration_ms(values.get("interval"), address, "interval") or default_ms,
            start_ms=self._start_ms(values.get("start_timestamp"), address),
            series=tuple(self._series(item, address) for item in parts["input_series"]),
            alert_rule_tests=tuple(self._alert_test(item, address) for item in parts["alert_rule_test"]),
            promql_expr_tests=tuple(self._expr_test(item, address) for item in parts["promql_expr_test"]),
            external_labels=words(self._fields.texts(values.get("external_labels"), address, "external_labels")),
            external_url=self._fields.text(values.get("external_url"), address, "external_url"),
            transition_tests=course.transition_tests,
            blind=course.blind,
            restarts=course.restarts,
            until_ms=course.until_ms,
            exact=exact or any(key in values for key in _COURSE),
            line=node.line,
        )

    def _start_ms(self, node: Node | None, address: str) -> int:
        """Seconds since the epoch, or a date and time as in RFC 3339."""
        if isinstance(node, Scalar) and _RFC3339.fullmatch(node.text):
            try:
                return (datetime.fromisoformat(node.text.upper()) - _EPOCH) // timedelta(milliseconds=1)
            except (ValueError, OverflowError):
                self._fields.error(node, address, f'field start_timestamp: "{node.text}" is not a time')
                return 0
        seconds = self._fields.number(node, address, "start_timestamp")
        if node is not None and not abs(seconds) <= _START_MAX_S:
            self._fields.error(node, address, "field start_timestamp: out of range")
            return 0
        return round(seconds * 1000)

    def _series(self, node: Node, address: str) -> InputSeries:
        values = self._fields.table(node, address, _SERIES)
        series = self._fields.text(values.get("series"), address, "series")
        numbers = self._fields.text(values.get("values"), address, "values")
        self._checked(parse_labels, series, values.get("series", node), f'{address}, series "{clean(series, 80)}"')
        # How often a value is repeated is the runner's to bound: it stops at the last time that is looked at.
        once = _TIMES.sub("x1", numbers)
        self._checked(read_values, once, values.get("values", node), f'{address}, series "{clean(series, 80)}"')
        return InputSeries(series=series, values=numbers, line=node.line)

    def _checked(self, check: _CheckExpr, text: str, node: Node, address: str) -> None:
        try:
            check(text)
        except ValueError as error:
            self._fields.error(node, address, str(error), getattr(error, "hint", ""))

    def _alert_test(self, node: Node, address: str) -> AlertRuleTest:
        values = self._fields.table(node, address, _ALERT_TEST)
        time_ms = self._fields.duration_ms(values.get("eval_time"), address, "eval_time") or 0
        name = self._fields.text(values.get("alertname"), address, "alertname")
        address = f'{address}, alert "{name}" at {format_ms(time_ms)}'
        if not name:
            message = "an item under alert_rule_test misses required attribute alertname"
            self._fields.error(node, address, f"{message} at eval_time {format_ms(time_ms)}")
        items = self._fields.items(values.get("exp_alerts"), address, "exp_alerts")
        alerts = tuple(self._alert(item, address) for item in items)
        named = [self._state(item, address) for item in self._fields.items(values.get("states"), address, "states")]
        used = {alert.state for alert in alerts} | set(named or ("firing",))
        return AlertRuleTest(
            eval_time_ms=time_ms,
            alertname=name,
            alerts=alerts,
            states=tuple(state for state in STATES if state in used),
            line=node.line,
        )

    def _alert(self, node: Node, address: str) -> ExpectedAlert:
        values = self._fields.table(node, address, _ALERT)
        return ExpectedAlert(
            labels=words(self._fields.texts(values.get("exp_labels"), address, "exp_labels")),
            annotations=words(self._fields.texts(values.get("exp_annotations"), address, "exp_annotations")),
            state=self._state(values["state"], address) if "state" in values else "firing",
            line=node.line,
        )

    def _state(self, node: Node, address: str) -> State:
        text = self._fields.text(node, address, "state")
        for state in get_args(State):
            if text == state:
                return state  # type: ignore[no-any-return]  # one of the words of State
        self._fields.error(node, address, f'"{clean(text, 40)}" is no state', f"known: {', '.join(STATES)}")
        return "firing"

    def _expr_test(self, node: Node, address: str) -> PromqlExprTest:
        values = self._fields.table(node, address, _EXPR_TEST)
        expr = self._fields.text(values.get("expr"), address, "expr")
        time_ms = self._fields.duration_ms(values.get("eval_time"), address, "eval_time") or 0
        address = f"{address}, expr at {format_ms(time_ms)}"
        if not expr:
            self._fields.error(values.get("expr", node), address, "field 'expr' must be set")
        else:
            self._checked(self._check_expr, expr, values.get("expr", node), address)
        items = self._fields.items(values.get("exp_samples"), address, "exp_samples")
        samples = tuple(self._sample(item, address) for item in items)
        return PromqlExprTest(expr=expr, eval_time_ms=time_ms, samples=samples, line=node.line)

    def _sample(self, node: Node, address: str) -> ExpectedSample:
        values = self._fields.table(node, address, _SAMPLE)
        if self._fields.text(values.get("histogram"), address, "histogram"):
            self._fields.error(values["histogram"], address, "native histograms are not supported")
        labels = self._fields.text(values.get("labels"), address, "labels")
        if labels:
            self._checked(parse_labels, labels, values.get("labels", node), address)
        value = self._fields.number(values.get("value"), address, "value")
        return ExpectedSample(labels=labels, value=value, line=node.line)
