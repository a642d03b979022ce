"""The law of blind spans for what looks back: windows hold less after a span, and nothing happens because of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.core import spans
from engine.core.evaluator import Core
from engine.core.groups import GridGroup, GridRule
from engine.core.promql.query_compile import compile_query
from engine.core.rules import compile_recording, compile_rule
from engine.events import Blind, SampleBatch, Transition
from tests.core.test_alert_rows import Rows, stored, write

SECOND = 1_000
HOLDING = [
    "max_over_time(x[10s]) > 5",
    "avg_over_time(x[10s]) > 5",
    "sum(max_over_time(x[10s])) > 5",
    "rate(c[10s]) > 0.5",
    "increase(c[20s]) > 8",
    "count_over_time(x[10s]) > 8",
    "sum by (i) (sum_over_time(x[10s])) > 80",
    "present_over_time(x[10s])",
    "changes(x[10s]) < 1",
    "x offset 10s > 5",
    "max_over_time(x[1m:5s]) > 5",
    "(rate(c[10s]) or vector(0)) > 0.5",
]
SILENT = [
    "absent(x)",
    "absent_over_time(x[10s])",
    "absent_over_time(x[10s]) or absent(x)",
    "time() - timestamp(x) > 5",
    "count_over_time(x[10s]) < 3",
    "rate(c[10s]) < 0.5",
    "changes(c[10s]) < 2",
]
LENGTHS = [7, 8 * 3_600]


def seconds(first: int, end: int, by: int = 0, every: int = 1, x: float = 9.0) -> list[SampleBatch]:
    """A value and a counter of which nothing is lost, once a second; `by` seconds later."""
    return [
        SampleBatch((at + by) * SECOND + 100, ("x", "c"), np.array([x, float(at)]), every * SECOND)
        for at in range(first, end, every)
    ]


def play(core: Core, batches: list[SampleBatch]) -> list[Transition]:
    made = []
    for batch in batches:
        made += core.feed([batch]) + core.advance(batch.time_ms)
    return made


def told(made: list[Transition], by: int = 0) -> list[tuple[float, str, str]]:
    return [(one.time_ms / SECOND - by, one.kind, one.reason) for one in made]


def assert_alike(made: list[tuple[float, str, str]], expected: list[tuple[float, str, str]], by: float) -> None:
    """The same happened, but for a step of time."""
    assert [row[1:] for row in made] == [row[1:] for row in expected]
    assert [row[0] for row in made] == pytest.approx([row[0] for row in expected], abs=by)


def blinded(expr: str, how: str, length: int, *, every: int = 1, **more: Any) -> tuple[Core, list[Transition]]:
    """A core that saw half a minute and then nothing for some seconds from 130 s on, and what it made of that."""

    def make() -> Core:
        return Core([compile_rule("R", expr, **more)])

    core = make()
    play(core, seconds(108, 130, every=every))
    core.advance(130 * SECOND)
    end = (130 + length) * SECOND
    if how == "restart":
        data, core = core.snapshot(), make()
        core.restore(data, end)
        return core, core.advance(end)
    if how in ("rows", "bare"):
        rows: Rows = {}
        write(rows, core)
        core = make()
        core.take_alerts(stored(rows), 130 * SECOND)
        since_ms = min(core.reach(end).values())
        kept = [one for one in seconds(108, 130, every=every) if one.time_ms >= since_ms]
        core.refill(kept if how == "rows" else (), end)
        return core, core.advance(end)
    made = core.feed([Blind(end, 130 * SECOND, end, "*" if how == "blind" else "probe.p", "", ("x", "c"))])
    return core, made + core.advance(end)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("how", ["blind", "scoped", "restart", "rows", "bare"])
@pytest.mark.parametrize("expr", [*HOLDING, *SILENT])
def test_what_was_so_before_a_span_is_so_after_it(expr: str, how: str, length: int) -> None:
    """F79, F92: neither at its end, when no sample has come, nor while windows fill again."""
    length = min(length, 60) if how == "scoped" else length
    on_missing = "fire" if how == "blind" else "reset"
    core, made = blinded(expr, how, length, on_missing=on_missing)
    assert core.alert_counts()["firing"] == (expr in HOLDING)
    made += core.advance((130 + length) * SECOND + 50) + play(core, seconds(130, 152, length))
    assert told(made) == []


@pytest.mark.parametrize("how", ["blind", "scoped", "restart"])
@pytest.mark.parametrize(
    ("expr", "after_s"),
    [("absent_over_time(x[10s])", 10), ("absent_over_time(x[1m])", 60), ("time() - timestamp(x) > 2", 2)],
)
def test_a_silence_that_goes_on_is_told_once_it_was_seen_for_long_enough(expr: str, after_s: int, how: str) -> None:
    core, made = blinded(expr, how, 600)
    assert made == []
    ((at, kind, _),) = told(core.advance(900 * SECOND), 600)
    assert kind == "firing"
    assert at == pytest.approx(129.1 + after_s, abs=1)


@pytest.mark.parametrize("how", ["blind", "scoped", "restart"])
@pytest.mark.parametrize("expr", ["max_over_time(x[10s]) > 5", "max(max_over_time(x[10s])) > 5"])
def test_one_low_value_ends_no_window_that_was_high(expr: str, how: str) -> None:
    """It would not have done so without the span: who looks at a window does so in order not to be told of each."""
    for for_ms, kind in ((0, "resolved"), (60_000, "cleared")):
        core, _ = blinded(expr, how, 60, for_ms=for_ms)
        made = play(core, seconds(130, 131, 60, x=1.0)) + play(core, seconds(131, 133, 60))
        assert made == []
        ((at, *what),) = told(play(core, seconds(133, 150, 60, x=1.0)), 60)
        assert what == [kind, "recovered"]
        assert at == pytest.approx(142.1, abs=1)


@pytest.mark.parametrize("expr", HOLDING)
def test_a_pending_alert_goes_on_counting(expr: str) -> None:
    for how in ("blind", "restart"):
        core, made = blinded(expr, how, 60, for_ms=60_000)
        seeing = Core([compile_rule("R", expr, for_ms=60_000)])
        expected = [one for one in told(play(seeing, seconds(108, 220))) if one[1] == "firing"]
        made += play(core, seconds(130, 220, 60))
        assert_alike(told(made, 60), expected, 1.1)


def test_what_is_recorded_of_a_window_is_no_more_gone_than_the_window() -> None:
    def make() -> Core:
        return Core(
            [
                compile_recording("r", "x:max", "max_over_time(x[10s])"),
                compile_recording("d", "x:dead", "absent_over_time(x[10s])"),
                compile_rule("High", "x:max > 5", on_missing="reset"),
                compile_rule("Dead", "x:dead == 1"),
            ]
        )

    core = make()
    assert [one.rule for one in play(core, seconds(100, 130))] == ["High"]
    made = core.feed([Blind(190 * SECOND, 130 * SECOND, 190 * SECOND)]) + core.advance(190 * SECOND)
    assert made + play(core, seconds(130, 170, 60)) == []


@pytest.mark.parametrize("expr", [*HOLDING[:3], HOLDING[7], *HOLDING[9:11], *SILENT[:4]])
def test_a_span_before_a_silence_might_as_well_not_have_been(expr: str) -> None:
    """Whatever comes of a silence comes as long after a span as it would have come without one."""
    for on_missing in ("hold", "reset", "count", "fire"):
        more: dict[str, Any] = {"on_missing": on_missing}
        seeing, core = (Core([compile_rule("R", expr, **more)]) for _ in range(2))
        for one in (seeing, core):
            play(one, seconds(100, 125))
            one.advance(125 * SECOND)
        assert core.feed([Blind(185 * SECOND, 125 * SECOND, 185 * SECOND)]) + core.advance(185 * SECOND) == []
        made, expected = told(core.advance(285 * SECOND), 60), told(seeing.advance(225 * SECOND))
        assert_alike(made, expected, 6)


# --- groups of rule files -----------------------------------------------------------------------------------------


def group() -> Core:
    alerts = {"High": "x > 5", "Mean": "avg_over_time(x[1m]) > 5", "Of": "doubled > 5", "Gone": "absent(x)"}
    alerts |= {"Silent": "absent_over_time(x[1m])", "NotDoubled": "absent(doubled)", "Sure": "x > 5"}
    rules = [GridRule(kind="record", name="doubled", plan=compile_query("x * 2"))]
    rules += [
        GridRule(kind="alert", name=name, plan=compile_query(expr), for_ms=120_000 * (name == "Sure"))
        for name, expr in alerts.items()
    ]
    return Core([], groups=[GridGroup(name="g", rules=tuple(rules), interval_ms=15_000)])


@pytest.mark.parametrize("first_s", [1, 31])
@pytest.mark.parametrize("length", [40, 600, 8 * 3_600])
@pytest.mark.parametrize("how", ["blind", "restart"])
def test_groups_see_no_span_that_is_longer_than_they_look_back(how: str, length: int, first_s: int) -> None:
    """F92: firing ones stay, pending ones pause, and what is absent for that reason alone is not."""
    core, end = group(), 160 + length
    made = play(core, seconds(100, 160))
    assert sorted(one.rule for one in made if one.kind == "firing") == ["High", "Mean", "Of"]
    core.advance(160 * SECOND)
    if how == "restart":
        data, core = core.snapshot(), group()
        core.restore(data, end * SECOND)
        made = []
    else:
        made = core.feed([Blind(end * SECOND, 160 * SECOND, end * SECOND)])
    made += core.advance((end + first_s) * SECOND) + play(core, seconds(160 + first_s, 330, length))
    anew = ["Sure"] if how == "restart" and length > 3_600 else []
    assert [one.rule for one in made if one.kind == "pending"] == anew
    assert [(one.rule, one.kind) for one in made if one.kind != "pending"] == [("Sure", "firing")]
    seen_s = made[-1].time_ms / SECOND - length - 105
    assert 120 <= seen_s <= (120 + 31 + 15) + (60 if anew else 0)


@pytest.mark.parametrize("how", ["blind", "restart"])
def test_in_groups_a_silence_that_goes_on_is_told_too(how: str) -> None:
    core = group()
    play(core, seconds(100, 160))
    core.advance(160 * SECOND)
    if how == "restart":
        data, core = core.snapshot(), group()
        core.restore(data, 760 * SECOND)
    else:
        core.feed([Blind(760 * SECOND, 160 * SECOND, 760 * SECOND)])
    made = core.advance(1_200 * SECOND)
    at = {(one.rule, one.kind): one.time_ms / SECOND - 600 for one in made}
    assert at["Silent", "firing"] == pytest.approx(159 + 60, abs=20)
    assert at["Gone", "firing"] == pytest.approx(159 + 300, abs=20)
    assert at["High", "resolved"] == pytest.approx(159 + 300, abs=20)


@pytest.mark.parametrize("how", ["rows", "bare"])
@pytest.mark.parametrize("length", [40, 8 * 3_600])
def test_groups_that_are_made_of_rows_say_nothing_that_they_would_not_have_said(how: str, length: int) -> None:
    """With the history of the time before, or with none."""
    core, end = group(), 160 + length
    play(core, seconds(100, 160))
    core.advance(160 * SECOND)
    rows: Rows = {}
    write(rows, core)
    core = group()
    core.take_alerts(stored(rows), 160 * SECOND)
    assert core.reach(end * SECOND)["x"] <= 100 * SECOND, "what was there before nobody looked"
    core.refill(seconds(100, 160) if how == "rows" else (), end * SECOND)
    made = core.advance((end + 1) * SECOND) + play(core, seconds(161, 260, length))
    assert {one.rule for one in made} <= {"Sure"}


def test_without_a_history_a_silence_is_told_once_it_was_seen_for_long_enough() -> None:
    core, made = blinded("absent_over_time(x[10s])", "bare", 600)
    assert made == []
    ((at, kind, _),) = told(core.advance(900 * SECOND), 600)
    assert (kind, at) == ("firing", pytest.approx(140, abs=1))
    core, made = blinded("count_over_time(x[10s]) < 3", "bare", 600)
    made += play(core, seconds(130, 160, 600, every=6))
    ((at, kind, _),) = told(made, 600)
    assert (kind, at) == ("firing", pytest.approx(140, abs=1))


def test_looking_back_leaves_out_what_lies_between() -> None:
    edges = [100, 110, 130, 190]
    assert [spans.back(edges, at) for at in (195, 190, 189, 180, 161, 150, 139)] == [195, 190, 129, 120, 91, 80, 69]
    assert spans.back([], 5) == 5
