"""Both ends of an alerting chain, in one process and by one clock: the targets it scrapes, and the receiver it tells.

An alert's deadline is the instant at which a target showed the breach for the first time, plus `for`. So a delay has
neither the wait for the next scrape nor what the chain itself says the time is; from the breach itself it has both.
"""

import json
import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.punctual.pattern import HIGH, LIMIT, Pattern

__all__ = ["FOR_S", "GROUPS", "TARGETS", "Stage", "Told", "group_of", "rule_expr"]

FOR_S = 5
SERIES = 200
TARGETS = 20
"""Each is scraped at a phase of its own, so that deadlines are spread over the second."""
GROUPS = 40
"""As many rules; Prometheus evaluates each at a phase of its own, so that no single phase decides its figure."""
GRACE_S = 5.0


class Told(NamedTuple):
    """How long after a deadline an alert was told, in seconds.

    Args:
        deadline_s: After the breach was shown and `for` had passed.
        breach_s: After the breach had lasted for `for`, shown or not.
    """

    deadline_s: float
    breach_s: float


class _Shown(NamedTuple):
    at_s: float
    begins_s: float


class Stage:
    """The targets and the receiver of one chain.

    Args:
        clock: Seconds, monotonic.

    Attributes:
        told: Of each alert, the first time it was told.
        again: Messages that told of an alert that had been told.
        early: Alerts that were told before their deadline.
        missing: Alerts that should have been told, and were not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pattern = Pattern(SERIES, 2 * FOR_S)  # who is seconds late must still find the breach there
        self._begins_s = math.inf
        self._ends_s = math.inf
        self._scraped: set[int] = set()
        self._all_scraped = threading.Event()
        self._shown: dict[int, _Shown] = {}
        self._told_of: set[int] = set()
        self._lock = threading.Lock()
        self.told: list[Told] = []
        self.again = self.early = self.missing = 0

    def play(self, seconds: float, ready_s_max: float = 30.0) -> None:
        """Wait until every target is scraped, then let series breach for some seconds; what is told after those does
        not count. Raises `RuntimeError` if nobody scrapes."""
        if not self._all_scraped.wait(ready_s_max):
            raise RuntimeError(f"after {ready_s_max:g} s only {len(self._scraped)} of {TARGETS} targets were scraped")
        self.begin()
        time.sleep(seconds)
        self.end()

    def begin(self) -> None:
        """From now on series breach."""
        self._begins_s = self._clock()

    def end(self) -> None:
        """What is told from now on does not count."""
        with self._lock:
            self._ends_s = self._clock()
            for number in list(self._shown):
                self._settle(number, self._ends_s)

    def metrics(self, path: str) -> bytes:
        """The exposition of a target, `/t/NUMBER`, now."""
        target = int(path.rsplit("/", 1)[1])
        numbers = range(target, SERIES, TARGETS)
        with self._lock:
            now_s = self._clock()
            values = self._pattern.values(now_s - self._begins_s, numbers)
            for number, value in zip(numbers, values, strict=True):
                self._show(number, now_s, high=value == HIGH)
            self._scraped.add(target)
            if len(self._scraped) == TARGETS:
                self._all_scraped.set()
        lines = (
            f'm{{i="{number}",g="{group_of(number)}"}} {value:g}\n'
            for number, value in zip(numbers, values, strict=True)
        )
        return "".join(lines).encode()

    def answered(self, _: str, body: bytes, at_s: float) -> None:
        """Take a message in Alertmanager's webhook format that was answered with 200."""
        alerts = json.loads(body)["alerts"]
        with self._lock:
            for alert in alerts:
                self._take(alert, at_s)

    def _take(self, alert: dict[str, Any], at_s: float) -> None:
        number = int(alert["labels"]["i"])
        shown = self._shown.get(number)
        if alert["status"] != "firing" or shown is None or at_s > self._ends_s:
            return
        if number in self._told_of:
            self.again += 1
            return
        self._told_of.add(number)
        late = Told(at_s - shown.at_s - FOR_S, at_s - shown.begins_s - FOR_S)
        self.early += late.deadline_s < 0
        self.told.append(late)

    def _show(self, number: int, now_s: float, *, high: bool) -> None:
        if not high:
            self._settle(number, now_s)
        elif number not in self._shown:
            breach = self._pattern.breach(number, now_s - self._begins_s)
            if breach is not None:
                self._shown[number] = _Shown(now_s, self._begins_s + breach.begins_s)

    def _settle(self, number: int, now_s: float) -> None:
        """A breach is over, or is looked at for the last time."""
        shown = self._shown.pop(number, None)
        if shown is not None and number not in self._told_of:
            self.missing += now_s - shown.at_s > FOR_S + GRACE_S
        self._told_of.discard(number)


def group_of(number: int) -> int:
    """Whose rule judges a series. Those of one target are of different groups."""
    return number * GROUPS // SERIES


def rule_expr(group: int) -> str:
    """The condition of one of `GROUPS` rules."""
    return f'm{{g="{group}"}} > {LIMIT:g}'
