"""The second net: what each receiver should have been told against what the ledger says it was told, or will be.

The first net is the cursor: each transition becomes messages once. This one finds what it missed all the same: messages
that overflowed an outbox or could not be kept, a receiver that is new, alerts that fire since before a ledger was lost,
and by `ends` alerts that a receiver believes to fire and that do not any more.
It looks at what was decided only, after what was decided is in the outbox, so it never tells what the cursor will. A
message that was given up is a person's to send again, and is not told anew.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from engine.runtime.composing import Told
from engine.runtime.decided import Entry, missing
from engine.runtime.deciding import Policy
from engine.runtime.ends import Ends
from engine.runtime.keeping import Keeper
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.sending import standing

__all__ = ["RECONCILE_S", "Reconcile"]

RECONCILE_S: Final = 60.0
MISSING_MAX: Final = 256
"""So many alerts are told anew at a time; the others a minute later."""


class Reconcile:
    """Compares once a minute, the first time when the run before is caught up with.

    Args:
        policy: Makes the messages.
    """

    def __init__(self, keeper: Keeper, policy: Policy) -> None:
        self._keeper = keeper
        self._policy = policy
        self._ends = Ends(keeper, policy)
        self._ledger_was = ("", 0)

    async def run(self) -> None:
        """Compare, for ever."""
        await self._policy.resumed.wait()
        while True:
            try:
                self._look_at_ledger()
                for worker in self._policy.workers:
                    await self.check(worker)
                for worker in self._policy.all:
                    await self._ends.check(worker)
                await self._policy.keep_up()
            except LedgerError as error:
                self._keeper.tell(error.reason, f"what receivers know could not be compared: {error}")
            await asyncio.sleep(RECONCILE_S)

    def _look_at_ledger(self) -> None:
        """What is kept in another place now, or came from a damaged file, may not be all there was."""
        status = self._keeper.status()
        was, self._ledger_was = self._ledger_was, (status.trouble, status.resets_total)
        if was != self._ledger_was:
            for worker in self._policy.all:
                self._policy.book.doubt(worker.name)

    async def check(self, worker: Told) -> int:
        """Tell one receiver what it was not told; returns of how many alerts. Raises `LedgerError`."""
        book = self._policy.book
        entries = book.unchecked(worker.name)
        if not entries or not worker.has_room:  # else what is told anew would drive out what waits
            return 0
        read = functools.partial(standing, receiver=worker.name, held=True)
        told = await self._keeper.ledger.call(read, writes=False)
        anew: dict[str, Entry] = {}
        for number, (key, entry, lacks) in enumerate(missing(entries, told, send_resolved=worker.send_resolved), 1):
            if not lacks:
                book.checked(worker.name, key, entry)
            elif len(anew) < MISSING_MAX:
                anew[key] = entry
            if number % 1_000 == 0:
                await asyncio.sleep(0)
        # Without a turn of the loop from here to the outbox: nothing newer may come between.
        anew = {key: entry for key, entry in anew.items() if book.still(worker.name, key, entry)}
        if anew:
            self._policy.tell_anew(worker, anew)
        return len(anew)
