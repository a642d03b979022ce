"""The store when the disk fails: mended, or kept in memory and written through later; never called what it is not."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from engine.runtime.ledger import schema as sql
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.group import Job
from engine.runtime.ledger.logwatch import LOG_BYTES_TRUNCATE
from engine.runtime.ledger.memory import MEMORY_BYTES_MAX
from engine.runtime.ledger.opening import open_file
from engine.runtime.ledger.operator import align, list_outbox, put_meta, restore
from engine.runtime.ledger.pruning import PRUNE_ROWS
from engine.runtime.ledger.sending import standing
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.transactions import record
from engine.runtime.ledger.values import Cover, Settlement, Step
from tests.runtime.ledger.rig import (
    NOW_MS,
    Switch,
    alert,
    crash,
    full,
    io_error,
    locked,
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


@pytest.fixture
def switch() -> Switch:
    return Switch()


def bodies(store: Store) -> list[bytes]:
    found = read_after(store)
    return [each.body for each in found]


def reasons(store: Store) -> list[tuple[str, str]]:
    return [(notice.status, notice.reason) for notice in store.take_notices()]


def durable(store: Store, text: str) -> bool:
    return store.run([Job(partial(record, step=Step([transition(text)])))]).durable


def failing(
    statement: str, error: Callable[[], BaseException], times: int = 10**9
) -> Callable[[str], BaseException | None]:
    left = iter(range(times))
    return lambda sql: error() if sql == statement and next(left, None) is not None else None


def test_f13_a_commit_of_unknown_outcome_that_is_in_the_file_is_not_run_again(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    put(store, [transition("a")])
    switch.after = failing("COMMIT", io_error, times=1)  # it was done, and the answer says otherwise
    assert durable(store, "b")
    assert bodies(store) == [b"a", b"b"]
    assert put(store, [transition("c")]) == [3]
    assert reasons(store) == []
    store.close()


def test_f13_a_commit_of_unknown_outcome_that_is_not_in_the_file_is_run_again(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    put(store, [transition("a")])
    switch.plan = failing("COMMIT", io_error, times=1)
    assert durable(store, "b")
    assert bodies(store) == [b"a", b"b"]
    store.close()


def test_f13_after_a_failed_sync_the_log_is_written_anew_before_anything_is_called_durable(
    tmp_path: Path, switch: Switch
) -> None:
    """What a failed fsync has left in the page cache looks fine and may never reach the disk."""
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    switch.after = failing("COMMIT", io_error, times=1)
    switch.statements.clear()
    durable(store, "a")
    asked = switch.statements
    assert asked.index(sql.CHECKPOINT_TRUNCATE) < asked.index(sql.GET_COMMIT)
    switch.after = failing("COMMIT", io_error, times=1)
    switch.plan = failing(sql.CHECKPOINT_TRUNCATE, io_error)
    assert not durable(store, "b")
    assert store.trouble == "io_error"
    store.close()


def test_f12_a_full_disk_gets_its_reserve_back_first(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    assert store.has_ballast
    switch.plan = failing("COMMIT", full, times=1)
    assert durable(store, "a")
    assert not store.has_ballast
    assert not (tmp_path / "state.ballast").exists()
    assert reasons(store) == [("degraded", "ballast_used")]
    store.upkeep()
    assert store.has_ballast, "there is room again"
    store.close()


@pytest.mark.parametrize("error", [full, io_error])
def test_f12_f13_f17_with_the_file_gone_bad_everything_goes_on_in_memory_and_heals(
    tmp_path: Path, switch: Switch, error: Callable[[], BaseException]
) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    put(store, [transition("a")], [alert("kept"), alert("ends")])
    queue(store, message("m1", order_key="1"), message("m2", order_key="2"), message("m3", order_key="3"))
    queue(store, cursor="policy", seq=1)
    switch.plan = failing("COMMIT", error)
    memory = put(store, [transition("b")], [alert("ends", None), alert("new")])
    assert memory == [2]
    assert (store.in_memory, store.trouble) == (True, "disk_full" if error is full else "io_error")
    status, reason = reasons(store)[-1]
    assert (status, reason) == ("failed", store.trouble)
    assert not store.heal(), "it fails still"
    first, second, third = sendable(store)
    assert [found.message_id for found in (first, second, third)] == ["evt_m1", "evt_m2", "evt_m3"]
    settled(store, Settlement(first.id, "done"), Settlement(second.id, "dead", "http_400"))
    queue(store, message("m4", order_key="4"), cursor="policy", seq=2)
    run(store, partial(put_meta, values={"last": "x"}), partial(record, step=Step(counters={"sent": 5})))
    assert not durable(store, "c")
    switch.plan = lambda _: None
    assert store.heal()
    assert reasons(store) == [("ok", "recovered")]
    for _ in range(2):  # now, and after a crash
        assert bodies(store) == [b"a", b"b", b"c"]
        found = read_back(store)
        assert [each.labels for each in found.alerts] == ["kept", "new"]
        assert (found.cursors, found.counters, found.meta["last"]) == ({"policy": 2}, {"sent": 5}, "x")
        assert [each.message_id for each in sendable(store)] == ["evt_m3", "evt_m4"]
        assert run(store, partial(standing, receiver="ops"))[0]["1"] == Cover("1", "firing", 1)
        crash(store)
        store, _ = open_store(tmp_path / "state.db")
    assert put(store, [transition("d")]) == [4]
    store.close()


def test_a_start_that_cannot_write_goes_on_with_what_can_be_read(tmp_path: Path, switch: Switch) -> None:
    """F16, F18: a lock, a full disk. T1 without its T2 is among it."""
    store, _ = open_store(tmp_path / "state.db")
    put(store, [transition("a"), transition("untold")], [alert("old"), alert("ends")])
    queue(store, message("m"), cursor="policy", seq=1)
    store.close()
    switch.plan = failing(sql.SET_WAL, locked)
    store = Store(tmp_path / "state.db", lambda: NOW_MS, switch.factory())
    with pytest.raises(LedgerError) as refused:
        store.open()
    found = store.open_degraded(refused.value)
    assert ([each.labels for each in found.alerts], found.cursors, found.last_seq) == (
        ["ends", "old"],
        {"policy": 1},
        2,
    )
    assert [each.body for each in read_after(store, 1)] == [b"untold"]
    assert [each.message_id for each in sendable(store)] == ["evt_m"]
    assert put(store, [transition("b")], [alert("ends", None), alert("new")]) == [3]
    assert not store.heal()
    switch.plan = lambda _: None
    assert store.heal()
    assert store.take_found() is None, "it was read"
    for _ in range(2):  # now, and after a crash
        assert bodies(store) == [b"a", b"untold", b"b"]
        assert [each.labels for each in read_back(store).alerts] == ["new", "old"]
        crash(store)
        store, _ = open_store(tmp_path / "state.db")
    store.close()


def unreadable(path: Path) -> Store:
    """A start that can't even read the file, which is there again right after it."""
    away = path.rename(path.with_name("away"))
    path.mkdir()
    store = Store(path, lambda: NOW_MS)
    with pytest.raises(LedgerError) as refused:
        store.open()
    assert store.open_degraded(refused.value).alerts == []
    path.rmdir()
    away.rename(path)
    return store


def test_what_could_not_be_read_at_the_start_is_kept_and_handed_over(tmp_path: Path) -> None:
    """The engine has begun anew; what it has said since is newer, and nothing else may go."""
    store, _ = open_store(tmp_path / "state.db")
    put(store, [transition("a")], [alert("old"), alert("both", b"before"), alert("over", b"before")])
    queue(store, message("m"), cursor="policy", seq=1)
    other = transition("told since")._replace(fingerprint="cafe")
    put(store, [transition("untold"), other])
    store.close()
    store = unreadable(tmp_path / "state.db")
    changed = [alert("both", b"after"), alert("over", None), alert("new")]
    (seq,) = put(store, [transition("b")._replace(fingerprint="cafe")], changed)
    queue(store, message("n", order_key="n"), cursor="policy", seq=seq)
    assert store.heal()
    found = store.take_found()
    assert found is not None
    assert found.alerts == [alert("old")]
    assert [(each.body, each.seq > seq) for each in found.transitions] == [(b"untold", True)]
    assert store.take_found() is None, "once"
    for _ in range(2):  # now, and after a crash
        assert [each.body for each in read_after(store, seq)] == [b"untold"], "policy goes on from its cursor to it"
        assert set(read_back(store).alerts) == {alert("both", b"after"), alert("new"), alert("old")}
        assert [each.message_id for each in sendable(store)] == ["evt_m", "evt_n"]
        crash(store)
        store, _ = open_store(tmp_path / "state.db")
    store.close()


def test_what_was_found_is_found_again_if_the_first_commit_of_it_fails(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db")
    put(store, [transition("untold")], [alert("old")])
    store.close()
    store = unreadable(tmp_path / "state.db")
    store._factory = switch.factory()
    for plan in ("plan", "after"):  # it is not in the file, then it is and the answer says otherwise
        setattr(switch, plan, failing("COMMIT", io_error, times=1))
        assert not store.heal()
    assert store.heal()
    found = store.take_found()
    assert found is not None
    assert (found.alerts, [each.body for each in found.transitions]) == ([alert("old")], [b"untold"])
    assert bodies(store) == [b"untold"], "once"
    store.close()


@pytest.mark.parametrize("clock_ms", [0, NOW_MS], ids=["F25 a clock at 1970", "F25 a clock that is right"])
def test_a_start_in_memory_takes_no_number_of_the_file_it_could_not_read(tmp_path: Path, clock_ms: int) -> None:
    path = tmp_path / "state.db"
    store, _ = open_store(path)
    put(store, [transition("old")])
    queue(store, message("old", order_key="old"))
    store.close()
    away = path.rename(tmp_path / "away")
    path.mkdir()
    store = Store(path, lambda: clock_ms)
    with pytest.raises(LedgerError) as refused:
        store.open()
    store.open_degraded(refused.value)
    put(store, [transition("new")])
    queue(store, message("sent", order_key="a"), message("new", order_key="b"))
    assert settled(store, Settlement(sendable(store)[0].id, "done")) == 1
    path.rmdir()
    away.rename(path)
    assert store.heal()
    assert bodies(store) == [b"old", b"new"]
    assert [found.message_id for found in sendable(store)] == ["evt_old", "evt_new"]
    store.close()


def test_a_commit_that_was_done_after_all_and_is_done_in_memory_too_is_one(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    put(store, [transition("a")])
    switch.after = failing("COMMIT", io_error)
    switch.plan = failing(sql.CHECKPOINT_TRUNCATE, io_error)
    queue(store, message("m"), cursor="policy", seq=1)
    assert not durable(store, "b")
    switch.plan = switch.after = lambda _: None
    assert store.heal()
    assert bodies(store) == [b"a", b"b"]
    assert [found.message_id for found in sendable(store)] == ["evt_m"]
    store.close()


def test_healing_that_fails_half_way_is_tried_again_whole(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    switch.plan = failing("COMMIT", io_error)
    put(store, [transition("a")], [alert("x")])
    switch.plan, switch.after = (lambda _: None), failing("COMMIT", io_error, times=1)
    assert not store.heal()
    assert bodies(store) == [b"a"], "memory has it still"
    put(store, [transition("b")], [alert("x", None)])
    assert store.heal()
    assert bodies(store) == [b"a", b"b"]
    assert read_back(store).alerts == []
    store.close()


def test_what_is_in_memory_is_written_at_the_close_if_that_is_possible(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    switch.plan = failing("COMMIT", io_error)
    put(store, [transition("a")])
    switch.plan = lambda _: None
    assert store.close([Job(partial(put_meta, values={"clean": "1"}))])
    store, restored = open_store(tmp_path / "state.db")
    assert (bodies(store), restored.meta["clean"]) == ([b"a"], "1")
    store.close()


def test_a_close_says_when_it_is_not_all_on_disk(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    switch.plan = failing("COMMIT", io_error)
    put(store, [transition("a")])
    assert not store.close()
    assert not store.close(), "twice is once"
    assert isinstance(run(store, restore)[0], LedgerError)


@pytest.mark.process
def test_f18_a_lock_of_another_process_is_waited_for_and_then_memory_serves(tmp_path: Path) -> None:
    class Hasty(sqlite3.Connection):
        def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
            short = "PRAGMA busy_timeout = 1"
            return super().execute(short if "busy_timeout" in statement else statement, *parameters)  # type: ignore[arg-type]

    store, _ = open_store(tmp_path / "state.db", Hasty)
    code = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "state.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        assert not durable(store, "a")
        assert store.trouble == "locked"
        assert not store.heal()
        other.communicate(b"\n")
    assert store.heal()
    assert durable(store, "b")
    assert bodies(store) == [b"a", b"b"]
    store.close()


def test_f19_damage_that_shows_while_it_runs_resets_to_what_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store, _ = open_store(path)
    put(store, [transition("a")], [alert("x")])
    queue(store, message("m1", body=b"the first message"), message("m2", order_key="2"), cursor="policy", seq=1)
    store.upkeep()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"the first message", b"the forst message"))
    assert store._connection is not None
    store._connection.execute("PRAGMA shrink_memory")  # forget the page as it was
    assert [found.message_id for found in sendable(store)] == ["evt_m2"], "what is not what was stored is not sent"
    (notice,) = store.take_notices()
    assert (notice.reason, store.resets_total, store.in_memory) == ("state_reset", 1, False)
    assert put(store, [transition("b")]) == [2]
    assert read_back(store).alerts == [alert("x")]
    store.close()


def test_f21_a_file_that_is_removed_while_it_is_open_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store, _ = open_store(path)
    put(store, [transition("a")], [alert("x")])
    path.unlink()
    assert durable(store, "b"), "nobody has noticed"
    store.upkeep()
    assert reasons(store) == [("degraded", "replaced")]
    assert durable(store, "c")
    crash(store)
    store, restored = open_store(path)
    assert (bodies(store), restored.alerts) == ([b"a", b"b", b"c"], [alert("x")])
    store.close()


def test_f21_a_file_that_is_replaced_while_it_is_open_is_set_aside(tmp_path: Path) -> None:
    path, stranger = tmp_path / "state.db", tmp_path / "stranger.db"
    other, _ = open_store(stranger)
    put(other, [transition("stranger")])
    other.close()
    store, _ = open_store(path)
    put(store, [transition("a")])
    stranger.rename(path)
    store.upkeep()
    assert durable(store, "b")
    crash(store)
    store, _ = open_store(path)
    assert bodies(store) == [b"a", b"b"]
    (kept,) = [found for found in tmp_path.glob("state.db.corrupt.*") if not found.name.endswith(("-wal", "-shm"))]
    aside = sqlite3.connect(kept)
    assert aside.execute("SELECT body FROM transition").fetchall() == [(b"stranger",)]
    aside.close()
    store.close()


def test_f22_a_long_reader_keeps_the_log_and_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.ledger.logwatch.LOG_BYTES_WARN", 200_000)
    monkeypatch.setattr("engine.runtime.ledger.logwatch.LOG_BYTES_TRUNCATE", 100_000)
    assert LOG_BYTES_TRUNCATE > 100_000
    store, _ = open_store(tmp_path / "state.db")
    reader = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM alert").fetchall()
    for number in range(10):
        put(store, alerts=[alert("x", bytes([number]) * 40_000)])
    store.upkeep()
    store.upkeep()
    assert reasons(store) == [("degraded", "wal_pinned")], "once"
    assert store.log_bytes > 200_000
    reader.execute("ROLLBACK")
    reader.close()
    store.upkeep()
    assert (reasons(store), store.log_bytes) == ([], 0)
    store.close()


@pytest.mark.parametrize("answer", ["SELECT 0, -1, -1", None])
def test_f14_a_checkpoint_is_looked_at(tmp_path: Path, answer: str | None) -> None:
    """Automatic ones are off: SQLite swallows their errors. (0, -1, -1) is a file that is not in WAL mode any more."""
    failures = iter([True])

    class Odd(sqlite3.Connection):
        def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
            if statement == sql.CHECKPOINT and next(failures, False):
                if answer is None:
                    raise io_error()
                statement = answer
            return super().execute(statement, *parameters)  # type: ignore[arg-type]

    store, _ = open_store(tmp_path / "state.db", Odd)
    before = store._connection
    put(store, [transition("a")])
    store.upkeep()
    assert store._connection is not before, "opened anew, with all checks"
    assert not store.in_memory
    assert bodies(store) == [b"a"]
    store.close()


def test_f24_one_connection_writes_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = sqlite3.connect

    def counting(database: str, **options: object) -> sqlite3.Connection:
        opened.append(str(database))
        return real(database, **options)  # type: ignore[call-overload,no-any-return]

    store, _ = open_store(tmp_path / "state.db")
    monkeypatch.setattr(sqlite3, "connect", counting)
    for number in range(50):
        put(store, [transition()])
        queue(store, message(str(number)))
        sendable(store)
    store.upkeep()
    assert opened == []
    store.close()


def test_memory_is_bounded_and_says_when_it_is_full(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    switch.plan = failing("COMMIT", io_error)
    for count in range(MEMORY_BYTES_MAX // 1_000_000 + 1):
        (found,) = run(store, partial(record, step=Step(alerts=[alert(f"{count}", bytes(1_000_000))])))
        if isinstance(found, LedgerError):
            break
    assert found.reason == "disk_full"
    assert count > 50
    assert put(store, alerts=[alert("0", None), alert("x")]) == [], "what makes room still works"
    switch.plan = lambda _: None
    assert store.heal()
    assert len(read_back(store).alerts) == count
    store.close()


def test_a_ledger_without_a_file_keeps_everything_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, restored = open_store(None)
    assert restored.alerts == []
    assert put(store, [transition("a")]) == [1]
    store.upkeep()
    assert store.heal()
    assert not durable(store, "b")
    assert bodies(store) == [b"a", b"b"]
    with pytest.raises(LedgerError, match="not on disk"):
        store.backup(tmp_path / "copy.db")
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_whole_and_opens_as_a_ledger(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path / "state.db")
    put(store, [transition("a")], [alert("x")])
    queue(store, message("m"))
    target = tmp_path / "copies" / "state.db"
    target.parent.mkdir()
    store.backup(target)
    assert [found.name for found in target.parent.iterdir()] == ["state.db"]
    assert target.stat().st_mode & 0o077 == 0
    with pytest.raises(LedgerError, match="there is a file of that name"):
        store.backup(target)
    with pytest.raises(LedgerError):
        store.backup(tmp_path / "missing" / "state.db")
    assert durable(store, "b")
    store.close()
    opened = open_file(target, NOW_MS)
    assert restore(opened.connection).alerts == [alert("x")]
    opened.connection.close()


def test_a_group_that_only_reads_does_not_write(tmp_path: Path, switch: Switch) -> None:
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    switch.statements.clear()
    sendable(store)
    assert "BEGIN IMMEDIATE" not in switch.statements
    assert store.groups == 0
    store.close()


def test_a_programming_error_in_one_job_is_told_and_harms_no_other(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path / "state.db")
    wrong, right = run(store, lambda _: 1 // 0, partial(align, receivers=set()))
    assert isinstance(wrong, LedgerError)
    assert (wrong.reason, right) == ("raised", (0, 0))
    assert PRUNE_ROWS <= 500
    store.close()


def test_what_could_not_be_read_and_was_overtaken_is_not_sent_late(
    tmp_path: Path, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old "firing" that waited in a file nobody could read must not come after the "resolved" from memory."""

    def unreadable(_: Path) -> sqlite3.Connection:
        raise LedgerError("io_error", "it can't be read")

    monkeypatch.setattr("engine.runtime.ledger.recall.look_into", unreadable)
    store, _ = open_store(tmp_path / "state.db", switch.factory())
    queue(store, message("old", order_key="x", seq=1), message("other", order_key="y", seq=2))
    switch.plan = lambda statement: io_error() if statement in {"COMMIT", sql.CHECK} else None
    put(store, [transition("a")])
    assert sendable(store) == []
    queue(store, message("new", order_key="x", seq=3))
    settled(store, Settlement(sendable(store)[0].id, "done"))
    switch.plan = lambda _: None
    assert store.heal()
    assert [found.message_id for found in sendable(store)] == ["evt_other"]
    held = run(store, partial(list_outbox, after_id=0, limit=9), writes=False)[0]
    assert [(found.message_id, found.status, found.reason) for found in held] == [
        ("evt_old", "dead", "superseded"),
        ("evt_other", "waiting", ""),
    ]
    store.close()
