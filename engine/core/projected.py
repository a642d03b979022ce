"""What projectors have counted, as rows beside those of alerts: a count that begins anew is a step back that never was.

A projector may be anybody's: one that can't say what it knows, or can't take it back, is told and left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from engine.core.parts import Parts
from engine.core.tally import words_of
from engine.ports import Projector

__all__ = ["PROJECTORS", "Projected"]

PROJECTORS: Final = ""
"""Instead of the key of a rule, which is never empty."""


class Projected:
    """The projectors of a core, by name.

    Args:
        parts: Whose projectors.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._named: dict[str, Projector] = {}
        for projector in parts.projectors:
            kind = type(projector)
            name, ordinal = f"{kind.__module__}.{kind.__qualname__}", 0
            while f"{name}#{ordinal}" in self._named:
                ordinal += 1
            self._named[f"{name}#{ordinal}"] = projector
        self._told: dict[str, bytes] = {}
        self._events = -1

    def changed(self) -> Iterator[tuple[str, bytes]]:
        """The names of those that know something else than when this was asked last, and what they know."""
        events = self._parts.tally.counters.get("events_total", 0)
        if events == self._events:
            return
        for name, projector in self._named.items():
            try:
                data = projector.snapshot()
            except Exception as error:  # noqa: BLE001  # foreign code
                self._parts.tally.breach("projector", "projector_failed", 1, f"{name}: {words_of(error)}")
                continue
            if data and data != self._told.get(name, b""):
                self._told[name] = data
                yield name, data
        self._events = events

    def take(self, name: str, data: bytes) -> bool:
        """Let a projector go on; return whether there is one that could."""
        projector = self._named.get(name)
        if projector is None:
            return False
        try:
            projector.restore(data)
        except Exception as error:  # noqa: BLE001  # foreign code
            self._parts.tally.breach("projector", "projector_failed", 1, f"{name}: {words_of(error)}")
            return False
        return True
