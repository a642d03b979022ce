"""What functions are given and what they give: the types of the tables in this package.

Functions decide nothing about selectors, names or duplicates: the evaluator selects the samples, drops the metric
name where a function does not keep it, and refuses results in which a label set appears twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.core.promql.labels import NAME, Interner, Shape
from engine.core.promql.plan import Matcher, Selector
from engine.core.promql.vector import Bools, Floats, Scalar, Value, Vector
from engine.core.promql.window import Window

__all__ = [
    "FunctionContext",
    "RangeFunction",
    "VectorFunction",
    "absent_labels",
    "number",
    "text",
    "vector",
]


@dataclass(slots=True)
class FunctionContext:
    """What a vector function may know beside its arguments.

    Args:
        at_ms: The instant of evaluation.
        interner: Of all shapes of this evaluation.
        absent: For `absent` and `absent_over_time`: the labels of the result, see `absent_labels`.
        times: For `timestamp` of a plain selector, and for `info`: the times in seconds of the samples of the last
            argument, as a vector. None otherwise.
        selector: For `info`: what selects the info series.
        constants: Shapes of single label sets, made once. Hand the same dict to each evaluation,
            so that what is derived from them is kept.
    """

    at_ms: int
    interner: Interner
    absent: Mapping[str, str] = field(default_factory=dict)
    times: Vector | None = None
    selector: Selector | None = None
    constants: dict[frozenset[tuple[str, str]], Shape] = field(default_factory=dict)

    def single(self, labels: Mapping[str, str]) -> Shape:
        """The shape of this one label set."""
        key = frozenset(labels.items())
        shape = self.constants.get(key)
        if shape is None or shape.interner is not self.interner:
            shape = self.constants[key] = Shape.of(self.interner, [labels])
        return shape


RangeFunction: TypeAlias = Callable[[Window, Sequence[Floats], int], tuple[Floats, Bools]]
"""(window, the other arguments in their order, instant in ms) -> (values, present), each of shape (n,).

An argument is an array of shape () or (n,).
"""

VectorFunction: TypeAlias = Callable[[FunctionContext, list[Value]], Value]
"""(context, arguments in their order) -> value. Vectors come with all rows, present or not."""


def absent_labels(matchers: Iterable[Matcher]) -> dict[str, str]:
    """The labels of `absent(selector)`: what `=` asks for, but not where a label is asked for twice."""
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.label == NAME:
            continue
        if matcher.op == "=" and matcher.label not in seen:
            labels[matcher.label] = matcher.value
            seen.add(matcher.label)
        else:
            labels.pop(matcher.label, None)
    return labels


def vector(value: Value) -> Vector:
    """The argument as a vector. A compiled plan never has anything else there."""
    if not isinstance(value, Vector):
        raise TypeError(f"expected a vector, not {type(value).__name__}")
    return value


def number(value: Value) -> float:
    """The argument as a number. A compiled plan never has anything else there."""
    if not isinstance(value, Scalar):
        raise TypeError(f"expected a scalar, not {type(value).__name__}")
    return value.value


def text(value: Value) -> str:
    """The argument as a string. A compiled plan never has anything else there."""
    if not isinstance(value, str):
        raise TypeError(f"expected a string, not {type(value).__name__}")
    return value
