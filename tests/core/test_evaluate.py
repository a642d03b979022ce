"""Evaluation over columns against plain Python, one label set at a time."""

import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.compile import compile_expr
from engine.core.promql.evaluate import Columns, arithmetic, evaluate, measured

Cell = float | None
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 3.0, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan]
CELLS: list[Cell] = [*NUMBERS, None]
cells = st.one_of(st.none(), st.sampled_from(NUMBERS), st.floats())


def run(expr: str, *leaves: list[Cell], what: object = evaluate) -> list[Cell]:
    """Evaluate over lists in which None is an absent series."""

    def leaf(number: int) -> tuple[np.ndarray, np.ndarray]:
        column = leaves[number]
        # what is absent holds a value nobody may see
        return np.array([1e9 if c is None else c for c in column]), np.array(
            [c is not None for c in column], dtype=bool
        )

    columns: Columns = what(compile_expr(expr).root, leaf)  # type: ignore[operator]
    return [float(v) if p else None for v, p in zip(columns.values, columns.present, strict=True)]


def same(left: list[Cell], right: list[Cell]) -> None:
    assert [repr(cell) for cell in left] == [repr(cell) for cell in right]


def divide(left: float, right: float) -> float:
    if right != 0 or math.isnan(left):
        return left / right if right != 0 else math.nan
    return math.nan if left == 0 else math.copysign(math.inf, left) * math.copysign(1.0, right)


def remainder(left: float, right: float) -> float:
    try:
        return math.fmod(left, right)  # the sign of the dividend, as in Go and C
    except ValueError:
        return math.nan


def power(left: float, right: float) -> float:
    try:
        return math.pow(left, right)
    except OverflowError:
        odd = float(right).is_integer() and right % 2 == 1
        return -math.inf if left < 0 and odd else math.inf
    except ValueError:  # a negative base with a fraction, or zero to a negative power
        if left != 0:
            return math.nan
        odd = float(right).is_integer() and right % 2 == 1
        return math.copysign(math.inf, left) if odd else math.inf


ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": remainder,
    "^": power,
    "atan2": math.atan2,
}
COMPARISON = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
PAIRS = [(left, right) for left in CELLS for right in CELLS]
LEFT, RIGHT = [left for left, _ in PAIRS], [right for _, right in PAIRS]


def close(left: list[Cell], right: list[Cell]) -> None:
    """Equal, with NaN equal to NaN and one unit in the last place for transcendental functions."""
    for one, other in zip(left, right, strict=True):
        if one is None or other is None or math.isnan(one) or math.isnan(other):
            assert repr(one) == repr(other)
        else:
            assert one == pytest.approx(other, rel=1e-15, abs=0)
            assert math.copysign(1, one) == math.copysign(1, other)


@pytest.mark.parametrize("op", ARITHMETIC)
def test_arithmetic_of_two_vectors(op: str) -> None:
    expected = [None if one is None or two is None else ARITHMETIC[op](one, two) for one, two in PAIRS]
    close(run(f"a {op} b", LEFT, RIGHT), expected)


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("number", ["2.5", "0", "-3", "Inf"])
def test_arithmetic_with_a_number(op: str, number: str) -> None:
    value = float(number)
    close(run(f"a {op} {number}", CELLS), [None if c is None else ARITHMETIC[op](c, value) for c in CELLS])
    wrapped = f"({number})" if number.startswith("-") else number  # the sign binds less than ^
    close(run(f"{wrapped} {op} a", CELLS), [None if c is None else ARITHMETIC[op](value, c) for c in CELLS])


@pytest.mark.parametrize("op", COMPARISON)
def test_a_filter_keeps_the_left_value(op: str) -> None:
    kept = [None if one is None or two is None or not COMPARISON[op](one, two) else one for one, two in PAIRS]
    same(run(f"a {op} b", LEFT, RIGHT), kept)
    same(run(f"a {op} 2.5", CELLS), [c if c is not None and COMPARISON[op](c, 2.5) else None for c in CELLS])


@pytest.mark.parametrize("op", COMPARISON)
def test_a_filter_with_the_number_first_keeps_the_vectors_value(op: str) -> None:
    same(run(f"2.5 {op} a", CELLS), [c if c is not None and COMPARISON[op](2.5, c) else None for c in CELLS])


@pytest.mark.parametrize("op", COMPARISON)
def test_bool_gives_zero_and_one_and_drops_nothing(op: str) -> None:
    expected = [None if one is None or two is None else float(COMPARISON[op](one, two)) for one, two in PAIRS]
    same(run(f"a {op} bool b", LEFT, RIGHT), expected)


def test_nan_compares_false_and_differs_from_itself() -> None:
    for op in ("==", ">", "<", ">=", "<="):
        assert run(f"a {op} a", [math.nan], [math.nan]) == [None]
    assert math.isnan(run("a != a", [math.nan], [math.nan])[0] or 0.0)


@pytest.mark.parametrize(
    ("op", "both", "left_only", "right_only", "neither"),
    [("and", 1.0, None, None, None), ("or", 1.0, 1.0, 2.0, None), ("unless", None, 1.0, None, None)],
)
def test_set_operators(op: str, both: Cell, left_only: Cell, right_only: Cell, neither: Cell) -> None:
    same(run(f"a {op} b", [1.0, 1.0, None, None], [2.0, None, 2.0, None]), [both, left_only, right_only, neither])


def test_negation() -> None:
    same(run("-a", CELLS), [None if c is None else -c for c in CELLS])


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_random_numbers(rows: list[tuple[Cell, Cell]]) -> None:
    left, right = [row[0] for row in rows], [row[1] for row in rows]
    for op in ("+", "-", "*", "/", "%"):
        close(
            run(f"a {op} b", left, right),
            [None if one is None or two is None else ARITHMETIC[op](one, two) for one, two in rows],
        )


def test_who_fed_a_label_set() -> None:
    def fed(expr: str, *leaves: list[Cell]) -> list[int]:
        def leaf(number: int) -> tuple[np.ndarray, np.ndarray]:
            return np.array([c or 0.0 for c in leaves[number]]), np.array([c is not None for c in leaves[number]])

        columns = evaluate(compile_expr(expr).root, leaf)
        return [int(bits) for bits in np.broadcast_to(columns.fed, (len(leaves[0]),))]

    both: tuple[list[Cell], list[Cell]] = ([1.0, 1.0, None], [2.0, None, 2.0])
    assert fed("a > 0", [1.0]) == [0b1]
    assert fed("a + b", *both)[0] == 0b11
    assert fed("a and b", *both)[0] == 0b11
    assert fed("a unless b", *both)[1] == 0b01  # missing data on the right is not unknown
    assert fed("a or b", *both) == [0b01, 0b01, 0b10]


@pytest.mark.parametrize(
    ("expr", "leaves", "seen"),
    [
        ("a > 5", [[3.0, None]], [3.0, None]),
        ("5 < a", [[3.0, None]], [3.0, None]),
        ("a > b", [[3.0, 3.0], [9.0, None]], [3.0, 3.0]),
        ("a > 5 and b > 5", [[3.0], [9.0]], [3.0]),
        ("a > 5 unless b > 5", [[3.0], [9.0]], [3.0]),
        ("a > 5 or b > 5", [[None, 3.0], [2.0, 2.0]], [2.0, 3.0]),
        ("a / 2 > 5", [[3.0]], [1.5]),
        ("a > 1 > 2", [[0.5]], [0.5]),
        ("a > bool 5", [[3.0]], [0.0]),
        ("(a > 5) + 1", [[3.0]], [None]),
    ],
)
def test_what_a_condition_measures_whether_or_not_it_holds(
    expr: str, leaves: list[list[Cell]], seen: list[Cell]
) -> None:
    same(run(expr, *leaves, what=measured), seen)


def test_no_warning_and_no_exception_for_any_number() -> None:
    with np.errstate(all="raise"):
        for op in ARITHMETIC:
            for left in NUMBERS:
                for right in NUMBERS:
                    arithmetic(op, left, right)  # type: ignore[arg-type]


def test_no_label_sets_give_no_label_sets() -> None:
    assert run("a > 1 or b / 2 unless a", [], [], []) == []


def test_a_hundred_deep_is_evaluated() -> None:
    assert run("-" * 99 + "a", [1.0]) == [-1.0]
