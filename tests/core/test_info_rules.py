"""Rules with info() in continuous mode: info series are inputs like any others."""

from __future__ import annotations

import pytest

from engine.core.evaluator import Core
from engine.core.rules import compile_recording
from engine.events import STALE, Transition
from tests.core.test_query_judge import START_MS, kinds, play, rule

OLD, NEW = (f'target_info{{instance="i1",job="shop",version="{number}"}}' for number in "12")
LOAD = 'load{instance="i1",job="shop"}'


def labels(transitions: list[Transition]) -> list[tuple[float, str, str, str]]:
    return [(*kind, dict(t.labels).get("version", "")) for kind, t in zip(kinds(transitions), transitions, strict=True)]


@pytest.mark.parametrize("info_alone", [True, False])
def test_another_info_series_is_another_label_set_at_its_own_sample(info_alone: bool) -> None:
    core = Core([rule('info(load, {version=~".+"}) > 5')])
    beside: dict[str, float] = {} if info_alone else {LOAD: 9.0}
    made = play(core, [(0, {LOAD: 9.0, OLD: 1.0}), (1, {**beside, OLD: STALE, NEW: 1.0})], 2, 60_000)
    assert sorted(labels(made)) == [
        (0, "firing", "condition", "1"),
        (1, "firing", "condition", "2"),
        (1, "resolved", "ended", "1"),
    ]


def test_while_the_info_series_is_stale_nobody_knows() -> None:
    core = Core([rule('info(load, {version=~".+"}) > 5')])
    script = [(0, {LOAD: 9.0, OLD: 1.0}), *((second, {LOAD: 9.0}) for second in range(1, 20))]
    assert labels(play(core, script, 20)) == [(0, "firing", "condition", "1")]
    assert core.alerts()[0].paused
    assert labels(play(core, [(30, {LOAD: 1.0, OLD: 1.0})], 31)) == [(30, "resolved", "recovered", "1")]


def test_an_info_series_that_comes_late_changes_the_label_set() -> None:
    core = Core([rule("sum by (version) (info(load)) > 5")])
    made = play(core, [(0, {LOAD: 9.0}), (1, {LOAD: 9.0}), (2, {OLD: 1.0})], 3)
    assert sorted(labels(made)) == [
        (0, "firing", "condition", ""),
        (2, "firing", "condition", "1"),
        (2, "resolved", "recovered", ""),
    ]


def test_over_recorded_series() -> None:
    core = Core([rule("info(load:double) > 5"), compile_recording("double", "load:double", "load * 2")])
    assert labels(play(core, [(0, {LOAD: 9.0, OLD: 1.0}), (1, {OLD: STALE, NEW: 1.0})], 2, 60_000))[0] == (
        0,
        "firing",
        "condition",
        "1",
    )


def test_more_looks_change_nothing() -> None:
    """An info series that goes stale between samples is seen to at its instant, not when somebody looks."""
    script = [(0, {LOAD: 9.0, OLD: 1.0}), (2, {LOAD: 9.0}), (4, {LOAD: 9.0}), (6, {LOAD: 9.0})]
    expr = "info(load) > 5"
    plain = play(Core([rule(expr)]), script, 10)
    core, looked = Core([rule(expr)]), []
    for second, values in script:
        now = START_MS + second * 1_000
        for before in range(now - 2_000, now, 250):
            looked += core.advance(max(before, 0))
        looked += play(core, [(second, values)], second)
    looked += play(core, [], 10)
    assert labels(looked) == labels(plain)
    assert [when for when, kind, _, version in labels(plain) if kind == "firing" and not version] == [3.001]
