"""Ends that a receiver was not told: it believes that an alert fires, and the alert does not any more.

That happens where a "resolved" is lost: there was no room for it, it could not be kept, or the ledger was lost between.
What the end was is still in the ledger, mostly; if only the firing is, the end is made of that. It must never end an
alert that fires, nor one whose end is being decided on.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

from engine.codec import EventCodec
from engine.events import Transition
from engine.runtime.composing import Told
from engine.runtime.decided import Entry, end_of
from engine.runtime.deciding import Policy
from engine.runtime.keeping import Keeper
from engine.runtime.ledger.believing import Believed, believed, forget_belief, last_said
from engine.runtime.ledger.values import Cover, StoredTransition

__all__ = ["LOST_AFTER_S", "Ends"]

ENDS_MAX: Final = 256
"""So many are told at a time; the others a minute later."""
LOST_AFTER_S: Final = 900.0
"""Where the alerts of the run before could not be taken back, nobody knows whether one fires still: those that do fire
again by themselves, most of them in this time."""


class Ends:
    """Compares what receivers were told to fire with what fires, where there is a reason to doubt it.

    Args:
        policy: Makes the messages, and knows what fires.
    """

    def __init__(self, keeper: Keeper, policy: Policy) -> None:
        self._keeper = keeper
        self._policy = policy
        self._codec = EventCodec()
        self._begun_s: float | None = None

    async def check(self, worker: Told) -> int:
        """Tell one receiver what has ended; returns of how many alerts. Raises `LedgerError`."""
        book, now_s = self._policy.book, worker.desk.shared.clock.monotonic()
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        if not book.knows_all or not worker.has_room or not book.take_suspect(worker.name):
            return 0
        try:
            return await self._compare(worker, lost=now_s - self._begun_s >= LOST_AFTER_S)
        except BaseException:
            book.suspect(worker.name)
            raise

    async def _compare(self, worker: Told, *, lost: bool) -> int:
        book, late, ledger = self._policy.book, self._policy.late, self._keeper.ledger
        before = book.open_keys(worker.name) | late.keys()
        read = functools.partial(believed, receiver=worker.name, delivered=not self._policy.tells_all(worker))
        told: Believed = await ledger.call(read, writes=False)
        over = [cover for key, cover in told.firing.items() if key not in before]
        if len(over) > ENDS_MAX or told.waiting - before:
            book.suspect(worker.name)
        over = over[:ENDS_MAX]
        if not over:
            return 0
        keys = [cover.alert_key for cover in over]
        said = await ledger.call(functools.partial(last_said, keys=keys), writes=False)
        # Without a turn of the loop from here to the outbox: nothing newer may come between.
        over = [one for one in over if not book.is_open(worker.name, one.alert_key) and one.alert_key not in late]
        ends, unknown = self._ends(worker, over, said, lost=lost)
        silent = [key for key, end in ends.items() if end.transition.kind == "resolved" and not worker.send_resolved]
        forgotten = [Cover(key, "resolved", ends.pop(key).seq) for key in silent]
        if ends:
            self._policy.tell_anew(worker, ends)
        await self._forget(worker, forgotten, unknown)
        return len(ends)

    def _ends(
        self, worker: Told, over: Iterable[Cover], said: dict[str, StoredTransition], *, lost: bool
    ) -> tuple[dict[str, Entry], list[Cover]]:
        """What to tell by the alert's key, and those of which that is not known."""
        whole, last_seq = self._policy.whole, self._policy.seq
        ends, unknown = dict[str, Entry](), []
        for cover in over:
            key, stored = cover.alert_key, said.get(cover.alert_key)
            last = self._decoded(stored)
            if last is not None and last.kind != "firing" and stored is not None and stored.seq > cover.seq:
                ends[key] = Entry(stored.seq, last)
            elif not whole and not lost:
                self._policy.book.suspect(worker.name)
            elif last is not None:
                now_ms = worker.desk.shared.clock.now_ms()
                ends[key] = Entry(max(cover.seq, last_seq), end_of(last, now_ms, known=whole))
            elif self._keeper.status().trouble:  # the file may know
                self._policy.book.suspect(worker.name)
            else:
                unknown.append(cover._replace(kind="unknown"))
        return ends, unknown

    async def _forget(self, worker: Told, silent: list[Cover], unknown: list[Cover]) -> None:
        now_ms = worker.desk.shared.clock.now_ms()
        if silent or unknown:
            write = functools.partial(forget_belief, receiver=worker.name, ends=[*silent, *unknown], now_ms=now_ms)
            await self._keeper.ledger.call(write)
        if unknown:
            self._policy.ends_unknown_total += len(unknown)
            text = f"{len(unknown)} alerts that it was told of have ended, and what they were is not known any more"
            worker.desk.tell("end_unknown", text, count=len(unknown))

    def _decoded(self, stored: StoredTransition | None) -> Transition | None:
        try:
            found = None if stored is None else self._codec.from_msgpack(stored.body)
        except ValueError:
            return None
        return found if isinstance(found, Transition) else None
