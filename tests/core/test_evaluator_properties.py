"""The core against a second implementation, and against itself under other cuts of the same input."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.rules import Rule, compile_rule
from engine.events import STALE, Sample, SampleBatch, Transition
from engine.series import series_text
from tests.core.oracle import Oracle, Told

POINTWISE = ["a > 1", "a >= 2", "1 < a", "a == bool 2", "-a < -1", 'a{i="x"} > 1', 'a{i=~"x|y"} != 1']
POINTWISE += ["a > 1 < 3", "(a > 1) * 2", "-(a != 2)", "(a < 3) - 1 >= 1"]  # with a comparison inside
JOINED = [
    "a > b",
    "a / b > 1",
    "a > 1 and b > 1",
    "a > 1 or b > 1",
    "a unless b",
    "a > 1 unless b > 1",
    "(a or b) > 1",
    "a + a > 3",
    "a > 0 and a < 2",
    "a > 1 or a < 1",
    "a > 1 unless a > 2",
    "a > 1 or b > 1 unless c",
]
METRICS = ["a", "b", "c"]
INSTANCES = ["x", "y", ""]

times = st.integers(0, 60).map(lambda t: t * 500)
values = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan, math.inf, STALE])
durations = st.sampled_from([0, 1_000, 2_500, 5_000])


@st.composite
def rules(draw: st.DrawFn, exprs: list[str]) -> Rule:
    return compile_rule(
        draw(st.sampled_from(["R", "S"])),
        draw(st.sampled_from(exprs)),
        for_ms=draw(durations),
        keep_firing_for_ms=draw(durations),
        on_missing=draw(st.sampled_from(["hold", "reset"])),
        hold_max_ms=draw(st.sampled_from([3_000, 86_400_000])),
        labels=draw(st.sampled_from([{}, {"severity": "critical"}])),
    )


def series(metric: str, instance: str) -> str:
    return series_text(metric, {"i": instance})


@st.composite
def samples(draw: st.DrawFn, time_ms: int) -> Sample:
    return Sample(
        time_ms,
        series(draw(st.sampled_from(METRICS)), draw(st.sampled_from(INSTANCES))),
        draw(values),
        draw(st.sampled_from([500, 1_000, 0])),
        draw(st.sampled_from(["ended", "target_down"])),
    )


@st.composite
def batches(draw: st.DrawFn, time_ms: int) -> SampleBatch:
    shape = draw(
        st.lists(st.tuples(st.sampled_from(METRICS), st.sampled_from(INSTANCES)), min_size=1, max_size=6, unique=True)
    )
    return SampleBatch(
        time_ms,
        tuple(series(metric, instance) for metric, instance in shape),
        np.array([draw(values) for _ in shape]),
        draw(st.sampled_from([500, 1_000, 0])),
        draw(st.sampled_from(["ended", "target_down"])),
    )


@st.composite
def steps(draw: st.DrawFn) -> list[Sample | SampleBatch | int]:
    """Atoms and advances (an int is an advance), in a time that mostly moves forward."""
    made: list[Sample | SampleBatch | int] = []
    now = 10_000
    for _ in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0, 500, 500, 1_000, 1_500, 4_000]))
        at = now - draw(st.sampled_from([0, 0, 0, 500, 2_000]))
        kind = draw(st.sampled_from(["sample", "sample", "batch", "advance"]))
        made.append(now if kind == "advance" else draw(samples(at)) if kind == "sample" else draw(batches(at)))
    made.append(now + 20_000)
    return made


def told(transition: Transition) -> Told:
    return (
        transition.time_ms,
        transition.rule,
        tuple(sorted(transition.labels.items())),
        transition.before,
        transition.after,
        transition.reason,
        transition.value,
    )


def same(left: list[Told], right: list[Told]) -> None:
    """Equal, with NaN equal to NaN."""
    assert [repr(entry) for entry in left] == [repr(entry) for entry in right]


def run(core: Core, script: list[Sample | SampleBatch | int]) -> list[Told]:
    made: list[Told] = []
    for step in script:
        made += map(told, core.advance(step) if isinstance(step, int) else core.feed([step]))
    return made


@given(st.lists(rules(POINTWISE + JOINED), min_size=1, max_size=3), steps())
def test_core_agrees_with_the_oracle(some: list[Rule], script: list[Sample | SampleBatch | int]) -> None:
    core, oracle = Core(some), Oracle(some)
    for step in script:
        if isinstance(step, int):
            same([told(t) for t in core.advance(step)], oracle.advance(step))
        else:
            same([told(t) for t in core.feed([step])], oracle.feed(step))


@given(st.lists(rules(POINTWISE + JOINED), min_size=1, max_size=3), steps(), st.data())
def test_splitting_batches_changes_nothing(
    some: list[Rule], script: list[Sample | SampleBatch | int], data: st.DataObject
) -> None:
    core = Core(some)
    made: list[Told] = []
    waiting: list[Sample | SampleBatch] = []
    for step in script:
        if isinstance(step, int) or data.draw(st.booleans()):
            made += map(told, core.feed(waiting))
            waiting = []
        if isinstance(step, int):
            made += map(told, core.advance(step))
        else:
            waiting.append(step)
    same(made, run(Core(some), script))


@given(st.lists(rules(POINTWISE + JOINED), min_size=1, max_size=3), steps(), st.integers(0, 25))
def test_a_snapshot_continues_where_it_was_taken(
    some: list[Rule], script: list[Sample | SampleBatch | int], cut: int
) -> None:
    first, second = Core(some), Core(some)
    made = run(first, script[:cut])
    second.restore(first.snapshot())
    same(made + run(second, script[cut:]), run(Core(some), script))


@given(st.lists(rules(POINTWISE), min_size=1, max_size=3), steps())
def test_a_batch_is_its_samples_where_rules_read_one_series_each(
    some: list[Rule], script: list[Sample | SampleBatch | int]
) -> None:
    singles: list[Sample | SampleBatch | int] = []
    for step in script:
        if isinstance(step, SampleBatch):
            singles += [
                Sample(step.time_ms, text, value, step.interval_ms, step.stale)
                for text, value in zip(step.series, step.values.tolist(), strict=True)
            ]
        else:
            singles.append(step)
    same(sorted(run(Core(some), script), key=repr), sorted(run(Core(some), singles), key=repr))


@given(st.lists(rules(POINTWISE + JOINED), min_size=1, max_size=2), st.data())
def test_more_advances_change_nothing_when_nothing_is_late(some: list[Rule], data: st.DataObject) -> None:
    now, script, denser = 10_000, [], []
    for _ in range(data.draw(st.integers(1, 20))):
        step = data.draw(st.sampled_from([500, 1_000, 2_500, 6_000]))
        denser += [between for between in range(now + 250, now + step, 250) if data.draw(st.booleans())]
        now += step
        atom = data.draw(st.one_of(samples(now), batches(now)))
        script.append(atom)
        denser.append(atom)
    script.append(now + 20_000)
    denser.append(now + 20_000)
    same(sorted(run(Core(some), script), key=repr), sorted(run(Core(some), denser), key=repr))


@st.composite
def runs(draw: st.DrawFn) -> list[Sample]:
    """Many samples of few series, mostly in order, without stale markers: what lands in bulk."""
    made: list[Sample] = []
    now = 10_000
    for _ in range(draw(st.integers(2, 40))):
        now += draw(st.sampled_from([0, 0, 500, 500, 1_000, 1_500, 4_000]))
        text = series(draw(st.sampled_from(["a", "b"])), draw(st.sampled_from(["x", "y"])))
        value = draw(st.sampled_from([0.0, 0.0, 2.0, 2.0, 3.0, math.inf]))
        late = draw(st.sampled_from([0, 0, 0, 0, 500, 3_000]))
        made.append(Sample(now - late, text, value, draw(st.sampled_from([500, 500, 1_000, 0]))))
    return made


@given(
    st.lists(rules([*POINTWISE, "b > 1", "b == 2"]), min_size=1, max_size=3),
    runs(),
    st.lists(st.tuples(st.integers(1, 40), st.integers(-4_000, 4_000)), max_size=3),
    st.integers(1, 3),
)
def test_a_run_is_its_samples_one_by_one(
    some: list[Rule], samples_: list[Sample], cuts: list[tuple[int, int]], alerts_max: int
) -> None:
    """Landing in bulk gives what landing alone gives, in the same order, and what the oracle gives."""
    advances = {cut: samples_[min(cut, len(samples_) - 1)].time_ms + shift for cut, shift in cuts}
    limit = 10_000 if alerts_max == 3 else alerts_max
    bulk, alone, oracle = Core(some, alerts_per_rule_max=limit), Core(some, alerts_per_rule_max=limit), Oracle(some)
    waiting: list[Sample] = []
    for place, sample in enumerate([*samples_, None]):
        if sample is None or place in advances:
            from_bulk = [told(t) for t in bulk.feed(waiting)]
            same(from_bulk, [told(t) for atom in waiting for t in alone.feed([atom])])
            expected = [entry for atom in waiting for entry in oracle.feed(atom)]
            now = samples_[-1].time_ms + 20_000 if sample is None else advances[place]
            last = [told(t) for t in bulk.advance(now)]
            same(last, [told(t) for t in alone.advance(now)])
            if limit == 10_000:
                same(from_bulk, expected)
                same(last, oracle.advance(now))
            waiting = []
        if sample is not None:
            waiting.append(sample)
    assert bulk.counters() == alone.counters()


def test_an_ended_input_that_returns_while_another_is_stale_is_unknown() -> None:
    """Whether time was advanced in between must not matter: the clock of `keep_firing_for` stands."""
    rule = compile_rule("R", "a > b", keep_firing_for_ms=5_000)
    script: list[Sample | SampleBatch | int] = [
        Sample(10_000, "b", 0.0, 0),
        Sample(11_000, "a", 1.0, 500),
        SampleBatch(12_000, ("a", "b"), np.array([STALE, 0.0]), 500),
        Sample(15_000, "a", 0.0, 0),
        40_000,
    ]
    denser = [*script[:3], 14_900, *script[3:]]
    assert [entry[3:5] for entry in run(Core([rule]), script)] == [("inactive", "firing")]
    same(run(Core([rule]), script), run(Core([rule]), denser))
