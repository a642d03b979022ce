"""Steps of the core that may wait a moment, made into one: the last row of each alert, every transition. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.group import Job
from engine.runtime.ledger.values import AlertRow, NewTransition, Step

__all__ = ["Held", "Outcome", "ThenCall"]


class Outcome(NamedTuple):
    """What came of something that was handed over.

    Args:
        value: What its function returned; None if there is an error.
        durable: Whether that is on disk, or in memory alone.
        error: Why nothing came of it.
    """

    value: Any
    durable: bool
    error: LedgerError | None = None


ThenCall: TypeAlias = Callable[[Outcome], None]


class Waiting(NamedTuple):
    """A transaction that was handed over, and whom to tell."""

    job: Job[Any]
    then: ThenCall | None


class Held:
    """Steps that were merged."""

    def __init__(self) -> None:
        self._alerts: dict[tuple[str, str], AlertRow] = {}
        self._transitions: list[NewTransition] = []
        self._counters: dict[str, int] = {}
        self._parts: list[tuple[int, int, ThenCall]] = []

    def __bool__(self) -> bool:
        return bool(self._alerts or self._transitions or self._counters or self._parts)

    @property
    def parts(self) -> int:
        """How many callers wait for it."""
        return len(self._parts)

    @property
    def transitions(self) -> int:
        """How many it holds."""
        return len(self._transitions)

    def add(self, step: Step, then: ThenCall | None) -> None:
        """Merge one more step; what comes later holds."""
        begin = len(self._transitions)
        self._transitions.extend(step.transitions)
        for alert in step.alerts:
            key = (alert.rule_key, alert.labels)
            self._alerts.pop(key, None)
            self._alerts[key] = alert
        self._counters.update(step.counters)
        if then is not None:
            self._parts.append((begin, len(self._transitions), then))

    def take(self) -> tuple[Step, ThenCall]:
        """All of it as one step, and whom to tell: each is told of the numbers of its own transitions."""
        step = Step(self._transitions, list(self._alerts.values()), self._counters)
        parts = self._parts
        self._alerts, self._transitions, self._counters, self._parts = {}, [], {}, []

        def then(outcome: Outcome) -> None:
            for begin, end, told in parts:
                value = None if outcome.value is None else outcome.value.seqs[begin:end]
                told(outcome._replace(value=value))

        return step, then
