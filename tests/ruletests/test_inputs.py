"""Input series as batches: when, what, and cut at the end."""

import math

import pytest

from engine.core.promql.notation import NotationError, parse_values
from engine.ruletests import InputSeries
from engine.ruletests import inputs as module
from engine.ruletests.inputs import InputError, Inputs


def inputs(*series: tuple[str, str], end_ms: int = 10_000, start_ms: int = 0) -> Inputs:
    given = [InputSeries(series=name, values=values, line=line) for line, (name, values) in enumerate(series, 1)]
    return Inputs(given, interval_ms=1_000, start_ms=start_ms, end_ms=end_ms)


def test_a_batch_for_each_time_that_has_samples() -> None:
    made = inputs(("a", "1 _ 3 _x2 6"), ('b{x="y"}', "7 _ stale"))
    first, second, third = made.until(9_000)
    assert [(one.time_ms, one.series) for one in (first, second, third)] == [
        (0, ("a", 'b{x="y"}')),
        (2_000, ("a", 'b{x="y"}')),
        (5_000, ("a",)),
    ]
    assert first.series is second.series  # so that the core recognises it
    assert first.values.tolist() == [1, 7]
    assert second.values[0] == 3
    assert math.isnan(second.values[1])
    assert third.values.tolist() == [6]


def test_time_goes_on() -> None:
    made = inputs(("a", "1x5"), start_ms=60_000, end_ms=62_500)
    assert [one.time_ms for one in made.until(61_500)] == [60_000, 61_000]
    assert [one.time_ms for one in made.until(99_000)] == [62_000]
    assert made.until(99_000) == []


def test_what_lies_beyond_the_end_is_never_made() -> None:
    """`0x10000000` says: for ever."""
    made = inputs(("a", "0x10000000"), ("b", "_x99999999999 1"), ("c", "1 1+1x99999999999 2x5"))
    batches = made.until(10_000)
    assert len(batches) == 11
    assert batches[-1].series == ("a", "c")
    assert batches[-1].values.tolist() == [0, 10]


def test_of_two_series_with_the_same_labels_the_later_one_counts() -> None:
    (batch,) = inputs(("a", "1 1 1"), ('a{x=""}', "5")).until(9_000)
    assert (batch.series, batch.values.tolist()) == (("a",), [5])


def test_long_series_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS_PER_CHUNK", 4)
    made = inputs(("a", "0+1x10"), ("b", "1 _ 1"))
    assert [one.values.tolist() for one in made.until(3_000)] == [[0, 1], [1], [2, 1], [3]]
    assert len(made.until(10_000)) == 7


def test_no_series() -> None:
    assert inputs().until(5_000) == []


def test_a_series_without_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="can't be loaded") as refused:
        inputs(("a", "1"), ('{a="b"}', "1"))
    assert refused.value.line == 2


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLES_MAX", 20)
    inputs(("a", "1x10"))
    with pytest.raises(InputError, match="at most 20 values") as refused:
        inputs(("a", "1x10"), ("b", "1x99"))
    assert refused.value.line == 2


@pytest.mark.parametrize("text", ["1 2 3", "1+1x9", "_x3 1", "stalex4", "1 stale 2x3 _ 4"])
@pytest.mark.parametrize("first", [0, 1, 2, 4, 99])
def test_the_first_values_are_those_of_the_whole(text: str, first: int) -> None:
    assert repr(parse_values(text, first)) == repr(parse_values(text)[:first])


def test_what_is_cut_off_is_read_all_the_same() -> None:
    with pytest.raises(NotationError, match='"nope" is not a value'):
        parse_values("1 2 nope", 1)
