"""Rule files: what is read, and every error with its place (F76); held against promtool where it is installed."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, Problem
from engine.rulefiles import RuleFile, load_rule_files, read_rule_file
from engine.rulefiles.read import parse_rule_file

PROMTOOL = shutil.which("promtool")

WHOLE = """\
groups:
- name: host
  interval: 15s
  query_offset: 1m
  limit: 10
  labels:
    team: infra
  rules:
  - record: instance:cpu:ratio
    expr: 1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m]))
    labels: {source: rules, team: own}
  - alert: HighCpu
    expr: |
      instance:cpu:ratio
        > 0.9
    for: 2m
    keep_firing_for: 1h30m
    labels:
      severity: critical
      level: 1
      on: true
      empty:
    annotations:
      summary: 'CPU {{ $value | humanizePercentage }} on {{ $labels.instance }}'
- name: empty
  rules: []
"""


def parse(text: str, check: Callable[[str], object] = promql_parser.parse) -> tuple[RuleFile | None, list[Problem]]:
    return parse_rule_file(text.encode(), "r.yml", check)


def test_everything_a_file_says() -> None:
    file, problems = parse(WHOLE)
    assert problems == []
    assert file is not None
    assert (file.path, file.rules_count, [group.name for group in file.groups]) == ("r.yml", 2, ["host", "empty"])
    group = file.groups[0]
    assert (group.interval_ms, group.query_offset_ms, group.limit) == (15_000, 60_000, 10)
    assert (group.labels, group.line) == ({"team": "infra"}, 2)
    record, alert = group.rules
    assert (record.kind, record.name, record.line, record.column) == ("record", "instance:cpu:ratio", 9, 5)
    assert group.labels_of(record) == {"team": "own", "source": "rules"}
    assert (alert.kind, alert.name, alert.line) == ("alert", "HighCpu", 12)
    assert alert.expr == "instance:cpu:ratio\n  > 0.9\n"
    assert (alert.for_ms, alert.keep_firing_for_ms) == (120_000, 5_400_000)
    assert alert.labels == {"severity": "critical", "level": "1", "on": "true", "empty": ""}
    assert group.labels_of(alert)["team"] == "infra"
    assert list(alert.annotations) == ["summary"]
    assert file.groups[1].interval_ms is None
    assert file.groups[1].query_offset_ms is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "groups:\n", "groups: []\n", "{}"])
def test_a_file_without_rules(text: str) -> None:
    assert parse(text) == (RuleFile(path="r.yml"), [])


def rule(*lines: str) -> str:
    return "groups:\n- name: g\n  rules:\n  - " + "\n    ".join(lines) + "\n"


# What stands in the file, the line of the first problem, and how it reads.
BAD: list[tuple[str, int, str]] = [
    ("groups:\n- rules: []\n", 2, "Groupname must not be empty"),
    ("groups:\n- name: g\n- name: g\n", 3, 'groupname: "g" is repeated in the same file (it is on line 2, too)'),
    ("grops: []\n", 1, 'field grops not found (did you mean "groups"?)'),
    ("- a\n", 1, "expected fields, got a list"),
    ("groups: x\n", 1, 'field groups: expected a list, got the text "x"'),
    ("groups:\n- name: g\n  intervall: 1m\n", 3, 'group "g": field intervall not found (did you mean "interval"?)'),
    ("groups:\n- name: g\n  interval: 5\n", 3, 'group "g": field interval: "5" has no unit (write "5s", "5m" or "5h")'),
    ("groups:\n- name: g\n  limit: many\n", 3, 'group "g": field limit: expected a whole number, got "many"'),
    ("groups:\n- name: g\n  limit: '5'\n", 3, 'group "g": field limit: expected a whole number, got "5"'),
    ("groups:\n- name: g\n  query_offset: -1m\n", 3, 'group "g": field query_offset: "-1m" is not a duration'),
    ("groups:\n- name: g\n  labels: {__name__: x}\n", 3, 'group "g": invalid label name: __name__'),
    ("groups:\n- name: [g]\n", 2, "field name: expected text, got a list"),
    (rule("expr: up"), 4, "group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set"),
    (rule("alert: A", "record: b", "expr: up"), 5, "only one of 'record' and 'alert' must be set"),
    (rule("alert: A"), 4, 'group "g", rule 1, "A": field \'expr\' must be set in rule'),
    (rule("alert: A", "expr: ''"), 5, "field 'expr' must be set in rule"),
    (rule("alert: A", "expr: rate(up)"), 5, 'group "g", rule 1, "A": could not parse expression: '),
    (rule("alert: A", "expr: up", "fro: 5m"), 6, 'group "g", rule 1, "A": field fro not found (did you mean "for"?)'),
    (rule("alert: A", "expr: up", "annotation: {}"), 6, 'field annotation not found (did you mean "annotations"?)'),
    (rule("alert: A", "expr: up", "for: 5"), 6, 'field for: "5" has no unit'),
    (rule("alert: A", "expr: up", "for: [1m]"), 6, "field for: expected text, got a list"),
    (rule("alert: A", "expr: up", "labels: [a]"), 6, "field labels: expected names and texts, got a list"),
    (rule("alert: A", "expr: up", "labels: {a: [b]}"), 6, "field labels: a: expected text, got a list"),
    (rule("alert: A", "expr: up", "labels: {'': b}"), 6, "invalid label name: it is empty"),
    (rule("alert: A", "expr: up", "labels: {__name__: b}"), 6, "invalid label name: __name__"),
    (rule("alert: A", "expr: up", "annotations: {'': b}"), 6, "invalid annotation name: it is empty"),
    (rule("alert: A", "expr: up", "annotations: {s: '{{ $label.x }}'}"), 6, 'annotation "s": template: 1:4: undefined'),
    (rule("alert: A", "expr: up", "labels: {s: '{{ nope }}'}"), 6, 'label "s": template: 1:4: function "nope" not def'),
    (
        rule("alert: A", "expr: up", "annotations: {s: '{{$value * 2}}'}"),
        6,
        'annotation "s": template: 1:10: unexpected',
    ),
    (rule("record: a", "expr: up", "for: 5m"), 6, "invalid field 'for' in recording rule"),
    (rule("record: a", "expr: up", "keep_firing_for: 5m"), 6, "invalid field 'keep_firing_for' in recording rule"),
    (rule("record: a", "expr: up", "annotations: {a: b}"), 6, "invalid field 'annotations' in recording rule"),
    (rule("record: 'a{b=\"c\"}'", "expr: up"), 4, "braces present in the recording rule name; should it be in expr?"),
    (rule("alert: A", "alert: B", "expr: up"), 5, 'mapping key "alert" already defined at line 4'),
    ("groups: [\n", 2, "not YAML: "),
]


@pytest.mark.parametrize(("text", "line", "says"), BAD)
def test_refused_with_its_place(text: str, line: int, says: str) -> None:
    file, problems = parse(text)
    assert file is None
    assert problems[0].line == line
    assert says in str(problems[0]).removeprefix(f"r.yml:{line}: ")


def test_all_errors_at_once_and_in_order() -> None:
    """One round with the operator, not one for each error."""
    text = rule("alert: A", "expr: rate(", "for: x", "labels: {__name__: a}", "annotations: {s: '{{ nope }}'}")
    text += "  - record: b\n    expr: up\n    for: 1m\n- name: g\n  x: 1\n"
    _, problems = parse(text)
    assert [problem.line for problem in problems] == [5, 6, 7, 8, 11, 12, 13]
    assert {problem.address for problem in problems[:4]} == {'group "g", rule 1, "A"'}
    assert problems[4].address == 'group "g", rule 2, "b"'


def test_problems_are_bounded() -> None:
    _, problems = parse("groups:\n- name: g\n  rules:\n" + "  - alert: A\n" * 1_000)
    assert len(problems) == 201
    assert problems[-1].message == "800 more problems are not shown"


def test_the_check_of_expressions_is_the_callers() -> None:
    class Refused(ValueError):
        hint = "write another"

    def check(expr: str) -> None:
        raise Refused(f"not {expr}")

    _, problems = parse(rule("alert: A", "expr: up"), check)
    assert str(problems[0]) == ('r.yml:5: group "g", rule 1, "A": could not parse expression: not up (write another)')


def test_names_may_be_any_text_as_in_prometheus_3() -> None:
    file, problems = parse(rule("record: 'Straße.λ'", "expr: up", "labels: {'my.label': x}"))
    assert problems == []
    assert file is not None
    assert file.groups[0].rules[0].name == "Straße.λ"


def test_anchors_of_operators() -> None:
    text = (
        "groups:\n- name: g\n  rules:\n  - &base\n    alert: A\n    expr: up\n    labels: &l {team: x}\n"
        "  - <<: *base\n    expr: up > 1\n    labels: {<<: *l, severity: page}\n"
    )
    file, problems = parse(text)
    assert problems == []
    assert file is not None
    second = file.groups[0].rules[1]
    assert (second.name, second.expr, second.labels) == ("A", "up > 1", {"severity": "page", "team": "x"})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "no.yml", "there is no such file"), (tmp_path, "it is a directory")):
        file, problems = read_rule_file(path, promql_parser.parse)
        assert file is None
        assert problems[0].message == f"can't read the rule file: {says}"


def test_files_in_the_order_of_their_patterns(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yml", "c.txt", ".hidden.yml"):
        (tmp_path / name).write_text(rule(f"alert: {name[0]}x", "expr: up"))
    files = load_rule_files(["b.yml", "*.yml", "no*.yml"], tmp_path, promql_parser.parse)
    assert [Path(file.path).name for file in files] == ["b.yml", ".hidden.yml", "a.yml"]


def test_a_file_has_the_same_name_wherever_the_engine_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is part of the identity of its rules."""
    folder = tmp_path / "conf"
    (folder / "rules").mkdir(parents=True)
    for path in (folder / "rules" / "a.yml", tmp_path / "b.yml"):
        path.write_text(rule("alert: A", "expr: up"))
    patterns = ["rules/*.yml", "../b.yml"]
    names = ["rules/a.yml", "../b.yml"]
    assert [file.name for file in load_rule_files(patterns, folder, promql_parser.parse)] == names
    monkeypatch.chdir(folder)
    assert [file.name for file in load_rule_files(patterns, Path(), promql_parser.parse)] == names
    monkeypatch.chdir("/")
    (file,) = load_rule_files([str(folder / "rules" / "a.yml")], folder, promql_parser.parse)
    assert file.name == "rules/a.yml"
    (file,) = load_rule_files([str(tmp_path / "b.yml")], folder, promql_parser.parse)
    assert file.name == str(tmp_path / "b.yml")


def test_every_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("x: 1\n")
    (tmp_path / "b.yml").write_text("y: 1\n")
    with pytest.raises(ConfigError) as refused:
        load_rule_files(["*.yml", "missing.yml"], tmp_path, promql_parser.parse)
    assert [problem.message for problem in refused.value.problems] == [
        "there is no such rule file",
        "field x not found",
        "field y not found",
    ]


def test_a_thousand_rules_are_read_quickly() -> None:
    """Work, not time: each template and expression is looked at once."""
    seen: list[str] = []
    one = "  - alert: A{n}\n    expr: up{{n=\"{n}\"}} > 1\n    annotations: {{s: '{{{{ $value }}}} {n}'}}\n"
    text = "groups:\n- name: g\n  rules:\n" + "".join(one.format(n=n) for n in range(1_000))
    file, problems = parse(text, seen.append)
    assert problems == []
    assert file is not None
    assert file.rules_count == len(seen) == len(set(seen)) == 1_000


@given(st.text("groups:name -rulealtxp\n[]{}&*'1", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    file, problems = parse("groups:\n- name: g\n  rules:\n  - " + text)
    assert (file is None) == bool(problems)


GOOD = [
    WHOLE.replace("  query_offset: 1m\n", "").replace("  labels:\n    team: infra\n", ""),
    "",
    "groups: []\n",
    rule("record: a:b", "expr: 1"),
    rule("alert: A", "expr: up", "for: 0", "labels: {a: 1, b: true, c: 1.5, d: null}"),
    rule(
        "alert: A b",
        "expr: up",
        "annotations: {x: |\n      a\n      b\n    }".replace("|\n      a\n      b\n    ", "y"),
    ),
]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_agrees_on_what_is_a_rule_file(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    # What 2.42 can't know or sees differently: newer fields, and names in any alphabet.
    newer = ("query_offset", "braces present", "labels: {__name__: x}")
    texts = [(text, False) for text, _, says in BAD if not any(word in text + says for word in newer)]
    texts += [(text, True) for text in GOOD]
    for number, (text, good) in enumerate(texts):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        done = subprocess.run(
            [PROMTOOL, "check", "rules", path.name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode == 0) == good, (text, done.stdout + done.stderr)
        file, problems = parse(text)
        assert (file is not None) == good, (text, problems)


def test_strings_of_json_are_yaml() -> None:
    text = json.dumps({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up\n", "for": "5m"}]}]})
    file, problems = parse(text)
    assert problems == []
    assert file is not None
    assert file.groups[0].rules[0].for_ms == 300_000
