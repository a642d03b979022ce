"""The workload that every contestant is given, and what it must make of it.

1,000 series: ten metrics of 100 instances each. One rule for each metric: its value over a threshold for five
seconds. All series are sampled at the same instants, one second apart; the samples of an instant come in the order of
the series, so the stream is in the order of event time.

A *transition* is one change of the state of one alert, and all four kinds count:

    inactive -> pending    the sample is over the threshold and the one before was not
    pending  -> firing     over it for five seconds without a break, at the sample that completes them
    pending  -> inactive   cleared: the first sample that is not over it, before it fired
    firing   -> inactive   resolved: the first sample that is not over it

`for` is a multiple of the interval, so every transition happens at the time of a sample and a loop without timers
can be right. A contestant hands in (time, rule, series, before, after); the digest of the sorted list must be
that of every other. Nothing here knows a contestant.
"""

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FOR_MS", "INTERVAL_MS", "KINDS", "METRICS", "START_MS", "THRESHOLD", "Step", "Workload", "digest", "make"]

METRICS: Final = 10
START_MS: Final = 1_700_000_000_000
INTERVAL_MS: Final = 1_000
FOR_MS: Final = 5_000
THRESHOLD: Final = 80.0
SEED: Final = 20_240_611

KINDS: Final = ("steady", "noisy")
BREACHES_BEGIN: Final = 0.0433
"""Share of the good samples that a breach follows, in the steady workload."""
BREACHES_GO_ON: Final = 0.90
"""Share of the bad samples that another bad one follows: ten seconds on average, six in ten of them fire."""
NOISY_SHARE: Final = 0.40
"""Share of bad samples, each drawn alone: the condition changes at 2 * 0.4 * 0.6 = 48 % of the samples."""


class Step(NamedTuple):
    """One transition, as contestants are compared by it. `before` and `after` are the words of the rule's states."""

    time_ms: int
    rule: str
    series: str
    before: str
    after: str


class Workload(NamedTuple):
    """Samples by instant and series.

    Args:
        kind: One of `KINDS`.
        series: Canonical texts; the instances of one metric stand together.
        rules: Names, one for each metric, in the order of the metrics.
        times_ms: Event times, shape (instants,).
        values: float64, shape (instants, series).
    """

    kind: str
    series: tuple[str, ...]
    rules: tuple[str, ...]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return self.values.size

    @property
    def rule_of(self) -> dict[str, str]:
        """The one rule that reads a series."""
        each = len(self.series) // len(self.rules)
        return {series: self.rules[place // each] for place, series in enumerate(self.series)}

    @property
    def expressions(self) -> dict[str, str]:
        """What the rules say, in PromQL."""
        each = len(self.series) // len(self.rules)
        metrics = [series.partition("{")[0] for series in self.series[::each]]
        return {rule: f"{metric} > {THRESHOLD:g}" for rule, metric in zip(self.rules, metrics, strict=True)}

    @property
    def changes(self) -> int:
        """How often the condition of a series changes; before its first sample it is false."""
        bad = self.values > THRESHOLD
        return int(bad[0].sum()) + int(np.count_nonzero(bad[1:] != bad[:-1]))

    def singles(self) -> list[tuple[int, str, float]]:
        """Every sample as (time, series, value), in order."""
        return [
            (time_ms, series, value)
            for time_ms, row in zip(self.times_ms.tolist(), self.values.tolist(), strict=True)
            for series, value in zip(self.series, row, strict=True)
        ]


def make(kind: str, *, instants: int = 1_000, series: int = 1_000) -> Workload:
    """The workload of a kind and size; the same for the same arguments.

    Args:
        series: A multiple of `METRICS`.
    """
    if kind not in KINDS or series % METRICS:
        raise ValueError(f"no workload {kind!r} of {series} series")
    rng = np.random.default_rng([SEED, KINDS.index(kind)])
    draws = rng.random((instants, series))
    if kind == "noisy":
        bad = draws < NOISY_SHARE
    else:
        bad = np.zeros((instants, series), dtype=np.bool_)
        now = np.zeros(series, dtype=np.bool_)
        for instant in range(instants):
            now = draws[instant] < np.where(now, BREACHES_GO_ON, BREACHES_BEGIN)
            bad[instant] = now
    depth = rng.random((instants, series))
    values = np.where(bad, THRESHOLD + 0.01 + 19 * depth, (THRESHOLD - 0.01) * depth)
    names = tuple(f"service_metric_{number}" for number in range(METRICS))
    texts = tuple(f'{name}{{instance="host-{at:04}"}}' for name in names for at in range(series // METRICS))
    rules = tuple(f"High{number}" for number in range(METRICS))
    return Workload(kind, texts, rules, START_MS + INTERVAL_MS * np.arange(instants, dtype=np.int64), values)


def digest(steps: Iterable[Step]) -> str:
    """What two lists of transitions are compared by, whatever their order."""
    lines = "\n".join("\t".join(map(str, step)) for step in sorted(steps))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
