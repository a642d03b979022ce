"""The memory of resolved alerts: what was resolved lately and is not back, for whoever must still be told.

A resolve is remembered for 15 minutes of event time, as in Prometheus (rules/alerting.go, `resolvedRetention`),
where it goes on being sent for as long. An alert that turns true again is a new one, with a start of its own, and what
was resolved before is forgotten at that moment, even if the new one never fires. Lost alerts are not in it: they are
not called resolved.

It is fed with transitions and knows neither rules nor series; it must never have a say in what happens to an alert.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from typing import TypeAlias

from engine.core.names import Key, key_of
from engine.core.notices import Output
from engine.core.store import NEVER_MS
from engine.core.tally import Tally
from engine.events import Transition

__all__ = ["RESOLVED_KEPT_MS", "Resolved"]

RESOLVED_KEPT_MS = 15 * 60_000
"""How long a resolved alert is remembered; at exactly this age it still is."""
FORGOTTEN_PER_STEP = 1_024
_Remembered: TypeAlias = OrderedDict[Key, Transition]


class Resolved:
    """Resolved alerts by rule.

    Args:
        per_rule_max: How many of one rule are remembered; beyond that those remembered longest are forgotten.
        tally: Where that is counted and told.
    """

    def __init__(self, per_rule_max: int, tally: Tally) -> None:
        self._per_rule_max = per_rule_max
        self._tally = tally
        self._rules: dict[int, _Remembered] = {}
        self._next_ms = NEVER_MS
        """Nothing is too old before this."""

    def note(self, made: Iterable[Output]) -> None:
        """Take note of transitions, in the order in which they came out."""
        rules = self._rules
        for output in made:
            change = output[5]
            before = change.before
            if before == "inactive":  # it is back, or was never there
                if (remembered := rules.get(output[2])) and (labels := output[3]) in remembered:
                    del remembered[labels]
            elif before == "firing" and change.after == "inactive" and change.reason != "lost":
                self._add(output[2], output[3], change)

    def forgetting(self, now_ms: int) -> Generator[None, None, None]:
        """Let go of what is too old at `now_ms`, in steps. Costs nothing while nothing is."""
        if now_ms < self._next_ms:
            return
        self._next_ms = NEVER_MS
        for number, (rule, remembered) in enumerate(list(self._rules.items()), 1):
            if number % FORGOTTEN_PER_STEP == 0:
                yield
            yield from _letting_go(remembered, now_ms)
            if not remembered:
                del self._rules[rule]
                continue
            first = next(iter(remembered.values()))
            self._next_ms = min(self._next_ms, first.time_ms + RESOLVED_KEPT_MS + 1)

    def at(self, now_ms: int) -> list[Transition]:
        """The resolves that are remembered at `now_ms`, the newest first; of one instant in the order of rules and
        labels."""
        found = [
            (-change.time_ms, rule, labels, change)
            for rule, remembered in self._rules.items()
            for labels, change in remembered.items()
            if now_ms - change.time_ms <= RESOLVED_KEPT_MS
        ]
        return [change for *_, change in sorted(found, key=lambda row: row[:3])]

    def saved(self, rule: int) -> list[Transition]:
        """What a snapshot keeps of a rule."""
        return list(self._rules.get(rule, {}).values())

    def load(self, rule: int, saved: Sequence[Transition]) -> None:
        """Take back what `saved` gave, whatever the limit is now."""
        if saved:
            self._rules[rule] = OrderedDict((key_of(one.labels), one) for one in saved)
            self._next_ms = min(self._next_ms, saved[0].time_ms + RESOLVED_KEPT_MS + 1)

    def _add(self, rule: int, labels: Key, change: Transition) -> None:
        remembered = self._rules.get(rule)
        if remembered is None:
            remembered = self._rules[rule] = OrderedDict()
        remembered[labels] = change  # the youngest: what was remembered of it went when it was back
        if change.time_ms < self._next_ms - RESOLVED_KEPT_MS:
            self._next_ms = change.time_ms + RESOLVED_KEPT_MS + 1
        if len(remembered) > self._per_rule_max:
            for _ in _letting_go(remembered, change.time_ms):
                pass
        if len(remembered) > self._per_rule_max:
            remembered.popitem(last=False)
            self._tally.count("resolved_forgotten_total", 1)
            self._tally.breach(f"rule.{change.rule}", "resolved_limit", 1)


def _letting_go(remembered: _Remembered, now_ms: int) -> Generator[None, None, None]:
    """Drop the oldest while they are too old. One that came late may stay a little longer; nobody is shown it."""
    number = 0
    while remembered and now_ms - next(iter(remembered.values())).time_ms > RESOLVED_KEPT_MS:
        remembered.popitem(last=False)
        number += 1
        if number % FORGOTTEN_PER_STEP == 0:
            yield
