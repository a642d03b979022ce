"""What a file says that can't be opened for writing, and what to do with one that could not even be read at the start.

A start that can't write must not begin without alerts if the file can be read: they are taken from it, and what waits
is sent. If it can't be read, either, nothing in it is deleted when it can be written again: what is in it and in
nobody's memory is handed over, to be compared first.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.file import log_bytes
from engine.runtime.ledger.memory import carry_over, make_memory, write_through
from engine.runtime.ledger.opening import reading
from engine.runtime.ledger.operator import Restored, restore
from engine.runtime.ledger.rows import ALERT, TRANSITION, scan
from engine.runtime.ledger.transactions import transitions_after
from engine.runtime.ledger.values import AlertRow, Limits, StoredTransition, checksum

__all__ = ["Found", "Recalled", "look_into", "merge", "recall", "take_along"]

LOCKED_S: Final = 1.0
"""How long a lock is waited for to read: a writer's does not keep readers out, so who does keeps the whole file."""
_KEYS: Final = "SELECT rule_key, labels FROM alert UNION SELECT rule_key, labels FROM gone_alert"
_TOLD: Final = "SELECT fingerprint FROM transition"
_REACHED: Final = "SELECT coalesce(min(seq), 0) FROM cursor"
_KEEP: Final = TRANSITION.put
_MOVE: Final = "DELETE FROM transition WHERE seq = ?"


class Recalled(NamedTuple):
    """A start without writing.

    Args:
        memory: Where the ledger goes on.
        restored: What the file says.
        messages: How many messages of it are in memory; -1 if not all that wait are.
    """

    memory: sqlite3.Connection
    restored: Restored
    messages: int


class Found(NamedTuple):
    """What was in a file that could not be read at the start, and that nobody has looked at.

    Args:
        alerts: Those that the engine has said nothing of since.
        transitions: Those that nobody had been told of, with new numbers; but for alerts of which there is newer news.
    """

    alerts: list[AlertRow]
    transitions: list[StoredTransition]


def look_into(path: Path) -> sqlite3.Connection:
    """A connection that reads, also where nothing can be written beside the file. Raises `LedgerError`."""
    try:
        return reading(path, timeout_s=LOCKED_S)
    except LedgerError:
        try:
            if log_bytes(path):
                raise  # what was committed last is in the log
        except OSError:
            pass
        # A log of nothing can't be made on a disk that is full or read-only, and SQLite wants one unless it is told
        # that nobody writes: nobody does, for the folder is locked, and this program's one connection could not.
        return reading(path, timeout_s=LOCKED_S, unshared=True)


def recall(path: Path) -> Recalled:
    """Read a file that can't be opened for writing.

    Raises:
        LedgerError, sqlite3.Error: It can't be read, or is not of this version.
    """
    source = look_into(path)
    try:
        ((version,),) = source.execute(sql.GET_USER_VERSION).fetchall()
        if version != sql.USER_VERSION:
            raise LedgerError("older", f"{path.name} is migrated when it can be written")
        restored = restore(source)
        sound = [AlertRow(*row[:3]) for row in scan(source, ALERT) if ALERT.sound(row)]
        memory = make_memory(dict(source.execute(sql.GET_SEQUENCES).fetchall()))
        return Recalled(memory, restored._replace(alerts=sound), _carry(source, memory))
    finally:
        source.close()


def take_along(source: sqlite3.Connection | None, path: Path | None, memory: sqlite3.Connection) -> int:
    """What `carry_over` copies of a connection, or of the file if there is none; -1 if that was not all, or neither."""
    opened = None
    try:
        if source is None and path is not None:
            source = opened = look_into(path)
        return -1 if source is None else carry_over(source, memory)
    except (sqlite3.Error, LedgerError):
        return -1
    finally:
        if opened is not None:
            opened.close()


def _carry(source: sqlite3.Connection, memory: sqlite3.Connection) -> int:
    try:
        memory.executemany(_KEEP, ((*one, checksum(*one)) for one in _untold(source)))
        return carry_over(source, memory)
    except (sqlite3.Error, LedgerError):
        return -1


def _untold(connection: sqlite3.Connection) -> list[StoredTransition]:
    """T1 without its T2."""
    ((reached,),) = connection.execute(_REACHED).fetchall()
    return transitions_after(connection, reached, Limits().transitions_max)


def merge(memory: sqlite3.Connection, target: sqlite3.Connection) -> Found:
    """Bring a file that was never read up to what memory has, as `write_through` does, and return what else is in it;
    the caller commits. All of that stays in it: the next start finds it, too. Doing it twice does no harm.

    Raises:
        LedgerError, sqlite3.Error: The target's.
    """
    known = set(memory.execute(_KEYS).fetchall())
    newer = {fingerprint for (fingerprint,) in memory.execute(_TOLD).fetchall()}
    alerts = [AlertRow(*row[:3]) for row in scan(target, ALERT) if row[:2] not in known]
    untold = [one for one in _untold(target) if one.fingerprint not in newer]
    write_through(memory, target)
    target.executemany(_MOVE, ((one.seq,) for one in untold))
    last = dict(target.execute(sql.GET_SEQUENCES).fetchall())["transition"]
    anew = [one._replace(seq=number) for number, one in enumerate(untold, 1 + last)]  # else the cursor is past them
    target.executemany(_KEEP, ((*one, checksum(*one)) for one in anew))
    return Found(alerts, anew)
