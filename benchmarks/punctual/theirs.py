"""Prometheus, scraping and evaluating every second: how long after a breach has lasted for `for` an alert is told.

A delay is from the instant at which the series has been over the limit for so long until an Alertmanager on loopback,
which is this process, is sent the alert for the first time. So it has what scraping, evaluating and sending cost.
"""

import json
import math
import time
from datetime import UTC, datetime

from benchmarks.loopback import serving
from benchmarks.prometheus import running
from benchmarks.punctual.pattern import LIMIT, Pattern

__all__ = ["FOR_S", "delays_s"]

SERIES = 200
FOR_S = 5
SETTLE_S = 3.0


class _Neighbours:
    """The target that is scraped, and the Alertmanager that is told."""

    def __init__(self) -> None:
        self.pattern = Pattern(SERIES, FOR_S)
        self.begins_s = math.inf  # nothing breaches before the server scrapes every second
        self.delays_s: list[float] = []
        self._seen: set[tuple[int, float]] = set()

    def metrics(self, _: str) -> bytes:
        """The exposition of now."""
        values = self.pattern.values(time.monotonic() - self.begins_s, range(SERIES))
        return "".join(f'm{{i="{number}"}} {value:g}\n' for number, value in enumerate(values)).encode()

    def told(self, _: str, body: bytes, at_s: float) -> None:
        """Take alerts; those that are told for the first time count."""
        now_s, now = at_s - self.begins_s, datetime.now(UTC)
        for alert in json.loads(body):
            if datetime.fromisoformat(alert["endsAt"]) <= now:
                continue  # it is resolved
            number = int(alert["labels"]["i"])
            breach = self.pattern.breach(number, now_s)
            if breach is None or (number, round(breach.begins_s, 6)) in self._seen:
                continue
            delay_s = now_s - breach.begins_s - FOR_S
            if delay_s >= 0:  # else it is the alert of the breach before, told again
                self._seen.add((number, round(breach.begins_s, 6)))
                self.delays_s.append(delay_s)


def delays_s(seconds: float) -> list[float]:
    """Delays of every alert that was told within some seconds. Raises `RuntimeError` if the server does not start."""
    neighbours = _Neighbours()
    with serving(neighbours.metrics, neighbours.told) as port:
        target = f"127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "it", "static_configs": [{"targets": [target]}]}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [target]}]}]},
        }
        rule = {"alert": "High", "expr": f"m > {LIMIT:g}", "for": f"{FOR_S}s"}
        with running(config=config, groups=[{"name": "g", "interval": "1s", "rules": [rule]}]):
            neighbours.begins_s = time.monotonic() + SETTLE_S
            time.sleep(SETTLE_S + seconds)
            return list(neighbours.delays_s)
