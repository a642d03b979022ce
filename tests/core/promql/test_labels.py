"""Shapes that are made late are the same as those that are made at once."""

from __future__ import annotations

from engine.core.promql.labels import NAME, Interner, Shape

LABELS = [{NAME: "up", "job": "a", "host": "x"}, {NAME: "up", "job": "b"}, {NAME: "up", "job": "a", "host": "y"}]


def test_a_lazy_shape_shows_labels_without_making_its_columns() -> None:
    interner, made = Interner(), []

    def columns() -> dict[str, object]:
        made.append(1)
        return dict(Shape.of(interner, LABELS).columns)

    shape = Shape.lazy(interner, len(LABELS), lambda row: dict(sorted(LABELS[row].items())), columns)  # type: ignore[arg-type]
    assert len(shape) == 3
    assert shape.labels(1) == {NAME: "up", "job": "b"}
    assert not made
    eager = Shape.of(interner, LABELS)
    assert shape.group(("job",), excluding=False).ids.tolist() == eager.group(("job",), excluding=False).ids.tolist()
    assert [shape.labels(row) for row in range(3)] == [eager.labels(row) for row in range(3)]
    assert shape.without((NAME,)).labels(0) == {"host": "x", "job": "a"}
    assert made == [1]
