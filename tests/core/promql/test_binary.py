"""Operators between values: matching rules, their refusals, and a slow evaluator that must agree."""

import math
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.promql.binary import combine, combine_sets, distinct
from engine.core.promql.labels import Interner
from engine.core.promql.plan import Arithmetic, Cardinality, Comparison, Matching, Number, SetOperation
from engine.core.promql.vector import EvaluationError, Scalar, Vector
from tests.core.promql import mini

Given = list[tuple[dict[str, str], float | None]]
NOTHING = Number(0.0)  # the nodes' own operands play no part here
A: Given = [({"__name__": "a", "x": "1", "y": "1"}, 10.0), ({"__name__": "a", "x": "2", "y": "1"}, 20.0)]
B: Given = [({"__name__": "b", "x": "1", "y": "1"}, 3.0), ({"__name__": "b", "x": "3", "y": "1"}, 4.0)]


def both(left: Given, right: Given) -> tuple[Vector, Vector]:
    interner = Interner()
    return mini.vector(interner, left), mini.vector(interner, right)


def labelled(**labels: str) -> mini.Labels:
    return frozenset(labels.items())


def vector_of(value: Vector | Scalar) -> Vector:
    assert isinstance(value, Vector)
    return value


@pytest.mark.parametrize(
    ("op", "left", "right", "result"),
    [
        ("+", 1.0, 2.0, 3.0),
        ("-", 1.0, 2.0, -1.0),
        ("/", 1.0, 0.0, math.inf),
        ("/", -1.0, 0.0, -math.inf),
        ("/", 0.0, 0.0, math.nan),
        ("%", -5.0, 3.0, -2.0),
        ("%", 5.0, 0.0, math.nan),
        ("^", -8.0, 1 / 3, math.nan),
        ("^", 1.0, math.nan, 1.0),
        ("atan2", 1.0, 1.0, math.pi / 4),
    ],
)
def test_numbers_follow_ieee_754(op: Any, left: float, right: float, result: float) -> None:
    found = combine(Arithmetic(op, NOTHING, NOTHING), Scalar(left), Scalar(right))
    assert found == pytest.approx(Scalar(result), nan_ok=True)


def test_a_comparison_of_numbers_is_0_or_1() -> None:
    node = Comparison(">", NOTHING, NOTHING, as_bool=True)
    assert combine(node, Scalar(2.0), Scalar(1.0)) == Scalar(1.0)
    assert combine(node, Scalar(math.nan), Scalar(1.0)) == Scalar(0.0)


def test_a_filter_keeps_the_name_and_the_vectors_value_on_either_side() -> None:
    given, _ = both(A, B)
    kept = {labelled(__name__="a", x="2", y="1"): 20.0}
    assert mini.items(vector_of(combine(Comparison(">", NOTHING, NOTHING), given, Scalar(15.0)))) == kept
    assert mini.items(vector_of(combine(Comparison("<", NOTHING, NOTHING), Scalar(15.0), given))) == kept


def test_bool_and_arithmetic_drop_the_name_type_and_unit() -> None:
    given, _ = both([({"__name__": "a", "__type__": "gauge", "__unit__": "s", "x": "1"}, 10.0)], [])
    for node in (Comparison(">", NOTHING, NOTHING, as_bool=True), Arithmetic("+", NOTHING, NOTHING)):
        assert mini.items(vector_of(combine(node, given, Scalar(1.0)))).keys() == {labelled(x="1")}


def test_only_atan2_of_prometheus_2_keeps_the_name() -> None:
    given, _ = both(A[:1], [])
    node = Arithmetic("atan2", NOTHING, NOTHING)
    kept = vector_of(combine(node, given, Scalar(1.0), atan2_keeps_name=True))
    assert mini.items(kept).keys() == {labelled(__name__="a", x="1", y="1")}
    dropped = vector_of(combine(node, given, Scalar(1.0)))
    assert mini.items(dropped).keys() == {labelled(x="1", y="1")}


def test_dropping_names_may_not_make_two_label_sets_one() -> None:
    given, _ = both([({"__name__": "a", "x": "1"}, 1.0), ({"__name__": "b", "x": "1"}, 2.0)], [])
    with pytest.raises(EvaluationError, match="same labelset"):
        combine(Arithmetic("+", NOTHING, NOTHING), given, Scalar(1.0))
    one = given._replace(present=given.present & (given.values > 1))
    assert mini.items(vector_of(combine(Arithmetic("+", NOTHING, NOTHING), one, Scalar(1.0)))) == {labelled(x="1"): 3.0}


def test_one_to_one_keeps_what_was_matched() -> None:
    left, right = both(A, B)
    minus = vector_of(combine(Arithmetic("-", NOTHING, NOTHING), left, right))
    assert mini.items(minus) == {labelled(x="1", y="1"): 7.0}
    on = vector_of(combine(Arithmetic("-", NOTHING, NOTHING, Matching(on=True, labels=("x",))), left, right))
    assert mini.items(on) == {labelled(x="1"): 7.0}
    ignoring = vector_of(combine(Arithmetic("-", NOTHING, NOTHING, Matching(labels=("y",))), left, right))
    assert mini.items(ignoring) == {labelled(x="1"): 7.0}


def test_group_left_takes_labels_from_the_one_side_or_takes_them_away() -> None:
    right: Given = [({"y": "1", "x": "other"}, 2.0)]
    matching = Matching(on=True, labels=("y",), cardinality="many-to-one", include=("x", "z"))
    left, one = both([({"x": "1", "y": "1", "z": "gone"}, 10.0)], right)
    found = vector_of(combine(Arithmetic("*", NOTHING, NOTHING, matching), left, one))
    assert mini.items(found) == {labelled(x="other", y="1"): 20.0}


def test_group_right_keeps_the_order_of_operands() -> None:
    matching = Matching(on=True, labels=("y",), cardinality="one-to-many")
    one, many = both([({"y": "1"}, 100.0)], A)
    found = vector_of(combine(Arithmetic("-", NOTHING, NOTHING, matching), one, many))
    assert mini.items(found) == {labelled(x="1", y="1"): 90.0, labelled(x="2", y="1"): 80.0}
    filtered = vector_of(combine(Comparison(">", NOTHING, NOTHING, matching=matching), one, many))
    assert mini.items(filtered).keys() == {frozenset(labels.items()) for labels, _ in A}
    assert set(mini.items(filtered).values()) == {100.0}


def test_many_to_many_is_refused_with_both_series() -> None:
    left, right = both(A, A)
    for cardinality, side in zip(ALL, ("right", "right", "left"), strict=True):
        matching = Matching(on=True, labels=("y",), cardinality=cardinality)
        with pytest.raises(EvaluationError) as raised:
            combine(Arithmetic("+", NOTHING, NOTHING, matching), left, right)
        assert str(raised.value) == (
            f'found duplicate series for the match group {{y="1"}} on the {side} hand-side of the operation: '
            '[{__name__="a", x="2", y="1"}, {__name__="a", x="1", y="1"}];many-to-many matching not allowed: '
            "matching labels must be unique on one side"
        )


def test_many_to_one_must_be_asked_for() -> None:
    left, right = both(A, [({"y": "1"}, 1.0)])
    with pytest.raises(EvaluationError, match="many-to-one matching must be explicit"):
        combine(Arithmetic("+", NOTHING, NOTHING, Matching(on=True, labels=("y",))), left, right)


def test_a_filter_is_ambiguous_only_if_several_pass() -> None:
    left, right = both(A, [({"y": "1"}, 15.0)])
    matching = Matching(on=True, labels=("y",))
    found = vector_of(combine(Comparison(">", NOTHING, NOTHING, matching=matching), left, right))
    assert mini.items(found) == {labelled(y="1"): 20.0}
    with pytest.raises(EvaluationError, match="explicit"):
        combine(Comparison("!=", NOTHING, NOTHING, matching=matching), left, right)


def test_group_left_must_leave_results_apart() -> None:
    left, right = both(A, [({"y": "1", "x": "same"}, 1.0)])
    matching = Matching(on=True, labels=("y",), cardinality="many-to-one", include=("x",))
    with pytest.raises(EvaluationError, match="grouping labels must ensure unique matches"):
        combine(Arithmetic("+", NOTHING, NOTHING, matching), left, right)


def test_an_empty_side_asks_nothing_of_the_other() -> None:
    left, right = both([(labels, None) for labels, _ in A], A)
    found = combine(Arithmetic("+", NOTHING, NOTHING, Matching(on=True, labels=("y",))), left, right)
    assert mini.items(vector_of(found)) == {}


def test_shapes_of_results_are_kept_for_the_same_shapes() -> None:
    left, right = both(A, B)
    node = Arithmetic("+", NOTHING, NOTHING)
    first, second = (vector_of(combine(node, left, right)) for _ in range(2))
    assert first.shape is second.shape
    again = vector_of(combine(node, first, Scalar(1.0)))
    assert again.shape is first.shape


@pytest.mark.parametrize(
    ("op", "result"),
    [
        ("and", {("a", "1"): 10.0}),
        ("unless", {("a", "2"): 20.0}),
        ("or", {("a", "1"): 10.0, ("a", "2"): 20.0, ("b", "3"): 4.0}),
    ],
)
def test_sets_keep_names_and_values(op: Any, result: dict[tuple[str, str], float]) -> None:
    found = mini.items(combine_sets(SetOperation(op, NOTHING, NOTHING), *both(A, B)))
    assert found == {labelled(__name__=name, x=x, y="1"): value for (name, x), value in result.items()}


def test_a_union_knows_each_label_set_once() -> None:
    left, right = both(A, A)
    found = combine_sets(SetOperation("or", NOTHING, NOTHING), left, right)
    assert len(found.shape) == 2
    none_left = left._replace(present=left.present & False)
    assert mini.items(combine_sets(SetOperation("or", NOTHING, NOTHING), none_left, right)) == dict(mini.present(A))
    assert distinct(found) is found


LABELS = st.fixed_dictionaries(
    {"__name__": st.sampled_from(["", "m", "n"])},
    optional={"x": st.sampled_from("123"), "y": st.sampled_from("12"), "z": st.sampled_from("1")},
)
ROWS = st.lists(
    st.tuples(LABELS, st.none() | st.sampled_from([0.0, 1.0, 2.0, -1.0, math.nan, math.inf])),
    max_size=8,
    unique_by=lambda row: frozenset((k, v) for k, v in row[0].items() if v),
)
NAMES = st.lists(st.sampled_from(["x", "y", "z", "__name__"]), unique=True, max_size=3).map(tuple)
ALL: list[Cardinality] = ["one-to-one", "many-to-one", "one-to-many"]
OPERATIONS = {"+": operator.add, "-": operator.sub, ">": operator.gt, "==": operator.eq, "!=": operator.ne}


@st.composite
def matchings(draw: st.DrawFn) -> Matching:
    on, labels = draw(st.booleans()), draw(NAMES)
    cardinality = draw(st.sampled_from(ALL))
    include = () if cardinality == "one-to-one" else tuple(n for n in draw(NAMES) if n not in labels or not on)
    return Matching(on, labels, cardinality, include)


@given(ROWS, ROWS, matchings(), st.sampled_from(list(OPERATIONS)), st.booleans())
def test_vectors_meet_as_in_the_slow_evaluator(
    left: Given, right: Given, matching: Matching, op: Any, as_bool: bool
) -> None:
    compares = op not in "+-"
    node = (
        Comparison(op, NOTHING, NOTHING, as_bool, matching) if compares else Arithmetic(op, NOTHING, NOTHING, matching)
    )

    def compute(a: float, b: float) -> float | None:
        found = OPERATIONS[op](a, b)
        return float(found) if not compares or as_bool else a if found else None

    try:
        expected: dict[mini.Labels, float] | None = mini.joined(
            mini.present(left), mini.present(right), matching, compute, drops_name=as_bool or not compares
        )
    except mini.Ambiguous:
        expected = None
    vectors = both(left, right)
    for _ in range(2):  # the second time from what is kept with the shapes
        try:
            found: dict[mini.Labels, float] | None = mini.items(vector_of(combine(node, *vectors)))
        except EvaluationError:
            found = None
        assert found == pytest.approx(expected, nan_ok=True)


@given(ROWS, ROWS, matchings(), st.sampled_from(["and", "or", "unless"]))
def test_sets_are_as_in_the_slow_evaluator(left: Given, right: Given, matching: Matching, op: Any) -> None:
    found = mini.items(combine_sets(SetOperation(op, NOTHING, NOTHING, matching), *both(left, right)))
    expected = mini.sets(op, mini.present(left), mini.present(right), matching)
    assert found == pytest.approx(expected, nan_ok=True)
