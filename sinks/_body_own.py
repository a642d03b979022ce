"""Notifications in a form of our own, for programs: everything a transition says, one entry each. Pure.

Versioned: keys are added and never change their meaning within a version, so readers ignore what they do not know.
The envelope is that of Standard Webhooks (`type`, `timestamp`, `data`). JSON has no number for NaN and the infinities:
they are the words "NaN", "+Inf" and "-Inf".
"""

from __future__ import annotations

import math
from typing import Any, Final

import orjson

from engine.events import Facts, Transition
from engine.ports import Notification
from engine.series import fingerprint
from sinks._body_parts import (
    SHORT_LABEL_CHARS_MAX,
    capped,
    fitted,
    plain,
    plain_map,
    rfc3339,
    sent_labels,
    shortened,
)

__all__ = ["VERSION", "document", "entries", "render"]

VERSION: Final = 1
_ONGOING: Final = ("firing", "severity")


def render(notification: Notification, *, note: str = "") -> bytes:
    """Return the body, keys sorted. At most `BODY_BYTES_MAX`: what is over is cut and counted.

    Args:
        note: Said beside the data, for a person who reads it.
    """

    def encode(alerts: list[dict[str, Any]], left_out: int) -> bytes:
        return _encoded(document(notification, alerts, left_out), note)

    alerts, left_out, body = fitted(entries(notification), notification.truncated, encode)
    if not body:
        alerts[0] |= {"labels": shortened(alerts[0]["labels"]), "annotations": {}}
        alerts[0]["rule"] = alerts[0]["rule"][:SHORT_LABEL_CHARS_MAX]
        body = _encoded(document(notification, alerts, left_out, bare=True), note)
    return body


def document(
    notification: Notification, alerts: list[dict[str, Any]], left_out: int, *, bare: bool = False
) -> dict[str, Any]:
    """The body before it is text: also what a template sees. A `bare` one leaves out what only repeats."""
    events = {alert["event"] for alert in alerts}
    happened = next((word for word in ("firing", "lost") if word in {_status(event) for event in events}), "resolved")
    latest_ms = max((transition.time_ms for transition in notification.transitions), default=0)
    key = plain(notification.group_key)
    return {
        "type": f"alerts.{happened}",
        "timestamp": rfc3339(latest_ms),
        "data": {
            "version": VERSION,
            "status": happened,
            "receiver": plain(notification.receiver),
            "group_key": key[:SHORT_LABEL_CHARS_MAX] if bare else key,
            "group_labels": {} if bare else plain_map(notification.group_labels),
            "external_labels": {} if bare else plain_map(notification.external_labels),
            "truncated": left_out,
            "alerts": alerts,
        },
    }


def entries(notification: Notification) -> list[dict[str, Any]]:
    """One entry for each transition, in their order."""
    return [_entry(notification, transition) for transition in notification.transitions]


def _entry(notification: Notification, told: Transition) -> dict[str, Any]:
    event = "severity" if told.changes_level else told.kind
    labels = sent_labels(notification, told, told.severity)
    fired_ms = told.time_ms if told.kind == "firing" and not told.changes_level else told.fired_ms
    return {
        "event": event,
        "status": _status(event),
        "rule": plain(told.rule),
        "reason": plain(told.reason),
        "labels": labels,
        "annotations": capped(plain_map(told.annotations)),
        "fingerprint": fingerprint(labels),
        "alert_id": fingerprint(sent_labels(notification, told, "")),
        "severity": plain(told.severity) or labels.get("severity", ""),
        "severity_before": plain(told.severity_before),
        "flapping": told.flapping,
        "value": _number(told.value),
        "time": rfc3339(told.time_ms),
        "active_since": rfc3339(told.active_since_ms),
        "fired_at": rfc3339(fired_ms) if fired_ms else "",
        "true_for_ms": max(0, told.time_ms - told.active_since_ms),
        "firing_for_ms": max(0, told.time_ms - fired_ms) if fired_ms else 0,
        "facts": None if told.facts is None else _facts(told.facts),
    }


def _facts(facts: Facts) -> dict[str, Any]:
    return {
        "peak": _number(facts.peak),
        "mean": _number(facts.mean),
        "samples": facts.samples,
        "true_ms": facts.true_ms,
        "unknown_ms": facts.unknown_ms,
    }


def _status(event: str) -> str:
    return "firing" if event in _ONGOING else event


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else _word(value)


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _encoded(body: dict[str, Any], note: str) -> bytes:
    return orjson.dumps(body | {"note": note} if note else body, option=orjson.OPT_SORT_KEYS)
