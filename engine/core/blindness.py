"""Blind spans: what happens to clocks and ages in time in which nobody could see.

A span is taken out of every clock and every age, each instant of it once. It must never cause a transition.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from engine.core.parts import Parts
from engine.events import Blind

__all__ = ["SCOPES_MAX", "Blindness"]

SCOPES_MAX: Final = 1_024


class Blindness:
    """Takes blind spans.

    Args:
        parts: Whose clocks and ages.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.to_ms = 0
        """Everything was blind until then, at the latest."""
        self.scopes: dict[str, int] = {}
        """The same by scope."""

    def take(self, blind: Blind, *, running: Collection[int] = ()) -> None:
        """Take a span out of every clock and every age. Of spans that overlap, each instant is taken out once.

        Args:
            running: Rules whose alerts' clocks run on, by index.
        """
        if blind.scope != "*":
            self._take_some(blind)
            return
        from_ms = max(blind.from_ms, self.to_ms)
        if blind.to_ms <= from_ms:
            return
        parts, self.to_ms = self._parts, blind.to_ms
        parts.lander.blind(from_ms, blind.to_ms)
        parts.store.skip(from_ms, blind.to_ms)
        for book in parts.books:
            book.flaps.skip(blind.to_ms - from_ms)
        rows = parts.book.rows.taken()
        parts.book.blind(from_ms, blind.to_ms, rows[~np.isin(parts.book.rows.rule[rows], list(running))])
        for chain in parts.chains:
            for judge in chain.judges:
                if judge.index not in running:
                    judge.book.blind(from_ms, blind.to_ms)
            chain.blind(from_ms, blind.to_ms)
        parts.instants.blind(from_ms, blind.to_ms)
        self.skip_instants()

    def _take_some(self, blind: Blind) -> None:
        """The same for some series. Groups of rule files have no clock for these alone."""
        parts = self._parts
        known = parts.layouts.known(blind.series or (blind.scope,))
        from_ms = max(blind.from_ms, self.to_ms, self.scopes.get(blind.scope, -1))
        if not len(known) or blind.to_ms <= from_ms:
            return
        if len(self.scopes) >= SCOPES_MAX:
            del self.scopes[next(iter(self.scopes))]
        self.scopes[blind.scope] = blind.to_ms
        parts.store.skip(from_ms, blind.to_ms, known)
        for judge in parts.layouts.readers(known):
            judge.blind(known, from_ms, blind.to_ms)
        for chain, rules in parts.layouts.chains(known):
            chain.blind_some(rules, known, from_ms, blind.to_ms)

    def skip_instants(self) -> None:
        """Take blind spans that no instant comes before any more out of the clocks of groups."""
        for missed in self._parts.instants.skip():
            self._parts.runners[missed.group].blind(missed.from_ms, missed.to_ms)
            self._parts.tally.count("instants_missed_total", missed.instants)
