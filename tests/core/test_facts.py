"""What alerts measure while they are active is what all samples say, however these were put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.explain import describe
from engine.core.rules import LevelTerms, Rule, compile_rule
from engine.events import STALE, Blind, Event, Facts, Sample, SampleBatch, Transition

START: Final = 1_700_000_000_000
SERIES: Final = ('a{i="0"}', 'a{i="1"}', 'a{i="2"}')
LEVELS: Final = (
    LevelTerms(severity="warning", when="> 5", clear="< 3", for_ms=1_000),
    LevelTerms(severity="critical", when="> 8", clear="< 7"),
)
RULES: Final = [
    compile_rule("High", "a > 6", for_ms=2_000),
    compile_rule("Low", "a < 4"),
    compile_rule("Unequal", "a != 5", for_ms=1_000),
    compile_rule("Keeps", "a >= 7", keep_firing_for_ms=2_500),
    compile_rule("Levels", "a", levels=LEVELS),
    compile_rule("Part", "a > 5", of=0.5, for_ms=3_000),
    compile_rule("Either", "a > 6 or a < 3", for_ms=1_000),
    compile_rule("Windowed", "max_over_time(a[3s]) > 7", for_ms=1_000),
]
HOLDS: Final[dict[str, Callable[[float], bool]]] = {
    "High": lambda value: value > 6,
    "Low": lambda value: value < 4,
    "Unequal": lambda value: value != 5,
    "Keeps": lambda value: value >= 7,
    "Levels": lambda value: value > 5,
    "Part": lambda value: value > 5,
    "Either": lambda value: value > 6 or value < 3,
}
Step: TypeAlias = Event | int
"""An event, or an instant until which time passes."""
values = st.sampled_from([0.0, 2.5, 3.5, 5.0, 5.5, 6.1, 7.3, 8.7, 9.9, 1e300, -0.0])


@st.composite
def stories(draw: st.DrawFn, *, calm: bool) -> list[Step]:
    """Samples one by one and in batches; where it is not calm also NaN, stale markers, gaps, late samples and spans in
    which nobody could see."""
    made: list[Step] = []
    now = START
    for _ in range(draw(st.integers(3, 25))):
        now += draw(st.sampled_from([500, 1_000, 1_500] if calm else [500, 1_000, 7_000]))
        odd = st.sampled_from([STALE, math.nan, math.inf, -math.inf])
        value = values if calm else st.one_of(values, values, values, odd)
        kind = draw(st.sampled_from(["batch", "samples", "samples"] if calm else ["batch", "samples", "blind", "time"]))
        cause = draw(st.sampled_from(["ended", "target_down"]))
        if kind == "batch":
            made.append(SampleBatch(now, SERIES, np.array([draw(value) for _ in SERIES]), 1_000, cause))
        elif kind == "blind":
            made.append(Blind(now, now - draw(st.sampled_from([300, 900])), now, draw(st.sampled_from(["*", *SERIES]))))
        elif kind == "time":
            made.append(now - draw(st.sampled_from([0, 300])))
        else:
            for text in SERIES:
                if calm or draw(st.booleans()):
                    late = 0 if calm else draw(st.sampled_from([0, 0, 700]))
                    made.append(Sample(now - late, text, draw(value), 1_000, cause))
    return [*made, now + 1_000]


def played(
    story: Sequence[Step], cuts: Sequence[bool], *, kept_at: int = -1, rules: list[Rule] = RULES
) -> list[Transition]:
    """What comes of a story.

    Args:
        cuts: Whether a feed ends after each step.
        kept_at: The step after which the core begins anew from a snapshot.
    """
    core, made, waiting = Core(rules), [], []
    for number, (step, cut) in enumerate(zip(story, cuts, strict=True)):
        if isinstance(step, int):
            made += core.feed(waiting) + core.advance(step)
            waiting = []
        else:
            waiting.append(step)
        if cut or number == kept_at:
            made += core.feed(waiting)
            waiting = []
        if number == kept_at:
            data = core.snapshot()
            core = Core(rules)
            core.restore(data)
    return made + core.feed(waiting)


def found(story: Sequence[Step], told: Transition) -> Facts:
    """The same from all samples, one after the other."""
    series, samples = f'a{{i="{told.labels["i"]}"}}', []
    for step in story:
        if isinstance(step, Sample) and step.series == series:
            samples.append((step.time_ms, step.value))
        elif isinstance(step, SampleBatch):
            samples.append((step.time_ms, float(step.values[SERIES.index(series)])))
    holds, total, true_ms, peak, count = HOLDS[told.rule], 0.0, 0, math.nan, 0
    worse = min if told.rule == "Low" else max
    for (time_ms, value), (next_ms, _) in zip(samples, [*samples[1:], (told.time_ms, 0.0)], strict=True):
        if told.active_since_ms <= time_ms <= told.time_ms and holds(value):
            peak = value if count == 0 else worse(peak, value)
            total += value
            count += 1
            true_ms += min(next_ms, told.time_ms) - time_ms
    return Facts(peak + 0.0, total / count, count, true_ms, 0)  # a zero has no sign


@settings(max_examples=12, deadline=None)
@given(stories(calm=True), st.data())
def test_facts_are_what_all_samples_say(story: list[Step], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.booleans(), min_size=len(story), max_size=len(story)))
    told = [each for each in played(story, cuts) if each.rule in HOLDS]
    assert all((each.facts is not None) == (each.before == "firing") for each in told)
    for each in told:
        if each.facts is not None:
            assert repr(each.facts) == repr(found(story, each)), each


@settings(max_examples=20, deadline=None)
@given(stories(calm=False), st.data())
def test_facts_are_the_same_however_samples_are_put_together(story: list[Step], data: st.DataObject) -> None:
    size = len(story)
    one_by_one = repr(played(story, [True] * size))
    cuts = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    assert repr(played(story, cuts)) == one_by_one
    assert repr(played(story, [False] * size)) == one_by_one
    assert repr(played(story, cuts, kept_at=data.draw(st.integers(0, size - 1)))) == one_by_one


@settings(max_examples=12, deadline=None)
@given(stories(calm=False))
def test_time_is_true_or_unknown_no_longer_than_the_alert_was_active(story: list[Step]) -> None:
    for told in played(story, [False] * len(story)):
        if told.facts is not None:
            facts = told.facts
            assert facts.true_ms >= 0
            assert facts.unknown_ms >= 0
            assert facts.true_ms + facts.unknown_ms <= told.time_ms - told.active_since_ms
            assert (facts.samples == 0) == math.isnan(facts.peak)


def test_facts_go_on_from_a_row_of_their_own() -> None:
    rule = compile_rule("Levels", "a", levels=LEVELS)
    first, kept = Core([rule]), {}
    for second, value in enumerate([6.0, 6.5, 9.5]):
        first.feed([Sample(START + second * 1_000, SERIES[0], value, 1_000)])
        for key, text, data in first.changed_alerts(10):
            kept[key, text] = data
    again = Core([rule])
    again.take_alerts([(key, text, data) for (key, text), data in kept.items() if data is not None], START + 2_000)
    end = [Sample(START + 3_000, SERIES[0], 7.5, 1_000), Sample(START + 4_000, SERIES[0], 2.0, 1_000)]
    told, expected = again.feed(end), first.feed(end)
    assert repr(told) == repr(expected)
    assert told[-1].facts == Facts(9.5, 29.5 / 4, 4, 4_000, 0)


def test_facts_of_a_rule_that_was_edited_begin_anew() -> None:
    first = Core([compile_rule("R", "a > 6", keep_firing_for_ms=9_000)])
    first.feed([Sample(START, SERIES[0], 99.0, 1_000)])
    again = Core([compile_rule("R", "a * 1 > 6")])
    again.restore(first.snapshot())
    story = [Sample(START + 1_000, SERIES[0], 8.0, 1_000), Sample(START + 2_000, SERIES[0], 1.0, 1_000)]
    assert [each.facts for each in again.feed(story)] == [Facts(8.0, 8.0, 1, 2_000, 0)]


def known_of(core: Core) -> tuple[list[Facts | None], list[Facts | None]]:
    """What a status and what `explain` say of each alert now."""
    (seat,) = core.seats()
    told = [view.facts for view in describe(seat, core.watermark_ms) if view.state != "inactive"]
    return [status.facts for status in core.alerts()], told


def test_an_alert_that_fires_says_what_it_has_measured_so_far() -> None:
    core = Core([compile_rule("High", "a > 6", for_ms=2_000)])
    for second, value in enumerate([7.0, 8.0]):
        core.feed([Sample(START + second * 1_000, SERIES[0], value, 1_000)])
    core.advance(START + 1_000)
    assert known_of(core) == ([None], [None]), "nobody is told anything of one that is pending"
    core.feed([Sample(START + 2_000, SERIES[0], 9.0, 1_000)])
    core.advance(START + 2_500)
    expected = [Facts(9.0, 8.0, 3, 2_500, 0)]
    assert known_of(core) == (expected, expected)
    core.advance(START + 6_000)  # three intervals after the last sample nothing is known any more
    expected = [Facts(9.0, 8.0, 3, 5_001, 999)]
    assert known_of(core) == (expected, expected)
    (over,) = core.feed([Sample(START + 7_000, SERIES[0], 1.0, 1_000)])
    assert over.facts == Facts(9.0, 8.0, 3, 5_001, 1_999)
    assert known_of(core) == ([], [])


def test_of_a_lost_alert_the_time_in_which_nothing_was_known_is_not_true() -> None:
    core = Core([compile_rule("High", "a > 6", hold_max_ms=5_000)])
    core.feed([Sample(START, SERIES[0], 7.0, 1_000)])
    (lost,) = core.advance(START + 20_000)
    assert (lost.kind, lost.facts) == ("lost", Facts(7.0, 7.0, 1, 3_001, 5_000))
