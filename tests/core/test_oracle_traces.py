"""The same transitions, at the same milliseconds, as a real Prometheus made of the same samples.

The traces and Prometheus' answers lie beside the checkout, in ../shared/data; without them these tests are skipped.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.notation import parse_labels, parse_values
from engine.core.promql.plan import Compat
from engine.core.promql.query_compile import compile_query
from engine.durations import parse_ms
from engine.events import SampleBatch, Transition
from engine.series import series_text
from engine.templates import compile_template

DATA = Path(__file__).parents[3] / "shared" / "data"
VERSIONS: dict[str, Compat] = {"prometheus-3.5": "prometheus3", "prometheus-2.42": "prometheus2"}
ORACLES = sorted((DATA / "oracle").glob("*.json"))
SCENARIOS = DATA / "oracle-scenarios.json"
Change = tuple[int, str, str]

pytestmark = pytest.mark.skipif(not ORACLES, reason="../shared/data is not beside the checkout")


def group(rule: dict[str, Any], interval: str, compat: Compat) -> GridGroup:
    return GridGroup(
        name="g",
        interval_ms=parse_ms(interval),
        rules=(
            GridRule(
                kind="alert",
                name=rule.get("alert", "R"),
                plan=compile_query(rule["expr"], compat=compat),
                for_ms=parse_ms(rule.get("for") or "0s"),
                keep_firing_for_ms=parse_ms(rule.get("keep_firing_for") or "0s"),
                labels={name: compile_template(text) for name, text in (rule.get("labels") or {}).items()},
            ),
        ),
    )


def play(core: Core, samples: list[tuple[int, str, float]], until_ms: int, step_ms: int) -> list[Transition]:
    """Feed what is there at each instant, in batches of equal time, and advance to it."""
    by_time: dict[int, dict[str, float]] = {}
    for time_ms, series, value in samples:
        by_time.setdefault(time_ms, {})[series] = value
    waiting, made, tuples = sorted(by_time), [], {}
    for now in range(0, until_ms + 1, step_ms):
        while waiting and waiting[0] <= now:
            time_ms = waiting.pop(0)
            names = tuple(by_time[time_ms])
            names = tuples.setdefault(names, names)
            made += core.feed([SampleBatch(time_ms, names, np.array(list(by_time[time_ms].values())), 0)])
        made += core.advance(now)
    return made


def changes(transitions: list[Transition]) -> list[Change]:
    """(time, labels without the name, state)."""
    return sorted(
        (t.time_ms, json.dumps({k: v for k, v in t.labels.items() if k != "alertname"}, sort_keys=True), t.after)
        for t in transitions
    )


def trace(case: dict[str, Any]) -> list[tuple[int, str, float]]:
    samples = []
    with gzip.open(DATA / "traces" / case["trace"], "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            series = json.loads(line)
            labels = dict(series["labels"])
            if case["select"] and not selected(case["select"], labels):
                continue
            text = series_text(labels.pop("__name__"), labels)
            head = case["head_seconds"]
            samples += [(round(t * 1000), text, float(v)) for t, v in series["points"] if head is None or t <= head]
    return samples


def selected(select: Any, labels: dict[str, str]) -> bool:
    if isinstance(select, dict):
        return all(
            labels.get(name) in (value if isinstance(value, list) else [value]) for name, value in select.items()
        )
    return labels["__name__"] in select


@pytest.mark.slow
@pytest.mark.parametrize("path", ORACLES, ids=[path.stem for path in ORACLES])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_trace(path: Path, version: str) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    expected = case["expected"].get(version) or case["expected"].get("both")
    if expected is None:
        pytest.skip(f"no answer of {version}")
    compat = VERSIONS[version]
    core = Core([], groups=[group(case["rule"], case["interval"], compat)], compat=compat)
    made = play(core, trace(case), round(case["until"] * 1000), parse_ms(case["interval"]))
    assert changes(made) == sorted(
        (round(t * 1000), json.dumps(labels, sort_keys=True), state) for t, labels, state in expected
    )


EXECUTABLE = json.loads(SCENARIOS.read_text(encoding="utf-8"))["executable"] if SCENARIOS.exists() else []


@pytest.mark.parametrize("scenario", EXECUTABLE, ids=[scenario["name"] for scenario in EXECUTABLE])
def test_a_scenario(scenario: dict[str, Any]) -> None:
    step_ms, interval_ms = parse_ms(scenario["step"]), parse_ms(scenario["interval"])
    samples = []
    for text, values in scenario["series"]:
        labels = parse_labels(text)
        series = series_text(labels.pop("__name__"), labels)
        samples += [(i * step_ms, series, v) for i, v in enumerate(parse_values(values)) if v is not None]
    core = Core([], groups=[group(scenario["rule"], scenario["interval"], "prometheus3")])
    if scenario["expect"] is None:
        expected = scenario["transitions"]["3.5"]
        until_ms = round(expected[-1][0] * 1000) + 10 * interval_ms
        made = play(core, samples, until_ms, interval_ms)
        assert changes(made) == sorted((round(t * 1000), json.dumps(ls, sort_keys=True), s) for t, ls, s in expected)
        return
    made = play(core, samples, scenario["expect"][-1][0] * 1000, interval_ms)
    states: dict[str, str] = {}
    for at_s, expected in scenario["expect"]:
        for transition in [t for t in made if t.time_ms <= at_s * 1000]:
            labels = json.dumps({k: v for k, v in transition.labels.items() if k != "alertname"}, sort_keys=True)
            states[labels] = transition.after
        active = {labels: state for labels, state in states.items() if state != "inactive"}
        assert active == {json.dumps(json.loads(k), sort_keys=True): v for k, v in expected.items()}, at_s
