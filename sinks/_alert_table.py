"""What Alertmanagers are to be told again and again: every firing alert, and for a while what has ended. Pure.

Alertmanager's API is level-triggered: an alert that nobody repeats ends by itself. So the table keeps what it was told
last of each label set, and says at any time what to post of it. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import orjson

from engine.errors import SinkError
from engine.ports import Notification
from sinks._body_parts import BODY_BYTES_MAX, fitted, rfc3339, shortened
from sinks._body_v4 import entry, latest

__all__ = [
    "ALERTS_MAX",
    "LOST_KEPT_MS",
    "RESOLVED_KEPT_MS",
    "AlertTable",
    "Told",
    "decode",
    "encode",
    "is_over",
    "told_of",
]

ALERTS_MAX: Final = 50_000
RESOLVED_KEPT_MS: Final = 15 * 60_000
"""As long as Prometheus goes on sending resolved alerts (rules/alerting.go, `resolvedRetention`)."""
LOST_KEPT_MS: Final = 24 * 3_600_000
"""Alertmanager knows firing and resolved only. A lost alert goes on as firing, marked, for a day: long enough that
somebody sees it, and no longer, since nothing may ever be known of it again."""


class Told(msgspec.Struct, frozen=True):
    """What was told of one label set.

    Args:
        identity: Alertmanager's fingerprint of the labels.
        starts_at: RFC 3339.
        changed_ms: When what is told happened.
        ended: Whether it is over, at `changed_ms`.
        lost: Whether nothing is known any more.
        pair: The same for the old and the new label set of one change of severity: they go into one POST.
    """

    identity: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    changed_ms: int
    ended: bool
    lost: bool
    pair: int


def encode(notification: Notification) -> bytes:
    """What a notification tells, as bytes that `decode` reads; within `BODY_BYTES_MAX`."""
    alerts = _entries(notification)
    kept, _, body = fitted(alerts, notification.truncated, _dump)
    if not body:
        kept[0] |= {"labels": shortened(kept[0]["labels"]), "annotations": {}}
        body = _dump(kept, 0)
    assert len(body) <= BODY_BYTES_MAX
    return body


def told_of(notification: Notification) -> list[Told]:
    """What a notification tells, whole."""
    return msgspec.convert(_entries(notification), list[Told])


def _entries(notification: Notification) -> list[dict[str, Any]]:
    alerts: list[dict[str, Any]] = []
    numbers = {id(transition): number for number, transition in enumerate(notification.transitions)}
    for one in sorted(latest(notification), key=lambda one: (numbers[id(one.transition)], not one.superseded)):
        alert, last = entry(one), one.transition
        alerts.append(
            {
                "status": alert["status"],
                "identity": alert["fingerprint"],
                "labels": alert["labels"],
                "annotations": alert["annotations"],
                "starts_at": alert["startsAt"],
                "changed_ms": last.time_ms,
                "ended": alert["status"] == "resolved",
                "lost": last.kind == "lost",
                "pair": numbers[id(last)],
            }
        )
    return alerts


def _dump(alerts: list[dict[str, Any]], _: int) -> bytes:
    return orjson.dumps(alerts, option=orjson.OPT_SORT_KEYS)


_DECODER: Final = msgspec.json.Decoder(list[Told])


def decode(body: bytes) -> list[Told]:
    """Read what `encode` wrote. Raises `ValueError` if it is something else."""
    return _DECODER.decode(body)


class _Kept:
    """One label set in the table; `version` tells whether it changed while it was being posted."""

    __slots__ = ("pair", "told", "version")

    def __init__(self, told: Told, version: int, pair: int) -> None:
        self.told = told
        self.version = version
        self.pair = pair


class AlertTable:
    """The latest that is known of each label set.

    Args:
        valid_ms: How long from now on Alertmanager may take a firing alert for firing without hearing of it again.
    """

    def __init__(self, valid_ms: int) -> None:
        self._valid_ms = valid_ms
        self._alerts: dict[str, _Kept] = {}
        self._version = 0
        self._pairs = 0

    def __len__(self) -> int:
        return len(self._alerts)

    def __contains__(self, identity: str) -> bool:
        return identity in self._alerts

    @property
    def identities(self) -> list[str]:
        """Every label set, those that changed last at the end."""
        return list(self._alerts)

    def version(self, identity: str) -> int:
        """A number that grows with each change of a label set; 0 if it is not there."""
        kept = self._alerts.get(identity)
        return kept.version if kept else 0

    def pair(self, identity: str) -> int:
        """What belongs into one POST has the same number."""
        return self._alerts[identity].pair

    def apply(self, told: Sequence[Told], now_ms: int) -> list[str]:
        """Take note of what was told; return the label sets that are to be posted for it. What is older than what is
        known, such as a message that comes again, changes nothing.

        Raises:
            SinkError: `full`: there is no room for another alert that fires.
        """
        self.forget(now_ms)
        changed, base, refused = list[str](), self._pairs, 0
        for one in told:
            known = self._alerts.get(one.identity)
            if known is not None and known.told.changed_ms > one.changed_ms:
                continue
            if known is None and not self._has_room():
                refused += 1
                continue
            self._version += 1
            self._alerts.pop(one.identity, None)  # to the end: what changed together stays together
            self._alerts[one.identity] = _Kept(one, self._version, base + one.pair)
            changed.append(one.identity)
        self._pairs += max((one.pair for one in told), default=0) + 1
        if refused:
            words = f"{ALERTS_MAX} alerts are kept already; {refused} more were left out"
            raise SinkError("full", words, retryable=False)
        return [identity for identity in changed if identity in self._alerts]

    def forget(self, now_ms: int) -> None:
        """Let go of what has been over for long enough."""
        for identity in [name for name, kept in self._alerts.items() if is_over(kept.told, now_ms)]:
            del self._alerts[identity]

    def payload(self, identities: Iterable[str], now_ms: int) -> bytes:
        """The body of a POST to `/api/v2/alerts`."""
        until = rfc3339(now_ms + self._valid_ms)
        return orjson.dumps(
            [
                {
                    "labels": told.labels,
                    "annotations": told.annotations,
                    "startsAt": told.starts_at,
                    "endsAt": rfc3339(told.changed_ms) if told.ended else until,
                }
                for identity in identities
                if (kept := self._alerts.get(identity)) and (told := kept.told)
            ]
        )

    def size(self, identity: str) -> int:
        """Roughly how many bytes a label set takes in a POST."""
        told = self._alerts[identity].told
        maps = (told.labels, told.annotations)
        return 160 + sum(len(name) + len(text) + 6 for texts in maps for name, text in texts.items())

    def _has_room(self) -> bool:
        """Whether one more fits in; what has ended makes way, the oldest first."""
        if len(self._alerts) < ALERTS_MAX:
            return True
        oldest = next((name for name, kept in self._alerts.items() if kept.told.ended), None)
        if oldest is not None:
            del self._alerts[oldest]
        return oldest is not None


def is_over(told: Told, now_ms: int) -> bool:
    """Whether it has been over for so long that nobody is told any more."""
    age_ms = now_ms - told.changed_ms
    return (told.ended and age_ms > RESOLVED_KEPT_MS) or (told.lost and age_ms > LOST_KEPT_MS)
