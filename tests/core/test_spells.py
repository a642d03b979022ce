"""Plain rules in closed form come to what the steps of every other rule come to, and rules of one shape to what each
comes to alone."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.evaluator import Core
from engine.core.kin import Kin
from engine.core.names import key_of
from engine.core.rules import LevelTerms, Rule, compile_rule
from engine.events import STALE, Event, Sample, SampleBatch, Transition

START = 1_700_000_000_000
SERIES = tuple(f'{metric}{{i="{at}"}}' for metric in ("a", "b", "c") for at in range(6))
RULES = [
    compile_rule("A", "a > 80", for_ms=2_500),
    compile_rule("B", "b > 60", for_ms=2_500, labels={"team": "x"}),
    compile_rule("Now", "a >= 70"),
    compile_rule("Reset", "c < 20", for_ms=4_000, on_missing="reset"),
    compile_rule("Ratio", "a / b > 1.2", for_ms=1_000),
    compile_rule("One", "c", levels=(LevelTerms(severity="page", when="> 50", for_ms=3_000),)),
]


def events_of(seed: int) -> list[list[Event]]:
    """Drains of single samples and batches: noisy, with gaps, stale markers and samples that come late."""
    rng = np.random.default_rng(seed)
    drains: list[list[Event]] = []
    now = START
    for _ in range(12):
        drain: list[Event] = []
        for _ in range(int(rng.integers(1, 5))):
            now += int(rng.integers(1, 3)) * 500
            values = rng.uniform(0, 100, len(SERIES))
            values[rng.random(len(SERIES)) < 0.05] = STALE
            cause = "ended" if rng.random() < 0.5 else "target_down"
            if rng.random() < 0.3:
                drain.append(SampleBatch(now, SERIES, values, 1_000, cause))
                continue
            for text, value in zip(SERIES, values.tolist(), strict=True):
                if rng.random() < 0.8:
                    drain.append(Sample(now - int(rng.random() < 0.1) * 700, text, value, 1_000, cause))
        drains.append(drain)
    return drains


def played(core: Core, drains: list[list[Event]]) -> list[Transition]:
    made: list[Transition] = []
    for drain in drains:
        made += core.feed(drain)
        last = drain[-1]
        made += core.advance(last.time_ms - 300)
    return made + core.advance(START + 60_000)


def without_spells(rules: list[Rule]) -> Core:
    """A core that takes every step one by one."""
    core = Core(rules)
    core._parts.book.plain[:] = False
    for kin in core._parts.kins:
        kin.plain = False
    return core


def kept(core: Core) -> dict[str, Any]:
    """All that a snapshot has. In which order alerts first changed within a run is not the same."""
    envelope = msgspec.msgpack.decode(core.snapshot())
    body: dict[str, Any] = msgspec.msgpack.decode(envelope["body"])
    for rule in body["rules"].values():
        rule["alerts"]["flaps"]["rings"].sort()
    return body


@pytest.mark.parametrize("seed", range(12))
def test_spells_come_to_what_steps_come_to(seed: int) -> None:
    drains = events_of(seed)
    core, stepped = Core(RULES), without_spells(RULES)
    made = played(core, drains)
    assert len(made) > 100
    assert repr(made) == repr(played(stepped, drains))
    assert repr(core.alerts()) == repr(stepped.alerts())
    assert repr(kept(core)) == repr(kept(stepped))  # NaN is among the values


@pytest.mark.parametrize("seed", range(4))
def test_rules_of_one_shape_come_to_what_each_comes_to_alone(seed: int) -> None:
    drains = events_of(seed)
    alone = [repr(one) for rule in RULES for one in played(Core([rule]), drains)]
    assert sorted(repr(one) for one in played(Core(RULES), drains)) == sorted(alone)


def test_what_differs_in_metric_and_threshold_is_of_one_shape() -> None:
    shapes: list[tuple[Kin, list[str]]] = [
        (kin, [judge.rule.name for judge in kin.judges]) for kin in Core(RULES)._parts.kins
    ]
    assert [names for _, names in shapes] == [["A", "B", "One"], ["Now"], ["Reset"], ["Ratio"]]
    assert all(kin.plain for kin, _ in shapes)


def test_what_is_of_absence_is_judged_alone() -> None:
    rules = [
        compile_rule("Or", "a or b"),
        compile_rule("Fire", "a > 80", on_missing="fire", missing_for_ms=1_000),
        compile_rule("Both", "a > 1 and b > 1"),
    ]
    assert Core(rules)._parts.kins == []


label_sets = st.lists(st.dictionaries(st.sampled_from(["a", "ab", "b"]), st.text("a\0\x01~", max_size=3)), max_size=6)


@given(label_sets)
def test_the_text_of_a_label_set_orders_as_its_pairs_do(found: list[dict[str, str]]) -> None:
    clean = [labels for labels in found if "\0" not in "".join(labels.values())]
    assert sorted(clean, key=key_of) == sorted(clean, key=lambda labels: sorted(labels.items()))
    assert len({key_of(labels) for labels in found}) == len({tuple(sorted(labels.items())) for labels in found})
