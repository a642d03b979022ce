"""What the number of series and of rules does to the cost of a sample, and to how long a step holds the loop."""

import gc
import time
from collections.abc import Callable, Generator
from typing import Final

import numpy as np

from benchmarks.harness import Row
from benchmarks.hotloop.timing import in_turns, ratios_to_first
from benchmarks.hotloop.workload import INTERVAL_MS, START_MS
from engine.core.evaluator import Core
from engine.core.rules import compile_rule
from engine.events import Event, Sample, SampleBatch, Transition
from engine.runtime.stepping import letting_go

__all__ = ["breadth_rows", "size_rows", "step_rows"]

METRICS: Final = 10
BATCH: Final = 1_000
SEED: Final = 11
SINGLES_MAX: Final = 8.0
BATCHES_MAX: Final = 1.5
STEP_MS_MAX: Final = 5.0


def breadth_rows(*, quick: bool) -> list[Row]:
    """The part of the table about many series and many rules."""
    sizes = (1_000, 10_000) if quick else (1_000, 100_000, 1_000_000)
    rules = 1_000 if quick else 10_000
    return [*size_rows(sizes, samples=20 * BATCH, rounds=1 if quick else 5), *step_rows(rules)]


def size_rows(sizes: tuple[int, ...], *, samples: int, rounds: int) -> list[Row]:
    """Cost of a sample among ever more series, relative to the first size."""
    worlds = [_World(size, samples) for size in sizes]
    singles = in_turns([world.singles for world in worlds], rounds=rounds)
    batches = in_turns([world.batches for world in worlds], rounds=rounds)
    rows = []
    for how, seconds, limit in (("single events", singles, SINGLES_MAX), ("batches of 1,000", batches, BATCHES_MAX)):
        rows.append(Row(f"{how} among {sizes[0]:,} series", min(seconds[0]) / samples * 1e9, "ns", note="per sample"))
        rows += [
            Row(f"{how} among {size:,} series / {sizes[0]:,}", ratio, "x", limit)
            for size, ratio in list(zip(sizes, ratios_to_first(seconds), strict=True))[1:]
        ]
    return rows


class _World:
    """A core that knows many series, and the next samples of some of them, drawn at random.

    Args:
        samples: How many at a time, a multiple of `BATCH`.
    """

    def __init__(self, size: int, samples: int) -> None:
        self._samples = samples
        names = [f"metric_{number}" for number in range(METRICS)]
        self._series = tuple(f'{names[at % METRICS]}{{instance="host-{at // METRICS:06}"}}' for at in range(size))
        self._core = Core([compile_rule(f"High{n}", f"{name} > 80", for_ms=5_000) for n, name in enumerate(names)])
        self._rng = np.random.default_rng(SEED)
        self._now_ms = START_MS
        for start in range(0, size, BATCH):
            part = self._series[start : start + BATCH]
            self._core.feed([SampleBatch(self._now_ms, part, np.zeros(len(part)))])
        # Batches are of series that stand together, as those of one scrape do, and come again.
        starts = self._rng.integers(0, size - BATCH + 1, 5)
        self._shapes = [self._series[start : start + BATCH] for start in starts]
        # What an alert is called is found out when it first begins; that is no matter of how many series there are.
        for value in (90.0, 10.0):
            for shape in self._shapes:
                self._now_ms += INTERVAL_MS
                self._core.feed([SampleBatch(self._now_ms, shape, np.full(BATCH, value))])
        self.batches()()
        self.singles()()

    def singles(self) -> Callable[[], object]:
        """Samples of series drawn at random, a millisecond apart: nothing of one is at hand when it comes."""
        drawn = self._rng.integers(0, len(self._series), self._samples).tolist()
        values = self._values(self._samples).tolist()
        events: list[Event] = [
            Sample(self._now_ms + 1 + at, self._series[place], value)
            for at, (place, value) in enumerate(zip(drawn, values, strict=True))
        ]
        self._now_ms += self._samples
        return lambda: self._feed([events[start : start + 4_000] for start in range(0, self._samples, 4_000)])

    def batches(self) -> Callable[[], object]:
        """Batches of the same five tuples of series."""
        feeds: list[list[Event]] = []
        for number in range(self._samples // BATCH):
            self._now_ms += INTERVAL_MS
            feeds.append([SampleBatch(self._now_ms, self._shapes[number % 5], self._values(BATCH))])
        return lambda: self._feed(feeds)

    def _values(self, number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """One in fifty is over the threshold."""
        return np.where(self._rng.random(number) < 0.02, 90.0, 10.0)

    def _feed(self, feeds: list[list[Event]]) -> None:
        for events in feeds:
            self._core.feed(events)
            self._core.advance(events[-1].time_ms - 1)


def step_rows(rules: int) -> list[Row]:
    """How long the generators of a core with many rules hold the loop at most: from the first scrape on."""
    series = tuple(f'metric{{instance="host-{at:04}"}}' for at in range(BATCH))
    rng = np.random.default_rng(SEED)
    # A threshold each: over the lowest of them are a hundred series, over the highest one or two.
    limits = np.linspace(90, 99.9, rules)
    core = Core([compile_rule(f"Rule{n}", f"metric > {x:.4f}", for_ms=2_000) for n, x in enumerate(limits.tolist())])
    gc.collect()
    longest = [0.0, 0.0]
    steps = 0
    values = rng.uniform(0, 100, BATCH)
    for scrape in range(5):
        now_ms = START_MS + scrape * INTERVAL_MS
        values = values.copy()
        values[rng.integers(0, BATCH, 20)] = rng.uniform(0, 100, 20)
        for generator in (core.feeding([SampleBatch(now_ms, series, values, INTERVAL_MS)]), core.advancing(now_ms)):
            held, number = _held(generator)
            longest[scrape > 0] = max(longest[scrape > 0], held)
            steps += number
    name, note = f"{rules:,} rules x {BATCH:,} series", "CPU time between two yields, feeding and advancing"
    return [
        Row(f"{name}, longest step, first scrape", longest[0] * 1e3, "ms", STEP_MS_MAX, "lower", note),
        Row(f"{name}, longest step, later ones", longest[1] * 1e3, "ms", STEP_MS_MAX, "lower", f"of {steps:,} steps"),
    ]


def _held(generator: Generator[None, None, list[Transition]]) -> tuple[float, int]:
    """The longest time between two yields, in seconds of this thread, and how many yields there were. What becomes of
    the transitions is the caller's; that they go at last, as the engine lets them go, is part of it."""
    longest, steps = 0.0, 0
    made: list[Transition] = []
    while True:
        began, ended = time.thread_time(), False
        try:
            next(generator)
        except StopIteration as end:
            made, ended = end.value or made, True
        longest, steps = max(longest, time.thread_time() - began), steps + 1
        if ended and not made:
            return longest, steps
        if ended:
            generator, made = _freed(made), []


def _freed(made: list[Transition]) -> Generator[None, None, list[Transition]]:
    yield from letting_go(made)
    made.clear()
    return []
