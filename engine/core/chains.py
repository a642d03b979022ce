"""Chains: rules of the whole language in continuous mode that hang together by what they record, on one line of time.

What happens to a chain has an order. At an instant the clocks of alerts come first; then recording rules are evaluated
and their results land, each before those that read it; then every alerting rule that is concerned is judged, once. So
no rule ever sees a new sample beside a result of the samples before it. Most chains are a single rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.dependencies import linked, may_read
from engine.core.expression import Expression
from engine.core.notices import Output
from engine.core.promql.plan import Selector
from engine.core.query_judge import QueryJudge
from engine.core.recording import Recorded, Recorder
from engine.core.store import NEVER_MS

__all__ = ["Chain", "Land", "Outputs", "Touched", "chains_of"]

Outputs: TypeAlias = Generator[None, None, list[Output]]
Land: TypeAlias = Callable[[Recorded], Generator[None, None, int]]
"""Lands what a rule has recorded, and returns when the first of it will be stale."""
Touched: TypeAlias = frozenset[int]
"""Rules by index."""


class Chain:
    """Rules that hang together.

    Args:
        recorders: Each after those whose results it reads.
        judges: In the order of rules.
    """

    def __init__(self, recorders: Sequence[Recorder], judges: Sequence[QueryJudge]) -> None:
        self.recorders = recorders
        self.judges = judges
        self._rules: list[Recorder | QueryJudge] = [*recorders, *judges]
        self._readers = {recorder.index: self.readers({recorder.rule.record}) for recorder in recorders}
        self._behind = {judge.index: self._expressions(judge) for judge in judges}
        self.settled_ms = -1
        """When rules of it were evaluated last."""

    @property
    def indices(self) -> list[int]:
        """Of its rules."""
        return [rule.index for rule in self._rules]

    @property
    def leaves(self) -> Iterator[Selector]:
        """What its rules read."""
        return (leaf for rule in self._rules for leaf in rule.expression.plan.leaves)

    def readers(self, metrics: Collection[str]) -> Touched:
        """Its rules that may read any of these metrics."""
        return frozenset(
            rule.index for rule in self._rules if any(may_read(rule.expression.plan, metric) for metric in metrics)
        )

    def _expressions(self, judge: QueryJudge) -> list[Expression]:
        """Those that a rule hangs on: its own, and those of what it reads directly or through others."""
        found, behind = [judge.expression], {judge.index}
        for recorder in reversed(self.recorders):
            if self._readers[recorder.index] & behind:
                behind.add(recorder.index)
                found.append(recorder.expression)
        return found

    def begin(self, time_ms: int) -> None:
        """Time begins."""
        for rule in self._rules:
            rule.expression.begin(time_ms)

    def arm_all(self) -> None:
        """Set every timer anew."""
        for rule in self._rules:
            rule.expression.arm()
        for judge in self.judges:
            judge.arm_clocks()

    def expect(self, instant_ms: int) -> None:
        """An input goes stale at `instant_ms`, if no sample comes."""
        for rule in self._rules:
            rule.expression.expect(instant_ms)

    def blind(self, from_ms: int, to_ms: int) -> None:
        """A span in which nobody could see: nothing is evaluated in it because time passes."""
        for rule in self._rules:
            rule.expression.blind(from_ms, to_ms)
        for judge in self.judges:
            judge.arm_clocks()

    def blind_some(
        self, rules: Touched, handles: NDArray[np.int64], from_ms: int, to_ms: int, watermark_ms: int
    ) -> None:
        """A span in which nobody could see some series that these rules read."""
        for judge in self.judges:
            if judge.index in rules:
                judge.blind(handles, from_ms, to_ms, watermark_ms)

    def forget_shapes(self) -> None:
        """Label sets have got other codes."""
        for rule in self._rules:
            rule.expression.forget_shapes()

    def before(self, at_ms: int, land: Land) -> Outputs:
        """Let happen, in order of time, what comes strictly before a landing at `at_ms`."""
        done: list[Output] = []
        while (next_ms := self._next_ms()) < at_ms:
            for judge in self.judges:
                for chunk in judge.pass_clocks(next_ms):
                    done += chunk
                    yield
            done += yield from self._pass_time(next_ms, land)
        return done

    def after(self, at_ms: int, stale_from_ms: int, touched: Touched, land: Land) -> Outputs:
        """Judge a landing that the store has taken; `touched` are the rules that read any of it."""
        for rule in self._rules:
            if rule.index in touched:
                rule.expression.expect(stale_from_ms)
        return (yield from self._settle(at_ms, set(touched), land, sampled=True))

    def wake(self, time_ms: int, land: Land) -> Outputs:
        """Let happen what is due at an instant."""
        done: list[Output] = []
        for judge in self.judges:
            for chunk in judge.pass_clocks(time_ms):
                done += chunk
                yield
        return done + (yield from self._pass_time(time_ms, land))

    def _next_ms(self) -> int:
        """When time alone does something next."""
        timers = min(rule.expression.next_ms for rule in self._rules)
        return min(timers, min((judge.next_clock_ms() for judge in self.judges), default=NEVER_MS))

    def _pass_time(self, time_ms: int, land: Land) -> Outputs:
        touched = {rule.index for rule in self._rules if rule.expression.passes(time_ms)}
        return (yield from self._settle(time_ms, touched, land, sampled=False)) if touched else []

    def _settle(self, time_ms: int, touched: set[int], land: Land, *, sampled: bool) -> Outputs:
        """Evaluate the rules that are touched, and those that read what they record."""
        time_ms = self.settled_ms = max(time_ms, self.settled_ms)
        done: list[Output] = []
        for recorder in self.recorders:
            if recorder.index in touched:
                yield from self._record(recorder, time_ms, touched, land)
                yield
        for judge in self.judges:
            if judge.index in touched:
                for chunk in judge.judge(time_ms, self._behind[judge.index], sampled=sampled):
                    done += chunk
                    yield
        return done

    def _record(self, recorder: Recorder, time_ms: int, touched: set[int], land: Land) -> Generator[None, None, None]:
        """Evaluate a recording rule and land what it gives.

        Who reads it is concerned even if nothing is to land: what is absent may be so for another reason now."""
        results = recorder.record(time_ms)
        if results is None:
            return
        readers = self._readers[recorder.index]
        touched |= readers
        for recorded in results:
            stale_from_ms = yield from land(recorded)
            for rule in self._rules:
                if rule.index in readers:
                    rule.expression.expect(stale_from_ms)


def chains_of(recorders: Sequence[Recorder], judges: Sequence[QueryJudge]) -> Iterator[Chain]:
    """The chains of all rules; recording rules come in an order in which each is after those that it reads."""
    everyone: list[Recorder | QueryJudge] = [*recorders, *judges]
    rules = [(rule.index, rule.expression.plan) for rule in everyone]
    for members in linked(rules, [(recorder.index, recorder.rule.record) for recorder in recorders]):
        yield Chain(
            [recorder for recorder in recorders if recorder.index in members],
            [judge for judge in judges if judge.index in members],
        )
