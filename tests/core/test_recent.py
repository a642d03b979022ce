"""The live source against samples kept in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.memory import MemorySource
from engine.core.promql.plan import Matcher, Selector
from engine.core.promql.query import evaluate_instant
from engine.core.promql.query_compile import compile_query
from engine.core.promql.vector import Vector
from engine.core.recent import Recent
from engine.events import STALE
from engine.series import SeriesTable, series_text, split_series

SERIES = [series_text(metric, {"i": i}) for metric in ("a", "b") for i in ("x", "y", "z")]
SERIES += [series_text("a", {"i": f"alone {number}"}) for number in range(14)]  # more than get blocks of their own
SPAN_MS = 60_000
SELECTORS = [
    Selector(0, "a"),
    Selector(0, "b", (Matcher("i", "=", "x"),)),
    Selector(0, "", (Matcher("i", "!=", "z"),)),
]


@st.composite
def landings(draw: st.DrawFn) -> list[tuple[int, list[int], list[float]]]:
    """Batches and single samples, now and then one that comes late for the others of its block."""
    made, now, last = [], 1_000_000, dict.fromkeys(range(len(SERIES)), 0)
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([1_000, 5_000, 20_000]))
        at = now - draw(st.sampled_from([0, 0, 0, 500, 7_000]))
        which = draw(st.sampled_from([[0, 1, 2], [0, 1, 2, 3, 4, 5], [3], [1], [0, 4], [5, 2]]))
        if draw(st.booleans()):
            which = [draw(st.integers(6, 19))] if draw(st.integers(0, 3)) else [7, 14, 19, 0]
        which = [series for series in which if last[series] < at]
        if which:
            last.update(dict.fromkeys(which, at))
            made.append((at, which, [draw(st.sampled_from([0.0, 1.0, 2.0, 5.0, STALE])) for _ in which]))
    return made


def shown(vector: Vector) -> list[tuple[str, float]]:
    return sorted((str(sorted(labels.items())), value) for labels, value in vector.items())


@given(landings(), st.data())
def test_it_shows_what_landed(rows: list[tuple[int, list[int], list[float]]], data: st.DataObject) -> None:
    table = SeriesTable(100)
    recent = Recent(table)
    for selector in SELECTORS:
        recent.want(selector, SPAN_MS + 300_000)
    samples: dict[int, list[tuple[int, float]]] = {series: [] for series in range(len(SERIES))}
    for at, which, values in rows:
        recent.land(np.array([table.intern(SERIES[series]) for series in which]), at, np.array(values))
        for series, value in zip(which, values, strict=True):
            samples[series].append((at, value))
        if data.draw(st.integers(0, 3)) == 0:
            recent.horizon_ms = max(recent.horizon_ms, at - data.draw(st.integers(0, 30_000)))
    memory = MemorySource(
        [
            (
                {"__name__": split_series(SERIES[s])[0], **split_series(SERIES[s])[1]},
                [t for t, _ in kept],
                [v for _, v in kept],
            )
            for s, kept in samples.items()
            if kept
        ]
    )
    newest = max((at for at, _, _ in rows), default=1_000_000)
    at_ms = max(recent.horizon_ms, newest - data.draw(st.integers(-400_000, 60_000)))
    for selector in SELECTORS:
        for mine, theirs in zip(recent.instant(selector, at_ms), memory.instant(selector, at_ms), strict=True):
            assert shown(mine) == shown(theirs)
        shape, window = recent.window(selector, at_ms - SPAN_MS, at_ms)
        their_shape, their_window = memory.window(selector, at_ms - SPAN_MS, at_ms)
        for name in ("counts", "sums", "minima", "maxima", "resets_added"):
            if name in ("counts", "sums"):
                left = {str(shape.labels(r)): v for r, v in enumerate(getattr(window, name)().tolist())}
                right = {str(their_shape.labels(r)): v for r, v in enumerate(getattr(their_window, name)().tolist())}
                assert {k: v for k, v in left.items() if v} == {k: v for k, v in right.items() if v}


def test_an_expression_over_what_lands_live() -> None:
    table, plan = SeriesTable(100), compile_query("sum by (i) (rate(a[1m])) > 0.5")
    recent = Recent(table)
    recent.want(Selector(0, "a"), 60_000)
    handles = np.array([table.intern(text) for text in SERIES[:3]])
    for second in range(0, 120, 15):
        recent.horizon_ms = second * 1_000
        recent.land(handles, second * 1_000, np.array([second * 1.0, second * 0.1, second * 2.0]))
    found = evaluate_instant(plan, recent, 105_000)
    assert isinstance(found, Vector)
    assert [(labels, round(value, 6)) for labels, value in found.items()] == [({"i": "x"}, 1.0), ({"i": "z"}, 2.0)]


def test_a_left_closed_range_keeps_the_sample_at_its_very_start() -> None:
    table = SeriesTable(1)
    source = Recent(table, left_open=False)
    handles = np.array([table.intern("a")])
    plan = compile_query("count_over_time(a[10s])", compat="prometheus2")
    source.want(plan.leaves[0], 10_000)
    for second in range(31):
        source.horizon_ms = second * 1_000
        source.land(handles, second * 1_000, np.array([1.0]))
    value = evaluate_instant(plan, source, 30_000)
    assert isinstance(value, Vector)
    assert value.values.tolist() == [11.0]
