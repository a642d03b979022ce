"""The core against an independent reference that looks at every millisecond, under everything that can happen to it.

Where the core is known to differ, the stories are in `test_reference_open.py`, and the strategies here stay clear of
them. Where DESIGN leaves it open, the reference says what it takes for granted.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.rules import LevelTerms, OnMissing, Rule, compile_rule
from engine.events import STALE, Blind, Event, Sample, SampleBatch, Transition
from engine.series import series_text
from tests.core.reference import EXPRESSIONS, Comparison, Reference, Spec, SpecLevel, Told

pytestmark = pytest.mark.timeout(900)  # the deep profile takes its minutes

START = 10_000
ENDED: Final = "ended"
DOWN: Final = "target_down"

Row: TypeAlias = tuple[str, str, float | str]
Step: TypeAlias = Event | int
"""An atom, or the time of an advance."""


# --- rules --------------------------------------------------------------------------------------------------

NO_OR = [expr for expr in EXPRESSIONS if " or " not in expr]
NEEDS_ALL = ["a", "a / b", "a and b", "a > 1 and b > 1"]


def text_of(comparison: Comparison | None) -> str:
    return "" if comparison is None else f"{comparison[0]} {comparison[1]:g}"


def compiled(spec: Spec, name: str = "R") -> Rule:
    levels = [
        LevelTerms(severity=level.severity, when=text_of(level.when), clear=text_of(level.clear), for_ms=level.for_ms)
        for level in spec.levels
    ]
    plain = len(levels) == 1 and not levels[0].severity
    return compile_rule(
        name,
        spec.expr,
        for_ms=spec.levels[0].for_ms,
        when=levels[0].when if plain else "",
        clear=levels[0].clear if plain else "",
        levels=() if plain else levels,
        of=spec.of,
        keep_firing_for_ms=spec.keep_ms,
        on_missing=spec.on_missing,
        missing_for_ms=spec.missing_for_ms,
        hold_max_ms=spec.hold_max_ms,
    )


durations = st.sampled_from([0, 1, 2, 3, 5, 8])
_LOW: list[tuple[Comparison, Comparison | None]] = [
    ((">", 1.0), None),
    ((">", 1.0), ("<", 1.0)),
    ((">", 1.0), ("<=", 1.0)),
    ((">=", 1.0), ("<", 1.0)),
]
_HIGH: list[tuple[Comparison, Comparison | None]] = [
    ((">", 2.0), None),
    ((">", 2.0), ("<", 1.0)),
    ((">", 2.0), ("<", 2.0)),
    ((">=", 3.0), ("<=", 2.0)),
]


@st.composite
def ladders(draw: st.DrawFn, most: int) -> tuple[SpecLevel, ...]:
    """Levels that are nested: the values in use are 0 to 4."""
    count = draw(st.integers(1, most))
    made = []
    for severity, (when, clear) in zip(
        ["w", "c", "p"], [draw(st.sampled_from(_LOW)), draw(st.sampled_from(_HIGH)), ((">", 3.0), None)], strict=True
    ):
        made.append(SpecLevel(severity, when, clear, draw(durations)))
    if count == 1:
        return (SpecLevel("", made[0].when, made[0].clear, made[0].for_ms),)
    if draw(st.integers(0, 4)) == 0:  # a ladder by duration
        return tuple(SpecLevel(one.severity, None, None, one.for_ms) for one in made[:count])
    return tuple(made[:count])


@st.composite
def specs(
    draw: st.DrawFn,
    exprs: list[str],
    on_missing: list[OnMissing],
    *,
    levels_max: int = 3,
    hold_max: tuple[int, ...] = (4, 12, 1_000),
) -> Spec:
    return Spec(
        draw(st.sampled_from(exprs)),
        draw(ladders(levels_max)),
        1.0,
        draw(st.sampled_from([0, 0, 1, 3, 6])),
        draw(st.sampled_from(on_missing)),
        draw(st.sampled_from([0, 2, 5])),
        draw(st.sampled_from(hold_max)),
    )


plain = specs(NO_OR, ["hold", "reset", "count"])
firing_on_missing = specs(NEEDS_ALL, ["fire"], levels_max=1, hold_max=(1_000,))
any_spec = st.one_of(plain, plain, firing_on_missing)


# --- stories ------------------------------------------------------------------------------------------------

values: st.SearchStrategy[float | str] = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 2.0, 3.0, math.nan, ENDED, DOWN])
names = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))


def sample(time_ms: int, metric: str, instance: str, what: float | str, interval_ms: int) -> Sample:
    series = series_text(metric, {"i": instance})
    if isinstance(what, str):
        return Sample(time_ms, series, STALE, interval_ms, ENDED if what == ENDED else DOWN)
    return Sample(time_ms, series, what, interval_ms)


def batch(time_ms: int, rows: list[Row], interval_ms: int) -> SampleBatch:
    """All stale markers of a batch have one cause, as in a scrape: the first one's."""
    causes = [what for _, _, what in rows if isinstance(what, str)]
    return SampleBatch(
        time_ms,
        tuple(series_text(metric, {"i": instance}) for metric, instance, _ in rows),
        np.array([STALE if isinstance(what, str) else what for _, _, what in rows]),
        interval_ms,
        ENDED if not causes or causes[0] == ENDED else DOWN,
    )


@st.composite
def stories(draw: st.DrawFn, *, told_late: bool = False) -> list[Step]:
    """Atoms and advances. A late sample is one from before an advance.

    Args:
        told_late: Blind spans are told when what lay in them was judged already, and nothing goes stale or down.
    """
    now, made = START, list[Step]()
    steady: st.SearchStrategy[float | str] = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, ENDED])
    of_values = steady if told_late else values
    for _ in range(draw(st.integers(1, 16))):
        now += draw(st.sampled_from([1, 1, 2, 2, 3, 5, 9]))
        kind = draw(st.sampled_from(["sample", "sample", "sample", "batch", "late", "advance", "blind"]))
        interval_ms = 0 if told_late else draw(st.sampled_from([1, 1, 2, 0]))
        if kind in ("advance", "late"):
            made.append(now)
        if kind in ("sample", "late"):
            late_ms = draw(st.sampled_from([0, 1, 3])) if kind == "late" else 0
            made.append(sample(now - late_ms, *draw(names), draw(of_values), interval_ms))
        elif kind == "batch":
            rows = draw(st.lists(names, min_size=1, max_size=4, unique=True))
            made.append(batch(now, [(*name, draw(of_values)) for name in rows], interval_ms))
        elif kind == "blind" and told_late:
            earliest = max([one.from_ms for one in made if isinstance(one, Blind)], default=0)
            made += [now, *draw(spans_before(now, earliest))]
        elif kind == "blind":
            from_ms, now = now, now + draw(st.sampled_from([1, 2, 4, 7]))
            made += [from_ms, Blind(now, from_ms, now)]
    return [*made, now + 40]


@st.composite
def spans_before(draw: st.DrawFn, now: int, earliest: int) -> list[Blind]:
    """One or two that end by now; none begins before one that was told before it."""
    to_ms = now - draw(st.sampled_from([0, 0, 2]))
    from_ms = max(earliest, to_ms - draw(st.sampled_from([1, 2, 4, 7])))
    spans = [Blind(now, from_ms, to_ms), Blind(now, from_ms + draw(st.integers(0, 3)), now)]
    return [span for span in spans[: draw(st.integers(1, 2))] if span.from_ms < span.to_ms]


# --- playing them -------------------------------------------------------------------------------------------


def instance_of(series: str) -> tuple[str, str]:
    metric, instance = series.split("{")
    return metric, instance.split('"')[1]


def told_by_reference(spec: Spec, story: list[Step]) -> list[Told]:
    reference = Reference(spec)
    feed_reference(reference, story)
    return reference.told


def feed_reference(reference: Reference, story: list[Step]) -> None:
    for step in story:
        if isinstance(step, int):
            reference.advance(step)
        elif isinstance(step, Blind):
            reference.blind(step.from_ms, step.to_ms)
        elif isinstance(step, Sample):
            what: float | str = step.stale if is_marker(step.value) else step.value
            reference.feed(step.time_ms, step.interval_ms, [(*instance_of(step.series), what)])
        else:
            assert isinstance(step, SampleBatch)
            values: list[float | str] = [step.stale if is_marker(one) else one for one in step.values.tolist()]
            rows = [(*instance_of(series), one) for series, one in zip(step.series, values, strict=True)]
            reference.feed(step.time_ms, step.interval_ms, rows)


_STALE_BITS = np.float64(STALE).view(np.uint64)


def is_marker(value: float) -> bool:
    return bool(np.float64(value).view(np.uint64) == _STALE_BITS)


def told(transition: Transition) -> Told:
    return (
        transition.time_ms,
        transition.labels["i"],
        transition.before,
        transition.after,
        transition.severity,
        transition.reason,
    )


def play(core: Core, story: list[Step]) -> list[Transition]:
    made: list[Transition] = []
    for step in story:
        made += core.advance(step) if isinstance(step, int) else core.feed([step])
    return made


def by_instance(rows: list[Told]) -> dict[str, list[Told]]:
    return {name: [row for row in rows if row[1] == name] for name in "xy"}


def check(spec: Spec, story: list[Step]) -> None:
    made = [told(transition) for transition in play(Core([compiled(spec)]), story)]
    assert by_instance(made) == by_instance(told_by_reference(spec, story))


@given(plain, stories())
def test_the_core_agrees_with_the_reference(spec: Spec, story: list[Step]) -> None:
    check(spec, story)


@given(firing_on_missing, stories())
def test_missing_data_fires_as_the_reference_says(spec: Spec, story: list[Step]) -> None:
    check(spec, story)


@given(plain, stories(told_late=True))
def test_a_blind_span_that_is_told_late_stops_the_clocks_all_the_same(spec: Spec, story: list[Step]) -> None:
    check(spec, story)


@given(st.lists(any_spec, min_size=1, max_size=3), stories())
def test_a_restart_after_every_atom_changes_nothing(some: list[Spec], story: list[Step]) -> None:
    rules = [compiled(spec, name) for name, spec in zip("RST", some, strict=False)]
    core, made = Core(rules), list[Transition]()
    for step in story:
        made += core.advance(step) if isinstance(step, int) else core.feed([step])
        saved, core = core.snapshot(), Core(rules)
        core.restore(saved)
    assert [repr(told(one)) for one in made] == [repr(told(one)) for one in play(Core(rules), story)]


@given(st.lists(any_spec, min_size=1, max_size=3), stories(), st.data())
def test_how_atoms_are_split_into_feeds_changes_nothing(
    some: list[Spec], story: list[Step], data: st.DataObject
) -> None:
    rules = [compiled(spec, name) for name, spec in zip("RST", some, strict=False)]
    core, made, waiting = Core(rules), list[Transition](), list[Event]()
    for step in story:
        if isinstance(step, int):
            made += [*core.feed(waiting), *core.advance(step)]
            waiting = []
        else:
            waiting.append(step)
            if data.draw(st.booleans()):
                made += core.feed(waiting)
                waiting = []
    assert made == play(Core(rules), story) or repr(made) == repr(play(Core(rules), story))
