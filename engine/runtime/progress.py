"""How far the parts of the engine have come, for those who must tell the outside that it is alive. Pure.

A part that is expected to get on says so each time it does. Whether it is stuck is for the reader to say: a heart that
beats while nothing is judged would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.ports import Progress

__all__ = ["ProgressBook"]


class ProgressBook:
    """Keeps when each part last got anywhere."""

    def __init__(self) -> None:
        self._parts: dict[str, Progress] = {}
        self._followed: dict[str, Callable[[], Progress]] = {}

    def expect(self, part: str, limit_s: float, now_s: float) -> None:
        """From now on a part must get on.

        Args:
            limit_s: How long it may take each time.
            now_s: The monotonic clock.
        """
        self._parts[part] = Progress(now_s, limit_s)

    def made(self, part: str, now_s: float) -> None:
        """A part got on; one that nobody expects is not kept."""
        known = self._parts.get(part)
        if known is not None:
            self._parts[part] = known._replace(last_s=now_s)

    def follow(self, part: str, read: Callable[[], Progress]) -> None:
        """From now on a part must get on that is asked how far it has come: one that says nothing while it waits."""
        self._followed[part] = read

    def read(self) -> dict[str, Progress]:
        """Every part that is expected to get on."""
        return {**self._parts, **{part: read() for part, read in self._followed.items()}}
