"""Single samples that come in rounds are recognised, and come to what they come to one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.rounds import Rounds, grouped_rounds
from engine.core.rules import compile_rule
from engine.events import Event, Sample

TEXTS = [f'a{{i="{at}"}}' for at in range(7)]


def handles_of(texts: list[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([10 + TEXTS.index(text) for text in texts], dtype=np.int64)


def test_rounds_are_found_again_wherever_they_begin_and_end() -> None:
    rounds = Rounds()
    seen = (TEXTS * 3)[:17]
    assert rounds.find(seen) is None
    rounds.note(seen, handles_of(seen))
    for start in range(9):
        for stop in range(start + 1, 25):
            texts = (TEXTS * 4)[start:stop]
            found = rounds.find(texts)
            assert found is not None
            assert (found[0].tolist(), found[1]) == (handles_of(texts).tolist(), 7)


@pytest.mark.parametrize("texts", [TEXTS[1:4] + TEXTS[5:], [*TEXTS, TEXTS[1]], ["b"], TEXTS[::-1]])
def test_what_is_not_expected_is_not_found(texts: list[str]) -> None:
    rounds = Rounds()
    rounds.note(TEXTS * 2, handles_of(TEXTS * 2))
    assert rounds.find(texts) is None
    rounds.forget()
    assert rounds.find(TEXTS) is None


def test_what_comes_a_second_time_is_a_round() -> None:
    rounds = Rounds()
    rounds.note(TEXTS, handles_of(TEXTS))
    assert rounds.find(TEXTS) is None
    rounds.note(TEXTS, handles_of(TEXTS))
    found = rounds.find([*TEXTS[3:], *TEXTS[:2]])
    assert found is not None
    assert (found[0].tolist(), found[1]) == ([13, 14, 15, 16, 10, 11], 7)


@pytest.mark.parametrize("texts", [TEXTS, [*TEXTS, TEXTS[2]] * 2, [*TEXTS, *TEXTS[:3], TEXTS[0]]])
def test_what_is_no_round_is_not_noted(texts: list[str]) -> None:
    rounds = Rounds()
    rounds.note(texts, handles_of(texts))
    assert rounds.find(texts) is None


@pytest.mark.parametrize(("samples", "size"), [(1, 1), (5, 2), (6, 2), (3, 7), (7, 7), (20, 7)])
def test_samples_of_rounds_are_grouped_by_series(samples: int, size: int) -> None:
    order, begins = grouped_rounds(samples, size)
    assert order.tolist() == [at for first in range(size) for at in range(first, samples, size)]
    assert [order[at] for at in begins] == list(range(min(size, samples)))


@pytest.mark.parametrize("seed", range(8))
def test_rounds_come_to_what_samples_come_to_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    rules = [compile_rule("A", "a > 1", for_ms=300), compile_rule("B", "a / b > 1", for_ms=100)]
    names = [*TEXTS[: rng.randint(1, 7)], *(text.replace("a{", "b{") for text in TEXTS[: rng.randint(1, 4)])]
    rng.shuffle(names)
    events: list[Event] = []
    for at in range(200):
        late = rng.choice([0, 0, 0, 700]) if rng.random() < 0.1 else 0
        series = rng.choice(names) if rng.random() < 0.02 else names[at % len(names)]
        events.append(Sample(10_000 + 10 * at - late, series, float(rng.choice([0, 1, 2, 5])), rng.choice([0, 1_000])))
    together, alone = Core(rules), Core(rules)
    start = 0
    while start < len(events):
        stop = start + rng.randint(1, 60)
        assert repr(together.feed(events[start:stop])) == repr(
            [one for event in events[start:stop] for one in alone.feed([event])]
        )
        now_ms = 10_000 + 10 * stop - rng.choice([1, 300])
        assert repr(together.advance(now_ms)) == repr(alone.advance(now_ms))
        start = stop
    assert repr(together.alerts()) == repr(alone.alerts())
    assert together.counters() == alone.counters()
