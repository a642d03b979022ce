"""What a running engine can be asked for: one function for each command, and the table of them.

Add a command by adding its shapes to `wire`, a function here and a line in `commands`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from engine.runtime.commands.drill import DRILL_TIMEOUT_S, Driller
from engine.runtime.commands.reading import listed, totals
from engine.runtime.commands.server import Command, Emit
from engine.runtime.commands.wire import (
    HOLD_MS_MAX,
    BackupArguments,
    BackupResult,
    CommandRefused,
    DrillArguments,
    DropResult,
    IdsArguments,
    LedgerState,
    ListArguments,
    ListResult,
    ReplayResult,
    StatusArguments,
    StatusResult,
)
from engine.runtime.delivery import SinkRunner
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.listing import known_ids, receivers_of
from engine.runtime.ledger.operator import Replayed, drop, replay
from engine.runtime.supervisor import Shared
from engine.status import EngineStatus

__all__ = ["Reach", "commands"]

T = TypeVar("T")
ANSWER_S: Final = 30.0
BACKUP_S: Final = 600.0
OUTBOX_S: Final = 2.0
"""How long a status waits for the ledger: its disk may be what hangs."""


class Reach(NamedTuple):
    """What commands act on.

    Args:
        status: Says how the engine is now.
        wake: Called when somebody has changed the outbox, with the receivers that are to be sent to again, also if they
            had said that they want nothing more.
        doubt: Called with receivers that may not know what they should, so that this is looked at.
    """

    status: Callable[[], EngineStatus]
    ledger: Ledger
    sinks: Sequence[SinkRunner]
    shared: Shared
    wake: Callable[[Collection[str]], None]
    doubt: Callable[[Collection[str]], None]
    engine: str
    external_labels: Mapping[str, str]


def commands(reach: Reach) -> dict[str, Command]:
    """The table, by name."""
    driller = Driller(reach.sinks, reach.shared, reach.engine, reach.external_labels)
    drill_s = DRILL_TIMEOUT_S + HOLD_MS_MAX / 1000
    return {
        "status": Command(StatusArguments, functools.partial(_status, reach), ANSWER_S),
        "outbox.list": Command(ListArguments, functools.partial(_list, reach), ANSWER_S),
        "outbox.replay": Command(IdsArguments, functools.partial(_replay, reach), ANSWER_S),
        "outbox.drop": Command(IdsArguments, functools.partial(_drop, reach), ANSWER_S),
        "drill": Command(DrillArguments, driller.run, drill_s, tells=True),
        "backup": Command(BackupArguments, functools.partial(_backup, reach), BACKUP_S),
    }


async def _call(reach: Reach, function: Callable[[sqlite3.Connection], T], *, writes: bool = True) -> T:
    """`Ledger.call`, with words for a person where it is not open."""
    try:
        return await reach.ledger.call(function, writes=writes)
    except LedgerError as error:
        if error.reason != "closed":
            raise
        raise CommandRefused("not_open", "the engine is starting or stopping: its ledger is not open") from None


async def _status(reach: Reach, arguments: StatusArguments, emit: Emit) -> StatusResult:
    outbox = None
    try:
        async with asyncio.timeout(OUTBOX_S):
            outbox = await reach.ledger.call(totals, writes=False)
    except (TimeoutError, LedgerError):
        pass  # its own state, below, says why
    return StatusResult(reach.status(), LedgerState(**reach.ledger.status()._asdict()), outbox)


async def _list(reach: Reach, arguments: ListArguments, emit: Emit) -> ListResult:
    look = functools.partial(listed, limit=arguments.limit, receiver=arguments.receiver)
    return await _call(reach, look, writes=False)


async def _replay(reach: Reach, arguments: IdsArguments, emit: Emit) -> ReplayResult:
    done, receivers, overtaken = await _call(reach, functools.partial(_replayed, ids=arguments.ids))
    if receivers:
        reach.wake(receivers)
    if overtaken:
        reach.doubt(overtaken)
    return ReplayResult(*done)


def _replayed(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[Replayed, frozenset[str], frozenset[str]]:
    done = replay(connection, ids)
    return done, receivers_of(connection, done.waiting), receivers_of(connection, done.superseded)


async def _drop(reach: Reach, arguments: IdsArguments, emit: Emit) -> DropResult:
    result = await _call(reach, functools.partial(_dropped, ids=arguments.ids, now_ms=reach.shared.clock.now_ms()))
    if result.dropped:
        reach.wake(())  # one that was due may have stood behind it
    return result


def _dropped(connection: sqlite3.Connection, ids: Sequence[int], now_ms: int) -> DropResult:
    known = known_ids(connection, ids)
    drop(connection, ids, now_ms)
    each = dict.fromkeys(ids)
    return DropResult(tuple(one for one in each if one in known), tuple(one for one in each if one not in known))


async def _backup(reach: Reach, arguments: BackupArguments, emit: Emit) -> BackupResult:
    path = Path(arguments.path)
    if not path.is_absolute():
        raise CommandRefused("usage", "a backup needs the whole path of a new file")
    await reach.ledger.backup(path)
    return BackupResult(str(path), os.stat(path).st_size)
