"""Groups: which rule is which, and when their instants come."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.core.groups import GridGroup, GridRule, Instants, Missed, rule_keys
from engine.core.promql.query_compile import compile_query
from engine.templates import Template, compile_go_template

PLAN = compile_query("x > 1")


def rule(name: str = "A", kind: Any = "alert", **labels: str) -> GridRule:
    return GridRule(kind=kind, name=name, plan=PLAN, labels={key: Template(text, None) for key, text in labels.items()})


def group(
    *rules: GridRule, file: str = "a.yml", name: str = "g", interval_ms: int = 10, phase_ms: int = 0
) -> GridGroup:
    return GridGroup(file=file, name=name, rules=rules, interval_ms=interval_ms, phase_ms=phase_ms)


# -- identity ------------------------------------------------------------------------------------------------------


def test_a_key_says_where_a_rule_is_and_what_it_is() -> None:
    (key,) = rule_keys([group(rule("HighCpu", team="infra", severity="page"), file="rules/host.yml", name="host")])
    expected = ["rules/host.yml", "host", "alert", "HighCpu", [["severity", "page"], ["team", "infra"]], 0]
    assert json.loads(key) == expected


def test_groups_of_the_same_name_in_different_files_are_apart() -> None:
    one, other = rule_keys([group(rule()), group(rule(), file="b.yml")])
    assert one != other
    assert rule_keys([group(rule(), file="b.yml")]) == [other]  # whatever else is loaded


def test_equal_rules_of_a_group_are_told_apart_by_their_order() -> None:
    """Labels are equal as written, in whatever order; expressions and annotations do not count."""
    other = GridRule(kind="alert", name="A", plan=compile_query("y"), annotations={"s": compile_go_template("s")})
    keys = rule_keys([group(rule(), rule("B"), other, rule(kind="record"), rule(a="1", b="2"), rule(b="2", a="1"))])
    assert [json.loads(key)[-1] for key in keys] == [0, 0, 1, 0, 0, 1]
    assert len(set(keys)) == len(keys)


def test_templates_are_part_of_it_as_they_are_written() -> None:
    labels = {"level": compile_go_template("{{ $value }}")}
    (key,) = rule_keys([group(GridRule(kind="alert", name="A", plan=PLAN, labels=labels))])
    assert json.loads(key)[4] == [["level", "{{ $value }}"]]


texts = st.text(st.sampled_from('a",[]\\\xfe\xff'), max_size=4)


@given(st.lists(st.tuples(texts, texts, texts, st.dictionaries(texts, texts, max_size=2)), max_size=6))
def test_no_text_can_be_taken_for_another(made: list[tuple[str, str, str, dict[str, str]]]) -> None:
    groups = [
        group(GridRule(kind="alert", name=name, plan=PLAN, labels={k: Template(v, None) for k, v in labels.items()}))
        for _, _, name, labels in made
    ]
    groups = [
        GridGroup(file=file, name=title, rules=one.rules, interval_ms=1)
        for one, (file, title, *_) in zip(groups, made, strict=True)
    ]
    keys = rule_keys(groups)
    assert len(set(keys)) == len(keys)
    distinct = {(file, title, name, tuple(sorted(labels.items()))) for file, title, name, labels in made}
    assert sum(key.endswith(",0]") for key in keys) == len(distinct)


# -- instants ------------------------------------------------------------------------------------------------------


def taken(instants: Instants, until_ms: int) -> list[int]:
    found = []
    while (at_ms := instants.next_ms()) is not None and at_ms <= until_ms:
        instants.take(at_ms)
        found.append(at_ms)
        list(instants.skip())
    return found


def test_instants_are_multiples_of_the_interval_after_the_phase() -> None:
    instants = Instants([group(phase_ms=3)])
    assert instants.next_ms() is None
    instants.begin(14)
    instants.begin(99)
    assert taken(instants, 45) == [23, 33, 43]


def test_instants_of_a_blind_span_are_left_out_and_counted() -> None:
    instants = Instants([group(), group(interval_ms=40)])
    instants.begin(10)
    instants.blind(5, 40)
    assert list(instants.skip()) == [Missed(0, 5, 40, 3), Missed(1, 5, 40, 0)]
    assert taken(instants, 60) == [40, 50, 60]  # the end of the span is seen


def test_an_instant_before_the_span_comes_first() -> None:
    """F79. The loop was held after an instant had come and before it was evaluated: those in the span are left out
    all the same."""
    instants = Instants([group()])
    instants.begin(10)
    instants.blind(15, 40)
    assert list(instants.skip()) == []
    instants.take(10)
    assert list(instants.skip()) == [Missed(0, 15, 40, 2)]
    assert taken(instants, 50) == [40, 50]


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=4),
    st.lists(st.integers(0, 200), max_size=4),
    st.sampled_from([(7, 0), (10, 3), (1, 0)]),
)
def test_all_instants_and_only_those_that_nobody_saw_are_left_out(
    spans: list[tuple[int, int]], advances: list[int], timing: tuple[int, int]
) -> None:
    """Whenever the spans are told: before or after the instants around them."""
    interval_ms, phase_ms = timing
    instants, blind, found, missed, at_ms = Instants([group(interval_ms=interval_ms, phase_ms=phase_ms)]), [], [], 0, 0
    for gap_ms, length_ms in spans:
        blind.append((at_ms + gap_ms, at_ms + gap_ms + length_ms))
        at_ms += gap_ms + length_ms
    instants.begin(0)
    told = [*blind]
    for until_ms in [*sorted(advances), 300]:
        while told and told[0][0] <= until_ms:  # nothing in a span was evaluated before it was told
            instants.blind(*told.pop(0))
        missed += sum(one.instants for one in instants.skip())
        while (next_ms := instants.next_ms()) is not None and next_ms <= until_ms:
            found += [next_ms] * len(instants.take(next_ms))
            missed += sum(one.instants for one in instants.skip())
    every = range(phase_ms, 301, interval_ms)
    seen = [at for at in every if not any(start <= at < stop for start, stop in blind)]
    assert found == seen
    assert missed == len(every) - len(seen)
