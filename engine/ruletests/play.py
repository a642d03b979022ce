"""One test at work: series into a core in virtual time, and what comes of it against what is expected.

Rules are evaluated at each multiple of the file's evaluation interval from the start of the test, whatever interval
their groups name, and samples are loaded up to the last of those instants: promtool's ways. The core is the live one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine.core.evaluator import Core
from engine.core.groups import GridGroup
from engine.core.promql.notation import parse_labels
from engine.core.promql.plan import Compat, QueryPlan
from engine.core.promql.vector import EvaluationError, Scalar
from engine.durations import format_ms
from engine.ruletests.differences import Item, differences
from engine.ruletests.inputs import Inputs
from engine.ruletests.shape import AlertRuleTest, PromqlExprTest, RuleTestFile, RuleTestGroup
from engine.series import series_text
from engine.text import clean

__all__ = ["Failure", "play"]

SERIES_MAX = 10_000_000
ALERTS_PER_RULE_MAX = 1_000_000
_EVERYTHING = '{__name__=~".+"}'
_TEXT_CHARS_MAX = 16_384


class Failure(NamedTuple):
    """Something that is not as expected: what it is about, in one line, and lines that show it."""

    line: int
    subject: str
    lines: tuple[str, ...]


def play(
    file: RuleTestFile,
    test: RuleTestGroup,
    groups: Sequence[GridGroup],
    compile_expr: Callable[[str], QueryPlan],
    *,
    compat: Compat = "prometheus3",
    progress: Callable[[float], None] | None = None,
) -> list[Failure]:
    """Run one test.

    Args:
        groups: In the order in which they are evaluated.
        progress: Is told how far it is, from 0 to 1, at each instant.

    Raises:
        InputError: A series of the test can't be loaded.
    """
    return list(_Play(file, test, groups, compile_expr, compat).run(progress))


class _Play:
    def __init__(
        self,
        file: RuleTestFile,
        test: RuleTestGroup,
        groups: Sequence[GridGroup],
        compile_expr: Callable[[str], QueryPlan],
        compat: Compat,
    ) -> None:
        self._file, self._test, self._groups, self._compile = file, test, groups, compile_expr
        step_ms = file.evaluation_interval_ms
        self._last_ms = test.end_ms // step_ms * step_ms
        self._inputs = Inputs(
            test.series,
            interval_ms=test.interval_ms,
            start_ms=test.start_ms,
            end_ms=test.start_ms + self._last_ms,
        )
        plans = [compile_expr(one.expr) for one in test.promql_expr_tests]
        texts = [
            text for g in groups for rule in g.rules for text in (*rule.labels.values(), *rule.annotations.values())
        ]
        if any(text.queries for text in texts):
            plans.append(compile_expr(_EVERYTHING))
        self._core = Core(
            [],
            groups=[msgspec.structs.replace(g, interval_ms=step_ms, phase_ms=test.start_ms) for g in groups],
            queries=plans,
            series_max=SERIES_MAX,
            batch_samples_max=SERIES_MAX,
            alerts_per_rule_max=ALERTS_PER_RULE_MAX,
            external_labels=test.external_labels,
            external_url=test.external_url,
            subquery_step_ms=step_ms,
            compat=compat,
        )

    def run(self, progress: Callable[[float], None] | None) -> Iterator[Failure]:
        """Evaluate from the start to the last time that is looked at. A rule without a value ends the test."""
        step_ms = self._file.evaluation_interval_ms
        waiting = deque(sorted(self._test.alert_rule_tests, key=lambda one: one.eval_time_ms))
        for at_ms in range(0, self._last_ms + 1, step_ms):
            now_ms = self._test.start_ms + at_ms
            self._core.feed(self._inputs.until(now_ms))
            self._core.advance(now_ms)
            wrong = [
                Failure(self._test.line, f"{_of_component(told.component)}, time: {format_ms(at_ms)}", (told.message,))
                for told in self._core.take_health()
            ]
            yield from wrong
            if wrong:
                return
            while waiting and waiting[0].eval_time_ms < at_ms + step_ms:
                yield from self._check_alerts(waiting.popleft())
            if progress is not None:
                progress((at_ms + step_ms) / (self._last_ms + step_ms))
        for one in self._test.promql_expr_tests:
            yield from self._check_expr(one)

    # -- alerts ------------------------------------------------------------------------------------------------

    def _check_alerts(self, one: AlertRuleTest) -> Iterator[Failure]:
        stated = one.states != ("firing",)
        wanted = [
            _alert({**alert.labels, "alertname": one.alertname}, alert.annotations, alert.state if stated else "")
            for alert in one.alerts
        ]
        got = [
            _alert(labels, annotations, state if stated else "")
            for labels, annotations, state in self._alerts(one)
            if state in one.states
        ]
        if lines := tuple(differences(wanted, got)):
            groups = [g.name for g in self._groups if any(_is_alert(rule, one.alertname) for rule in g.rules)]
            where = f", group: {', '.join(map(clean, groups))}" if groups else ", which no rule file has"
            subject = f"alertname: {clean(one.alertname)}{where}, time: {format_ms(one.eval_time_ms)}"
            yield Failure(one.line, subject, lines)

    def _alerts(self, one: AlertRuleTest) -> Iterator[tuple[Mapping[str, str], Mapping[str, str], str]]:
        """(labels, annotations, state) of every alert of a name."""
        for status in self._core.alerts():
            if status.rule == one.alertname:
                kept = status.keeping and "keep_firing" in one.states
                yield status.labels, status.annotations, "keep_firing" if kept else status.state
        for transition in self._core.resolved() if "resolved" in one.states else ():
            if transition.rule == one.alertname:
                yield transition.labels, transition.annotations, "resolved"

    # -- expressions -------------------------------------------------------------------------------------------

    def _check_expr(self, one: PromqlExprTest) -> Iterator[Failure]:
        subject = f"expr: {clean(one.expr)}, time: {format_ms(one.eval_time_ms)}"
        try:
            value = self._core.query(self._compile(one.expr), self._test.start_ms + one.eval_time_ms)
        except EvaluationError as error:
            yield Failure(one.line, subject, (str(error),))
            return
        if isinstance(value, str):
            yield Failure(one.line, subject, ("the expression gives a string, not numbers",))
            return
        rows = [({}, value.value)] if isinstance(value, Scalar) else value.items()
        got = {_series(labels): number for labels, number in rows}
        wanted: list[Item] = []
        for sample in one.samples:
            series, number = _series(parse_labels(sample.labels) if sample.labels else {}), sample.value
            if series in got and self._same(got[series], number):
                number = got[series]
            wanted.append(_sample(series, number))
        lines = [*differences(wanted, [_sample(series, number) for series, number in got.items()])]
        if any(math.isnan(sample.value) for sample in one.samples):
            lines.append("NaN is equal to nothing, not even to NaN, as in promtool: ask for `EXPR != EXPR` instead")
        if lines:
            yield Failure(one.line, subject, tuple(lines))

    def _same(self, got: float, wanted: float) -> bool:
        if got == wanted:
            return True
        near = math.nextafter(got, -math.inf), math.nextafter(got, math.inf)
        return self._file.fuzzy_compare and wanted in near


def _is_alert(rule: object, name: str) -> bool:
    return getattr(rule, "kind", "") == "alert" and getattr(rule, "name", "") == name


def _alert(labels: Mapping[str, str], annotations: Mapping[str, str], state: str) -> Item:
    fields = [("state", state)] if state else []
    fields += [(f"label {name}", clean(text, _TEXT_CHARS_MAX)) for name, text in sorted(labels.items())]
    fields += [(f"annotation {name}", clean(text, _TEXT_CHARS_MAX)) for name, text in sorted(annotations.items())]
    return Item(tuple(fields))


def _series(labels: Mapping[str, str]) -> str:
    """One text for one label set, with or without a name."""
    names = dict(labels)
    if name := names.pop("__name__", ""):
        return series_text(name, names)
    return series_text("x", names).removeprefix("x") or "{}"


def _sample(series: str, number: float) -> Item:
    return Item((("series", series), ("value", _number(number))))


def _number(number: float) -> str:
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return "NaN" if math.isnan(number) else repr(number)


def _of_component(component: str) -> str:
    kind, _, name = component.partition(".")
    return f"rule: {clean(name)}" if kind == "rule" else component
