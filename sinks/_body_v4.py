"""Notifications in Alertmanager's webhook format. Pure: the same notification gives the same bytes.

The form is Alertmanager's webhook payload, version "4" (its `template.Data` and `webhook.Message`). What
is unknown is never called resolved, and no number gets in, so neither does a NaN.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson

from engine.events import Transition
from engine.ports import Notification
from engine.series import fingerprint
from sinks._body_parts import (
    SHORT_LABEL_CHARS_MAX,
    capped,
    common,
    fitted,
    plain,
    plain_map,
    rfc3339,
    sent_labels,
    shortened,
)

__all__ = ["LEVEL_REASON", "LOST_REASON", "ZERO_TIME", "Latest", "entry", "latest", "render"]

LOST_REASON: Final = "lost: no data; state unknown"
LEVEL_REASON: Final = "level: the alert goes on with severity "
ZERO_TIME: Final = "0001-01-01T00:00:00Z"
_META: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")


def render(notification: Notification, *, with_ended: bool = True) -> bytes:
    """Return the webhook body, keys sorted. At most `BODY_BYTES_MAX`: what is over is cut and counted.

    One entry for each label set as it is sent, with what happened to it last. `startsAt` is the time the alert
    fired, where a transition knows that, else the time its condition turned true; `endsAt` is zero unless the label
    set has ended: the alert resolved, or goes on with another severity and so with other labels.

    Args:
        with_ended: Whether label sets that ended with a change of severity are told.
    """

    def encode(alerts: list[dict[str, Any]], left_out: int) -> bytes:
        return _encode(notification, alerts, left_out)

    alerts = [entry(one) for one in latest(notification) if with_ended or not one.superseded]
    alerts, left_out, body = fitted(alerts, notification.truncated, encode)
    if not body:
        alerts[0] |= {"labels": shortened(alerts[0]["labels"]), "annotations": {}}
        body = _encode(notification, alerts, left_out, bare=True)
    return body


class Latest(NamedTuple):
    """A label set as it is sent, and what happened to it last.

    Args:
        superseded: The alert goes on, with another severity and so with other labels.
    """

    identity: str
    labels: dict[str, str]
    transition: Transition
    superseded: bool


def latest(notification: Notification) -> list[Latest]:
    """One entry for each label set, in the order in which they first appear."""
    found: dict[str, Latest] = {}
    for transition in notification.transitions:
        if transition.changes_level:
            before = sent_labels(notification, transition, transition.severity_before)
            found[fingerprint(before)] = Latest(fingerprint(before), before, transition, True)
        labels = sent_labels(notification, transition, transition.severity)
        found[fingerprint(labels)] = Latest(fingerprint(labels), labels, transition, False)
    return list(found.values())


def entry(one: Latest) -> dict[str, Any]:
    """What Alertmanager's format says of a label set."""
    identity, labels, last, superseded = one
    resolved = superseded or last.kind == "resolved"
    firing = last.kind == "firing" and not last.changes_level
    started_ms = last.time_ms if firing else last.fired_ms or last.active_since_ms
    annotations = plain_map(last.annotations)
    if last.flapping:
        annotations["longwatch_flapping"] = "true"
    if superseded:
        annotations["longwatch_reason"] = LEVEL_REASON + plain(last.severity)
    elif last.kind == "lost":
        annotations["longwatch_reason"] = LOST_REASON
    return {
        "status": "resolved" if resolved else "firing",
        "labels": labels,
        "annotations": capped(annotations),
        "startsAt": rfc3339(started_ms),
        "endsAt": rfc3339(last.time_ms) if resolved else ZERO_TIME,
        "generatorURL": "",
        "fingerprint": identity,
    }


def _encode(notification: Notification, alerts: list[dict[str, Any]], left_out: int, *, bare: bool = False) -> bytes:
    """The whole body; a `bare` one leaves out what only repeats what the alerts say."""
    firing = any(alert["status"] == "firing" for alert in alerts)
    body = {
        "version": "4",
        "groupKey": plain(notification.group_key)[:SHORT_LABEL_CHARS_MAX] if bare else plain(notification.group_key),
        "truncatedAlerts": left_out,
        "status": "firing" if firing else "resolved",
        "receiver": _META.sub(r"\\\g<0>", plain(notification.receiver)),
        "groupLabels": {} if bare else plain_map(notification.group_labels),
        "commonLabels": {} if bare else common([alert["labels"] for alert in alerts]),
        "commonAnnotations": {} if bare else common([alert["annotations"] for alert in alerts]),
        "externalURL": "",
        "alerts": alerts,
    }
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
