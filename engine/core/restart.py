"""What the engine's own downtime does to a core that was taken back from a snapshot.

Downtime is a blind span, unless a rule says that its clocks run on. It must never fire or resolve anything by itself:
what comes due in it under `count` happens when time is next advanced, stamped with its deadline.
"""

from __future__ import annotations

import numpy as np

from engine.core.alert_rows import OFF, Ints
from engine.core.alerts import Code, Phase
from engine.core.blindness import Blindness
from engine.core.book import AlertBook
from engine.core.parts import Parts
from engine.core.query_judge import QueryJudge
from engine.core.store import NEVER_MS
from engine.events import Blind

__all__ = ["restart"]


def restart(parts: Parts, blindness: Blindness, now_ms: int) -> None:
    """Nobody could see from the watermark, or the newest sample where there is none, until just before `now_ms`."""
    from_ms = parts.lander.watermark_ms
    if from_ms < 0:
        from_ms = int(parts.store.last_ms(slice(None)).max(initial=-1))
    if from_ms < 0:
        return  # it never knew anything
    down_ms = max(0, now_ms - from_ms)
    dropped, running = 0, set()
    for judge in parts.judges:
        rule = judge.rule
        if rule.on_restart == "count":
            running.add(judge.index)
        if rule.on_restart == "reset" or down_ms > rule.outage_tolerance_ms:
            number = 0 if isinstance(judge, QueryJudge) else judge.index
            dropped += _begin_anew(judge.book, number, max(now_ms, from_ms))
    if down_ms > parts.outage_tolerance_ms:
        dropped += sum(alerts.begin_anew() for alerts in parts.grid)
    parts.tally.count("alerts_begun_anew_total", dropped)
    blindness.take(Blind(max(now_ms, from_ms), from_ms, now_ms), running=running)
    for chain in parts.chains:
        chain.arm_all()
    parts.store.restart(max(now_ms, from_ms))


def _begin_anew(book: AlertBook, number: int, now_ms: int) -> int:
    """Let clocks that have not come begin anew: of pending alerts, and of the levels of firing ones that are not set.

    Returns:
        How many pending alerts there were.
    """
    own, rows = book.rows, book.rows_of(number)
    missing = own.unknown[rows] != NEVER_MS
    waits = missing & np.full(len(rows), book.rules[number].on_missing == "fire")
    own.unknown[rows[waits]], own.dark[rows[waits]] = now_ms, 0  # data that is missing goes on being so, from now on
    pending = own.phase[rows] == Phase.PENDING
    _stop(book, rows[~pending | waits])
    own.phase[rows[pending & waits]] = Phase.INACTIVE
    book.drop(rows[pending & ~waits])
    book.arm(rows[~pending | waits])
    return int(np.count_nonzero(pending))


def _stop(book: AlertBook, rows: Ints) -> None:
    """Stop the clocks of levels that are not set. They run again when the condition is next told, which is a change."""
    own = book.rows
    for level, clock in enumerate(own.run):
        unset = (own.set[rows] >> level & 1 == 0) & (clock[rows] != OFF)
        clock[rows[unset]] = OFF
        book.codes.array[own.place[rows[unset]]] = Code.REFUSED
    if book.shares.any:
        for at in book.shares.among(own, rows):
            row = int(rows[at])
            book.shares.restart(row, int(own.set[row]))
            book.codes.array[own.place[row]] = Code.REFUSED
