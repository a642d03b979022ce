"""Blind spans of some series: their clocks stand, those of others run on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.rules import compile_rule
from engine.events import Blind, Sample, SampleBatch, Transition

START, SECOND = 1_000_000, 1_000


def scrape(at_s: float, **values: float) -> SampleBatch:
    texts = tuple(f'cpu{{host="{host}"}}' for host in values)
    return SampleBatch(START + round(at_s * SECOND), texts, np.array(list(values.values())), SECOND)


def blind(from_s: float, to_s: float, scope: str, series: tuple[str, ...] = ()) -> Blind:
    return Blind(
        START + round(to_s * SECOND), START + round(from_s * SECOND), START + round(to_s * SECOND), scope, "", series
    )


def told(made: list[Transition]) -> list[tuple[float, str, str]]:
    return [((one.time_ms - START) / SECOND, one.labels.get("host", ""), one.kind) for one in made]


def held(core: Core, until_s: int, *, from_s: int = 0, hosts: str = "ab") -> list[tuple[float, str, str]]:
    """Both hosts over the line, once a second."""
    made = []
    for second in range(from_s, until_s + 1):
        made += told(core.feed([scrape(second, **dict.fromkeys(hosts, 95.0))]))
        made += told(core.advance(START + second * SECOND))
    return [one for one in made if one[2] != "pending"]


@pytest.mark.parametrize(
    ("scope", "series"), [('cpu{host="a"}', ()), ("probe.x", ('cpu{host="a"}', "never_seen"))], ids=["series", "probe"]
)
@pytest.mark.parametrize("expr", ["cpu > 90", "avg_over_time(cpu[2s]) > 90", "cpu / on (host) cpu > 0"])
def test_only_what_rests_on_the_series_waits(scope: str, series: tuple[str, ...], expr: str) -> None:
    """F71, F76: samples of one host were dropped; the other is judged as ever."""
    core = Core([compile_rule("Hot", expr, for_ms=5 * SECOND)])
    held(core, 2)
    core.feed([blind(2, 4, scope, series)])
    assert held(core, 9, from_s=4) == [(5.0, "b", "firing"), (7.0, "a", "firing")]


def test_a_metric_is_all_its_series() -> None:
    core = Core([compile_rule("Hot", "cpu > 90", for_ms=5 * SECOND)])
    held(core, 2)
    core.feed([blind(2, 4, "cpu")])
    assert held(core, 9, from_s=4) == [(7.0, "a", "firing"), (7.0, "b", "firing")]


def test_what_is_not_known_changes_nothing() -> None:
    core = Core([compile_rule("Hot", "cpu > 90", for_ms=5 * SECOND)])
    held(core, 2)
    assert core.feed([blind(2, 4, "probe.y"), blind(2, 4, "memory"), blind(2, 4, 'cpu{host="z"}')]) == []
    assert held(core, 9, from_s=4) == [(5.0, "a", "firing"), (5.0, "b", "firing")]


def test_a_span_that_is_told_twice_is_taken_out_once_whatever_its_scope() -> None:
    core = Core([compile_rule("Hot", "cpu > 90", for_ms=5 * SECOND)])
    held(core, 2)
    a, b = 'cpu{host="a"}', 'cpu{host="b"}'
    core.feed([blind(2, 4, a), blind(2, 4, a), blind(2, 4, "*"), blind(3, 4, "cpu"), blind(2, 4, b)])
    assert held(core, 9, from_s=4) == [(7.0, "a", "firing"), (7.0, "b", "firing")]


def test_a_group_waits_only_if_all_its_inputs_are_blind() -> None:
    for series, fires in ((('cpu{host="a"}',), 5.0), (('cpu{host="a"}', 'cpu{host="b"}'), 7.0)):
        core = Core([compile_rule("Hot", "avg(cpu) > 90", for_ms=5 * SECOND)])
        held(core, 2)
        core.feed([blind(2, 4, "probe.x", series)])
        assert held(core, 9, from_s=4) == [(fires, "", "firing")]


@pytest.mark.parametrize("scope", ["*", 'cpu{host="a"}'])
def test_nothing_begins_or_resolves_in_a_blind_span(scope: str) -> None:
    """What is measured in it counts when it is over."""
    core = Core([compile_rule("Hot", "cpu > 90", for_ms=2 * SECOND)])
    held(core, 3, hosts="a")
    core.feed([blind(3, 8, scope)])
    assert told(core.feed([scrape(4, a=10.0)])) == [(8.0, "a", "resolved")]
    assert told(core.feed([scrape(5, a=95.0)])) == [(8.0, "a", "pending")]
    assert told(core.advance(START + 20 * SECOND))[0] == (10.0, "a", "firing")


@given(st.lists(st.tuples(st.sampled_from([10.0, 95.0]), st.integers(0, 3)), min_size=1, max_size=15))
def test_a_scope_is_everything_to_who_has_nothing_else(story: list[tuple[float, int]]) -> None:
    rules = [compile_rule("Hot", "cpu > 90", for_ms=3 * SECOND, keep_firing_for_ms=2 * SECOND)]
    cores = {scope: Core(rules) for scope in ("*", "cpu", 'cpu{host="a"}')}
    made: dict[str, list[Transition]] = {scope: [] for scope in cores}
    now = 0
    for value, length in story:
        now += 1
        for scope, core in cores.items():
            sample = Sample(START + now * SECOND, 'cpu{host="a"}', value, SECOND)
            made[scope] += core.feed([sample, blind(now, now + length, scope)]) if length else core.feed([sample])
        now += length
    for scope, core in cores.items():
        made[scope] += core.advance(START + (now + 60) * SECOND)
    assert repr(made["cpu"]) == repr(made["*"]) == repr(made['cpu{host="a"}'])
