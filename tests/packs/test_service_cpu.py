"""HighCpu reads the average of a minute: the same load fires at the same time however often it is measured."""

from __future__ import annotations

import random

import pytest

from tests.packs.service import batch, core_of, pack, play, told

BUSY_S = 300


def load(seed: int, busy: float) -> list[float]:
    """Each second's load: calm, and from BUSY_S on busy, but with a second of rest every so often."""
    rng = random.Random(seed)
    calm = [min(100.0, max(0.0, rng.gauss(40, 25))) for _ in range(BUSY_S)]
    return calm + [rng.uniform(30, 80) if rng.random() < 0.04 else min(100.0, rng.gauss(busy, 3)) for _ in range(900)]


def fired_s(load_of: list[float], every_s: int, rules: str = "") -> dict[str, float]:
    """When each rule fires over the load as the `host` probe has it: busy since the measurement before."""
    core = core_of(pack(rules=rules))
    events = [
        batch(at_s, {"host_cpu_percent": sum(load_of[at_s - every_s : at_s]) / every_s}, every_s)
        for at_s in range(every_s, len(load_of) + 1, every_s)
    ]
    return {rule: at_s for at_s, rule, kind in told(play(core, events)) if kind == "firing"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("busy", "line", "for_s", "rule"), [(98, 90, 300, "HighCpu critical"), (86, 80, 600, "HighCpu warning")]
)
def test_measured_each_second_and_each_fifteen(seed: int, busy: float, line: int, for_s: int, rule: str) -> None:
    raw = f'[rule.Raw]\nexpr = "host_cpu_percent > {line}"\nfor = "{for_s}s"\n'
    series = load(seed, busy)
    each_second, each_fifteen = fired_s(series, 1, raw), fired_s(series, 15)
    assert "Raw" not in each_second, "the noise is meant to keep single seconds from staying over the line"
    assert list(each_second) == list(each_fifteen) == [rule]
    assert BUSY_S + for_s < each_second[rule] <= BUSY_S + for_s + 120
    assert abs(each_second[rule] - each_fifteen[rule]) <= 60


def test_a_minute_of_rest_breaks_it() -> None:
    series = [97.0] * 290 + [20.0] * 60 + [97.0] * 290
    assert fired_s(series, 1) == fired_s(series, 15) == {}
