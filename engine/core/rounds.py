"""Rounds: series whose single samples come in the same order again and again, as those of probes do that take turns.

A look-up of a text in a dictionary costs more than all else that is done to find a sample's series; that a list of
texts is the one that was expected is seen at once, as the texts are mostly the same objects. What is not expected is
looked up: this must never make a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from engine.core.alert_rows import Ints

__all__ = ["Rounds", "grouped_rounds"]


class Rounds:
    """The last round of series that was seen."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Handles have changed."""
        self._texts: list[str] = []  # twice, so that a round may begin anywhere
        self._handles: Ints = np.zeros(0, dtype=np.int64)
        self._at: dict[str, int] = {}
        self._size = 0
        self._first = ""

    def find(self, texts: Sequence[str]) -> tuple[Ints, int] | None:
        """(handles, series in a round) if these texts are rounds of the series that are expected."""
        size, at = self._size, self._at.get(texts[0], -1)
        if at < 0:
            return None
        expected = self._texts[at : at + size]
        for start in range(0, len(texts), size):
            here = texts[start : start + size]
            if here != (expected if len(here) == size else expected[: len(here)]):
                return None
        return np.resize(self._handles[at : at + size], len(texts)), size

    def note(self, texts: Sequence[str], handles: Ints) -> None:
        """Take note of texts that were looked up, if they are more than one round, or begin as those before them did:
        then they may be one."""
        again = np.flatnonzero(handles == handles[0])
        size = int(again[1]) if len(again) > 1 else len(texts)
        first, self._first = self._first, texts[0]
        if (size == len(texts) and first != texts[0]) or int(handles.min()) < 0:
            return
        if bool((handles[size:] != handles[: len(handles) - size]).any()):
            return
        once = list(texts[:size])
        at = dict(zip(once, range(size), strict=True))
        if len(at) == size:
            self._texts, self._handles, self._at, self._size = once * 2, np.tile(handles[:size], 2), at, size


@lru_cache(maxsize=16)
def grouped_rounds(samples: int, size: int) -> tuple[Ints, Ints]:
    """(positions by series, where each series begins among them) of samples that come in rounds of a size."""
    lengths = -(-samples // size)
    order = (np.arange(size)[:, None] + size * np.arange(lengths)).reshape(-1)
    order = order[order < samples]
    begins = np.flatnonzero(order < size)
    order.flags.writeable = begins.flags.writeable = False
    return order, begins
