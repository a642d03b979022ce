"""Scrapes and samples through `feed` and `advance`, beside a plain loop over dicts.

The plain loop is what a small monitor does: for each sample look its alert up in a dict, compare, keep the time.
It has no `for` deadlines, no label sets, no staleness; it is the floor of the simple way, in the same run.
"""

import random
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.harness import Row, best_of
from engine.core.evaluator import Core
from engine.core.rules import Rule, compile_rule
from engine.events import Event, Sample, SampleBatch
from engine.series import series_text

SERIES = 10_000
SCRAPES = 20
START_MS = 1_700_000_000_000


def run() -> list[Row]:
    """Measure, and return the figures."""
    ten = [compile_rule(f"R{i}", f"cpu > {99 + i / 10}", for_ms=300_000) for i in range(10)]
    joined = [compile_rule("Joined", "cpu > 99 and memory > 99", for_ms=300_000)]
    one_ms, plain_ms = _scrapes(ten[:1]), _plain(_shape("cpu"))
    return [
        Row(f"scrape of {SERIES:,} series, 1 rule", one_ms, "ms", limit=0.5),
        Row(f"scrape of {SERIES:,} series, 10 rules", _scrapes(ten), "ms", limit=3.0),
        Row(f"the same in a loop over dicts, 1 rule of {SERIES:,}", plain_ms, "ms"),
        Row("loop over dicts / scrape, 1 rule", plain_ms / one_ms, "x", limit=3.0, better="higher"),
        Row(f"scrape of 2 x {SERIES:,} series, 1 rule with `and`", _scrapes(joined, "cpu", "memory"), "ms", limit=1.5),
        Row("one sample, fed and advanced alone", _singles(), "us", limit=200.0),
        Row("24 h of one series at 1 s, as 86,400 single samples", _day(), "ms", limit=600.0),
        Row("10,000 alerts that begin in one scrape, each", _storm(), "us", limit=60.0),
        *_flatness(),
    ]


def _shape(*metrics: str) -> tuple[str, ...]:
    return tuple(series_text(metric, {"instance": f"host-{i}"}) for metric in metrics for i in range(SERIES))


def _values(size: int, scrapes: int) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Values of which about one in a hundred is over 99 for good, and a few cross the line at each scrape."""
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 100, size)
    made = []
    for _ in range(scrapes):
        values = base.copy()
        values[rng.integers(0, size, size // 1_000)] = rng.uniform(0, 100, size // 1_000)
        made.append(values)
    return made


def _scrapes(rules: Sequence[Rule], *metrics: str) -> float:
    """Milliseconds for one scrape."""
    shape = _shape(*(metrics or ("cpu",)))
    values = _values(len(shape), SCRAPES)
    core = Core(rules)
    core.feed([SampleBatch(START_MS, shape, values[0], 1_000)])
    now = START_MS

    def work() -> None:
        nonlocal now
        for column in values:
            now += 1_000
            core.feed([SampleBatch(now, shape, column, 1_000)])
            core.advance(now)

    return best_of(work) / SCRAPES * 1e3


def _plain(shape: tuple[str, ...]) -> float:
    """Milliseconds for one scrape, in a loop over dicts."""
    columns = [values.tolist() for values in _values(len(shape), SCRAPES)]
    since: dict[str, int] = {}
    fired: set[str] = set()
    now = START_MS

    def work() -> None:
        nonlocal now
        for column in columns:
            now += 1_000
            for text, value in zip(shape, column, strict=True):
                if value > 99:
                    if now - since.setdefault(text, now) >= 300_000:
                        fired.add(text)
                elif text in since:
                    del since[text]
                    fired.discard(text)

    return best_of(work) / SCRAPES * 1e3


def _singles() -> float:
    """Microseconds for one sample that comes alone."""
    core, rng = Core([compile_rule("R", "cpu > 99", for_ms=300_000)]), random.Random(1)
    now = START_MS

    def work() -> None:
        nonlocal now
        for _ in range(1_000):
            now += 1_000
            core.feed([Sample(now, "cpu", rng.uniform(0, 100), 1_000)])
            core.advance(now)

    return best_of(work) / 1_000 * 1e6


def _day() -> float:
    """Milliseconds for a day that crosses its line for ten minutes every hour."""
    made = [Sample(START_MS + i * 1_000, "cpu", 99.5 if i % 3_600 < 600 else 5.0, 1_000) for i in range(86_400)]

    def work() -> None:
        core = Core([compile_rule("R", "cpu > 99", for_ms=300_000)])
        core.feed(made)
        core.advance(made[-1].time_ms)

    return best_of(work, repeats=3) * 1e3


def _storm() -> float:
    """Microseconds for each of 10,000 alerts that turn pending at once."""
    shape = _shape("cpu")

    def work() -> None:
        core = Core([compile_rule("R", "cpu > 99", for_ms=300_000)])
        core.feed([SampleBatch(START_MS, shape, np.full(len(shape), 100.0), 1_000)])

    def calm() -> None:
        core = Core([compile_rule("R", "cpu > 99", for_ms=300_000)])
        core.feed([SampleBatch(START_MS, shape, np.zeros(len(shape)), 1_000)])

    return (best_of(work) - best_of(calm)) / SERIES * 1e6


def _flatness() -> list[Row]:
    """What a scrape costs must not depend on rules that do not read it, nor on other series."""
    alone = _scrapes([compile_rule("R", "cpu > 99", for_ms=300_000)])
    others = [compile_rule(f"Other{i}", f"metric_{i} > 1") for i in range(1_000)]
    beside_rules = _scrapes([compile_rule("R", "cpu > 99", for_ms=300_000), *others])
    beside_series = _with_other_series()
    return [
        Row("the same beside 1,000 rules on other metrics / alone", beside_rules / alone, "x", limit=1.5),
        Row("the same beside 100,000 other series / alone", beside_series / alone, "x", limit=1.5),
    ]


def _with_other_series() -> float:
    shape, core = _shape("cpu"), Core([compile_rule("R", "cpu > 99", for_ms=300_000)], batch_samples_max=200_000)
    others = tuple(series_text("other", {"instance": f"host-{i}"}) for i in range(100_000))
    core.feed([SampleBatch(START_MS, others, np.zeros(len(others)), 1_000)])
    columns, now = _values(len(shape), SCRAPES), START_MS

    def work() -> None:
        nonlocal now
        for column in columns:
            now += 1_000
            batch: list[Event] = [SampleBatch(now, shape, column, 1_000)]
            core.feed(batch)
            core.advance(now)

    work()
    timed: Callable[[], None] = work
    return best_of(timed) / SCRAPES * 1e3
