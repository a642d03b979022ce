"""promtool's unit-test files, and the longer form."""

from pathlib import Path

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Problem
from engine.ruletests import ExpectedAlert, RuleTestFile, parse_test_file, read_test_file

WHOLE = """\
rule_files: [rules/*.yml, other.yml]
evaluation_interval: 15s
fuzzy_compare: true
group_eval_order: [b, a]
tests:
- name: first
  interval: 1m
  start_timestamp: 2020-01-01T00:00:00Z
  input_series:
  - series: up{job="a"}
    values: 0+0.6x20 _x2 stale 1x10000000
  alert_rule_test:
  - eval_time: 5m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, n: 1}
      exp_annotations: {summary: it is down}
    - {exp_labels: {x: y}, state: pending}
  - {eval_time: 0, alertname: Down}
  - {eval_time: 1h, alertname: Down, states: [firing, keep_firing, resolved]}
  promql_expr_test:
  - expr: up
    eval_time: 2m
    exp_samples:
    - {labels: 'up{job="a"}', value: 1.2e1}
    - {labels: '{}', value: .nan}
  external_labels: {env: prod}
  external_url: https://prom.example
- start_timestamp: 1600000000.5
"""


def parse(text: str) -> tuple[RuleTestFile | None, list[Problem]]:
    return parse_test_file(text.encode(), "t.yml", Path("/x"), promql_parser.parse)


def test_everything_a_file_says() -> None:
    file, problems = parse(WHOLE)
    assert problems == []
    assert file is not None
    assert (file.rule_files, file.folder) == (("rules/*.yml", "other.yml"), Path("/x"))
    assert (file.evaluation_interval_ms, file.fuzzy_compare, file.group_eval_order) == (15_000, True, ("b", "a"))
    first, second = file.tests
    assert (first.name, first.interval_ms, first.start_ms) == ("first", 60_000, 1_577_836_800_000)
    assert [(one.series, one.values) for one in first.series] == [('up{job="a"}', "0+0.6x20 _x2 stale 1x10000000")]
    down, nothing, later = first.alert_rule_tests
    assert (down.eval_time_ms, down.alertname, down.states) == (300_000, "Down", ("pending", "firing"))
    assert down.alerts == (
        ExpectedAlert(labels={"severity": "page", "n": "1"}, annotations={"summary": "it is down"}, line=16),
        ExpectedAlert(labels={"x": "y"}, state="pending", line=18),
    )
    assert (nothing.alerts, nothing.states) == ((), ("firing",))
    assert later.states == ("firing", "keep_firing", "resolved")
    (expr,) = first.promql_expr_tests
    assert (expr.expr, expr.eval_time_ms, expr.samples[0].value) == ("up", 120_000, 12.0)
    assert expr.samples[1].value != expr.samples[1].value  # NaN
    assert (first.external_labels, first.external_url) == ({"env": "prod"}, "https://prom.example")
    assert first.end_ms == 3_600_000
    assert (second.interval_ms, second.start_ms, second.end_ms) == (15_000, 1_600_000_000_500, 0)


def test_defaults() -> None:
    file, problems = parse("tests:\n- {}\n")
    assert problems == []
    assert file is not None
    assert (file.evaluation_interval_ms, file.tests[0].interval_ms) == (60_000, 60_000)


def test_states_looked_at_may_be_fewer_than_those_there_are() -> None:
    file, _ = parse("tests:\n- alert_rule_test:\n  - {alertname: A, states: [pending]}\n")
    assert file is not None
    assert file.tests[0].alert_rule_tests[0].states == ("pending",)


def one_test(*lines: str) -> str:
    return "tests:\n- " + "\n  ".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("rule_file: []\n", 1, 'field rule_file not found (did you mean "rule_files"?)'),
        ("group_eval_order: [a, b, a]\n", 1, "group name repeated in evaluation order: a"),
        ("fuzzy_compare: maybe\n", 1, 'field fuzzy_compare: expected true or false, got "maybe"'),
        ("evaluation_interval: 1\n", 1, 'field evaluation_interval: "1" has no unit'),
        (
            one_test("alert_rule_tests: []"),
            2,
            'test 1: field alert_rule_tests not found (did you mean "alert_rule_test"',
        ),
        (
            one_test("name: n", "alert_rule_test:", "- {eval_time: 5m}"),
            4,
            "misses required attribute alertname at eval_time 5m",
        ),
        (
            one_test("alert_rule_test: [{alertname: A, exp_alerts: [{state: dead}]}]"),
            2,
            '"dead" is no state (known: pending',
        ),
        (one_test("alert_rule_test: [{alertname: A, states: [inactive]}]"), 2, '"inactive" is no state'),
        (one_test("input_series:", "- {series: 'up{', values: 1}"), 3, 'test 1, series "up{": "up{" is not a series'),
        (one_test("input_series:", "- series: up", "  values: 1 x"), 4, '"x" is not a value'),
        (
            one_test("input_series:", "- series: up", "  values: '{{schema:1}}'"),
            4,
            "is a native histogram, which is not",
        ),
        (one_test("promql_expr_test: [{eval_time: 1m}]"), 2, "test 1, expr at 1m: field 'expr' must be set"),
        (one_test("promql_expr_test: [{expr: 'sum('}]"), 2, "test 1, expr at 0s: "),
        (one_test("promql_expr_test: [{expr: up, exp_samples: [{labels: 'a{', value: 1}]}]"), 2, "is not a series"),
        (
            one_test("promql_expr_test: [{expr: up, exp_samples: [{value: x}]}]"),
            2,
            'field value: expected a number, got "x"',
        ),
        (
            one_test("promql_expr_test: [{expr: up, exp_samples: [{histogram: '{{}}'}]}]"),
            2,
            "native histograms are not",
        ),
        (one_test("start_timestamp: yesterday"), 2, 'field start_timestamp: expected a number, got "yesterday"'),
        (one_test("start_timestamp: 2020-13-01T00:00:00Z"), 2, '"2020-13-01T00:00:00Z" is not a time'),
        (one_test("start_timestamp: 1e300"), 2, "field start_timestamp: out of range"),
        (one_test("start_timestamp: .nan"), 2, "field start_timestamp: out of range"),
        ("a: [\n", 2, "not YAML: "),
    ],
)
def test_refused_with_its_place(text: str, line: int, says: str) -> None:
    file, problems = parse(text)
    assert file is None
    assert problems[0].line == line
    assert says in str(problems[0])


def test_all_errors_at_once() -> None:
    _, problems = parse("x: 1\ntests:\n- y: 1\n  interval: z\n- input_series: 5\n")
    assert [problem.line for problem in problems] == [1, 3, 4, 5]


def test_a_missing_file(tmp_path: Path) -> None:
    file, problems = read_test_file(tmp_path / "no.yml", promql_parser.parse)
    assert file is None
    assert problems[0].message == "can't read the tests: there is no such file"


@given(st.text("tesalrmxp_: -\n[]{}'1m", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    file, problems = parse("tests:\n- " + text)
    assert (file is None) == bool(problems)
