"""The law of blind spans for all that looks back: a span in which nobody could see might as well not have been.

Any story is told twice, once as it is and once cut somewhere, with a span in the cut and all that follows so much
later. What fires in the second never begins or ends but where it does in the first, and once windows hold nothing of
before the cut any more, both say the same. So where nothing changes after the cut in the first, nothing does in the
second, whatever windows have lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import OnMissing, compile_rule
from engine.events import Blind, SampleBatch
from engine.series import metric_of
from tests.core.test_alert_rows import Rows, stored, write

SECOND = 1_000
START = 100 * SECOND
SERIES = {one: (f'x{{i="{one}"}}', f'c{{i="{one}"}}') for one in "ab"}
REACH_S = 8
"""No expression looks further back, the age of samples included; then a resolution, and an interval of the group."""
SETTLED_S = REACH_S + 3
MISSING: list[OnMissing] = ["hold", "reset"]
EACH = [
    "max_over_time(x[4s]) > 5",
    "min_over_time(x[4s]) < 5",
    "avg_over_time(x[4s]) > 5",
    "quantile_over_time(0.5, x[4s]) > 5",
    "last_over_time(x[4s]) > 5",
    "present_over_time(x[4s])",
    "sum_over_time(x[4s]) > 20",
    "count_over_time(x[4s]) > 2",
    "count_over_time(x[4s]) < 3",
    "rate(c[4s]) > 0.5",
    "rate(c[4s]) < 0.5",
    "increase(c[4s]) > 2",
    "changes(x[4s]) > 0",
    "changes(x[4s]) < 1",
    "delta(x[4s]) > 1",
    "deriv(x[4s]) < -0.5",
    "x offset 4s > 5",
    "x offset 4s < 5",
    "x - x offset 3s > 0",
    "max_over_time(x[4s] offset 2s) > 5",
    "max_over_time(x[4s:1s]) > 5",
    "count_over_time((x > 5)[4s:1s]) > 1",
    "max_over_time(x[4s]) unless x < 5",
    "x > 5 and max_over_time(c[4s]) > 2",
    "time() - timestamp(x) > 2",
]
TOGETHER = [
    "sum(max_over_time(x[4s])) > 10",
    "max(avg_over_time(x[4s])) > 5",
    "min(max_over_time(x[4s])) < 5",
    "avg(x offset 4s) > 4",
    "count(max_over_time(x[4s])) < 2",
    "count(max_over_time(x[4s]) > 5) > 1",
    "sum(rate(c[4s])) > 0.5",
    "topk(1, max_over_time(x[4s])) > 5",
    "(rate(c[4s]) or vector(0)) < 0.5",
    "sum(max_over_time(x[4s]) or vector(0)) > 5",
    "absent(x)",
    'absent(x{i="a"})',
    "absent_over_time(x[4s])",
    'absent_over_time(x{i="b"}[3s])',
    'absent_over_time(x{i="a"}[4s]) or absent(x)',
    "sum(x) unless sum(x offset 4s)",
]


class Story(NamedTuple):
    """What comes: batches in order, the cut, and how long nobody could see there; all in milliseconds."""

    batches: Sequence[SampleBatch]
    cut_ms: int
    end_ms: int


@st.composite
def courses(draw: st.DrawFn, ticks: int) -> list[str]:
    """What a series is, second by second: high, low, or not there."""
    made: list[str] = []
    while len(made) < ticks:
        made += [draw(st.sampled_from("hhlln"))] * draw(st.sampled_from([1, 2, 5, 9, 20]))
    return made[:ticks]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Two gauges and two counters, measured together or one after the other."""
    before, after = draw(st.integers(3, 12)), draw(st.integers(0, 8))
    made: dict[int, SampleBatch] = {}
    together = draw(st.booleans())
    for one, late_ms in (("a", 100), ("b", 100 if together else 600)):
        course, total = draw(courses(before + after)), 0.0
        for at, level in enumerate(course):
            total += level == "h"
            if level == "n":
                continue
            time_ms = START + at * SECOND + late_ms
            batch = SampleBatch(time_ms, SERIES[one], np.array([9.0 if level == "h" else 1.0, total]), SECOND)
            if time_ms in made:
                names = (*made[time_ms].series, *batch.series)
                batch = SampleBatch(time_ms, names, np.concatenate([made[time_ms].values, batch.values]), SECOND)
            made[time_ms] = batch
    cut_ms = START + before * SECOND + draw(st.sampled_from([0, 50, 300, 900]))
    return Story([made[at] for at in sorted(made)], cut_ms, cut_ms + (before + after + SETTLED_S) * SECOND)


def core_of(exprs: Sequence[str], on_missing: OnMissing) -> Core:
    """Each expression as a continuous rule and in a group."""
    rules = [compile_rule(f"R{at}", expr, on_missing=on_missing) for at, expr in enumerate(exprs)]
    grid = [GridRule(kind="alert", name=f"G{at}", plan=compile_query(expr)) for at, expr in enumerate(exprs)]
    group = GridGroup(name="g", rules=tuple(grid), interval_ms=2 * SECOND)
    return Core(rules, groups=[group], lookback_ms=3 * SECOND, resolution_ms=SECOND)


State = dict[tuple[str, str], bool]


def states(core: Core) -> State:
    """What fires, and whether it is only held because nobody knows any better."""
    return {(one.rule, str(sorted(one.labels.items()))): one.paused for one in core.alerts() if one.state == "firing"}


def passing(core: Core, batches: Sequence[SampleBatch], end_ms: int, by_ms: int = 0) -> Iterator[tuple[int, State]]:
    """What fires after each step: the batches, and time in between; everything later by some time."""
    last_ms = None
    for batch in batches:
        core.advance(batch.time_ms + by_ms - 1)
        yield batch.time_ms - 1, states(core)
        core.feed([SampleBatch(batch.time_ms + by_ms, batch.series, batch.values, SECOND)])
        core.advance(batch.time_ms + by_ms)
        yield batch.time_ms, states(core)
        last_ms = batch.time_ms
    for at_ms in range((last_ms or START) // SECOND * SECOND + SECOND, end_ms, SECOND):
        core.advance(at_ms + by_ms)
        yield at_ms, states(core)


def cut(core: Core, story: Story, how: str, length_ms: int, exprs: Sequence[str], on_missing: OnMissing) -> Core:
    """The core after the span; told in one of the ways in which that comes about."""
    end_ms = story.cut_ms + length_ms
    if how == "blind":
        core.feed([Blind(end_ms, story.cut_ms, end_ms)])
    elif how == "scoped":
        names = tuple(name for pair in SERIES.values() for name in pair)
        core.feed([Blind(end_ms, story.cut_ms, end_ms, "probe.p", "", names)])
    elif how == "restart":
        data, core = core.snapshot(), core_of(exprs, on_missing)
        core.restore(data, end_ms)
    else:
        rows: Rows = {}
        write(rows, core)
        core = core_of(exprs, on_missing)
        core.take_alerts(stored(rows), story.cut_ms)
        reach = core.reach(end_ms)
        core.refill(history(story, reach), end_ms, 0)
    core.advance(end_ms)
    return core


def history(story: Story, reach: dict[str, int]) -> Iterator[SampleBatch]:
    """What was recorded until the cut, as far back as it is asked for."""
    for batch in story.batches:
        if batch.time_ms > story.cut_ms:
            break
        at = [at for at, name in enumerate(batch.series) if reach.get(metric_of(name), 2**60) <= batch.time_ms]
        if at:
            yield SampleBatch(batch.time_ms, tuple(batch.series[one] for one in at), batch.values[at], SECOND)


class Wrong(NamedTuple):
    """What was against the law, so long after the cut."""

    expr: str
    rule: str
    labels: str
    what: str
    after_ms: int


def unlawful(story: Story, exprs: Sequence[str], on_missing: OnMissing, how: str, length_ms: int) -> Iterator[Wrong]:
    """Tell the story in both ways; what is different where it must not be."""
    seeing, core = core_of(exprs, on_missing), core_of(exprs, on_missing)
    first = [one for one in story.batches if one.time_ms <= story.cut_ms]
    for one in (seeing, core):
        for _ in passing(one, first, 0):
            pass
        one.advance(story.cut_ms)
    before = states(core)
    core = cut(core, story, how, length_ms, exprs, on_missing)
    now = states(core)
    yield from (Wrong(exprs[int(rule[1:])], rule, labels, "at once", 0) for rule, labels in now.keys() ^ before.keys())
    rest = [one for one in story.batches if one.time_ms > story.cut_ms]
    expecting = list(passing(seeing, rest, story.end_ms))
    for at, (_, found) in enumerate(passing(core, rest, story.end_ms, length_ms)):
        at_ms, expected = expecting[at]
        soon = [one for then_ms, one in expecting[at:] if then_ms <= at_ms + SECOND]
        after_ms = at_ms - story.cut_ms
        settled = after_ms > SETTLED_S * SECOND
        for rule, labels in found.keys() ^ expected.keys():
            what = "begins" if (rule, labels) in found else "ends"
            if (what == "begins") == ((rule, labels) in now):
                what = f"late {what}"
                if not settled or expected.get((rule, labels)) or found.get((rule, labels)):
                    continue
            elif any(((rule, labels) in one) == (what == "begins") for one in soon):
                continue  # time alone may be looked at earlier, by no more than a resolution
            yield Wrong(exprs[int(rule[1:])], rule, labels, what, after_ms)
        now = found


@settings(max_examples=max(1, settings().max_examples // 4))
@given(
    stories(),
    st.lists(st.sampled_from(EACH + TOGETHER), min_size=3, max_size=3, unique=True),
    st.sampled_from(MISSING),
    st.sampled_from(["blind", "restart", "rows"]),
    st.sampled_from([2, 6, 600, 28_800]),
)
def test_a_span_in_which_nobody_could_see_might_as_well_not_have_been(
    story: Story, exprs: list[str], on_missing: OnMissing, how: str, length_s: int
) -> None:
    assert list(unlawful(story, exprs, on_missing, how, length_s * SECOND)) == []
