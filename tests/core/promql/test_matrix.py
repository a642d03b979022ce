"""Vectors of several instants side by side."""

import numpy as np

from engine.core.promql.labels import Interner, Shape
from engine.core.promql.matrix import dense, stack
from engine.core.promql.vector import Vector
from tests.core.promql import mini


def test_vectors_of_one_shape_are_stacked_as_they_are() -> None:
    shape = Shape.of(Interner(), [{"i": "1"}, {"i": "2"}])
    vectors = [Vector(shape, np.array([1.0, 2.0]) * at, np.array([True, at > 1])) for at in (1, 2)]
    found = stack(vectors, shape.interner)
    assert found.shape is shape
    assert (found.values.tolist(), found.present.tolist()) == ([[1, 2], [2, 4]], [[True, True], [False, True]])


def test_rows_of_equal_labels_become_one() -> None:
    interner = Interner()
    first = mini.vector(interner, [({"i": "1"}, 1.0), ({"i": "2"}, 2.0)])
    second = mini.vector(interner, [({"i": "2"}, 3.0), ({"i": "3"}, 4.0)])
    found = stack([first, second, first], interner)
    rows = {labels["i"]: (at.tolist(), values.tolist()) for labels, at, values in found.items()}
    assert rows == {"1": ([0, 2], [1.0, 1.0]), "2": ([0, 1, 2], [2.0, 3.0, 2.0]), "3": ([1], [4.0])}
    assert stack([first, second], interner).shape is stack([first, second], interner).shape


def test_no_instants_give_no_rows() -> None:
    assert stack([], Interner()).items() == []


def test_a_window_has_the_samples_on_the_left() -> None:
    interner = Interner()
    given = [mini.vector(interner, [({"i": "1"}, value), ({"i": "2"}, 1.0)]) for value in (None, 2.0, None, 4.0)]
    found = dense(stack([given[0]._replace(shape=given[3].shape), *given[1:]], interner), np.array([10, 20, 30, 40]))
    assert found.counts.tolist() == [2, 4]
    assert found.times.tolist() == [[20, 40, 0, 0], [10, 20, 30, 40]]
    np.testing.assert_array_equal(found.values, [[2, 4, np.nan, np.nan], [1, 1, 1, 1]])
