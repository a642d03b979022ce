"""The steps of alerts, as columns: what being told something, and time, do to clocks, levels and phases.

Everything here works on rows (`engine.core.alert_rows`) of many rules at once and tells nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.core.alert_rows import OFF, Ints, Rows
from engine.core.alerts import Code, Given, Phase, next_phases
from engine.core.share_book import ShareBook
from engine.core.store import NEVER_MS

__all__ = ["Alerting", "Level", "Life", "Terms"]

Codes = NDArray[np.int16]
# A look-up of an enum's member costs as much as a small array to compare with.
_HELD = int(Given.HELD)
_IDLE = int(Given.IDLE)
_KEPT = int(Given.KEPT)
_RUNNING = int(Given.RUNNING)
_FIRING = int(Phase.FIRING)
_INACTIVE = int(Phase.INACTIVE)
_KEEPING = int(Phase.KEEPING)
_PENDING = int(Phase.PENDING)


class Level(Protocol):
    """What the book needs to know of a level."""

    @property
    def severity(self) -> str:
        """Its word; empty for the only level of a rule without levels."""

    @property
    def for_ms(self) -> int:
        """How long its `when` must hold before it is set."""

    @property
    def clear(self) -> object | None:
        """What resets it; None if that is its `when` not holding."""


class Alerting(Protocol):
    """What the book needs to know of a rule."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def levels(self) -> Sequence[Level]:
        """At least one, the lowest first."""

    @property
    def is_low(self) -> bool:
        """Whether it asks for less than a number, so that the lowest value is the worst."""

    @property
    def of(self) -> float:
        """For what part of its time a level must be true; 1 for all of it."""

    @property
    def keep_firing_for_ms(self) -> int:
        """How long it goes on firing afterwards."""

    @property
    def hold_max_ms(self) -> int:
        """How long an unknown condition is held."""

    @property
    def on_missing(self) -> str:
        """What an unknown condition does."""

    @property
    def missing_for_ms(self) -> int:
        """How long data must be missing before that fires, under `on_missing = "fire"`."""

    def alert_labels(self, series_labels: Mapping[str, str]) -> dict[str, str]:
        """The labels of the alert for one label set of the result."""

    def describe(self, labels: Mapping[str, str], value: float) -> dict[str, str]:
        """The annotations for one alert."""


class Terms(NamedTuple):
    """The durations of all rules, by rule: what vector operations read."""

    waits: Ints
    """By level and rule, how long it must hold; NEVER_MS where a rule has no such level."""
    keep: Ints
    hold: Ints
    missing: Ints
    """Under `fire` how long data must be missing; NEVER_MS otherwise."""
    pauses: NDArray[np.bool_]
    alerts_max: Ints
    signs: NDArray[np.float64]
    """-1 where the lowest value is the peak, else 1."""


class Life:
    """The steps of the alerts of some rules.

    Args:
        rows: Their columns.
        terms: Of the rules.
        shares: Of rules whose condition need hold for a part of the time only.
    """

    def __init__(self, rows: Rows, terms: Terms, shares: ShareBook) -> None:
        self.rows = rows
        self.terms = terms
        self._shares = shares

    def lose_sight(self, rows: Ints, times: Ints) -> None:
        """Nothing is known any more."""
        own = self.rows
        newly = own.unknown[rows] == NEVER_MS
        rows, times = rows[newly], times[newly]
        own.unknown[rows] = times
        own.dark[rows] = 0
        pauses = self.terms.pauses[own.rule[rows]]
        own.paused[rows[pauses]] = times[pauses]

    def see(self, rows: Ints, times: Ints, codes: Codes) -> None:
        """Something is known: clocks run on, and begin and end by the bits of the condition."""
        own = self.rows
        silent = (own.unknown[rows] != NEVER_MS) & (self.terms.missing[own.rule[rows]] != NEVER_MS)
        own.unknown[rows] = NEVER_MS
        own.resume(rows, times)
        absent = codes < 0
        bits = np.where(absent, np.int16(Code.FALSE), codes)
        own.code[rows] = bits
        holds = (bits & Code.WHENS) != 0
        ending = own.phase[rows] != _KEEPING
        reasons = np.where(absent, codes, np.int16(Code.FALSE))
        own.reason[rows] = np.where(ending & ~holds, reasons, own.reason[rows])
        now = times - own.lost[rows]
        since = own.since[rows]
        runs_on = since != OFF
        begins, over = holds & ~runs_on, ~holds & runs_on
        if over.any():
            own.held[rows[over]] += (now - since)[over]
        if over.any() or begins.any():
            own.since[rows] = np.where(holds, np.where(runs_on, since, now), OFF)
        cleared = bits >> 8
        if self._shares.any:
            cleared &= self._shares.clears(own, rows, codes)
            for at in self._shares.among(own, rows):
                self._shares.see(own, int(rows[at]), int(codes[at]), int(now[at]))
            # What fired may have been its silence.
            cleared |= np.where(silent, self._shares.rests(own, rows), np.int16(0))
        own.set[rows] &= ~cleared
        for level, runs in enumerate(own.run):
            since = runs[rows]
            on = (bits & (1 << level)) != 0
            if self._shares.any:
                on &= ~self._shares.of_rule[own.rule[rows]]
            runs[rows] = np.where(on, np.where(since == OFF, now, since), OFF)
        back = holds & ((own.phase[rows] == _KEEPING) | ((own.phase[rows] == _FIRING) & (own.set[rows] == 0)))
        if self._shares.any:
            back &= ~self._shares.of_rule[own.rule[rows]]  # there a share must be reached again
        back = np.flatnonzero(back)
        if len(back):  # the condition returned, or a lower one goes on: it need not serve `for` twice
            when = bits[back] & Code.WHENS
            again = when & own.kept[rows[back]]
            own.set[rows[back]] |= np.where(again != 0, again, when & -when)

    def settle(self, rows: Ints, times: Ints, given: NDArray[np.int8], ripe: NDArray[np.bool_]) -> None:
        """Set the levels whose clock has come, and step each alert by what that makes of it.

        Args:
            ripe: Of which alerts the clocks that have come are looked at. Of others only clocks of length 0: what is
                due at the very instant of a point happens when time has passed it.
        """
        own = self.rows
        now = own.known(rows, times)
        levels = own.set[rows]
        runs = np.zeros(len(rows), dtype=np.bool_)
        for level, clock in enumerate(own.run):
            since = clock[rows]
            on = since != OFF
            runs |= on
            waits = self.terms.waits[level][own.rule[rows]]
            reached = on & ((waits == 0) | (ripe & (now - since >= waits)))
            levels |= np.where(reached, np.int16(1 << level), np.int16(0))
        if self._shares.any:
            levels, runs = self._shared(rows, now, levels, runs, ripe)
        if len(own.run) > 1:
            unclear = ~(own.code[rows] >> 8)
            if self._shares.any:
                unclear |= self._shares.rests(own, rows)
            for level in range(len(own.run) - 2, -1, -1):
                higher = (levels >> (level + 1)) != 0
                levels |= np.where(higher, unclear & (1 << level), 0).astype(np.int16)
        phases = own.phase[rows]
        known = given == _IDLE
        given = np.where(known & runs, np.int8(_RUNNING), given)
        given = np.where(known & (levels != 0), np.int8(_HELD), given)
        own.set[rows] = levels
        after = next_phases(phases, given)
        begins = (after == _KEEPING) & (phases == _FIRING)
        if begins.any():
            own.keep[rows[begins]] = now[begins]
        kept = (after == _KEEPING) & (own.keep[rows] != OFF)
        if kept.any():
            keeps = self.terms.keep[own.rule[rows]]
            over = kept & ((keeps == 0) | (ripe & (now - own.keep[rows] >= keeps)))
            if over.any():
                after[over] = next_phases(after[over], np.full(int(over.sum()), _KEPT, dtype=np.int8))
        begun = (phases == _INACTIVE) & (after != _INACTIVE) & (own.unknown[rows] == NEVER_MS)
        if begun.any():
            self._begin(rows[begun], times[begun], now[begun])
        anew = (phases == _INACTIVE) & (after != _INACTIVE) & ~begun
        if anew.any():
            own.measure_anew(rows[anew])
        firing = after == _FIRING
        own.keep[rows[firing]] = OFF
        own.reason[rows[firing & (phases == _KEEPING)]] = Code.FALSE  # what ends it now is another matter
        own.kept[rows] = np.where(firing, levels, own.kept[rows])
        newly = firing & (own.fired[rows] == 0)
        own.fired[rows[newly]] = times[newly]
        own.level[rows] = np.where(firing, _highest(levels), own.level[rows])
        own.phase[rows] = after
        own.stepped[rows] = times

    def _begin(self, rows: Ints, times: Ints, now: Ints) -> None:
        """These become active."""
        own = self.rows
        own.active[rows] = times
        own.fired[rows] = 0
        own.born[rows] = now
        own.since[rows] = np.where(own.since[rows] == OFF, OFF, now)
        own.held[rows] = 0
        own.measure_anew(rows)

    def _shared(
        self, rows: Ints, now: Ints, levels: Codes, runs: NDArray[np.bool_], ripe: NDArray[np.bool_]
    ) -> tuple[Codes, NDArray[np.bool_]]:
        """Levels and runs, with those of rules that have `of`."""
        levels, runs = levels.copy(), runs.copy()
        own, shares = self.rows, self._shares
        for at in shares.among(own, rows):
            row = int(rows[at])
            if own.paused[row] != NEVER_MS:  # nothing is for shares to set or reset
                levels[at] = own.set[row]
                continue
            bits, running = shares.settle(own, row, int(now[at]), ripe=bool(ripe[at]))
            levels[at] = bits
            phase = int(own.phase[row])
            # Once it has fired, or was resolved, only a true condition begins it anew.
            runs[at] = running and (phase == _PENDING or (phase == _INACTIVE and shares.is_on(row)))
        return levels, runs

    def arm(self, rows: Ints, after_ms: int = -1) -> int:
        """Compute when time alone will change these alerts; return the earliest.

        Args:
            after_ms: Time has passed until then: no share changes so early, whatever has become of its past.
        """
        own, terms = self.rows, self.terms
        rules = own.rule[rows]
        due = np.full(len(rows), NEVER_MS)
        lost = own.lost[rows]
        for level, clock in enumerate(own.run):
            since = clock[rows]
            waits = (since != OFF) & ((own.set[rows] & (1 << level)) == 0)
            due = np.where(
                waits, np.minimum(due, lost + since + np.minimum(terms.waits[level][rules], NEVER_MS // 2)), due
            )
        keeping = own.phase[rows] == _KEEPING
        if keeping.any():
            due = np.where(keeping, np.minimum(due, lost + own.keep[rows] + terms.keep[rules]), due)
        if self._shares.any:
            for at in self._shares.among(own, rows):
                row = int(rows[at])
                known = int(own.known(rows[at : at + 1], max(int(own.stepped[row]), after_ms))[0])
                again = own.phase[row] == _INACTIVE and self._shares.is_on(row)  # it was resolved, and begins anew
                change = known if again else self._shares.due(own, row, known)
                due[at] = min(int(due[at]), max(change + int(lost[at]), after_ms + 1))
        due[own.paused[rows] != NEVER_MS] = NEVER_MS
        unknown = own.unknown[rows]
        missing = np.flatnonzero(unknown != NEVER_MS)
        if len(missing):
            since = unknown[missing] + own.dark[rows[missing]]
            ends = since + terms.hold[rules[missing]]
            waits = terms.missing[rules[missing]]
            fires = np.where((waits != NEVER_MS) & (own.phase[rows[missing]] != _FIRING), since + waits, NEVER_MS)
            due[missing] = np.minimum(due[missing], np.minimum(ends, fires))
        own.due[rows] = due
        return int(due.min()) if len(due) else NEVER_MS


def terms_of(rules: Sequence[Alerting], levels: int, alerts_max: Sequence[int]) -> Terms:
    waits = np.full((levels, len(rules)), NEVER_MS, dtype=np.int64)
    for number, rule in enumerate(rules):
        for level, terms in enumerate(rule.levels):
            waits[level, number] = terms.for_ms

    def column(values: Iterable[int]) -> Ints:
        return np.fromiter(values, np.int64, len(rules))

    return Terms(
        waits,
        column(rule.keep_firing_for_ms for rule in rules),
        column(rule.hold_max_ms for rule in rules),
        column(rule.missing_for_ms if rule.on_missing == "fire" else NEVER_MS for rule in rules),
        np.array([rule.on_missing != "count" for rule in rules], dtype=np.bool_),
        np.array(alerts_max, dtype=np.int64),
        np.array([-1.0 if rule.is_low else 1.0 for rule in rules]),
    )


def _highest(bits: Codes) -> NDArray[np.int8]:
    """The number of the highest bit that is set; of none it means nothing."""
    found: NDArray[np.int8] = (np.frexp(bits.astype(np.float32))[1] - 1).astype(np.int8)
    return found
