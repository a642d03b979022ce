"""The face of the ledger in the loop: never waits, groups commits, tells in order, heals, closes."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.ledger import ledger as module
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.group import Job
from engine.runtime.ledger.holding import Outcome
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.operator import put_meta, restore
from engine.runtime.ledger.sending import due
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import CALLS_MAX, LedgerThread, Then
from engine.runtime.ledger.transactions import decide, transitions_after
from engine.runtime.ledger.values import Decision, Notice, Step
from engine.testing import VirtualClock, run_virtual
from tests.runtime.ledger.rig import LIMITS, NOW, NOW_MS, Switch, alert, io_error, message, transition


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return NOW_MS + int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s


class Gate(sqlite3.Connection):
    """A slow disk: each COMMIT waits until the gate is open."""

    open = threading.Event()
    commits = 0

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement == "COMMIT":
            Gate.commits += 1
            assert Gate.open.wait(20)
        return super().execute(statement, *parameters)


@pytest.fixture(autouse=True)
def gate() -> type[Gate]:
    Gate.open.set()
    Gate.commits = 0
    return Gate


class Inline:
    """A worker in the loop itself, for virtual time."""

    def start(self) -> None:
        pass

    def post(self, function: Callable[[], Any], then: Then) -> None:
        asyncio.get_running_loop().call_soon(lambda: then(function(), None))

    async def stop(self) -> None:
        pass


def make(
    path: Path | None, factory: type[sqlite3.Connection] = sqlite3.Connection, **more: Any
) -> tuple[Ledger, list[Notice]]:
    notices: list[Notice] = []
    clock = more.pop("clock", None) or Clock()
    return Ledger(Store(path, lambda: NOW_MS, factory), clock, notices.append, **more), notices


async def bodies(ledger: Ledger) -> list[bytes]:
    found = await ledger.call(partial(transitions_after, seq=0, limit=1_000), writes=False)
    return [each.body for each in found]


def step(*texts: str, **more: Any) -> Step:
    return Step([transition(text) for text in texts], **more)


async def test_what_was_recorded_is_told_after_its_commit_with_its_numbers(tmp_path: Path) -> None:
    ledger, _ = make(tmp_path / "state.db")
    restored = await ledger.open()
    assert restored.last_seq == 0
    told: list[tuple[str, Outcome]] = []
    assert ledger.record(step("a", "b", alerts=[alert("x")]), lambda outcome: told.append(("first", outcome)))
    assert ledger.record(step("c"), lambda outcome: told.append(("second", outcome)))
    assert told == [], "it does not wait"
    assert await bodies(ledger) == [b"a", b"b", b"c"]
    assert [(name, list(outcome.value), outcome.durable) for name, outcome in told] == [
        ("first", [1, 2], True),
        ("second", [3], True),
    ]
    assert await ledger.close()
    again, _ = make(tmp_path / "state.db")
    restored = await again.open()
    assert (restored.meta["clean"], restored.alerts, restored.last_seq) == ("1", [alert("x")], 3)
    await again.close()


async def test_f15_a_slow_disk_holds_nobody_up_and_commits_in_groups(tmp_path: Path, gate: type[Gate]) -> None:
    ledger, _ = make(tmp_path / "state.db", Gate)
    await ledger.open()
    before = gate.commits
    gate.open.clear()
    told: list[int] = []
    for number in range(500):
        assert ledger.record(step(f"{number}"), lambda outcome: told.extend(outcome.value))
        await asyncio.sleep(0)
    status = ledger.status()
    assert told == []
    assert status.waiting == 499, "one is under way"
    gate.open.set()
    assert len(await bodies(ledger)) == 500
    assert told == list(range(1, 501)), "nothing is dropped, and everything is in order"
    assert gate.commits - before <= 3, "what waited went in one commit"
    await ledger.close()


async def test_how_long_a_commit_takes_is_seen(tmp_path: Path, gate: type[Gate]) -> None:
    clock = Clock()
    ledger, _ = make(tmp_path / "state.db", Gate, clock=clock)
    await ledger.open()
    assert ledger.status().busy_s == 0
    gate.open.clear()
    ledger.record(step("a"))
    clock.now_s += 7
    assert ledger.status().busy_s == 7
    gate.open.set()
    await ledger.close()


async def test_too_much_is_refused_and_counted_but_for_the_alerts(
    tmp_path: Path, gate: type[Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRANSITIONS_MAX", 10)
    monkeypatch.setattr(module, "JOBS_MAX", 5)
    ledger, _ = make(tmp_path / "state.db", Gate)
    await ledger.open()
    gate.open.clear()
    told: list[str] = []
    ledger.record(step("under way"))
    assert ledger.record(step(*"0123456789"), lambda _: told.append("ten"))
    assert not ledger.record(step("x", "y", alerts=[alert("late")]), lambda _: told.append("never"))
    assert [ledger.submit(Job(lambda _: None, False)) for _ in range(7)] == [True] * 5 + [False] * 2
    with pytest.raises(LedgerError, match="takes nothing now") as refused:
        await ledger.call(restore)
    assert refused.value.reason == "overflow"
    assert ledger.status().refused_total == 2 + 3
    gate.open.set()
    await asyncio.sleep(0)
    while not told:
        await asyncio.sleep(0)
    assert len(await bodies(ledger)) == 11
    assert (await ledger.call(restore, writes=False)).alerts == [alert("late")]
    assert told == ["ten"]
    await ledger.close()


def test_what_tells_nobody_anything_waits_a_second_and_is_one_write() -> None:
    async def story(clock: VirtualClock) -> None:
        ledger, _ = make(None, clock=clock, worker=Inline())
        await ledger.open()
        before, told = ledger.status().groups_total, []
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        for number in range(5):
            row = Step([transition(f"{number}", "pending")], [alert("x", b"%d" % number)])
            ledger.record(row, lambda outcome: told.append((loop.time() - begun_s, list(outcome.value))), urgent=False)
            await clock.sleep(0.1)
        assert told == []
        await clock.sleep(0.6)
        assert [numbers for _, numbers in told] == [[1], [2], [3], [4], [5]]
        assert {round(at_s, 3) for at_s, _ in told} == {module.HOLD_S}
        assert ledger.status().groups_total == before + 1
        ledger.record(Step(alerts=[alert("x", b"old")]), urgent=False)
        ledger.record(Step([transition("now")], [alert("x", b"new")]), lambda outcome: told.append((0, [])))
        await clock.sleep(0.01)
        assert len(told) == 6, "what is urgent takes the rest with it"
        assert (await ledger.call(restore, writes=False)).alerts == [alert("x", b"new")]
        await ledger.close()

    run_virtual(story)


def test_f12_f13_degraded_it_goes_on_and_heals_by_itself(tmp_path: Path) -> None:
    switch = Switch()

    async def story(clock: VirtualClock) -> None:
        ledger, notices = make(
            tmp_path / "state.db",
            switch.factory(),
            clock=clock,
            worker=Inline(),
            rng=random.Random(1),
        )
        await ledger.open()
        keeper = asyncio.create_task(ledger.run())
        switch.plan = lambda statement: io_error() if statement == "COMMIT" else None
        told: list[Outcome] = []
        ledger.record(step("a"), told.append)
        await clock.sleep(0.1)
        assert (list(told[0].value), told[0].durable) == ([1], False)
        assert (ledger.status().kept, ledger.status().trouble) == ("degraded", "io_error")
        assert [notice.reason for notice in notices] == ["io_error"]
        decision = Decision("policy", 1, [message("m")])
        await ledger.call(partial(decide, decision=decision, limits=LIMITS))
        found = await ledger.call(partial(due, receiver="ops", now=NOW, limit=9, limits=LIMITS), writes=False)
        assert [each.message_id for each in found] == ["evt_m"], "what is in memory is sent, too"
        await clock.sleep(600)
        assert ledger.status().kept == "degraded"
        switch.plan = lambda _: None
        await clock.sleep(module.HEAL_S_MAX + 2)
        assert ledger.status().kept == "disk"
        assert [notice.status for notice in notices] == ["failed", "ok"]
        ledger.record(step("b"), told.append)
        await clock.sleep(0.1)
        assert (list(told[1].value), told[1].durable) == ([2], True)
        assert await bodies(ledger) == [b"a", b"b"]
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        assert await ledger.close()

    run_virtual(story)


def test_once_a_minute_the_log_is_checkpointed_and_old_rows_go(tmp_path: Path) -> None:
    async def story(clock: VirtualClock) -> None:
        ledger, notices = make(tmp_path / "state.db", clock=clock, worker=Inline())
        await ledger.open()
        keeper = asyncio.create_task(ledger.run())
        ledger.record(step(*(f"{number}" for number in range(1_200))))
        await ledger.call(partial(decide, decision=Decision("policy", 1_100), limits=LIMITS))
        await clock.sleep(59)
        assert len(await bodies(ledger)) == 1_000
        await clock.sleep(3)
        assert len(await bodies(ledger)) == 100
        assert ledger.status().log_bytes > 0
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await ledger.close()
        assert notices == []

    run_virtual(story)


async def test_a_cancelled_caller_leaves_a_write_that_happens(tmp_path: Path, gate: type[Gate]) -> None:
    """M8: cancellation does not mean "not done"; M7: and it holds no lock."""
    ledger, _ = make(tmp_path / "state.db", Gate)
    await ledger.open()
    gate.open.clear()
    caller = asyncio.create_task(ledger.call(partial(put_meta, values={"k": "v"})))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert caller.cancelled()
    gate.open.set()
    assert (await ledger.call(restore, writes=False)).meta["k"] == "v"
    await ledger.close()


async def test_an_error_of_one_caller_is_its_own(tmp_path: Path) -> None:
    ledger, _ = make(tmp_path / "state.db")
    await ledger.open()
    wrong = asyncio.create_task(ledger.call(lambda _: 1 // 0))
    right = asyncio.create_task(ledger.call(partial(put_meta, values={"k": "v"})))
    with pytest.raises(LedgerError) as failed:
        await wrong
    assert failed.value.reason == "raised"
    await right
    await ledger.close()


async def test_a_callback_that_raises_is_the_loops_to_tell(tmp_path: Path) -> None:
    ledger, _ = make(tmp_path / "state.db")
    await ledger.open()
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))
    told: list[Outcome] = []
    ledger.record(step("a"), lambda outcome: outcome.value[1])
    ledger.submit(Job(restore, False), told.append)
    await ledger.close()
    assert [type(error) for error in seen] == [IndexError]
    assert len(told) == 1


async def test_close_commits_what_waits_and_the_last_jobs(tmp_path: Path) -> None:
    ledger, _ = make(tmp_path / "state.db")
    await ledger.open()
    ledger.record(step("a"), urgent=False)
    ledger.record(step("b"))
    assert await ledger.close([Job(partial(put_meta, values={"last": "1"}))])
    assert not ledger.record(step("late"))
    assert not ledger.submit(Job(restore))
    with pytest.raises(LedgerError):
        await ledger.call(restore)
    assert not await ledger.close(), "twice is once"
    again, _ = make(tmp_path / "state.db")
    assert (await again.open()).meta["last"] == "1"
    assert await bodies(again) == [b"a", b"b"]
    assert list((tmp_path).glob("*-wal")) != []
    await again.close()
    assert list((tmp_path).glob("*-wal")) == []


async def test_a_start_that_fails_says_why_and_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    ledger, _ = make(tmp_path / "state.db")
    with pytest.raises(LedgerError) as refused:
        await ledger.open()
    assert refused.value.reason == "cant_open"
    assert not await ledger.close()
    assert [thread for thread in threading.enumerate() if thread.name == "longwatch ledger" and thread.is_alive()] == []


@pytest.mark.parametrize("turns", range(4))
async def test_an_opening_that_is_cancelled_leaves_nothing_open(tmp_path: Path, turns: int) -> None:
    """A host that ends its loop before the engine has begun to watch."""
    opened: list[sqlite3.Connection] = []

    class Noted(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            opened.append(self)
            super().__init__(*args, **options)

    ledger, _ = make(tmp_path / "state.db", Noted)
    opening = asyncio.create_task(ledger.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await ledger.close()
    assert bool(opened) == (turns > 0)
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            _ = connection.in_transaction
    assert [thread for thread in threading.enumerate() if thread.name == "longwatch ledger"] == []


async def test_a_backup_is_made_while_it_runs(tmp_path: Path) -> None:
    ledger, _ = make(tmp_path / "state.db")
    await ledger.open()
    ledger.record(step("a"))
    await ledger.backup(tmp_path / "copy.db")
    with pytest.raises(LedgerError):
        await ledger.backup(tmp_path / "copy.db")
    await ledger.close()
    copy, _ = make(tmp_path / "copy.db")
    await copy.open()
    assert await bodies(copy) == [b"a"]
    await copy.close()


def test_message_ids_differ_by_receiver_number_part_and_run() -> None:
    one, two = make(None)[0], make(None)[0]
    ids = {
        ledger.message_id(receiver, seq, part)
        for ledger in (one, two)
        for receiver in ("a", "b")
        for seq in (1, 2)
        for part in (0, 1)
    }
    assert len(ids) == 16
    assert one.message_id("a", 1) == one.message_id("a", 1)
    assert all(found.startswith("evt_") and len(found) == 30 for found in ids)


async def test_ten_thousand_alerts_at_once_are_one_commit_and_a_page_of_messages(tmp_path: Path) -> None:
    ledger, _ = make(tmp_path / "state.db", Gate)
    await ledger.open()
    before = Gate.commits
    storm = Step([transition("x" * 300)] * 10_000, [alert(f"{number}", bytes(300)) for number in range(10_000)])
    queued: list[int] = []

    def policy(outcome: Outcome) -> None:
        messages = [
            message(f"{receiver}-{part}", receiver, f"g{part}", outcome.value[0], b"x" * 20_000)
            for receiver in ("a", "b", "c")
            for part in range(157)
        ]
        decision = Decision("policy", outcome.value[-1], messages)
        ledger.submit(
            Job(partial(decide, decision=decision, limits=LIMITS)), lambda done: queued.append(done.value.queued)
        )

    ledger.record(storm, policy)
    while not queued:
        await asyncio.sleep(0)
    assert queued == [471]
    assert Gate.commits - before == 2, "T1 and T2"
    await ledger.close()


# --- the thread -------------------------------------------------------------------------------------------


async def test_the_thread_is_a_daemon_bounded_and_ends() -> None:
    """M10: a disk that hangs must not keep the process from ending. M9: what waits is bounded."""
    worker, release, done = LedgerThread(), threading.Event(), asyncio.Event()
    worker.start()
    (thread,) = [found for found in threading.enumerate() if found.name == "longwatch ledger"]
    assert thread.daemon
    results: list[tuple[object, BaseException | None]] = []
    begun = threading.Event()

    def hang() -> str:
        begun.set()
        release.wait(20)
        return "hung"

    worker.post(hang, lambda value, error: results.append((value, error)))
    begun.wait(20)
    for _ in range(CALLS_MAX - 1):
        worker.post(lambda: 1 // 0, lambda value, error: results.append((value, error)))
    worker.post(lambda: "last", lambda *_: done.set())
    with pytest.raises(LedgerError) as full:
        worker.post(lambda: None, lambda *_: None)
    assert full.value.reason == "overflow"
    release.set()
    await done.wait()
    assert results[0] == ("hung", None)
    assert {type(error) for _, error in results[1:]} == {ZeroDivisionError}
    await worker.stop()
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(LedgerError) as closed:
        worker.post(lambda: None, lambda *_: None)
    assert closed.value.reason == "closed"


def test_a_loop_that_is_gone_harms_no_thread() -> None:
    release, ended = threading.Event(), threading.Event()

    async def leave() -> None:
        worker = LedgerThread()
        worker.start()
        worker.post(lambda: release.wait(20), lambda *_: None)
        worker.post(ended.set, lambda *_: None)

    asyncio.run(leave())
    release.set()
    assert ended.wait(20)


async def test_a_start_that_is_asked_for_twice_is_one(tmp_path: Path) -> None:
    """The keeper is begun again when it has crashed."""
    before = threading.active_count()
    ledger, _ = make(tmp_path / "state.db")
    first = await ledger.open()
    assert await ledger.open() is first
    assert threading.active_count() == before + 1
    await ledger.close()
