"""An engine that begins knows the past from its history, and begins all the same if it can't."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Health, Sample
from engine.config import load_text
from engine.errors import SinkError
from engine.ports import History, SeriesSamples
from engine.runtime import past
from engine.runtime.past import PAST_S_MAX
from engine.testing import START_MS, FunctionProbe, RecordingSink, VirtualClock, run_virtual

RULES = """
[rule.Many]
expr = "count_over_time(x[1h]) >= 4"
"""
HOUR_MS = 3_600_000


class Kept(RecordingSink, History):
    """A sink that has kept a sample of `x` each minute, until a minute ago."""

    def __init__(self, asked: Callable[[], None] = lambda: None, *, opens: bool = True) -> None:
        super().__init__()
        self.asked = asked
        self.opens = opens
        self.spans: list[tuple[int, int]] = []

    async def open(self) -> None:
        if not self.opens:
            raise SinkError("cant_open", "no such disk", retryable=True)

    async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
        self.spans.append((start_ms, end_ms))
        self.asked()
        times = np.arange(START_MS - HOUR_MS, START_MS - 30_000, 60_000)
        times = times[(times >= start_ms) & (times < end_ms)]
        return [SeriesSamples("x", times, np.ones(len(times)))]

    async def metrics(self) -> list[str]:
        return ["x"]


def watched(sink: RecordingSink, *, config: str = RULES, seconds: float = 20) -> Engine:
    """An engine for some seconds, with a probe that measures `x` every ten."""

    async def main(clock: VirtualClock) -> Engine:
        engine = Engine(load_text(config), clock=clock, sinks={"kept": sink})
        engine.add_probe("p", FunctionProbe(lambda: [Sample(clock.now_ms(), "x", 1.0, 10_000)]), "10s")
        async with engine:
            await clock.sleep(seconds)
        return engine

    return run_virtual(main)


def complaints(sink: RecordingSink) -> list[tuple[str, str]]:
    return [(e.reason, e.message) for e in sink.records if isinstance(e, Health) and "windows" in e.message]


def test_a_window_is_known_with_the_first_sample(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "engine.runtime.past")
    sink = Kept()
    engine = watched(sink)
    assert [(one.rule, one.kind) for one in sink.transitions] == [("Many", "firing")]
    assert sink.transitions[0].value == 60.0
    assert START_MS <= sink.transitions[0].time_ms < START_MS + 10_000
    assert engine.status().counters["longwatch_samples_refilled_total"] == 60
    assert (min(start for start, _ in sink.spans), max(end for _, end in sink.spans)) == (
        START_MS - HOUR_MS - 300_000,
        START_MS,
    )
    assert not complaints(sink)
    assert caplog.messages == ["windows refilled from the history: 60 samples, the oldest of 1h ago"]


def test_without_windows_nothing_is_asked_and_it_can_be_left_out() -> None:
    for config in ('[rule.R]\nexpr = "x > 5"\n', RULES + "[engine]\nrefill_samples_max = 0\n"):
        sink = Kept()
        watched(sink, config=config)
        assert not sink.spans
        assert not sink.transitions


def test_of_a_long_history_the_newest_part_is_taken_and_that_is_told() -> None:
    sink = Kept()
    engine = watched(sink, config=RULES + "[engine]\nrefill_samples_max = 20\n")
    assert engine.status().counters["longwatch_samples_refilled_total"] == 15
    ((reason, message),) = complaints(sink)
    assert reason == "refill_cut"
    assert message.startswith("windows know the last 15 min of the history: there are more than 20 samples")


def raises() -> None:
    raise SinkError("corrupt", "history.db: it is damaged", retryable=True)


def is_wrong() -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(("asked", "reason"), [(raises, "corrupt"), (is_wrong, "raised")])
def test_a_history_that_fails_costs_the_past_and_nothing_else(asked: Callable[[], None], reason: str) -> None:
    sink = Kept(asked)
    engine = watched(sink, seconds=45)
    assert [why for why, _ in complaints(sink)] == [reason]
    assert [one.kind for one in sink.transitions] == ["firing"]  # from the fourth sample on
    assert sink.transitions[0].time_ms >= START_MS + 30_000
    assert engine.status().counters["longwatch_samples_refilled_total"] == 0


def test_one_that_does_not_open_is_waited_for_only_so_long_and_nothing_measured_is_lost() -> None:
    sink = Kept(opens=False)
    engine = watched(sink, seconds=45)
    counters = engine.status().counters
    assert counters["longwatch_samples_refilled_total"] == 0
    assert counters["longwatch_transitions_total"] == 1
    assert not sink.spans


def test_one_that_hangs_is_given_up() -> None:
    class Hangs(Kept):
        async def raw_samples(self, metrics: Sequence[str], start_ms: int, end_ms: int) -> list[SeriesSamples]:
            await asyncio.Event().wait()
            return []

    sink = Hangs()
    engine = watched(sink, seconds=45)
    assert [why for why, _ in complaints(sink)] == ["timeout"]
    assert f"{PAST_S_MAX:g} s" in complaints(sink)[0][1]
    assert engine.status().counters["longwatch_transitions_total"] == 1


async def run_once(folder: Path, values: Sequence[tuple[int, float]]) -> Any:
    """A real engine over a real file, in real time: it is given samples, and stops."""
    text = f'[engine]\nstate_dir = "{folder}"\n[sink.history]\ntype = "sqlite"\n{RULES}'
    told = RecordingSink()
    engine = Engine(load_text(text), sinks={"told": told})
    async with engine:
        for ago_ms, value in values:
            assert engine.emit(Sample(engine.now_ms() - ago_ms, "x", value, 1_000))
    return engine, told


@pytest.mark.parametrize("at_once", [1, 5_000])
async def test_the_next_run_goes_on_with_the_windows_of_the_last(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "SAMPLES_PER_TURN", at_once)
    _, told = await run_once(tmp_path, [(3_000, 1.0), (2_000, 1.0), (1_000, 1.0)])
    assert not told.transitions
    engine, told = await run_once(tmp_path, [(0, 1.0)])
    assert engine.status().counters["longwatch_samples_refilled_total"] == 3
    assert [(one.rule, one.kind, one.value) for one in told.transitions] == [("Many", "firing", 4.0)]
