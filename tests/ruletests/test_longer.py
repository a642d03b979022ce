"""The longer form at work: rules of a run.toml, exact transitions, what nobody saw, restarts."""

import io
import textwrap
from pathlib import Path

import pytest

from engine.ruletests.run import run_tests

CONFIG = """\
[engine]
external_labels = {env = "prod"}
[probe.http]
url = "${NOWHERE}"
[rule.Hot]
expr = "x > 5"
for = "5m"
annotations = {at = "{{ $value }} in {{ $externalLabels.env }}"}
[rule.Rate]
record = "job:x:sum"
expr = "sum by (job) (x)"
[rule.Much]
expr = "job:x:sum"
levels = [{severity = "warning", when = "> 5", for = "2m"}, {severity = "critical", when = "> 10", for = "2m"}]
[sink.webhook]
url = "${NOWHERE}"
"""
RULES = """\
groups:
- name: g
  rules:
  - {alert: Grid, expr: x > 5, for: 90s}
"""


def run(folder: Path, test: str, rules: str = "config: run.toml") -> tuple[int, str]:
    (folder / "run.toml").write_text(CONFIG, encoding="utf-8")
    (folder / "rules.yml").write_text(RULES, encoding="utf-8")
    body = textwrap.indent(textwrap.dedent(test).strip(), "  ")
    (folder / "t.yml").write_text(f"{rules}\ntests:\n- interval: 1m\n{body}\n", encoding="utf-8")
    told = io.StringIO()
    return run_tests([folder / "t.yml"], told), told.getvalue()


def course(values: str, expected: str, more: str = "", alertname: str = "Hot") -> str:
    return (
        f"input_series: [{{series: x, values: {values}}}]\n{more}\n"
        f"transitions: [{{alertname: {alertname}, exp_transitions: [{expected}]}}]"
    )


PENDING = "{at: 0s, kind: pending, reason: condition}"


@pytest.mark.parametrize(
    ("values", "more", "expected"),
    [
        ("9x10", "", "{at: 5m, kind: firing, reason: held, value: 9}"),
        ("9x10", "until: 4m59s999ms", ""),
        ("9x10", "blind: [{from: 2m, to: 4m}]", "{at: 7m, kind: firing}"),
        ("9x10", "blind: [{from: 2m30s, to: 4m}, {from: 3m, to: 4m30s500ms}]", "{at: 7m500ms, kind: firing}"),
        ("9x10", "blind: [{from: 2m, to: 4m, scope: x}]", "{at: 7m, kind: firing}"),
        ("9x10", "blind: [{from: 2m, to: 4m, scope: '{__name__=\"x\"}'}]", "{at: 7m, kind: firing}"),
        ("9x10", "blind: [{from: 2m, to: 4m, scope: y}]", "{at: 5m, kind: firing}"),
        ("9x10", "blind: [{from: 4m59s, to: 5m1s, scope: x}]", "{at: 5m2s, kind: firing}"),
        ("9x10", "blind: [{from: 5m1ms, to: 7m}]", "{at: 5m, kind: firing}"),
        ("9x10", "restarts: [{at: 2m, down: 2m}]", "{at: 7m, kind: firing}"),
        ("9x10", "restarts: [{at: 2m30s, down: 0s}, {at: 3m, down: 1s}]", "{at: 5m1s, kind: firing}"),
        ("9x75", "restarts: [{at: 2m, down: 61m}]", "{at: 63m, kind: pending}, {at: 68m, kind: firing}"),
        ("9x2 0x2 9x10", "blind: [{from: 2m1s, to: 6m}]", "{at: 8m59s, kind: firing}"),  # nobody saw that it was 0
        ("9x2 0x2 9x10", "restarts: [{at: 2m1s, down: 3m59s}]", "{at: 8m59s, kind: firing}"),
        ("9x2 ended 9x2", "", "{at: 3m, kind: cleared, reason: ended}, {at: 4m, kind: pending}"),
        ("9x2 target_downx1 9x5", "", "{at: 7m, kind: firing}"),
        ("9x2 stale _x6", "", "{at: 3m, kind: cleared, reason: ended}"),
    ],
)
def test_what_comes_of_it(tmp_path: Path, values: str, more: str, expected: str) -> None:
    code, text = run(tmp_path, course(values, f"{PENDING}, {expected}" if expected else PENDING, more))
    assert code == 0, text


def test_alerts_at_an_instant_have_annotations_external_labels_and_levels(tmp_path: Path) -> None:
    code, text = run(
        tmp_path,
        """
        input_series: [{series: 'x{job="a"}', values: 9x4 12x10}]
        alert_rule_test:
        - eval_time: 4m59s999ms
          alertname: Hot
          exp_alerts: [{exp_labels: {job: a}, exp_annotations: {at: 9 in prod}, state: pending}]
        - eval_time: 5m
          alertname: Hot
          exp_alerts: [{exp_labels: {job: a}, exp_annotations: {at: 12 in prod}}]
        - {eval_time: 6m59s999ms, alertname: Much, exp_alerts: [{exp_labels: {job: a, severity: warning}}]}
        - {eval_time: 7m, alertname: Much, exp_alerts: [{exp_labels: {job: a, severity: critical}}]}
        promql_expr_test:
        - {expr: 'job:x:sum', eval_time: 4m30s, exp_samples: [{labels: 'job:x:sum{job="a"}', value: 9}]}
        """,
    )
    assert code == 0, text


def test_rule_files_of_both_kinds_have_their_own_intervals(tmp_path: Path) -> None:
    """Those of the test are evaluated at its `evaluation_interval`, those of the run.toml as they are live."""
    expected = "{at: 0s, kind: pending}, {at: 2m, kind: firing}, {at: 4m, kind: resolved, reason: recovered}"
    rules = "evaluation_interval: 2m\nrule_files: [rules.yml]"
    code, text = run(tmp_path, course("9x2 0x3", expected, alertname="Grid"), rules)
    assert code == 0, text
    (tmp_path / "live.toml").write_text('[engine]\nrule_files = ["rules.yml"]\nevaluation_interval = "15s"\n')
    expected = "{at: 0s, kind: pending}, {at: 90s, kind: firing}, {at: 3m, kind: resolved}"
    rules = "evaluation_interval: 2m\nconfig: live.toml"
    code, text = run(tmp_path, course("9x2 0x3", expected.replace("90s", "1m30s"), alertname="Grid"), rules)
    assert code == 0, text


def test_groups_stand_still_in_a_blind_span_and_come_back_after_a_restart(tmp_path: Path) -> None:
    rules = "evaluation_interval: 30s\nrule_files: [rules.yml]"
    for more in ("blind: [{from: 1m, to: 3m}]", "restarts: [{at: 1m, down: 2m}]"):
        expected = "{at: 0s, kind: pending}, {at: 3m30s, kind: firing}"
        code, text = run(tmp_path, course("9x5", expected, more, "Grid"), rules)
        assert code == 0, text


def test_the_list_is_the_whole_list_of_that_alert_and_of_no_other(tmp_path: Path) -> None:
    assert run(tmp_path, course("9x10", PENDING))[0] == 1
    assert run(tmp_path, course("0x10", ""))[0] == 0
    code, text = run(tmp_path, course("9x10", "", alertname="Typo"))
    assert code == 0
    assert 'WARNING: line 6: no alert in the rule files is called "Typo"' in text


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ("{at: 2m, kind: firing, severity: warning, labels: {job: a}, value: 7}", 0),
        ("{at: 2m, kind: firing, labels: {job: a, severity: warning, alertname: Much}}", 0),
        ("{at: 2m, kind: firing, severity: critical}", 1),
        ("{at: 2m, kind: firing, labels: {}}", 1),
        ("{at: 2m, kind: firing, labels: {job: a, severity: critical}}", 1),
        ("{at: 2m, kind: firing, value: 7.5}", 1),
        ("{at: 2m, kind: firing, flapping: false}", 0),
        ("{at: 2m, kind: firing, flapping: true}", 1),
        ("{at: 2m, kind: firing, reason: level}", 1),
        ("{at: 2m1ms, kind: firing}", 1),
        ("{at: 2m, kind: resolved}", 1),
        ("{at: 2m, kind: firing}, {at: 2m, kind: firing}", 1),
    ],
)
def test_what_is_written_is_compared(tmp_path: Path, expected: str, code: int) -> None:
    test = course("7x5", f"{{at: 0s, kind: pending, labels: {{job: a}}}}, {expected}", alertname="Much")
    got, text = run(tmp_path, test.replace("series: x,", "series: 'x{job=\"a\"}',"))
    assert got == code, text


def test_a_failure_shows_both_sides_by_time(tmp_path: Path) -> None:
    values = "9 0 " * 30
    wanted = [f"{{at: {at}m, kind: {'cleared' if at % 2 else 'pending'}}}" for at in range(60) if at not in (20, 50)]
    code, text = run(tmp_path, course(values, ", ".join([*wanted, "{at: 20m, kind: firing, reason: held}"])))
    assert code == 1
    table = text[text.index("alertname: Hot, run.toml, transitions, line: 6\n") :].splitlines()[1:]
    assert [line.strip() for line in table if line.strip()] == [
        "at        expected     got",
        "...       17 as expected",
        "17m       cleared      cleared",
        "18m       pending      pending",
        "19m       cleared      cleared",
        "! 20m       firing held  pending condition",
        "21m       cleared      cleared",
        "22m       pending      pending",
        "23m       cleared      cleared",
        "...       23 as expected",
        "47m       cleared      cleared",
        "48m       pending      pending",
        "49m       cleared      cleared",
        "! 50m       -            pending condition",
        "51m       cleared      cleared",
        "52m       pending      pending",
        "53m       cleared      cleared",
        "...       6 more, as expected",
    ]


def test_several_label_sets_are_told_apart(tmp_path: Path) -> None:
    test = course("9x3", f"{PENDING}", "").replace("[{series: x,", "[{series: 'x{a=\"2\"}', values: 9x3}, {series: x,")
    code, text = run(tmp_path, test)
    assert code == 1
    assert "! 0s        -                  pending condition {}" in text


def test_a_run_toml_that_can_not_be_used(tmp_path: Path) -> None:
    code, text = run(tmp_path, course("1", ""), "config: none.toml")
    assert code == 2
    assert "none.toml: " in text
    assert "there is no such file" in text
    (tmp_path / "bad.toml").write_text('[rule.A]\nexpr = "x >"\n')
    code, text = run(tmp_path, course("1", ""), "config: bad.toml")
    assert code == 2
    assert "bad.toml:2: rule.A.expr: " in text


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("blind: [{from: 3m}]", ":4: test 1, blind 1: field to is missing (as in { from: 3m, to: 5m })"),
        ("blind: [{from: 3m, to: 3m}]", ":4: test 1, blind 1: field to: it must be later than from"),
        ("blind: [{from: 3m, to: 4m, scope: probe.x}]", ":4: test 1, blind 1: field scope: "),
        ("blind: {from: 3m}", ":4: test 1: field blind: expected a list, got fields"),
        ("restarts: [{down: 3m}]", ":4: test 1, restart 1: field at is missing (as in { at: 10m, down: 2m })"),
        ("restarts: [{at: 3m, for: 1m}]", ":4: test 1, restart 1: field for not found (known: at, down)"),
        (
            "restarts: [{at: 4m, down: 2m}, {at: 3m, down: 1m}]",
            ":4: test 1, restarts: it stops at 4m and was not there since 3m (let it run in between)",
        ),
        (
            "restarts: [{at: 4m, down: 2m}]\nblind: [{from: 3m, to: 5m}]",
            ":4: test 1, restarts: the restart at 4m and a blind span overlap (leave the blind span out: ",
        ),
        ("transitions: [{exp_transitions: []}]", ":4: test 1, transitions 1: field alertname is missing (as in "),
        (
            "transitions: [{alertname: A, exp_transitions: [{kind: firing}]}]",
            ':4: test 1, transitions of "A": field at is missing (as in { at: 5m, kind: firing })',
        ),
        (
            "transitions: [{alertname: A, exp_transitions: [{at: 5m, kind: fire}]}]",
            ':4: test 1, transitions of "A": field kind: "fire" is not known (did you mean "firing"?)',
        ),
        (
            "transitions: [{alertname: A, exp_transitions: [{at: 5m, kind: firing, reason: x}]}]",
            ':4: test 1, transitions of "A": field reason: "x" is not known (known: condition, held, level, ',
        ),
        (
            "until: 4m\ntransitions: [{alertname: A, exp_transitions: [{at: 5m, kind: firing}]}]",
            ':5: test 1, transitions of "A": a transition at 5m, when the test is over (let until be as late, ',
        ),
        ("input_series: [{series: x, values: down}]", "write 1, 1+2x3, 1x3, _, _x3, stale, ended or target_down"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_a_remedy(tmp_path: Path, test: str, says: str) -> None:
    code, text = run(tmp_path, test)
    assert code == 2
    assert says in text


def test_series_for_ever_end_with_the_last_time_that_is_named(tmp_path: Path) -> None:
    code, text = run(tmp_path, course("9x100000000", f"{PENDING}, {{at: 5m, kind: firing}}"))
    assert code == 0, text
