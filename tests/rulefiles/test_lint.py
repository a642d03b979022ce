"""Warnings of `check`: what loads and was probably not meant."""

import promql_parser
import pytest

from engine.rulefiles import lint_rule_file
from engine.rulefiles.metrics import metrics_of
from engine.rulefiles.read import parse_rule_file


def warnings(rules: str, head: str = "", **options: object) -> list[str]:
    text = f"groups:\n- name: g\n{head}  rules:\n{rules}"
    file, problems = parse_rule_file(text.encode(), "r.yml", promql_parser.parse)
    assert problems == []
    assert file is not None
    return [str(warning) for warning in lint_rule_file(file, **options)]  # type: ignore[arg-type]


TWO = "  - {alert: A, expr: up, labels: {s: a}}\n  - {alert: A, expr: down, labels: {s: %s}}\n"


def test_duplicates() -> None:
    assert warnings(TWO % "b") == []
    assert warnings(TWO % "a") == [
        (
            'r.yml:5: group "g", rule 2, "A": the same alert with the same labels is on line 4 '
            "(a label of one would tell them apart)"
        )
    ]
    recorded = "  - {record: a, expr: up}\n- name: h\n  rules:\n  - {record: a, expr: up}\n"
    assert warnings(recorded) == [
        (
            'r.yml:7: group "h", rule 1, "a": the same record with the same labels is on line 4, in group "g" '
            "(they write the same series)"
        )
    ]


def test_labels_of_groups_tell_rules_apart() -> None:
    rules = "  - {alert: A, expr: up}\n- name: h\n  labels: {x: y}\n  rules:\n  - {alert: A, expr: up}\n"
    assert warnings(rules) == []


@pytest.mark.parametrize(("head", "count"), [("", 1), ("  interval: 15s\n", 0), ("  interval: 1h\n", 1)])
def test_for_shorter_than_the_interval(head: str, count: int) -> None:
    found = warnings("  - {alert: A, expr: up, for: 30s}\n  - {alert: B, expr: up}\n", head)
    assert len(found) == count
    assert all("for 30s is shorter than the group's interval" in text for text in found)


def test_metrics_nobody_measures() -> None:
    rules = (
        "  - {alert: A, expr: 'rate(host_cpu_percnt[5m]) > on() group_left() up'}\n"
        "  - {record: 'b', expr: 'host_cpu_percent'}\n"
        "  - {alert: C, expr: 'b > 1 and longwatch_x and ALERTS'}\n"
        "  - {alert: D, expr: 'w + x + y + z + elsewhere'}\n"
        "  - {alert: E, expr: '{__name__=~\"x.*\"}'}\n"
    )
    assert warnings(rules) == []
    assert warnings(rules, provided={"host_cpu_percent"}, recorded=("elsewhere",)) == [
        'r.yml:4: group "g", rule 1, "A": no probe here measures "host_cpu_percnt" (did you mean "host_cpu_percent"?)',
        'r.yml:7: group "g", rule 4, "D": no probe here measures "w", "x", "y" and 1 more',
    ]


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("a", {"a"}),
        ("sum by (x) (rate(a[5m])) / (b offset 1h)", {"a", "b"}),
        ("max_over_time(rate(a[5m])[1h:1m]) > bool -b", {"a", "b"}),
        ("topk(scalar(k), a)", {"a", "k"}),
        ('{__name__="a", x="y"}', {"a"}),
        ('{__name__=~"a"}', None),
        ('{x="y"}', None),
        ("1 + time()", set()),
        ("sum(", None),
    ],
)
def test_which_metrics_an_expression_reads(expr: str, names: set[str] | None) -> None:
    assert metrics_of(expr) == names
