"""The benchmark of the hot loop: its workload, that all contestants agree, and its arithmetic. No speed is asserted."""

import math
from collections.abc import Iterator

import pytest

from benchmarks.evaluator import versions
from benchmarks.hotloop import breadth, contest, expressions, parts
from benchmarks.hotloop.contest import Heat, NotEqual, compete, contest_rows, installed
from benchmarks.hotloop.contestants import BYTEWAX, CONTESTANTS, LOOP, named
from benchmarks.hotloop.entry import Change
from benchmarks.hotloop.heat import entry_of
from benchmarks.hotloop.saving import saving_rows
from benchmarks.hotloop.timing import ratios_to_first
from benchmarks.hotloop.workload import FOR_MS, KINDS, THRESHOLD, Step, Workload, digest, make

HERE = [contestant.name for contestant in CONTESTANTS if not contestant.package]


def by_definition(workload: Workload) -> Iterator[Change]:
    """Every transition, from the definition: series by series, over the whole of its history."""
    for column, series in enumerate(workload.series):
        rule, since, fired = workload.rule_of[series], -1, False
        for row, time_ms in enumerate(workload.times_ms.tolist()):
            over = bool(workload.values[row, column] > THRESHOLD)
            if over and since < 0:
                since, fired = time_ms, False
                yield time_ms, rule, series, "inactive", "pending"
            elif over and not fired and time_ms - since >= FOR_MS:
                fired = True
                yield time_ms, rule, series, "pending", "firing"
            elif not over and since >= 0:
                since = -1
                yield time_ms, rule, series, "firing" if fired else "pending", "inactive"


def digest_of(name: str, workload: Workload) -> str:
    entry = entry_of(name, workload)
    return digest(Step(*change) for change in entry.changes(entry.work()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HERE)
def test_who_needs_nothing_installed_makes_every_transition_and_no_other(kind: str, name: str) -> None:
    workload = make(kind, instants=40, series=100)
    assert digest_of(name, workload) == digest(Step(*change) for change in by_definition(workload))


def test_the_workload_is_the_same_every_time_and_as_described() -> None:
    first, second = make("steady"), make("steady")
    assert (first.values == second.values).all()
    assert first.samples == 1_000_000
    assert len(first.series) == 1_000
    assert len(first.rules) == len(set(first.expressions.values())) == 10
    assert 55_000 < first.changes < 65_000
    assert 475_000 < make("noisy").changes < 485_000
    kinds = {(before, after) for *_, before, after in by_definition(make("steady", instants=40, series=100))}
    assert kinds == {("inactive", "pending"), ("pending", "firing"), ("pending", "inactive"), ("firing", "inactive")}


def test_singles_are_in_the_order_of_event_time_and_of_the_series() -> None:
    workload = make("noisy", instants=3, series=10)
    singles = workload.singles()
    assert [time_ms for time_ms, _, _ in singles] == sorted(workload.times_ms.tolist() * 10)
    assert [series for _, series, _ in singles] == list(workload.series) * 3


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="quiet"):
        make("quiet")


def test_the_digest_knows_every_field_and_no_order() -> None:
    steps = [Step(1, "R", "a", "inactive", "pending"), Step(2, "R", "a", "pending", "inactive")]
    assert digest(steps) == digest(reversed(steps))
    for place, other in enumerate((3, "S", "b", "firing", "firing")):
        changed = Step(*(other if at == place else field for at, field in enumerate(steps[0])))  # type: ignore[arg-type]
        assert digest([changed, steps[1]]) != digest(steps)
    assert digest(steps[:1]) != digest(steps)


@pytest.mark.process
def test_everybody_who_is_installed_makes_the_same_transitions() -> None:
    present = [contestant for contestant in CONTESTANTS if installed(contestant)]
    heats = compete(present, "steady", instants=8, rounds=1)
    assert set(heats) >= set(HERE)
    assert {heat.digest for [heat] in heats.values()} == {digest_of(LOOP, make("steady", instants=8))}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Heat]]:
    """What each contestant's heats give, one after the other; only what stands here is installed."""
    singles, together, batches, columns = (one.name for one in CONTESTANTS if one.ours)
    heats = {
        singles: [Heat(1.0, 7, "x"), Heat(2.0, 7, "x"), Heat(1.0, 7, "x")],
        together: [Heat(0.75, 7, "x")] * 3,
        batches: [Heat(0.5, 7, "x")] * 3,
        columns: [Heat(0.25, 7, "x")] * 3,
        LOOP: [Heat(4.0, 7, "x"), Heat(10.0, 7, "x"), Heat(40.0, 7, "x")],
        BYTEWAX: [Heat(8.0, 7, "x"), Heat(16.0, 7, "x"), Heat(8.0, 7, "x")],
    }
    monkeypatch.setattr(contest, "installed", lambda one: one.name in heats)
    monkeypatch.setattr(contest, "_heat", lambda one, kind, instants: heats[one.name].pop(0))
    return heats


def test_ratios_are_taken_within_a_round_and_their_median_is_held_against_the_target(
    table: dict[str, list[Heat]],
) -> None:
    rows = {row.name: row for row in contest_rows("steady", instants=10, rounds=3)}
    ratio = rows[f"steady: longwatch: single events / {LOOP}"]
    assert (ratio.value, ratio.limit, ratio.better) == (5.0, 4.0, "higher")
    assert rows[f"steady: longwatch: single events / {BYTEWAX}"].value == 8.0
    assert rows[f"steady: longwatch: evaluator on columns / {BYTEWAX}"].limit == 30.0
    assert rows["steady: longwatch: single events"].value == pytest.approx(10_000 / 1.0 / 1e6)
    assert math.isnan(rows["steady: aiostream"].value)
    assert "not installed" in rows["steady: aiostream"].note


def test_other_transitions_are_an_error_and_no_figure(table: dict[str, list[Heat]]) -> None:
    table[LOOP][0] = Heat(4.0, 8, "y")
    with pytest.raises(NotEqual, match="asyncio"):
        contest_rows("steady", instants=10, rounds=1)


def test_the_targets() -> None:
    singles, together, batches, columns = (one for one in CONTESTANTS if one.ours)
    assert singles.targets == together.targets == {BYTEWAX: 8.0, LOOP: 4.0}
    assert singles.noisy_targets == together.noisy_targets == {BYTEWAX: 5.0}
    assert (batches.targets, columns.targets) == ({BYTEWAX: 15.0}, {BYTEWAX: 30.0})
    assert named(BYTEWAX).package == "bytewax"
    assert set(versions()) == {"aiostream", "bytewax", "faust-streaming", "pathway", "reactivex", "streamz"}


def test_ratios_to_the_first() -> None:
    assert ratios_to_first([[1.0, 2.0, 4.0], [2.0, 2.0, 16.0]]) == [1.0, 2.0]


def test_variations_of_a_rule_run_small_and_make_the_same_transitions() -> None:
    workload = make("steady", instants=8, series=50)
    rows = expressions.variation_rows("batches", workload, expressions.Variation.batches, rounds=1)
    rows += expressions.variation_rows("single events", workload, expressions.Variation.singles, rounds=1)
    assert [row.unit for row in rows] == ["ns", "x", "x", "x"] * 2
    assert all(row.value > 0 for row in [*rows, expressions.singles_row(instants=3, rounds=1)])


def test_a_variation_with_other_transitions_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bare, *_ = expressions.VARIATIONS
    other = bare._replace(name="late", values=lambda workload: workload.values * 0.9)
    monkeypatch.setattr(expressions, "VARIATIONS", (bare, other))
    with pytest.raises(AssertionError, match="late"):
        expressions.variation_rows("batches", make("noisy", instants=5, series=10), bare.__class__.batches, rounds=1)


def test_rows_about_many_series_and_rules_run_small() -> None:
    rows = [*breadth.size_rows((1_000, 2_000), samples=2_000, rounds=1), *breadth.step_rows(5)]
    assert [row.unit for row in rows] == ["ns", "x", "ns", "x", "ms", "ms"]
    assert all(row.value > 0 for row in rows)


def test_snapshots_run_small() -> None:
    assert [(row.unit, row.limit) for row in saving_rows(quick=True)] == [("s", 0.5), ("s", 0.5)]


def test_parts_run_small() -> None:
    rows = parts.part_rows(instants=5)
    assert {row.unit for row in rows} == {"ns", "%"}
    assert all(row.value > 0 for row in rows)
    assert any(row.name.startswith("steady, single events: in engine.core.") for row in rows)
