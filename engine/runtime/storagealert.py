"""The alert `LongwatchStorageDegraded`: what is decided is in memory alone, or the ledger was damaged. Pure.

It reaches receivers by way of the memory that takes the file's place. One episode, of however many troubles, is one
alert.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Final

from engine.events import Transition
from engine.runtime.blindtime import local_text
from engine.runtime.internal import Episode, SavedOwnAlert
from engine.runtime.ledger.values import LedgerStatus
from engine.status import AlertStatus

__all__ = ["ALERT", "StorageAlert"]

ALERT: Final = "LongwatchStorageDegraded"
RESET: Final = "state_reset"
QUIET_MS: Final = 60_000
"""The alert resolves when everything has been on disk for this long: a disk that fails now and then is one alert."""


class StorageAlert:
    """Fires as soon as the ledger is kept in memory although it should be on disk.

    Args:
        status: Says how the ledger is.
        zone: Of the times in its text.
    """

    name: Final = ALERT

    def __init__(self, status: Callable[[], LedgerStatus], zone: tzinfo = UTC) -> None:
        self._status = status
        self._zone = zone
        self._reasons: dict[str, int] = {}
        """Of this episode, and how often each began."""
        self._trouble = ""
        self._resets = 0
        self._from_ms = self._to_ms = self._fired_ms = 0
        self.transitions_total = 0
        """Since the start."""

    def transitions(self, now_ms: int, *, end: bool = False) -> list[Transition]:
        """What there is to tell.

        Args:
            end: The watch ends here: then nothing is left firing.
        """
        ledger, made = self._status(), []
        begun = [ledger.trouble] if ledger.trouble and ledger.trouble != self._trouble else []
        begun += [RESET] * (ledger.resets_total - self._resets)
        self._trouble, self._resets = ledger.trouble, ledger.resets_total
        for reason in begun:
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        if self._trouble or begun:
            self._to_ms = now_ms
        if begun and not self._fired_ms:
            self._from_ms = self._fired_ms = now_ms
            made.append(self._episode.transition(now_ms, "condition"))
        if self._fired_ms and (end or (not self._trouble and now_ms - self._to_ms >= QUIET_MS)):
            made.append(self._episode.transition(now_ms, "ended" if self._trouble else "recovered", over=True))
            self._fired_ms, self._reasons = 0, {}
        self.transitions_total += len(made)
        return made

    def status(self, now_ms: int) -> AlertStatus | None:
        """The alert as people see it, while it fires."""
        return self._episode.status(now_ms) if self._fired_ms else None

    def saved(self) -> SavedOwnAlert | None:
        """What is to be kept, while it fires."""
        if not self._fired_ms:
            return None
        return SavedOwnAlert(self._from_ms, self._to_ms, self._fired_ms, self._reasons)

    def take_back(self, saved: SavedOwnAlert, now_ms: int) -> None:
        """It fired in the run before: it does until everything has been on disk for a while."""
        if not self._fired_ms:
            self._from_ms, self._fired_ms = min(saved.from_ms, now_ms), min(saved.fired_ms, now_ms)
            self._to_ms, self._reasons = now_ms, dict(saved.reasons)

    @property
    def _episode(self) -> Episode:
        reasons, since = ", ".join(sorted(self._reasons)), local_text(self._from_ms, self._zone)
        if self._trouble:
            summary = f"alerts and messages are in memory alone since {since} ({reasons}): a kill loses them"
        else:
            until = local_text(self._to_ms, self._zone)
            summary = f"the ledger was in trouble from {since} to {until} ({reasons}), and is on disk"
        seconds = (self._to_ms - self._from_ms) / 1000
        return Episode(ALERT, "critical", self._from_ms, self._fired_ms, seconds, summary)
