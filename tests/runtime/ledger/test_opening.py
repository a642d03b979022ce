"""Which file is taken for the ledger, and what is done about one that can't be."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.opening import connect, migrate, open_file, reading
from engine.runtime.ledger.operator import list_outbox, restore
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.values import AlertRow, Settlement
from tests.runtime.ledger.rig import (
    NOW_MS,
    Switch,
    alert,
    crash,
    disk_error,
    io_error,
    message,
    open_store,
    put,
    queue,
    read_after,
    read_back,
    run,
    sendable,
    settled,
    transition,
)

HERE = Path(__file__).parent


def filled(path: Path, alerts: int = 40) -> Store:
    """A ledger with something in each table."""
    store, _ = open_store(path)
    for number in range(alerts):
        put(store, [transition(f"t{number}")], [alert(f"a{number}", f"row {number}".encode() * 20)])
        queue(store, message(f"m{number}", order_key=f"a{number}", seq=number + 1, body=b"b%d" % number * 50))
    queue(store, cursor="policy", seq=alerts)
    settled(store, *(Settlement(found.id, "done") for found in sendable(store)[:10]))
    return store


def contents(store: Store) -> tuple[set[AlertRow], set[tuple[str, bytes]], set[tuple[int, bytes]]]:
    found = read_back(store)
    messages = run(store, partial(list_outbox, after_id=0, limit=10_000), writes=False)[0]
    transitions = read_after(store)
    return (
        set(found.alerts),
        {(each.message_id, each.body) for each in messages},
        {(each.seq, each.body) for each in transitions},
    )


def test_a_new_ledger_is_private_whole_and_synced(tmp_path: Path) -> None:
    store, restored = open_store(tmp_path / "deep" / "state.db")
    assert stat.S_IMODE((tmp_path / "deep" / "state.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700
    assert len(restored.meta["install_id"]) == 32
    assert restored.alerts == []
    assert store._connection is not None
    ask = store._connection.execute
    assert ask("PRAGMA synchronous").fetchall() == [(2,)]
    assert ask("PRAGMA journal_mode").fetchall() == [("wal",)]
    assert ask("PRAGMA wal_autocheckpoint").fetchall() == [(0,)]
    assert ask("PRAGMA trusted_schema").fetchall() == [(0,)]
    store.close()
    assert sorted(found.name for found in (tmp_path / "deep").iterdir()) == ["state.ballast", "state.db"]


def test_everything_is_there_after_a_close_and_after_a_crash(tmp_path: Path) -> None:
    store = filled(tmp_path / "state.db")
    before = contents(store)
    assert store.close()
    store, first = open_store(tmp_path / "state.db")
    assert contents(store) == before
    crash(store)
    store, second = open_store(tmp_path / "state.db")
    assert contents(store) == before
    assert first.meta["install_id"] == second.meta["install_id"]
    store.close()


def test_f06_leftovers_of_a_first_start_that_was_killed(tmp_path: Path) -> None:
    """At each point of it: nothing, an empty file, half a file, a whole one that was not renamed."""
    path, fresh = tmp_path / "state.db", tmp_path / "state.db.new"
    store, _ = open_store(path)
    store.close()
    whole = path.read_bytes()
    for half in (b"", whole[:50], whole[:5_000], whole):
        path.unlink(missing_ok=True)
        fresh.write_bytes(half)
        store, _ = open_store(path)
        assert store.take_notices() == [], "a kill during the first start is no damage"
        assert put(store, [transition()]) == [1]
        store.close()
        assert not fresh.exists()


def damaged_by(path: Path, data: bytes) -> Store:
    path.write_bytes(data)
    store, _ = open_store(path)
    return store


@pytest.mark.parametrize(
    ("data", "why"), [(b"", "it was empty"), (b"not a database", "not an SQLite"), (bytes(8192), "not an SQLite")]
)
def test_f19_what_is_no_database_is_set_aside(tmp_path: Path, data: bytes, why: str) -> None:
    store = damaged_by(tmp_path / "state.db", data)
    (notice,) = store.take_notices()
    assert (notice.status, notice.reason) == ("failed", "state_reset")
    assert why in notice.message
    (kept,) = tmp_path.glob("state.db.corrupt.*")
    assert kept.read_bytes() == data
    assert put(store, [transition()]) == [1]
    assert store.resets_total == 1
    store.close()


def test_f19_a_database_of_another_application_is_set_aside(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "state.db")
    other.execute("CREATE TABLE precious (x)")
    other.close()
    store, _ = open_store(tmp_path / "state.db")
    assert "it is not a ledger" in store.take_notices()[0].message
    (kept,) = tmp_path.glob("state.db.corrupt.*")
    saved = sqlite3.connect(kept)
    assert saved.execute("SELECT count(*) FROM precious").fetchall() == [(0,)]
    saved.close()
    store.close()


def test_f19_a_newer_ledger_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    filled(path, 3).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="has schema 99, but this Longwatch knows 1: update it") as refused:
        open_store(path)
    assert refused.value.reason == "newer"
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.corrupt.*")) == []


def test_f19_a_damaged_page_costs_what_was_on_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = filled(path, 120)
    alerts, messages, transitions = contents(store)
    store.close()
    data = bytearray(path.read_bytes())
    pages = [data.index(b"row %drow %d" % (number, number)) // 4096 for number in range(60, 110)]
    page = next(page for page in pages if data[page * 4096] == 0x0A)  # a leaf: an inner page leads to many others
    data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    store = damaged_by(path, bytes(data))
    (notice,) = store.take_notices()
    found_alerts, found_messages, found_transitions = contents(store)
    assert found_alerts < alerts
    assert len(found_alerts) >= 80, notice.message
    assert (found_messages, found_transitions) == (messages, transitions)
    assert f"{len(found_alerts)} alerts" in notice.message
    assert put(store, [transition()]) == [121], "numbers go on"
    store.close()


class Sound(NamedTuple):
    """A ledger after a crash: its database, its log, and what is in them."""

    database: bytes
    """Everything is in it."""
    before: bytes
    """The database before the last commits, which are in the log."""
    log: bytes
    contents: tuple[set[Any], ...]

    def __repr__(self) -> str:
        return "<sound>"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    path = tmp_path_factory.mktemp("sound") / "state.db"
    store = filled(path, 25)
    store.upkeep()
    put(store, [transition("late")], [alert("late")])
    queue(store, message("late", order_key="late"))
    before, log, found = path.read_bytes(), path.with_name("state.db-wal").read_bytes(), contents(store)
    store.close()
    return Sound(path.read_bytes(), before, log, found)


def opened_after_damage(folder: Path, data: bytes, log: bytes) -> Store | None:
    """None if it was refused as newer, which some damage to the version looks like."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "state.db").write_bytes(data)
    if log:
        (folder / "state.db-wal").write_bytes(log)
    try:
        return open_store(folder / "state.db")[0]
    except LedgerError as error:
        if error.reason != "newer":
            raise
        return None


FLIPS = 1_000 if os.environ.get("LONGWATCH_CHAOS") else 40


@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=FLIPS, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_f19_flipped_bytes_never_become_news(
    tmp_path: Path,
    sound: Sound,
    places: list[tuple[float, int]],
) -> None:
    """Whatever bytes of the database are damaged: rows may be missing, and that is told; none is other than it was."""
    data = bytearray(sound.database)
    for place, flip in places:
        data[int(place * len(data))] ^= flip
    store = opened_after_damage(tmp_path / "flipped", bytes(data), b"")
    if store is None:
        return
    found = contents(store)
    for rows, known in zip(found, sound.contents, strict=True):
        assert rows <= known
    if any(rows < known for rows, known in zip(found, sound.contents, strict=True)):
        assert [notice.reason for notice in store.take_notices()] == ["state_reset"]
        assert len(list((tmp_path / "flipped").glob("state.db.corrupt.*Z"))) == 1
    assert sendable(store) is not None
    assert len(put(store, [transition("new")], [alert("new")])) == 1
    store.close()


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
@example(place=0.0, flip=1, cut=True)
@settings(max_examples=max(FLIPS // 3, 10), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_f20_a_damaged_log_is_read_as_far_as_it_is_sound(
    tmp_path: Path, sound: Sound, place: float, flip: int, cut: bool
) -> None:
    """SQLite takes the log up to the first frame that does not fit: what comes after it is gone, without a word."""
    _, database, log, before = sound
    at = int(place * len(log))
    damaged = log[:at] if cut else log[:at] + bytes([log[at] ^ flip]) + log[at + 1 :]
    store = opened_after_damage(tmp_path / "log", database, damaged)
    assert store is not None
    for rows, known in zip(contents(store), before, strict=True):
        assert rows <= known
    store.close()


def test_f20_a_deleted_log_takes_the_last_commits_with_it_and_nothing_else(tmp_path: Path, sound: Sound) -> None:
    _, database, _, before = sound
    store = opened_after_damage(tmp_path / "gone", database, b"")
    assert store is not None
    missing = [known - rows for rows, known in zip(contents(store), before, strict=True)]
    assert [len(rows) for rows in missing] == [1, 1, 1], "what was committed since the last checkpoint"
    store.close()


def test_f20_the_log_of_another_ledger(tmp_path: Path) -> None:
    """Somebody has copied state.db back without its log: no crash, and no row that never was."""
    one, two = filled(tmp_path / "one" / "state.db", 30), filled(tmp_path / "two" / "state.db", 5)
    put(two, [transition("other")] * 50, [alert(f"other{number}", b"other") for number in range(50)])
    known = [ours | others for ours, others in zip(contents(one), contents(two), strict=True)]
    log = (tmp_path / "two" / "state.db-wal").read_bytes()
    one.close()
    two.close()
    store = opened_after_damage(tmp_path / "mixed", (tmp_path / "one" / "state.db").read_bytes(), log)
    assert store is not None
    for rows, either in zip(contents(store), known, strict=True):
        assert rows <= either
    store.close()


def test_f20_a_log_without_its_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "state.db-wal").write_bytes(b"x" * 5_000)
    store, _ = open_store(tmp_path / "state.db")
    assert store.take_notices()[0].reason == "set_aside"
    assert [found.name for found in tmp_path.glob("*.corrupt.*")] == ["state.db.corrupt.20260101T000000Z-wal"]
    store.close()


def test_f14_a_file_that_cannot_be_in_wal_mode_is_refused(tmp_path: Path) -> None:
    """SQLite says so in its answer alone."""
    filled(tmp_path / "state.db", 1).close()

    class Stubborn(sqlite3.Connection):
        def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if statement == sql.SET_WAL else statement, *parameters)  # type: ignore[arg-type]

    with pytest.raises(LedgerError, match="SQLite stays in delete mode") as refused:
        open_store(tmp_path / "state.db", Stubborn)
    assert refused.value.reason == "no_wal"


def test_errors_of_the_disk_at_the_start_are_told_by_reason(tmp_path: Path) -> None:
    filled(tmp_path / "state.db", 1).close()
    switch = Switch()
    switch.plan = lambda statement: io_error() if statement == sql.CHECK else None
    with pytest.raises(LedgerError) as refused:
        open_store(tmp_path / "state.db", switch.factory())
    assert refused.value.reason == "io_error"
    busy = disk_error(sqlite3.SQLITE_BUSY, "SQLITE_BUSY")
    switch.plan = lambda statement: busy if statement == sql.SET_WAL else None
    with pytest.raises(LedgerError) as refused:
        open_store(tmp_path / "state.db", switch.factory())
    assert refused.value.reason == "locked"


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root; as that user it is tested below")
def test_f16_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Root can write everywhere, so a child does it as nobody."""
    filled(tmp_path / "state.db", 1).close()
    for part in (tmp_path, *tmp_path.parents):
        if part.stat().st_uid == os.getuid() and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o055)
    (tmp_path / "state.db").chmod(0o644)
    code = """
import os, sys
from pathlib import Path
from typing import Any, NamedTuple
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.store import Store
Path("/").as_uri()  # imports what nobody may not be able to read
os.setgid(65534); os.setuid(65534)
for name in ("state.db", "new.db", "sub/state.db"):
    try:
        Store(Path(sys.argv[1]) / name, lambda: 0).open()
        print("opened", name)
    except LedgerError as error:
        print(error.reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=40, cwd=HERE.parents[2]
    )
    assert done.stdout.split() == ["read_only", "read_only", "read_only"], done.stdout + done.stderr


# --- migrations ---------------------------------------------------------------------------------------

NEXT = {
    1: (
        "CREATE TABLE added (x INTEGER NOT NULL) STRICT",
        "INSERT INTO added SELECT count(*) FROM alert",
        "ALTER TABLE outbox ADD COLUMN fancy TEXT NOT NULL DEFAULT ''",
        "PRAGMA user_version = 2",
    ),
    2: ("DROP TABLE counter", "PRAGMA user_version = 3"),
}


def shape(path: Path) -> tuple[int, bool, bool, int]:
    with sqlite3.connect(path) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        alerts = connection.execute("SELECT count(*) FROM alert").fetchone()[0]
    connection.close()
    return version, "added" in tables, "counter" in tables, alerts


@pytest.mark.parametrize("statement", range(8))
def test_f05_a_migration_is_done_or_not_done(tmp_path: Path, statement: int) -> None:
    """Cut off before each statement, its COMMIT included: one version or the other, and then it goes on. What a kill
    leaves is what is on disk at that moment; an error that is handled leaves the same."""
    path, killed = tmp_path / "state.db", tmp_path / "killed"
    filled(path, 4).close()
    switch, count = Switch(), iter(range(100))
    connection = connect(path, switch.factory())

    def cut_off(_: str) -> BaseException | None:
        if next(count) != statement:
            return None
        killed.mkdir()
        for file in tmp_path.glob("state.db*"):
            shutil.copy(file, killed)
        return KeyboardInterrupt()

    switch.plan = cut_off
    with pytest.raises(KeyboardInterrupt):
        migrate(connection, 1, NEXT)
    connection.close()
    assert goes_on(killed / "state.db") == goes_on(path)


def goes_on(path: Path) -> tuple[int, bool, bool, int]:
    """How a file was found, whose migration was cut off and is now done."""
    before = shape(path)
    assert before in {(1, False, True, 4), (2, True, True, 4)}
    connection = connect(path)
    migrate(connection, connection.execute("PRAGMA user_version").fetchone()[0], NEXT)
    connection.close()
    assert shape(path) == (3, True, False, 4)
    return before


@pytest.mark.parametrize("version", range(1, sql.USER_VERSION + 1))
def test_a_ledger_of_each_released_schema_is_brought_to_this_one(tmp_path: Path, version: int) -> None:
    """`schemas/N.sql` is how version N was released, with rows in it. Never change one."""
    path = tmp_path / "state.db"
    released = sqlite3.connect(path)
    released.executescript((HERE / "schemas" / f"{version}.sql").read_text(encoding="utf-8"))
    released.close()
    opened = open_file(path, NOW_MS)
    assert opened.notices == []
    found = restore(opened.connection)
    assert (len(found.alerts), found.cursors, found.last_seq) == (2, {"policy": 2}, 3)
    assert [each.message_id for each in list_outbox(opened.connection, 0, 10)] == ["evt_m1", "evt_m2"]
    opened.connection.close()


def test_a_reader_sees_the_ledger_while_it_is_in_use_and_cannot_write(tmp_path: Path) -> None:
    store = filled(tmp_path / "state.db", 4)
    reader = reading(tmp_path / "state.db")
    assert len(restore(reader).alerts) == 4
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM alert")
    reader.close()
    store.close()
    with pytest.raises(LedgerError) as refused:
        reading(tmp_path / "none.db")
    assert refused.value.reason == "cant_open"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tally SET messages = messages + 1",
        "DELETE FROM tally",
        "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'transition'",
        "UPDATE cursor SET seq = seq + 1",
        "UPDATE delivered SET kind = 'resolved'",
        "UPDATE transition SET seq = seq + 1000 WHERE seq = 5",
        "DROP INDEX outbox_by_order",
    ],
)
def test_f19_tables_that_do_not_fit_each_other_are_damage(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.db"
    filled(path, 20).close()
    with sqlite3.connect(path) as other:
        other.execute(damage)
    other.close()
    store, _ = open_store(path)
    assert [notice.reason for notice in store.take_notices()] == ["state_reset"]
    assert len(sendable(store)) == 10
    assert put(store, [transition()])[0] > 20
    store.close()
    store, _ = open_store(path)
    assert store.take_notices() == [], "the new one is whole"
    store.close()
