"""Which labels a result has from its inputs, and that a series with other labels does not speak for it."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.conditions import split_condition
from engine.core.evaluator import Core
from engine.core.lineage import lineage
from engine.core.promql.query_compile import compile_query
from engine.core.rules import Rule, compile_recording, compile_rule
from engine.events import Sample, SampleBatch, Transition


@pytest.mark.parametrize(
    ("expr", "has", "has_not"),
    [
        ("a", "job x", "__name__"),
        ("rate(a[5m])", "job x", "__name__"),
        ("sum by (job) (a)", "job", "x"),
        ("sum without (x) (a)", "job", "x"),
        ("max by (job) (sum by (job, x) (a))", "job", "x"),
        ("topk by (job) (2, a)", "job x", ""),
        ('count_values("x", a)', "", "job x"),
        ('count_values by (job) ("x", a)', "job", "x"),
        ('label_replace(a, "x", "$1", "job", "(.*)")', "job", "x"),
        ('label_join(a, "x", "-", "job")', "job", "x"),
        ("histogram_quantile(0.9, a)", "job x", "le"),
        ("vector(scalar(a))", "", "job x"),
        ("max_over_time(sum by (job) (a)[5m:1m])", "job", "x"),
        ("-a * 2", "job x", ""),
        ("a / on (job) b", "job", "x"),
        ("a / ignoring (x) b", "job", "x"),
        ("a / on (job) group_left b", "job x", ""),
        ("a / on (job) group_left (x) b", "job", "x"),
        ("a / on (job) group_right (x) b", "job x", "y"),
        ("a / ignoring (x) group_right (x) b", "job x", ""),
        ("a and on (job) b", "job x", ""),
        ("b and on (job) a", "job", "x"),
        ("a or b", "job x", ""),
        ("b or on (job) a", "job x", ""),
    ],
)
def test_labels_that_a_result_has_from_a(expr: str, has: str, has_not: str) -> None:
    plan = compile_query(expr)
    leaf = next(leaf.leaf for leaf in plan.leaves if leaf.metric == "a")
    kept = lineage(plan.root)[leaf]
    assert [name for name in has.split() if not kept.has(name)] == []
    assert [name for name in has_not.split() if kept.has(name)] == []


def play(core: Core, script: list[tuple[int, str, float]], until_s: int) -> list[Transition]:
    made = core.feed([Sample(second * 1_000, series, value, 1_000) for second, series, value in script])
    return made + core.advance(until_s * 1_000)


@pytest.mark.parametrize("expr", ["sum by (job) (errors) > 0", "errors + 0 > 0", "max_over_time(errors[5s]) > 0"])
def test_a_series_without_the_label_does_not_speak_for_one_that_has_it(expr: str) -> None:
    """Of two series of a metric one goes silent. The other one, which lacks the label, says nothing about it."""
    core = Core([compile_rule("R", expr)])
    script = [(0, 'errors{job="a"}', 1.0), *((second, "errors", 0.0) for second in range(1, 20))]
    made = play(core, script, 19)
    assert [(t.kind, t.labels.get("job")) for t in made] == [("firing", "a")]
    assert core.alerts()[0].paused


def test_labels_that_a_recording_rule_sets_are_not_asked_for() -> None:
    core = Core([compile_recording("Of", "r", "sum by (job) (a)", labels={"job": "all"}), compile_rule("R", "r > 0")])
    made = play(core, [(0, 'a{job="x"}', 1.0), (1, 'a{job="x"}', 0.0)], 2)
    assert [t.kind for t in made] == ["firing", "resolved"]
    assert made[-1].reason == "recovered"


# --- against the pointwise judge --------------------------------------------------------------------------------------

METRICS, LABELS = ("a", "b", "c"), ("", '{i="x"}', '{i="y"}')


def expression(rng: random.Random, depth: int) -> str:
    """A pointwise expression, without `or`."""
    kind = rng.random()
    if depth <= 0 or kind < 0.3:
        return rng.choice(METRICS) + rng.choice(("", "", '{i="x"}'))
    left = expression(rng, depth - 1)
    right = rng.choice([expression(rng, depth - 1), str(rng.randrange(4))])
    if kind < 0.5:
        return f"({left} {rng.choice('+-*/%')} {right})"
    if kind < 0.8:
        return f"({left} {rng.choice(['>', '<', '>=', '<=', '==', '!=', '> bool'])} {right})"
    if kind < 0.85:
        return f"-{left}"
    return f"({left} {rng.choice(['and', 'unless'])} {expression(rng, depth - 1)})"


def script_of(rng: random.Random) -> list[Sample | SampleBatch | int]:
    made: list[Sample | SampleBatch | int] = []
    now = 10_000
    for _ in range(rng.randint(1, 14)):
        now += rng.choice([0, 500, 1_000, 4_000])
        interval, cause = rng.choice([500, 1_000, 0]), rng.choice(["ended", "target_down"])
        series = rng.sample([metric + labels for metric in METRICS for labels in LABELS], rng.randint(1, 4))
        values = [rng.choice([0.0, 1.0, 2.0, 3.0, float("nan")]) for _ in series]
        if rng.random() < 0.6:
            made.append(Sample(now, series[0], values[0], interval, cause))
        else:
            made.append(SampleBatch(now, tuple(series), np.array(values), interval, cause))
    return [*made, now + 8_000]


def run(rule: Rule, script: list[Sample | SampleBatch | int]) -> list[tuple[object, ...]]:
    core = Core([rule])
    made: list[Transition] = []
    for step in script:
        made += core.advance(step) if isinstance(step, int) else core.feed([step])
    return sorted((t.time_ms, tuple(sorted(t.labels.items())), t.before, t.after, t.reason) for t in made)


@given(st.integers(0, 2**32), st.sampled_from(["hold", "reset", "count"]), st.sampled_from([0, 1_500]))
def test_a_rule_judged_whole_says_what_it_says_judged_by_label_set(seed: int, on_missing: str, keep_ms: int) -> None:
    """Whatever pointwise expression, with inner comparisons and with label sets that lack a label."""
    rng = random.Random(seed)
    expr, for_ms = expression(rng, rng.randint(1, 3)), rng.choice([0, 1_000, 2_500])
    rule = compile_rule(
        "R",
        expr,
        for_ms=for_ms,
        keep_firing_for_ms=keep_ms,
        on_missing=on_missing,  # type: ignore[arg-type]
        hold_max_ms=3_000,
    )
    plan = compile_query(expr)
    whole = msgspec.structs.replace(rule, plan=plan, measure=split_condition(plan.root)[0])
    script = script_of(rng)
    assert run(whole, script) == run(rule, script)
