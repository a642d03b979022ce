"""The values of a series: promtool's notation, and why there is none."""

import pytest

from engine.core.promql.notation import NotationError, parse_values
from engine.ruletests import InputSeries
from engine.ruletests.inputs import Hidden, Inputs
from engine.ruletests.values import count_values, read_values


def test_words_beside_promtools() -> None:
    values = read_values("1 ended target_down _x2 target_downx1 2x1 endedx2")
    assert values.held.tolist() == [True, True, True, False, False, *[True] * 7]
    assert values.down.tolist() == [False, False, True, False, False, True, True, *[False] * 5]
    stale = read_values("stale").numbers.view("i8")[0]
    assert (values.numbers.view("i8") == stale).tolist() == [
        False,
        True,
        True,
        *[False] * 2,
        True,
        True,
        *[False] * 2,
        *[True] * 3,
    ]


@pytest.mark.parametrize("text", ["1 _x3 2+1x4 stalex2", "0x10 ended target_downx7", "", "_ _x2", "NaN 1e3 0x1F"])
@pytest.mark.parametrize("first", [None, 0, 3, 50])
def test_as_many_as_are_wanted(text: str, first: int | None) -> None:
    whole, part = read_values(text), read_values(text, first)
    assert count_values(text) == len(whole.numbers)
    for column, cut in zip(whole, part, strict=True):
        assert len(column) == len(whole.numbers)
        assert cut.tobytes() == column[:first].tobytes()


def test_promtools_notation_is_untouched() -> None:
    with pytest.raises(NotationError, match=r"or stale$"):
        parse_values("ended")
    with pytest.raises(NotationError, match=r"_x3, stale, ended or target_down$"):
        read_values("1 endedx")
    with pytest.raises(NotationError, match="native histogram"):
        read_values("ended {{schema:1 sum:1}}")
    with pytest.raises(NotationError, match="at most 1,000,000 values"):
        read_values("ended 1x600000 1x600000")


def test_a_target_that_is_down_is_said_beside_what_is_measured() -> None:
    given = [InputSeries(series=name, values=values) for name, values in (("a", "1 2 ended"), ("b", "3 target_down 4"))]
    batches = Inputs(given, interval_ms=1_000, start_ms=0, end_ms=9_000).until(9_000)
    assert [(one.time_ms, one.series, one.stale) for one in batches] == [
        (0, ("a", "b"), "ended"),
        (1_000, ("a",), "ended"),
        (1_000, ("b",), "target_down"),
        (2_000, ("a", "b"), "ended"),
    ]


@pytest.mark.parametrize(
    ("hidden", "seen"),
    [
        (Hidden(1_000, 3_000), {"a": [0, 3], 'a{x="y"}': [0, 3], "b": [0, 3]}),
        (Hidden(1_001, 3_001, "a"), {"a": [0, 1], 'a{x="y"}': [0, 1], "b": [0, 1, 2, 3]}),
        (Hidden(0, 1, 'a{x="y"}'), {"a": [0, 1, 2, 3], 'a{x="y"}': [1, 2, 3], "b": [0, 1, 2, 3]}),
        (Hidden(5_000, 9_000), {"a": [0, 1, 2, 3], 'a{x="y"}': [0, 1, 2, 3], "b": [0, 1, 2, 3]}),
    ],
)
def test_what_nobody_sees_is_left_out(hidden: Hidden, seen: dict[str, list[int]]) -> None:
    given = [InputSeries(series=name, values="1x3") for name in seen]
    batches = Inputs(given, interval_ms=1_000, start_ms=7_000, end_ms=60_000, hidden=[hidden]).until(60_000)
    found = {name: [one.time_ms // 1_000 - 7 for one in batches if name in one.series] for name in seen}
    assert found == seen
