"""The alerts that the engine has about itself: no rule makes them, and all else is as with those of rules.

They are listed and told like any other, and kept in the ledger with their transitions (T1), so that one that fires goes
on after a kill, is not told again, and is resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from engine.events import Transition
from engine.runtime.ledger.values import AlertRow
from engine.status import AlertStatus

__all__ = ["OWN", "Episode", "InternalAlerts", "OwnAlert", "SavedOwnAlert"]

OWN: Final = "engine"
"""Instead of the key of a rule, which is a JSON array."""


class SavedOwnAlert(msgspec.Struct, array_like=True, frozen=True):
    """One that fires, as it is kept.

    Args:
        from_ms, to_ms: What it is about.
        fired_ms: Since when it fires.
        reasons: How much by each reason, in what the alert counts.
    """

    from_ms: int
    to_ms: int
    fired_ms: int
    reasons: dict[str, int]


class Episode(NamedTuple):
    """One of these alerts from when it begins to fire until it is resolved, and how it is told.

    Args:
        rule, severity: What it is called, and how bad it is.
        from_ms: What it is about began then.
        fired_ms: When it began to fire; 0 at that very change.
        value: In the unit of the alert.
        summary: For people.
    """

    rule: str
    severity: str
    from_ms: int
    fired_ms: int
    value: float
    summary: str

    def transition(self, now_ms: int, reason: str, *, over: bool = False) -> Transition:
        """It begins, or is over."""
        return Transition(
            now_ms,
            self.rule,
            self._labels,
            "firing" if over else "inactive",
            "inactive" if over else "firing",
            reason,
            self.value,
            self.from_ms,
            {"summary": self.summary},
            self.fired_ms,
        )

    def status(self, now_ms: int) -> AlertStatus:
        """As people see it."""
        return AlertStatus(
            rule=self.rule,
            labels=self._labels,
            state="firing",
            active_since_ms=self.from_ms,
            elapsed_ms=max(0, now_ms - self.fired_ms),
            for_ms=0,
            value=self.value,
            annotations={"summary": self.summary},
            fired_ms=self.fired_ms,
        )

    @property
    def _labels(self) -> dict[str, str]:
        return {"alertname": self.rule, "severity": self.severity}


class OwnAlert(Protocol):
    """One of them. Times are event time (ms)."""

    @property
    def name(self) -> str:
        """Of the alert."""

    @property
    def transitions_total(self) -> int:
        """How many there were since the start."""

    def transitions(self, now_ms: int, *, end: bool = False) -> list[Transition]:
        """What there is to tell; `end`: nothing is left firing."""

    def status(self, now_ms: int) -> AlertStatus | None:
        """It as people see it, while it fires."""

    def saved(self) -> SavedOwnAlert | None:
        """What is to be kept, while it fires."""

    def take_back(self, saved: SavedOwnAlert, now_ms: int) -> None:
        """It fired in the run before, and does on; unless it fires already."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(SavedOwnAlert)


class InternalAlerts:
    """All of them.

    Args:
        alerts: Each with a name of its own.
    """

    def __init__(self, alerts: Sequence[OwnAlert]) -> None:
        self._alerts = alerts
        self._changed: dict[str, None] = {}

    @property
    def transitions_total(self) -> int:
        """How many there were since the start."""
        return sum(alert.transitions_total for alert in self._alerts)

    def transitions(self, now_ms: int, *, end: bool = False) -> list[Transition]:
        """What there is to tell people at this step."""
        made = [one for alert in self._alerts for one in alert.transitions(now_ms, end=end)]
        self._changed.update((one.rule, None) for one in made)
        return made

    def statuses(self, now_ms: int) -> list[AlertStatus]:
        """Those that fire."""
        return [status for alert in self._alerts if (status := alert.status(now_ms)) is not None]

    # --- the ledger -----------------------------------------------------------------------------------

    def rows(self, *, again: bool = False) -> list[AlertRow]:
        """What changed since the last call; `again`: the next call says so, too. How an alert that fires goes on is not
        worth a row."""
        changed = self._changed
        if not again:
            self._changed = {}
        return [_row(alert) for alert in self._alerts if alert.name in changed]

    def tell_again(self) -> None:
        """The ledger does not have what it was told."""
        self._changed = dict.fromkeys(alert.name for alert in self._alerts)

    def take_back(self, rows: Iterable[AlertRow], now_ms: int) -> None:
        """What the run before has left; before anything else. A row that can't be read, or is of no alert, goes."""
        saved = {row.labels: row.row for row in rows}
        for alert in self._alerts:
            if (data := saved.get(alert.name)) is None:
                continue
            self._changed[alert.name] = None
            try:
                alert.take_back(_DECODER.decode(data), now_ms)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # it begins anew if there is still reason to


def _row(alert: OwnAlert) -> AlertRow:
    saved = alert.saved()
    return AlertRow(OWN, alert.name, None if saved is None else _ENCODER.encode(saved))
