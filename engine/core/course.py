"""The course of time: what happens because it passes, with nothing fed.

Deadlines of chains, instants of groups, inputs that go stale and clocks of alerts, each when it is due; of what is due
at one instant, chains come before groups. Events are none of its business: `engine.core.evaluator` takes them, and says
how far time has come.
"""

from __future__ import annotations

from engine.core.blindness import Blindness
from engine.core.judge import Judge
from engine.core.kin import Kin
from engine.core.landing import Outputs
from engine.core.notices import Output
from engine.core.outputs import in_order, joined
from engine.core.parts import Parts
from engine.core.store import NEVER_MS
from engine.core.telling import POINTS_PER_CHUNK, Telling
from engine.events import Blind

__all__ = ["Course"]

TIMERS_PER_RULE_MAX = 4
TIMERS_SLACK = 10_000


class Course:
    """Lets happen what is due.

    Args:
        parts: Of the core.
        blindness: Says which instants of groups are left out.
    """

    def __init__(self, parts: Parts, blindness: Blindness) -> None:
        self._parts = parts
        self._timers, self._sweeps, self._instants = parts.timers, parts.sweeps, parts.instants
        self._book, self._lander = parts.book, parts.lander
        self._blindness = blindness

    def begin(self, time_ms: int) -> None:
        """Time begins, with the first event or the first advance."""
        self._instants.begin(time_ms)
        if not self._parts.time_begun:
            self._parts.time_begun = True
            for chain in self._parts.chains:
                chain.begin(time_ms)

    def next_ms(self) -> int | None:
        """When something may next be due, in milliseconds since the epoch; None if never."""
        due_ms = self._book.due_ms if self._book.due_ms != NEVER_MS else None
        planned = self._timers.next_ms(), self._sweeps.next_ms(), self._instants.next_ms(), due_ms
        return min((at for at in planned if at is not None), default=None)

    def until(self, now_ms: int) -> Outputs:
        """Let happen what is due until an instant, inclusive. What comes of it is in no order yet."""
        done: list[Output] = []
        while True:
            timer_ms, instant_ms = self._timers.next_ms(), self._instants.next_ms()
            if timer_ms is not None and timer_ms <= now_ms and (instant_ms is None or timer_ms <= instant_ms):
                done = joined(done, (yield from self._wake(timer_ms)))
            elif instant_ms is not None and instant_ms <= now_ms:
                done = joined(done, (yield from self._evaluate_groups(instant_ms)))
            else:
                break
        done = joined(done, (yield from self._sweep(now_ms)))
        for chunk in self._book.passing(now_ms):
            done += chunk
            yield
        return done

    def before_blind(self, blind: Blind) -> Outputs:
        """Let happen what is due until a blind span begins, inclusive: until then there was somebody to see it."""
        made: list[Output] = []
        if blind.from_ms <= self._lander.watermark_ms:
            return made
        layouts = self._parts.layouts
        if blind.scope != "*":
            known = layouts.known(blind.series or (blind.scope,))
            readers = yield from layouts.readers(known)
            made = yield from self._lander.before(blind.from_ms + 1, known, readers, layouts.chains(known))
        else:
            for chain in self._parts.chains:
                made += yield from chain.before(blind.from_ms + 1, self._lander.record)
            made += yield from self._sweep(blind.from_ms)
            for chunk in self._book.passing(blind.from_ms):
                made += chunk
                yield
        return (yield from in_order(made))

    def _wake(self, time_ms: int) -> Outputs:
        """Let happen what is due for chains at an instant."""
        done: list[Output] = []
        if (woken := self._timers.pop(time_ms)) is not None:
            for chain in dict.fromkeys(self._parts.chain_of[deadline.rule] for deadline in sorted(woken[1])):
                done += yield from chain.wake(time_ms, self._lander.record)
        return done

    def _evaluate_groups(self, instant_ms: int) -> Outputs:
        """Evaluate the groups of an instant, each landing what its rules record before the next rule."""
        done: list[Output] = []
        for index in self._instants.take(instant_ms):
            for made, recorded in self._parts.runners[index].evaluate(instant_ms):
                done += made
                if recorded is not None:
                    done += yield from self._lander.recorded(recorded)
                yield
        self._blindness.skip_instants()
        return done

    def _sweep(self, now_ms: int) -> Outputs:
        """Let pointwise rules look for inputs that went stale until now."""
        done: list[Output] = []
        told = Telling(self._book)
        swept: list[Judge | Kin] = []
        looking = self._parts.looking
        while (woken := self._sweeps.pop(now_ms)) is not None:
            for index in {deadline.rule for deadline in woken[1]}:
                judge = looking[index]
                found = yield from judge.sweep(now_ms)
                yield
                if not found:
                    continue
                swept.append(judge)
                for part in (part for points in found for part in points.chunks(POINTS_PER_CHUNK)):
                    for chunk in told.add(judge, part):
                        done += chunk
                        yield
        for chunk in told.rest():
            done += chunk
            yield
        yield from told.done()
        for judge in swept:
            yield from judge.watching()
        return done

    def tidy_timers(self) -> None:
        """Timers that mean nothing any more wait for their time; when they are many, begin anew."""
        if len(self._timers) > TIMERS_PER_RULE_MAX * len(self._parts.chain_of) + TIMERS_SLACK:
            self._timers.clear()
            for chain in self._parts.chains:
                chain.arm_all()
        if len(self._sweeps) > TIMERS_PER_RULE_MAX * len(self._parts.looking) + TIMERS_SLACK:
            self._sweeps.clear()
            for judge in {id(judge): judge for judge in self._parts.looking.values()}.values():
                judge.looks.rearm()
