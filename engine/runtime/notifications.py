"""From transitions to what a receiver is told: one notification per rule and step. Pure.

Grouping, waiting and silencing are policy, which this version does not have: everything that fires, resolves or is
lost is told at once, together with what the same rule did at the same step.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from engine.events import Transition
from engine.ports import Notification

__all__ = ["NOTIFICATION_ALERTS_MAX", "group", "message_id"]

NOTIFICATION_ALERTS_MAX: Final = 64
_TOLD = frozenset({"firing", "resolved", "lost"})
_QUOTE = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def group(transitions: Sequence[Transition], receiver: str, external_labels: Mapping[str, str]) -> list[Notification]:
    """Return what to tell, in the order in which each rule first appears.

    The group key is Alertmanager's for a route grouped by `alertname`: `{}:{alertname="HighCpu"}`.
    """
    by_rule: dict[str, list[Transition]] = {}
    for transition in transitions:
        if transition.kind in _TOLD:
            by_rule.setdefault(transition.rule, []).append(transition)
    return [
        Notification(
            receiver=receiver,
            group_key=f'{{}}:{{alertname="{rule.translate(_QUOTE)}"}}',
            group_labels={"alertname": rule},
            transitions=tuple(members[:NOTIFICATION_ALERTS_MAX]),
            external_labels=external_labels,
            truncated=max(0, len(members) - NOTIFICATION_ALERTS_MAX),
        )
        for rule, members in by_rule.items()
    ]


def message_id(run_token: str, sink: str, sequence: int) -> str:
    """The idempotency key of one message: the same for each attempt, different for every other message.

    Args:
        run_token: Random, of this run.
    """
    digest = hashlib.sha256(f"{run_token}\x00{sink}\x00{sequence}".encode()).digest()
    return "evt_" + base64.b32encode(digest).decode("ascii")[:26]
