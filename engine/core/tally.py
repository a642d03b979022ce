"""What the core counts, and which limits it has reached since somebody asked."""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.core.promql.vector import EvaluationError
from engine.errors import LongwatchError
from engine.events import Health
from engine.series import SeriesError
from engine.text import clean

__all__ = ["SavedTally", "Tally", "words_of"]

_BREACHES: Final = {
    "series_limit": "samples of new series are dropped; raise engine.series_max",
    "batch_limit": "samples beyond the limit of a batch are dropped; raise engine.batch_samples_max",
    "malformed": "samples of malformed series are dropped",
    "alerts_limit": "new alerts of this rule are not made; raise the group's limit, or engine.alerts_per_rule_max",
    "resolved_limit": "resolved alerts are forgotten before their time; raise engine.alerts_per_rule_max",
    "evaluation_failed": "the rule has no value",
    "eviction_failed": "dead series are kept; please report this",
    "projector_failed": "what a projector has counted is not kept across a restart",
    "recorded_twice": "results of rules are dropped, their series have other samples of that time or later ones",
    "series_over_limit": "series beyond the group's limit are not recorded",
}


class SavedTally(NamedTuple):
    """What a snapshot keeps: the counters, and breaches that were not told yet with their numbers and details."""

    counters: dict[str, int]
    breaches: list[tuple[str, str, int, str]]


def words_of(error: Exception) -> str:
    """What can be told of an error: the text of our own, of any other its type. A foreign text may have in it what
    the error was about, a password say."""
    if isinstance(error, EvaluationError | SeriesError | LongwatchError):
        return str(error)
    return f"{type(error).__name__} raised"


class Tally:
    """Counters by name, and breaches by component and reason."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._breaches: dict[tuple[str, str], int] = {}
        self._details: dict[tuple[str, str], str] = {}

    def count(self, name: str, number: int) -> None:
        """Add to a counter; one that was never added to does not exist."""
        if number:
            self.counters[name] = self.counters.get(name, 0) + number

    def saved(self) -> SavedTally:
        """What a snapshot keeps of it."""
        return SavedTally(self.counters, [(*key, number, self._details[key]) for key, number in self._breaches.items()])

    def load(self, saved: SavedTally) -> None:
        """Go on from what `saved` gave."""
        self.counters.update(saved.counters)
        for breach in saved.breaches:
            self.breach(*breach)

    def drop(self, reason: str, number: int) -> None:
        """Count dropped samples; a limit that was reached is told by `take_health`, too."""
        self.count(f"samples_dropped_total_{reason}", number)
        if reason in _BREACHES:
            self.breach("store", reason, number)

    def breach(self, component: str, reason: str, number: int, detail: str = "") -> None:
        """Note that a limit was reached; of several details the first is told."""
        self._breaches[component, reason] = self._breaches.get((component, reason), 0) + number
        self._details.setdefault((component, reason), detail)

    def take_health(self, time_ms: int) -> list[Health]:
        """The limits reached since the last call, as events."""
        told = [
            Health(time_ms, component, "degraded", reason, _message(reason, self._details[component, reason]), count)
            for (component, reason), count in self._breaches.items()
        ]
        self._breaches.clear()
        self._details.clear()
        return told


def _message(reason: str, detail: str) -> str:
    return clean(f"{_BREACHES[reason]}: {detail}") if detail else _BREACHES[reason]
