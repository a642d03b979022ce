"""What goes over the command socket: one line of JSON each, of bounded length. Shapes and limits only.

The engine greets first. The client sends one request; the engine answers with any number of rows and then with one
result or one refusal, and closes. A client goes on only if it knows the greeting's `protocol`; whatever would confuse
an older side of the conversation raises that number.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from engine.errors import LongwatchError
from engine.status import EngineStatus

__all__ = [
    "ANSWER_BYTES_MAX",
    "HOLD_MS_MAX",
    "LIST_MAX",
    "PROTOCOL",
    "REQUEST_BYTES_MAX",
    "SOCKET_FILE",
    "Answer",
    "BackupArguments",
    "BackupResult",
    "CommandRefused",
    "Done",
    "DrillArguments",
    "DrillResult",
    "DrillRow",
    "DropResult",
    "Entry",
    "Greeting",
    "IdsArguments",
    "LedgerState",
    "ListArguments",
    "ListResult",
    "OutboxState",
    "Refused",
    "ReplayResult",
    "Request",
    "Row",
    "StatusArguments",
    "StatusResult",
]

SOCKET_FILE: Final = "control.sock"
PROTOCOL: Final = 1
REQUEST_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one line. A status lists 200 alerts; with annotations of 16 KiB each these are the longest lines."""
LIST_MAX: Final = 1_000
HOLD_MS_MAX: Final = 600_000
_Id: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Ids: TypeAlias = Annotated[tuple[_Id, ...], msgspec.Meta(min_length=1, max_length=LIST_MAX)]


class Greeting(msgspec.Struct, frozen=True):
    """The engine's first line. `longwatch` is its version, `name` what the watch is called."""

    longwatch: str
    protocol: int
    pid: int
    name: str


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is wanted; `arguments` in the form that the command asks for."""

    command: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class Row(msgspec.Struct, frozen=True, tag_field="kind", tag="row"):
    """A part of the answer, told as soon as it is known."""

    row: msgspec.Raw


class Done(msgspec.Struct, frozen=True, tag_field="kind", tag="done"):
    """The answer, or its end."""

    result: msgspec.Raw


class Refused(msgspec.Struct, frozen=True, tag_field="kind", tag="refused"):
    """Nothing was done, or not all of it.

    Args:
        reason: A short stable code; `usage` if the request itself is wrong.
        message: For a person.
    """

    reason: str
    message: str


Answer: TypeAlias = Row | Done | Refused


class CommandRefused(LongwatchError):
    """A command was not done, or not wholly: what a `Refused` says, as an error, at either end.

    Args:
        reason: A short stable code; `usage` if the request itself is wrong.
        message: For a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class _Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a command takes: a name that it does not know is an error."""


class StatusArguments(_Arguments, frozen=True, kw_only=True):
    """Of `status`: none."""


class ListArguments(_Arguments, frozen=True, kw_only=True):
    """Of `outbox.list`: how many messages, and of which receiver; empty for all."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIST_MAX)] = 50
    receiver: str = ""


class IdsArguments(_Arguments, frozen=True, kw_only=True):
    """Of `outbox.replay` and `outbox.drop`: the messages' numbers."""

    ids: _Ids


class DrillArguments(_Arguments, frozen=True, kw_only=True):
    """Of `drill`.

    Args:
        sink: The one receiver to try; empty for all.
        hold_ms: From the firing message to the resolved one.
    """

    sink: str = ""
    hold_ms: Annotated[int, msgspec.Meta(ge=0, le=HOLD_MS_MAX)] = 0


class BackupArguments(_Arguments, frozen=True, kw_only=True):
    """Of `backup`: the new file, an absolute path."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


class LedgerState(msgspec.Struct, frozen=True):
    """How the ledger is; as in `engine.runtime.ledger.values.LedgerStatus`."""

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


class OutboxState(msgspec.Struct, frozen=True):
    """Messages of one receiver in one state: how many, their bytes, and when the oldest was made."""

    receiver: str
    status: str
    messages: int
    bytes: int
    oldest_ms: int


class StatusResult(msgspec.Struct, frozen=True):
    """Of `status`. `outbox` is None where the ledger did not answer in time."""

    engine: EngineStatus
    ledger: LedgerState
    outbox: tuple[OutboxState, ...] | None


class Entry(msgspec.Struct, frozen=True):
    """A message in the outbox, without its body.

    Args:
        about: What it says of how many alerts: `{"firing": 2}`.
        next_try_ms: Wall time of the next attempt, if it waits and was tried; else 0.
    """

    id: int
    receiver: str
    status: str
    message_id: str
    about: dict[str, int]
    bytes: int
    created_ms: int
    attempts: int
    reason: str
    next_try_ms: int


class ListResult(msgspec.Struct, frozen=True):
    """Of `outbox.list`: totals of all receivers, and the messages that were asked for; dead and parked ones first."""

    totals: tuple[OutboxState, ...]
    messages: tuple[Entry, ...]


class ReplayResult(msgspec.Struct, frozen=True):
    """Of `outbox.replay`: messages that wait again, those that newer news has overtaken, those that are not there or
    wait already."""

    waiting: tuple[int, ...]
    superseded: tuple[int, ...]
    missing: tuple[int, ...]


class DropResult(msgspec.Struct, frozen=True):
    """Of `outbox.drop`: messages that are gone now, and those that were not there."""

    dropped: tuple[int, ...]
    missing: tuple[int, ...]


class DrillRow(msgspec.Struct, frozen=True):
    """What came of one message of a drill.

    Args:
        what: Which message.
        outcome: `skipped` if it could not be sent, `reason` says why; `not_wanted` if the receiver is not told of such.
        ms: How long the receiver took.
        status: What it answered by HTTP, where that is known: with a failure.
        reason: A short stable code, empty where nothing went wrong.
    """

    sink: str
    type: str
    what: Literal["firing", "resolved"]
    outcome: Literal["delivered", "failed", "skipped", "not_wanted"]
    ms: float = 0.0
    status: int = 0
    reason: str = ""
    message: str = ""


class DrillResult(msgspec.Struct, frozen=True):
    """Of `drill`, after its rows: how many receivers took everything, of how many."""

    passed: int
    receivers: int


class BackupResult(msgspec.Struct, frozen=True):
    """Of `backup`: the file, and how long it is."""

    path: str
    bytes: int
