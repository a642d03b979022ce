"""From what a probe read to one `SampleBatch`, for probes whose series come and go.

While the set of series stays the same, every batch carries the same tuple of texts, so that the store
recognises it by identity. A series that has ended gets one stale marker. Pure: it must never read a
clock or a target, and it must never call something ended because it could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from engine.events import STALE, SampleBatch
from engine.series import series_text

__all__ = ["Batcher", "Key", "key"]

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A metric name and the labels a probe gives it, as pairs; the operator's labels come on top."""


def key(metric: str, **labels: str) -> Key:
    """Return the key of a metric with these labels."""
    return metric, tuple(labels.items())


class Batcher:
    """Builds the batches of one probe.

    Args:
        labels: What every series carries. The probe's own labels win, they tell its series apart.
        interval_ms: How often the probe measures.
    """

    def __init__(self, labels: Mapping[str, str], interval_ms: int) -> None:
        self._labels = dict(labels)
        self._interval_ms = interval_ms
        self._alive: dict[Key, str] = {}  # told of and not ended; some may be unreadable just now
        self._asked: tuple[Key, ...] = ()  # keys of the last batch, as handed in
        self._keys: tuple[Key, ...] = ()  # the same without those whose text another key has already
        self._series: tuple[str, ...] = ()

    def batch(
        self, time_ms: int, values: Mapping[Key, float], unknown: Callable[[Key], bool] = lambda _: False
    ) -> SampleBatch:
        """Return the batch of one measurement.

        Args:
            time_ms: Event time.
            values: What was read, in an order that is the same each time.
            unknown: Whether a series that is not in `values` may still exist. It is then left out without
                a marker and goes stale by age: that is ignorance, and only evidence resolves an alert.

        Raises:
            ValueError: A metric or a label that `engine.series.series_text` refuses.
        """
        ended = [gone for gone in self._alive if gone not in values and not unknown(gone)]
        if ended or tuple(values) != self._asked:
            markers = self._reshape(values, ended)
        else:
            markers = ()
        numbers = [values[known] for known in self._keys] + [STALE] * len(markers)
        # Adding nothing to a tuple gives the same object again.
        return SampleBatch(time_ms, self._series + markers, np.array(numbers, dtype=np.float64), self._interval_ms)

    def _reshape(self, values: Mapping[Key, float], ended: list[Key]) -> tuple[str, ...]:
        """Take over a new set of series; return the texts of those that have ended."""
        alive = {known: text for known, text in self._alive.items() if known not in values}
        gone = [alive.pop(known) for known in ended]
        # Two names can be the same text once cleaned; a batch must not name a series twice.
        texts: dict[str, Key] = {}
        for wanted in values:
            metric, labels = wanted
            text = self._alive.get(wanted) or series_text(metric, self._labels | dict(labels))
            texts.setdefault(text, wanted)
        alive.update((wanted, text) for text, wanted in texts.items())
        self._alive = alive
        self._asked = tuple(values)
        if tuple(texts) != self._series:
            self._series = tuple(texts)
        self._keys = tuple(texts.values())
        return tuple(text for text in dict.fromkeys(gone) if text not in texts)
