"""The core against an independent reference that looks at every millisecond, under everything that can happen to it.

Where DESIGN leaves it open, the reference says what it takes for granted. Where the two differed once, the smallest
story of it is in `test_reference_mended.py`.
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

EVERY_MISSING: list[OnMissing] = ["hold", "reset", "count", "fire"]


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
    draw: st.DrawFn, exprs: list[str], on_missing: list[OnMissing], of: tuple[float, ...] = (0.5, 0.8, 1.0)
) -> Spec:
    return Spec(
        draw(st.sampled_from(exprs)),
        draw(ladders(3)),
        draw(st.sampled_from(of)),
        draw(st.sampled_from([0, 0, 1, 3, 6])),
        draw(st.sampled_from(on_missing)),
        draw(st.sampled_from([0, 2, 5])),
        draw(st.sampled_from([4, 12, 1_000])),
    )


any_spec = specs(list(EXPRESSIONS), EVERY_MISSING)
without_of = specs(list(EXPRESSIONS), EVERY_MISSING, (1.0,))


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
        told_late: Blind spans are told at any time after them, too, and overlap others.
    """
    kinds = ["sample", "sample", "sample", "batch", "late", "advance", "blind", *["overlapping"] * told_late]
    now, made = START, list[Step]()
    for _ in range(draw(st.integers(1, 16))):
        now += draw(st.sampled_from([0, 1, 1, 2, 2, 3, 5, 9]))
        kind = draw(st.sampled_from(kinds))
        interval_ms = draw(st.sampled_from([1, 1, 2, 0]))
        if kind in ("advance", "late"):
            made.append(now)
        if kind in ("sample", "late"):
            late_ms = draw(st.sampled_from([0, 1, 3])) if kind == "late" else 0
            made.append(sample(now - late_ms, *draw(names), draw(values), interval_ms))
        elif kind == "batch":
            rows = draw(st.lists(names, min_size=1, max_size=4, unique=True))
            made.append(batch(now, [(*name, draw(values)) for name in rows], interval_ms))
        elif kind in ("blind", "overlapping"):
            if draw(st.booleans()):
                made.append(now)
            if kind == "blind":
                from_ms, now = now, now + draw(st.sampled_from([1, 2, 4, 7]))
                to_ms = now
            else:
                to_ms = now - draw(st.sampled_from([0, 0, 2, 5]))
                from_ms = to_ms - draw(st.sampled_from([1, 2, 4, 7]))
            made.append(Blind(now, from_ms, to_ms))
    return [*made, now + 40]


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


@given(any_spec, stories())
def test_the_core_agrees_with_the_reference(spec: Spec, story: list[Step]) -> None:
    check(spec, story)


@given(without_of, stories(told_late=True))
def test_a_blind_span_that_is_told_late_stops_the_clocks_all_the_same(spec: Spec, story: list[Step]) -> None:
    """Without `of`: what a span that is told late does to a window, the core notices with the next sample."""
    check(spec, story)


with_of = specs(["a"], EVERY_MISSING, (0.5, 0.8))


@given(with_of, stories(told_late=True))
def test_a_blind_span_that_is_told_late_takes_no_share_back(spec: Spec, story: list[Step]) -> None:
    """Where time has passed before it is told, as in an engine: what was counted is counted for a level that is set."""
    passed = [part for step in story for part in ([step.time_ms, step] if isinstance(step, Blind) else [step])]
    check(spec, passed)


@given(st.lists(any_spec, min_size=1, max_size=3), stories(told_late=True))
def test_a_restart_after_every_atom_changes_nothing(some: list[Spec], story: list[Step]) -> None:
    rules = [compiled(spec, name) for name, spec in zip("RST", some, strict=False)]
    core, made = Core(rules), list[Transition]()
    for step in story:
        made += core.advance(step) if isinstance(step, int) else core.feed([step])
        saved, core = core.snapshot(), Core(rules)
        core.restore(saved)
    assert [repr(told(one)) for one in made] == [repr(told(one)) for one in play(Core(rules), story)]


@given(st.lists(any_spec, min_size=1, max_size=3), stories(told_late=True), st.data())
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
