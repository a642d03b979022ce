"""What is measured while alerts are active: peak, mean and number of samples, and what of their time is known.

A sample counts if it is a number and the condition holds with it. Sums are taken in the order in which samples came, so
that they are the same to the last bit however samples were put together. It must never cost label sets without an
alert anything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import FREE, OFF, Ints, Rows
from engine.core.alerts import Code
from engine.events import Facts

__all__ = ["Gauge", "Sums"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int16]
_WHENS = np.int16(Code.WHENS)


class Sums(NamedTuple):
    """What was measured while alerts were active: aligned columns, as those of rows are."""

    peaks: Floats
    totals: Floats
    samples: Ints

    def pick(self, at: Ints | slice) -> Sums:
        """Some of them."""
        return Sums(self.peaks[at], self.totals[at], self.samples[at])


class Gauge:
    """Measures the alerts of some rules.

    Args:
        rows: Their columns.
        signs: By rule, -1 where the lowest value is the peak, else 1.
    """

    def __init__(self, rows: Rows, signs: Floats) -> None:
        self._rows = rows
        self._signs = signs
        self.turned = bool((signs < 0).any())
        """Whether the lowest value is the peak of any rule."""

    def take(self, rows: Ints, values: Floats) -> None:
        """Take samples with which conditions hold, those of an alert in order.

        Args:
            rows: Of each; one may be there many times.
        """
        if rows.size:
            own = self._rows
            self._take(own.peak, own.total, own.samples, rows, values, own.rule[rows] if self.turned else None)

    def note(self, row_of: Ints, places: Ints, codes: Codes, values: Floats, same: Bools) -> None:
        """Take from a landing what changes nothing.

        Args:
            row_of: By place, its row.
            codes, values: Of each place.
            same: Which are what they were before.
        """
        if not len(self._rows):
            return
        at = np.flatnonzero(((codes & _WHENS) != 0) & (codes > 0) & same)
        if at.size:
            rows = row_of[places[at]]
            there = rows != FREE
            self.take(rows[there], values[at[there]])

    def facts(self, rows: Ints, times: Ints) -> list[Facts]:
        """What is known of alerts at instants."""
        return self.facts_of(self.sums(rows, 0), self._rows.rule[rows], *self.spans(rows, times))

    def spans(self, rows: Ints, times: Ints) -> tuple[Ints, Ints]:
        """For how long conditions of alerts held until an instant, and for how long nothing was known."""
        own = self._rows
        lengths = times - own.active[rows]
        whole = (own.since[rows] == own.active[rows]) & (own.paused[rows] >= times)
        if not own.lost[rows].any() and bool(whole.all()):  # nearly always
            return lengths, np.zeros_like(lengths)
        now = own.known(rows, times)
        since, known = own.since[rows], now - own.born[rows]
        true = own.held[rows] + np.where(since == OFF, 0, now - since)
        # A span that is told late can be taken out of clocks that run, and of no stretch that is over.
        return np.maximum(np.minimum(true, known), 0), np.maximum(lengths - known, 0)

    def sums(self, rows: Ints, more: int) -> Sums:
        """What was measured while alerts were active, and nothing of so many more."""
        own, size = self._rows, len(rows)
        sums = Sums(np.full(size + more, -np.inf), np.zeros(size + more), np.zeros(size + more, dtype=np.int64))
        if size:
            sums.peaks[:size], sums.totals[:size], sums.samples[:size] = (
                own.peak[rows],
                own.total[rows],
                own.samples[rows],
            )
        return sums

    def keep(self, rows: Ints, sums: Sums) -> None:
        """This was measured while these were active."""
        own = self._rows
        own.peak[rows], own.total[rows], own.samples[rows] = sums

    def add(self, sums: Sums, owners: Ints, values: Floats, rules: Ints | None) -> None:
        """Take samples, as `take` does, that are not of rows.

        Args:
            owners: Of each, whose of `sums`.
            rules: By owner; None where all peaks are the highest values.
        """
        self._take(*sums, owners, values, None if rules is None else rules[owners])

    def facts_of(self, sums: Sums, rules: Ints, true: Ints, unknown: Ints) -> list[Facts]:
        """The same where it is known for how long the condition held, and for how long nothing was known."""
        peaks, totals, samples = sums
        if self.turned:
            peaks = peaks * self._signs[rules]
        some = samples > 0
        if not some.all():
            peaks, totals, samples = np.where(some, peaks, np.nan), np.where(some, totals, np.nan), samples | ~some
        means = (totals / samples).tolist()
        peaks = peaks + 0.0  # of two zeros the one without a sign, whichever came first
        return list(map(Facts, peaks.tolist(), means, sums.samples.tolist(), true.tolist(), unknown.tolist()))

    def _take(self, peaks: Floats, totals: Floats, samples: Ints, at: Ints, values: Floats, rules: Ints | None) -> None:
        numbers = values == values
        if not numbers.all():
            at, values, rules = at[numbers], values[numbers], None if rules is None else rules[numbers]
        np.maximum.at(peaks, at, values if rules is None else values * self._signs[rules])
        with np.errstate(invalid="ignore", over="ignore"):  # infinities have no sum
            np.add.at(totals, at, values)
        np.add.at(samples, at, 1)
