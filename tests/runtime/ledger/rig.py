"""What tests of the ledger have in common: values, a store opened and dropped, a connection that fails on demand."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from engine.runtime.ledger.group import Job
from engine.runtime.ledger.operator import Restored, restore
from engine.runtime.ledger.sending import due, settle
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.transactions import decide, record, transitions_after
from engine.runtime.ledger.values import (
    AlertRow,
    Cover,
    Decision,
    Instant,
    Limits,
    Message,
    NewMessage,
    NewTransition,
    Settlement,
    Step,
    StoredTransition,
)

NOW_MS = 1_767_225_600_000
NOW = Instant(NOW_MS, "boot-1", 1_000_000)
LIMITS = Limits()


def transition(text: str = "x", kind: str = "firing") -> NewTransition:
    return NewTransition(NOW_MS, "rule", "f00d", kind, text.encode())


def alert(name: str, row: bytes | None = b"row") -> AlertRow:
    return AlertRow("rule", name, row)


def message(
    name: str, receiver: str = "ops", order_key: str = "g", seq: int = 1, body: bytes | None = None
) -> NewMessage:
    cover = Cover(order_key, "firing", seq)
    return NewMessage(receiver, order_key, f"evt_{name}", body or name.encode(), (cover,), NOW_MS)


def open_store(path: Path | None, factory: type[sqlite3.Connection] = sqlite3.Connection) -> tuple[Store, Restored]:
    store = Store(path, lambda: NOW_MS, factory)
    return store, store.open()


def crash(store: Store) -> None:
    """What a kill leaves: the connection is gone, nothing is committed, nobody has closed anything in order."""
    connection, store._connection = store._connection, None
    assert connection is not None
    if connection.in_transaction:
        connection.rollback()
    connection.close()


def run(store: Store, *functions: Callable[[sqlite3.Connection], Any], writes: bool = True) -> list[Any]:
    return store.run([Job(function, writes) for function in functions]).results


def read_back(store: Store) -> Restored:
    """What a start reads."""
    (found,) = run(store, restore, writes=False)
    assert isinstance(found, Restored)
    return found


def read_after(store: Store, after_seq: int = 0) -> list[StoredTransition]:
    """The transitions that are kept, in order."""
    found: list[StoredTransition]
    (found,) = run(store, partial(transitions_after, seq=after_seq, limit=10_000), writes=False)
    return found


def put(store: Store, transitions: Sequence[NewTransition] = (), alerts: Sequence[AlertRow] = ()) -> list[int]:
    (recorded,) = run(store, partial(record, step=Step(transitions, alerts)))
    return list(recorded.seqs)


def queue(store: Store, *messages: NewMessage, cursor: str = "", seq: int = 0) -> Any:
    return run(store, partial(decide, decision=Decision(cursor, seq, messages), limits=LIMITS))[0]


def sendable(store: Store, receiver: str = "ops", now: Instant = NOW) -> list[Message]:
    found: list[Message] = run(
        store, partial(due, receiver=receiver, now=now, limit=1000, limits=LIMITS), writes=False
    )[0]
    return found


def settled(store: Store, *settlements: Settlement, now_ms: int = NOW_MS) -> int:
    return int(run(store, partial(settle, settlements=settlements, now_ms=now_ms))[0])


class Switch:
    """Makes connections fail: `plan` is asked for each statement, and what it returns is raised instead of run; with
    `after`, once it was run."""

    def __init__(self) -> None:
        self.plan: Callable[[str], BaseException | None] = lambda _: None
        self.after: Callable[[str], BaseException | None] = lambda _: None
        self.statements: list[str] = []

    def factory(self) -> type[sqlite3.Connection]:
        switch = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                switch.statements.append(sql)
                if (error := switch.plan(sql)) is not None:
                    raise error
                cursor = super().execute(sql, *parameters)
                if (error := switch.after(sql)) is not None:
                    raise error
                return cursor

        return Connection


def disk_error(code: int, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(name)
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


def io_error() -> sqlite3.OperationalError:
    return disk_error(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")


def full() -> sqlite3.OperationalError:
    return disk_error(sqlite3.SQLITE_FULL, "SQLITE_FULL")


def locked() -> sqlite3.OperationalError:
    return disk_error(sqlite3.SQLITE_BUSY, "SQLITE_BUSY")
