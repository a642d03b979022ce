"""The engine's alerts about itself are like any other: kept, taken back, told once, resolved."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine import Engine, Sample
from engine.config import load_text
from engine.core.evaluator import Core
from engine.events import Blind
from engine.runtime.blindness import Blindness
from engine.runtime.blindtime import BlindAlert
from engine.runtime.internal import OWN, InternalAlerts
from engine.runtime.ledger.values import AlertRow, LedgerStatus, Step
from engine.runtime.restarting import AlertKeeper
from engine.runtime.storagealert import StorageAlert
from engine.testing import RecordingSink, VirtualClock, run_virtual
from tests.runtime.ledger.rig import Switch, full, io_error
from tests.runtime.rig import shared
from tests.runtime.test_disk_engine import stored, switch  # noqa: F401  # a fixture
from tests.runtime.test_restart_engine import engine, killed

T0 = 1_767_225_600_000
WELL = LedgerStatus("disk", "", 0.0, 0, 0, 0, 0, 0, 0, has_ballast=True)
ILL = WELL._replace(kept="degraded", trouble="disk_full")
STORAGE, BLIND = "LongwatchStorageDegraded", "LongwatchBlind"


class Still:
    def now_ms(self) -> int:
        return T0

    def monotonic(self) -> float:
        return 0.0


def about(sink: RecordingSink, rule: str) -> list[str]:
    return [one.kind for each in sink.notifications for one in each.transitions if one.rule == rule]


# --- about storage ----------------------------------------------------------------------------------


def test_one_alert_tells_of_an_episode_of_troubles() -> None:
    ledger = WELL
    alert = StorageAlert(lambda: ledger)
    assert alert.transitions(T0) == []
    ledger = ILL
    (fired,) = alert.transitions(T0 + 1_000)
    assert (fired.kind, fired.rule, fired.labels) == (
        "firing",
        STORAGE,
        {"alertname": STORAGE, "severity": "critical"},
    )
    assert fired.annotations["summary"] == (
        "alerts and messages are in memory alone since 2026-01-01 00:00:01 UTC (disk_full): a kill loses them"
    )
    assert alert.transitions(T0 + 90_000) == [], "it goes on"
    ledger = WELL
    assert alert.transitions(T0 + 100_000) == []
    ledger = ILL._replace(trouble="io_error")
    assert alert.transitions(T0 + 120_000) == [], "again, within a minute"
    ledger = WELL
    assert alert.transitions(T0 + 179_999) == []
    status = alert.status(T0 + 180_000)
    assert status is not None
    assert (status.state, status.value, status.fired_ms) == ("firing", 119.0, T0 + 1_000)
    (over,) = alert.transitions(T0 + 180_000)
    assert (over.kind, over.reason, over.value) == ("resolved", "recovered", 119.0)
    assert over.annotations["summary"] == (
        "the ledger was in trouble from 2026-01-01 00:00:01 UTC to 2026-01-01 00:02:00 UTC (disk_full, io_error), "
        "and is on disk"
    )
    assert (alert.status(T0 + 180_000), alert.transitions_total) == (None, 2)


def test_a_ledger_that_was_replaced_is_told_of() -> None:
    ledger = WELL
    alert = StorageAlert(lambda: ledger)
    ledger = WELL._replace(resets_total=1)
    (fired,) = alert.transitions(T0)
    assert "(state_reset)" in fired.annotations["summary"]
    assert alert.transitions(T0 + 59_999) == []
    assert [one.kind for one in alert.transitions(T0 + 60_000)] == ["resolved"]
    assert alert.transitions(T0 + 60_001) == []


def test_at_the_end_of_the_watch_nothing_is_left_firing() -> None:
    alert = StorageAlert(lambda: ILL)
    alert.transitions(T0)
    assert [(one.kind, one.reason) for one in alert.transitions(T0 + 1, end=True)] == [("resolved", "ended")]


@pytest.mark.parametrize("error", [full, io_error])
def test_who_is_told_hears_once_that_the_storage_fails_and_that_it_does_not(
    tmp_path: Path,
    switch: Switch,  # noqa: F811
    error: object,
) -> None:
    async def main(clock: VirtualClock) -> None:
        assert callable(error)
        ops, config = RecordingSink(), load_text(f'[engine]\nstate_dir = "{tmp_path}"\n[rule.Hot]\nexpr = "x > 5"\n')
        async with Engine(config, clock=clock, sinks={"ops": ops}, rng=random.Random(1)) as one:
            await clock.sleep(1)
            switch.plan = lambda statement: error() if statement == "COMMIT" else None
            assert one.emit(Sample(clock.now_ms(), "x", 9.0))
            await clock.sleep(100)
            assert (about(ops, "Hot"), about(ops, STORAGE)) == (["firing"], ["firing"])
            assert STORAGE in {alert.rule for alert in one.alerts()}
            switch.plan = lambda _: None
            await clock.sleep(240)
            assert one.status().ledger.kept == "disk"
            assert about(ops, STORAGE) == ["firing", "resolved"]
            assert one.status().counters["longwatch_transitions_total"] == 3

    run_virtual(main)


# --- kept -------------------------------------------------------------------------------------------


def blind() -> tuple[BlindAlert, InternalAlerts]:
    blindness = Blindness(shared(Still()))
    return blindness._alert, InternalAlerts([blindness])


def test_a_row_is_written_when_it_fires_and_when_it_is_over_and_not_between() -> None:
    alert, own = blind()
    assert (own.transitions(T0), own.rows()) == ([], [])
    alert.note(Blind(T0, T0 - 3_000, T0), 3_000, T0)
    assert own.transitions(T0)
    (row,) = own.rows()
    assert (row.rule_key, row.labels, row.row is not None) == (OWN, BLIND, True)
    alert.note(Blind(T0, T0, T0 + 5_000), 5_000, T0 + 5_000)
    assert (own.transitions(T0 + 5_000), own.rows()) == ([], [])
    own.tell_again()
    assert [one.row is not None for one in own.rows()] == [True]
    assert own.transitions(T0 + 65_000)
    assert own.rows() == [AlertRow(OWN, BLIND, None)]


def test_no_row_of_theirs_says_that_the_ledger_has_what_the_core_has_yet_to_tell_again() -> None:
    alert, own = blind()
    keeper = AlertKeeper(Core([]), internal=own)
    alert.note(Blind(T0, T0 - 3_000, T0), 3_000, T0)
    own.transitions(T0)
    keeper.tell_again()
    (row,) = keeper.take(T0).alerts
    assert keeper.take(T0) == Step(alerts=[row]), "with its transition, and nothing says until when the rows are whole"
    list(keeper.changing(T0))
    whole = keeper.take(T0 + 1)
    assert whole.alerts == [row]
    assert whole.counters


def test_a_row_that_cannot_be_read_goes() -> None:
    _, own = blind()
    own.take_back([AlertRow(OWN, BLIND, b"\xc1"), AlertRow(OWN, "LongwatchGone", b"")], T0)
    assert (own.statuses(T0), own.rows()) == ([], [AlertRow(OWN, BLIND, None)])


RULES = '[rule.Hot]\nexpr = "x > 5"\n'


@pytest.mark.parametrize("back_s", [0, 60], ids=["a kill", "and the clock is set back"])
def test_one_that_fires_at_a_kill_is_not_told_again_and_is_resolved(tmp_path: Path, back_s: int) -> None:
    kept: list[Path] = []

    async def first(clock: VirtualClock) -> None:
        ops = RecordingSink()
        async with engine(clock, tmp_path / "first", ops, RULES) as one:  # type: ignore[arg-type]
            await clock.sleep(100)
            now_ms = clock.now_ms()
            one.emit(Blind(now_ms, now_ms - 5_000, now_ms, "*", "loop_lag"))
            await clock.sleep(5)
            assert about(ops, BLIND) == ["firing"]
            kept.append(await killed(clock, tmp_path / "first"))

    async def second(clock: VirtualClock) -> None:
        await clock.sleep(110 - back_s)
        ops = RecordingSink()
        async with engine(clock, kept[0], ops, RULES) as one:  # type: ignore[arg-type]
            await clock.sleep(1)
            (alert,) = one.alerts()
            assert (alert.rule, alert.state) == (BLIND, "firing")
            assert alert.fired_ms <= clock.now_ms()
            await clock.sleep(64)
            assert about(ops, BLIND) == ["resolved"]
            assert one.alerts() == ()
        assert stored(kept[0], "SELECT count(*) FROM alert WHERE rule_key = 'engine'") == [(0,)]

    run_virtual(first)
    run_virtual(second)
