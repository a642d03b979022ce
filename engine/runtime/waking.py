"""Sleep that ends early when the machine has woken up: its clock of durations stood still while time went by.

It must never end for anything else, and never keeps anybody beyond the time that was asked for.
"""

from __future__ import annotations

import asyncio

__all__ = ["Waking"]


class Waking:
    """Who sleeps, and the alarm for all of them. Of one event loop."""

    def __init__(self) -> None:
        self._asleep: set[asyncio.Future[bool]] = set()

    async def sleep(self, delay_s: float) -> bool:
        """Sleep for so long; return whether the machine was asleep meanwhile, which ends it at once."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(delay_s, _end, over, False)
        self._asleep.add(over)
        try:
            return await over
        finally:
            timer.cancel()
            self._asleep.discard(over)

    def wake(self) -> None:
        """The machine has woken up: so does everybody who sleeps here."""
        for over in self._asleep:
            _end(over, True)


def _end(over: asyncio.Future[bool], early: bool) -> None:
    if not over.done():
        over.set_result(early)
