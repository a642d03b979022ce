"""The law of blind spans: a span in which nobody could see might as well not have been.

Take any story, cut it anywhere, and put a blind span into the cut: everything after it happens as it did, later by
the length of the span. Clocks, ages and `hold_max` all stand while nobody can see.
"""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.rules import Rule
from engine.events import Blind, Sample, SampleBatch
from tests.core.oracle import Told
from tests.core.test_evaluator_properties import JOINED, POINTWISE, batches, rules, same, samples, told

Step = Sample | SampleBatch | int


@st.composite
def stories(draw: st.DrawFn, start: int) -> list[Step]:
    """Atoms and advances in a time that moves forward, none of them late."""
    now, made = start, []
    for _ in range(draw(st.integers(1, 10))):
        now += draw(st.sampled_from([250, 500, 500, 1_000, 1_500, 4_000]))
        made.append(draw(st.one_of(st.just(now), samples(now), batches(now))))
    return made


def shifted(step: Step, by_ms: int) -> Step:
    if isinstance(step, int):
        return step + by_ms
    if isinstance(step, Sample):
        return Sample(step.time_ms + by_ms, step.series, step.value, step.interval_ms, step.stale)
    return SampleBatch(step.time_ms + by_ms, step.series, step.values, step.interval_ms, step.stale)


def play(core: Core, steps: list[Step]) -> list[Told]:
    made = [core.advance(step) if isinstance(step, int) else core.feed([step]) for step in steps]
    return [told(transition) for transitions in made for transition in transitions]


@given(
    st.lists(rules(POINTWISE + JOINED), min_size=1, max_size=3),
    stories(10_000),
    st.data(),
    st.lists(st.sampled_from([1, 700, 5_000, 90_000_000]), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_blind_span_might_as_well_not_have_been(
    some: list[Rule], before: list[Step], data: st.DataObject, lengths: list[int], restart: bool
) -> None:
    last = before[-1]
    cut = (last if isinstance(last, int) else last.time_ms) + data.draw(st.sampled_from([0, 250, 2_000]))
    after = [*data.draw(stories(cut)), cut + 200_000_000]
    seeing, blinded = Core(some), Core(some)
    same(play(blinded, [*before, cut]), play(seeing, [*before, cut]))
    end = cut
    for length in lengths:  # adjoining and told more than once: each instant counts once
        assert blinded.feed([Blind(end + length, max(cut, end - 300), end + length)]) == []
        end += length
        blinded.feed([Blind(end, cut, end)])
    if restart:
        data_of = blinded.snapshot()
        blinded = Core(some)
        blinded.restore(data_of)
    expected = [(row[0] + end - cut, *row[1:]) for row in play(seeing, after)]
    same(play(blinded, [shifted(step, end - cut) for step in after]), expected)
