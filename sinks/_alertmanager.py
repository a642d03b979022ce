"""Notifications in Alertmanager's formats. Pure: the same notification gives the same bytes.

The form is Alertmanager's webhook payload, version "4" (its `template.Data` and `webhook.Message`). What
is unknown is never called resolved, and no number gets in, so neither does a NaN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from engine.events import Transition
from engine.ports import Notification
from engine.series import fingerprint

__all__ = ["render"]

ANNOTATION_BYTES_MAX: Final = 16 * 1024
"""Text of all annotations of one alert, in UTF-8."""
BODY_BYTES_MAX: Final = 512 * 1024
LABELS_MAX: Final = 128
SHORT_LABEL_CHARS_MAX: Final = 64
"""To this labels are cut when one alert alone is larger than a body may be."""
CUT_MARK: Final = "… [truncated]"
LOST_REASON: Final = "lost: no data; state unknown"
LEVEL_REASON: Final = "level: the alert goes on with severity "

_ZERO_TIME: Final = "0001-01-01T00:00:00Z"
_META: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_TIME_MAX_MS: Final = 253_402_300_799_999  # the end of the year 9999


def render(notification: Notification, *, with_ended: bool = True) -> bytes:
    """Return the webhook body, keys sorted. At most `BODY_BYTES_MAX`: what is over is cut and counted.

    One entry for each label set as it is sent, with what happened to it last. `startsAt` is the time the alert
    fired, where a transition knows that, else the time its condition turned true; `endsAt` is zero unless the label
    set has ended: the alert resolved, or goes on with another severity and so with other labels.

    Args:
        with_ended: Whether label sets that ended with a change of severity are told.
    """
    alerts = _alerts(notification, with_ended)
    left_out = notification.truncated
    body = _encode(notification, alerts, left_out)
    while len(body) > BODY_BYTES_MAX and len(alerts) > 1:
        # By the share that fits, so that few rounds are needed, and at least by one.
        keep = min(len(alerts) - 1, max(1, len(alerts) * BODY_BYTES_MAX // len(body)))
        left_out += len(alerts) - keep
        alerts = _foremost(alerts, keep)
        body = _encode(notification, alerts, left_out)
    if len(body) > BODY_BYTES_MAX:
        alerts[0] |= {"labels": _shortened(alerts[0]["labels"]), "annotations": {}}
        body = _encode(notification, alerts, left_out, bare=True)
    return body


def _alerts(notification: Notification, with_ended: bool) -> list[dict[str, Any]]:
    latest: dict[str, tuple[dict[str, str], Transition, bool]] = {}
    for transition in notification.transitions:
        if transition.changes_level:
            before = _labels(notification, transition, transition.severity_before)
            latest[fingerprint(before)] = (before, transition, True)
        labels = _labels(notification, transition, transition.severity)
        latest[fingerprint(labels)] = (labels, transition, False)
    return [
        _alert(identity, labels, last, superseded)
        for identity, (labels, last, superseded) in latest.items()
        if with_ended or not superseded
    ]


def _labels(notification: Notification, transition: Transition, severity: str) -> dict[str, str]:
    reached = {"severity": severity} if severity else {}
    return _text_map({**notification.external_labels, **transition.labels, **reached})


def _alert(identity: str, labels: dict[str, str], last: Transition, superseded: bool) -> dict[str, Any]:
    """One entry.

    Args:
        superseded: The alert goes on, with another severity.
    """
    resolved = superseded or last.kind == "resolved"
    firing = last.kind == "firing" and not last.changes_level
    started_ms = last.time_ms if firing else last.fired_ms or last.active_since_ms
    annotations = _text_map(last.annotations)
    if last.flapping:
        annotations["longwatch_flapping"] = "true"
    if superseded:
        annotations["longwatch_reason"] = LEVEL_REASON + _text(last.severity)
    elif last.kind == "lost":
        annotations["longwatch_reason"] = LOST_REASON
    return {
        "status": "resolved" if resolved else "firing",
        "labels": labels,
        "annotations": _capped(annotations),
        "startsAt": _time(started_ms),
        "endsAt": _time(last.time_ms) if resolved else _ZERO_TIME,
        "generatorURL": "",
        "fingerprint": identity,
    }


def _foremost(alerts: list[dict[str, Any]], keep: int) -> list[dict[str, Any]]:
    """So many of them in their order, those that fire before those that have ended."""
    first = sorted(range(len(alerts)), key=lambda number: alerts[number]["status"] != "firing")
    return [alerts[number] for number in sorted(first[:keep])]


def _encode(notification: Notification, alerts: list[dict[str, Any]], left_out: int, *, bare: bool = False) -> bytes:
    """The whole body; a `bare` one leaves out what only repeats what the alerts say."""
    firing = any(alert["status"] == "firing" for alert in alerts)
    body = {
        "version": "4",
        "groupKey": _text(notification.group_key)[:SHORT_LABEL_CHARS_MAX] if bare else _text(notification.group_key),
        "truncatedAlerts": left_out,
        "status": "firing" if firing else "resolved",
        "receiver": _META.sub(r"\\\g<0>", _text(notification.receiver)),
        "groupLabels": {} if bare else _text_map(notification.group_labels),
        "commonLabels": {} if bare else _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": {} if bare else _common([alert["annotations"] for alert in alerts]),
        "externalURL": "",
        "alerts": alerts,
    }
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _common(maps: list[dict[str, str]]) -> dict[str, str]:
    if not maps:
        return {}
    return {name: value for name, value in maps[0].items() if all(other.get(name) == value for other in maps[1:])}


def _capped(annotations: dict[str, str]) -> dict[str, str]:
    """Annotations within `ANNOTATION_BYTES_MAX`; the reason of a lost alert comes first, a cut is marked."""
    left = ANNOTATION_BYTES_MAX
    kept: dict[str, str] = {}
    for name in sorted(annotations, key=lambda name: (name != "longwatch_reason", name)):
        value = annotations[name].encode()
        room = left - len(name.encode())
        if room < len(CUT_MARK.encode()) and len(value) > room:
            break
        if len(value) > room:
            value = value[: room - len(CUT_MARK.encode())].decode(errors="ignore").encode() + CUT_MARK.encode()
        kept[name] = value.decode()
        left = room - len(value)
    return kept


def _shortened(labels: dict[str, str]) -> dict[str, str]:
    """A last resort: the first `LABELS_MAX` names, `alertname` among them, and short values."""
    names = sorted(labels, key=lambda name: (name != "alertname", name))[:LABELS_MAX]
    limit = SHORT_LABEL_CHARS_MAX
    return {name[:limit]: value if len(value := labels[name]) <= limit else value[:limit] + CUT_MARK for name in names}


def _text_map(source: Mapping[str, str]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in source.items()}


def _text(text: str) -> str:
    """Valid Unicode, which is all that JSON asks for; line breaks in an annotation are meant."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _time(time_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond. Times JSON's readers can't hold are clamped."""
    clamped = min(max(time_ms, 0), _TIME_MAX_MS)
    moment = datetime.fromtimestamp(clamped // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{clamped % 1000:03d}Z"
