"""What a core says against what a test expects: alerts at an instant, and the value of an expression."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from engine.core.evaluator import Core
from engine.core.promql.notation import parse_labels
from engine.core.promql.plan import QueryPlan
from engine.core.promql.vector import EvaluationError, Scalar
from engine.durations import format_ms
from engine.ruletests.differences import Item, differences
from engine.ruletests.rules import Rules
from engine.ruletests.shape import AlertRuleTest, PromqlExprTest
from engine.series import series_text
from engine.text import clean

__all__ = ["Failure", "check_alerts", "check_expr"]

_TEXT_CHARS_MAX = 16_384


class Failure(NamedTuple):
    """Something that is not as expected: what it is about, in one line, and lines that show it."""

    line: int
    subject: str
    lines: tuple[str, ...]


# -- alerts ----------------------------------------------------------------------------------------------------


def check_alerts(core: Core, one: AlertRuleTest, rules: Rules) -> Iterator[Failure]:
    """The alerts of a name, as they are."""
    stated = one.states != ("firing",)
    wanted = [
        _alert({**alert.labels, "alertname": one.alertname}, alert.annotations, alert.state if stated else "")
        for alert in one.alerts
    ]
    got = [
        _alert(labels, annotations, state if stated else "")
        for labels, annotations, state in _alerts(core, one)
        if state in one.states
    ]
    if lines := tuple(differences(wanted, got)):
        yield Failure(one.line, f"{rules.where(one.alertname)}, time: {format_ms(one.eval_time_ms)}", lines)


def _alerts(core: Core, one: AlertRuleTest) -> Iterator[tuple[Mapping[str, str], Mapping[str, str], str]]:
    """(labels, annotations, state) of every alert of a name."""
    for status in core.alerts():
        if status.rule == one.alertname:
            kept = status.keeping and "keep_firing" in one.states
            yield status.shown_labels, status.annotations, "keep_firing" if kept else status.state
    for transition in core.resolved() if "resolved" in one.states else ():
        if transition.rule == one.alertname:
            yield transition.shown_labels, transition.annotations, "resolved"


def _alert(labels: Mapping[str, str], annotations: Mapping[str, str], state: str) -> Item:
    fields = [("state", state)] if state else []
    fields += [(f"label {name}", clean(text, _TEXT_CHARS_MAX)) for name, text in sorted(labels.items())]
    fields += [(f"annotation {name}", clean(text, _TEXT_CHARS_MAX)) for name, text in sorted(annotations.items())]
    return Item(tuple(fields))


# -- expressions -----------------------------------------------------------------------------------------------


def check_expr(
    core: Core, one: PromqlExprTest, start_ms: int, compile_expr: Callable[[str], QueryPlan], *, fuzzy: bool
) -> Iterator[Failure]:
    """The value of an expression.

    Args:
        start_ms: Of the test.
        fuzzy: Values may differ in their last bits.
    """
    subject = f"expr: {clean(one.expr)}, time: {format_ms(one.eval_time_ms)}"
    try:
        value = core.query(compile_expr(one.expr), start_ms + one.eval_time_ms)
    except EvaluationError as error:
        yield Failure(one.line, subject, (str(error),))
        return
    if isinstance(value, str):
        yield Failure(one.line, subject, ("the expression gives a string, not numbers",))
        return
    rows: Sequence[tuple[Mapping[str, str], float]]
    rows = [({}, value.value)] if isinstance(value, Scalar) else value.items()
    got = {_series(labels): number for labels, number in rows}
    wanted: list[Item] = []
    for sample in one.samples:
        series, number = _series(parse_labels(sample.labels) if sample.labels else {}), sample.value
        if series in got and _same(got[series], number, fuzzy):
            number = got[series]
        wanted.append(_sample(series, number))
    lines = [*differences(wanted, [_sample(series, number) for series, number in got.items()])]
    if any(math.isnan(sample.value) for sample in one.samples):
        lines.append("NaN is equal to nothing, not even to NaN, as in promtool: ask for `EXPR != EXPR` instead")
    if lines:
        yield Failure(one.line, subject, tuple(lines))


def _same(got: float, wanted: float, fuzzy: bool) -> bool:
    if got == wanted:
        return True
    near = math.nextafter(got, -math.inf), math.nextafter(got, math.inf)
    return fuzzy and wanted in near


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
