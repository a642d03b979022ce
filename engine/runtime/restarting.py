"""Alerts across restarts: what changed of them in a step, as rows for the ledger, and a core that goes on from those.

Rows go with the transitions of their step and the time until which they are whole, in one transaction (T1). How long
nothing has changed since is kept with the sign of life: no write is due because time passes. What was handed over and
did not get to the ledger is handed over again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from engine.events import SampleBatch, Transition
from engine.runtime.downtime import NEVER_QUIET, LifeSign, Quiet
from engine.runtime.internal import OWN, InternalAlerts
from engine.runtime.ledger.holding import Outcome
from engine.runtime.ledger.operator import Restored
from engine.runtime.ledger.values import AlertRow, Notice, Step
from engine.runtime.threads import ThreadPool

__all__ = ["ROWS_ON_LOOP_MAX", "WATCHED_UNTIL", "AlertKeeper", "KeptCore", "missing", "watched_until"]

WATCHED_UNTIL: Final = "watched_until_ms"
"""A counter of the ledger: event time until which its rows of alerts are whole."""
ROWS_PER_TURN: Final = 16
"""So many are made at a time: about a millisecond."""
ROWS_ON_LOOP_MAX: Final = 100
"""More of them are taken back on a thread: that takes too long for one turn of the loop."""


FOUND_MS: Final = 300_000
"""As long as an input whose interval is not known is fresh: what holds and comes at all has come by then."""


class KeptCore(Protocol):
    """What is needed of the core (`engine.core.evaluator.Core`)."""

    def changed_alerts(self, limit: int) -> list[tuple[str, str, bytes | None]]: ...
    def tell_all_alerts(self) -> None: ...
    def take_alerts(
        self, rows: Iterable[tuple[str, str, bytes]], until_ms: int, now_ms: int | None = None
    ) -> list[Transition]: ...
    def lose_alerts(self, rows: Iterable[tuple[str, str, bytes]], now_ms: int) -> list[Transition]: ...
    def refilling(self, batches: Iterable[SampleBatch], now_ms: int) -> Generator[None, None, None]: ...


class AlertKeeper:
    """Knows which alerts of one core the ledger has.

    Args:
        core: Whose alerts. Nobody else takes its rows.
        before: What the run before has said of itself. It stands until the ledger has something of this one.
        internal: The alerts of the engine's own.
    """

    def __init__(self, core: KeptCore, before: Quiet = NEVER_QUIET, internal: InternalAlerts | None = None) -> None:
        self._core = core
        self._internal = internal if internal is not None else InternalAlerts(())
        self._before = before
        self._rows: list[AlertRow] = []
        self._handed_ms = self._durable_ms = self._seen_ms = self._least_ms = 0
        self._again = self._ends = False
        self._found: list[AlertRow] = []
        self._found_due_ms = 0
        self.took = False
        """Whether the core was taken back from a ledger."""

    # --- a step ---------------------------------------------------------------------------------------

    def changing(self, now_ms: int) -> Generator[None, None, list[Transition]]:
        """Make the rows of what the step has changed, in steps; nobody else may enter the core meanwhile. Returns the
        ends of alerts that were found and are given up now."""
        if self._again:
            self._again = False
            self._core.tell_all_alerts()
        lost: list[Transition] = []
        try:
            yield from self._making()
            while self._found and now_ms >= self._found_due_ms:
                some, self._found = self._found[:ROWS_PER_TURN], self._found[ROWS_PER_TURN:]
                lost += self._core.lose_alerts(_kept(some), now_ms)
                yield from self._making()
        except BaseException:
            self.tell_again()
            raise
        return lost

    def _making(self) -> Generator[None, None, None]:
        while made := self._core.changed_alerts(ROWS_PER_TURN):
            self._rows += [AlertRow(*row) for row in made]
            yield

    def find(self, rows: Sequence[AlertRow], now_ms: int) -> None:
        """These were in a file that could not be read at the start: after a while that lets what still holds show
        again, the core is asked which of them it does not have. They stay in the file until then."""
        self._internal.take_back((row for row in rows if row.rule_key == OWN), now_ms)
        self._found += rows
        self._found_due_ms = now_ms + FOUND_MS

    def take(self, until_ms: int) -> Step:
        """What the step has changed beside its transitions, which go with it into one transaction (T1).

        Args:
            until_ms: The time up to which the core has judged.
        """
        until_ms = max(until_ms, self._least_ms)
        own = self._internal.rows(again=self._again)
        rows, self._rows, self._seen_ms = self._rows, [], until_ms
        if self._again and not rows and not self._ends:  # nothing may say that the ledger has what it is yet to be told
            return Step(alerts=own)
        rows += own
        if not rows and not self._ends:
            return Step()
        self._handed_ms = until_ms
        return Step(alerts=rows, counters={WATCHED_UNTIL: until_ms})

    def told(self, until_ms: int, outcome: Outcome) -> None:
        """What came of what `take` gave."""
        if outcome.error is not None:
            self.tell_again()
        elif outcome.durable:
            self._durable_ms = max(self._durable_ms, until_ms)

    def tell_again(self) -> None:
        """The ledger does not have what it was told: with the next step every row is handed over again."""
        self._again = True
        self._internal.tell_again()

    def end(self) -> None:
        """The next step is the last: how far it came is written whatever it changes."""
        self._ends = True

    def quiet(self) -> Quiet:
        """Since when nothing has changed, for the sign of life. Only what is on disk counts."""
        if not self._durable_ms:
            return self._before
        known = not self._again and self._handed_ms == self._durable_ms
        return Quiet(self._durable_ms, max(self._durable_ms, self._seen_ms if known else 0))

    # --- the start ------------------------------------------------------------------------------------

    async def take_back(
        self, restored: Restored, last: LifeSign | None, now_ms: int, pool: ThreadPool
    ) -> list[Transition]:
        """Take the alerts of a ledger into a core that is new; windows are refilled after that, see `Core.refill`.

        Args:
            last: The last sign of life of the run before.
            now_ms: Event time.
            pool: Takes very many.

        Returns:
            The ends of alerts that have no place any more.
        """
        self._internal.take_back((row for row in restored.alerts if row.rule_key == OWN), now_ms)
        until_ms = min(watched_until(restored, last), now_ms - 1)  # a clock may be set back: what comes now is newer
        if until_ms < 0:
            return []
        rows = _kept(restored.alerts)

        def take() -> list[Transition]:
            return self._core.take_alerts(rows, until_ms)

        self.took, self._least_ms = True, until_ms
        ends = take() if len(rows) <= ROWS_ON_LOOP_MAX else await pool.call("restart", take)
        return [msgspec.structs.replace(one, time_ms=now_ms) for one in ends]

    def resuming(self, now_ms: int) -> Generator[None, None, None]:
        """Let the downtime end where no history refills windows."""
        return self._core.refilling((), now_ms)


def _kept(rows: Iterable[AlertRow]) -> list[tuple[str, str, bytes]]:
    return [(key, labels, row) for key, labels, row in rows if row is not None and key != OWN]


def missing(restored: Restored, last: LifeSign | None) -> Notice | None:
    """What to tell if the run before had a ledger and this one finds none."""
    if last is None or not last.quiet.from_ms or WATCHED_UNTIL in restored.counters:
        return None
    words = "the ledger of the last run is gone: alerts begin anew, and what fires may be told again"
    return Notice("failed", "state_missing", words)


def watched_until(restored: Restored, last: LifeSign | None) -> int:
    """Event time until which somebody watched, and the rows of a ledger are whole; -1 if it was never said."""
    until_ms = restored.counters.get(WATCHED_UNTIL, -1)
    if last is not None and last.quiet.from_ms == until_ms:  # of this very ledger, in this very state
        return max(until_ms, last.quiet.to_ms)
    return until_ms
