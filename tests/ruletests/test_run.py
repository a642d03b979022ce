"""Files of rule tests, run: promtool's form and the longer one."""

import io
from pathlib import Path

import pytest

from engine.ruletests.run import run_tests

RULES = """\
groups:
- name: g
  rules:
  - alert: High
    expr: x > 5
    for: 2m
    keep_firing_for: 3m
    labels: {severity: '{{ if gt $value 8.0 }}critical{{ else }}warning{{ end }}'}
    annotations: {at: 'is {{ $value }}'}
"""
# Pending from 1m, firing from 3m, its condition ends at 6m, kept until 9m, remembered until 24m.
LIFE = """\
rule_files: [rules.yml]
tests:
- name: life
  interval: 1m
  input_series: [{series: 'x{a="1"}', values: '0 6 6 7 7 7 0x90'}]
  alert_rule_test:
"""


def run(tmp_path: Path, tests: str, rules: str = RULES) -> tuple[int, str]:
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    (tmp_path / "tests.yml").write_text(tests, encoding="utf-8")
    told = io.StringIO()
    return run_tests([tmp_path / "tests.yml"], told), told.getvalue()


def life(tmp_path: Path, time: str, expected: str, states: str = "") -> tuple[int, str]:
    more = f", states: [{states}]" if states else ""
    return run(tmp_path, f"{LIFE}  - {{eval_time: {time}, alertname: High, exp_alerts: [{expected}]{more}}}\n")


def alert(state: str = "", at: str = "7", severity: str = "warning") -> str:
    stated = f", state: {state}" if state else ""
    return f"{{exp_labels: {{a: 1, severity: {severity}}}, exp_annotations: {{at: is {at}}}{stated}}}"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("0", ""),
        ("1m", alert("pending", "6")),
        ("2m59s", alert("pending", "6")),
        ("3m", alert("firing")),
        ("6m", alert("keep_firing")),
        ("8m", alert("keep_firing")),
        ("9m", alert("resolved")),
        ("24m", alert("resolved")),
        ("25m", ""),
    ],
)
def test_the_longer_form_sees_every_state(tmp_path: Path, time: str, expected: str) -> None:
    code, text = life(tmp_path, time, expected, "pending, firing, keep_firing, resolved")
    assert code == 0, text


@pytest.mark.parametrize(("time", "expected"), [("2m", ""), ("3m", alert()), ("8m", alert()), ("9m", "")])
def test_promtools_form_sees_what_fires(tmp_path: Path, time: str, expected: str) -> None:
    code, text = life(tmp_path, time, expected)
    assert code == 0, text


@pytest.mark.parametrize(
    ("time", "expected", "states", "shows"),
    [
        ("2m", alert("firing", "6"), "pending, firing", ["! state", "firing", "pending"]),
        ("4m", alert("firing", severity="critical"), "", ["! label severity", "critical", "warning"]),
        ("4m", "", "firing", ["there, and not expected:", "is 7"]),
        ("7m", alert("firing"), "firing, keep_firing", ["! state", "keep_firing"]),
        ("5m", alert("resolved"), "", ["! state", "resolved", "firing"]),
        ("5m", f"{alert()}, {alert(severity='none')}", "", ["as expected: 1", "expected, and not there:", "none"]),
        ("4m", alert(at="8"), "", ["! annotation at", "is 8", "is 7"]),
    ],
)
def test_what_is_otherwise_is_shown(tmp_path: Path, time: str, expected: str, states: str, shows: list[str]) -> None:
    code, text = life(tmp_path, time, expected, states)
    assert code == 1
    assert f"    name: life,\n    alertname: High, group: g, time: {time}, line: 7" in text
    assert [part for part in shows if part not in text] == []


def test_a_resolved_alert_that_is_back_is_not_resolved(tmp_path: Path) -> None:
    code, text = run(
        tmp_path,
        LIFE.replace("0x90", "0x5 9x90")
        + "  - {eval_time: 13m, alertname: High, exp_alerts: [{exp_labels: {a: 1, severity: critical}, "
        "exp_annotations: {at: is 9}, state: pending}], states: [resolved]}\n",
    )
    assert "resolved" in text  # severity is a label: the warning is resolved, and a critical one is pending
    assert code == 1


@pytest.mark.parametrize("fuzzy", [True, False])
def test_fuzzy_compare_forgives_the_last_bit(tmp_path: Path, fuzzy: bool) -> None:
    values = "[{expr: 0.1 + 0.2, exp_samples: [{value: 0.3}]}, {expr: '0.1 * 3', exp_samples: [{value: 0.3}]}]"
    code, text = run(tmp_path, f"fuzzy_compare: {str(fuzzy).lower()}\ntests: [{{promql_expr_test: {values}}}]\n")
    assert code == (0 if fuzzy else 1), text
    values = "[{expr: '1', exp_samples: [{value: 1.000001}]}]"
    code, _ = run(tmp_path, f"fuzzy_compare: {str(fuzzy).lower()}\ntests: [{{promql_expr_test: {values}}}]\n")
    assert code == 1


def test_a_test_may_start_at_any_time(tmp_path: Path) -> None:
    code, text = run(
        tmp_path,
        "evaluation_interval: 45s\nrule_files: [rules.yml]\ntests:\n- start_timestamp: 2026-01-01T00:00:07Z\n"
        "  interval: 45s\n  input_series: [{series: x, values: 9x9}]\n  promql_expr_test:\n"
        "  - {expr: time(), eval_time: 1m, exp_samples: [{value: 1767225667}]}\n"
        "  - {expr: 'timestamp(x)', eval_time: 1m40s, exp_samples: [{labels: '{}', value: 1767225697}]}\n"
        "  - {expr: 'timestamp(seen)', eval_time: 1m40s, exp_samples: [{labels: '{}', value: 1767225697}]}\n",
        "groups: [{name: g, interval: 1h, rules: [{record: seen, expr: x}]}]\n",
    )
    assert code == 0, text


def test_a_subquery_without_a_step_takes_the_evaluation_interval(tmp_path: Path) -> None:
    code, text = run(
        tmp_path,
        "evaluation_interval: 30s\nrule_files: [rules.yml]\ntests:\n- input_series: [{series: x, values: 1x99}]\n"
        "  promql_expr_test:\n"
        "  - {expr: 'count_over_time(x[2m:])', eval_time: 5m, exp_samples: [{labels: '{}', value: 4}]}\n"
        "  - {expr: seen, eval_time: 5m, exp_samples: [{labels: seen, value: 4}]}\n",
        "groups: [{name: g, rules: [{record: seen, expr: 'count_over_time(x[2m:])'}]}]\n",
    )
    assert code == 0, text


def test_groups_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    rules = "groups:\n- {name: late, rules: [{record: b, expr: a}]}\n- {name: early, rules: [{record: a, expr: x}]}\n"
    tests = (
        "rule_files: [rules.yml]\ngroup_eval_order: [%s]\ntests:\n- interval: 1m\n"
        "  input_series: [{series: x, values: 0+1x9}]\n"
        "  promql_expr_test: [{expr: b, eval_time: 3m, exp_samples: [{labels: b, value: 3}]}]\n"
    )
    assert run(tmp_path, tests % "early, late", rules)[0] == 0
    assert run(tmp_path, tests % "late, early", rules)[0] == 1
    code, text = run(tmp_path, tests % "early, late, lost", rules)
    assert code == 0
    assert 'WARNING: group_eval_order: no group in the rule files is called "lost"' in text


def test_a_name_that_nobody_has_is_warned_of(tmp_path: Path) -> None:
    """Such a test could never fail."""
    code, text = run(tmp_path, LIFE + "  - {eval_time: 1m, alertname: Hihg, exp_alerts: []}\n")
    assert code == 0
    assert 'WARNING: line 7: no alert in the rule files is called "Hihg"' in text


def test_every_problem_of_every_file_at_once(tmp_path: Path) -> None:
    code, text = run(tmp_path, LIFE, RULES.replace("expr: x > 5", "expr: x >").replace("for: 2m", "fro: 2m"))
    assert code == 2
    assert text.count("rules.yml:5:") == 1
    assert text.count("rules.yml:6:") == 1
    code, text = run(tmp_path, LIFE.replace("tests:", "test:").replace("rule_files", "rule_file"))
    assert code == 2
    assert text.count("tests.yml:") >= 2


def test_the_worst_of_several_files_is_the_outcome(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text("tests: []\n")
    (tmp_path / "bad.yml").write_text("tests: [{promql_expr_test: [{expr: '1', exp_samples: [{value: 2}]}]}]\n")
    told = io.StringIO()
    assert run_tests([tmp_path / "bad.yml", tmp_path / "good.yml"], told) == 1
    assert (told.getvalue().count("FAILED"), told.getvalue().count("SUCCESS")) == (1, 1)
    assert run_tests([tmp_path / "bad.yml", tmp_path / "none.yml", tmp_path / "good.yml"], told) == 2


def test_a_string_is_no_answer(tmp_path: Path) -> None:
    code, text = run(tmp_path, "tests: [{promql_expr_test: [{expr: '\"text\"'}]}]\n")
    assert (code, "gives a string" in text) == (1, True)


def test_how_far_a_long_test_is(tmp_path: Path) -> None:
    (tmp_path / "tests.yml").write_text(
        "tests: [{promql_expr_test: [{expr: time(), eval_time: 1d, exp_samples: [{value: 86400}]}]}]\n"
    )
    told: list[str] = []
    assert run_tests([tmp_path / "tests.yml"], io.StringIO(), progress=told.append) == 0
    shares = [int(text.split()[-2]) for text in told if text]
    assert shares == list(range(101))
    assert "tests.yml: test 1 of 1: 50 %" in told[51]
