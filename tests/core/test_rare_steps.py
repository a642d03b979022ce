"""Steps that are seldom taken, each of which was wrong once."""

from __future__ import annotations

import math

import numpy as np

from engine.core.evaluator import Core
from engine.core.rules import LevelTerms, compile_rule
from engine.events import STALE, Sample, SampleBatch, Transition

SECOND = 1_000


def told(made: list[Transition]) -> list[tuple[int, str, str, str]]:
    return [(one.time_ms, one.after, one.severity, one.reason) for one in made]


def test_missing_data_fires_under_of_too_and_time_goes_on() -> None:
    rule = compile_rule("R", "a > 1", for_ms=1_000, of=0.6, on_missing="fire", missing_for_ms=3_000)
    core = Core([rule])
    core.feed([Sample(10_000, "a", 0.0, 1_000)])
    assert told(core.advance(60_000)) == [(16_001, "firing", "", "missing")]
    assert told(core.feed([Sample(61_000, "a", 0.0, 1_000)])) == [(61_000, "inactive", "", "recovered")]


def test_nothing_over_nothing_between_two_levels_is_no_step_the_table_lacks() -> None:
    """NaN ends the lower level, which has no `clear`, and not the higher; then the lower one begins anew."""
    levels = [
        LevelTerms(severity="warning", when="> 0.02", for_ms=600 * SECOND),
        LevelTerms(severity="critical", when="> 0.05", clear="< 0.04"),
    ]
    core = Core([compile_rule("R", "err / req", levels=levels)])

    def scrape(at_s: int, err: float, req: float) -> list[tuple[int, str, str, str]]:
        return told(core.feed([SampleBatch(at_s * SECOND, ("err", "req"), np.array([err, req]), SECOND)]))

    assert scrape(1, 1, 10) == [(1_000, "firing", "critical", "condition")]
    assert scrape(2, 0, 0) == []
    assert math.isnan(core.alerts()[0].value)
    assert scrape(3, 3, 100) == [(3_000, "firing", "warning", "level")]
    assert scrape(4, 1, 100) == [(4_000, "inactive", "warning", "recovered")]


def test_label_sets_that_ended_are_forgotten_though_missing_data_fires() -> None:
    rule = compile_rule("R", "sum by (i) (a) > 1", on_missing="fire", missing_for_ms=60 * SECOND)
    core = Core([rule], alerts_per_rule_max=50)
    before: tuple[str, ...] = ()
    for minute in range(1, 40):
        texts = tuple(f'a{{i="{minute}-{number}"}}' for number in range(20))
        values = np.array([STALE] * len(before) + [0.0] * len(texts))
        assert core.feed([SampleBatch(minute * 60 * SECOND, (*before, *texts), values, 60 * SECOND)]) == []
        before = texts
    (judge,) = core._parts.judges
    assert len(judge.book.codes) <= 100  # places are used again  # type: ignore[union-attr]


def test_who_gets_the_last_places_does_not_depend_on_how_samples_are_fed() -> None:
    events = [Sample(1_000 + at, f'a{{i="{5_999 - at:04}"}}', 2.0, SECOND) for at in range(6_000)]
    first = [Sample(1, event.series, 0.0, 3_600 * SECOND) for event in reversed(events)]
    together, apart = (Core([compile_rule("R", "a > 1")], alerts_per_rule_max=3) for _ in range(2))
    for core in (together, apart):
        core.feed(first)
    expected = [one for event in events for one in apart.feed([event])]
    assert together.feed(events) == expected
    assert [one.labels["i"] for one in expected] == ["5999", "5998", "5997"]
    assert together.counters() == apart.counters()


def test_a_stamp_of_another_century_changes_nothing_for_others() -> None:
    rules = [compile_rule("R", "a > 1", for_ms=3), compile_rule("S", "a > 1 and a < 100")]
    events = [Sample(1_000 + at, f'a{{i="{at % 7}"}}', float(at // 7 % 2) * 2, SECOND) for at in range(500)]
    events.insert(250, Sample(1_700_000_000_000_000_000, 'a{i="far"}', 2.0, SECOND))
    together, apart = Core(rules), Core(rules)
    assert repr(together.feed(events)) == repr([one for event in events for one in apart.feed([event])])
