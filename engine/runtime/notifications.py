"""From transitions to what a receiver is told: one notification per rule and step, or several if it is much. Pure.

Grouping, waiting and silencing are policy, which this version does not have: everything that fires, changes its
severity, resolves or is lost is told at once, together with what the same rule did at the same step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from engine.events import Transition
from engine.ports import Notification

__all__ = [
    "NOTIFICATION_ALERTS_MAX",
    "NOTIFICATION_BYTES_MAX",
    "TRANSITIONS_PER_TURN",
    "group",
    "grouped",
]

NOTIFICATION_ALERTS_MAX: Final = 64
NOTIFICATION_BYTES_MAX: Final = 128 * 1024
"""Text of labels and annotations in one notification of more than one alert: with everything escaped and the
common part repeated it fits into 512 KiB, so that no sink has to leave alerts out."""
ANNOTATION_BYTES_MAX: Final = 16 * 1024
"""What an alert's annotations count for at most: sinks cut them there."""
TRANSITIONS_PER_TURN: Final = 500
_TOLD = frozenset({"firing", "resolved", "lost"})
_WITHOUT_RESOLVED = _TOLD - {"resolved"}
_QUOTE = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def group(
    transitions: Sequence[Transition],
    receiver: str,
    external_labels: Mapping[str, str],
    *,
    send_resolved: bool = True,
) -> list[Notification]:
    """Return what to tell, in the order in which each rule first appears; more than fits into one notification is
    told in several.

    The group key is Alertmanager's for a route grouped by `alertname`: `{}:{alertname="HighCpu"}`.

    Args:
        send_resolved: Whether to tell of resolved alerts. Those that are lost are told in any case.
    """
    grouping = grouped(transitions, receiver, external_labels, send_resolved=send_resolved)
    return [notification for notification in grouping if notification is not None]


def grouped(
    transitions: Sequence[Transition], receiver: str, external_labels: Mapping[str, str], *, send_resolved: bool
) -> Iterator[Notification | None]:
    """`group` in steps: None stands for a turn of the loop after so many transitions."""
    by_rule: dict[str, list[Transition]] = {}
    told = _TOLD if send_resolved else _WITHOUT_RESOLVED
    for number, transition in enumerate(transitions, 1):
        if transition.kind in told:
            by_rule.setdefault(transition.rule, []).append(transition)
        if number % TRANSITIONS_PER_TURN == 0:
            yield None
    for rule, members in by_rule.items():
        key = f'{{}}:{{alertname="{rule.translate(_QUOTE)}"}}'
        for part in _parts(members):
            yield Notification(
                receiver=receiver,
                group_key=key,
                group_labels={"alertname": rule},
                transitions=tuple(part),
                external_labels=external_labels,
            )


def _parts(members: Sequence[Transition]) -> Iterator[list[Transition]]:
    part: list[Transition] = []
    places, room = NOTIFICATION_ALERTS_MAX, NOTIFICATION_BYTES_MAX
    for transition in members:
        entries = 1 + transition.changes_level  # the end of the old label set is told beside the start of the new one
        size = _bytes(transition.shown_labels) + min(_bytes(transition.annotations), ANNOTATION_BYTES_MAX)
        if part and (entries > places or entries * size > room):
            yield part
            part, places, room = [], NOTIFICATION_ALERTS_MAX, NOTIFICATION_BYTES_MAX
        part.append(transition)
        places -= entries
        room -= entries * size
    if part:
        yield part


def _bytes(texts: Mapping[str, str]) -> int:
    return sum(len(name.encode()) + len(text.encode()) for name, text in texts.items())
