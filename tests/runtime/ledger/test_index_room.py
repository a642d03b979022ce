"""An index of the log that can not grow: SQLite says the same of a full disk and of a broken one."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.ledger import opening
from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError


class NoIndex(sqlite3.Connection):
    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        if statement == sql.SET_WAL:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_SHMSIZE, "SQLITE_IOERR_SHMSIZE"
            raise error
        return super().execute(statement, *args)


@pytest.mark.parametrize(("full", "reason"), [(True, "disk_full"), (False, "io_error")])
def test_an_index_that_cannot_grow_is_a_full_disk_only_if_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool, reason: str
) -> None:
    monkeypatch.setattr(opening, "is_full", lambda _: full)
    with pytest.raises(LedgerError) as raised:
        opening.open_file(tmp_path / "state.db", 0, NoIndex)
    assert raised.value.reason == reason
