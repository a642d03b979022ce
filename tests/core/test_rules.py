"""Rules: compiled, checked, frozen; their identity and their alerts' labels."""

import math

import pytest

from engine.core.rules import HOLD_MAX_MS, Rule, compile_rule
from engine.errors import RuleError
from engine.templates import compile_template


def test_defaults() -> None:
    rule = compile_rule("R", "a > 1")
    assert (rule.for_ms, rule.keep_firing_for_ms, rule.on_missing, rule.hold_max_ms) == (0, 0, "hold", HOLD_MAX_MS)
    assert HOLD_MAX_MS == 24 * 3_600_000
    with pytest.raises(AttributeError):
        rule.for_ms = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("expr", "options", "says"),
    [
        ("histogram_count(a) > 1", {}, "function histogram_count() is not supported"),
        ("time()", {}, "the expression is a number, not a vector"),
        ("a >", {}, "could not parse expression"),
        ("a > 1", {"labels": {"alertname": "x"}}, "the label alertname is the rule's name"),
        ("a > 1", {"labels": {"__name__": "x"}}, '"__name__" is not a label name'),
        ("a > 1", {"labels": {"a.b": "x"}}, '"a.b" is not a label name'),
        ("a > 1", {"labels": {"": "x"}}, '"" is not a label name'),
        ("a > 1", {"labels": {"s": "{{ $value }}"}}, 'a template in label "s" is not supported'),
        ("a > 1", {"for_ms": -1}, "a duration is negative"),
        ("a > 1", {"keep_firing_for_ms": -1}, "a duration is negative"),
        ("a > 1", {"hold_max_ms": -1}, "a duration is negative"),
    ],
)
def test_refusals_name_the_rule(expr: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(RuleError) as refused:
        compile_rule("HighCpu", expr, **options)  # type: ignore[arg-type]
    assert refused.value.rule == "HighCpu"
    assert says in refused.value.message
    assert str(refused.value).startswith('rule "HighCpu": ')


def test_the_hint_of_the_expression_is_kept() -> None:
    with pytest.raises(RuleError) as refused:
        compile_rule("R", "1 + 1")
    assert "host_cpu_percent > 90" in refused.value.hint


def test_an_alert_has_the_series_labels_the_rules_and_its_name() -> None:
    rule = compile_rule("R", "a > 1", labels={"severity": "critical", "instance": "all", "gone": ""})
    labels = rule.alert_labels({"instance": "web-1", "job": "node", "gone": "x", "alertname": "y"})
    assert labels == {"instance": "all", "job": "node", "severity": "critical", "alertname": "R"}


def test_the_key_survives_edits_of_the_expression_and_tells_rules_apart() -> None:
    def key(name: str, expr: str = "a > 1", **labels: str) -> str:
        return compile_rule(name, expr, labels=labels).key

    assert key("R", "a > 1", s="1", t="2") == key("R", "b > 2", t="2", s="1")
    keys = {
        key("R"),
        key("S"),
        key("R", s="1"),
        key("R", s="2"),
        key("R", t="1"),
        key("R", s="1", t="2"),
        key("Rs", t="1"),
    }
    assert len(keys) == 7


def test_annotations_are_rendered_with_labels_value_and_the_engines_own() -> None:
    rule: Rule = compile_rule(
        "R",
        "a > 1",
        annotations={"summary": compile_template("{{ $labels.instance }} {{ $value }} {{ $externalLabels.env }}")},
        external_labels={"env": "prod"},
    )
    assert rule.describe({"instance": "web-1"}, 5.0) == {"summary": "web-1 5 prod"}
    assert rule.describe({}, math.nan) == {"summary": " NaN prod"}
