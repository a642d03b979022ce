"""Rule files to what the core evaluates."""

import json

import pytest

from engine.core.groups import rule_keys
from engine.core.promql.plan import QueryPlan
from engine.errors import ConfigError
from engine.rulefiles import RuleDef, RuleFile, RuleGroup
from engine.rulefiles.compile import compiler, grid_groups

ALERT = RuleDef(
    kind="alert",
    name="A",
    expr="x > 1",
    for_ms=60_000,
    keep_firing_for_ms=30_000,
    labels={"severity": "{{ $value }}", "team": "own"},
    annotations={"summary": "on {{ $labels.a }}"},
    line=7,
)
RECORD = RuleDef(kind="record", name="r:x", expr="sum(x)", labels={"how": "{{ as it is }}"}, line=3)


def file(*rules: RuleDef, name: str = "g", **more: object) -> RuleFile:
    group = RuleGroup(name=name, labels={"team": "infra"}, rules=rules, **more)  # type: ignore[arg-type]
    return RuleFile(path="r.yml", groups=(group,))


def test_everything_a_rule_has() -> None:
    files = [file(RECORD, ALERT, interval_ms=15_000, query_offset_ms=5_000, limit=3), file(name="h")]
    group, other = grid_groups(files, default_interval_ms=60_000)
    assert (group.name, group.interval_ms, group.query_offset_ms, group.limit) == ("g", 15_000, 5_000, 3)
    assert (other.name, other.interval_ms, other.query_offset_ms, other.rules) == ("h", 60_000, 0, ())
    record, alert = group.rules
    assert (record.kind, record.name, record.plan.expr) == ("record", "r:x", "sum(x)")
    assert {name: text.text for name, text in record.labels.items()} == {"team": "infra", "how": "{{ as it is }}"}
    assert (alert.kind, alert.for_ms, alert.keep_firing_for_ms) == ("alert", 60_000, 30_000)
    rendered = {name: text.render({"a": "1"}, 2.0, {}) for name, text in (alert.labels | alert.annotations).items()}
    assert rendered == {"team": "own", "severity": "2", "summary": "on 1"}


def test_rules_are_known_by_their_file_group_name_labels_and_order() -> None:
    files = [
        RuleFile(path="/etc/run/a.yml", name="a.yml", groups=file(ALERT, RECORD, ALERT).groups),
        RuleFile(path="b.yml", groups=file(ALERT).groups),
    ]
    groups = grid_groups(files, default_interval_ms=1_000)
    assert [group.file for group in groups] == ["a.yml", "b.yml"]
    labels = [["severity", "{{ $value }}"], ["team", "own"]]
    assert [json.loads(key) for key in rule_keys(groups)] == [
        ["a.yml", "g", "alert", "A", labels, 0],
        ["a.yml", "g", "record", "r:x", [["how", "{{ as it is }}"], ["team", "infra"]], 0],
        ["a.yml", "g", "alert", "A", labels, 1],
        ["b.yml", "g", "alert", "A", labels, 0],
    ]


def test_defaults_are_the_callers() -> None:
    (group,) = grid_groups([file(RECORD)], default_interval_ms=1_000, default_query_offset_ms=2_000)
    assert (group.interval_ms, group.query_offset_ms) == (1_000, 2_000)
    (group,) = grid_groups([file(query_offset_ms=0)], default_interval_ms=1_000, default_query_offset_ms=2_000)
    assert group.query_offset_ms == 0


def test_every_rule_that_cannot_be_compiled_is_told() -> None:
    broken = [
        RuleDef(kind="record", name="r", expr="sum(", line=3),
        ALERT,
        RuleDef(kind="alert", name="B", expr="x[5m]", line=9),
        RuleDef(kind="alert", name="C", expr="x", annotations={"s": "{{ nope }}"}, line=12),
    ]
    with pytest.raises(ConfigError) as refused:
        grid_groups([file(*broken)], default_interval_ms=1_000)
    told = [str(problem) for problem in refused.value.problems]
    assert [problem.line for problem in refused.value.problems] == [3, 9, 12]
    assert told[0].startswith('r.yml:3: group "g", record "r": could not parse expression: ')
    assert '"rate(x[5m])"' in told[1]
    assert 'function "nope" not defined' in told[2]


def test_an_expression_is_compiled_once() -> None:
    compile_expr = compiler("prometheus2")
    plan: QueryPlan = compile_expr("x > 1")
    (group,) = grid_groups([file(ALERT)], default_interval_ms=1_000, compile_expr=compile_expr)
    assert group.rules[0].plan is plan
    assert plan.compat == "prometheus2"
