"""A service to be watched, made of numbers: counters that grow, buckets, gauges of its host, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from engine.config import load_text
from engine.config.shape import RuleTable
from engine.core.evaluator import Core
from engine.events import Event, SampleBatch, Transition
from engine.runtime.assembly import build_core
from engine.series import series_text
from engine.testing import START_MS

TARGET = {"job": "shop", "instance": "10.0.0.1:8000"}
BOUNDS = ("0.1", "0.5", "1.0", "2.5", "+Inf")
INTERVAL_S = 15
OLD = 1_000_000
"""Where counters of a service that has run for long stand: too far from 0 for `rate` to guess that they began there."""


def pack(keys: str = "", resolution: str = "1m", rules: str = "") -> str:
    """A run.toml with the pack; `keys` are those of [pack.service]."""
    return (
        f"[engine]\npacks = ['service']\nresolution = '{resolution}'\n[sink.console]\n[pack.service]\n{keys}\n{rules}"
    )


def core_of(text: str = "") -> Core:
    """A core as the engine builds it: with its projectors."""
    return build_core(load_text(text or pack(), environ={}), ())


class Service:
    """What one target exposes. `requests` are counted; `scrape` gives them as one batch."""

    def __init__(self, labels: Mapping[str, str] = TARGET, status_label: str = "status", start: int = OLD) -> None:
        self._labels, self._status_label, self._start = dict(labels), status_label, start
        self.statuses: dict[str, int] = {}
        self.buckets = dict.fromkeys(BOUNDS, 0)
        self.more: dict[str, float] = {}
        """Further series by their text."""
        self._names: tuple[str, ...] = ()

    def requests(self, count: int, status: str = "200", seconds: float = 0.05) -> None:
        """So many more were answered."""
        self.statuses[status] = self.statuses.get(status, self._start) + count
        for bound in BOUNDS:
            if seconds <= float(bound):
                self.buckets[bound] += count

    def restart(self) -> None:
        """Its counters begin anew."""
        self._start = 0
        self.statuses = dict.fromkeys(self.statuses, 0)
        self.buckets = dict.fromkeys(BOUNDS, 0)

    def series(self, metric: str, **labels: str) -> str:
        """A series of the target."""
        return series_text(metric, {**self._labels, **labels})

    def scrape(self, at_s: float, interval_s: float = INTERVAL_S, up: float = 1.0) -> SampleBatch:
        """Everything it exposes, as the `scrape` probe would hand it over."""
        values = {self.series("up"): up}
        if up:
            for status, count in self.statuses.items():
                values[self.series("http_requests_total", **{self._status_label: status})] = float(count)
            for bound, count in self.buckets.items():
                name = self.series("http_request_duration_seconds_bucket", le=bound)
                values[name] = float(count + self._start)
            values |= self.more
        return batch(at_s, values, interval_s)


def batch(at_s: float, values: Mapping[str, float], interval_s: float = INTERVAL_S) -> SampleBatch:
    """Samples of one instant, seconds after `START_MS`."""
    numbers = np.array(list(values.values()), dtype=np.float64)
    return SampleBatch(START_MS + round(at_s * 1000), tuple(values), numbers, round(interval_s * 1000))


def gauge(
    series: str, value: Callable[[float], float], until_s: float, every_s: float = INTERVAL_S, at_s: float = 0
) -> Iterator[SampleBatch]:
    """A gauge by time."""
    while at_s <= until_s:
        yield batch(at_s, {series: value(at_s)}, every_s)
        at_s += every_s


def play(core: Core, events: Iterable[Event], until_s: float | None = None) -> list[Transition]:
    """Feed events one by one, time going with them, and then on to `until_s`."""
    made: list[Transition] = []
    for event in events:
        made += core.advance(event.time_ms - 1)
        made += core.feed([event])
        made += core.advance(event.time_ms)
    if until_s is not None:
        made += core.advance(START_MS + round(until_s * 1000))
    return made


def told(made: Sequence[Transition], *kinds: str) -> list[tuple[float, str, str]]:
    """(seconds, rule and the severity of its level, what happened), those of other kinds left out."""
    return [
        ((t.time_ms - START_MS) / 1000, f"{t.rule} {t.severity}".strip(), t.kind)
        for t in made
        if t.kind in (kinds or ("firing", "resolved", "lost"))
    ]


def severities(table: RuleTable) -> list[tuple[str, str]]:
    """(severity, for) of each level of a rule, or of the rule."""
    if not table.levels:
        return [(table.labels["severity"], str(table.for_))]
    return [(level.severity, str(level.for_)) for level in table.levels]


def latest(core: Core, record: str) -> dict[str, float]:
    """What a recording rule of the pack says now."""
    return core.latest(f"service:{record}")
