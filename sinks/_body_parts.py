"""Pieces of bodies: texts, times and label maps within their limits, and the cutting of what is too large. Pure.

Whatever comes in, what goes out is valid Unicode and has a size that can be told beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from engine.events import Transition
from engine.ports import Notification

__all__ = [
    "ANNOTATION_BYTES_MAX",
    "BODY_BYTES_MAX",
    "CUT_MARK",
    "LABELS_MAX",
    "SHORT_LABEL_CHARS_MAX",
    "capped",
    "common",
    "fitted",
    "plain",
    "plain_map",
    "rfc3339",
    "sent_labels",
    "shortened",
]

ANNOTATION_BYTES_MAX: Final = 16 * 1024
"""Text of all annotations of one alert, in UTF-8."""
BODY_BYTES_MAX: Final = 512 * 1024
LABELS_MAX: Final = 128
SHORT_LABEL_CHARS_MAX: Final = 64
"""To this labels are cut when one alert alone is larger than a body may be."""
CUT_MARK: Final = "… [truncated]"

_TIME_MAX_MS: Final = 253_402_300_799_999  # the end of the year 9999
Entry = dict[str, Any]


def fitted(
    alerts: list[Entry], left_out: int, encode: Callable[[list[Entry], int], bytes]
) -> tuple[list[Entry], int, bytes]:
    """Leave out alerts until a body fits into `BODY_BYTES_MAX`: first those whose `status` is not `firing`.

    Args:
        left_out: How many were left out before.
        encode: Makes a body of alerts and of how many were left out.

    Returns:
        The alerts that are in, how many are not, and the body; an empty one if a single alert is too large.
    """
    body = encode(alerts, left_out)
    while len(body) > BODY_BYTES_MAX and len(alerts) > 1:
        # By the share that fits, so that few rounds are needed, and at least by one.
        keep = min(len(alerts) - 1, max(1, len(alerts) * BODY_BYTES_MAX // len(body)))
        left_out += len(alerts) - keep
        alerts = _foremost(alerts, keep)
        body = encode(alerts, left_out)
    return alerts, left_out, body if len(body) <= BODY_BYTES_MAX else b""


def _foremost(alerts: list[Entry], keep: int) -> list[Entry]:
    """So many of them in their order, those that fire before those that have ended."""
    first = sorted(range(len(alerts)), key=lambda number: alerts[number]["status"] != "firing")
    return [alerts[number] for number in sorted(first[:keep])]


def sent_labels(notification: Notification, transition: Transition, severity: str) -> dict[str, str]:
    """The labels that are sent: those of the engine, of the alert, and its severity if it has levels."""
    reached = {"severity": severity} if severity else {}
    return plain_map({**notification.external_labels, **transition.labels, **reached})


def common(maps: list[dict[str, str]]) -> dict[str, str]:
    """What all of them have."""
    if not maps:
        return {}
    return {name: value for name, value in maps[0].items() if all(other.get(name) == value for other in maps[1:])}


def capped(annotations: dict[str, str]) -> dict[str, str]:
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


def shortened(labels: dict[str, str]) -> dict[str, str]:
    """A last resort: the first `LABELS_MAX` names, `alertname` among them, and short values."""
    names = sorted(labels, key=lambda name: (name != "alertname", name))[:LABELS_MAX]
    limit = SHORT_LABEL_CHARS_MAX
    return {name[:limit]: value if len(value := labels[name]) <= limit else value[:limit] + CUT_MARK for name in names}


def plain_map(source: Mapping[str, str]) -> dict[str, str]:
    """`plain`, of names and values."""
    return {plain(name): plain(value) for name, value in source.items()}


def plain(text: str) -> str:
    """Valid Unicode, which is all that JSON asks for; line breaks in an annotation are meant."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def rfc3339(time_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond. Times JSON's readers can't hold are clamped."""
    clamped = min(max(time_ms, 0), _TIME_MAX_MS)
    moment = datetime.fromtimestamp(clamped // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{clamped % 1000:03d}Z"
