"""What a tuple of series touches in rules that are judged together, in steps.

A thousand series and ten thousand rules meet in ten million label sets, so whatever goes through them all goes a slice
at a time, and puts nothing in order at once. It must never depend on how the slices are cut.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np

from engine.core.alert_rows import Ints
from engine.core.binding import Touched
from engine.core.columns import distinct
from engine.core.inputs import Inputs
from engine.core.judge import Judge
from engine.core.kin import Kin, Part

__all__ = ["Parts", "parts_of", "touched_by"]

Parts: TypeAlias = tuple[tuple[Kin, tuple[Part, ...]], ...]
PLACES_PER_PART: Final = 20_000
PAIRS_PER_STEP: Final = 32_768
JUDGES_PER_STEP: Final = 64


def parts_of(
    handles: Ints, kins: Sequence[tuple[int, Kin]], kin_of_rule: Ints, inputs: Inputs
) -> Generator[None, None, Parts]:
    """The label sets that series touch in each kin, ascending, some of them at a time; nothing of a kin without any.

    Args:
        handles: Of the series, each once, as they stand in an atom.
        kins: Those that read them, with their numbers, ascending.
        kin_of_rule: By rule, the number of its kin.
    """
    if not kins or not len(handles):
        return ()
    at = np.argsort(handles, kind="stable")
    series = handles[at]
    found: dict[int, list[Part]] = {number: [] for number, _ in kins}
    waiting: dict[int, Ints] = {number: handles[:0] for number, _ in kins}
    for places in _places(handles, inputs):
        if places is None:
            yield
            continue
        whose = kin_of_rule[inputs.rule.array[places]] if len(kins) > 1 else None
        for number, kin in kins:
            mine = places if whose is None else places[whose == number]
            waits = np.concatenate([waiting[number], mine]) if len(waiting[number]) else mine
            while len(waits) >= PLACES_PER_PART:
                found[number].append(kin.part(waits[:PLACES_PER_PART].copy(), series, at))
                waits = waits[PLACES_PER_PART:]
                yield
            waiting[number] = waits
        yield
    for number, kin in kins:
        if len(waiting[number]):
            found[number].append(kin.part(waiting[number], series, at))
            yield
    return tuple((kin, tuple(found[number])) for number, kin in kins if found[number])


def _places(handles: Ints, inputs: Inputs) -> Iterator[Ints | None]:
    """The places that series feed, each once, ascending, some at a time; None where it pauses."""
    slices = list(inputs.slices(handles, PAIRS_PER_STEP))
    if len(slices) == 1:
        yield distinct(inputs.of(handles).places)
        return
    fed = np.zeros(len(inputs.rule), dtype=np.bool_)
    for some in slices:
        fed[inputs.of(handles[some]).places] = True
        yield None
    for start in range(0, len(fed), PAIRS_PER_STEP):
        here = np.flatnonzero(fed[start : start + PAIRS_PER_STEP])
        yield here + start if len(here) else None


def touched_by(judges: Iterable[Judge], handles: Ints) -> Generator[None, None, tuple[tuple[Judge, Touched], ...]]:
    """What series touch in rules, in steps."""
    found = []
    for number, judge in enumerate(judges, 1):
        touch = judge.binding.touched(handles)
        if touch is not None:
            found.append((judge, touch))
        if number % JUDGES_PER_STEP == 0:
            yield
    return tuple(found)
