"""An alert as people see it at an instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.core.alert_rows import OFF
from engine.core.alerts import Phase
from engine.core.store import NEVER_MS
from engine.events import Facts
from engine.status import AlertStatus

if TYPE_CHECKING:
    from engine.core.book import AlertBook
    from engine.core.flaps import Flaps

__all__ = ["status_of", "with_severity"]


def status_of(
    book: AlertBook,
    flaps: Flaps,
    number: int,
    row: int,
    labels: dict[str, str],
    key: str,
    value: float,
    facts: Facts | None,
    now_ms: int,
) -> AlertStatus:
    """The alert of a row.

    Args:
        flaps: Know whether it goes back and forth, by its rule's number and `key`, which is its labels.
        value: What its expression measures now.
        facts: What it has measured, if it fires.
    """
    own, rule = book.rows, book.rules[number]
    phase, level = Phase(int(own.phase[row])), int(own.level[row])
    severity = rule.levels[level].severity if level >= 0 else ""
    known_ms = int(own.known(np.array([row]), now_ms)[0])
    runs = own.run[:, row]
    unset = [i for i, since in enumerate(runs.tolist()) if since != OFF and not int(own.set[row]) >> i & 1]
    lengths = {i: rule.levels[i].for_ms for i in unset}
    following = min(unset, key=lambda i: int(runs[i]) + lengths[i], default=0)
    for_ms = rule.levels[following].for_ms
    if phase is Phase.KEEPING:
        elapsed_ms = known_ms - int(own.keep[row])
    elif phase is Phase.PENDING and rule.of < 1:
        elapsed_ms, for_ms = book.shares.nearest(row, known_ms)
    elif phase is Phase.PENDING:
        elapsed_ms = known_ms - int(runs[following])
    else:
        elapsed_ms = now_ms - int(own.fired[row])
    due_ms, stands = int(own.due[row]), int(own.paused[row]) != NEVER_MS
    return AlertStatus(
        rule=rule.name,
        labels=labels,
        state=phase.state,
        active_since_ms=int(own.active[row]),
        elapsed_ms=elapsed_ms,
        for_ms=for_ms,
        value=value,
        paused=int(own.unknown[row]) != NEVER_MS,
        keeping=phase is Phase.KEEPING,
        due_ms=0 if stands or due_ms == NEVER_MS else due_ms,
        annotations=rule.describe(with_severity(labels, severity), value),
        severity=severity,
        flapping=flaps.is_on(number, key, now_ms),
        fading=phase is Phase.PENDING and rule.of < 1 and not book.shares.is_on(row),
        fired_ms=int(own.fired[row]),
        facts=facts,
    )


def with_severity(labels: dict[str, str], severity: str) -> dict[str, str]:
    """The labels as people see them: with the severity that is reached."""
    return {**labels, "severity": severity} if severity else labels
