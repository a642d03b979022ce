"""Many alerts of one rule that fire at the same instant, and three receivers: two take them, one never answers."""

import json
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks import process
from benchmarks.loopback import serving
from benchmarks.punctual.pattern import HIGH, LIMIT, LOW

__all__ = ["ALERTS", "Calm", "storm"]

ALERTS = 10_000
FOR_S = 2
INTERVAL_S = 2
ALIVE = ("a", "b")
WAIT_S_MAX = 60.0


class Calm(NamedTuple):
    """When all was told.

    Args:
        last_s: From the deadline until the slower receiver was told the last alert, in seconds; infinite if it was not.
        messages: Those it took.
        again: Alerts that either was told twice.
        kept: Alerts in the messages on the disk for the one that never answers.
    """

    last_s: float
    messages: int
    again: int
    kept: int = 0


class _Crowd:
    """A target whose series breach all at once, and who counts the alerts that come of it."""

    def __init__(self, alerts: int) -> None:
        self._alerts = alerts
        self._high = False
        self._lock = threading.Lock()
        self._told: dict[str, set[str]] = {name: set() for name in ALIVE}
        self._messages = dict.fromkeys(ALIVE, 0)
        self._again = 0
        self.scraped, self.shown_s = threading.Event(), 0.0
        self.all_told, self.last_s = threading.Event(), 0.0

    def breach(self) -> None:
        """From the next scrape on."""
        self._high = True

    def metrics(self, _: str) -> bytes:
        """Every series, over the limit or under it."""
        value = HIGH if self._high else LOW
        if self._high and not self.shown_s:
            self.shown_s = time.monotonic()
        self.scraped.set()
        return "".join(f'm{{i="{number}"}} {value:g}\n' for number in range(self._alerts)).encode()

    def answered(self, path: str, body: bytes, at_s: float) -> None:
        """Take a message for `/a` or `/b`."""
        named = [alert["labels"]["i"] for alert in json.loads(body)["alerts"] if alert["status"] == "firing"]
        with self._lock:
            told = self._told[path.strip("/")]
            self._again += len(told & set(named))
            told.update(named)
            self._messages[path.strip("/")] += 1
            self.last_s = at_s
            if all(len(told) == self._alerts for told in self._told.values()):
                self.all_told.set()

    def calm(self, all_told: bool) -> Calm:
        """What came of it."""
        with self._lock:
            last_s = self.last_s - self.shown_s - FOR_S if all_told else float("inf")
            return Calm(last_s, max(self._messages.values()), self._again)


def storm(folder: Path, alerts: int = ALERTS) -> Calm:
    """Let so many alerts fire at once. Raises `RuntimeError` if the engine does not run.

    Args:
        folder: For its state.
    """
    crowd = _Crowd(alerts)
    with serving(crowd.metrics, crowd.answered) as port, socket.create_server(("127.0.0.1", 0)) as dead:
        url = f"http://127.0.0.1:{port}"
        tables = [
            f'[probe.it]\ntype = "scrape"\nurl = "{url}/metrics"\ninterval = "{INTERVAL_S}s"\n',
            f'[rule.High]\nexpr = "m > {LIMIT:g}"\nfor = "{FOR_S}s"\n',
            *(f'[sink.{name}]\ntype = "webhook"\nurl = "{url}/{name}"\n' for name in ALIVE),
            f'[sink.dead]\ntype = "webhook"\nurl = "http://127.0.0.1:{dead.getsockname()[1]}/"\n',
        ]
        with process.running(folder, "".join(tables)):
            if not crowd.scraped.wait(WAIT_S_MAX):
                raise RuntimeError("the engine does not scrape")
            crowd.breach()
            calm = crowd.calm(crowd.all_told.wait(WAIT_S_MAX))
            return calm._replace(kept=_kept(folder))


def _kept(folder: Path) -> int:
    """How many alerts wait in the engine's ledger for the receiver that never answers, while the engine runs."""
    (ledger,) = folder.glob("*/state.db")
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT body FROM outbox WHERE receiver = 'dead'").fetchall()
    return sum(len(json.loads(body)["alerts"]) for (body,) in rows)
