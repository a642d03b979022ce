"""Alerts outlive a kill: a stepper with a real core and a real ledger, cut off at any point, goes on in another."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config import load_text
from engine.core.evaluator import Core
from engine.core.rules import compile_rule
from engine.events import Event, SampleBatch, Transition
from engine.runtime import restarting
from engine.runtime.assembly import build_core
from engine.runtime.blindness import Blindness
from engine.runtime.downtime import NEVER_QUIET, LifeSign, Quiet, downtime, life_sign
from engine.runtime.keeping import Committed, Keeper
from engine.runtime.ledger.errors import LedgerError
from engine.runtime.ledger.holding import Outcome, ThenCall
from engine.runtime.ledger.ledger import Ledger
from engine.runtime.ledger.operator import Restored
from engine.runtime.ledger.store import Store
from engine.runtime.ledger.thread import Then
from engine.runtime.ledger.transactions import transitions_after
from engine.runtime.ledger.values import AlertRow, Notice, Step
from engine.runtime.restarting import ROWS_PER_TURN, WATCHED_UNTIL, AlertKeeper, missing, watched_until
from engine.runtime.stepping import Stepper
from engine.runtime.threads import ThreadPool
from engine.testing import START_MS, VirtualClock, run_virtual
from tests.runtime.rig import shared

SECOND = 1_000


class Inline:
    """A worker in the loop itself, for virtual time. It may be told to do nothing any more: the power is gone."""

    def __init__(self) -> None:
        self.dead = False

    def start(self) -> None:
        pass

    def post(self, function: Callable[[], Any], then: Then) -> None:
        def run() -> None:
            if not self.dead:
                then(function(), None)

        asyncio.get_running_loop().call_soon(run)

    async def stop(self) -> None:
        pass


class Run:
    """One life of an engine: from a folder, until it is killed or stopped."""

    def __init__(self, clock: VirtualClock, folder: Path, rules: str, last: LifeSign | None = None) -> None:
        self.clock, self.folder, self.last = clock, folder, last
        self.core: Core = build_core(load_text(rules, environ={}), ())
        self.notices: list[Notice] = []
        self.worker = Inline()
        self.store = Store(folder / "state.db", clock.now_ms)
        STORES.append(self.store)
        self.ledger = Ledger(self.store, clock, self.notices.append, worker=self.worker)
        self.keeper = AlertKeeper(self.core, NEVER_QUIET if last is None else last.quiet)
        self.parts = shared(clock)
        self.ledger_keeper = Keeper(self.ledger, self.parts)
        self.ledger_keeper.alerts = self.keeper
        self.ledger_keeper.follow(self.committed)
        self.beside = asyncio.ensure_future(self.ledger_keeper.run())
        self.lost: Notice | None = None
        self.announced: list[Transition] = []
        self.made: list[Transition] = []
        away = None if last is None else downtime(last, life_sign(clock))
        self.pool = ThreadPool(1)
        self.stepper = Stepper(
            self.core,
            self.parts,
            resolution_ms=SECOND,
            slice_s=0.002,
            key_metrics=(),
            own=lambda _: None,
            deliver=self.deliver,
            blindness=Blindness(self.parts, downtime=away),
            record=self.ledger_keeper.record,
            keeper=self.keeper,
            resume=self.resume,
        )
        self.task = asyncio.ensure_future(self.stepper.run())

    async def resume(self, now_ms: int) -> list[Transition]:
        await self.ledger_keeper.opened.wait()
        restored = self.ledger_keeper.restored
        assert restored is not None
        self.lost = missing(restored, self.last)
        self.stepper.blindness.watched_until(watched_until(restored, self.last))
        return await self.keeper.take_back(restored, self.last, now_ms, self.pool)

    async def deliver(self, events: list[Event], transitions: list[Transition]) -> None:
        self.made += transitions

    def committed(self, committed: Committed) -> None:
        self.announced += committed.transitions

    def put(self, **values: float) -> None:
        now_ms = self.clock.now_ms()
        self.parts.channel.put_nowait(SampleBatch(now_ms, tuple(values), np.array(list(values.values())), SECOND))

    async def watch(self, seconds: int, **values: float) -> None:
        """Measure once a second."""
        for _ in range(seconds):
            self.put(**values)
            await self.clock.sleep(1)

    async def life(self) -> LifeSign:
        await self.clock.sleep(0.01)  # the step that is due now is done by then
        return life_sign(self.clock, quiet=self.keeper.quiet())

    async def kill(self, name: str) -> Path:
        """End it at once; return a folder with what is on disk."""
        self.worker.dead = True
        self.task.cancel()
        self.beside.cancel()
        self.parts.channel.close()
        self.pool.close()
        after = self.folder.parent / name
        shutil.copytree(self.folder, after)
        await asyncio.sleep(0)
        close(self.store)
        return after

    async def stop(self) -> None:
        self.parts.channel.close()
        await self.task
        self.beside.cancel()
        await self.ledger.close()
        self.pool.close()


STORES: list[Store] = []


def close(store: Store) -> None:
    """A process that has ended leaves no connection open, however it ended."""
    connection, store._connection = store._connection, None
    if connection is not None:
        connection.close()


def told(made: Sequence[Transition]) -> list[tuple[float, str, str]]:
    """When, rounded to tenths: a run begins a hundredth after another has ended."""
    return [
        (round((one.time_ms - START_MS) / SECOND, 1), one.rule, one.kind)
        for one in made
        if one.rule != "LongwatchBlind"
    ]


def run(check: Callable[[VirtualClock], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        try:
            await check(clock)
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    try:
        run_virtual(main)
    finally:
        while STORES:
            close(STORES.pop())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def test_what_fires_is_firing_at_once_after_a_kill_and_is_not_announced_again(folder: Path) -> None:
    async def check(clock: VirtualClock) -> None:
        rules = '[rule.R]\nexpr = "a > 1"\n'
        first = Run(clock, folder, rules)
        await first.watch(3, **{'a{i="x"}': 5.0, 'a{i="y"}': 0.0})
        assert told(first.announced) == [(0, "R", "firing")]
        after = await first.kill("after")
        await clock.sleep(60)
        again = Run(clock, after, rules)  # without a sign of life
        await clock.sleep(0.01)
        assert [(one.rule, one.state, one.active_since_ms) for one in again.core.alerts()] == [
            ("R", "firing", START_MS)
        ]
        await again.watch(5, **{'a{i="x"}': 5.0, 'a{i="y"}': 0.0})
        assert told(again.made) == []
        await again.watch(1, **{'a{i="x"}': 0.0, 'a{i="y"}': 0.0})
        assert told(again.announced) == [(68, "R", "resolved")]
        assert again.announced[0].active_since_ms == START_MS
        await again.stop()

    run(check)


def test_what_is_measured_at_the_very_start_counts_though_the_clock_was_set_back(folder: Path) -> None:
    """F95: no sample of the run before is newer than it."""

    async def check(clock: VirtualClock) -> None:
        rules = '[rule.R]\nexpr = "a > 1"\n'
        first = Run(clock, folder, rules)
        await first.watch(3, a=5.0)
        after = await first.kill("after")
        again = Run(VirtualClock(asyncio.get_running_loop(), START_MS - 3_600_000), after, rules)
        await again.watch(1, a=0.0)
        assert told(again.announced) == [(3 - 3_600, "R", "resolved")]
        await again.stop()

    run(check)


PENDING = """
[engine]
on_restart = "{how}"
[rule.R]
expr = "{expr}"
for = "10s"
"""
TABLE = [
    ("pause", 30, [(40.0, "firing")]),
    ("count", 30, [(10.0, "firing")]),
    ("reset", 30, [(38.0, "pending"), (48.0, "firing")]),
    ("pause", 7_200, [(7_208.0, "pending"), (7_218.0, "firing")]),
    ("count", 7_200, [(7_208.0, "pending"), (7_218.0, "firing")]),
]


@pytest.mark.parametrize("expr", ["a > 1", "sum(a) > 1"])
@pytest.mark.parametrize(("how", "down", "expected"), TABLE)
def test_what_a_downtime_does_to_a_pending_alert(
    folder: Path, expr: str, how: str, down: int, expected: list[tuple[float, str]]
) -> None:
    """Eight of ten seconds are on the clock; that nothing has changed for seven of them says the sign of life."""

    async def check(clock: VirtualClock) -> None:
        rules = PENDING.format(how=how, expr=expr)
        first = Run(clock, folder, rules)
        await first.watch(8, a=5.0)
        last = await first.life()
        assert last.quiet.to_ms - last.quiet.from_ms == 8 * SECOND
        after = await first.kill("after")
        await clock.sleep(down)
        again = Run(clock, after, rules, last)
        await again.watch(20, a=5.0)
        assert [(at, kind) for at, _, kind in told(again.announced)] == expected

    run(check)


def test_a_change_that_is_not_on_disk_is_no_time_on_the_clock(folder: Path) -> None:
    """It was true for 8 s and is so no more, which the file does not say yet: nothing fires for that."""

    async def check(clock: VirtualClock) -> None:
        rules = PENDING.format(how="pause", expr="a > 1")
        first = Run(clock, folder, rules)
        await first.watch(8, a=5.0)
        first.put(a=0.0)
        await clock.sleep(0.5)
        last = await first.life()
        assert told(first.made)[-1][2] == "cleared"
        assert told(first.announced)[-1][2] == "pending"
        after = await first.kill("after")
        await clock.sleep(30)
        again = Run(clock, after, rules, last)
        await again.watch(20, a=5.0)
        assert [(at, kind) for at, _, kind in told(again.announced)] == [(48.5, "firing")]

    run(check)


EVERYTHING = """
[rule.Plain]
expr = "a > 1"
for = "3s"
keep_firing_for = "4s"
[rule.Latch]
expr = "a"
levels = [{ severity = "low", when = "> 1", clear = "< 1" }, { severity = "high", when = "> 3", for = "2s" }]
[rule.Share]
expr = "a > 1"
for = "6s"
of = 0.5
[rule.Whole]
expr = "max by (i) (a) > 1"
for = "2s"
keep_firing_for = "3s"
[rule.Made]
expr = "r > 1"
for = "1s"
[rule.r]
record = "r"
expr = "a * 2"
[rule.Flaps]
expr = "a > 2"
"""
SCRIPT = [0, 2, 2, 4, 4, 4, 1, 2, 2, 2, 2, 2, 1, 0, 0, 0, 0, 4, 0, 4, 0, 4, 4, 4, 4, 1, 1, 1, 1, 1]


def test_a_kill_at_any_point_that_takes_no_time_changes_nothing(tmp_path: Path) -> None:
    """Latches, shares, both clocks, what is recorded: the run that was cut goes on as the one that was not."""
    found: dict[int, list[tuple[float, str, str, str, str]]] = {}

    async def check(clock: VirtualClock, cut: int) -> None:
        folder = tmp_path / f"{cut}"
        folder.mkdir()
        one = Run(clock, folder, EVERYTHING)
        made: list[Transition] = []
        for second, value in enumerate(SCRIPT):
            if second == cut:
                last, after = await one.life(), await one.kill(f"{cut}-after")
                made += one.announced
                one = Run(clock, after, EVERYTHING, last)
            await one.watch(1, **{'a{i="x"}': value, 'a{i="y"}': 0.0})
        await clock.sleep(1.5)
        made += one.announced
        found[cut] = [(*each, why.reason, why.severity) for each, why in zip(told(made), shown(made), strict=True)]

    for cut in (-1, *range(3, len(SCRIPT), 5)):
        run(lambda clock, cut=cut: check(clock, cut))  # type: ignore[misc]
    assert len({rule for _, rule, *_ in found[-1]}) == 6
    for cut, made in found.items():
        assert made == found[-1], cut


def shown(made: Sequence[Transition]) -> list[Transition]:
    return [one for one in made if one.rule != "LongwatchBlind"]


def test_a_stop_and_a_start_are_the_same(folder: Path) -> None:
    async def check(clock: VirtualClock) -> None:
        first = Run(clock, folder, EVERYTHING)
        await first.watch(6, a=4.0)
        await first.stop()
        last = life_sign(clock, stopped=True, quiet=first.keeper.quiet())
        before = sorted((one.rule, one.state, one.severity) for one in first.core.alerts())
        await clock.sleep(100)
        again = Run(clock, folder, EVERYTHING, last)
        await clock.sleep(0.01)
        assert sorted((one.rule, one.state, one.severity) for one in again.core.alerts()) == before != []
        await again.watch(6, a=4.0)
        assert told(again.announced) == []
        await again.stop()

    run(check)


def test_each_commit_has_rows_and_transitions_that_fit(tmp_path: Path) -> None:
    """Killed after any commit: what fires in the file was told to have fired by a transition in the same file."""

    async def check(clock: VirtualClock, commits: int) -> bool:
        folder = tmp_path / f"{commits}"
        folder.mkdir()
        one = Run(clock, folder, EVERYTHING)
        for value in SCRIPT[:9]:
            await one.watch(1, a=value)
            if one.store.groups >= commits:
                one.worker.dead = True
        over = one.store.groups < commits
        after = await one.kill(f"{commits}-after")
        store = Store(after / "state.db", clock.now_ms)
        restored = store.open()
        core = build_core(load_text(EVERYTHING, environ={}), ())
        core.take_alerts(
            [(key, text, row) for key, text, row in restored.alerts if row is not None],
            restored.counters.get(WATCHED_UNTIL, 0),
        )
        firing = {one.rule for one in core.alerts() if one.state == "firing"}
        last: dict[str, str] = {}
        for found in transitions_after(connection_of(store), 0, 1_000):
            last[found.rule_key] = found.kind
        assert firing == {rule for rule, kind in last.items() if kind in ("firing", "level")}
        store.close()
        return over

    async def until_done(clock: VirtualClock) -> None:
        for commits in range(1, 100):
            if await check(clock, commits):
                assert commits > 6
                return

    run(until_done)


def connection_of(store: Store) -> Any:
    return store._connection


def test_alerts_of_a_rule_that_is_gone_are_resolved_at_the_start(folder: Path) -> None:
    async def check(clock: VirtualClock) -> None:
        first = Run(clock, folder, '[rule.A]\nexpr = "a > 1"\n[rule.B]\nexpr = "a > 1"\n')
        await first.watch(3, a=5.0)
        after = await first.kill("after")
        again = Run(clock, after, '[rule.B]\nexpr = "a > 1"\n')
        await again.watch(3, a=5.0)
        assert [(one.rule, one.kind, one.reason) for one in shown(again.announced)] == [
            ("A", "resolved", "rule_removed")
        ]
        assert told(again.announced) == [(3.0, "A", "resolved")]
        third = Run(clock, await again.kill("third"), '[rule.B]\nexpr = "a > 1"\n')
        await third.watch(3, a=5.0)
        assert told(third.made) == []

    run(check)


def test_without_the_file_it_begins_anew_and_says_so(folder: Path) -> None:
    async def check(clock: VirtualClock) -> None:
        first = Run(clock, folder, '[rule.A]\nexpr = "a > 1"\n')
        await first.watch(3, a=5.0)
        last = await first.life()
        assert first.lost is None
        await first.kill("after")
        empty = folder.parent / "empty"
        empty.mkdir()
        again = Run(clock, empty, '[rule.A]\nexpr = "a > 1"\n', last)
        await again.watch(3, a=5.0)
        assert again.lost is not None
        assert (again.lost.status, again.lost.reason) == ("failed", "state_missing")
        assert told(again.announced) == [(3.0, "A", "firing")]

    run(check)


def test_what_did_not_get_to_the_ledger_is_handed_over_again(folder: Path) -> None:
    async def check(clock: VirtualClock) -> None:
        first = Run(clock, folder, '[rule.A]\nexpr = "a > 1"\n')
        await first.watch(3, a=5.0)
        handed: list[Step] = []

        def record(step: Step, then: ThenCall | None = None, *, urgent: bool = True) -> bool:
            handed.append(step)
            assert then is not None
            then(Outcome(None, False, LedgerError("disk", "no") if len(handed) == 1 else None))
            return True

        first.ledger.record = record  # type: ignore[method-assign]
        before = first.keeper.quiet()
        await first.watch(1, a=0.0)
        assert first.keeper.quiet() == Quiet(before.from_ms, before.from_ms)
        await first.watch(2, a=0.0)
        assert [len(step.alerts) for step in handed] == [
            1,
            3,
        ]  # the alert; then a ring, a rule, a projector: all

    run(check)


def test_very_many_are_written_in_slices_and_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting, "ROWS_ON_LOOP_MAX", 10_000)  # virtual time does not wait for a thread

    async def check(clock: VirtualClock) -> None:
        rules = '[rule.A]\nexpr = "a > 1"\nfor = "1s"\n[rule.B]\nexpr = "sum by (i) (a) > 1"\n'
        first = Run(clock, folder, rules)
        made: list[int] = []
        changed = first.core.changed_alerts

        def counted(limit: int) -> list[tuple[str, str, bytes | None]]:
            rows = changed(limit)
            made.append(len(rows))
            return rows

        first.core.changed_alerts = counted  # type: ignore[method-assign]
        values = {f'a{{i="{number}"}}': 5.0 for number in range(500)}
        await first.watch(3, **values)
        assert max(made) == ROWS_PER_TURN
        assert len(first.announced) == 1_500
        again = Run(clock, await first.kill("after"), rules)
        await again.watch(2, **values)
        assert told(again.made) == []
        assert again.core.alert_counts() == {"pending": 0, "firing": 1_000}

    run(check)


async def test_on_a_thread_it_is_the_same() -> None:
    rules: dict[str, Any] = {"rules": [compile_rule("A", "a > 1")]}
    core = Core(**rules)
    core.feed([SampleBatch(START_MS, tuple(f'a{{i="{n}"}}' for n in range(200)), np.full(200, 5.0), SECOND)])
    rows = [AlertRow(*row) for row in core.changed_alerts(1_000)]
    assert len(rows) > restarting.ROWS_ON_LOOP_MAX
    again, pool = Core(**rules), ThreadPool(1)
    keeper = AlertKeeper(again)
    restored = Restored(rows, {}, {WATCHED_UNTIL: START_MS}, {}, 0)
    assert await keeper.take_back(restored, None, START_MS + 1, pool) == []
    pool.close()
    assert len(again.alerts()) == 200
    assert keeper.took


def test_what_has_no_rows_does_not_hide_how_long_nothing_has_changed(folder: Path) -> None:
    """Transitions of blindness go without a row: the sign of life must name what the ledger has (a simulated seed)."""

    async def check(clock: VirtualClock) -> None:
        first = Run(clock, folder, PENDING.format(how="pause", expr="a > 1"))
        await first.watch(4, a=5.0)
        of_blindness = Transition(clock.now_ms(), "LongwatchBlind", {}, "inactive", "firing", "began", 1.0, 0)
        await first.ledger_keeper.record([of_blindness], clock.now_ms())
        await first.watch(4, a=5.0)
        life = await first.life()
        after = await first.kill("after")
        await clock.sleep(30)
        again = Run(clock, after, PENDING.format(how="pause", expr="a > 1"), last=life)
        await again.watch(4, a=5.0)
        assert [kind for _, rule, kind in told(again.made) if rule == "R"] == ["firing"]
        await again.stop()

    run(check)


def test_a_kill_during_the_start_does_not_lose_what_the_run_before_knew(folder: Path) -> None:
    """Its sign of life stands until the ledger has something of this run (a simulated seed; F10: a crash loop)."""

    async def check(clock: VirtualClock) -> None:
        rules = PENDING.format(how="pause", expr="a > 1")
        first = Run(clock, folder, rules)
        await first.watch(8, a=5.0)
        life = await first.life()
        short = Run(clock, await first.kill("short"), rules, last=life)
        life = life_sign(clock, quiet=short.keeper.quiet())
        again = Run(clock, await short.kill("after"), rules, last=life)
        await again.watch(4, a=5.0)
        assert [kind for _, rule, kind in told(again.made) if rule == "R"] == ["firing"]
        await again.stop()

    run(check)
