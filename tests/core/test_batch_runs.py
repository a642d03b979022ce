"""Batches of the same series that come together are landed at once: what comes of them is what comes of each alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.rules import Rule, compile_rule
from engine.core.runs import Runs
from engine.events import STALE, Event, SampleBatch

SERIES = tuple(f'{metric}{{i="{at}"}}' for metric in ("a", "b", "c") for at in range(4))
SHAPES = (SERIES, SERIES[:4], SERIES[2:9], SERIES[::-1])
RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a > 1", {"for_ms": 0}),
    ("a > 2", {"for_ms": 1_500}),
    ("b >= 1", {"for_ms": 2_000, "on_missing": "reset"}),
    ("a / b > 1", {"for_ms": 1_000}),
    ("-c < -1", {"for_ms": 500, "hold_max_ms": 3_000}),
    ("c > 1", {"for_ms": 1_000, "keep_firing_for_ms": 1_500}),
    ("c != 1", {"for_ms": 700, "on_missing": "count"}),
)


def rules_of(rng: random.Random) -> list[Rule]:
    chosen = rng.sample(RULES, rng.randint(1, 4))
    return [compile_rule(f"R{at % 2}", expr, labels={"k": str(at)}, **how) for at, (expr, how) in enumerate(chosen)]


def script_of(rng: random.Random) -> list[list[Event] | int]:
    """Feeds of batches, mostly of the same series and in order of time, and advances."""
    now_ms, script = 10_000, list[list[Event] | int]()
    for _ in range(rng.randint(1, 6)):
        series, events = rng.choice(SHAPES), list[Event]()
        odd = rng.random() < 0.4
        for _ in range(rng.randint(1, 7)):
            now_ms += rng.choice([500, 1_000, 1_000])
            if odd and rng.random() < 0.2:
                series, now_ms = rng.choice(SHAPES), now_ms + rng.choice([0, 4_000])
            late = rng.choice([0, 600, 2_500]) if odd and rng.random() < 0.2 else 0
            values = np.array([float(rng.choice([0, 0, 1, 2, 3])) for _ in series])
            if odd and rng.random() < 0.2:
                values[rng.randrange(len(values))] = rng.choice([STALE, np.nan, np.inf])
            interval_ms = rng.choice([500, 1_000, 0]) if odd else 1_000
            events.append(SampleBatch(now_ms - late, series, values, interval_ms, rng.choice(["ended", "target_down"])))
        script += [events, now_ms - rng.choice([0, 1, 700])]
    return [*script, now_ms + 20_000]


def run(rules: Sequence[Rule], script: Sequence[list[Event] | int], *, together: bool) -> list[Any]:
    core, made = Core(rules), list[Any]()
    for step in script:
        if isinstance(step, int):
            made += core.advance(step)
            made += [core.alerts(), core.resolved(), sorted(core.counters().items())]
            continue
        for events in [step] if together else [[event] for event in step]:
            made += core.feed(events)
    return made


@pytest.mark.parametrize("seed", range(40))
def test_batches_together_come_to_what_they_come_to_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    rules, script = rules_of(rng), script_of(rng)
    assert repr(run(rules, script, together=True)) == repr(run(rules, script, together=False))


def test_batches_of_plain_rules_are_landed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    landed: list[int] = []
    land = Runs.land_batches

    def counting(self: Runs, run: object) -> object:
        landed.append(len(run.times))  # type: ignore[attr-defined]
        return land(self, run)  # type: ignore[arg-type]

    monkeypatch.setattr(Runs, "land_batches", counting)
    core = Core([compile_rule("A", "a > 1", for_ms=1_000), compile_rule("Q", "a / b > 1")])
    batches = [SampleBatch(10_000 + 1_000 * at, SERIES, np.full(len(SERIES), float(at)), 1_000) for at in range(6)]
    core.feed(batches[:4])
    assert landed == [4]
    core.feed(batches[4:5])
    assert landed == [4]
    core.feed([SampleBatch(30_000, SERIES, batches[0].values, 1_000), *batches[5:]])  # time goes back
    assert landed == [4]
