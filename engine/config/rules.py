"""`[rule.NAME]`: its keys, whether its expression and its templates compile, and what recording rules read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.config.checks import check_labels
from engine.config.convert import BAD, Converter
from engine.config.document import Places
from engine.config.kinds import fields_of
from engine.config.levels import check_terms
from engine.config.locate import KeyPath
from engine.config.packs import pack_names, read_pack
from engine.config.report import quote
from engine.config.shape import RuleConfig, RuleTable
from engine.errors import RuleError
from engine.text import clean

if TYPE_CHECKING:
    from engine.core.conditions import Condition

__all__ = ["check_recording", "rule_config"]

_OF_ALERTS = (
    *("when", "for", "of", "clear", "levels", "keep_firing_for"),
    *("on_missing", "missing_for", "hold_max", "on_restart", "outage_tolerance", "annotations"),
)
# Keys that are not ours, but that people will write, and what to write instead.
_HINTS = {
    "mode": (
        "leave it out: a rule of run.toml is judged at every sample; "
        "for one on a grid, write a rule file and name it in rule_files of [engine]"
    ),
    "alert": "the table's name is the alert's name: [rule.NAME]",
    "name": "the table's name is the rule's name: [rule.NAME]",
    "query": 'did you mean "expr"?',
    "condition": 'did you mean "expr"?',
    "duration": 'did you mean "for"?',
    "threshold": 'write when = "> 90"',
    "severity": 'write labels = { severity = "..." }',
    "summary": 'write annotations = { summary = "..." }',
    "description": 'write annotations = { description = "..." }',
}


def rule_config(
    name: str,
    table: Mapping[str, Any],
    converter: Converter,
    places: Places,
    external_labels: Mapping[str, str],
) -> RuleConfig | None:
    """Read `[rule.NAME]`, or report why not."""
    path: KeyPath = ("rule", name)
    hints = _HINTS if "expr" in table else _HINTS | {"expr": _pack_with(name)}
    values = converter.table(fields_of(RuleTable), table, path, hints)
    expr = values.get("expr", BAD)
    if "record" in table:
        _check_record(table, values.get("record", BAD), path, converter)
        if expr is not BAD:
            _compile_recording(name, expr, path, converter)
    else:
        _check_labels((*path, "labels"), converter)
        templates = _templates((*path, "annotations"), converter)
        inherent = None
        if expr is not BAD:
            inherent = _compile(name, values, templates, external_labels, path, converter)
        check_terms(values, inherent, path, converter)
    built = converter.build(RuleTable, values, path)
    if built is None:
        return None
    _, file, line = places.find(path)
    return RuleConfig(name=name, table=built, file=file, line=line)


def check_recording(rules: Iterable[RuleConfig | None], converter: Converter) -> None:
    """Report a cycle of recording rules. Those that do not compile were reported before."""
    recording = {rule.name: rule.table for rule in rules if rule is not None and rule.table.record is not None}
    if not recording:
        return
    from engine.core.dependencies import in_order
    from engine.core.rules import compile_recording

    compiled = []
    for name, table in recording.items():
        try:
            compiled.append(compile_recording(name, table.record or "", table.expr))
        except RuleError:
            continue
    try:
        in_order(compiled)
    except RuleError as error:
        converter.report.error(("rule", error.rule, "expr"), clean(error.message, 300), error.hint)


def _check_record(table: Mapping[str, Any], record: Any, path: KeyPath, converter: Converter) -> None:
    """What can't be said of a rule that records: of alerts there are none."""
    from engine.core.rules import METRIC_HINT, is_metric_name

    check_labels((*path, "labels"), converter)
    at: KeyPath = (*path, "record")
    if record is not BAD and not is_metric_name(record):
        tainted = at in converter.from_environment
        message = "not a metric name" if tainted else f"{quote(record)} is not a metric name"
        converter.report.error(at, message, METRIC_HINT)
    if unfit := [key for key in _OF_ALERTS if key in table]:
        keys = ", ".join(unfit)
        message = f"a recording rule gives no alerts, so it has no {keys}"
        converter.report.error((*path, unfit[0]), message, f"leave out {keys}; or leave out record, and it alerts")


def _compile_recording(name: str, expr: str, path: KeyPath, converter: Converter) -> None:
    from engine.core.rules import compile_recording

    try:
        compile_recording(name, "x", expr)  # the expression alone, as below
    except RuleError as error:
        _foreign((*path, "expr"), error.message, error.hint, "not an expression", converter)


def _pack_with(name: str) -> str:
    """Of a rule without an expression: what to write if it is meant to override a rule of a pack."""
    pack_of = {rule: pack for pack in pack_names() for rule in read_pack(pack).tree["rule"]}
    if pack := pack_of.get(name):
        return f'to change that rule of the pack "{pack}", add packs = ["{pack}"] to [engine]'
    close = difflib.get_close_matches(name, pack_of, n=1)
    return f"did you mean {quote(close[0])} of the pack {quote(pack_of[close[0]])}?" if close else ""


def _check_labels(path: KeyPath, converter: Converter) -> None:
    check_labels(path, converter)
    if "alertname" in converter.items(path):
        message = "alertname is the rule's name and can't be set"
        converter.report.error((*path, "alertname"), message, "rename the table")


def _templates(path: KeyPath, converter: Converter) -> dict[str, Any]:
    from engine.templates import TEMPLATE_CHARS_MAX, compile_template

    compiled: dict[str, Any] = {}
    check_labels(path, converter, TEMPLATE_CHARS_MAX)  # their names have the same alphabet as labels'
    for name, text in converter.items(path).items():
        if len(text) > TEMPLATE_CHARS_MAX:
            continue
        try:
            compiled[name] = compile_template(text)
        except ValueError as error:
            _foreign((*path, name), str(error), "", "not a template", converter)
    return compiled


def _compile(
    name: str,
    values: Mapping[str, Any],
    templates: Mapping[str, Any],
    external_labels: Mapping[str, str],
    path: KeyPath,
    converter: Converter,
) -> Condition | None:
    """The comparison that the expression itself makes."""
    from engine.core.rules import compile_rule

    try:
        # The expression alone: everything else is checked with better places.
        rule = compile_rule(name, values["expr"], annotations=templates, external_labels=external_labels)
    except RuleError as error:
        _foreign((*path, "expr"), error.message, error.hint, "not an expression", converter)
        return None
    return rule.levels[0].when


def _foreign(path: KeyPath, message: str, hint: str, vague: str, converter: Converter) -> None:
    """Report another module's message, which may quote the value: not if that is from the environment."""
    if path in converter.from_environment:
        converter.report.error(path, f"{vague}, with the values from the environment put in")
        return
    if not hint:
        message, _, hint = message.partition("; ")
    converter.report.error(path, clean(message, 300), clean(hint, 200))
