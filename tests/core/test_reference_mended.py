"""Where the core and the reference differed once: the smallest story of each."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.rules import OnMissing
from engine.events import STALE, Blind, SampleBatch
from tests.core.reference import Comparison, Spec, SpecLevel
from tests.core.test_reference import (
    DOWN,
    ENDED,
    START,
    Step,
    batch,
    by_instance,
    compiled,
    play,
    sample,
    told,
    told_by_reference,
)

ABOVE: Comparison = (">", 1.0)
END = START + 60


def one(
    expr: str = "a",
    for_ms: int = 0,
    *,
    when: Comparison | None = ABOVE,
    clear: Comparison | None = None,
    of: float = 1.0,
    on_missing: OnMissing = "hold",
    missing_for_ms: int = 0,
    keep_ms: int = 0,
    hold_max_ms: int = 1_000,
) -> Spec:
    level = SpecLevel("", when, clear, for_ms)
    return Spec(expr, (level,), of, keep_ms, on_missing, missing_for_ms, hold_max_ms)


def two(low_ms: int, high_ms: int, *, on_missing: OnMissing = "hold", of: float = 1.0, keep_ms: int = 0) -> Spec:
    levels = (SpecLevel("w", ABOVE, None, low_ms), SpecLevel("c", (">", 2.0), None, high_ms))
    return Spec("a", levels, of, keep_ms, on_missing, 2, 1_000)


def at(ms: int, metric: str, what: float | str, interval_ms: int = 1) -> Step:
    return sample(START + ms, metric, "x", what, interval_ms)


def advance(ms: int) -> Step:
    return START + ms


def blind(told_ms: int, from_ms: int, to_ms: int) -> Step:
    return Blind(START + told_ms, START + from_ms, START + to_ms)


MENDED: dict[str, tuple[Spec, list[Step]]] = {
    # --- fires what is not so, or does not end what is over ---
    "or: fresh and false is not missing, though the left side never was": (
        one("a or b", on_missing="fire", missing_for_ms=3),
        [at(ms, "b", 0.0) for ms in range(20)],
    ),
    "unless: fresh and false is not missing, though the right side never was": (
        one("a unless b", on_missing="fire", missing_for_ms=3),
        [at(ms, "a", 0.0) for ms in range(20)],
    ),
    "of: clear resets it": (
        one("a", 4, clear=("<=", 1.0), of=0.5),
        [at(0, "a", 2.0, 0), *[at(ms, "a", 0.0, 0) for ms in range(5, 20)]],
    ),
    "of: what has ended is over": (one("a", 4, of=0.5), [at(0, "a", 2.0, 0), at(4, "a", ENDED, 0)]),
    "of: what is missing is over under reset": (one("a", 5, of=0.5, on_missing="reset"), [at(0, "a", 2.0)]),
    "of: a blind span that is told late takes back nothing that fired": (
        one("a", 20, of=0.8),
        [*[at(ms, "a", 2.0, 5) for ms in range(21)], advance(20), blind(21, 5, 15), at(21, "a", 2.0, 9)],
    ),
    "of: a blind span that is told late resets nothing anew before now": (
        one("a", 1, of=0.5, keep_ms=1),
        [at(0, "a", 2.0), at(1, "a", 0.0), advance(2), blind(2, 1, 2)],
    ),
    "of: a blind span resolves nothing": (
        one("a", 1, of=0.9),
        [at(3, "a", 4.0), advance(6), blind(12, 6, 10)],
    ),
    "of: nobody goes on firing without a severity": (
        two(8, 2, of=0.5),
        [at(0, "a", 3.0, 0), at(1, "a", 0.0, 0), at(3, "a", DOWN, 0)],
    ),
    "of: a pending alert has no severity from an earlier life": (
        two(3, 5, of=0.5),
        [at(0, "a", 3.0, 0), at(3, "a", 1.0), at(31, "a", 2.0, 0)],
    ),
    "of: what is true as it resolves is pending again": (
        one("a", 3, of=0.5, keep_ms=3),
        [at(0, "a", 2.0, 0), at(3, "a", 1.0, 1), at(28, "a", 3.0, 1)],
    ),
    "of: under count the window runs on": (
        one("a", 1, of=0.9, on_missing="count"),
        [at(0, "a", 2.0), at(1, "a", DOWN)],
    ),
    # --- blind spans ---
    "blind: what went stale before it, unnoticed, starts no clock that runs in it": (
        one("a unless b", 5),
        [at(0, "a", 2.0, 0), at(0, "b", 2.0), blind(16, 6, 16)],
    ),
    "blind: no part of hold_max, though nobody had noticed that the data was gone": (
        one(hold_max_ms=10),
        [at(0, "a", 2.0), blind(16, 6, 16)],
    ),
    "blind: a later level's clock stands, though a lower one was due, unnoticed": (
        two(3, 5),
        [at(0, "a", 3.0, 0), blind(8, 4, 8)],
    ),
    "blind: a span told second that begins before the first one counts in full": (
        one("a", 8),
        [at(0, "a", 2.0, 0), advance(7), blind(8, 6, 7), blind(9, 2, 9)],
    ),
    "blind: a pause that it overlaps is taken out once": (
        one("a", 8),
        [at(0, "a", 4.0), advance(7), at(9, "a", 2.0), blind(11, 7, 9)],
    ),
    # --- fire and hold_max, deadlines ---
    "fire: what was lost is not told again when another input goes": (
        one("a / b", on_missing="fire", missing_for_ms=2, hold_max_ms=4),
        [
            at(0, "b", 3.0, 2),
            at(2, "a", 4.0, 0),
            SampleBatch(START + 3, ('a{i="x"}', 'b{i="x"}'), np.array([0.0, STALE]), 2, DOWN),
        ],
    ),
    "fire: the lowest level, though a higher one was due at the very instant": (
        Spec("a", two(5, 1).levels, on_missing="fire"),
        [at(0, "a", 3.0), at(1, "a", DOWN, 0)],
    ),
    "fire: another severity of an alert that is kept is a level": (
        two(0, 0, on_missing="fire", keep_ms=3),
        [at(0, "a", 3.0, 2), at(3, "a", 0.0, 2), at(6, "a", DOWN, 0)],
    ),
    "fire: a sample at the very deadline comes before it, though another one went before": (
        one("a and b", on_missing="fire", missing_for_ms=5),
        [batch(START, [("a", "x", 0.0), ("b", "x", 0.0)], 1), at(9, "a", 3.0), at(9, "b", 1.0)],
    ),
    "keep: a sample at the very deadline comes before it, though another one went before": (
        one("a / b", on_missing="reset", keep_ms=1),
        [at(0, "a", 2.0, 0), at(4, "b", 1.0), at(9, "a", 2.0), batch(START + 9, [("b", "x", 1.0)], 2)],
    ),
    # --- or ---
    "or: the other side stands in": (
        one("a or b"),
        [at(0, "a", 2.0), *[at(ms, "b", 1.0) for ms in range(10)]],
    ),
    "or: who fed it last decides, though both did once": (
        one("a > 1 or b > 1", when=None),
        [at(0, "a", 2.0), at(2, "b", 2.0), at(14, "b", 0.0, 0)],
    ),
    "of without for fires at once": (one("a", 0, of=0.9), [at(0, "a", 2.0, 0)]),
}


def compare(spec: Spec, story: list[Step]) -> None:
    core = [told(transition) for transition in play(Core([compiled(spec)]), story)]
    assert by_instance(core) == by_instance(told_by_reference(spec, story))


@pytest.mark.parametrize("name", MENDED)
def test_a_difference_that_was_mended(name: str) -> None:
    spec, story = MENDED[name]
    compare(spec, [*story, END])


def test_after_a_restart_what_was_never_complete_is_not_missing() -> None:
    rules = [compiled(one("a / b", on_missing="fire"))]
    core = Core(rules)
    stories: list[list[Step]] = [[at(0, "a", 0.0)], [at(9, "b", 0.0)], [END]]
    for story in stories:
        assert play(core, story) == []
        saved, core = core.snapshot(), Core(rules)
        core.restore(saved)
