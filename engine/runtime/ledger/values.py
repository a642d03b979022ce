"""What goes into the ledger and what comes out of it: plain values, no behaviour but their checksums.

A row carries a checksum over what must not change in it. SQLite finds a damaged page, not a damaged byte inside of a
row, and a message that is sent with such a byte would be worse than one that is missed and told.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

__all__ = [
    "AlertRow",
    "Cover",
    "Decision",
    "Instant",
    "LedgerStatus",
    "Limits",
    "Message",
    "NewMessage",
    "NewTransition",
    "Notice",
    "OutboxStatus",
    "Settlement",
    "Step",
    "StoredTransition",
    "checksum",
    "fallback_id",
    "message_id",
]

OutboxStatus: TypeAlias = Literal["waiting", "dead", "parked"]


class AlertRow(NamedTuple):
    """One alert as the core keeps it.

    Args:
        rule_key: The rule's state key.
        labels: The alert's labels in one canonical form.
        row: The core's bytes; None takes the alert out.
    """

    rule_key: str
    labels: str
    row: bytes | None


class NewTransition(NamedTuple):
    """A transition that has no number yet. `body` is its wire form, `kind` what happened in a word."""

    time_ms: int
    rule_key: str
    fingerprint: str
    kind: str
    body: bytes


class StoredTransition(NamedTuple):
    """A transition with its number. Numbers rise in the order of the core's decisions; some may be missing."""

    seq: int
    time_ms: int
    rule_key: str
    fingerprint: str
    kind: str
    body: bytes


class Step(NamedTuple):
    """What one step of the core changed: transaction T1.

    Args:
        transitions: In the core's order.
        alerts: Each alert that changed, as it is after the step.
        counters: Totals, by name: values, not increments, so that writing them twice does no harm.
    """

    transitions: Sequence[NewTransition] = ()
    alerts: Sequence[AlertRow] = ()
    counters: Mapping[str, int] = {}  # never written to


class Cover(NamedTuple):
    """What a message says of one alert.

    Args:
        alert_key: Names the alert to this receiver.
        kind: `firing`, `resolved` and so on; compared by the reconcile, not understood here.
        seq: The transition it is about.
    """

    alert_key: str
    kind: str
    seq: int


class Instant(NamedTuple):
    """A time that can be compared across restarts: within one boot by the boot clock, otherwise by the wall clock.

    Args:
        wall_ms: Milliseconds since the epoch.
        boot_id: Of the boot, or empty.
        up_ms: Milliseconds since it.
    """

    wall_ms: int
    boot_id: str = ""
    up_ms: int = 0


class NewMessage(NamedTuple):
    """A message for one receiver, rendered: the same bytes are sent at each attempt.

    Args:
        receiver: Name of the receiving sink.
        order_key: Messages of one receiver with the same key are sent in order, one at a time.
        message_id: The idempotency key.
        body: At most `Limits.body_bytes_max`.
        covers: What it says.
        created_ms: Event time.
        not_before: When it may be sent for the first time.
    """

    receiver: str
    order_key: str
    message_id: str
    body: bytes
    covers: tuple[Cover, ...]
    created_ms: int
    not_before: Instant = Instant(0)


class Decision(NamedTuple):
    """What policy decided: transaction T2.

    Args:
        cursor: Whose decision it is; empty for one that moves no cursor, such as the reconcile's.
        seq: The last transition that was looked at for it. A cursor that has reached it makes the decision void.
        messages: In the order in which they are to be sent.
    """

    cursor: str
    seq: int
    messages: Sequence[NewMessage] = ()


class Message(NamedTuple):
    """A message in the outbox."""

    id: int
    receiver: str
    order_key: str
    message_id: str
    body: bytes
    covers: tuple[Cover, ...]
    created_ms: int
    attempts: int
    status: OutboxStatus
    reason: str


class Settlement(NamedTuple):
    """What came of an attempt to send.

    Args:
        id: The message's.
        outcome: `done`; `retry` at `next_try`; `dead` or `parked`, until somebody acts.
        reason: A code, for people; empty when it is done.
        receiver, covers: Who was told what, for one that is done and was dropped from the outbox meanwhile.
    """

    id: int
    outcome: Literal["done", "retry", "dead", "parked"]
    reason: str = ""
    next_try: Instant = Instant(0)
    receiver: str = ""
    covers: tuple[Cover, ...] = ()


class Limits(NamedTuple):
    """How much the ledger keeps. Past each of them the oldest goes, counted, but for a body, which is refused.

    Args:
        outbox_rows_max, outbox_bytes_max: Of one receiver; superseded messages go first, then dead and parked ones.
        body_bytes_max: Of one message.
        transitions_max: Transitions are dropped when all cursors are past them; beyond so many in any case.
        delivered_rows_max: What receivers were last told, a row for each alert and receiver; of ended ones goes first.
        delivered_keep_ms: For so long it is remembered what a receiver was last told of an alert that has ended.
        retry_ms_max: A time to try again that lies further ahead comes of a clock that was set, and is no reason to
            wait.
    """

    outbox_rows_max: int = 20_000
    outbox_bytes_max: int = 32 * 1024 * 1024
    body_bytes_max: int = 1024 * 1024
    transitions_max: int = 100_000
    delivered_rows_max: int = 200_000
    delivered_keep_ms: int = 7 * 86_400_000
    retry_ms_max: int = 6 * 3_600_000


class Notice(NamedTuple):
    """Something a person should know.

    Args:
        status: `ok`, `degraded` or `failed`.
        reason: A short stable code.
    """

    status: Literal["ok", "degraded", "failed"]
    reason: str
    message: str


class LedgerStatus(NamedTuple):
    """How the ledger is.

    Args:
        kept: `disk`; `memory`, because no file was wanted; `degraded`, because the file can't be written.
        trouble: Why it is degraded, as a code.
        busy_s: For how long the commit that is under way has been; a disk that hangs shows here.
        waiting: What was handed over and is not under way yet.
        refused_total: Transitions and jobs that found no room.
        groups_total: Commits.
        log_bytes: Of the write-ahead log, at the last look.
        has_ballast: Whether the reserve for a full disk is there.
        transitions_dropped_total: Transitions that were over the limit and still needed.
        told_dropped_total: What receivers were told of so many alerts was over the limit and is forgotten.
        unkept_s: For how long it has been degraded.
    """

    kept: str
    trouble: str
    busy_s: float
    waiting: int
    refused_total: int
    groups_total: int
    degraded_total: int
    resets_total: int
    log_bytes: int
    has_ballast: bool
    transitions_dropped_total: int = 0
    told_dropped_total: int = 0
    unkept_s: float = 0.0


_ENCODER: Final = msgspec.msgpack.Encoder()


def checksum(*parts: str | bytes | int) -> int:
    """CRC-32 of the parts, each told apart from the next."""
    return zlib.crc32(_ENCODER.encode(parts))


def message_id(base: str, receiver: str, seq: int, part: int = 0) -> str:
    """The idempotency key of a message: the same for each attempt, different for every other message.

    Args:
        base: Random, of this run. The id is stored with its message, so it need not be found again; one made of the
            numbers alone would be given twice after the restore of an older copy, and receivers would take news for a
            repetition.
        seq: The first transition it is about.
        part: Tells the messages about one transition apart.
    """
    digest = hashlib.sha256(f"{base}\x00{receiver}\x00{seq}\x00{part}".encode()).digest()
    return "evt_" + base64.b32encode(digest).decode("ascii")[:26]


def fallback_id(message_id: str) -> str:
    """The idempotency key of what another receiver is told if a message can't be delivered."""
    digest = hashlib.sha256(f"{message_id}\x00fallback".encode()).digest()
    return "evt_" + base64.b32encode(digest).decode("ascii")[:26]
