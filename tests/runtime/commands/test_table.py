"""What each command does, over a real socket: to a real ledger, and to receivers."""

import asyncio
import contextlib
import sqlite3
import stat
import threading
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from engine.errors import SinkError
from engine.ports import Notification
from engine.runtime.commands import drill
from engine.runtime.commands.client import ask
from engine.runtime.commands.reading import listed
from engine.runtime.commands.wire import (
    BackupArguments,
    BackupResult,
    CommandRefused,
    DrillArguments,
    DrillResult,
    DrillRow,
    DropResult,
    IdsArguments,
    ListArguments,
    ListResult,
    ReplayResult,
    StatusArguments,
)
from engine.runtime.ledger.opening import reading
from engine.runtime.ledger.values import Cover, NewMessage, Settlement
from engine.testing import RecordingSink
from tests.runtime.commands.rig import NOW_MS, Host, serving

T = TypeVar("T", bound=msgspec.Struct)


def message(name: str, receiver: str = "ops", seq: int = 1, **more: str) -> NewMessage:
    covers = tuple(Cover(key, kind, seq) for key, kind in (more or {name: "firing"}).items())
    return NewMessage(receiver, name, f"evt_{name}", b"body of " + name.encode(), covers, NOW_MS)


def get(folder: Path, command: str, arguments: msgspec.Struct, type_: type[T]) -> T:
    return msgspec.json.decode(ask(folder, command, arguments, timeout_s=20.0), type=type_)


# --- status, outbox -----------------------------------------------------------------------------------


def test_a_status_has_the_ledger_and_the_outbox_in_it(tmp_path: Path) -> None:
    with serving(tmp_path) as host:
        host.queue(message("a"), message("b"), message("c", "pager"))
        host.settle(Settlement(1, "dead", "http_400"))
        told = msgspec.json.decode(ask(tmp_path, "status", StatusArguments(), timeout_s=10.0))
    assert told["engine"]["probes"][0]["name"] == "host"
    assert (told["ledger"]["kept"], told["ledger"]["trouble"]) == ("disk", "")
    states = {(each["receiver"], each["status"]): (each["messages"], each["oldest_ms"]) for each in told["outbox"]}
    assert states == {("ops", "dead"): (1, NOW_MS), ("ops", "waiting"): (1, NOW_MS), ("pager", "waiting"): (1, NOW_MS)}


def test_what_is_kept_in_memory_is_listed_and_not_copied(tmp_path: Path) -> None:
    with serving(tmp_path, on_disk=False) as host:
        host.queue(message("a"))
        told = msgspec.json.decode(ask(tmp_path, "status", StatusArguments(), timeout_s=10.0))
        assert told["ledger"]["kept"] == "memory"
        assert [each.message_id for each in get(tmp_path, "outbox.list", ListArguments(), ListResult).messages] == [
            "evt_a"
        ]
        with pytest.raises(CommandRefused, match="not on disk now, so there is nothing to copy"):
            get(tmp_path, "backup", BackupArguments(path=str(tmp_path / "x.db")), BackupResult)
    assert list(tmp_path.iterdir()) == []


def test_the_outbox_is_listed_dead_ones_first_and_without_bodies(tmp_path: Path) -> None:
    with serving(tmp_path) as host:
        host.queue(message("a"), message("b", x="firing", y="firing", z="resolved"), message("c", "pager"))
        host.settle(Settlement(2, "dead", "http_400"), Settlement(3, "parked", "http_410"))
        told = get(tmp_path, "outbox.list", ListArguments(), ListResult)
        assert [(each.id, each.receiver, each.status, each.reason) for each in told.messages] == [
            (2, "ops", "dead", "http_400"),
            (3, "pager", "parked", "http_410"),
            (1, "ops", "waiting", ""),
        ]
        assert told.messages[0].about == {"firing": 2, "resolved": 1}
        assert (told.messages[0].bytes, told.messages[0].attempts) == (len(b"body of b"), 1)
        assert len(get(tmp_path, "outbox.list", ListArguments(limit=1), ListResult).messages) == 1
        mine = get(tmp_path, "outbox.list", ListArguments(receiver="pager"), ListResult)
        assert [each.id for each in mine.messages] == [3]
        assert {each.receiver for each in mine.totals} == {"ops", "pager"}, "totals are of all"


def test_what_is_replayed_waits_again_and_the_workers_are_woken(tmp_path: Path) -> None:
    with serving(tmp_path) as host:
        host.queue(message("a"), message("b"), message("c"))
        host.settle(Settlement(1, "dead", "http_400"), Settlement(2, "dead", "http_400"))
        told = get(tmp_path, "outbox.replay", IdsArguments(ids=(1, 3, 99)), ReplayResult)
        assert told == ReplayResult((1,), (), (3, 99))
        assert [(each.id, each.status, each.attempts) for each in host.outbox()] == [
            (1, "waiting", 0),
            (2, "dead", 1),
            (3, "waiting", 0),
        ]
        assert host.woken == [{"ops"}]
        get(tmp_path, "outbox.replay", IdsArguments(ids=(99,)), ReplayResult)
        assert host.woken == [{"ops"}], "nothing came of it"


def test_an_old_firing_is_not_replayed_after_its_resolve(tmp_path: Path) -> None:
    with serving(tmp_path) as host:
        host.queue(message("old", alert="firing"), message("new", seq=2, alert="resolved"))
        host.settle(Settlement(1, "dead", "http_400"), Settlement(2, "done"))
        told = get(tmp_path, "outbox.replay", IdsArguments(ids=(1,)), ReplayResult)
        assert told == ReplayResult((), (1,), ())
        assert host.doubted == [{"ops"}], "what else it said is to be told anew"


def test_what_is_dropped_is_gone(tmp_path: Path) -> None:
    with serving(tmp_path) as host:
        host.queue(message("a"), message("b"))
        assert get(tmp_path, "outbox.drop", IdsArguments(ids=(77, 1, 1)), DropResult) == DropResult((1,), (77,))
        assert [each.id for each in host.outbox()] == [2]
        assert host.woken == [set()]


# --- backup -------------------------------------------------------------------------------------------


def test_a_backup_is_whole_private_and_never_over_another_file(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with serving(tmp_path) as host:
        host.queue(message("a"))
        told = get(tmp_path, "backup", BackupArguments(path=str(target)), BackupResult)
        assert told == BackupResult(str(target), target.stat().st_size)
        with pytest.raises(CommandRefused, match="there is a file of that name"):
            get(tmp_path, "backup", BackupArguments(path=str(target)), BackupResult)
        with pytest.raises(CommandRefused, match="No such file"):
            get(tmp_path, "backup", BackupArguments(path=str(tmp_path / "no" / "x.db")), BackupResult)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    copy = reading(target)
    assert copy.execute("SELECT message_id FROM outbox").fetchall() == [("evt_a",)]
    copy.close()
    assert not [*tmp_path.glob("copy.db?*")]


# --- drill --------------------------------------------------------------------------------------------


def drilled(host: Host, **arguments: object) -> tuple[list[DrillRow], DrillResult]:
    rows: list[DrillRow] = []
    raw = ask(
        host.folder,
        "drill",
        msgspec.convert(arguments, DrillArguments),
        timeout_s=20.0,
        on_row=lambda row: rows.append(msgspec.json.decode(row, type=DrillRow)),
    )
    return rows, msgspec.json.decode(raw, type=DrillResult)


def told(rows: list[DrillRow]) -> list[tuple[str, str, str, str]]:
    return sorted((row.sink, row.what, row.outcome, row.reason) for row in rows)


class Quiet(RecordingSink):
    send_resolved = False


class Crooked(RecordingSink):
    def render(self, notification: Notification) -> bytes:
        raise ValueError("no such label")


def test_a_drill_goes_through_every_receiver_and_says_what_each_answered(tmp_path: Path) -> None:
    refuses = RecordingSink([SinkError("http_503", "https://x: answered 503", retryable=True, status=503)] * 2)
    sinks = {"ops": RecordingSink(), "pager": refuses, "quiet": Quiet(), "crooked": Crooked()}
    with serving(tmp_path, sinks) as host:
        rows, result = drilled(host)
    assert told(rows) == [
        ("crooked", "firing", "skipped", "render"),
        ("ops", "firing", "delivered", ""),
        ("ops", "resolved", "delivered", ""),
        ("pager", "firing", "failed", "http_503"),
        ("pager", "resolved", "failed", "http_503"),
        ("quiet", "firing", "delivered", ""),
        ("quiet", "resolved", "not_wanted", ""),
    ]
    assert result == DrillResult(2, 4)
    together = [row.sink for row in rows]
    assert all(
        together[together.index(name) :][: together.count(name)] == [name] * together.count(name) for name in sinks
    )
    failed = next(row for row in rows if row.sink == "pager")
    assert (failed.status, failed.message) == (503, "https://x: answered 503")
    assert all(row.ms > 0 for row in rows if row.outcome in ("delivered", "failed"))


def test_a_drill_can_not_be_taken_for_the_real_thing(tmp_path: Path) -> None:
    sink = RecordingSink()
    with serving(tmp_path, {"ops": sink}) as host:
        drilled(host)
        drilled(host)
        assert host.outbox() == [], "nothing of it is kept"
    assert len({number for number, _ in sink.delivered}) == 4, "each message has an id of its own"
    firing, resolved = (each.transitions[0] for each in sink.notifications[:2])
    assert firing.labels == resolved.labels == {"alertname": "LongwatchDrill", "drill": "true", "severity": "info"}
    assert (firing.kind, resolved.kind) == ("firing", "resolved")
    assert resolved.time_ms > firing.time_ms == resolved.active_since_ms
    assert firing.annotations["summary"] == "DRILL: trade-1 tries how it reaches ops. Nothing is wrong."
    note = sink.notifications[0]
    assert (note.receiver, note.external_labels) == ("ops", {"env": "test"})
    assert note.group_key == '{}:{alertname="LongwatchDrill"}'


def test_one_receiver_alone_can_be_drilled(tmp_path: Path) -> None:
    sinks = {"ops": RecordingSink(), "pager": RecordingSink()}
    with serving(tmp_path, sinks) as host:
        rows, result = drilled(host, sink="pager")
        assert ({row.sink for row in rows}, result) == ({"pager"}, DrillResult(1, 1))
        with pytest.raises(CommandRefused, match='no receiver "pagr"; did you mean "pager"') as caught:
            drilled(host, sink="pagr")
        assert caught.value.reason == "usage"
    assert sinks["ops"].delivered == []


def test_a_receiver_that_hangs_is_given_up_and_its_end_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have taken the first message before it fell silent."""
    monkeypatch.setattr(drill, "DELIVER_TIMEOUT_S", 0.05)
    sink = RecordingSink(hang=True)
    with serving(tmp_path, {"ops": sink, "pager": RecordingSink()}) as host:
        rows, result = drilled(host)
    assert told(rows)[:2] == [("ops", "firing", "failed", "timeout"), ("ops", "resolved", "failed", "timeout")]
    assert (result, len(sink.attempts)) == (DrillResult(1, 2), 2)


class Stubborn(RecordingSink):
    """Does not even end when it is cancelled."""

    let_go = threading.Event()

    async def deliver(self, message_id: str, body: bytes) -> None:
        while not self.let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)


def test_a_receiver_that_can_not_be_ended_gets_no_second_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "DELIVER_TIMEOUT_S", 0.02)
    with serving(tmp_path, {"ops": Stubborn()}) as host:
        host.parts.containment.grace_s = 0.02
        rows, _ = drilled(host)
        assert told(rows) == [("ops", "firing", "failed", "hung"), ("ops", "resolved", "skipped", "hung")]
        Stubborn.let_go.set()


def test_a_receiver_that_is_not_open_is_said_to(tmp_path: Path) -> None:
    sink = RecordingSink()
    sink.open_failures.append(SinkError("no_path", "set path", retryable=False))
    with serving(tmp_path, {"ops": sink}) as host:
        rows, result = drilled(host)
    assert (told(rows), result.passed) == ([("ops", "firing", "skipped", "not_open")], 0)
    assert rows[0].message == "can't open: set path"


def test_the_end_comes_when_it_was_asked_for_and_one_drill_at_a_time(tmp_path: Path) -> None:
    sink = RecordingSink()
    with serving(tmp_path, {"ops": sink}) as host:
        rows, _ = drilled(host, hold_ms=60)
        assert [row.what for row in rows] == ["firing", "resolved"]
        firing, resolved = (each.transitions[0] for each in sink.notifications)
        assert resolved.time_ms - firing.time_ms >= 60
        host.call(lambda: started(host))


async def started(host: Host) -> None:
    """Two drills at once, in the engine's own loop."""
    run = host.server._commands["drill"].run

    async def nobody(_: msgspec.Struct) -> None:
        return

    first = asyncio.create_task(run(DrillArguments(hold_ms=50), nobody))
    await asyncio.sleep(0)
    with pytest.raises(CommandRefused, match="under way"):
        await run(DrillArguments(), nobody)
    assert await first == DrillResult(1, 1)
    assert await run(DrillArguments(), nobody) == DrillResult(1, 1)


def test_without_a_receiver_there_is_nothing_to_drill(tmp_path: Path) -> None:
    with serving(tmp_path) as host, pytest.raises(CommandRefused, match="no sink that tells people"):
        drilled(host)


# --- the outbox without an engine ---------------------------------------------------------------------


def test_the_list_of_a_stopped_engine_is_read_from_its_file(tmp_path: Path) -> None:
    with serving(tmp_path) as host:
        host.queue(message("a"))
        live = get(tmp_path, "outbox.list", ListArguments(), ListResult)
        beside = reading(tmp_path / "state.db")
        assert listed(beside, 50, "") == live, "while it runs, too"
        beside.close()
    connection = reading(tmp_path / "state.db")
    assert listed(connection, 50, "") == live
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM outbox")
    connection.close()
    with serving(tmp_path) as host:
        assert [each.id for each in host.outbox()] == [1], "looking has harmed nothing"
