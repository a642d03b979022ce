"""A whole engine that was killed or stopped goes on: with its ledger, its history and its receivers."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine import Engine, Health, Sample
from engine.config import load_text
from engine.ports import History, SeriesSamples
from engine.runtime.downtime import LifeSign, Quiet
from engine.runtime.statefiles import LIFE_FILE, last_life
from engine.testing import START_MS, RecordingSink, VirtualClock, run_virtual

RULES = """
[rule.Many]
expr = "count_over_time(x[1h]) >= 4"
[rule.Hot]
expr = "x > 1"
on_restart = "count"
[rule.Soon]
expr = "x > 1"
for = "1m"
"""


class Ops(RecordingSink, History):
    """Keeps what an engine records, for the next one, and what it is told."""

    def __init__(self, before: Ops | None = None) -> None:
        super().__init__()
        self.samples: list[Sample] = [] if before is None else list(before.samples)

    async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        found = [one for one in self.samples if one.series == "x" and start_ms <= one.time_ms < end_ms]
        return [SeriesSamples("x", np.array([one.time_ms for one in found]), np.array([one.value for one in found]))]

    async def metrics(self) -> list[str]:
        return ["x"]

    async def write(self, records: Sequence[object]) -> None:
        await super().write(records)  # type: ignore[arg-type]
        self.samples += [one for one in records if isinstance(one, Sample)]

    @property
    def told(self) -> list[tuple[str, str]]:
        """Of what it was told: rule and kind."""
        found = [one for each in self.notifications for one in each.transitions]
        return [(one.rule, one.kind) for one in found if not one.rule.startswith("Longwatch")]


def engine(clock: VirtualClock, folder: Path, ops: Ops, rules: str = RULES) -> Engine:
    return Engine(load_text(f'[engine]\nstate_dir = "{folder}"\n{rules}'), clock=clock, sinks={"ops": ops})


async def watch(clock: VirtualClock, one: Engine, seconds: int, value: float) -> None:
    for _ in range(seconds // 10):
        assert one.emit(Sample(clock.now_ms(), "x", value, 10_000))
        await clock.sleep(10)


async def killed(clock: VirtualClock, folder: Path) -> Path:
    """What a kill would leave now. A thread writes the sign of life, and knows nothing of virtual time: it is given
    some of ours."""
    for _ in range(200):
        sign = last_life(folder)
        if sign is not None and sign.time_ms >= clock.now_ms() - 2_000:
            break
        threading.Event().wait(0.01)
        await clock.sleep(0.01)
    after = folder.with_name("killed")
    after.mkdir()
    for file in [*folder.glob("state.db*"), *folder.glob(LIFE_FILE)]:
        shutil.copy(file, after)
    return after


def states(one: Engine) -> list[tuple[str, str, int]]:
    found = [alert for alert in one.alerts() if not alert.rule.startswith("Longwatch")]
    return sorted((alert.rule, alert.state, alert.active_since_ms - START_MS) for alert in found)


BEFORE = [("Hot", "firing", 0), ("Many", "firing", 30_000), ("Soon", "pending", 0)]


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_what_fires_goes_on_and_is_told_once(tmp_path: Path, ending: str) -> None:
    async def main(clock: VirtualClock) -> None:
        first, ops = tmp_path / "first", Ops()
        async with engine(clock, first, ops) as one:
            await clock.sleep(0)
            await watch(clock, one, 40, 5.0)
            assert states(one) == BEFORE
            assert ops.told == [("Hot", "firing"), ("Many", "firing")]
            after = await killed(clock, first)
        folder = after if ending == "kill" else first
        await clock.sleep(60)
        again = Ops(ops)
        async with engine(clock, folder, again) as two:
            await clock.sleep(0.1)
            assert states(two) == BEFORE
            await watch(clock, two, 10, 5.0)
            assert states(two) == BEFORE
            assert again.told == []
            await watch(clock, two, 10, 0.0)
            assert again.told == [("Hot", "resolved")]
            (resolved,) = [one for one in again.transitions if one.kind == "resolved"]
            assert (resolved.active_since_ms, resolved.reason) == (START_MS, "recovered")
            assert [state for state in states(two) if state[0] != "Many"] == []

    run_virtual(main)


def test_without_a_history_nothing_resolves_because_windows_are_empty(tmp_path: Path) -> None:
    """Until its input was seen, and then the window says what it knows."""

    async def main(clock: VirtualClock) -> None:
        first, rules = tmp_path / "first", '[rule.High]\nexpr = "avg_over_time(x[10m]) > 4"\n'
        async with engine(clock, first, Ops(), rules) as one:
            await watch(clock, one, 60, 5.0)
            after = await killed(clock, first)
        async with engine(clock, after, again := Ops(), rules) as two:
            await clock.sleep(25)
            assert states(two) == [("High", "firing", 0)]
            await watch(clock, two, 30, 5.0)
            assert states(two) == [("High", "firing", 0)]
            assert again.told == []

    run_virtual(main)


def test_a_rule_that_is_gone_is_told_to_have_ended(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with engine(clock, tmp_path / "first", Ops()) as one:
            await watch(clock, one, 40, 5.0)
            after = await killed(clock, tmp_path / "first")
        rules = RULES.replace("rule.Hot", "rule.Warm")
        async with engine(clock, after, ops := Ops(), rules) as two:
            await clock.sleep(1)
            assert ops.told == [("Hot", "resolved")]
            assert [(one.rule, one.reason) for one in ops.transitions if one.before == "firing"][:1] == [
                ("Hot", "rule_removed")
            ]
            assert [state[0] for state in states(two)] == ["Many", "Soon"]

    run_virtual(main)


def test_a_ledger_that_is_gone_is_missed(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        (tmp_path / "s").mkdir()
        last = LifeSign(clock.now_ms() - 1_000, quiet=Quiet(clock.now_ms() - 5_000, clock.now_ms() - 1_000))
        (tmp_path / "s" / LIFE_FILE).write_bytes(msgspec.json.encode(last))
        async with engine(clock, tmp_path / "s", ops := Ops()):
            await clock.sleep(1)
        assert [one.status for one in ops.records if isinstance(one, Health) and one.reason == "state_missing"] == [
            "failed"
        ]

    run_virtual(main)
