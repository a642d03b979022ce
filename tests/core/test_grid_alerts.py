"""Alerts of a grid rule from one result to the next: only what came or went is stepped, whatever the shapes do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from engine.core.grid_alerts import GridAlerts
from engine.core.groups import GridRule
from engine.core.promql.labels import NAME, Interner, Shape
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import EvaluationError, Vector
from engine.events import Transition
from engine.templates import compile_go_template

INTERNER = Interner()
HOSTS = Shape.of(INTERNER, [{NAME: "cpu", "host": host} for host in "abcd"])


def alerts(
    *,
    for_ms: int = 0,
    keep_ms: int = 0,
    limit: int = 10,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    rendered: list[float] | None = None,
) -> GridAlerts:
    rule = GridRule(
        kind="alert",
        name="R",
        plan=compile_query("cpu > 1"),
        for_ms=for_ms,
        keep_firing_for_ms=keep_ms,
        labels={name: compile_go_template(text) for name, text in (labels or {}).items()},
        annotations={name: compile_go_template(text) for name, text in (annotations or {}).items()},
    )

    def render(template: Any, sample_labels: Mapping[str, str], value: float, at_ms: int) -> str:
        if rendered is not None:
            rendered.append(value)
        text: str = template.render(sample_labels, value, {}, query=lambda _: [({}, at_ms / 1000)], at_ms=at_ms)
        return text

    return GridAlerts(0, rule, limit, render)


def result(hosts: str, *, shape: Shape = HOSTS, value: float = 5.0) -> Vector:
    names = [shape.labels(row)["host"] for row in range(len(shape))]
    return Vector(shape, np.full(len(shape), value), np.array([name in hosts for name in names]))


def told(made: list[Any]) -> list[tuple[str, str, str]]:
    transitions: list[Transition] = [output[-1] for output in made]
    return sorted((change.labels["host"], change.before, change.after) for change in transitions)


@pytest.mark.parametrize("same_shape", [True, False])
def test_what_comes_and_goes_is_told_and_what_stays_is_not(same_shape: bool) -> None:
    book = alerts(for_ms=2_000)

    def shape() -> Shape:
        return HOSTS if same_shape else Shape.of(INTERNER, [HOSTS.labels(row) for row in (3, 1, 0, 2)])

    assert told(book.evaluate(result("ab", shape=shape()), 0)) == [
        ("a", "inactive", "pending"),
        ("b", "inactive", "pending"),
    ]
    assert told(book.evaluate(result("bc", shape=shape()), 1_000)) == [
        ("a", "pending", "inactive"),
        ("c", "inactive", "pending"),
    ]
    assert told(book.evaluate(result("bc", shape=shape()), 2_000)) == [("b", "pending", "firing")]
    assert told(book.evaluate(result("bc", shape=shape()), 3_000)) == [("c", "pending", "firing")]
    assert told(book.evaluate(result("", shape=shape()), 4_000)) == [
        ("b", "firing", "inactive"),
        ("c", "firing", "inactive"),
    ]
    assert not len(book.book.rows)


def test_keep_firing_for_ends_on_time_and_a_return_is_no_new_alert() -> None:
    book = alerts(keep_ms=2_000)
    assert told(book.evaluate(result("a"), 0)) == [("a", "inactive", "firing")]
    assert told(book.evaluate(result("", value=1.0), 1_000)) == []
    assert told(book.evaluate(result("a"), 2_000)) == []
    assert told(book.evaluate(result(""), 3_000)) == []
    assert told(book.evaluate(result(""), 4_000)) == []
    assert told(book.evaluate(result(""), 5_000)) == [("a", "firing", "inactive")]


def test_texts_are_rendered_for_who_is_told_with_the_last_active_value() -> None:
    rendered: list[float] = []
    book = alerts(annotations={"text": "{{ $labels.host }} is at {{ $value }}"}, rendered=rendered)
    assert [output[-1].annotations for output in book.evaluate(result("a", value=5.0), 0)] == [{"text": "a is at 5"}]
    for at_ms in range(1_000, 10_000, 1_000):
        assert book.evaluate(result("a", value=7.0), at_ms) == []
    assert rendered == [5.0]
    assert [status.annotations for status in book.book.statuses(book.book.shown(), 9_000)] == [{"text": "a is at 7"}]
    ended = book.evaluate(result("", value=0.0), 10_000)
    assert [output[-1].annotations for output in ended] == [{"text": "a is at 7"}]


def test_texts_that_ask_queries_are_those_of_the_last_active_instant() -> None:
    book = alerts(annotations={"text": '{{ query "x" | first | value }}'})
    book.evaluate(result("a"), 1_000)
    book.evaluate(result("a"), 2_000)
    ended = book.evaluate(result(""), 3_000)
    assert [output[-1].annotations for output in ended] == [{"text": "2"}]


def test_labels_that_follow_the_value_make_another_alert() -> None:
    book = alerts(labels={"level": "{{ $value }}"})
    book.evaluate(result("a", value=5.0), 0)
    made = book.evaluate(result("a", value=6.0), 1_000)
    ends = sorted((output[-1].labels["level"], output[-1].after) for output in made)
    assert ends == [("5", "inactive"), ("6", "firing")]


def test_two_rows_of_one_alert_are_an_error_that_changes_nothing() -> None:
    book = alerts(labels={"host": "same"})
    assert len(book.evaluate(result("a"), 0)) == 1
    with pytest.raises(EvaluationError, match="same labelset"):
        book.evaluate(result("ab"), 1_000)
    assert len(book.book.rows) == 1
    assert book.evaluate(result("b"), 2_000) == []  # one row takes the place of the other
    assert book.evaluate(result("b"), 3_000) == []
    assert len(book.evaluate(result(""), 4_000)) == 1


def test_what_was_refused_gets_its_place_when_one_is_free() -> None:
    book = alerts(limit=1)
    assert told(book.evaluate(result("ab"), 0)) == [("a", "inactive", "firing")]
    assert book.book.refused == 1
    assert told(book.evaluate(result("b"), 1_000)) == [("a", "firing", "inactive"), ("b", "inactive", "firing")]
    assert book.book.refused == 1
    assert told(book.evaluate(result("b"), 3_000)) == []
    assert told(book.evaluate(result(""), 4_000)) == [("b", "firing", "inactive")]
