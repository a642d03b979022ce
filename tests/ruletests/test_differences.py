"""What is shown of what is not as expected."""

from engine.ruletests import differences as module
from engine.ruletests.differences import Item, differences


def item(**fields: str) -> Item:
    return Item(tuple(fields.items()))


def shown(wanted: list[Item], got: list[Item]) -> str:
    return "\n".join(differences(wanted, got))


def test_nothing_if_all_is_there_in_whatever_order() -> None:
    assert shown([item(a="1"), item(a="2"), item(a="2")], [item(a="2"), item(a="1"), item(a="2")]) == ""


def test_what_belongs_together_is_side_by_side() -> None:
    text = shown(
        [item(name="x", a="1", v="9"), item(name="x", a="2", v="5")],
        [item(name="x", a="2", v="6"), item(name="x", a="1", v="8", more="m")],
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        *("expected got", "name x x", "a 1 1", "! v 9 8", "! more - m"),
        *("expected got", "name x x", "a 2 2", "! v 5 6"),
    ]


def test_what_is_missing_and_what_is_too_much() -> None:
    text = shown([item(a="1"), item(a="2")], [item(a="2"), item(b="3")])
    assert text.splitlines() == [
        "as expected: 1",
        "expected, and not there:",
        "    a  1",
        "there, and not expected:",
        "    b  3",
    ]


def test_long_texts_stand_below_each_other_and_empty_ones_are_seen() -> None:
    text = shown([item(a="x" * 60, b="", c="y" * 60)], [item(a="x" * 61, b="z", c="y" * 60)])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == ["expected got", "! a", "expected " + "x" * 60, "got " + "x" * 61, '! b "" z', "c the same"]


def test_texts_from_outside_do_not_move_the_cursor() -> None:
    assert "\\x1b[2J" in shown([item(a="\x1b[2J")], [])


def test_many_are_not_all_shown() -> None:
    many = [item(a=str(number)) for number in range(module.SHOWN_MAX + 5)]
    assert shown(many, []).splitlines()[-1] == "and 5 more"
    assert len(shown(many * 3, many * 60).splitlines()) < 100  # too many to find out who belongs to whom
