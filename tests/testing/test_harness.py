"""`replay`, and with it the story every reader knows: 24 hours, one breach, told at the exact instant."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.config import load_text
from engine.core.rules import compile_rule
from engine.errors import ConfigError
from engine.events import Event, Sample, SampleBatch, Transition
from engine.runtime.assembly import compile_rules
from engine.testing import START_MS, replay

CONFIG = """
[rule.HighCpu]
expr = "host_cpu_percent > 60"
for = "5m"
labels = { severity = "critical" }
annotations = { summary = "CPU at {{ $value }} %" }
"""
STEP_MS = 15_000
DAY = range(START_MS, START_MS + 86_400_000, STEP_MS)
BREACH_MS = START_MS + 6 * 3_600_000
CALM_MS = BREACH_MS + 600_000
HOSTS = ("a", "b", "c")
SERIES = tuple(f'host_cpu_percent{{host="{host}"}}' for host in HOSTS)


def cpu(time_ms: int, host: int) -> float:
    """Host b is busy for ten minutes; all of them cross the line now and then, for less than five."""
    if host == 1 and BREACH_MS <= time_ms < CALM_MS:
        return 95.0
    return 80.0 if (time_ms // STEP_MS + host * 7) % 100 < 3 else 20.0


def singles() -> list[Event]:
    return [Sample(t, SERIES[host], cpu(t, host), STEP_MS) for t in DAY for host in range(len(HOSTS))]


def batches() -> list[Event]:
    hosts = range(len(HOSTS))
    return [SampleBatch(t, SERIES, np.array([cpu(t, host) for host in hosts]), STEP_MS) for t in DAY]


def test_refused_samples_are_an_error_that_names_them() -> None:
    """A misspelt series or seconds in the wrong order would else be a test that proves nothing."""
    events: list[Event] = [
        Sample(START_MS, "x", 1.0),
        Sample(START_MS, "x", 2.0),
        Sample(START_MS + 1, 'y{b="1",a="2"}', 1.0),
        SampleBatch(START_MS + 2, ("z", "x{"), np.zeros(2)),
    ]
    with pytest.raises(ValueError, match="samples were refused") as caught:
        replay("[rule.R]\nexpr = 'x > 0'\n", events)
    message = str(caught.value)
    assert "1 old (not newer than the last of its series)" in message
    assert f"first: x at {START_MS} ms" in message
    assert "x{ at" in message
    assert [t.kind for t in replay("[rule.R]\nexpr = 'x > 0'\n", events, strict=False)] == ["firing"]


def mixed() -> list[Event]:
    """Each scrape whole, in two parts, or as single samples, at random."""
    rng, made = random.Random(7), []
    for whole, t in zip(batches(), DAY, strict=True):
        assert isinstance(whole, SampleBatch)
        cut = rng.randrange(len(HOSTS))
        if rng.random() < 0.3:
            made += [Sample(t, s, v, STEP_MS) for s, v in zip(whole.series, whole.values.tolist(), strict=True)]
        elif cut:
            made.append(SampleBatch(t, SERIES[:cut], whole.values[:cut], STEP_MS))
            made.append(SampleBatch(t, SERIES[cut:], whole.values[cut:], STEP_MS))
        else:
            made.append(whole)
    return made


def told(transitions: list[Transition]) -> list[tuple[int, str, str, str]]:
    return sorted((t.time_ms, t.labels["host"], t.kind, t.reason) for t in transitions)


@pytest.mark.parametrize("events", [singles, batches, mixed])
def test_a_day_is_told_the_same_however_it_is_fed(events) -> None:  # type: ignore[no-untyped-def]
    transitions = replay(CONFIG, events())
    assert [entry for entry in told(transitions) if entry[2] in ("firing", "resolved")] == [
        (BREACH_MS + 300_000, "b", "firing", "held"),
        (CALM_MS, "b", "resolved", "recovered"),
    ]
    assert told(transitions) == told(replay(CONFIG, batches()))
    firing = next(t for t in transitions if t.kind == "firing")
    assert firing.active_since_ms == BREACH_MS
    assert firing.value == 95.0
    assert firing.annotations == {"summary": "CPU at 95 %"}
    assert firing.labels == {"alertname": "HighCpu", "host": "b", "severity": "critical"}


def test_transitions_come_out_in_order_of_time() -> None:
    times = [transition.time_ms for transition in replay(CONFIG, singles())]
    assert len(times) > 100
    assert times == sorted(times)


def test_time_goes_on_after_the_last_event_if_asked() -> None:
    breach = [Sample(START_MS, "host_cpu_percent", 95.0)]
    assert [t.kind for t in replay(CONFIG, breach)] == ["pending"]
    later = replay(CONFIG, breach, until_ms=START_MS + 300_000)
    assert [(t.kind, t.time_ms - START_MS) for t in later] == [("pending", 0), ("firing", 300_000)]


def test_a_loaded_configuration_and_compiled_rules_will_do() -> None:
    config = load_text(CONFIG)
    assert told(replay(config, batches())) == told(replay(compile_rules(config), batches()))


def test_a_bad_configuration_names_its_problem() -> None:
    with pytest.raises(ConfigError, match=r"rule\.X\.expr: function histogram_count\(\) is not supported"):
        replay('[rule.X]\nexpr = "histogram_count(a) > 1"', [])


def test_no_events_no_transitions() -> None:
    assert replay([compile_rule("R", "a > 1")], []) == []


def test_rules_may_look_back() -> None:
    """Any PromQL, in the same words: a rate, an average, an aggregation."""
    config = """
[rule.Errors]
expr = "sum by (job) (rate(errors_total[1m])) > 1"
for = "30s"
"""
    counts = [
        Sample(START_MS + s * 1_000, f'errors_total{{job="a",i="{i}"}}', float(max(0, s - 100) * 2), 10_000)
        for s in range(0, 400, 10)
        for i in ("x", "y")
    ]
    told_ = [(t.kind, (t.time_ms - START_MS) / 1_000) for t in replay(config, counts)]
    # Two counters of 2/s: the rate over a minute passes 1/s within it, and stays.
    assert [kind for kind, _ in told_] == ["pending", "firing"]
    assert told_[1][1] - told_[0][1] == 30
    assert 110 <= told_[0][1] <= 160
