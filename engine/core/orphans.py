"""Alerts that were taken back from rows and have no place any more: their rule is gone, or can't have them now.

Each ends, and who was told that it fires is told so. It must never end one whose row could not be read: nobody knows
what it was, so it is counted and no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from engine.core.alerts import STATES
from engine.core.stored import SavedAlert
from engine.events import Transition

__all__ = ["DAMAGED", "Orphan", "endings"]

DAMAGED: Final = "damaged"


class Orphan(NamedTuple):
    """A row without a place.

    Args:
        rule_key, text: Of the row.
        alert: None if it has none, or it can't be read.
        reason: Of the transition; `DAMAGED` if the row can't be read.
    """

    rule_key: str
    text: str
    alert: SavedAlert | None = None
    reason: str = "rule_removed"


def endings(orphans: Iterable[Orphan], now_ms: int) -> list[Transition]:
    """The ends of alerts that people see, at `now_ms`, in the order of rules and labels."""
    made = []
    for _, text, alert, reason in sorted(orphans, key=lambda one: one[:2]):
        if alert is None or not 0 <= alert.columns.get("phase", -1) < len(STATES):
            continue
        before, columns, parts = STATES[alert.columns["phase"]], alert.columns, text.split("\0")
        labels = dict(zip(parts[::2], parts[1::2], strict=False))
        if before == "inactive" or "alertname" not in labels:
            continue
        level = columns.get("level", -1)
        severity = alert.levels[level].severity if 0 <= level < len(alert.levels) else ""
        since_ms, fired_ms = columns.get("active", 0), columns.get("fired", 0)
        name, value = labels["alertname"], alert.value
        made.append(
            Transition(
                now_ms, name, labels, before, "inactive", reason, value, since_ms, {}, fired_ms, severity, severity
            )
        )
    return made
