"""Which recording rule made a series that an alert rests on, so that after a restart it is known who must end it.

A rule ends a series that it recorded and that is no longer in its result. Of a series that nobody is known to have made
nobody would say that it has gone, and an alert over it would be held although its cause is over. It must never give a
series to a rule that did not make it: that rule would end it at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.core.grid import GroupRunner
from engine.core.groups import rule_keys
from engine.core.parts import Parts
from engine.core.recording import Recorder
from engine.core.snapshot import recorders_of
from engine.series import metric_of

__all__ = ["Makers"]


class Makers:
    """The recording rules of a core, by key."""

    def __init__(self, parts: Parts) -> None:
        self._chained: dict[str, Recorder] = dict(recorders_of(parts.chains))
        self._grouped: dict[str, tuple[GroupRunner, int]] = {}
        keys = iter(rule_keys([runner.group for runner in parts.runners]))
        for runner in parts.runners:
            for index, rule in enumerate(runner.group.rules):
                key = next(keys)
                if rule.kind == "record":
                    self._grouped[key] = runner, index
        self._of_metric: dict[str, list[str]] = {}
        for key, recorder in self._chained.items():
            self._of_metric.setdefault(recorder.rule.record, []).append(key)
        for key, (runner, index) in self._grouped.items():
            self._of_metric.setdefault(runner.group.rules[index].name, []).append(key)

    def of(self, series: str) -> str:
        """The key of the rule that made a series last; empty if none did."""
        for key in self._of_metric.get(metric_of(series), ()) if self._of_metric else ():
            if key in self._chained:
                if self._chained[key].owns(series):
                    return key
            elif self._grouped[key][0].wrote(self._grouped[key][1], series):
                return key
        return ""

    def take(self, made: Mapping[str, str], until_ms: int) -> None:
        """Give series back to the rules that made them: by series the rule's key."""
        of_key: dict[str, list[str]] = {}
        for series, key in made.items():
            of_key.setdefault(key, []).append(series)
        for key, some in of_key.items():
            if key in self._chained:
                self._chained[key].take(some, until_ms)
            elif key in self._grouped:
                self._grouped[key][0].take(self._grouped[key][1], some)

    @staticmethod
    def take_alerts(runners: Iterable[GroupRunner]) -> None:
        """Groups have written the series of the alerts that they have."""
        for runner in runners:
            runner.take_alert_series()
