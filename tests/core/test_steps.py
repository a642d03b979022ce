"""F80: between two yields the core does a bounded amount of work, however many rules and series meet.

What is counted is work, not time: calls, and how much goes through each of the seams at which slices are cut.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import ages, alert_rows, columns, inputs, kin, names, notices, outputs, resolved, touching
from engine.core.alert_rows import Rows
from engine.core.columns import Column
from engine.core.evaluator import Core
from engine.core.inputs import Inputs
from engine.core.judge import Judge
from engine.core.notices import Output
from engine.core.outputs import in_order
from engine.core.plain_rows import PlainRows
from engine.core.rules import Rule, compile_rule
from engine.events import Event, Sample, SampleBatch, Transition

T0 = 1_700_000_000_000
CALLS_MAX = 25_000


def rules_of(number: int, *, joins: bool = False) -> list[Rule]:
    limits = np.linspace(20, 99, number).tolist()
    plain = [compile_rule(f"Plain{at}", f"a > {limit:.3f}", for_ms=2_000) for at, limit in enumerate(limits)]
    if not joins:
        return plain
    kept = [
        compile_rule(f"Kept{at}", f"b > {limit:.3f}", keep_firing_for_ms=1_000 * (at % 3))
        for at, limit in enumerate(limits)
    ]
    joined = [compile_rule(f"Join{at}", f"a / b > {limit / 40:.3f}") for at, limit in enumerate(limits)]
    alone = [compile_rule(f"Alone{at}", f"a > {limit:.3f} unless b > 90") for at, limit in enumerate(limits[::4])]
    return [*plain, *kept, *joined, *alone]


def scrapes(series: tuple[str, ...], number: int, *, every_ms: int = 1_000) -> list[SampleBatch]:
    rng = np.random.default_rng(7)
    return [SampleBatch(T0 + at * every_ms, series, rng.uniform(0, 100, len(series)), 1_000) for at in range(number)]


class Work:
    """Counts, of each step, calls and what goes through seams."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.most: Counter[str] = Counter()
        self.all: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._calls = 0
        self._watch(patch, kin.Kin, "part", lambda _, places, *rest: len(places))
        self._watch(patch, kin.Kin, "after", lambda _, part, *rest: len(part.places))
        self._watch(patch, PlainRows, "begin", lambda _, places, *rest: len(places))
        self._watch(patch, notices.Notices, "outputs", lambda _, book, told: len(told.places))
        self._watch(patch, resolved.Resolved, "note", lambda _, made: len(made))
        self._watch(patch, Judge, "add_series", lambda _, series: len(series))
        self._watch(patch, Judge, "stale_until", lambda _, until_ms, among: len(among))
        self._watch(patch, ages.Ages, "_stale_ms", lambda _, places, *rest: len(places))
        self._watch(patch, Column, "resize", lambda column, size: size - len(column))
        self._watch(patch, Inputs, "of", lambda own, handles: int(own._counts.array[handles].sum()))

    def _watch(self, patch: pytest.MonkeyPatch, owner: type, name: str, size: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def counting(*args: Any) -> Any:
            self._now[name] += size(*args)
            return real(*args)

        patch.setattr(owner, name, counting)

    def drive(self, steps: Generator[None, None, list[Transition]]) -> list[Transition]:
        """Go through steps, counting."""
        while True:
            self._now.clear()
            self._calls = 0
            sys.setprofile(self._called)
            try:
                next(steps)
            except StopIteration as end:
                made: list[Transition] = end.value
                return made
            finally:
                sys.setprofile(None)
                self._now["calls"] = self._calls
                self.all += self._now
                self.most |= self._now

    def _called(self, _frame: object, event: str, _arg: object) -> None:
        self._calls += event in ("call", "c_call")


def test_no_step_grows_with_the_rules_and_series_that_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """F80: rules and series meet in forty thousand label sets, which all change at once."""
    series = tuple(f'a{{i="{at:03}"}}' for at in range(140))
    core, work, pairs = Core(rules_of(300)), Work(monkeypatch), 300 * 140
    high, low = np.full(140, 99.5), np.zeros(140)
    made = []
    for at, values in enumerate((high, high, high, low)):
        now_ms = T0 + 1_000 * at
        made += work.drive(core.feeding([SampleBatch(now_ms, series, values, 1_000)]))
        made += work.drive(core.advancing(now_ms))
    made += work.drive(core.feeding([SampleBatch(T0 + 10_000, series, high, 1_000)]))
    made += work.drive(core.advancing(T0 + 60_000))  # where all of them go stale
    made += work.drive(core.advancing(T0 + 60_000 + 20 * 60_000))  # where what was resolved is forgotten
    assert Counter(change.kind for change in made) == {
        "pending": 2 * pairs,
        "firing": 2 * pairs,
        "resolved": pairs,
    }
    assert {name: count >= pairs for name, count in work.all.items()} == dict.fromkeys(work.all, True)
    bounds = {
        "part": touching.PLACES_PER_PART,
        "after": touching.PLACES_PER_PART,
        "begin": 512,
        "outputs": 1_024,
        "note": outputs.OUTPUTS_PER_STEP,
        "add_series": 1_000,
        "stale_until": 1_000,
        "_stale_ms": 2 * ages.ROWS_PER_STEP,
        "resize": columns.POSITIONS_PER_STEP,
        "of": touching.PAIRS_PER_STEP,
        "calls": CALLS_MAX,
    }
    assert {name: count for name, count in work.most.items() if count > bounds[name]} == {}


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices so small that small worlds are cut."""
    for module, name, size in (
        (columns, "POSITIONS_PER_STEP", 7),
        (touching, "PAIRS_PER_STEP", 11),
        (inputs, "PARTS_PER_STEP", 1),
        (outputs, "OUTPUTS_PER_STEP", 5),
        (outputs, "_MOVED_PER_STEP", 3),
        (ages, "ROWS_PER_STEP", 13),
        (alert_rows, "_ROWS_PER_STEP", 17),
        (touching, "JUDGES_PER_STEP", 1),
        (names, "NAMED_MAX", 19),
        (resolved, "FORGOTTEN_PER_STEP", 2),
    ):
        monkeypatch.setattr(module, name, size)


def told(events: Sequence[Event]) -> list[Transition]:
    core = Core(rules_of(12, joins=True))
    made = []
    for event in events:
        made += core.feed([event])
        made += core.advance(event.time_ms - 300)
    return made + core.advance(T0 + 10_000_000)


def world() -> list[Event]:
    series = tuple(f'{metric}{{i="{at}"}}' for metric in "ab" for at in range(20))
    events: list[Event] = [*scrapes(series, 6), *scrapes(series[10:35], 3, every_ms=40_000)[1:]]
    rng = np.random.default_rng(3)
    times = sorted(rng.integers(T0, T0 + 90_000, 60).tolist())
    events += [Sample(at, series[int(rng.integers(40))], float(rng.uniform(0, 100)), 1_000) for at in times]
    return sorted(events, key=lambda event: event.time_ms)


def exhausted(steps: Generator[None, None, list[Output]]) -> list[Output]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: list[Output] = end.value
            return made


EXPECTED = told(world())


@pytest.mark.usefixtures("small_slices")
def test_how_slices_are_cut_changes_nothing() -> None:
    assert len(EXPECTED) > 2_000
    assert list(map(repr, told(world()))) == list(map(repr, EXPECTED))  # a value may be NaN


@pytest.mark.usefixtures("small_slices")
@pytest.mark.filterwarnings("ignore")
def test_outputs_in_order_are_what_sorting_gives() -> None:
    change = Transition(0, "R", {}, "inactive", "pending", "condition", 1.0, 0)

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from("abc")), max_size=80))
    def check(drawn: list[tuple[int, int, str]]) -> None:
        made: list[Output] = [(0, time, rule, key, at, change) for at, (time, rule, key) in enumerate(drawn)]
        expected, steps = sorted(made), in_order(made)
        assert exhausted(steps) == expected

    check()


@given(st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), max_size=8), max_size=5))
def test_what_series_feed_stands_in_the_order_of_rules(drawn: list[list[tuple[int, int]]]) -> None:
    """Of each series, what it feeds by one rule after the other, whatever comes in between."""
    own = Inputs(2)
    everything, first_place = [], 0
    parts = []
    for rule, pairs in enumerate(drawn):
        rows = [(handle, leaf, first_place + at) for at, (handle, leaf) in enumerate(pairs)]
        first_place += len(rows)
        everything += rows
        columns_ = np.array(rows, dtype=np.int64).reshape(-1, 3)
        own.grow(columns_[:, 2], rule)
        parts.append((columns_[:, 0], columns_[:, 1], columns_[:, 2]))
    for _ in own.adding(7, parts):
        pass
    for handle in range(7):
        found = own.of(np.array([handle]))
        mine = [(leaf, place) for one, leaf, place in everything if one == handle]
        assert list(zip(found.leaves.tolist(), found.places.tolist(), strict=True)) == mine


def test_rows_that_grow_in_steps_are_those_that_grow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_rows, "_ROWS_PER_STEP", 32)
    at_once, in_steps = Rows(2), Rows(2)
    for number in (10, 60, 100, 3):
        places = np.arange(number)
        for _ in in_steps.growing(number):
            pass
        taken = at_once.take(places, 1, 5), in_steps.take(places, 1, 5)
        assert taken[0].tolist() == taken[1].tolist()
        for rows in (at_once, in_steps):
            rows.give_back(taken[0][::3])
    assert len(at_once) == len(in_steps)
    for name in ("place", "rule", "due", "phase", "set"):
        assert getattr(at_once, name).tolist() == getattr(in_steps, name).tolist()
    assert in_steps.run.tolist() == at_once.run.tolist()


def test_a_column_that_grows_in_steps_holds_what_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "POSITIONS_PER_STEP", 10)
    column: Column[np.int64] = Column(np.int64, -1)
    column.extend(np.arange(45))
    steps = sum(1 for _ in column.growing(200))
    assert (len(column), steps, column.array.tolist()) == (45, 5 + 16, list(range(45)))
    steps = sum(1 for _ in column.lengthening(70))
    assert (len(column), steps) == (70, 3)
    assert column.array.tolist() == [*range(45), *[-1] * 25]
