"""Blind spans: what happens to clocks and ages in time in which nobody could see.

A span is taken out of every clock and every age, each instant of it once, in whatever order spans are told. It must
never cause a transition: what was due until it began happens before it is taken (`engine.core.evaluator`).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from engine.core import spans
from engine.core.parts import Parts
from engine.events import Blind

__all__ = ["Blindness"]


class Blindness:
    """Takes blind spans.

    Args:
        parts: Whose clocks and ages.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def take(self, blind: Blind, *, running: Collection[int] = ()) -> None:
        """Take a span out of every clock and every age. Of spans that overlap, each instant is taken out once.

        Args:
            running: Rules whose alerts' clocks run on, by index.
        """
        for kin in self._parts.kins:
            kin.ages.blinded()
        if blind.scope != "*":
            self._take_some(blind)
            return
        parts = self._parts
        for from_ms, to_ms in spans.without(parts.store.blind, blind.from_ms, blind.to_ms):
            every = np.ones(len(parts.store), dtype=np.bool_)
            parts.recent.rest(every, parts.store.last_ms(slice(None)), from_ms, to_ms)
            parts.store.skip(from_ms, to_ms, self._looked_ms())
            for book in parts.books:
                book.flaps.skip(to_ms - from_ms)
                book.changes.touch_rules()
            rows = parts.book.rows.taken()
            rows = rows[~np.isin(parts.book.rows.rule[rows], list(running))]
            parts.book.blind(from_ms, to_ms, rows, judged_ms=parts.lander.watermark_ms)
            for chain in parts.chains:
                for judge in chain.judges:
                    if judge.index not in running:
                        judge.book.blind(from_ms, to_ms, judged_ms=parts.lander.watermark_ms)
                chain.blind(from_ms, to_ms)
            parts.instants.blind(from_ms, to_ms)
        self.skip_instants()

    def _take_some(self, blind: Blind) -> None:
        """The same for some series. Groups of rule files have no clock for these alone."""
        parts = self._parts
        known = parts.layouts.known(blind.series or (blind.scope,))
        if not len(known) or blind.to_ms <= blind.from_ms:
            return
        parts.store.skip_some(known, blind.from_ms, blind.to_ms, self._looked_ms()[known])
        blinded = np.zeros(len(parts.store), dtype=np.bool_)
        blinded[known] = True
        parts.recent.rest(blinded, parts.store.last_ms(slice(None)), blind.from_ms, blind.to_ms)
        for judge in parts.layouts.judges(known):
            judge.blind(known, blind.from_ms, blind.to_ms, parts.lander.watermark_ms)
        for chain, rules in parts.layouts.chains(known):
            chain.blind_some(rules, known, blind.from_ms, blind.to_ms, parts.lander.watermark_ms)

    def _looked_ms(self) -> NDArray[np.int64]:
        """By series, until when it was looked at: what was stale then is stale until its next sample."""
        parts = self._parts
        looked = np.full(len(parts.store), max(parts.lander.watermark_ms, parts.store.blind_to_ms))
        for judge in parts.pointwise.values():
            judge.note_looked(looked)
        for chain in parts.chains:
            for leaf in chain.leaves:
                handles = parts.recent.handles(leaf)
                looked[handles] = np.maximum(looked[handles], chain.settled_ms)
        return looked

    def skip_instants(self) -> None:
        """Take blind spans that no instant comes before any more out of the clocks of groups."""
        for missed in self._parts.instants.skip():
            self._parts.runners[missed.group].blind(missed.from_ms, missed.to_ms)
            self._parts.tally.count("instants_missed_total", missed.instants)
