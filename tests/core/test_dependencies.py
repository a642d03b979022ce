"""Which rule reads what which records: order, cycles, what hangs together."""

from __future__ import annotations

import itertools

import pytest

from engine.core.dependencies import in_order, linked, may_read
from engine.core.promql.query_compile import compile_query
from engine.core.rules import RecordingRule, compile_recording
from engine.errors import RuleError


def recording(name: str, record: str, expr: str) -> RecordingRule:
    return compile_recording(name, record, expr)


@pytest.mark.parametrize(
    ("expr", "reads"),
    [
        ("x:y > 1", True),
        ("rate(x:y[5m])", True),
        ("x:z > 1", False),
        ('{__name__="x:y"}', True),
        ('{__name__=~"x:.+"}', True),
        ('{__name__!~"x:.+",job="a"}', False),
        ('{__name__!="x:y",job="a"}', False),
        ('{job="a"}', True),
    ],
)
def test_a_selector_without_one_name_may_read_every_name_it_lets_through(expr: str, reads: bool) -> None:
    assert may_read(compile_query(expr), "x:y") is reads


def test_rules_come_after_those_they_read_in_whatever_order_they_are_written() -> None:
    rules = [
        recording("Last", "e", "d + b"),
        recording("Middle", "d", "sum(c) + b"),
        recording("First", "c", "rate(raw[1m])"),
        recording("Other", "b", "raw"),
    ]
    for order in itertools.permutations(rules):
        names = [rule.name for rule in in_order(order)]
        assert names.index("First") < names.index("Middle") < names.index("Last")
        assert names.index("Other") < names.index("Middle")


def test_what_does_not_depend_stays_as_it_is_written() -> None:
    rules = [recording(name, name, "raw") for name in ("c", "a", "b")]
    assert in_order(rules) == rules


@pytest.mark.parametrize(
    ("rules", "message", "hint"),
    [
        ([("A", "a", "a + 1")], 'rule "A": it reads what it records itself, "a"', "read what was measured instead"),
        ([("A", "a", 'count({job="x"})')], 'rule "A": it reads what it records itself, "a"', '__name__!="..."'),
        (
            [("X", "x", "y"), ("A", "a", "c"), ("B", "b", "a"), ("C", "c", "b"), ("Y", "y", "raw")],
            'rule "A": recording rules feed each other in a cycle: A -> B -> C -> A',
            "read what was measured instead",
        ),
    ],
)
def test_a_cycle_is_refused_and_named(rules: list[tuple[str, str, str]], message: str, hint: str) -> None:
    with pytest.raises(RuleError) as caught:
        in_order([recording(*rule) for rule in rules])
    assert str(caught.value).startswith(message)
    assert hint in caught.value.hint


def test_a_selector_that_leaves_out_what_its_rule_records_is_no_cycle() -> None:
    rule = recording("A", "a", 'count({__name__!="a",job="x"})')
    assert in_order([rule]) == [rule]


def test_rules_hang_together_through_what_is_recorded() -> None:
    plans = {
        1: "raw",
        2: "r1 + 1",
        3: "r2 > 1",
        4: "r5 > 1",
        5: "raw",
        6: "raw > 1",
        7: "r1 > r5",
    }
    compiled = [(rule, compile_query(expr)) for rule, expr in plans.items()]
    writers = [(1, "r1"), (2, "r2"), (5, "r5")]
    assert sorted(map(sorted, linked(compiled, writers))) == [[1, 2, 3, 4, 5, 7], [6]]
    assert sorted(map(sorted, linked(compiled[:-1], writers))) == [[1, 2, 3], [4, 5], [6]]
